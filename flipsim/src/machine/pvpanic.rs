//! Whether a guest can report to QEMU that it panics: whether a driver has taken its pvpanic device.
//!
//! Source: QEMU, `docs/specs/pvpanic.txt` (the device's ids), `hw/pci/pci.c` (`PCI_BAR_UNMAPPED`).
//!
//! Invariant: what cannot be seen from outside is `None`, never a guess.

use serde_json::Value;

use crate::arch::Arch;
use crate::wire::qmp::{QmpClient, QmpError};

/// Vendor and device of `pvpanic-pci`.
const ID: (u64, u64) = (0x1b36, 0x0011);

/// Whether a driver in the guest has taken its pvpanic device. `None` where that cannot be seen: there is no
/// such device, or firmware maps what no driver has taken.
///
/// # Errors
/// QEMU is lost.
pub fn is_driven(qmp: &mut QmpClient, arch: &Arch) -> Result<Option<bool>, QmpError> {
    if !arch.firmware.is_empty() {
        return Ok(None);
    }
    Ok(driven(&qmp.execute("query-pci", Value::Null)?))
}

fn driven(buses: &Value) -> Option<bool> {
    fn each(value: &Value) -> impl Iterator<Item = &Value> {
        value.as_array().into_iter().flatten()
    }
    let mut devices = each(buses).flat_map(|bus| each(&bus["devices"]));
    let is_it = |device: &&Value| {
        (device["id"]["vendor"].as_u64(), device["id"]["device"].as_u64()) == (Some(ID.0), Some(ID.1))
    };
    let device = devices.find(is_it)?;
    // A region that was not switched on is at -1.
    Some(each(&device["regions"]).any(|region| region["address"].as_i64().is_some_and(|at| at > 0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(address: i64) -> Value {
        let disk = json!({ "id": { "vendor": 6900, "device": 4097 }, "regions": [{ "address": 4096 }] });
        let pvpanic =
            json!({ "id": { "vendor": 6966, "device": 17 }, "regions": [{ "bar": 0, "address": address }] });
        json!([{ "bus": 0, "devices": [disk, pvpanic] }])
    }

    #[test]
    fn a_device_that_no_driver_has_taken_is_noticed() {
        assert_eq!(driven(&machine(-1)), Some(false));
        assert_eq!(driven(&machine(0x1004_0000)), Some(true));
    }

    #[test]
    fn without_the_device_nothing_is_said() {
        assert_eq!(driven(&json!([{ "bus": 0, "devices": [] }])), None);
        assert_eq!(driven(&json!({})), None);
    }
}
