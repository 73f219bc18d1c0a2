//! How many trials it takes, and how good so many are.
//!
//! Invariant: a number of trials is rounded up, a margin is never better than what was run.

use serde::Serialize;

use super::proportion::{lower_limit, wilson};
use super::special::beta_quantile;
use super::{Confidence, Estimate, Interval, Observed, Share, SpaceSize, StatsError};
use crate::stats::quantity::float;

/// The trials that bring the margin of the normal interval down to `margin`:
/// n = N / (1 + e² (N − 1) / (t² p (1 − p))), without a population t² p (1 − p) / e².
///
/// `rate` is the guess of the outcome's rate; [`Share::HALF`] needs the most trials and is what to
/// take when nothing is known (Leveugle, Calvez, Maistri and Vanhauwaert, "Statistical Fault
/// Injection: Quantified Error and Confidence", DATE 2009). The population is for draws without
/// replacement; it hardly matters above some millions of faults.
///
/// # Errors
/// The margin or the rate is 0 or 1.
pub fn trials_for_margin(
    margin: Share,
    confidence: Confidence,
    rate: Share,
    population: Option<SpaceSize>,
) -> Result<u64, StatsError> {
    trials_for(margin.value(), confidence, rate, population)
}

fn trials_for(
    margin: f64,
    confidence: Confidence,
    rate: Share,
    population: Option<SpaceSize>,
) -> Result<u64, StatsError> {
    let p = rate.value();
    let inside = |value: f64| value > 0.0 && value < 1.0;
    if !inside(margin) || !inside(p) {
        return Err(StatsError::Precision { margin, rate: p });
    }
    let unlimited = confidence.z().powi(2) * p * (1.0 - p) / margin.powi(2);
    Ok(round_up(match population {
        None => unlimited,
        Some(size) => size.float() / (1.0 + (size.float() - 1.0) / unlimited),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and a cast saturates"
)]
fn round_up(count: f64) -> u64 {
    count.ceil() as u64
}

/// The margin of the normal interval that so many trials reach: t √(p (1 − p) / n · (N − n) / (N − 1)),
/// the inverse of [`trials_for_margin`]; 0 when the whole population was tried, `None` without a trial.
#[must_use]
pub fn margin_of(
    trials: u64,
    confidence: Confidence,
    rate: Share,
    population: Option<SpaceSize>,
) -> Option<f64> {
    let (p, n) = (rate.value(), float(trials));
    let unseen = match population {
        Some(size) if u128::from(trials) >= size.0 => 0.0,
        Some(size) => (size.float() - n) / (size.float() - 1.0),
        None => 1.0,
    };
    (trials > 0).then(|| confidence.z() * (p * (1.0 - p) / n * unseen).sqrt())
}

/// The trials after which the margin of a rare outcome is the share `relative` of its `rate`:
/// [`trials_for_margin`] with e = r·p, which is t² (1 − p) / (r² p) for a large population.
///
/// # Errors
/// The precision or the rate is 0 or 1.
pub fn trials_for_relative(
    relative: Share,
    confidence: Confidence,
    rate: Share,
    population: Option<SpaceSize>,
) -> Result<u64, StatsError> {
    trials_for(relative.value() * rate.value(), confidence, rate, population)
}

/// The hits after which the margin is at most the share `relative` of the rate, however rare the
/// outcome is: t² / r², 97 for 20 % at 95 %.
///
/// For planning. **Who stops a campaign at this number of hits has made the number of trials a part
/// of the result, and the plain rate k/n is too high on the average:** use
/// [`after_fixed_hits`] then, or fix the number of trials beforehand.
///
/// # Errors
/// The precision is 0.
pub fn hits_for_relative(relative: Share, confidence: Confidence) -> Result<u64, StatsError> {
    let r = relative.value();
    if r > 0.0 {
        Ok(round_up((confidence.z() / r).powi(2)))
    } else {
        Err(StatsError::Precision { margin: r, rate: 0.0 })
    }
}

/// The rate after sampling that was to stop at the k-th hit, which the last trial was: the unbiased
/// (k − 1)/(n − 1), and the exact interval of the negative binomial distribution, from quantile α/2 of
/// Beta(k, n − k + 1) to quantile 1 − α/2 of Beta(k, n − k).
///
/// Haldane, "On a Method of Estimating Frequencies", Biometrika 33, 1945. With several workers the
/// trials must be cut at the k-th hit in the order of the plan, not in the order in which they ended.
///
/// # Errors
/// Fewer than 2 hits.
pub fn after_fixed_hits(observed: Observed, confidence: Confidence) -> Result<Estimate, StatsError> {
    let (k, n) = (observed.hits(), observed.trials());
    if k < 2 {
        return Err(StatsError::TooFewHits(k));
    }
    let tail = confidence.tail();
    let upper = if k == n { 1.0 } else { beta_quantile(1.0 - tail, float(k), float(n - k)) };
    Ok(Estimate {
        value: float(k - 1) / float(n - 1),
        interval: Interval { lower: lower_limit(observed, tail), upper },
    })
}

/// One row of a convergence curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConvergenceRow {
    /// So many hits among so many trials.
    #[serde(flatten)]
    pub observed: Observed,
    /// The rate after them, with its Wilson interval.
    #[serde(flatten)]
    pub rate: Estimate,
}

/// The rate as the trials came in, at about `per_decade` numbers of trials in each power of ten, and
/// at the last.
///
/// In the order of the plan: in the order in which trials end, the short ones come first. The curve
/// shows how a campaign settled. It is no rule to stop by, as a rate that is looked at again and again
/// leaves its interval sooner or later.
#[must_use]
pub fn convergence(
    hits: impl IntoIterator<Item = bool>,
    confidence: Confidence,
    per_decade: u32,
) -> Vec<ConvergenceRow> {
    // At most a thousand, so that a step is one that rounding does not swallow.
    let step = 10f64.powf(1.0 / f64::from(per_decade.clamp(1, 1000)));
    let row = |observed: Observed| ConvergenceRow { observed, rate: observed.estimate(confidence) };
    let mut rows: Vec<ConvergenceRow> = Vec::new();
    let mut seen = Observed { hits: 0, trials: 0 };
    let mut next = 1.0;
    for hit in hits {
        seen.trials += 1;
        seen.hits += u64::from(hit);
        // A power of ten is met in spite of rounding.
        if float(seen.trials) >= next * (1.0 - 1e-9) {
            rows.push(row(seen));
            while next * (1.0 - 1e-9) <= float(seen.trials) {
                next *= step;
            }
        }
    }
    if rows.last().is_some_and(|last| last.observed.trials < seen.trials) {
        rows.push(row(seen));
    }
    rows
}

/// The width of the [`wilson`] interval, relative to the rate, halved: what `--relative` asks for;
/// `None` without a hit, when there is nothing to be relative to.
#[must_use]
pub fn relative_half_width(observed: Observed, confidence: Confidence) -> Option<f64> {
    let Interval { lower, upper } = wilson(observed, confidence);
    (observed.hits() > 0).then(|| (upper - lower) / 2.0 / observed.rate())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::fault_rng;
    use proptest::prelude::*;
    use rand::RngExt;

    fn share(value: f64) -> Share {
        Share::new(value).unwrap()
    }

    fn level(level: f64) -> Confidence {
        Confidence::new(level).unwrap()
    }

    /// Leveugle et al., DATE 2009: p = 0.5.
    #[test]
    fn sample_sizes_are_those_of_leveugle() {
        let trials = |margin, confidence, population: Option<u128>| {
            trials_for_margin(share(margin), level(confidence), Share::HALF, population.map(SpaceSize))
                .unwrap()
        };
        assert_eq!(trials(0.01, 0.95, None), 9_604);
        assert_eq!(trials(0.05, 0.95, None), 385);
        assert_eq!(trials(0.01, 0.99, None), 16_588);
        assert_eq!(trials(0.01, 0.998, None), 23_874);
        // A population of a million: the textbooks' 9,513 of the finite population correction.
        assert_eq!(trials(0.01, 0.95, Some(1_000_000)), 9_513);
        // 2^60 faults are as good as without end, and no population is tried more than once.
        assert_eq!(trials(0.01, 0.95, Some(1 << 60)), 9_604);
        assert_eq!(trials(0.000_001, 0.95, Some(1_000)), 1_000);
        assert_eq!(trials(0.01, 0.95, Some(1)), 1);
    }

    #[test]
    fn a_margin_of_nothing_is_refused() {
        for (margin, rate) in [(0.0, 0.5), (1.0, 0.5), (0.01, 0.0), (0.01, 1.0)] {
            let refused = trials_for_margin(share(margin), Confidence::P95, share(rate), None);
            assert_eq!(refused, Err(StatsError::Precision { margin, rate }));
        }
        assert!(hits_for_relative(share(0.0), Confidence::P95).is_err());
        assert_eq!(margin_of(0, Confidence::P95, Share::HALF, None), None);
        assert_eq!(margin_of(10, Confidence::P95, Share::HALF, Some(SpaceSize(10))), Some(0.0));
    }

    #[test]
    fn rare_outcomes_take_trials_by_their_rate() {
        let (relative, rate) = (share(0.2), share(0.001));
        // 1.96² · 0.999 / (0.2² · 0.001) = 95,940.
        assert_eq!(trials_for_relative(relative, Confidence::P95, rate, None), Ok(95_941));
        assert_eq!(hits_for_relative(relative, Confidence::P95), Ok(97));
        let observed = Observed::new(97, 97_000).unwrap();
        let reached = relative_half_width(observed, Confidence::P95).unwrap();
        assert!((reached - 0.2).abs() < 0.003, "{reached}");
        assert_eq!(relative_half_width(Observed::new(0, 9).unwrap(), Confidence::P95), None);
    }

    /// scipy 1.17.1: `beta.ppf(a, k, n - k + 1)`, `beta.ppf(1 - a, k, n - k)`.
    #[test]
    fn stopping_at_a_number_of_hits_has_its_own_interval() {
        for (hits, trials, confidence, lower, upper) in [
            (10, 1000, 0.95, 0.004_805_510_691_049_309, 0.017_032_746_770_250_96),
            (97, 12_345, 0.95, 0.006_376_334_220_886_676, 0.009_488_939_964_826_64),
            (5, 5, 0.9, 0.549_280_271_653_058_8, 1.0),
        ] {
            let observed = Observed::new(hits, trials).unwrap();
            let Estimate { value, interval } = after_fixed_hits(observed, level(confidence)).unwrap();
            assert!((interval.lower - lower).abs() < 1e-10 && (interval.upper - upper).abs() < 1e-10);
            assert!(interval.contains(value));
        }
        let one = Observed::new(1, 5).unwrap();
        assert_eq!(after_fixed_hits(one, Confidence::P95), Err(StatsError::TooFewHits(1)));
    }

    #[test]
    fn stopping_at_a_number_of_hits_biases_the_plain_rate_and_not_haldanes() {
        let (rate, hits, campaigns) = (0.05, 5, 20_000);
        let mut rng = fault_rng(2009, 0);
        let (mut plain, mut haldane, mut covered) = (0.0, 0.0, 0.0);
        for _ in 0..campaigns {
            let (mut k, mut n) = (0, 0);
            while k < hits {
                n += 1;
                k += u64::from(rng.random::<f64>() < rate);
            }
            let estimate = after_fixed_hits(Observed::new(k, n).unwrap(), Confidence::P95).unwrap();
            plain += float(k) / float(n);
            haldane += estimate.value;
            covered += f64::from(u8::from(estimate.interval.contains(rate)));
        }
        let per = f64::from(campaigns);
        // The plain rate is a fifth too high after five hits; the other is right within 1.5 %, which is
        // four standard errors.
        assert!(plain / per > 1.15 * rate, "{}", plain / per);
        assert!((haldane / per / rate - 1.0).abs() < 0.015, "{}", haldane / per);
        assert!(covered / per >= 0.945, "{}", covered / per);
    }

    #[test]
    fn a_convergence_curve_ends_with_the_last_trial() {
        let rows = convergence((0..12_345).map(|trial| trial % 5 == 0), Confidence::P95, 3);
        let trials: Vec<u64> = rows.iter().map(|row| row.observed.trials()).collect();
        assert_eq!(trials, [1, 3, 5, 10, 22, 47, 100, 216, 465, 1000, 2155, 4642, 10_000, 12_345]);
        let last = rows.last().unwrap();
        assert_eq!((last.observed.hits(), last.rate.value), (2469, 0.2));
        assert_eq!(last.rate, last.observed.estimate(Confidence::P95));
        assert!(convergence([], Confidence::P95, 3).is_empty());
        assert_eq!(convergence([true], Confidence::P95, 0).len(), 1);
        let json = serde_json::to_value(rows[0]).unwrap();
        assert_eq!((&json["trials"], &json["value"]), (&1.into(), &1.0.into()), "{json}");
    }

    proptest! {
        #[test]
        fn the_trials_asked_for_reach_the_margin_and_one_less_does_not(
            margin in 1e-4..0.2f64, rate in 0.01..0.99f64, confidence in 0.5..0.9999f64,
            population in prop_oneof![Just(None), (1_000u128..100_000).prop_map(Some), Just(Some(1 << 60))]
        ) {
            let (rate, confidence, population) = (share(rate), level(confidence), population.map(SpaceSize));
            let trials = trials_for_margin(share(margin), confidence, rate, population).unwrap();
            let reached = |trials| margin_of(trials, confidence, rate, population);
            prop_assert!(reached(trials).unwrap() <= margin * (1.0 + 1e-9));
            if let Some(before) = reached(trials - 1) {
                prop_assert!(before >= margin * (1.0 - 1e-9));
            }
        }

        #[test]
        fn convergence_rows_never_repeat_a_number_of_trials(trials in 0usize..3_000, per_decade in 0u32..200) {
            let rows = convergence(std::iter::repeat_n(false, trials), Confidence::P95, per_decade);
            prop_assert!(rows.windows(2).all(|pair| pair[0].observed.trials() < pair[1].observed.trials()));
            prop_assert_eq!(rows.last().map_or(0, |row| row.observed.trials()), trials as u64);
        }
    }
}
