//! Values that a specification writes as text, for serde.
//!
//! Invariant: **what is written is read back as the same value**, to the last digit.

use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::{Pattern, format_pattern, parse_pattern};
use crate::stats::{Confidence, Share};
use crate::trial::golden::Window;
use crate::units::{VirtualNs, in_one_unit, parse_duration, parse_virtual};

/// Reads a text, and says of anything else how the value is written.
struct Quoted {
    /// What it is, with an example behind `as in`.
    what: &'static str,
    /// What is written behind a bare number, and makes a value of it.
    unit: &'static str,
}

impl Quoted {
    fn number<E: de::Error>(&self, number: impl std::fmt::Display) -> E {
        match self.unit {
            "" => E::custom(format!("{number} is a number; write {}", self.what)),
            unit => E::custom(format!("{number} has no unit; write \"{number}{unit}\": {}", self.what)),
        }
    }
}

impl Visitor<'_> for Quoted {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Err(self.number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Err(self.number(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Err(self.number(number))
    }
}

/// A value that is written as text, by two functions. The error of one that is read points at the text.
macro_rules! text {
    ($(#[doc = $doc:literal] $name:ident of $type:ty, $parse:expr, $write:expr, $unit:literal, $what:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name(pub $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_any(Quoted { what: $what, unit: $unit })?;
                $parse(&text).map($name).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$write(&self.0))
            }
        }
    )*};
}

text! {
    /// A share, such as `1%` or `0.01`.
    ShareText of Share, str::parse::<Share>, |share: &Share| share.value(),
        "", "a share in quotes, as in \"1%\" or \"0.01\"";
    /// An assurance, such as `80%`, or `none`.
    AssuranceText of Option<Share>, parse_assurance, format_assurance,
        "", "a share in quotes, as in \"80%\", or \"none\"";
    /// A confidence, such as `95%`.
    ConfidenceText of Confidence, str::parse::<Confidence>, |confidence: &Confidence| confidence.level(),
        "", "a confidence in quotes, as in \"95%\"";
    /// A pattern, such as `adjacent:2`.
    PatternText of Pattern, parse_pattern, |pattern: &Pattern| format_pattern(*pattern),
        "", "a pattern in quotes, as in \"single\", \"bit:3\", \"adjacent:2\" or \"mask:0x81\"";
    /// A virtual time, such as `10ms`.
    TimeText of VirtualNs, parse_virtual, |time: &VirtualNs| in_one_unit(time.0.into()),
        "ms", "a time in quotes with its unit (ns, us, ms, s, m)";
    /// A time of the host's, such as `60s`.
    DurationText of Duration, parse_duration, |time: &Duration| in_one_unit(time.as_nanos()),
        "s", "a time in quotes with its unit (ns, us, ms, s, m)";
    /// A window: `done`, or a virtual time.
    WindowText of Window, parse_window, format_window,
        "ms", "a time in quotes with its unit (ns, us, ms, s, m), or \"done\"";
}

fn parse_assurance(text: &str) -> Result<Option<Share>, crate::stats::StatsError> {
    if text.trim() == "none" { Ok(None) } else { text.parse().map(Some) }
}

#[expect(clippy::ref_option, reason = "the macro's form")]
fn format_assurance(assurance: &Option<Share>) -> String {
    assurance.map_or_else(|| "none".to_owned(), |share| share.value().to_string())
}

fn parse_window(text: &str) -> Result<Window, crate::units::UnitError> {
    if text.trim() == "done" { Ok(Window::Done) } else { parse_virtual(text).map(Window::Time) }
}

fn format_window(window: &Window) -> String {
    match window {
        Window::Done => "done".to_owned(),
        Window::Time(length) => in_one_unit(length.0.into()),
    }
}
