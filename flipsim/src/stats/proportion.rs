//! The interval of one rate: so many hits in so many trials.
//!
//! Invariant: an interval lies in [0, 1] and contains k/n.

use super::special::beta_quantile;
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed, SpaceSize};
use crate::stats::special::float;

/// Wilson's score interval: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
///
/// Its coverage is near the confidence on the average over the rates, also for few hits (Wilson,
/// JASA 22, 1927; recommended by Brown, Cai and DasGupta, Statistical Science 16, 2001). For some
/// single rates it is lower, the lowest, 84 % instead of 95 %, where one hit is expected in more than
/// five times as many trials; [`clopper_pearson`] never is.
#[must_use]
pub fn wilson(observed: Observed, confidence: Confidence) -> Interval {
    let (p, n, z2) = (observed.rate(), float(observed.trials), confidence.z().powi(2));
    let shrink = 1.0 + z2 / n;
    let centre = (p + z2 / (2.0 * n)) / shrink;
    let half = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt() / shrink;
    Interval {
        // Rounding would leave 1e-17 where the end is 0, or go past k/n.
        lower: if observed.hits == 0 { 0.0 } else { (centre - half).clamp(0.0, p) },
        upper: if observed.hits == observed.trials { 1.0 } else { (centre + half).clamp(p, 1.0) },
    }
}

/// Clopper and Pearson's exact interval: the quantiles α/2 of Beta(k, n−k+1) and 1−α/2 of
/// Beta(k+1, n−k).
///
/// It covers the rate with at least the confidence, whatever the rate, and is therefore wider than
/// [`wilson`] (Clopper and Pearson, Biometrika 26, 1934). With no hit its upper end is 1 − (α/2)^(1/n),
/// and α/2 is spent on a lower end that cannot be wrong: see [`upper_bound`].
#[must_use]
pub fn clopper_pearson(observed: Observed, confidence: Confidence) -> Interval {
    let tail = confidence.tail();
    Interval { lower: lower_limit(observed, tail), upper: upper_limit(observed, tail) }
}

/// The exact one-sided upper bound of the rate: P(more) ≤ 1 − confidence.
///
/// What to say of an outcome that never came: with 0 of 300 at 95 % it is 0.99 %, near the "rule of
/// three", 3/n (Hanley and Lippman-Hand, JAMA 249, 1983).
#[must_use]
pub fn upper_bound(observed: Observed, confidence: Confidence) -> f64 {
    upper_limit(observed, 1.0 - confidence.level())
}

pub(super) fn lower_limit(Observed { hits, trials }: Observed, tail: f64) -> f64 {
    if hits == 0 {
        0.0
    } else if hits == trials {
        (tail.ln() / float(trials)).exp()
    } else {
        beta_quantile(tail, float(hits), float(trials - hits) + 1.0)
    }
}

fn upper_limit(Observed { hits, trials }: Observed, tail: f64) -> f64 {
    // The mirror image: as many misses as there are hits.
    if hits == 0 {
        -(tail.ln() / float(trials)).exp_m1()
    } else if hits == trials {
        1.0
    } else {
        beta_quantile(1.0 - tail, float(hits) + 1.0, float(trials - hits))
    }
}

impl Observed {
    /// The rate with its [`wilson`] interval.
    #[must_use]
    pub fn estimate(self, confidence: Confidence) -> Estimate {
        Estimate { value: self.rate(), interval: wilson(self, confidence) }
    }

    /// The [extrapolated absolute number of failures](Estimate::failures), N·k/n, of trials that were
    /// drawn uniformly from the whole of a fault space, with the [`wilson`] interval.
    #[must_use]
    pub fn failures(self, space: SpaceSize, confidence: Confidence) -> Estimate {
        self.estimate(confidence).failures(space)
    }
}

#[cfg(test)]
mod tests;
