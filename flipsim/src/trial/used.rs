//! What is first done with what a fault in RAM has changed: a fault is activated once one of its bytes is read.
//!
//! Invariant: **it is of the golden run**, which the guest is up to there; where that is not certain, it is unknown.

use serde::{Deserialize, Serialize};

/// How far two times of one access may be apart: twice the instructions of the longest block (QEMU's `TCG_MAX_INSNS`).
const BLOCK: u64 = 1024;

/// What is first done with the bytes that a fault changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Used {
    /// One of them is read: loaded, executed, walked, or used by a device. The fault is activated.
    Read,
    /// All are overwritten before they are read.
    Overwritten,
    /// None is read until the end of the run, and one at least is not overwritten either.
    Never,
    /// Not certain: one of them was accessed shortly before the fault, and not measured.
    Unknown,
}

impl Used {
    /// All of them.
    pub const ALL: [Used; 4] = [Used::Read, Used::Overwritten, Used::Never, Used::Unknown];

    /// The word in files and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Used::Read => "read",
            Used::Overwritten => "overwritten",
            Used::Never => "never",
            Used::Unknown => "unknown",
        }
    }
}

/// What is first done with the bytes that a fault changed, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstUse {
    /// What.
    pub used: Used,
    /// When it is read, on the virtual clock: the beginning of the block of code that reads it, or a little before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns: Option<u64>,
}

impl FirstUse {
    /// Not certain.
    pub const UNKNOWN: FirstUse = FirstUse { used: Used::Unknown, ns: None };

    /// Whether another one says the same, as far as both are certain, and each time is the beginning of a block of code.
    #[must_use]
    pub fn agrees(self, other: FirstUse) -> bool {
        let near = match (self.ns, other.ns) {
            (Some(one), Some(other)) => one.abs_diff(other) <= BLOCK,
            (one, other) => one == other,
        };
        self.used == Used::Unknown || other.used == Used::Unknown || (self.used == other.used && near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_are_certain_agree_on_the_use_and_nearly_on_its_time() {
        let at = |used, ns| FirstUse { used, ns };
        let read = at(Used::Read, Some(5000));
        assert!(read.agrees(at(Used::Read, Some(5000 + BLOCK))) && read.agrees(FirstUse::UNKNOWN));
        assert!(!read.agrees(at(Used::Read, Some(5001 + BLOCK))));
        assert!(!read.agrees(at(Used::Overwritten, None)) && !at(Used::Never, None).agrees(read));
        assert!(FirstUse::UNKNOWN.agrees(read) && at(Used::Never, None).agrees(at(Used::Never, None)));
    }
}
