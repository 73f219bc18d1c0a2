//! How many trials it takes, and how good so many are.
//!
//! Invariant: a number of trials is rounded up, a margin is never better than what was run.

use serde::Serialize;

use super::proportion::lower_limit;
use super::special::beta_quantile;
use crate::stats::quantity::{
    Confidence, Estimate, Interval, MOST_TRIALS, Observed, Share, SpaceSize, StatsError,
};
use crate::stats::special::{binomial_at_most, first, float};

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

/// The least number of trials with which half the width of the Wilson interval is at most the share `relative` of the
/// rate that is found, with a chance of at least `assurance` where the outcome's rate is `rate`; at most the population.
///
/// So many hits as the precision takes must come: the chance is an exact binomial sum. [`trials_for_relative`] takes the
/// rate that is found for the true one, and so reaches the precision in about half of all campaigns. The population
/// makes no interval narrower before it is drawn out.
///
/// # Errors
/// The precision, the rate or the assurance is 0 or 1.
pub fn trials_for_assured(
    relative: Share,
    confidence: Confidence,
    rate: Share,
    assurance: Share,
    population: Option<SpaceSize>,
) -> Result<u64, StatsError> {
    let (r, p, chance) = (relative.value(), rate.value(), assurance.value());
    let begin =
        trials_for(r, confidence, rate, None).and_then(|_| trials_for(r * p, confidence, rate, None))?;
    if !(chance > 0.0 && chance < 1.0) {
        return Err(StatsError::Assurance(chance));
    }
    let all = population.map_or(u64::MAX, |size| u64::try_from(size.0).unwrap_or(u64::MAX));
    let hits = |trials: u64| hits_for_relative(trials, r, confidence.z());
    let reached =
        |trials: u64, hits: u64| 1.0 - binomial_at_most(hits.saturating_sub(1), trials, p) >= chance;
    // The hits that it takes hardly grow with the trials: those of a number that surely suffices, then fewer as long as
    // the trials that give these need no more.
    let mut enough = begin.max(1);
    while !reached(enough, hits(enough)) {
        enough = enough
            .checked_mul(2)
            .filter(|next| *next <= MOST_TRIALS)
            .ok_or(StatsError::Precision { margin: r * p, rate: p })?;
    }
    let least = |hits: u64| first(hits, enough, |trials| reached(trials, hits));
    let mut needed = hits(enough);
    let mut found = least(needed);
    while needed > 1 {
        let fewer = least(needed - 1);
        if hits(fewer) > needed - 1 {
            break;
        }
        (needed, found) = (needed - 1, fewer);
    }
    Ok(found.min(all))
}

/// How many hits of so many trials have a Wilson interval whose half width is the share `r` of the rate, or less; one
/// more than there are trials where none have.
fn hits_for_relative(trials: u64, r: f64, z: f64) -> u64 {
    let n = float(trials);
    let narrow = |hits: u64| {
        let p = float(hits) / n;
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
        half <= r * p
    };
    first(1, trials + 1, narrow)
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

#[cfg(test)]
mod tests;
