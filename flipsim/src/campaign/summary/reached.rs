//! How far the trials of a stratum got whose guest is followed from power-on.
//!
//! Invariant: each trial that counts is in one row, under its outcome; but for errors that memory reports and cannot correct,
//! of which no guest is run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::console::signals::Reached;
use crate::trial::{Class, Outcome};

/// The trials of a stratum by how far they got; each with their outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ReachedSummary(BTreeMap<Reached, BTreeMap<Outcome, u64>>);

impl ReachedSummary {
    /// Takes in a trial that counts.
    pub(super) fn add(&mut self, reached: Option<Reached>, outcome: Outcome) {
        if let Some(reached) = reached {
            *self.0.entry(reached).or_default().entry(outcome).or_default() += 1;
        }
    }

    /// `None` where no guest was followed from power-on.
    pub(super) fn finish(mut self) -> Option<ReachedSummary> {
        if self.0.is_empty() {
            return None;
        }
        for reached in [Reached::BeforeUserspace, Reached::Userspace] {
            self.0.entry(reached).or_default();
        }
        Some(self)
    }

    /// The rows: how many trials, how many of them are failures, and their outcomes.
    pub fn rows(&self) -> impl Iterator<Item = (Reached, u64, u64, &BTreeMap<Outcome, u64>)> {
        self.0.iter().map(|(reached, outcomes)| {
            let failures = outcomes.iter().filter(|(outcome, _)| Class::Failure.has(**outcome));
            (*reached, outcomes.values().sum(), failures.map(|(_, count)| count).sum(), outcomes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::shard::Shard;
    use crate::campaign::summary::{Summary, SummaryOptions};
    use crate::testing::fake_campaign as fake;

    #[test]
    fn each_trial_that_counts_is_in_one_row() {
        let folder = tempfile::tempdir().unwrap();
        let spec = fake::spec(300, &["class:core"]);
        let mut store = fake::create(&folder.path().join("c.sqlite"), &spec).unwrap();
        let mut pending = store.pending(Shard::WHOLE).unwrap();
        pending.sort_unstable();
        let (mut early, mut failed) = (0, 0);
        for id in pending {
            let mut record = fake::record(&store.planned(id).unwrap());
            let is_early = id.0.is_multiple_of(3);
            record.reached = Some(if is_early { Reached::BeforeUserspace } else { Reached::Userspace });
            let counts = record.outcome.filter(|outcome| *outcome != Outcome::Infra);
            early += u64::from(is_early && counts.is_some());
            failed += u64::from(is_early && counts.is_some_and(|outcome| Class::Failure.has(outcome)));
            store.record(id, &record).unwrap();
        }
        let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let stratum = &summary.strata[0];
        let rows: Vec<_> = stratum.reached.as_ref().unwrap().rows().collect();
        assert_eq!((rows[0].0, rows[0].1, rows[0].2), (Reached::BeforeUserspace, early, failed));
        assert_eq!(rows[0].1 + rows[1].1, stratum.counted);
        assert!(serde_json::to_string(stratum).unwrap().contains("\"before-userspace\":{"));
        // Of other guests nothing is said.
        let mut plain = fake::create(&folder.path().join("p.sqlite"), &spec).unwrap();
        fake::fill(&mut plain, 300).unwrap();
        let summary = Summary::new(&plain, &SummaryOptions::default()).unwrap();
        assert_eq!(summary.strata[0].reached, None);
    }
}
