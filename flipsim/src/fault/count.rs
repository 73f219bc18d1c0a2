//! How many faults a trial has: a fixed number, or one that is drawn for each trial.
//!
//! Invariant: it is never 0: a trial without a fault is a control trial, and stands for nothing that is drawn.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many faults a trial has at most.
const MOST: u32 = 64;

/// How many faults a trial has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// So many.
    Fixed(u32),
    /// A Poisson number with this mean, of those that are not 0, and 64 at most.
    Poisson(f64),
}

impl Default for Count {
    fn default() -> Self {
        Count::ONE
    }
}

/// Text or a number that is no such number of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no number of faults; write 1 to {MOST}, or poisson:MEAN with a mean from 0.01 to 16")]
pub struct CountError(String);

impl Count {
    /// One, as ever.
    pub const ONE: Count = Count::Fixed(1);

    /// Whether each trial has one fault.
    #[must_use]
    pub fn is_one(&self) -> bool {
        *self == Count::ONE
    }

    /// The number of a trial.
    pub fn draw<R: Rng + ?Sized>(self, rng: &mut R) -> u32 {
        match self {
            Count::Fixed(count) => count,
            Count::Poisson(mean) => loop {
                // Knuth's way: the arrivals within a unit of time.
                let limit = (-mean).exp();
                let (mut count, mut product) = (0, rng.random::<f64>());
                while product > limit {
                    count += 1;
                    product *= rng.random::<f64>();
                }
                if (1..=MOST).contains(&count) {
                    break count;
                }
            },
        }
    }
}

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        let bad = || CountError(text.to_owned());
        match text.strip_prefix("poisson:") {
            None => text.parse().ok().filter(|count| (1..=MOST).contains(count)).map(Count::Fixed),
            Some(mean) => {
                mean.parse().ok().filter(|mean: &f64| (0.01..=16.0).contains(mean)).map(Count::Poisson)
            }
        }
        .ok_or_else(bad)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count::Fixed(count) => count.fmt(f),
            Count::Poisson(mean) => write!(f, "poisson:{mean}"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Count::Fixed(count) => serializer.serialize_u32(*count),
            Count::Poisson(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a whole number of faults, or \"poisson:MEAN\"")]
        enum Raw {
            Number(i64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::fault_rng;

    #[test]
    fn a_number_of_faults_is_read_back() {
        for (text, count) in
            [("1", Count::ONE), ("64", Count::Fixed(64)), ("poisson:2.5", Count::Poisson(2.5))]
        {
            assert_eq!(text.parse(), Ok(count));
            assert_eq!(count.to_string(), text);
            let json = serde_json::to_string(&count).unwrap();
            assert_eq!(serde_json::from_str::<Count>(&json).unwrap(), count, "{json}");
        }
        assert_eq!(serde_json::from_str::<Count>("3").unwrap(), Count::Fixed(3));
        for bad in [
            "0",
            "65",
            "-1",
            "",
            "poisson:",
            "poisson:0",
            "poisson:1e-20",
            "poisson:17",
            "poisson:nan",
            "2.5",
            "three",
        ] {
            assert_eq!(bad.parse::<Count>(), Err(CountError(bad.to_owned())));
        }
        assert!(serde_json::from_str::<Count>("0").is_err());
    }

    #[test]
    fn a_poisson_number_has_its_mean_and_is_never_0() {
        let mut rng = fault_rng(7, 0);
        for mean in [0.1, 1.0, 5.0] {
            let drawn: Vec<u32> = (0..20_000).map(|_| Count::Poisson(mean).draw(&mut rng)).collect();
            assert!(drawn.iter().all(|count| (1..=MOST).contains(count)));
            // Of a Poisson number that is not 0: the mean is m / (1 - e^-m), the variance at most that and its square.
            let expected = mean / (1.0 - (-mean).exp());
            let found = f64::from(drawn.iter().sum::<u32>()) / 20_000.0;
            let deviation = (expected * (1.0 + mean - expected) / 20_000.0).sqrt();
            assert!((found - expected).abs() < 5.0 * deviation, "{mean}: {found} {expected}");
        }
    }
}
