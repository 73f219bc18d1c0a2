//! How many trials a wanted precision takes.
//!
//! Invariant: a number of trials is fixed before the first one; nothing here depends on results, for
//! stopping when the figures please biases them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of one, above 0 and at most 1, written as `1%` or `0.01`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fraction(pub f64);

/// Text that is no fraction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fraction; write a percentage or a number above 0 and at most 1, as in 5% or 0.05")]
pub struct FractionError(String);

impl FromStr for Fraction {
    type Err = FractionError;

    fn from_str(text: &str) -> Result<Self, FractionError> {
        let (digits, scale) = match text.trim().strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (text, 1.0),
        };
        let value = digits.trim().parse::<f64>().ok().map(|number| number / scale);
        let value = value.filter(|value| *value > 0.0 && *value <= 1.0);
        value.map(Fraction).ok_or_else(|| FractionError(text.to_owned()))
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, because 0.07 * 100 is not 7.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// How large a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Size {
    /// So many trials.
    Trials(u64),
    /// So many that any rate is known to within `margin`.
    Margin {
        /// Half the width of the interval, as a part of all trials.
        margin: Fraction,
        /// How surely.
        confidence: Fraction,
    },
    /// So many that the rate of a rare outcome is known to within `relative` of itself.
    Relative {
        /// Half the width of the interval, as a part of the rate.
        relative: Fraction,
        /// The rate that is expected, or the smallest that matters.
        rate: Fraction,
        /// How surely.
        confidence: Fraction,
    },
}

impl Size {
    /// The number of trials for `population` different ones.
    ///
    /// A margin `e` for a rate `p` at a normal quantile `z` takes `N / (1 + e²(N−1) / (z²p(1−p)))` of `N`
    /// (Leveugle et al., "Statistical fault injection: quantified error and confidence", DATE 2009), with
    /// the worst case `p` = 1/2 where no rate is expected.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of trials is rounded up; a cast saturates"
    )]
    pub fn trials(&self, population: u128) -> u64 {
        let (margin, rate, confidence) = match *self {
            Size::Trials(trials) => return trials,
            Size::Margin { margin, confidence } => (margin.0, 0.5, confidence),
            Size::Relative { relative, rate, confidence } => (relative.0 * rate.0, rate.0, confidence),
        };
        let population = population as f64;
        let z = quantile(confidence.0);
        let variance = z * z * rate * (1.0 - rate);
        let trials = population / (1.0 + margin * margin * (population - 1.0) / variance);
        // A rate of 100 % has no variance; one trial shows it.
        (trials.ceil() as u64).max(1)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Trials(trials) => write!(f, "{trials} trials"),
            Size::Margin { margin, confidence } => write!(f, "±{margin} at {confidence}"),
            Size::Relative { relative, rate, confidence } => {
                write!(f, "±{relative} of a rate of {rate} at {confidence}")
            }
        }
    }
}

/// The `z` within which so much of the standard normal distribution lies, two-sided.
fn quantile(confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if within(middle) < confidence { low = middle } else { high = middle }
    }
    low
}

/// How much of the standard normal distribution lies within ±`z`: the series
/// 2φ(z)·(z + z³/3 + z⁵/(3·5) + …).
fn within(z: f64) -> f64 {
    let (mut term, mut sum, mut odd) = (z, 0.0, 1.0);
    while term > 1e-17 * sum {
        sum += term;
        odd += 2.0;
        term *= z * z / odd;
    }
    2.0 * sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(text: &str) -> Fraction {
        text.parse().unwrap()
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (confidence, z) in [(0.9, 1.644_853_627), (0.95, 1.959_963_985), (0.99, 2.575_829_304)] {
            assert!((quantile(confidence) - z).abs() < 1e-8, "{confidence}: {}", quantile(confidence));
        }
    }

    #[test]
    fn one_percent_at_95_percent_takes_9604_of_very_many() {
        let size = Size::Margin { margin: fraction("1%"), confidence: fraction("95%") };
        assert_eq!(size.trials(1 << 100), 9_604);
        // Of few, fewer, and never more than there are.
        assert_eq!(size.trials(10_000), 4_900);
        assert_eq!(size.trials(10), 10);
        assert_eq!(size.trials(1), 1);
    }

    #[test]
    fn a_rare_outcome_takes_more() {
        let size =
            Size::Relative { relative: fraction("20%"), rate: fraction("1%"), confidence: fraction("95%") };
        // 1.96² · 0.99 / (0.01 · 0.2²)
        assert_eq!(size.trials(1 << 100), 9_508);
        let certain =
            Size::Relative { relative: fraction("20%"), rate: fraction("100%"), confidence: fraction("95%") };
        assert_eq!(certain.trials(1 << 100), 1);
    }

    #[test]
    fn fractions_are_read_in_both_forms_and_shown_as_percentages() {
        assert_eq!(fraction("1%"), fraction("0.01"));
        assert_eq!(fraction(" 7 % ").to_string(), "7%");
        assert_eq!(fraction("0.125%").to_string(), "0.125%");
        for bad in ["", "%", "0", "101%", "-1%", "nan", "inf", "1.5", "many"] {
            assert!(bad.parse::<Fraction>().is_err(), "{bad}");
        }
    }
}
