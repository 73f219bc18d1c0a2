//! The flip itself: read, change, write, read back.
//!
//! Invariant: **every flip is read back.** What did not take is an error ([`FlipError::NotFlipped`]),
//! never a flip.

use crate::arch::{Arch, ArchRow, of_program_counter};
use crate::fault::model::{Fault, Place};
use crate::fault::operation::Operation;
use crate::target::{StuckByte, StuckPlace, Target, TargetError};
use crate::text::hex_value;
use crate::units::little_endian;

/// A flip that was applied and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// What was asked for.
    pub fault: Fault,
    /// The bytes before, least significant (lowest address) first.
    pub old: Vec<u8>,
    /// The bytes after, as read back.
    pub new: Vec<u8>,
    /// The instruction that it is about, of one that is.
    pub instruction: Option<String>,
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
    /// The next instruction cannot be known.
    #[error("nothing can be done to the instruction at {pc:#x}: {why}")]
    NoInstruction {
        /// Where it is.
        pc: u64,
        /// Why.
        why: String,
    },
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
            let (wanted, instruction) = match fault.operation() {
                Operation::Skip => {
                    let next = Next::at(target, register, &old)?;
                    let behind = next.pc.wrapping_add(next.length as u64).to_le_bytes();
                    let behind = behind.into_iter().chain(std::iter::repeat(0)).take(old.len());
                    (behind.collect(), Some(next.text))
                }
                Operation::Opcode(number) => {
                    return Next::at(target, register, &old)?.with_a_bit_flipped(target, fault, number);
                }
                _ => (after(&old), None),
            };
            target.write_register(index, &wanted)?;
            let new = target.read_register(index)?;
            Ok(Flip { instruction, ..check(fault, old, &wanted, new)? })
        }
    }
}

/// The instruction that is executed next.
struct Next {
    arch: Arch,
    pc: u64,
    /// Its bytes, and what is behind them: what it may become is longer. What is not mapped is 0.
    code: Vec<u8>,
    length: usize,
    text: String,
}

impl Next {
    /// Of a program counter with this value.
    fn at(target: &mut dyn Target, register: &str, value: &[u8]) -> Result<Next, FlipError> {
        let pc = little_endian(value);
        let no = |why: &str| FlipError::NoInstruction { pc, why: why.to_owned() };
        let arch = of_program_counter(register).ok_or_else(|| no("only a program counter has a next one"))?;
        let mut code = code_at(target, &arch, pc)?;
        let decoded = (arch.decode)(&code);
        let why = match code.is_empty() {
            true => "its code is not mapped yet, or is none for 64 bits",
            false => "it is not known how long it is",
        };
        let (length, text) = decoded.ok_or_else(|| no(why))?;
        code.resize(LONGEST, 0);
        Ok(Next { arch, pc, code, length, text })
    }

    /// Flips the bit of it that a number chooses, in memory, and reads it back.
    fn with_a_bit_flipped(
        mut self,
        target: &mut dyn Target,
        fault: &Fault,
        number: u64,
    ) -> Result<Flip, FlipError> {
        let bit = usize::try_from(number % (self.length as u64 * 8)).unwrap_or(0);
        let old = self.code[..self.length].to_vec();
        self.code[bit / 8] ^= 1 << (bit % 8);
        let wanted = &self.code[..self.length];
        target.write_virtual(self.pc, wanted)?;
        let mut new = vec![0; self.length];
        target.read_virtual(self.pc, &mut new)?;
        let became = (self.arch.decode)(&self.code).map_or("no instruction".to_owned(), |(_, text)| text);
        let instruction = Some(format!("{:#x}: {} → {became}", self.pc, self.text));
        Ok(Flip { instruction, ..check(fault, old, wanted, new)? })
    }
}

/// The most bytes that an instruction has, on any architecture.
const LONGEST: usize = 15;

const PAGE: u64 = 4096;

/// The code that comes next, at a virtual address, as much as one instruction can have, and as is mapped; nothing where it is
/// of another set of instructions, as firmware's for 16 or 32 bits.
///
/// # Errors
/// The machine is lost.
pub fn code_at(target: &mut dyn Target, arch: &ArchRow, pc: u64) -> Result<Vec<u8>, TargetError> {
    let (name, bits, wanted) = arch.decoded_mode;
    if let Some(place) = target.registers().iter().position(|register| register.name == name)
        && little_endian(&target.read_register(place)?) & bits != wanted
    {
        return Ok(Vec::new());
    }
    let mut code = vec![0; LONGEST];
    // What lies on the next page may not be there, and need not be.
    let here = usize::try_from(PAGE - pc % PAGE).unwrap_or(LONGEST).min(LONGEST);
    for length in [LONGEST, here] {
        match target.read_virtual(pc, &mut code[..length]) {
            Err(TargetError::Refused { .. }) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                code.truncate(length);
                return Ok(code);
            }
        }
    }
    Ok(Vec::new())
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
        return Ok(Flip { fault: fault.clone(), old, new, instruction: None });
    }
    Err(FlipError::NotFlipped { old: hex_value(&old), wrote: hex_value(wanted), read: hex_value(&new) })
}
