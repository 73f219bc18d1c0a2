//! Upset rates and missions: from so many flips a month in a memory of some size to times on a virtual clock.
//!
//! A rate of upsets is usually given for a machine's memory in the field ("10 flips a GiB and month").
//! [`Mission`] turns it into the mean time between two upsets of this memory, and shortens that for
//! the laboratory.
//!
//! Invariant: a mission whose upsets the virtual clock cannot show, less than 1 ns apart or too far, is an error.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{VirtualNs, format_duration, parse_number, parse_size};

/// Seconds of a month: 30 days, so that a year of 12 months has 360.
pub const MONTH: f64 = 30.0 * 24.0 * 3600.0;

/// A raw upset rate: so many flips for so much memory and time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpsetRate {
    /// Flips per byte and second.
    pub per_byte_second: f64,
}

/// Text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate; write FLIPS/SIZE/TIME, as in 10/GiB/month or 0.5/MiB/day \
     (s, minute, hour, day, month of 30 days, year of 360)"
)]
pub struct RateError(String);

/// A length of time in the field: a number with s, minute, hour, day, month or year.
///
/// # Errors
/// The text is no such time.
pub fn parse_field_time(text: &str) -> Result<f64, RateError> {
    let error = || RateError(text.to_owned());
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
    let (number, unit) = text.split_at(at);
    let number: f64 =
        if number.trim().is_empty() { 1.0 } else { number.trim().parse().map_err(|_| error())? };
    let seconds = match unit.trim().to_ascii_lowercase().trim_end_matches('s') {
        // `s` itself has lost its only letter.
        "" | "second" => 1.0,
        "minute" => 60.0,
        "h" | "hour" => 3600.0,
        "day" => 24.0 * 3600.0,
        "month" => MONTH,
        "year" => 12.0 * MONTH,
        _ => return Err(error()),
    };
    Some(number * seconds).filter(|time| time.is_finite() && *time > 0.0).ok_or_else(error)
}

/// So many bits by unit, in small letters.
const BITS: [(&str, u64); 4] = [("kbit", 1 << 10), ("mbit", 1 << 20), ("gbit", 1 << 30), ("bit", 1)];

/// How many bytes so much memory is: `GiB`, `64MiB`, `bit`, `16Mbit`; a unit alone is one of them.
#[expect(clippy::cast_precision_loss, reason = "memory sizes are far below 2^53")]
pub(super) fn parse_memory(text: &str) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let text = if text.starts_with(|c: char| c.is_ascii_digit()) { text } else { format!("1{text}") };
    let bytes = match BITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits))) {
        Some((number, bits)) => parse_number(number.trim()).ok()? as f64 * bits as f64 / 8.0,
        None => parse_size(&text).ok()? as f64,
    };
    (bytes > 0.0).then_some(bytes)
}

impl FromStr for UpsetRate {
    type Err = RateError;
    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError(text.to_owned());
        let mut parts = text.split('/');
        let (Some(flips), Some(size), Some(time), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let flips: f64 = flips.trim().parse().map_err(|_| error())?;
        let bytes = parse_memory(size).ok_or_else(error)?;
        let rate = flips / bytes / parse_field_time(time).map_err(|_| error())?;
        Some(UpsetRate { per_byte_second: rate }).filter(|_| rate.is_finite() && rate > 0.0).ok_or_else(error)
    }
}

/// A mission that a run in the laboratory stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mission {
    /// The raw rate of upsets.
    pub rate: UpsetRate,
    /// The memory that is exposed, in bytes.
    pub bytes: u64,
    /// How many times faster than in the field the upsets come.
    pub accelerate: f64,
}

/// A mission that no run can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MissionError {
    /// Upsets less than a nanosecond apart.
    #[error("accelerated like this, two upsets are less than 1 ns apart; accelerate less")]
    TooFast,
    /// Upsets further apart than the virtual clock can show.
    #[error("two upsets are {0} days of virtual time apart; accelerate more")]
    TooSlow(u64),
    /// An invalid acceleration.
    #[error("an acceleration is a number above 0")]
    NoAcceleration,
}

impl Mission {
    /// The mean time between two upsets in the field, in seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "memory sizes are far below 2^53")]
    pub fn mean_in_field(&self) -> f64 {
        1.0 / (self.rate.per_byte_second * self.bytes as f64)
    }

    /// The mean time between two upsets in the laboratory.
    ///
    /// # Errors
    /// It is too short or too long.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bounded on both sides before the cast"
    )]
    pub fn mean(&self) -> Result<VirtualNs, MissionError> {
        if !(self.accelerate.is_finite() && self.accelerate > 0.0) {
            return Err(MissionError::NoAcceleration);
        }
        let mean = (self.mean_in_field() / self.accelerate * 1e9).round();
        if mean < 1.0 {
            return Err(MissionError::TooFast);
        }
        if mean > i64::MAX as f64 {
            return Err(MissionError::TooSlow((mean / 86_400e9) as u64));
        }
        Ok(VirtualNs(mean as u64))
    }

    /// How many upsets are expected in so many seconds in the field.
    #[must_use]
    pub fn upsets_in(&self, field_seconds: f64) -> f64 {
        field_seconds / self.mean_in_field()
    }

    /// How long it takes in the field until so many upsets are expected, in seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 faults are never drawn")]
    pub fn field_seconds(&self, upsets: u64) -> f64 {
        upsets as f64 * self.mean_in_field()
    }
}

/// A length of time in the field, in the unit that fits.
#[must_use]
pub fn format_field_time(seconds: f64) -> String {
    let units = [(12.0 * MONTH, "years"), (MONTH, "months"), (86_400.0, "days"), (3600.0, "hours")];
    match units.iter().find(|(length, _)| seconds >= *length) {
        Some((length, name)) => format!("{:.2} {name}", seconds / length),
        None if seconds >= 1.0 => format!("{seconds:.0} s"),
        None => format_duration(Duration::from_secs_f64(seconds.max(0.0))),
    }
}
