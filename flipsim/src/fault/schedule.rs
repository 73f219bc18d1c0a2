//! When faults strike: how the times between two of them are distributed, and the draw of one.
//!
//! What such times stand for in the field is [`crate::stats::mission`]'s.
//!
//! Invariant: a time between two faults is at least 1 ns, and depends on nothing but the generator.

use std::fmt;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::units::VirtualNs;

/// How the times between two faults are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intervals {
    /// Every whole nanosecond from `min` to `max`, both included, is as likely as every other.
    Uniform {
        /// The shortest.
        min: VirtualNs,
        /// The longest.
        max: VirtualNs,
    },
    /// Each nanosecond brings a fault with the same small chance: the discrete form of a Poisson
    /// process, whose times are geometrically distributed.
    Geometric {
        /// The mean time between two faults.
        mean: VirtualNs,
    },
}

/// Times that cannot be drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// The guest executes at least one instruction between two faults.
    #[error("an interval must be longer than 0; the shortest is 1ns")]
    Zero,
    /// The bounds are the wrong way round.
    #[error("the shortest interval ({min}) is longer than the longest ({max}); exchange the two")]
    Reversed {
        /// The lower bound.
        min: VirtualNs,
        /// The upper bound.
        max: VirtualNs,
    },
}

impl Intervals {
    /// Uniform between two bounds, both included.
    ///
    /// # Errors
    /// A bound is 0, or they are the wrong way round.
    pub fn uniform(min: VirtualNs, max: VirtualNs) -> Result<Self, IntervalError> {
        if min.0 == 0 {
            return Err(IntervalError::Zero);
        }
        if min > max {
            return Err(IntervalError::Reversed { min, max });
        }
        Ok(Intervals::Uniform { min, max })
    }

    /// The times of a Poisson process with this mean.
    ///
    /// # Errors
    /// The mean is 0.
    pub fn geometric(mean: VirtualNs) -> Result<Self, IntervalError> {
        if mean.0 == 0 {
            return Err(IntervalError::Zero);
        }
        Ok(Intervals::Geometric { mean })
    }

    /// Draws one.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> VirtualNs {
        match *self {
            Intervals::Uniform { min, max } => VirtualNs(rng.random_range(min.0..=max.0)),
            Intervals::Geometric { mean } => VirtualNs(geometric(mean.0, rng.random::<f64>())),
        }
    }

    /// The longest that can be drawn, where there is one.
    #[must_use]
    pub fn longest(&self) -> Option<VirtualNs> {
        match self {
            Intervals::Uniform { max, .. } => Some(*max),
            Intervals::Geometric { .. } => None,
        }
    }
}

/// The number of trials up to the first success, at a chance of 1/`mean` each, for a uniform number
/// in [0, 1).
#[expect(clippy::cast_precision_loss, reason = "a mean above 2^53 ns (104 days) is rounded by a nanosecond")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the quotient is not negative, and a cast saturates"
)]
fn geometric(mean: u64, uniform: f64) -> u64 {
    if mean <= 1 {
        return 1;
    }
    // 1 - uniform is in (0, 1], so the logarithm is finite.
    let quotient = (1.0 - uniform).ln() / (-1.0 / mean as f64).ln_1p();
    (quotient.floor() as u64).saturating_add(1)
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Intervals::Uniform { min, max } if min == max => write!(f, "every {min}"),
            Intervals::Uniform { min, max } => write!(f, "uniform in [{min}, {max}]"),
            Intervals::Geometric { mean } => write!(f, "geometric with mean {mean}"),
        }
    }
}

#[cfg(test)]
mod tests;
