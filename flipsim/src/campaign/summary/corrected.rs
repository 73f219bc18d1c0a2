//! What the workload counted, and which trials it has corrected by its own word.
//!
//! Invariant: corrected trials are some of the masked and latent ones; each count has all trials that count as its basis.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::campaign::corrected::is_corrected;
use crate::campaign::store::read::ResultRow;
use crate::campaign::summary::basis::Basis;
use crate::stats::tally::Rate;
use crate::trial::Outcome;

/// What was corrected in a stratum, and what was counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorrectedSummary {
    /// Masked and latent trials in which a count was above the golden run's.
    pub corrected: u64,
    /// Their part of all that count.
    pub rate: Option<Rate>,
    /// One entry a count, by name.
    pub counts: Vec<CountRow>,
}

/// One count of a stratum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CountRow {
    /// Its name.
    pub name: String,
    /// What it is in the golden run.
    pub golden: u64,
    /// In how many trials it was above that, by outcome; those in which it never was are not there.
    pub above: BTreeMap<Outcome, u64>,
    /// In how many trials it was below that, whatever their outcome.
    pub below: u64,
    /// The largest.
    pub largest: u64,
}

/// What is gathered of a stratum.
#[derive(Default)]
pub(super) struct Corrections {
    corrected: u64,
    counts: BTreeMap<String, Count>,
}

#[derive(Default)]
struct Count {
    above: BTreeMap<Outcome, u64>,
    below: u64,
    largest: u64,
}

impl Corrections {
    /// Takes in a trial that counts.
    pub(super) fn add(&mut self, row: &ResultRow, outcome: Outcome, golden: &BTreeMap<String, u64>) {
        self.corrected += u64::from(is_corrected(Some(outcome), &row.counts, golden));
        for (name, count) in &row.counts {
            let right = golden.get(name).copied().unwrap_or(0);
            let own = self.counts.entry(name.clone()).or_default();
            own.largest = own.largest.max(*count);
            own.below += u64::from(*count < right);
            if *count > right {
                *own.above.entry(outcome).or_default() += 1;
            }
        }
    }

    /// `None` where nothing is counted.
    pub(super) fn finish(
        self,
        golden: &BTreeMap<String, u64>,
        basis: &Basis<'_>,
    ) -> Option<CorrectedSummary> {
        let counts = self.counts.into_iter().map(|(name, count)| {
            let Count { above, below, largest } = count;
            CountRow { golden: golden.get(&name).copied().unwrap_or(0), name, above, below, largest }
        });
        let counts: Vec<CountRow> = counts.collect();
        let rate = basis.live_rate(self.corrected);
        (!counts.is_empty()).then_some(CorrectedSummary { corrected: self.corrected, rate, counts })
    }
}

#[cfg(test)]
mod tests {
    use crate::campaign::shard::Shard;
    use crate::campaign::summary::{Summary, SummaryOptions};
    use crate::console::signals::Signals;
    use crate::testing::fake_campaign as fake;
    use crate::trial::Outcome;

    #[test]
    fn what_was_counted_has_a_row_and_what_was_corrected_a_rate() {
        let folder = tempfile::tempdir().unwrap();
        let mut golden = fake::golden();
        golden.signals = toml::from_str::<Signals>("count = 'corrected (\\d+)'").unwrap();
        golden.console = b"corrected 1\n".to_vec();
        let spec = fake::spec(300, &["class:core"]);
        let mut store = fake::create_of(&folder.path().join("c.sqlite"), &spec, &golden).unwrap();
        let mut pending = store.pending(Shard::WHOLE).unwrap();
        pending.sort_unstable();
        let (mut corrected, mut above, mut below) = (0, 0, 0);
        for id in pending {
            let mut record = fake::record(&store.planned(id).unwrap());
            let count = id.0 % 4;
            record.counts = [("corrected".to_owned(), count)].into();
            if record.outcome.is_some() {
                above += u64::from(count > 1);
                below += u64::from(count < 1);
                corrected +=
                    u64::from(count > 1 && matches!(record.outcome, Some(Outcome::Masked | Outcome::Latent)));
            }
            store.record(id, &record).unwrap();
        }
        let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let stratum = &summary.strata[0];
        let found = stratum.corrected.as_ref().unwrap();
        assert_eq!(found.corrected, corrected);
        let rate = found.rate.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let share = corrected as f64 / stratum.counted as f64;
        assert!((rate.value - share).abs() < 1e-12);
        let row = &found.counts[0];
        assert_eq!((row.name.as_str(), row.golden, row.below, row.largest), ("corrected", 1, below, 3));
        assert_eq!(row.above.values().sum::<u64>(), above);
        // Where nothing is counted nothing is said.
        let mut plain = fake::create(&folder.path().join("p.sqlite"), &spec).unwrap();
        fake::fill(&mut plain, 300).unwrap();
        let summary = Summary::new(&plain, &SummaryOptions::default()).unwrap();
        assert_eq!(summary.strata[0].corrected, None);
        assert!(!serde_json::to_string(&summary.strata[0]).unwrap().contains("\"corrected\""));
    }
}
