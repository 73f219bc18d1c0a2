//! Bits that hold a value whatever is written to them (`qemu-patches/`, QMP `set-stuck-bits`).
//!
//! Invariant: **what is stuck is what was last asked for**, until the guest goes back to a mark or a snapshot.

use serde::Serialize;
use serde_json::{Value, json};

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

/// So many fit into a packet of QEMU's stub.
const FEW: usize = 20;

/// So many bytes may have stuck bits at once, in RAM and in registers each.
pub const MOST_STUCK: usize = 256;

impl LiveTarget {
    /// From now on these bits are stuck and no others; with none, nothing is. The guest must be stopped.
    ///
    /// # Errors
    /// There is no such RAM, or such a register cannot be stuck; or QEMU is lost.
    pub fn set_stuck(&mut self, bits: &[StuckByte]) -> Result<(), MarkError> {
        let arguments = json!({ "bits": bits });
        // The stub takes no long packet.
        match bits.len() > FEW {
            true => self.ask_at_length::<Value>("set-stuck-bits", arguments)?,
            false => self.execute("set-stuck-bits", arguments)?,
        };
        Ok(())
    }
}
