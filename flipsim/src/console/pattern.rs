//! What a line of the console is found by: a regular expression.
//!
//! Invariant: an empty pattern, which every line matches, is refused.

use std::fmt;
use std::str::FromStr;

use regex::Regex;

use crate::text::stored_as_text;

/// A regular expression for a line of the console, as the crate `regex` reads it. It may match anywhere in the
/// line; `^` and `$` are its ends.
#[derive(Clone, Debug)]
pub struct LinePattern(Regex);

impl LinePattern {
    /// Whether a line of the console matches.
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        self.0.is_match(line)
    }

    /// What its first group matched in a line, or nothing where it has no group; `None` where the line does not match.
    pub(in crate::console) fn group<'a>(&self, line: &'a str) -> Option<Option<&'a str>> {
        self.0.captures(line).map(|found| found.get(1).map(|group| group.as_str()))
    }

    /// The name of its first group.
    pub(in crate::console) fn name(&self) -> Option<&str> {
        self.0.capture_names().nth(1).flatten()
    }

    /// The first group of the match, or the whole line where the expression has no group.
    pub(in crate::console) fn part<'a>(&self, line: &'a str) -> Option<&'a str> {
        let found = self.0.captures(line)?;
        Some(found.get(1).map_or(line, |group| group.as_str()))
    }
}

impl PartialEq for LinePattern {
    fn eq(&self, other: &LinePattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for LinePattern {}

impl fmt::Display for LinePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Text that is no pattern, or no exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// Not a regular expression.
    #[error(
        "`{text}` is no regular expression: {why}; put a backslash before . * + ? ( ) [ ] {{ }} | ^ $ \\"
    )]
    Pattern {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Everything matches, so nothing would be waited for.
    #[error("an empty pattern is in every line; say what the guest prints")]
    Empty,
    /// Not `PATTERN => TEXT`.
    #[error("`{0}` is no exchange; write PATTERN => TEXT, as in 'login: => root'")]
    Exchange(String),
    /// Something is to happen before power-on.
    #[error(
        "ready = \"power-on\" is where the guest is switched on: leave out what is typed or waited for before that (--dialogue, --ready-after)"
    )]
    BeforePowerOn,
    /// `userspace` of a guest that has reached it when it is ready.
    #[error("--userspace is of guests that are ready at power-on: add --ready power-on, or leave it out")]
    Userspace,
    /// Text that a keyboard cannot type.
    #[error("`{0:?}` cannot be typed: it has control characters")]
    Untypeable(String),
}

impl FromStr for LinePattern {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        if text.is_empty() {
            return Err(SignalError::Empty);
        }
        let bad = |error: regex::Error| SignalError::Pattern {
            text: text.to_owned(),
            // Its last line says what; those before draw where.
            why: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        };
        Regex::new(text).map(LinePattern).map_err(bad)
    }
}

stored_as_text!(LinePattern);

/// By what a guest is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyBy {
    /// It is so where it is switched on, before its first instruction.
    PowerOn,
    /// By this line of its console.
    Line(LinePattern),
}

/// The word for it.
const POWER_ON: &str = "power-on";

impl fmt::Display for ReadyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadyBy::PowerOn => f.write_str(POWER_ON),
            ReadyBy::Line(pattern) => pattern.fmt(f),
        }
    }
}

impl FromStr for ReadyBy {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        if text == POWER_ON { Ok(ReadyBy::PowerOn) } else { text.parse().map(ReadyBy::Line) }
    }
}

stored_as_text!(ReadyBy);
