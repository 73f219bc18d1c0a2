//! What the rates could be if the trials that have no outcome had one.
//!
//! A trial that was given up, or whose flip did not take, is no random one: a guest that a flip makes unusual is the one
//! that a laboratory loses. How many of them would have had an outcome is not known, but is none at least and all at most.
//!
//! Invariant: **nothing is assumed of a trial that is missing**; the bounds have the rate in them, and their interval the bounds.

use serde::Serialize;

use crate::stats::strata::{Drawing, Strata, StratumCount};
use crate::stats::tally::{Method, OutcomeCount, Rate};
use crate::stats::{Confidence, Interval, Observed, SpaceSize, StatsError};
use crate::trial::{Class, Outcome};

/// The bounds of the rates of all trials, with those that are missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missing {
    /// Trials that were given up, and flips that did not take.
    pub trials: u64,
    /// Of so many: those that count, and those that are missing.
    pub of: u64,
    /// One entry an outcome, then one a class.
    pub bounds: Vec<Bounds>,
}

/// Between which values a rate is, whatever the missing trials would have been.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// The outcome or the class.
    pub name: &'static str,
    /// Where none of the missing trials had it.
    pub lower: f64,
    /// Where all of them had it.
    pub upper: f64,
    /// From the lower end of the interval of the one rate to the upper end of that of the other.
    pub interval: Interval,
}

impl Missing {
    /// The bounds of an outcome or a class.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Bounds> {
        self.bounds.iter().find(|bounds| bounds.name == name)
    }

    /// Of one stratum; `None` where no trial is missing.
    pub(super) fn of_stratum(
        outcomes: &[OutcomeCount<Outcome>],
        classes: &[OutcomeCount<Class>],
        [counted, trials]: [u64; 2],
        size: SpaceSize,
        confidence: Confidence,
    ) -> Option<Missing> {
        let of = counted.checked_add(trials).filter(|_| trials > 0)?;
        let rate = |hits: u64| {
            let rate = Rate::new(Observed::new(hits, of).ok()?, confidence, Some(size));
            Some((rate.value, rate.estimate(Method::default()).interval))
        };
        let bounds =
            |(name, hits): (&'static str, u64)| Some(bounds(name, rate(hits)?, rate(hits + trials)?));
        Some(Missing { trials, of, bounds: names(outcomes, classes).filter_map(bounds).collect() })
    }

    /// Of several strata with their weights; `None` where no trial is missing.
    pub(super) fn of_several(members: &[Member<'_>], confidence: Confidence) -> Option<Missing> {
        let trials = members.iter().map(|member| member.missing).sum();
        let of = members.iter().map(|member| member.counted + member.missing).sum();
        let first = members.first().filter(|_| trials > 0)?;
        let rate = |name: &str, all: bool| -> Result<(f64, Interval), StatsError> {
            let part = |member: &Member<'_>| {
                let hits = names(member.outcomes, member.classes).find(|(own, _)| *own == name);
                let hits = hits.map_or(0, |(_, hits)| hits) + if all { member.missing } else { 0 };
                StratumCount::new(member.name, member.size, hits, member.counted + member.missing)
            };
            let parts = members.iter().map(part).collect::<Result<_, _>>()?;
            let rate = Strata::new(parts, Drawing::WithoutReplacement)?.estimate(confidence);
            Ok((rate.value, rate.interval))
        };
        let bounds = |(name, _): (&'static str, u64)| {
            Some(bounds(name, rate(name, false).ok()?, rate(name, true).ok()?))
        };
        let bounds = names(first.outcomes, first.classes).filter_map(bounds).collect();
        Some(Missing { trials, of, bounds })
    }
}

/// One of several strata.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) size: SpaceSize,
    pub(super) counted: u64,
    /// Trials that were given up, and flips that did not take.
    pub(super) missing: u64,
    pub(super) outcomes: &'a [OutcomeCount<Outcome>],
    pub(super) classes: &'a [OutcomeCount<Class>],
}

fn names(
    outcomes: &[OutcomeCount<Outcome>],
    classes: &[OutcomeCount<Class>],
) -> impl Iterator<Item = (&'static str, u64)> {
    let outcomes = outcomes.iter().map(|entry| (entry.outcome.name(), entry.count));
    outcomes.chain(classes.iter().map(|entry| (entry.outcome.name(), entry.count)))
}

pub(super) fn bounds(name: &'static str, none: (f64, Interval), all: (f64, Interval)) -> Bounds {
    Bounds {
        name,
        lower: none.0,
        upper: all.0,
        interval: Interval { lower: none.1.lower, upper: all.1.upper },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_none_and_all_of_the_missing_trials() {
        // 1,000 trials, of which 20 fail; ten of these were given up, and nothing else was.
        let rate = |count| OutcomeCount { outcome: Outcome::Crash, count, rate: None };
        let found =
            Missing::of_stratum(&[rate(10)], &[], [990, 10], SpaceSize(1 << 40), Confidence::P95).unwrap();
        let crash = found.of("crash").unwrap();
        assert_eq!((found.trials, found.of, crash.lower, crash.upper), (10, 1000, 0.01, 0.02));
        // scipy 1.17.1: beta.ppf(.025, 10, 991) and beta.ppf(.975, 21, 980).
        assert!((crash.interval.lower - 0.004_805_510_7).abs() < 1e-9, "{crash:?}");
        assert!((crash.interval.upper - 0.030_720_032_7).abs() < 1e-9, "{crash:?}");
        assert_eq!(
            Missing::of_stratum(&[rate(10)], &[], [990, 0], SpaceSize(1 << 40), Confidence::P95),
            None
        );
    }

    #[test]
    fn a_class_that_never_came_may_be_all_that_is_missing() {
        let class = OutcomeCount { outcome: Class::Failure, count: 0, rate: None };
        let found = Missing::of_stratum(&[], &[class], [0, 5], SpaceSize(1 << 40), Confidence::P95).unwrap();
        let failure = found.of("failure").unwrap();
        assert_eq!((failure.lower, failure.upper), (0.0, 1.0));
        assert_eq!((failure.interval.lower, failure.interval.upper), (0.0, 1.0));
    }
}
