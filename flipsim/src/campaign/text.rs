//! Values that a specification writes as text, for serde.
//!
//! Invariant: the error of such a value points at its text in the file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::fault::{Pattern, PatternError, parse_pattern};
use crate::trial::golden::Window;
use crate::units::{VirtualNs, parse_duration, parse_virtual};

/// A value that is written as text. Its error points at the text.
pub(super) struct Text<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Text).map_err(serde::de::Error::custom)
    }
}

/// What is parsed by a function, for [`Text`].
macro_rules! parsed {
    ($name:ident, $type:ty, $error:ty, $parse:expr) => {
        pub(super) struct $name(pub $type);
        impl FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                $parse(text).map($name)
            }
        }
    };
}
parsed!(PatternText, Pattern, PatternError, parse_pattern);
parsed!(TimeText, VirtualNs, crate::units::UnitError, parse_virtual);
parsed!(DurationText, Duration, crate::units::UnitError, parse_duration);
parsed!(WindowText, Window, crate::units::UnitError, parse_window);

/// Reads a window: `done`, or a time.
///
/// # Errors
/// Neither.
pub fn parse_window(text: &str) -> Result<Window, crate::units::UnitError> {
    if text.trim() == "done" { Ok(Window::Done) } else { parse_virtual(text).map(Window::Time) }
}
