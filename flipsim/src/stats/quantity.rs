//! Shares, counts and estimates: the values that all of statistics is about.
//!
//! Invariant: no impossible value can be made: a share lies in [0, 1], a confidence inside (0, 1), and what was
//! observed has at least one trial, and no more hits than trials.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::stats::special;
use crate::stats::special::float;

/// Numbers that nothing can be estimated from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// A confidence of 0 or 1, or outside.
    #[error("`{0}` is not a confidence; write one between 0 and 1, as in 95% or 0.95")]
    Confidence(String),
    /// A share outside [0, 1].
    #[error("`{0}` is not a share; write one from 0 to 1, as in 1% or 0.01")]
    Share(String),
    /// No trial, no rate.
    #[error("no trial was counted, so that there is no rate; run some first")]
    NoTrials,
    /// More hits than trials.
    #[error("{hits} hits in {trials} trials; the first number counts some of the second")]
    MoreHitsThanTrials {
        /// The hits.
        hits: u64,
        /// The trials.
        trials: u64,
    },
    /// More trials than a rate can be computed of.
    #[error("{0} trials are more than can be counted exactly (2^53); is one of the numbers an address?")]
    TooManyTrials(u64),
    /// A precision that no number of trials reaches, or a rate that needs none.
    #[error(
        "a margin of {margin} at a rate of {rate} takes no number of trials; both must lie inside (0, 1)"
    )]
    Precision {
        /// The margin.
        margin: f64,
        /// The rate.
        rate: f64,
    },
    /// A precision that is reached never, or always.
    #[error(
        "an assurance of {0} is met by no number of trials, or by any; it must lie inside (0, 1), as in 80%"
    )]
    Assurance(f64),
    /// A difference that no number of trials shows.
    #[error("{0}")]
    Detection(String),
    /// Sampling that stopped at a number of hits says nothing before the second.
    #[error("a rate after a fixed number of hits needs at least 2 of them, there are {0}; go on until then")]
    TooFewHits(u64),
    /// One golden run shows nothing of how runs differ.
    #[error("how much runs differ takes two of them or more, there are {0}; see `campaign new --templates`")]
    TooFewRuns(usize),
    /// A stratified estimate without strata.
    #[error("there is no stratum to estimate from; name at least one")]
    NoStrata,
    /// A part of the fault space that nothing is known of.
    #[error("no trial of stratum `{0}` was counted; run some there, or take it out of the fault space")]
    EmptyStratum(String),
    /// Another fault in a stratum's numbers.
    #[error("stratum `{name}`: {why}")]
    Stratum {
        /// Which one.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// An invalid raw rate.
    #[error("`{0}` is not a raw rate; write a number of FIT/Mbit above 0")]
    RawFit(String),
}

/// The confidence of an interval, inside (0, 1).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence(pub(super) f64);

impl Confidence {
    /// 95 %, what reports show unless another one is asked for.
    pub const P95: Confidence = Confidence(0.95);

    /// A confidence from its level.
    ///
    /// # Errors
    /// The level is not inside (0, 1).
    pub fn new(level: f64) -> Result<Self, StatsError> {
        if level > 0.0 && level < 1.0 {
            Ok(Confidence(level))
        } else {
            Err(StatsError::Confidence(level.to_string()))
        }
    }

    /// The level, as in 0.95.
    #[must_use]
    pub fn level(self) -> f64 {
        self.0
    }

    /// The chance of being wrong on each side of a two-sided interval: (1 − level) / 2.
    #[must_use]
    pub fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// How many standard deviations a two-sided interval of the normal distribution reaches:
    /// 1.959964 for 95 %.
    #[must_use]
    pub fn z(self) -> f64 {
        special::normal_upper(self.tail())
    }
}

/// A share of a whole, in [0, 1]: a probability, a margin, a relative precision.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// One half, the rate that needs the most trials.
    pub const HALF: Share = Share(0.5);

    /// Four of five, the usual chance with which a study is to reach what it was planned for.
    pub const P80: Share = Share(0.8);

    /// A share from its value.
    ///
    /// # Errors
    /// The value is not in [0, 1].
    pub fn new(value: f64) -> Result<Self, StatsError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Share(value))
        } else {
            Err(StatsError::Share(value.to_string()))
        }
    }

    /// The value, as in 0.01.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

/// `95%`, `95 %` or `0.95`.
fn parse_share(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().ok().map(|value| value / 100.0),
        None => text.parse().ok(),
    }
}

macro_rules! share_text {
    ($name:ident, $error:ident) => {
        impl TryFrom<f64> for $name {
            type Error = StatsError;
            fn try_from(value: f64) -> Result<Self, StatsError> {
                $name::new(value)
            }
        }
        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
        impl FromStr for $name {
            type Err = StatsError;
            fn from_str(text: &str) -> Result<Self, StatsError> {
                parse_share(text)
                    .and_then(|value| $name::new(value).ok())
                    .ok_or_else(|| StatsError::$error(text.to_owned()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // 12 digits hide the rounding of the binary fraction, and no digit that was written.
                let percent = format!("{:.12}", self.0 * 100.0);
                write!(f, "{}%", percent.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    };
}
share_text!(Confidence, Confidence);
share_text!(Share, Share);

/// How many faults there are to draw from: of RAM, its bits; with a time, bits × times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpaceSize(pub u128);

impl SpaceSize {
    #[expect(clippy::cast_precision_loss, reason = "16 digits are more than a rate has")]
    pub(crate) fn float(self) -> f64 {
        self.0 as f64
    }
}

/// Numbers of trials up to this one are exact in floating point, and no sum of two overflows.
pub(super) const MOST_TRIALS: u64 = 1 << 53;

/// So many hits among so many trials; at least one trial, and never more hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Observed {
    pub(super) hits: u64,
    pub(super) trials: u64,
}

impl Observed {
    /// `hits` of `trials`.
    ///
    /// # Errors
    /// There was no trial, there are more hits than trials, or more than 2^53 trials.
    pub fn new(hits: u64, trials: u64) -> Result<Self, StatsError> {
        match trials {
            0 => Err(StatsError::NoTrials),
            _ if trials > MOST_TRIALS => Err(StatsError::TooManyTrials(trials)),
            _ if hits > trials => Err(StatsError::MoreHitsThanTrials { hits, trials }),
            _ => Ok(Observed { hits, trials }),
        }
    }

    /// The trials that ended so.
    #[must_use]
    pub fn hits(self) -> u64 {
        self.hits
    }

    /// All trials that count.
    #[must_use]
    pub fn trials(self) -> u64 {
        self.trials
    }

    /// The share of hits, k/n.
    #[must_use]
    pub fn rate(self) -> f64 {
        float(self.hits) / float(self.trials)
    }
}

/// An interval, both ends included, in the unit of the estimate that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Interval {
    /// Whether a value lies in it.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }
}

/// An estimate with its interval; as JSON `{"value": …, "lower": …, "upper": …}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// The interval around it.
    #[serde(flatten)]
    pub interval: Interval,
}

impl Estimate {
    /// The estimate of `factor` (at least 0) times as much.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let Interval { lower, upper } = self.interval;
        Estimate {
            value: self.value * factor,
            interval: Interval { lower: lower * factor, upper: upper * factor },
        }
    }

    /// The extrapolated absolute number of failures, F = N · P, of a rate over a fault space.
    ///
    /// A percentage cannot compare two programs, as one may only have got more bits or time to be
    /// hit in; this number can (Schirmeier, Borchert and Spinczyk, "Avoiding Pitfalls in
    /// Fault-Injection Based Comparison of Program Susceptibility to Soft Errors", DSN 2015).
    #[must_use]
    pub fn failures(self, space: SpaceSize) -> Self {
        self.scaled(space.float())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_and_confidences_are_read_as_percent_or_fraction() {
        assert_eq!("95%".parse::<Confidence>().unwrap(), Confidence::P95);
        assert_eq!(" 0.95 ".parse::<Confidence>().unwrap(), Confidence::P95);
        assert_eq!("99.9 %".parse::<Confidence>().unwrap().to_string(), "99.9%");
        assert_eq!("1%".parse::<Share>().unwrap().value(), 0.01);
        assert_eq!("100%".parse::<Share>().unwrap().to_string(), "100%");
        for bad in ["", "95", "0", "0%", "1", "100%", "-1%", "nan", "inf", "x", "%"] {
            assert_eq!(bad.parse::<Confidence>(), Err(StatsError::Confidence(bad.to_owned())), "{bad}");
        }
        assert_eq!("2".parse::<Share>(), Err(StatsError::Share("2".to_owned())));
        assert!(serde_json::from_str::<Confidence>("1.0").is_err());
    }

    #[test]
    fn counts_that_make_no_rate_are_refused() {
        assert_eq!(Observed::new(0, 0), Err(StatsError::NoTrials));
        assert_eq!(Observed::new(3, 2), Err(StatsError::MoreHitsThanTrials { hits: 3, trials: 2 }));
        assert_eq!(Observed::new(2, u64::MAX), Err(StatsError::TooManyTrials(u64::MAX)));
        assert_eq!(Observed::new(2, 2).unwrap().rate(), 1.0);
    }

    #[test]
    fn an_estimate_is_flat_in_json() {
        let estimate = Estimate { value: 0.5, interval: Interval { lower: 0.25, upper: 0.75 } };
        assert_eq!(
            serde_json::to_string(&estimate.failures(SpaceSize(8))).unwrap(),
            r#"{"value":4.0,"lower":2.0,"upper":6.0}"#
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,12}") {
            let _ = (text.parse::<Share>(), text.parse::<Confidence>());
        }

        #[test]
        fn a_share_survives_its_text_form(value in 0u32..=1_000_000) {
            let share = Share::new(f64::from(value) / 1e6).unwrap();
            prop_assert!((share.to_string().parse::<Share>().unwrap().value() - share.value()).abs() < 1e-15);
        }
    }
}
