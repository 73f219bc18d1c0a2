//! How long a fault stays in force that holds on: to the end, for a while, or for a while again and again.
//!
//! Invariant: the text of one is read back as the same.

use std::fmt;

use crate::units::{VirtualNs, in_one_unit, parse_duration};

/// Times at which a fault cannot be in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {why}; write stuck0, stuck0 for 5ms, or stuck0 for 100us every 1ms")]
pub struct HoldError {
    /// What was written.
    pub(super) text: String,
    /// What is wrong with it.
    pub(super) why: String,
}

/// When a fault is in force that holds on, from its own instant on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hold {
    long: Option<VirtualNs>,
    every: Option<VirtualNs>,
}

impl Hold {
    /// For ever.
    pub const TO_THE_END: Hold = Hold { long: None, every: None };

    /// For so long, and again after each `every`, counted from one beginning to the next.
    pub(super) fn new(long: Option<VirtualNs>, every: Option<VirtualNs>) -> Result<Hold, &'static str> {
        match (long, every) {
            (None, Some(_)) => Err("what comes again has a length"),
            (Some(VirtualNs(0)), _) => Err("it has no length"),
            (Some(long), Some(every)) if every <= long => Err("it comes again before it has ended"),
            (Some(_), Some(VirtualNs(every))) if every < LEAST => Err("it comes again within a microsecond"),
            (long, every) => Ok(Hold { long, every }),
        }
    }

    /// Reads what is behind an operation's name: `for 5ms`, `for 100us every 1ms`.
    pub(super) fn parse(whole: &str, text: &str) -> Result<Hold, HoldError> {
        let wrong = |why: &str| HoldError { text: whole.to_owned(), why: why.to_owned() };
        let time = |text: &str| {
            let time = parse_duration(text).map_err(|error| wrong(&error.to_string()))?;
            u64::try_from(time.as_nanos()).map(VirtualNs).map_err(|_| wrong("that is too long"))
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (long, every) = match words[..] {
            ["for", long] => (Some(time(long)?), None),
            ["for", long, "every", every] => (Some(time(long)?), Some(time(every)?)),
            _ => return Err(wrong("its times cannot be read")),
        };
        Hold::new(long, every).map_err(wrong)
    }

    /// How long it is in force at a time; `None` to the end.
    #[must_use]
    pub fn long(self) -> Option<VirtualNs> {
        self.long
    }

    /// How long after it began it begins again, of one that comes again.
    #[must_use]
    pub fn every(self) -> Option<VirtualNs> {
        self.every
    }
}

/// The shortest time between two beginnings, in nanoseconds: the guest is stopped for each.
const LEAST: u64 = 1_000;

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(long) = self.long {
            write!(f, " for {}", in_one_unit(long.0.into()))?;
        }
        self.every.map_or(Ok(()), |every| write!(f, " every {}", in_one_unit(every.0.into())))
    }
}
