//! Two campaigns beside each other: the difference, the ratio, and whether either is chance.
//!
//! Two versions of a program are compared by their [absolute failure counts](Estimate::failures), by
//! [`ratio`]; their rates may only be compared where both have the same fault space.
//!
//! Invariant: both campaigns are independent, and both intervals have the same confidence.

use serde::Serialize;

use crate::stats::quantity::{Confidence, Estimate, Interval, Observed};
use crate::stats::special::float;
use crate::stats::strata::Strata;

/// a − b, with the interval that is put together from theirs:
/// d − √((a − l₁)² + (u₂ − b)²) to d + √((u₁ − a)² + (b − l₂)²).
///
/// Of two rates with Wilson's intervals this is Newcombe's hybrid score interval (Statistics in Medicine
/// 17, 1998, pages 873 to 890, method 10); of other estimates it is its generalisation (Zou and Donner,
/// Statistics in Medicine 27, 2008).
#[must_use]
pub fn difference(a: Estimate, b: Estimate) -> Estimate {
    let value = a.value - b.value;
    let below = (a.value - a.interval.lower).hypot(b.interval.upper - b.value);
    let above = (a.interval.upper - a.value).hypot(b.value - b.interval.lower);
    Estimate { value, interval: Interval { lower: value - below, upper: value + above } }
}

/// The ratio of two estimates that are not negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// a / b; `None` where b is 0.
    pub value: Option<f64>,
    /// The lower end of the interval.
    pub lower: f64,
    /// The upper end; `None` where there is none, as b may be 0.
    pub upper: Option<f64>,
}

impl Ratio {
    /// The ratio of so many times the first over the second.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scaled = |value: f64| value * factor;
        Ratio { value: self.value.map(scaled), lower: scaled(self.lower), upper: self.upper.map(scaled) }
    }

    /// Whether a ratio lies in its interval.
    #[must_use]
    pub fn contains(&self, ratio: f64) -> bool {
        self.lower <= ratio && self.upper.is_none_or(|upper| ratio <= upper)
    }
}

/// a / b, with the interval that is put together from theirs, also where a is 0.
///
/// Donner and Zou, "Closed-form confidence intervals for functions of the normal mean and standard
/// deviation", Statistical Methods in Medical Research 21, 2012 ("MOVER-R"), with the Wilson intervals
/// that [`Observed::failures`] gives.
#[must_use]
pub fn ratio(a: Estimate, b: Estimate) -> Ratio {
    let product = a.value * b.value;
    let (l1, u1, l2, u2) = (a.interval.lower, a.interval.upper, b.interval.lower, b.interval.upper);
    let (low_a, high_a) = (l1 * (2.0 * a.value - l1), u1 * (2.0 * a.value - u1));
    let (low_b, high_b) = (l2 * (2.0 * b.value - l2), u2 * (2.0 * b.value - u2));
    // The roots are of numbers that rounding alone makes negative. The lower end is written so that it
    // divides by a sum, since `high_b` may be 0.
    let bottom = product + (product * product - low_a * high_b).max(0.0).sqrt();
    let lower = if low_a > 0.0 && bottom > 0.0 { low_a / bottom } else { 0.0 };
    let top = product + (product * product - high_a * low_b).max(0.0).sqrt();
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    Ratio {
        value: finite(a.value / b.value),
        lower,
        upper: if low_b > 0.0 { finite(top / low_b) } else { None },
    }
}

/// ΣF of `b` over ΣF of `a`, with the interval that is put together from those of [`Strata::estimate`] (MOVER-R, as
/// [`ratio`]).
#[must_use]
pub fn sums(a: &Strata, b: &Strata, confidence: Confidence) -> Ratio {
    let failures = |strata: &Strata| strata.estimate(confidence).failures(strata.space());
    ratio(failures(b), failures(a))
}

/// The p of ΣF of `b` being `times` ΣF of `a`: 1 less the confidence at which the interval of [`sums`] just ends there.
#[must_use]
pub fn sums_p(a: &Strata, b: &Strata, times: f64) -> f64 {
    // Intervals of more confidence contain those of less; bisected where p is small as well.
    let (mut out, mut inside) = (0.0_f64, -70.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(out, inside);
        let Ok(confidence) = Confidence::new(-middle.exp_m1()) else { break };
        let found = sums(a, b, confidence);
        if found.lower <= times && found.upper.is_none_or(|upper| times <= upper) {
            inside = middle;
        } else {
            out = middle;
        }
    }
    if out <= -35.0 { 0.0 } else { f64::midpoint(out, inside).exp() }
}

/// Fisher's exact test of whether two rates are the same: the probability, given both numbers of trials
/// and the sum of hits, of the split that was seen and of all that are not more likely. Two-sided.
///
/// Fisher, "Statistical Methods for Research Workers", 1934. Right for counts of any size, and
/// conservative for small ones. Below 10^-300 it is 0.
#[must_use]
pub fn fisher(a: Observed, b: Observed) -> f64 {
    // The number x of a's hits is hypergeometric; weights are relative to the most likely x, from where
    // they fall on both sides.
    let hits = a.hits() + b.hits();
    let (n1, n2) = (a.trials(), b.trials());
    let (least, most) = (hits.saturating_sub(n2), hits.min(n1));
    // weight(x + 1) / weight(x); `n2 + x - hits` is not negative from `least` on.
    let growth = |x: u64| float(n1 - x) * float(hits - x) / (float(x + 1) * float(n2 + x + 1 - hits));
    #[expect(clippy::cast_possible_truncation, reason = "between `least` and `most`")]
    let mode = {
        let (hits, n1, n2) = (u128::from(hits), u128::from(n1), u128::from(n2));
        ((hits + 1) * (n1 + 1) / (n1 + n2 + 2)) as u64
    }
    .clamp(least, most);
    let mut weights = vec![(mode, 1.0f64)];
    let mut weight = 1.0f64;
    for x in mode..most {
        weight *= growth(x);
        if weight < 1e-300 {
            break;
        }
        weights.push((x + 1, weight));
    }
    weight = 1.0;
    for x in (least..mode).rev() {
        weight /= growth(x);
        if weight < 1e-300 {
            break;
        }
        weights.push((x, weight));
    }
    let Some((_, seen)) = weights.iter().find(|(x, _)| *x == a.hits()) else { return 0.0 };
    // Splits that are exactly as likely differ by rounding; R takes the same tolerance.
    let limit = seen * (1.0 + 1e-7);
    // The small ones first, so that they are not lost.
    weights.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let unlikely: f64 = weights.iter().map(|(_, weight)| weight).take_while(|weight| **weight <= limit).sum();
    (unlikely / all).min(1.0)
}

#[cfg(test)]
mod tests;
