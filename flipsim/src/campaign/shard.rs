//! A part of a plan, for one of several machines.
//!
//! Invariant: the parts 1/N to N/N have every trial exactly once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::campaign::plan::TrialId;

/// A fixed part of a plan: every trial whose number leaves the same remainder. Written `I/N`, with I from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
        self.has_number(id.0)
    }

    pub(super) fn has_number(self, number: u64) -> bool {
        number % self.count == self.index
    }

    /// The part of this number, from 0, of so many.
    #[must_use]
    pub fn of(index: u64, count: u64) -> Option<Shard> {
        (index < count).then_some(Shard { index, count })
    }

    /// How many trials it has of a plan of so many.
    #[must_use]
    pub fn trials_of(self, planned: u64) -> u64 {
        planned.saturating_sub(self.index).div_ceil(self.count)
    }

    /// Its number, from 0.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// Of how many.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }
}

/// Which part of a campaign a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Of the plan.
    pub shard: Shard,
    /// The SHA-256 of its trials.
    pub plan: String,
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

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}
