//! When faults strike: the times between them, and what such times stand for in a mission.
//!
//! A rate of upsets is usually given for a machine's memory in the field ("10 flips a GiB and month").
//! [`Mission`] turns it into the mean time between two upsets of this memory, and shortens that for
//! the laboratory.
//!
//! Invariant: a time between two faults is at least 1 ns, and depends on nothing but the generator.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::units::{VirtualNs, format_duration, parse_size};

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

impl FromStr for UpsetRate {
    type Err = RateError;
    #[expect(clippy::cast_precision_loss, reason = "memory sizes are far below 2^53")]
    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError(text.to_owned());
        let mut parts = text.split('/');
        let (Some(flips), Some(size), Some(time), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let flips: f64 = flips.trim().parse().map_err(|_| error())?;
        // "GiB" alone is one of them.
        let size = size.trim();
        let size =
            if size.starts_with(|c: char| c.is_ascii_digit()) { size.to_owned() } else { format!("1{size}") };
        let bytes = parse_size(&size).map_err(|_| error())? as f64;
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
    /// An acceleration that is none.
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
    #[expect(clippy::cast_precision_loss, reason = "nobody draws 2^53 faults")]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::fault_rng;
    use proptest::prelude::*;

    const MISSION: Mission =
        Mission { rate: UpsetRate { per_byte_second: 0.0 }, bytes: 16 << 30, accelerate: 1.0 };

    #[test]
    fn uniform_intervals_reach_both_bounds_and_no_further() {
        let intervals = Intervals::uniform(VirtualNs(20), VirtualNs(23)).unwrap();
        let mut rng = fault_rng(1, 0);
        let mut counts = [0u32; 4];
        for _ in 0..40_000 {
            counts[usize::try_from(intervals.draw(&mut rng).0 - 20).unwrap()] += 1;
        }
        // 10,000 are expected of each; five standard deviations are 433.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 433), "{counts:?}");
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(Intervals::uniform(VirtualNs(0), VirtualNs(1)), Err(IntervalError::Zero));
        assert!(matches!(
            Intervals::uniform(VirtualNs(2), VirtualNs(1)),
            Err(IntervalError::Reversed { .. })
        ));
        assert_eq!(Intervals::geometric(VirtualNs(0)), Err(IntervalError::Zero));
    }

    #[test]
    fn geometric_intervals_have_the_mean_and_the_spread_of_a_poisson_process() {
        for mean in [1u64, 2, 50, 1_000_000] {
            let intervals = Intervals::geometric(VirtualNs(mean)).unwrap();
            let mut rng = fault_rng(7, 1);
            let draws: Vec<f64> = (0..100_000).map(|_| intervals.draw(&mut rng).0 as f64).collect();
            let average = draws.iter().sum::<f64>() / draws.len() as f64;
            let spread =
                (draws.iter().map(|x| (x - average).powi(2)).sum::<f64>() / draws.len() as f64).sqrt();
            let (mean, p) = (mean as f64, 1.0 / mean as f64);
            let expected_spread = (1.0 - p).sqrt() / p;
            // The mean of 100,000 draws lies within five of its standard errors.
            assert!((average - mean).abs() <= 5.0 * expected_spread / 316.0, "{mean}: {average}");
            assert!((spread - expected_spread).abs() <= 0.03 * expected_spread, "{mean}: {spread}");
        }
    }

    #[test]
    fn the_extremes_of_the_generator_are_survived() {
        assert_eq!(geometric(1_000, 0.0), 1);
        assert_eq!(geometric(1, 0.999), 1);
        // The largest number below 1 that 53 bits give: 36.7 means.
        let longest = geometric(1_000_000, 1.0 - f64::EPSILON / 2.0);
        assert!((36_000_000..38_000_000).contains(&longest), "{longest}");
    }

    #[test]
    fn the_same_seed_gives_the_same_intervals() {
        let draw = |seed| {
            let mut rng = fault_rng(seed, 1);
            let intervals = Intervals::uniform(VirtualNs(20), VirtualNs(100)).unwrap();
            (0..10).map(|_| intervals.draw(&mut rng).0).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // Pinned: a seed means the same next year.
        assert_eq!(draw(1), [89, 24, 65, 28, 98, 47, 92, 75, 89, 32]);
    }

    #[test]
    fn ten_flips_a_month_and_gib_in_16_gib_and_five_years_are_9600() {
        let mission = Mission { rate: "10/GiB/month".parse().unwrap(), ..MISSION };
        assert!((mission.upsets_in(parse_field_time("5years").unwrap()) - 9600.0).abs() < 1e-6);
        assert!((mission.mean_in_field() - 16_200.0).abs() < 1e-6);
        // One flip every half second of the guest's time stands for one in 16,200 s.
        let faster = Mission { accelerate: 32_400.0, ..mission };
        assert_eq!(faster.mean(), Ok(VirtualNs(500_000_000)));
        assert!((mission.field_seconds(4800) - 2.5 * 12.0 * MONTH).abs() < 1.0);
    }

    #[test]
    fn rates_that_make_no_sense_are_refused() {
        for bad in [
            "",
            "10",
            "10/GiB",
            "0/GiB/month",
            "-1/GiB/month",
            "1/GiB/fortnight",
            "x/GiB/s",
            "1/0/s",
            "1/GiB/s/s",
        ] {
            assert!(bad.parse::<UpsetRate>().is_err(), "{bad}");
        }
        assert!("0.5/64MiB/2days".parse::<UpsetRate>().is_ok());
        let rate = "10/GiB/month".parse().unwrap();
        let mission = |accelerate| Mission { rate, accelerate, ..MISSION }.mean();
        assert_eq!(mission(1e30), Err(MissionError::TooFast));
        assert_eq!(mission(0.0), Err(MissionError::NoAcceleration));
        assert_eq!(mission(f64::NAN), Err(MissionError::NoAcceleration));
        assert!(matches!(mission(1e-12), Err(MissionError::TooSlow(_))));
    }

    #[test]
    fn field_times_are_shown_with_a_fitting_unit() {
        assert_eq!(format_field_time(155_520_000.0), "5.00 years");
        assert_eq!(format_field_time(16_200.0), "4.50 hours");
        assert_eq!(format_field_time(2.0), "2 s");
        assert_eq!(format_field_time(0.0015), "1.5 ms");
    }

    proptest! {
        #[test]
        fn every_draw_is_within_its_bounds(min in 1u64..1 << 40, width in 0u64..1 << 40, seed: u64) {
            let intervals = Intervals::uniform(VirtualNs(min), VirtualNs(min + width)).unwrap();
            let drawn = intervals.draw(&mut fault_rng(seed, 1)).0;
            prop_assert!(drawn >= min && drawn <= min + width);
        }

        #[test]
        fn a_geometric_interval_is_never_zero(mean in 1u64..u64::MAX, uniform in 0.0f64..1.0) {
            prop_assert!(geometric(mean, uniform) >= 1);
        }

        #[test]
        fn no_text_makes_the_rate_parser_panic(text in ".{0,24}") {
            let _ = (text.parse::<UpsetRate>(), parse_field_time(&text));
        }
    }
}
