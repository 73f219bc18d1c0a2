//! Which bits of which registers take a flip, found by trying.
//!
//! Invariant: **the machine is left as it was found**; the values are handed out before the first write, so that the
//! caller can keep them for the case of a kill.

use crate::arch::{ArchRow, SYSTEM};
use crate::fault::flip::FlipError;
use crate::fault::operation::Operation;
use crate::target::{Register, Target, TargetError};
use crate::text::hex_value;

/// A register whose bits can be flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlippableRegister {
    /// The name.
    pub name: String,
    /// The width in bits.
    pub bits: u32,
    /// What it belongs to.
    pub class: String,
    /// The bits that took a write, least significant byte first.
    pub writable: Vec<u8>,
}

impl FlippableRegister {
    /// How many bits took a write.
    #[must_use]
    pub fn writable_bits(&self) -> u32 {
        self.writable.iter().map(|byte| byte.count_ones()).sum()
    }
}

/// Finds which bits of which registers really take a write: each is written inverted, read back,
/// and restored. The machine must be stopped; it is left as it was. Only registers that `wanted`
/// takes are touched; `before` gets their names and values (least significant byte first) ahead of the
/// first write. Bits that the architecture holds back are never written.
///
/// # Errors
/// The machine is lost, or a register could not be restored, or `before` fails.
pub fn probe_registers<E: From<FlipError>>(
    target: &mut dyn Target,
    arch: &ArchRow,
    wanted: impl Fn(&str) -> bool,
    before: impl FnOnce(&[(String, Vec<u8>)]) -> Result<(), E>,
) -> Result<Vec<FlippableRegister>, E> {
    let lost = |error: TargetError| E::from(FlipError::from(error));
    let mut readable = Vec::new();
    let mut values = Vec::new();
    for (index, register) in target.registers().to_vec().into_iter().enumerate() {
        if !wanted(&register.name) {
            continue;
        }
        // A register that cannot even be read, or not whole, is no place for a fault.
        match target.read_register(index) {
            Ok(old) if old.len() == register.bytes() && !old.is_empty() => {
                values.push((register.name.clone(), old));
                readable.push((index, register));
            }
            Ok(_) | Err(TargetError::Refused { .. }) => {}
            Err(error) => return Err(lost(error)),
        }
    }
    before(&values)?;
    let mut found = Vec::with_capacity(readable.len());
    for ((index, register), (_, old)) in readable.into_iter().zip(values) {
        let probed = probe_register(target, arch, index, &register, &old);
        if probed.is_err() {
            // Better to try in vain than to leave an inverted register behind.
            let _ = target.write_register(index, &old);
        }
        found.push(probed.map_err(E::from)?);
    }
    Ok(found)
}

/// Probes one register, whose value is `old`.
fn probe_register(
    target: &mut dyn Target,
    arch: &ArchRow,
    index: usize,
    register: &Register,
    old: &[u8],
) -> Result<FlippableRegister, FlipError> {
    let found = |writable| FlippableRegister {
        name: register.name.clone(),
        bits: register.bits,
        class: if arch.is_system(&register.name) { SYSTEM.to_owned() } else { register.class.clone() },
        writable,
    };
    let held = arch.held_bits(&register.name, &register.class);
    let held = held.to_le_bytes().into_iter().chain(std::iter::repeat(0));
    let inverted: Vec<u8> = old.iter().zip(held.clone()).map(|(byte, held)| byte ^ !held).collect();
    if inverted == old {
        return Ok(found(vec![0; old.len()]));
    }
    let mut writable = match target.write_register(index, &inverted) {
        Ok(()) => Operation::Flip.apply(&target.read_register(index)?, old),
        Err(TargetError::Refused { .. }) => vec![0; old.len()],
        Err(lost) => return Err(lost.into()),
    };
    writable.iter_mut().zip(held).for_each(|(writable, held)| *writable &= !held);
    // Bits past the register's width belong to no register.
    for bit in register.bits..u32::try_from(writable.len() * 8).unwrap_or(u32::MAX) {
        writable[(bit / 8) as usize] &= !(1 << (bit % 8));
    }
    if writable.iter().any(|byte| *byte != 0) {
        target.write_register(index, old)?;
        let back = target.read_register(index)?;
        if back != old {
            let (old, read) = (hex_value(old), hex_value(&back));
            return Err(FlipError::NotFlipped { wrote: old.clone(), old, read });
        }
    }
    Ok(found(writable))
}
