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
