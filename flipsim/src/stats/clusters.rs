//! One rate from several golden runs: runs are clusters of trials, and differ.
//!
//! The trials of one campaign are all of one golden run: one boot, one input, one seed of the workload. Their interval is
//! of that run. Several runs show how much rates differ between runs, and their mean has an interval for runs as they
//! were drawn: what a two-stage sample says, runs first, trials of each then.
//!
//! Invariants: each run counts once, however many trials it has. The interval contains the mean, lies in [0, 1], and
//! does not take the runs for more trials than there are.

use serde::Serialize;

use super::proportion::{clopper_pearson, upper_bound};
use super::special::beta_quantile;
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed, StatsError};
use crate::stats::special::float;

/// What several runs say of one rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Clustered {
    /// The mean of the rates, each run once, with the interval for runs like these.
    pub mean: Estimate,
    /// The standard deviation of the rates of runs, without what trials of equal runs would differ by; 0 where the rates
    /// differ no more than that.
    pub between_sd: f64,
    /// The variance of the mean over what it would be if as many trials were of one run; `None` where every trial has
    /// the outcome, or none.
    pub design_effect: Option<f64>,
    /// How many trials of one run would be as good: what the interval is made of.
    pub effective_trials: f64,
    /// k/n of all trials with the interval that takes them as of one run. It is too narrow where runs differ.
    pub ignoring_runs: Estimate,
}

/// What the results of several runs say of a rate; two runs or more.
///
/// The mean p̄ = Σ p_i/k has the variance s²/k, where s² is the sample variance of the k rates: it has that between the
/// runs in it as well as that within them (Cochran, "Sampling Techniques", 3rd edition 1977, sections 10.3 and 11.2: with
/// few of many runs drawn nothing need be known of the second stage). The component between runs is s² less the mean of
/// p_i (1−p_i)/(n_i−1), not below 0.
///
/// The interval is Korn and Graubard's (Survey Methodology 24, 1998): Clopper and Pearson's with p̄ (1−p̄)/(s²/k) trials
/// times (t_{n−1}/t_{k−1})², as the variance is known with k − 1 degrees of freedom only; and with no more trials than
/// k²/Σ 1/n_i, those that there are where runs have equally many.
///
/// # Errors
/// [`StatsError::TooFewRuns`] of less than two runs.
pub fn clustered(runs: &[Observed], confidence: Confidence) -> Result<Clustered, StatsError> {
    if runs.len() < 2 {
        return Err(StatsError::TooFewRuns(runs.len()));
    }
    let k = float(runs.len() as u64);
    let hits = runs.iter().map(|run| run.hits()).sum();
    let trials = runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.trials()));
    let all = Observed::new(hits, trials)?;
    let n = float(trials);
    let mean_of = |of: &dyn Fn(&Observed) -> f64| runs.iter().map(of).sum::<f64>() / k;
    let mean = mean_of(&|run| run.rate()).min(1.0);
    let variance = runs.iter().map(|run| (run.rate() - mean).powi(2)).sum::<f64>() / (k - 1.0);
    let within = mean_of(&|run| match run.rate() * (1.0 - run.rate()) {
        // A single trial shows no spread.
        spread if spread > 0.0 => spread / (float(run.trials()) - 1.0),
        _ => 0.0,
    });
    let spread = mean * (1.0 - mean);
    // Of the mean, not of a run.
    let of_mean = variance / k;
    let most = k / mean_of(&|run| 1.0 / float(run.trials()));
    let effective = if spread > 0.0 && of_mean > 0.0 {
        let few = t_quantile(confidence, n - 1.0) / t_quantile(confidence, k - 1.0);
        (spread / of_mean * few * few).min(most)
    } else {
        most
    };
    let ignoring = match hits {
        0 => Interval { lower: 0.0, upper: upper_bound(all, confidence) },
        _ => clopper_pearson(all, confidence),
    };
    Ok(Clustered {
        mean: Estimate { value: mean, interval: of_effective(mean, effective, confidence) },
        between_sd: (variance - within).max(0.0).sqrt(),
        design_effect: (spread > 0.0).then(|| of_mean / (spread / (n - 1.0))),
        effective_trials: effective,
        ignoring_runs: Estimate { value: all.rate(), interval: ignoring },
    })
}

/// Clopper and Pearson's interval of a rate in a number of trials that need not be whole.
fn of_effective(rate: f64, trials: f64, confidence: Confidence) -> Interval {
    let (hits, misses, tail) = (rate * trials, (1.0 - rate) * trials, confidence.tail());
    let lower = if hits > 0.0 { beta_quantile(tail, hits, misses + 1.0) } else { 0.0 };
    // What never came is below its one-sided bound, as everywhere.
    let tail = if hits > 0.0 { tail } else { 1.0 - confidence.level() };
    let upper = if misses > 0.0 { beta_quantile(1.0 - tail, hits + 1.0, misses) } else { 1.0 };
    Interval { lower: lower.min(rate), upper: upper.max(rate) }
}

/// How many standard errors a two-sided interval of Student's distribution reaches.
fn t_quantile(confidence: Confidence, degrees: f64) -> f64 {
    // t²/(ν + t²) has the distribution Beta(½, ν/2).
    let share = beta_quantile(confidence.level(), 0.5, degrees / 2.0);
    (degrees * share / (1.0 - share)).sqrt()
}

#[cfg(test)]
mod tests;
