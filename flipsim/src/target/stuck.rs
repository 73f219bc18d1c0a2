//! Bits that hold a value whatever is written to them (`qemu-patches/`, QMP `set-stuck-bits`).
//!
//! Invariant: **what is stuck is what was last asked for**, until the guest goes back to a mark or a snapshot.

use serde::Serialize;
use serde_json::json;

use crate::target::error::MarkError;
use crate::target::live::LiveTarget;

/// A byte with stuck bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StuckByte {
    /// Where it is.
    #[serde(flatten)]
    pub place: StuckPlace,
    /// The bits.
    pub mask: u8,
    /// What they hold.
    pub value: u8,
}

/// Where a byte with stuck bits is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StuckPlace {
    /// In physical memory.
    Ram {
        /// Its address.
        address: u64,
    },
    /// In a register of the first vCPU.
    Reg {
        /// Its name.
        register: String,
        /// Its number there, the least significant is 0.
        byte: u64,
    },
}

impl LiveTarget {
    /// From now on these bits are stuck and no others; with none, nothing is. The guest must be stopped.
    ///
    /// # Errors
    /// There is no such RAM, or such a register cannot be stuck; or QEMU is lost.
    pub fn set_stuck(&mut self, bits: &[StuckByte]) -> Result<(), MarkError> {
        self.execute("set-stuck-bits", json!({ "bits": bits }))?;
        Ok(())
    }
}
