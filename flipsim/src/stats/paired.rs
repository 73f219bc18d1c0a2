//! The same faults in two campaigns: a test and a difference that use that.
//!
//! Only the pairs that came out differently say which campaign has more hits; the others say how many there are.
//! Two campaigns of one plan are alike in most pairs, so that this sees differences that tests of independent
//! campaigns do not.
//!
//! Invariant: an interval lies in [−1, 1] and contains its estimate.

use serde::Serialize;
use statrs::function::erf::erfc;

use super::compare::Ratio;
use super::special::{binomial_at_most, float};
use crate::stats::quantity::{Confidence, Estimate, Interval};

/// Pairs of trials, by which of both are hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pairs {
    /// Hits in both.
    pub both: u64,
    /// Hits in the first only.
    pub first: u64,
    /// Hits in the second only.
    pub second: u64,
    /// Hits in neither.
    pub neither: u64,
}

impl Pairs {
    /// Counts one pair.
    pub fn add(&mut self, first: bool, second: bool) {
        *match (first, second) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.first,
            (false, true) => &mut self.second,
            (false, false) => &mut self.neither,
        } += 1;
    }

    /// These and others.
    #[must_use]
    pub fn plus(self, other: Pairs) -> Pairs {
        Pairs {
            both: self.both + other.both,
            first: self.first + other.first,
            second: self.second + other.second,
            neither: self.neither + other.neither,
        }
    }

    /// All pairs.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.both + self.first + self.second + self.neither
    }

    /// McNemar's exact test of whether hits are as frequent in both: of the pairs that differ each is as likely to be the
    /// one as the other. Twice the smaller tail of the binomial distribution, at most 1 (Psychometrika 12, 1947).
    ///
    /// Over several strata the pairs may be added up however these were sampled, for in each it is a half.
    #[must_use]
    pub fn mcnemar(&self) -> f64 {
        let differ = self.first + self.second;
        (2.0 * binomial_at_most(self.first.min(self.second), differ, 0.5)).min(1.0)
    }

    /// McNemar's exact test of whether hits are not more frequent in the second: the one tail of the binomial distribution.
    #[must_use]
    pub fn more_in_second(&self) -> f64 {
        binomial_at_most(self.first, self.first + self.second, 0.5)
    }

    /// The test of whether the second rate is `phi` times the first, two-sided: the score of [`Pairs::ratio`]; at 1 McNemar's
    /// exact test.
    #[must_use]
    pub fn ratio_p(&self, phi: f64) -> f64 {
        if phi.total_cmp(&1.0).is_eq() {
            return self.mcnemar();
        }
        erfc(self.score_of_ratio(phi).abs() / std::f64::consts::SQRT_2)
    }

    /// The second rate less the first, with Tango's score interval (Statistics in Medicine 17, 1998): the differences at
    /// which the score of what was seen is below z. `None` without a pair.
    #[must_use]
    pub fn difference(&self, confidence: Confidence) -> Option<Estimate> {
        let n = float(self.all());
        if n < 1.0 {
            return None;
        }
        let value = (float(self.second) - float(self.first)) / n;
        let z = confidence.z();
        // The score falls from the one end of [−1, 1] to the other.
        let end = |out: f64| {
            let (mut out, mut inside) = (out, value);
            for _ in 0..60 {
                let middle = f64::midpoint(out, inside);
                if self.score(middle).abs() <= z { inside = middle } else { out = middle }
            }
            inside
        };
        let interval = Interval { lower: end(-1.0), upper: end(1.0) };
        Some(Estimate { value, interval })
    }

    /// The second rate over the first, with the interval of the ratios at which the score of what was seen is below z: at 1
    /// that is the score of [`Pairs::difference`] at 0.
    ///
    /// Nam and Blackwelder, Statistics in Medicine 21, 2002; Tang, Tang and Chan, Statistics in Medicine 22, 2003.
    #[must_use]
    pub fn ratio(&self, confidence: Confidence) -> Ratio {
        let (first, second) = (float(self.both + self.first), float(self.both + self.second));
        let z = confidence.z();
        // The score falls from far below the estimate to far above it.
        let value = (first > 0.0).then_some(second / first);
        let end = |far: f64, near: f64| {
            let (mut out, mut inside) = (far.ln(), near.ln());
            for _ in 0..80 {
                let middle = f64::midpoint(out, inside);
                if self.score_of_ratio(middle.exp()).abs() <= z { inside = middle } else { out = middle }
            }
            f64::midpoint(out, inside).exp()
        };
        let near = value.filter(|value| *value > 0.0);
        let lower = if second > 0.0 { end(1e-12, near.unwrap_or(1e12)) } else { 0.0 };
        let upper = (first > 0.0).then(|| end(1e12, near.unwrap_or(1e-12)));
        Ratio { value, lower, upper }
    }

    /// (x₂ − φ x₁) / √(n φ (p₁₀ + p₀₁)), x₁ and x₂ being the hits in each, with the likeliest shares of pairs that are hits in
    /// one alone where the ratio is φ. The share of pairs that are hits in neither is then the one that was seen.
    fn score_of_ratio(&self, phi: f64) -> f64 {
        let (both, first, second) = (float(self.both), float(self.first), float(self.second));
        let n = float(self.all());
        let variance = n * spread_of_ratio([both, first, second].map(|pairs| pairs / n), phi);
        let distance = both + second - phi * (both + first);
        if distance.abs() <= 1e-12 * (both + first + second).max(1.0) {
            0.0
        } else if variance > 0.0 {
            distance / variance.sqrt()
        } else {
            f64::INFINITY.copysign(distance)
        }
    }

    /// (b − c − nΔ) / √(n (2q + Δ (1 − Δ))), with q the likeliest share of pairs that are hits in the first alone where the
    /// difference is Δ, of the second less the first (Tango 1998, with the roles of both as here).
    fn score(&self, difference: f64) -> f64 {
        let n = float(self.all());
        let (more, less) = (float(self.second), float(self.first));
        let (a, c) = (2.0 * n, -less * difference * (1.0 - difference));
        let b = -more - less + (2.0 * n - more + less) * difference;
        let share = (((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a)).max(0.0);
        let variance = n * (2.0 * share + difference * (1.0 - difference));
        let distance = more - less - n * difference;
        if distance.abs() <= 1e-12 * n {
            0.0
        } else if variance > 0.0 {
            distance / variance.sqrt()
        } else {
            f64::INFINITY.copysign(distance)
        }
    }
}

/// The variance of a pair's hit in the second less `phi` times its hit in the first, where the ratio of the rates is `phi`, with
/// the likeliest shares of pairs that are hits in one alone; `shares` are those that were seen, in both and in each alone.
pub(super) fn spread_of_ratio([both, first, second]: [f64; 3], phi: f64) -> f64 {
    let share = both + first + second;
    let a = (1.0 + phi) * share;
    let b = share * (phi * phi * (both + first) - both - 2.0 * first - second);
    let c = first * (1.0 - phi) * share * share;
    let one = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
    let other = ((one + (phi - 1.0) * share) / phi).max(0.0);
    phi * (one.max(0.0) + other)
}

#[cfg(test)]
mod tests;
