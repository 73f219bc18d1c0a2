//! What is used at an instant of the golden run: registers and memory of the next instruction, and the stack.
//!
//! Invariant: what is not sure to be used is not listed.

use std::collections::BTreeMap;
use std::fmt;

use crate::arch::RegisterPart;
use crate::memory::PhysRange;
use crate::units::{GuestPhys, VirtualNs, parse_number};

/// What of an instant faults strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Used {
    /// Registers that the next instruction reads.
    Read,
    /// Registers that it writes, right behind it.
    Written,
    /// The bytes of RAM that it loads.
    Loaded,
    /// So many bytes from the stack pointer up.
    Stack(u64),
}

/// So many bytes of a stack are looked at, at most.
pub const MOST_STACK: u64 = 4096;

/// Their words, but for the stack.
const WORDS: [(&str, Used); 3] = [("read", Used::Read), ("written", Used::Written), ("loaded", Used::Loaded)];

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Used::Stack(bytes) => write!(f, "stack:{bytes}"),
            word => {
                let word = WORDS.iter().find(|(_, used)| used == word).map_or("", |(word, _)| word);
                write!(f, "operand:{word}")
            }
        }
    }
}

impl Used {
    /// What instructions use, by its word.
    pub(super) fn word(word: &str) -> Option<Used> {
        WORDS.iter().find(|(own, _)| *own == word).map(|(_, used)| *used)
    }

    /// A part of the stack by its length.
    pub(super) fn stack(bytes: &str) -> Option<Used> {
        let bytes = parse_number(bytes).ok()?;
        (1..=MOST_STACK).contains(&bytes).then_some(Used::Stack(bytes))
    }

    /// Whether it is in registers.
    #[must_use]
    pub fn is_register(self) -> bool {
        matches!(self, Used::Read | Used::Written)
    }
}

/// What is used at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedHere {
    /// When, counted from the quiescent point.
    pub after: VirtualNs,
    /// Registers that the next instruction reads.
    pub read: Vec<RegisterPart>,
    /// Registers that it writes.
    pub written: Vec<RegisterPart>,
    /// What it loads.
    pub loaded: Vec<PhysRange>,
    /// What lies from the stack pointer up, [`MOST_STACK`] bytes of it, as far as it is mapped.
    pub stack: Vec<PhysRange>,
}

impl UsedHere {
    /// When it is struck.
    pub(super) fn struck(&self, used: Used) -> VirtualNs {
        VirtualNs(self.after.0 + u64::from(used == Used::Written))
    }

    /// The registers of a use.
    pub(super) fn registers(&self, used: Used) -> &[RegisterPart] {
        match used {
            Used::Read => &self.read,
            Used::Written => &self.written,
            _ => &[],
        }
    }

    /// The bytes of a use.
    pub(super) fn bytes(&self, used: Used) -> Vec<PhysRange> {
        match used {
            Used::Loaded => self.loaded.clone(),
            Used::Stack(mut bytes) => {
                let mut found = Vec::new();
                for range in &self.stack {
                    let length = range.len().min(bytes);
                    bytes -= length;
                    let last = GuestPhys(range.first.0 + length.saturating_sub(1));
                    found.extend(PhysRange::new(range.first, last).filter(|_| length > 0));
                }
                found
            }
            _ => Vec::new(),
        }
    }
}

/// What is used at the instants of triggers, by their texts.
pub type UsedByTrigger = BTreeMap<String, Vec<UsedHere>>;
