//! What the rates of a stratum are made of: its counted trials, and what is known of it without a trial.
//!
//! Invariant: **all rates of a stratum are made here**, so that what is known is in all of them or in none.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::campaign::known::Known;
use crate::campaign::ways::{grouped, percent};
use crate::stats::known::{PartlyKnown, agree};
use crate::stats::sample::{margin_of, trials_for_margin};
use crate::stats::simultaneous::simultaneous;
use crate::stats::strata::StratumCount;
use crate::stats::tally::Rate;
use crate::stats::{Confidence, Interval, Observed, Share, SpaceSize, StatsError};
use crate::trial::{Class, Outcome};

/// How sure it must be that trials were not all looked up before intervals are the plain ones: so many of a thousand
/// campaigns have plain intervals without need.
const DOUBT: f64 = 0.999;

/// The interval of an outcome that holds together with those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Together {
    /// Which.
    pub outcome: Outcome,
    /// As [`crate::stats::simultaneous::simultaneous`] has it.
    #[serde(flatten)]
    pub interval: Interval,
}

/// What is known of a stratum without a trial: exact shares of its (fault, moment) pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownPart {
    /// What the golden run never accesses again: surely latent.
    pub never: f64,
    /// What it overwrites first: surely masked.
    pub overwritten: f64,
    /// What only trials say something of.
    pub live: f64,
    /// Counted trials in the live part.
    pub live_trials: u64,
    /// Their outcomes.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Whether rates and intervals are made of it: not where `live_trials` are not what `live` lets expect.
    pub used: bool,
}

impl KnownPart {
    /// Of a stratum with so many trials that count, and so many of which it is not known where they lie; `outcomes` are
    /// those in the live part, among them `not_asked` of which it was never asked whether they are there.
    pub(super) fn new(
        known: &Known,
        outcomes: BTreeMap<Outcome, u64>,
        [counted, missing]: [u64; 2],
        not_asked: u64,
    ) -> Option<Self> {
        let [never, overwritten, live] = known.shares()?;
        let live_trials = outcomes.values().sum();
        let used =
            not_asked == 0 && agree(live, [live_trials, counted], missing, Confidence::new(DOUBT).ok()?);
        Some(KnownPart { never, overwritten, live, live_trials, outcomes, used })
    }

    /// How much of the space is live, for the inside of a sentence, and what the intervals are.
    #[must_use]
    pub fn line(&self) -> String {
        let KnownPart { never, overwritten, live, live_trials, used, .. } = self;
        let shares = format!(
            "{} of its faults, exactly ({} never read again, {} overwritten first)",
            percent(*live),
            percent(*never),
            percent(*overwritten)
        );
        let trials = grouped(*live_trials);
        if *used {
            format!("{shares}; intervals are those of the {trials} trials there, times that share")
        } else {
            format!("{shares}; intervals are the plain ones")
        }
    }

    /// The share that surely has one of these outcomes.
    fn certain(&self, of: &dyn Fn(Outcome) -> bool) -> f64 {
        let share = |outcome, share| if of(outcome) { share } else { 0.0 };
        share(Outcome::Latent, self.never) + share(Outcome::Masked, self.overwritten)
    }
}

/// The trials of a stratum that rates are of.
#[derive(Clone, Copy)]
pub(super) struct Basis<'a> {
    /// By outcome; `infra` may be among them.
    counts: &'a BTreeMap<Outcome, u64>,
    counted: u64,
    known: Option<&'a KnownPart>,
    space: Option<SpaceSize>,
    pub(super) confidence: Confidence,
    /// Whether its trials have memory that corrects errors.
    pub(super) ecc: bool,
}

fn sum(counts: &BTreeMap<Outcome, u64>, of: &dyn Fn(Outcome) -> bool) -> u64 {
    let counted = counts.iter().filter(|(outcome, _)| outcome.is_counted() && of(**outcome));
    counted.map(|(_, count)| count).sum()
}

impl<'a> Basis<'a> {
    pub(super) fn new(
        counts: &'a BTreeMap<Outcome, u64>,
        known: Option<&'a KnownPart>,
        space: SpaceSize,
        confidence: Confidence,
    ) -> Self {
        let known = known.filter(|known| known.used);
        Basis { counts, counted: sum(counts, &|_| true), known, space: Some(space), confidence, ecc: false }
    }

    /// The same of trials whose memory corrects errors, or does not.
    pub(super) fn behind(self, ecc: bool) -> Self {
        Basis { ecc, ..self }
    }

    /// The same without the size of the space: rates have no extrapolated number.
    pub(super) fn without_size(self) -> Self {
        Basis { space: None, ..self }
    }

    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// What is known of the share of some outcomes, with `more` trials in the live part, of which so many have one of them.
    pub(super) fn with(
        &self,
        of: &dyn Fn(Outcome) -> bool,
        [more_hits, more]: [u64; 2],
    ) -> Result<PartlyKnown, StatsError> {
        if self.counted + more == 0 {
            return Err(StatsError::NoTrials);
        }
        match self.known {
            Some(known) => PartlyKnown::new(
                [known.certain(of), known.live],
                [sum(&known.outcomes, of) + more_hits, known.live_trials + more],
                self.space,
            ),
            None => Observed::new(sum(self.counts, of) + more_hits, self.counted + more)
                .map(|seen| PartlyKnown::plain(seen, self.space)),
        }
    }

    /// What is known of the share of some outcomes.
    pub(super) fn of(&self, of: &dyn Fn(Outcome) -> bool) -> Result<PartlyKnown, StatsError> {
        self.with(of, [0, 0])
    }

    /// What is known of the share of something that only a live trial has, such as a failure of some kind.
    pub(super) fn live(&self, hits: u64) -> Result<PartlyKnown, StatsError> {
        self.with(&|_| false, [hits, 0])
    }

    /// The rate of some outcomes; `None` without a trial that counts.
    pub(super) fn rate(&self, of: &dyn Fn(Outcome) -> bool) -> Option<Rate> {
        Some(Rate::of(&self.of(of).ok()?, self.confidence))
    }

    /// The rate of something that only a live trial has.
    pub(super) fn live_rate(&self, hits: u64) -> Option<Rate> {
        Some(Rate::of(&self.live(hits).ok()?, self.confidence))
    }

    /// Intervals of all outcomes that hold at once, in the order of the outcomes; empty without a trial that counts.
    pub(super) fn simultaneous(&self) -> Vec<(Outcome, Interval)> {
        let outcomes: Vec<Outcome> = counted_outcomes(self.ecc).collect();
        let counts = self.known.map_or(self.counts, |known| &known.outcomes);
        let each: Vec<u64> =
            outcomes.iter().map(|outcome| counts.get(outcome).copied().unwrap_or(0)).collect();
        let found = simultaneous(&each, self.confidence).unwrap_or_default();
        let place = |(at, outcome): (usize, Outcome)| {
            let known = self.of(&|one| one == outcome).ok()?;
            let whole = Interval { lower: 0.0, upper: 1.0 };
            Some((outcome, known.interval(|_, _| found.get(at).copied().unwrap_or(whole))))
        };
        outcomes.iter().copied().enumerate().filter_map(place).collect()
    }

    /// Half the width of the widest (normal) interval that so many trials can have; `None` without one that counts.
    pub(super) fn margin(&self) -> Option<f64> {
        let open = self.of(&|_| false).ok()?;
        let trials = open.seen().map_or(0, Observed::trials);
        let margin = margin_of(trials, self.confidence, Share::HALF, open.live_size());
        Some(margin.unwrap_or(0.5) * open.live())
    }

    /// How many trials it takes for a margin; 0 where no number is needed.
    pub(super) fn trials_for(&self, margin: f64) -> u64 {
        let live = self.known.map_or(1.0, |known| known.live);
        let size = self.of(&|_| false).ok().and_then(|open| open.live_size());
        let of_live = Share::new(margin / live)
            .and_then(|margin| trials_for_margin(margin, self.confidence, Share::HALF, size.or(self.space)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "not negative, and a cast saturates"
        )]
        let all = |trials: u64| (trials as f64 / live).ceil() as u64;
        of_live.map_or(0, all)
    }

    /// What it is of several strata, for some outcomes and `more` trials as in [`Basis::with`].
    pub(super) fn stratum(
        &self,
        name: &str,
        of: &dyn Fn(Outcome) -> bool,
        more: [u64; 2],
    ) -> Result<StratumCount, StatsError> {
        let size = self.space.unwrap_or(SpaceSize(0));
        match self.with(of, more) {
            Err(StatsError::NoTrials) => Err(StatsError::EmptyStratum(name.to_owned())),
            known => StratumCount::of(name, size, known?),
        }
    }
}

/// The outcomes that rates count, in their order, of trials whose memory corrects errors or does not.
pub(super) fn counted_outcomes(ecc: bool) -> impl Iterator<Item = Outcome> {
    Outcome::ALL.into_iter().filter(move |outcome| outcome.is_counted() && outcome.is_of(ecc))
}

/// An outcome or a class by its name: whether an outcome belongs to it.
pub(super) type Named = (&'static str, Box<dyn Fn(Outcome) -> bool>);

/// All that has a rate there: outcomes, then classes.
pub(super) fn named(ecc: bool) -> Vec<Named> {
    let outcome = |outcome: Outcome| -> Named { (outcome.name(), Box::new(move |one| one == outcome)) };
    let class = |class: Class| -> Named { (class.name(), Box::new(move |one| class.has(one))) };
    counted_outcomes(ecc).map(outcome).chain(Class::ALL.into_iter().map(class)).collect()
}

#[cfg(test)]
mod tests;
