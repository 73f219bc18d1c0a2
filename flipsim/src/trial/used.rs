//! What is first done with what a fault in RAM has changed: a fault is activated once one of its bytes is read.
//!
//! Invariant: **it is of the golden run**, which the guest is up to there; where that is not certain, it is unknown.

use serde::{Deserialize, Serialize};

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
}
