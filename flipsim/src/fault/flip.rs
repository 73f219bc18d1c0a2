//! The flip itself: read, change, write, read back.
//!
//! Invariant: **every flip is read back.** What did not take is an error ([`FlipError::NotFlipped`]),
//! never a flip.

use crate::fault::model::{Fault, Place};
use crate::target::{StuckByte, StuckPlace, Target, TargetError};
use crate::text::hex_value;

/// A flip that was applied and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// What was asked for.
    pub fault: Fault,
    /// The bytes before, least significant (lowest address) first.
    pub old: Vec<u8>,
    /// The bytes after, as read back.
    pub new: Vec<u8>,
}

/// A fault that was not applied.
#[derive(Debug, thiserror::Error)]
pub enum FlipError {
    /// The machine was lost or refused.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The machine has no such register.
    #[error("the guest has no register `{0}`; `cargo xtask inject list reg` shows them all")]
    UnknownRegister(String),
    /// The write did not take.
    #[error("the flip did not take: wrote {wrote}, read back {read}")]
    NotFlipped {
        /// The value before, in hex.
        old: String,
        /// What was written, in hex.
        wrote: String,
        /// What was read back, in hex.
        read: String,
    },
}

/// Applies one fault to a stopped machine and reads it back.
///
/// # Errors
/// The machine is lost, refuses, or does not hold what was written.
pub fn flip(target: &mut dyn Target, fault: &Fault) -> Result<Flip, FlipError> {
    let after = |old: &[u8]| fault.operation().apply(old, fault.mask());
    match &fault.place {
        Place::Ram { address } => {
            let mut old = vec![0; fault.mask().len()];
            target.read_memory(*address, &mut old)?;
            let wanted = after(&old);
            let mut new = vec![0; wanted.len()];
            target.write_memory_read_back(*address, &wanted, &mut new)?;
            check(fault, old, &wanted, new)
        }
        Place::Reg { register } => {
            let index = target.registers().iter().position(|r| r.name == *register);
            let index = index.ok_or_else(|| FlipError::UnknownRegister(register.clone()))?;
            let old = target.read_register(index)?;
            let wanted = after(&old);
            target.write_register(index, &wanted)?;
            let new = target.read_register(index)?;
            check(fault, old, &wanted, new)
        }
    }
}

/// The bits that a fault which holds on keeps as they are right after it.
#[must_use]
pub fn stuck(flip: &Flip) -> Vec<StuckByte> {
    let place = |byte: u64| match &flip.fault.place {
        Place::Ram { address } => StuckPlace::Ram { address: address.0.saturating_add(byte) },
        Place::Reg { register } => StuckPlace::Reg { register: register.clone(), byte },
    };
    let bits = flip.fault.mask().iter().zip(&flip.new).zip(0..);
    bits.filter(|((mask, _), _)| **mask != 0)
        .map(|((mask, value), byte)| StuckByte { place: place(byte), mask: *mask, value: value & mask })
        .collect()
}

fn check(fault: &Fault, old: Vec<u8>, wanted: &[u8], new: Vec<u8>) -> Result<Flip, FlipError> {
    if new == wanted {
        return Ok(Flip { fault: fault.clone(), old, new });
    }
    Err(FlipError::NotFlipped { old: hex_value(&old), wrote: hex_value(wanted), read: hex_value(&new) })
}
