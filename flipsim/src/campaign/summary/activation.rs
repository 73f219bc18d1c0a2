//! Which faults in RAM were activated: one of the bytes that they changed was read; and what came after that.
//!
//! Invariant: **each trial that counts, and of which it is known, is read, overwritten, never used, or unknown**; a share is
//! of these, and a rate of those that are read.

use serde::Serialize;

use crate::campaign::summary::latency::TimeSummary;
use crate::stats::tally::Rate;
use crate::trial::Used;

/// What was first done with what the faults of a stratum had changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActivationSummary {
    /// The trials that count and of which it was asked.
    pub trials: u64,
    /// Each use, also those that never were.
    pub uses: Vec<UseRow>,
    /// The time from the first read to the guest's report, or to its crash where it reported nothing, of those that are read.
    pub latency: Option<TimeSummary>,
}

/// One use, and the failures that followed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UseRow {
    /// What was done.
    pub used: Used,
    /// With how many trials' bytes.
    pub trials: u64,
    /// Their part of all of which it was asked.
    pub share: Option<Rate>,
    /// How many of them failed.
    pub failures: u64,
    /// The part of them that failed; `None` without one.
    pub rate: Option<Rate>,
}

impl ActivationSummary {
    /// The row of a use.
    #[must_use]
    pub fn of(&self, used: Used) -> Option<&UseRow> {
        self.uses.iter().find(|row| row.used == used)
    }
}
