//! The kinds of moments that faults can be drawn from.
//!
//! Invariant: each moment of a run is busy or idle, and never both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which moments faults strike at, of all that the times allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Any nanosecond, whether the guest executes or idles.
    #[default]
    Time,
    /// Before any executed instruction. With an instruction a nanosecond these are the moments of [`When::Busy`].
    Instructions,
    /// Any nanosecond at which the guest executes.
    Busy,
    /// Any nanosecond at which it idles.
    Idle,
}

impl When {
    /// All of them.
    pub const ALL: [When; 4] = [When::Time, When::Instructions, When::Busy, When::Idle];

    /// The word in files and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            When::Time => "time",
            When::Instructions => "instructions",
            When::Busy => "busy",
            When::Idle => "idle",
        }
    }

    /// What so many of them are, behind a number.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            When::Time => "ns",
            When::Instructions => "instructions",
            When::Busy => "busy ns",
            When::Idle => "idle ns",
        }
    }

    /// Whether these are all moments, so that nothing need be known of when the guest idles.
    #[must_use]
    pub fn is_time(&self) -> bool {
        *self == When::Time
    }

    /// Whether some moment may be of both.
    #[must_use]
    pub fn overlaps(self, other: When) -> bool {
        self.is_time() || other.is_time() || (self == When::Idle) == (other == When::Idle)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no kind of moments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not known; write time, instructions, busy or idle")]
pub struct WhenError(String);

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        let found = When::ALL.into_iter().find(|when| when.name() == text.trim());
        found.ok_or_else(|| WhenError(text.to_owned()))
    }
}
