//! A part of a plan, for one of several machines.
//!
//! Invariant: the parts 1/N to N/N have every trial exactly once.

use std::fmt;
use std::str::FromStr;

use crate::campaign::plan::TrialId;

/// A fixed part of a plan: every trial whose number leaves the same remainder. Written `I/N`, with I from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub(super) index: u64,
    pub(super) count: u64,
}

impl Shard {
    /// The whole plan.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Whether a trial belongs to it.
    #[must_use]
    pub fn has(self, id: TrialId) -> bool {
        id.0 % self.count == self.index
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

/// Text that is no part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no part of a plan; write I/N with I from 1 to N, as in 2/4")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parts = text.split_once('/').and_then(|(index, count)| {
            let index: u64 = index.trim().parse().ok()?;
            let count: u64 = count.trim().parse().ok()?;
            (1..=count).contains(&index).then(|| Shard { index: index - 1, count })
        });
        parts.ok_or_else(|| ShardError(text.to_owned()))
    }
}
