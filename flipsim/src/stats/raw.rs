//! A raw rate of upsets that is not known exactly, and what it does to the numbers that follow from it.
//!
//! Invariant: an interval with an uncertain raw rate contains the one that takes it as exact.

use std::str::FromStr;

use serde::Serialize;

use crate::stats::quantity::{Estimate, Interval};

/// How far a raw rate may lie from the number that was given, as two factors around 1, at the confidence of the other
/// intervals. RAM and registers have one: what is wrong about a flux is wrong for both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    lower: f64,
    upper: f64,
}

/// A spread that is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpreadError {
    /// Not a factor.
    #[error("`{0}` is not a factor; write a number from 1 to 1000, as in 2 for \"between half and twice\"")]
    Factor(String),
    /// Not a range.
    #[error("`{0}` is not a range; write LOW..HIGH in the unit of the raw rate, as in 850..3400")]
    Range(String),
    /// A range around something else.
    #[error("the raw rate, {rate}, does not lie in its own interval, {lower} to {upper}; give a wider one")]
    Outside {
        /// The rate.
        rate: f64,
        /// Its lower end.
        lower: f64,
        /// Its upper end.
        upper: f64,
    },
}

impl Default for Spread {
    fn default() -> Self {
        Spread::EXACT
    }
}

impl Spread {
    /// The raw rate is taken as exact.
    pub const EXACT: Spread = Spread { lower: 1.0, upper: 1.0 };

    /// From these bounds around a rate.
    ///
    /// # Errors
    /// The rate lies outside of them.
    pub fn around(rate: f64, range: RawRange) -> Result<Self, SpreadError> {
        let RawRange { lower, upper } = range;
        if rate > 0.0 && (lower..=upper).contains(&rate) {
            Ok(Spread { lower: lower / rate, upper: upper / rate })
        } else {
            Err(SpreadError::Outside { rate, lower, upper })
        }
    }

    /// That of a sum whose parts have each a factor with a spread, where all may be wrong in the same way: the factors by
    /// which the sum is off where each part is as far off as its spread says. No dependence of the parts makes it wider.
    /// Parts that share one spread have that one.
    #[must_use]
    pub fn of_sum(parts: &[(Spread, Estimate)]) -> Spread {
        // A part that never came weighs by what it may be.
        let weighted = |weight: fn(&Estimate) -> f64, factor: fn(&Spread) -> f64| {
            let all: f64 = parts.iter().map(|(_, part)| weight(part)).sum();
            let sum: f64 = parts.iter().map(|(spread, part)| factor(spread) * weight(part)).sum();
            if all > 0.0 { sum / all } else { 1.0 }
        };
        Spread {
            lower: weighted(|part| part.value, |spread| spread.lower).min(1.0),
            upper: weighted(|part| part.interval.upper, |spread| spread.upper).max(1.0),
        }
    }

    /// The spread that has both in it.
    #[must_use]
    pub fn or_wider(self, other: Spread) -> Spread {
        Spread { lower: self.lower.min(other.lower), upper: self.upper.max(other.upper) }
    }

    /// Whether the rate is taken as exact.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self == Spread::EXACT
    }

    /// The ends of a rate with this spread.
    #[must_use]
    pub fn of(self, rate: f64) -> Interval {
        Interval { lower: rate * self.lower, upper: rate * self.upper }
    }

    /// An estimate times the uncertain factor.
    ///
    /// On the scale of logarithms the distances of the ends from the estimate are added as the legs of a right angle
    /// (Zou, Taleban and Huo, Computational Statistics and Data Analysis 53, 2009: the method of variance estimates
    /// recovery). Where an estimate is 0, or an interval has 0 inside, there is no logarithm: both ends are taken times the
    /// upper factor, which is never too narrow. A difference may be negative: its size is what has a logarithm.
    #[must_use]
    pub fn widen(self, estimate: Estimate) -> Estimate {
        let Estimate { value, interval: Interval { lower, upper } } = estimate;
        if value < 0.0 {
            let turned = Estimate { value: -value, interval: Interval { lower: -upper, upper: -lower } };
            let Interval { lower, upper } = self.widen(turned).interval;
            return Estimate { value, interval: Interval { lower: -upper, upper: -lower } };
        }
        let interval = if value > 0.0 && lower >= 0.0 {
            let leg = |one: f64, other: f64| one.ln().hypot(other.ln());
            let below = if lower > 0.0 { (-leg(value / lower, 1.0 / self.lower)).exp() } else { 0.0 };
            Interval { lower: value * below, upper: value * leg(upper / value, self.upper).exp() }
        } else {
            Interval { lower: lower * self.upper, upper: upper * self.upper }
        };
        let Interval { lower, upper } = interval;
        Estimate { value, interval: Interval { lower: lower.min(value), upper: upper.max(value) } }
    }
}

/// A factor up and down: the rate lies between 1/f and f times what was given.
impl FromStr for Spread {
    type Err = SpreadError;
    fn from_str(text: &str) -> Result<Self, SpreadError> {
        let factor = text.trim().parse().ok().filter(|factor: &f64| (1.0..=1000.0).contains(factor));
        let spread = factor.map(|factor| Spread { lower: 1.0 / factor, upper: factor });
        spread.ok_or_else(|| SpreadError::Factor(text.to_owned()))
    }
}

/// Bounds of a raw rate, in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawRange {
    lower: f64,
    upper: f64,
}

impl RawRange {
    /// From these ends.
    ///
    /// # Errors
    /// They are not above 0 and in order.
    pub fn new(lower: f64, upper: f64) -> Result<Self, SpreadError> {
        let is_range = lower > 0.0 && lower <= upper && upper.is_finite();
        is_range
            .then_some(RawRange { lower, upper })
            .ok_or_else(|| SpreadError::Range(format!("{lower}..{upper}")))
    }
}

impl FromStr for RawRange {
    type Err = SpreadError;
    fn from_str(text: &str) -> Result<Self, SpreadError> {
        let ends = text.split_once("..").and_then(|(lower, upper)| {
            let end =
                |text: &str| text.trim().parse::<f64>().ok().filter(|end| end.is_finite() && *end > 0.0);
            Some(RawRange { lower: end(lower)?, upper: end(upper)? })
        });
        ends.filter(|range| range.lower <= range.upper).ok_or_else(|| SpreadError::Range(text.to_owned()))
    }
}

/// The sum of estimates that know nothing of one another: the distances of the ends are added as the legs of a right
/// angle (Zou and Donner, Statistics in Medicine 27, 2008).
#[must_use]
pub fn sum(estimates: &[Estimate]) -> Estimate {
    let value: f64 = estimates.iter().map(|one| one.value).sum();
    let square =
        |distance: fn(&Estimate) -> f64| estimates.iter().map(|one| distance(one).powi(2)).sum::<f64>();
    let below = square(|one| one.value - one.interval.lower).sqrt();
    let above = square(|one| one.interval.upper - one.value).sqrt();
    Estimate { value, interval: Interval { lower: (value - below).max(0.0), upper: value + above } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64, lower: f64, upper: f64) -> Estimate {
        Estimate { value, interval: Interval { lower, upper } }
    }

    /// Python 3.11: `v * exp(-hypot(log(v / l), log(f)))` and `v * exp(hypot(log(u / v), log(f)))`.
    #[test]
    fn a_factor_widens_an_interval_and_an_exact_rate_leaves_it() {
        let two: Spread = "2".parse().unwrap();
        let found = two.widen(estimate(0.05, 0.037, 0.067));
        assert!((found.interval.lower - 0.023_483_545_401_725).abs() < 1e-9, "{found:?}");
        assert!((found.interval.upper - 0.106_104_540_312_111).abs() < 1e-9, "{found:?}");
        let same = Spread::EXACT.widen(estimate(0.05, 0.037, 0.067));
        assert!((same.interval.lower - 0.037).abs() < 1e-15 && (same.interval.upper - 0.067).abs() < 1e-15);
        // Nothing was seen: the bound times the factor.
        assert_eq!(two.widen(estimate(0.0, 0.0, 0.01)), estimate(0.0, 0.0, 0.02));
        let range = Spread::around(1700.0, "850..3400".parse().unwrap()).unwrap();
        assert_eq!(range, two);
        assert_eq!(two.of(1700.0), Interval { lower: 850.0, upper: 3400.0 });
    }

    #[test]
    fn a_difference_is_widened_on_the_side_that_it_is_on() {
        let two: Spread = "2".parse().unwrap();
        let up = two.widen(estimate(0.05, 0.037, 0.067)).interval;
        let down = two.widen(estimate(-0.05, -0.067, -0.037));
        assert_eq!(down, estimate(-0.05, -up.upper, -up.lower));
        // With 0 inside both ends are taken times the factor.
        assert_eq!(two.widen(estimate(0.05, -0.01, 0.067)), estimate(0.05, -0.02, 0.134));
        assert_eq!(Spread::EXACT.widen(estimate(0.0, -0.01, 0.02)), estimate(0.0, -0.01, 0.02));
    }

    /// 4,000 differences of two sample means with normal errors, times a log-normal factor whose 95 % interval is the spread.
    #[test]
    fn a_difference_times_a_factor_is_in_its_interval_as_often_as_it_should() {
        use crate::fault::fault_rng;
        use crate::stats::special::normal_upper;
        use rand::RngExt;
        let mut rng = fault_rng(17, 0);
        let mut normal = || normal_upper(rng.random::<f64>().clamp(1e-12, 1.0 - 1e-12));
        for (difference, sd, factor) in [
            (0.0, 1.0, 3.0),
            (1.0, 1.0, 3.0),
            (4.0, 1.0, 1.5),
            (-2.0, 1.0, 10.0),
            (9.0, 1.0, 3.0),
            (0.3, 1.0, 10.0),
        ] {
            let spread = Spread { lower: 1.0 / factor, upper: factor };
            let rounds = 4_000;
            let held = (0..rounds).filter(|_| {
                let seen = difference + sd * normal();
                // The rate that is given lies as far from the true one as the spread says.
                let off = (factor.ln() / 1.96 * normal()).exp();
                let found = spread.widen(estimate(seen, seen - 1.96 * sd, seen + 1.96 * sd));
                found.interval.contains(difference * off)
            });
            let held = held.count() as f64 / f64::from(rounds);
            assert!(held > 0.94, "{difference} {factor}: {held}");
        }
    }

    #[test]
    fn parts_that_share_a_spread_have_it_together_and_others_lie_between() {
        let two: Spread = "2".parse().unwrap();
        let parts = [(two, estimate(10.0, 7.0, 14.0)), (two, estimate(0.0, 0.0, 3.0))];
        assert_eq!(Spread::of_sum(&parts), two);
        let one_exact =
            Spread::of_sum(&[(two, estimate(10.0, 7.0, 14.0)), (Spread::EXACT, estimate(10.0, 7.0, 14.0))]);
        assert_eq!(one_exact, Spread { lower: 0.75, upper: 1.5 });
        assert_eq!(Spread::of_sum(&[(two, estimate(0.0, 0.0, 0.0))]), Spread::EXACT);
    }

    #[test]
    fn a_sum_has_the_legs_of_its_parts() {
        let found = sum(&[estimate(10.0, 7.0, 14.0), estimate(20.0, 16.0, 23.0)]);
        assert_eq!(found, estimate(30.0, 25.0, 35.0));
        assert_eq!(sum(&[estimate(1.0, 0.5, 2.0)]), estimate(1.0, 0.5, 2.0));
    }

    #[test]
    fn what_is_no_spread_is_refused() {
        for bad in ["", "0.5", "0", "nan", "1001", "x2"] {
            assert_eq!(bad.parse::<Spread>(), Err(SpreadError::Factor(bad.to_owned())));
        }
        for bad in ["", "5", "5..", "7..5", "0..5", "-1..5", "1..inf"] {
            assert_eq!(bad.parse::<RawRange>(), Err(SpreadError::Range(bad.to_owned())));
        }
        let outside = Spread::around(10.0, "11..12".parse().unwrap());
        assert_eq!(outside, Err(SpreadError::Outside { rate: 10.0, lower: 11.0, upper: 12.0 }));
    }
}
