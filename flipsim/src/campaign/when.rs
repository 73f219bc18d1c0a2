//! The kinds of moments that faults can be drawn from.
//!
//! Invariant: each moment of a run is busy or idle, and never both.

use std::fmt;
use std::str::FromStr;

use crate::text::{near_names, stored_as_text};
use crate::trial::{Trigger, TriggerError};

/// Which moments faults strike at, of all that the times allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The instants at which an event comes.
    At(Trigger),
}

impl When {
    /// All that have a word of their own.
    pub const ALL: [When; 4] = [When::Time, When::Instructions, When::Busy, When::Idle];

    /// The word in files and outputs; of a trigger, its kind alone.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            When::Time => "time",
            When::Instructions => "instructions",
            When::Busy => "busy",
            When::Idle => "idle",
            When::At(_) => "at",
        }
    }

    /// What so many of them are, behind a number.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self {
            When::Time => "ns",
            When::Instructions => "instructions",
            When::Busy => "busy ns",
            When::Idle => "idle ns",
            When::At(_) => "instants",
        }
    }

    /// How large a space is that has so many faults at so many of them. Where each moment has its own faults, it is these
    /// pairs that were counted.
    #[must_use]
    pub fn space(&self, faults: u64, times: u64, shown: fn(u64) -> String) -> String {
        match times {
            1 => format!("{} pairs of fault and moment", shown(faults)),
            _ => format!("{} faults × {} {}", shown(faults), shown(times), self.unit()),
        }
    }

    /// Whether these are all moments, so that nothing need be known of when the guest idles.
    #[must_use]
    pub fn is_time(&self) -> bool {
        *self == When::Time
    }

    /// The trigger, if it is one.
    #[must_use]
    pub fn trigger(&self) -> Option<&Trigger> {
        if let When::At(trigger) = self { Some(trigger) } else { None }
    }

    /// Whether some moment may be of both. Instants of triggers may be any.
    #[must_use]
    pub fn overlaps(&self, other: &When) -> bool {
        let any = |when: &When| when.is_time() || when.trigger().is_some();
        any(self) || any(other) || (*self == When::Idle) == (*other == When::Idle)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(trigger) => trigger.fmt(f),
            other => f.write_str(other.name()),
        }
    }
}

/// A word that is no kind of moments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// No such word.
    #[error("`{0}` is not known{hint}; write time, instructions, busy, idle, or an event such as symbol:NAME", hint = near(.0))]
    Unknown(String),
    /// No such event.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
}

fn near(text: &str) -> String {
    near_names(text, When::ALL.iter().map(When::name))
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        if Trigger::is_meant(text) {
            return Ok(When::At(text.parse()?));
        }
        let found = When::ALL.into_iter().find(|when| when.name() == text.trim());
        found.ok_or_else(|| WhenError::Unknown(text.to_owned()))
    }
}

stored_as_text!(When);
