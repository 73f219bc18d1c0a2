//! Counts which faults were activated, trial by trial.
//!
//! Invariant: a trial of which it was not asked is not counted.

use std::collections::BTreeMap;

use crate::campaign::store::read::ResultRow;
use crate::campaign::summary::activation::{ActivationSummary, UseRow};
use crate::campaign::summary::times::{Looks, Times, times};
use crate::stats::tally::Rate;
use crate::stats::turnbull::Lapse;
use crate::stats::{Confidence, Observed};
use crate::trial::{Class, Outcome, Used};

/// What is gathered of a stratum.
#[derive(Default)]
pub(super) struct Activations {
    /// Trials and failures.
    uses: BTreeMap<Used, [u64; 2]>,
    latency: Vec<Lapse>,
}

impl Activations {
    /// Takes in a trial that counts.
    pub(super) fn add(&mut self, row: &ResultRow, outcome: Outcome, looks: Option<&Looks>) {
        let Some(first) = row.first_use else { return };
        let [trials, failures] = self.uses.entry(first.used).or_default();
        *trials += 1;
        *failures += u64::from(Class::Failure.has(outcome));
        let is_seen = row.detected_ns.is_some() || outcome == Outcome::Crash;
        let Some(ns) = first.ns.filter(|_| is_seen) else { return };
        let from_use = ResultRow { flip_ns: Some(ns), ..row.clone() };
        self.latency
            .extend(Times::of(&from_use, outcome, looks).and_then(|times| times.detected.or(times.crashed)));
    }

    /// `None` where it is known of no trial.
    pub(super) fn finish(self, confidence: Confidence) -> Option<ActivationSummary> {
        let trials: u64 = self.uses.values().map(|[trials, _]| trials).sum();
        let rate = |hits, of| Some(Rate::new(Observed::new(hits, of).ok()?, confidence, None));
        let uses = Used::ALL.map(|used| {
            let [own, failures] = self.uses.get(&used).copied().unwrap_or_default();
            UseRow { used, trials: own, share: rate(own, trials), failures, rate: rate(failures, own) }
        });
        let read = uses[Used::Read as usize].trials;
        let latency = times(&self.latency, read, confidence);
        (trials > 0).then(|| ActivationSummary { trials, uses: uses.into(), latency })
    }
}

#[cfg(test)]
mod tests {
    use crate::campaign::shard::Shard;
    use crate::campaign::summary::{Summary, SummaryOptions};
    use crate::testing::fake_campaign as fake;
    use crate::trial::{Class, FirstUse, Outcome, Used};

    #[test]
    fn each_trial_has_one_use_and_rates_are_of_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let spec = fake::spec(300, &["class:core"]);
        let mut store = fake::create(&folder.path().join("c.sqlite"), &spec).unwrap();
        let mut pending = store.pending(Shard::WHOLE).unwrap();
        pending.sort_unstable();
        let (mut trials, mut failures, mut seen) = ([0u64; 4], [0u64; 4], 0);
        for id in pending {
            let mut record = fake::record(&store.planned(id).unwrap());
            let used = Used::ALL[(id.0 % 4) as usize];
            let ns = (used == Used::Read).then_some(record.flip_ns + 3);
            // Of every fifth it was not asked.
            record.first_use = Some(FirstUse { used, ns }).filter(|_| id.0 % 5 > 0);
            if let (Some(outcome), Some(_), true) = (record.outcome, record.first_use, record.flipped)
                && outcome.is_counted()
            {
                trials[used as usize] += 1;
                failures[used as usize] += u64::from(Class::Failure.has(outcome));
                let shown = record.detected_ns.is_some() || outcome == Outcome::Crash;
                seen += u64::from(shown && used == Used::Read);
            }
            store.record(id, &record).unwrap();
        }
        let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let found = summary.strata[0].activation.as_ref().unwrap();
        assert_eq!(found.trials, trials.iter().sum::<u64>());
        for (row, (trials, failures)) in found.uses.iter().zip(trials.into_iter().zip(failures)) {
            assert_eq!((row.trials, row.failures), (trials, failures), "{:?}", row.used);
            #[expect(clippy::cast_precision_loss, reason = "hundreds")]
            let rate = failures as f64 / trials as f64;
            assert!((row.rate.unwrap().value - rate).abs() < 1e-12 && failures > 0, "{row:?}");
        }
        let latency = found.latency.as_ref().unwrap();
        assert!(seen > 0 && latency.trials == seen, "{latency:?}");
        let plain = fake::create(&folder.path().join("p.sqlite"), &spec).unwrap();
        assert_eq!(Summary::new(&plain, &SummaryOptions::default()).unwrap().strata[0].activation, None);
    }
}
