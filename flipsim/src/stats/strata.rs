//! One rate from several strata, each with its share of the fault space.
//!
//! Trials are rarely spread over the strata as the faults are: a small stratum gets more than its
//! share, lest it gets none. The plain k/n of all trials would then be the rate of nothing; the pooled
//! rate weights each stratum by its part of the space, Σ N_h/N · k_h/n_h.
//!
//! Invariant: every stratum has faults and trials; the interval of a pooled rate lies in [0, 1].

use std::collections::BTreeSet;

use serde::Serialize;

use super::proportion::clopper_pearson;
use super::special::beta_quantile;
use super::{Confidence, Estimate, Interval, Observed, SpaceSize, StatsError};
use crate::stats::quantity::float;

/// One part of the fault space, and what came of its trials.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stratum {
    name: String,
    size: SpaceSize,
    observed: Observed,
}

impl Stratum {
    /// `hits` of `trials` that were drawn from the `size` faults of a stratum.
    ///
    /// # Errors
    /// No trial, more hits than trials, no faults; each says which stratum.
    pub fn new(name: impl Into<String>, size: SpaceSize, hits: u64, trials: u64) -> Result<Self, StatsError> {
        let name = name.into();
        if size.0 == 0 {
            let why = "it has no faults; leave it out".to_owned();
            return Err(StatsError::Stratum { name, why });
        }
        match Observed::new(hits, trials) {
            Ok(observed) => Ok(Stratum { name, size, observed }),
            Err(StatsError::NoTrials) => Err(StatsError::EmptyStratum(name)),
            Err(error) => Err(StatsError::Stratum { name, why: error.to_string() }),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many faults it has.
    #[must_use]
    pub fn size(&self) -> SpaceSize {
        self.size
    }

    /// What came of its trials.
    #[must_use]
    pub fn observed(&self) -> Observed {
        self.observed
    }
}

/// Whether a fault can be drawn twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// Each draw is from the whole stratum: nothing is gained by a small one.
    WithReplacement,
    /// No fault comes twice: the variance falls with the part of the stratum that is left, to 0.
    WithoutReplacement,
}

/// The strata that make up a fault space.
#[derive(Clone, Debug, PartialEq)]
pub struct Strata {
    parts: Vec<Stratum>,
    drawing: Drawing,
    space: SpaceSize,
}

impl Strata {
    /// A fault space of these strata, which do not overlap.
    ///
    /// # Errors
    /// There is none, two have the same name, or more was drawn without replacement than there is.
    pub fn new(parts: Vec<Stratum>, drawing: Drawing) -> Result<Self, StatsError> {
        if parts.is_empty() {
            return Err(StatsError::NoStrata);
        }
        let mut names = BTreeSet::new();
        let mut space = 0u128;
        for Stratum { name, size, observed } in &parts {
            let refuse = |why: &str| StatsError::Stratum { name: name.clone(), why: why.to_owned() };
            if !names.insert(name) {
                return Err(refuse("it is there twice"));
            }
            if drawing == Drawing::WithoutReplacement && u128::from(observed.trials()) > size.0 {
                return Err(refuse("it has fewer faults than trials, which needs draws with replacement"));
            }
            space = space.checked_add(size.0).ok_or_else(|| refuse("the fault space exceeds 2^128"))?;
        }
        Ok(Strata { parts, drawing, space: SpaceSize(space) })
    }

    /// The strata.
    #[must_use]
    pub fn parts(&self) -> &[Stratum] {
        &self.parts
    }

    /// The size of the whole fault space, for [`Estimate::failures`].
    #[must_use]
    pub fn space(&self) -> SpaceSize {
        self.space
    }

    /// The weight of each stratum, N_h/N, with what was seen there.
    fn weighted(&self) -> impl Iterator<Item = (f64, &Stratum)> {
        self.parts.iter().map(|part| (part.size.float() / self.space.float(), part))
    }

    /// The pooled rate, Σ N_h/N · k_h/n_h; it has no bias (Cochran, "Sampling Techniques", 3rd edition
    /// 1977, chapter 5).
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.weighted().map(|(weight, part)| weight * part.observed.rate()).sum::<f64>().min(1.0)
    }

    /// The standard error of the pooled rate, √(Σ (N_h/N)² (1 − f_h) p_h (1 − p_h)/(n_h − 1)), where
    /// f_h is n_h/N_h for draws without replacement, and 0 with (Cochran, chapter 5); `None` when a
    /// stratum has a single trial of several faults, which shows no spread.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        let mut variance = 0.0;
        for (weight, Stratum { size, observed, .. }) in self.weighted() {
            let (p, n) = (observed.rate(), float(observed.trials()));
            let left = match self.drawing {
                Drawing::WithReplacement => 1.0,
                Drawing::WithoutReplacement => 1.0 - n / size.float(),
            };
            if left <= 0.0 {
                continue;
            }
            if observed.trials() < 2 {
                return None;
            }
            variance += weight * weight * left * p * (1.0 - p) / (n - 1.0);
        }
        Some(variance.sqrt())
    }

    /// The normal interval, rate ± z · [standard error](Strata::standard_error).
    ///
    /// For strata with many hits and many misses each (some tens). With few it is too narrow, and with
    /// none it has no width at all: use [`Strata::estimate`].
    #[must_use]
    pub fn normal(&self, confidence: Confidence) -> Option<Estimate> {
        let half = confidence.z() * self.standard_error()?;
        let value = self.rate();
        let interval = Interval { lower: (value - half).max(0.0), upper: (value + half).min(1.0) };
        Some(Estimate { value, interval })
    }

    /// The pooled rate with the interval to report, right for few hits and for none.
    ///
    /// Each end is the quantile of a beta distribution with the mean and the variance of the pooled
    /// rate, after one more trial in the stratum where it moves the rate furthest: a hit for the upper
    /// end, a miss for the lower. With one stratum that is [`clopper_pearson`]. It is the binomial
    /// counterpart of the gamma interval for weighted sums of Poisson counts (Fay and Feuer, Statistics
    /// in Medicine 16, 1997), and like that one shown to be conservative by simulation, not proven: see
    /// the tests. [`Strata::guaranteed`] is proven. A small population does not make it narrower.
    #[must_use]
    pub fn estimate(&self, confidence: Confidence) -> Estimate {
        let value = self.rate();
        let lower = self.end_after_one_more(false, confidence.tail()).min(value);
        let upper = self.end_after_one_more(true, 1.0 - confidence.tail()).max(value);
        Estimate { value, interval: Interval { lower, upper } }
    }

    fn end_after_one_more(&self, hit: bool, p: f64) -> f64 {
        // What each stratum adds to the mean and the variance, now and after one more trial.
        let rows = self.weighted().map(|(weight, Stratum { observed, .. })| {
            let (rate, n) = (observed.rate(), float(observed.trials()));
            let more = (float(observed.hits()) + f64::from(u8::from(hit))) / (n + 1.0);
            let now = (weight * rate, weight * weight * rate * (1.0 - rate) / n);
            let then = (weight * more, weight * weight * more * (1.0 - more) / (n + 2.0));
            (now, then)
        });
        let rows: Vec<_> = rows.collect();
        let shift = |((now, _), (then, _)): &((f64, f64), (f64, f64))| (then - now).abs();
        let furthest = (0..rows.len()).max_by(|a, b| shift(&rows[*a]).total_cmp(&shift(&rows[*b])));
        let (mut mean, mut variance) = (0.0, 0.0);
        for (number, (now, then)) in rows.iter().enumerate() {
            let (part, spread) = if Some(number) == furthest { then } else { now };
            mean += part;
            variance += spread;
        }
        if variance <= 0.0 || mean <= 0.0 || mean >= 1.0 {
            return mean.clamp(0.0, 1.0);
        }
        // a + b of the beta distribution with this mean and variance; it is positive, as the variance
        // of a mean is below that of one trial.
        let sum = mean * (1.0 - mean) / variance - 1.0;
        beta_quantile(p, mean * sum, (1.0 - mean) * sum)
    }

    /// The interval that covers the pooled rate with at least the confidence, whatever the rates and
    /// however few the trials: each stratum's [`clopper_pearson`] interval at the confidence to the
    /// power 1/H, so that all H hold at once, and the weighted sums of their ends.
    ///
    /// Šidák, JASA 62, 1967, for the confidence of independent intervals. It is wide, the wider the more
    /// strata there are: the ends of all intervals are not met at the same time.
    #[must_use]
    pub fn guaranteed(&self, confidence: Confidence) -> Estimate {
        // The H-th root of a number in (0, 1), kept below 1 also for very many strata.
        let each = confidence.level().powf(1.0 / float(self.parts.len() as u64)).min(1.0 - f64::EPSILON);
        let each = Confidence(each);
        let (mut lower, mut upper) = (0.0, 0.0);
        for (weight, part) in self.weighted() {
            let ends = clopper_pearson(part.observed, each);
            lower += weight * ends.lower;
            upper += weight * ends.upper;
        }
        let value = self.rate();
        Estimate {
            value,
            interval: Interval { lower: f64::min(lower, value), upper: upper.clamp(value, 1.0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::fault_rng;
    use proptest::prelude::*;
    use rand::RngExt;

    fn strata(parts: &[(u128, u64, u64)], drawing: Drawing) -> Strata {
        let parts = parts.iter().enumerate().map(|(number, (size, hits, trials))| {
            Stratum::new(format!("s{number}"), SpaceSize(*size), *hits, *trials).unwrap()
        });
        Strata::new(parts.collect(), drawing).unwrap()
    }

    #[test]
    fn a_stratum_weighs_what_its_faults_weigh() {
        // A tenth of the faults fails in half of the trials, and got half of the trials.
        let both = strata(&[(100, 25, 50), (900, 5, 50)], Drawing::WithoutReplacement);
        assert!((both.rate() - (0.1 * 0.5 + 0.9 * 0.1)).abs() < 1e-15);
        // Cochran's formula by hand: 0.01·(1−1/2)·0.25/49 + 0.81·(1−1/18)·0.09/49.
        let variance: f64 = 0.01 * 0.5 * 0.25 / 49.0 + 0.81 * (17.0 / 18.0) * 0.09 / 49.0;
        assert!((both.standard_error().unwrap() - variance.sqrt()).abs() < 1e-15);
        let again = strata(&[(100, 25, 50), (900, 5, 50)], Drawing::WithReplacement);
        assert!(again.standard_error() > both.standard_error());
        let failures = both.estimate(Confidence::P95).failures(both.space());
        assert!((failures.value - 140.0).abs() < 1e-10);
    }

    #[test]
    fn one_stratum_is_one_rate() {
        let one = strata(&[(1 << 60, 3, 200)], Drawing::WithoutReplacement);
        let observed = one.parts()[0].observed();
        let same = |a: Interval, b: Interval| {
            assert!((a.lower - b.lower).abs() < 1e-12 && (a.upper - b.upper).abs() < 1e-12, "{a:?} {b:?}");
        };
        same(one.estimate(Confidence::P95).interval, clopper_pearson(observed, Confidence::P95));
        same(one.guaranteed(Confidence::P95).interval, clopper_pearson(observed, Confidence::P95));
    }

    #[test]
    fn a_stratum_tried_to_the_end_adds_no_uncertainty() {
        let all = strata(&[(50, 10, 50), (1, 1, 1)], Drawing::WithoutReplacement);
        assert_eq!(all.standard_error(), Some(0.0));
        assert!((all.normal(Confidence::P95).unwrap().value - 11.0 / 51.0).abs() < 1e-15);
        // A single trial of many shows no spread.
        assert_eq!(strata(&[(50, 1, 1)], Drawing::WithoutReplacement).normal(Confidence::P95), None);
    }

    #[test]
    fn numbers_that_make_no_estimate_name_the_stratum() {
        let text = |error: StatsError| error.to_string();
        let made = |size, hits, trials| Stratum::new("Kernel code", SpaceSize(size), hits, trials);
        assert_eq!(made(8, 0, 0), Err(StatsError::EmptyStratum("Kernel code".to_owned())));
        assert!(text(made(8, 2, 1).unwrap_err()).contains("`Kernel code`: 2 hits in 1 trials"));
        assert!(text(made(0, 0, 1).unwrap_err()).contains("`Kernel code`: it has no faults"));
        let join = |parts, drawing| text(Strata::new(parts, drawing).unwrap_err());
        assert!(join(vec![], Drawing::WithReplacement).contains("no stratum"));
        let part = made(8, 0, 9).unwrap();
        let drawing = Drawing::WithReplacement;
        assert!(join(vec![part.clone(), part.clone()], drawing).contains("`Kernel code`: it is there twice"));
        assert!(join(vec![part.clone()], Drawing::WithoutReplacement).contains("fewer faults than trials"));
        let huge = Stratum::new("all", SpaceSize(u128::MAX), 0, 9).unwrap();
        assert!(join(vec![part, huge], drawing).contains("`all`: the fault space exceeds"));
    }

    /// How often the intervals cover the true rate: the normal, the one to report, the guaranteed one.
    fn coverage(parts: &[(u128, f64, u64)], stream: u64) -> [f64; 3] {
        let rounds = 4_000;
        let space: u128 = parts.iter().map(|(size, ..)| size).sum();
        let weight = |size: u128| SpaceSize(size).float() / SpaceSize(space).float();
        let truth: f64 = parts.iter().map(|(size, rate, _)| weight(*size) * rate).sum();
        let mut rng = fault_rng(5, stream);
        let mut covered = [0u32; 3];
        for _ in 0..rounds {
            let drawn: Vec<(u128, u64, u64)> = parts
                .iter()
                .map(|&(size, rate, trials)| {
                    (size, (0..trials).map(|_| u64::from(rng.random::<f64>() < rate)).sum(), trials)
                })
                .collect();
            let drawn = strata(&drawn, Drawing::WithReplacement);
            let intervals = [
                drawn.normal(Confidence::P95).unwrap(),
                drawn.estimate(Confidence::P95),
                drawn.guaranteed(Confidence::P95),
            ];
            for (count, estimate) in covered.iter_mut().zip(intervals) {
                *count += u32::from(estimate.interval.contains(truth));
            }
        }
        covered.map(|count| f64::from(count) / f64::from(rounds))
    }

    #[test]
    fn intervals_cover_the_pooled_rate_as_often_as_they_say() {
        // Whether the normal interval is good enough is part of the claim.
        for (stream, (parts, normal_will_do)) in [
            // Like kernel code, kernel data, page cache, free memory.
            (
                vec![
                    (80 << 20, 0.3, 100),
                    (30 << 20, 0.1, 100),
                    (400 << 20, 0.01, 100),
                    (600 << 20, 0.002, 100),
                ],
                false,
            ),
            // Many equal strata with few trials.
            (vec![(1 << 20, 0.05, 20); 20], false),
            (vec![(1 << 20, 0.005, 30); 10], false),
            // Rare failures in nearly all of the space, and few trials there.
            (vec![(1000, 0.002, 500), (10, 0.5, 50)], false),
            (vec![(900, 0.01, 20), (100, 0.3, 200)], false),
            // Nearly all fails in the largest.
            (vec![(500, 0.98, 40), (100, 0.7, 200), (10, 0.1, 50)], false),
            (vec![(10, 0.999, 5), (1, 0.02, 100)], false),
            // Plenty of everything.
            (vec![(3, 0.4, 300), (2, 0.6, 300)], true),
        ]
        .into_iter()
        .enumerate()
        {
            let [normal, reported, guaranteed] = coverage(&parts, stream as u64);
            // Two standard errors of 4,000 campaigns at 0.95 are 0.007.
            assert!(reported >= 0.95 - 0.007, "{stream}: {reported}");
            assert!(guaranteed >= 0.95 - 0.007, "{stream}: {guaranteed}");
            assert_eq!(normal >= 0.95 - 0.007, normal_will_do, "{stream}: {normal}");
        }
    }

    #[test]
    fn the_interval_to_report_is_narrower_than_the_guaranteed_one() {
        let parts =
            strata(&[(80, 30, 100), (30, 10, 100), (400, 1, 100), (600, 0, 100)], Drawing::WithReplacement);
        let width = |estimate: Estimate| estimate.interval.upper - estimate.interval.lower;
        assert!(width(parts.estimate(Confidence::P95)) < 0.6 * width(parts.guaranteed(Confidence::P95)));
        // No hit anywhere is no proof of none: as much as the weakest stratum leaves open.
        let none = strata(&[(900, 0, 100), (100, 0, 10_000)], Drawing::WithReplacement);
        let upper = none.estimate(Confidence::P95).interval.upper;
        let weakest = clopper_pearson(Observed::new(0, 100).unwrap(), Confidence::P95).upper;
        assert!((upper - 0.9 * weakest).abs() < 0.001, "{upper}");
    }

    proptest! {
        #[test]
        fn intervals_contain_the_rate_and_stay_within_0_and_1(
            parts in proptest::collection::vec((1u128..1 << 60, 0u64..50, 0u64..500), 1..12),
            level in 0.5..0.9999f64
        ) {
            let parts: Vec<_> = parts.into_iter().map(|(size, hits, more)| (size, hits, hits + more + 1)).collect();
            let strata = strata(&parts, Drawing::WithReplacement);
            let confidence = Confidence::new(level).unwrap();
            let all = [
                Some(strata.estimate(confidence)),
                Some(strata.guaranteed(confidence)),
                strata.normal(confidence),
            ];
            for estimate in all.into_iter().flatten() {
                prop_assert!(estimate.interval.contains(estimate.value), "{estimate:?}");
                prop_assert!(estimate.interval.lower >= 0.0 && estimate.interval.upper <= 1.0);
            }
        }
    }
}
