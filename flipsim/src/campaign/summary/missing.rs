//! What the rates could be if the trials that have no outcome had one.
//!
//! A trial that was given up, or whose flip did not take, is no random one: a guest that a flip makes unusual is the one
//! that a laboratory loses. How many of them would have had an outcome is not known, but is none at least and all at most.
//!
//! Invariant: **nothing is assumed of a trial that is missing**; the bounds have the rate in them, and their interval the bounds.

use serde::Serialize;

use crate::campaign::summary::basis::{Basis, Named, named};
use crate::stats::strata::{Drawing, Strata};
use crate::stats::tally::{Method, Rate};
use crate::stats::{Confidence, Interval, StatsError};
use crate::trial::Outcome;

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
    ///
    /// A missing trial may lie in the live part of the space or not. Taken as live it moves a rate furthest: so the bounds
    /// hold wherever it lies.
    pub(super) fn of_stratum(basis: &Basis<'_>, trials: u64) -> Option<Missing> {
        let of = basis.counted().checked_add(trials).filter(|_| trials > 0)?;
        let rate = |of: &dyn Fn(Outcome) -> bool, hits: u64| {
            let rate = Rate::of(&basis.with(of, [hits, trials]).ok()?, basis.confidence);
            Some((rate.value, rate.estimate(Method::default()).interval))
        };
        let bounds = |(name, of): Named| Some(bounds(name, rate(&of, 0)?, rate(&of, trials)?));
        Some(Missing { trials, of, bounds: named(basis.ecc).into_iter().filter_map(bounds).collect() })
    }

    /// Of several strata with their weights; `None` where no trial is missing.
    pub(super) fn of_several(members: &[Member<'_>], confidence: Confidence) -> Option<Missing> {
        let trials = members.iter().map(|member| member.missing).sum();
        let of = members.iter().map(|member| member.basis.counted() + member.missing).sum();
        if trials == 0 {
            return None;
        }
        let rate = |of: &dyn Fn(Outcome) -> bool, all: bool| -> Result<(f64, Interval), StatsError> {
            let part = |Member { name, basis, missing }: &Member<'_>| {
                basis.stratum(name, of, [if all { *missing } else { 0 }, *missing])
            };
            let parts = members.iter().map(part).collect::<Result<_, _>>()?;
            let rate = Strata::new(parts, Drawing::WithoutReplacement)?.estimate(confidence);
            Ok((rate.value, rate.interval))
        };
        let bounds = |(name, of): Named| Some(bounds(name, rate(&of, false).ok()?, rate(&of, true).ok()?));
        let ecc = members.iter().any(|member| member.basis.ecc);
        Some(Missing { trials, of, bounds: named(ecc).into_iter().filter_map(bounds).collect() })
    }
}

/// One of several strata.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) basis: Basis<'a>,
    /// Trials that were given up, and flips that did not take.
    pub(super) missing: u64,
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
    use crate::campaign::known::Known;
    use crate::campaign::summary::basis::KnownPart;
    use crate::stats::SpaceSize;

    fn missing(counts: &[(Outcome, u64)], known: Option<&KnownPart>, trials: u64) -> Option<Missing> {
        let counts = counts.iter().copied().collect();
        Missing::of_stratum(&Basis::new(&counts, known, SpaceSize(1 << 40), Confidence::P95), trials)
    }

    #[test]
    fn the_bounds_are_none_and_all_of_the_missing_trials() {
        // 1,000 trials, of which 20 fail; ten of these were given up, and nothing else was.
        let counts = [(Outcome::Masked, 980), (Outcome::Crash, 10)];
        let found = missing(&counts, None, 10).unwrap();
        let crash = found.of("crash").unwrap();
        assert_eq!((found.trials, found.of, crash.lower, crash.upper), (10, 1000, 0.01, 0.02));
        // scipy 1.17.1: beta.ppf(.025, 10, 991) and beta.ppf(.975, 21, 980).
        assert!((crash.interval.lower - 0.004_805_510_7).abs() < 1e-9, "{crash:?}");
        assert!((crash.interval.upper - 0.030_720_032_7).abs() < 1e-9, "{crash:?}");
        assert_eq!(missing(&counts, None, 0), None);
    }

    #[test]
    fn a_class_that_never_came_may_be_all_that_is_missing() {
        let found = missing(&[], None, 5).unwrap();
        let failure = found.of("failure").unwrap();
        assert_eq!((failure.lower, failure.upper), (0.0, 1.0));
        assert_eq!((failure.interval.lower, failure.interval.upper), (0.0, 1.0));
    }

    #[test]
    fn where_a_part_is_known_the_bounds_are_of_the_live_one() {
        // 990 of 1,000 trials have a record, 90 of these in the live tenth, of which 45 crashed.
        let live = [(Outcome::Masked, 45), (Outcome::Crash, 45)].into();
        let known = Known { never: 80, overwritten: 10, live: 10 };
        let known = KnownPart::new(&known, live, [990, 10], 0).unwrap();
        assert!(known.used);
        let counts = [(Outcome::Latent, 795), (Outcome::Masked, 150), (Outcome::Crash, 45)];
        let found = missing(&counts, Some(&known), 10).unwrap();
        let [crash, masked, latent] = ["crash", "masked", "latent"].map(|name| found.of(name).unwrap());
        let same = |found: f64, is: f64| assert!((found - is).abs() < 1e-12, "{found} {is}");
        same(crash.lower, 0.1 * 0.45);
        same(crash.upper, 0.1 * 0.55);
        same(masked.lower, 0.1 + 0.1 * 0.45);
        same(latent.lower, 0.8);
        same(latent.upper, 0.8 + 0.1 * 0.1);
    }
}
