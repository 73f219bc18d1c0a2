//! Newtypes for the numbers that could be swapped by mistake, and their text forms.
//!
//! Invariant: a value of one of these types has the unit its name says; text is turned into a
//! number here and nowhere else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A guest physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestPhys(pub u64);

/// A guest virtual address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestVirt(pub u64);

/// Nanoseconds on QEMU's virtual clock, counted from the start of the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VirtualNs(pub u64);

/// The number of a bit in a byte or register; 0 is the least significant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BitIndex(pub u32);

macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = UnitError;
            fn from_str(text: &str) -> Result<Self, UnitError> {
                parse_number(text).map($name)
            }
        }
    };
}
hex_text!(GuestPhys);
hex_text!(GuestVirt);

impl fmt::Debug for VirtualNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualNs({})", self.0)
    }
}

impl VirtualNs {
    /// The time in milliseconds, to the nanosecond: `40.000052 ms`.
    #[must_use]
    pub fn exact(self) -> String {
        format!("{}.{:06} ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Display for VirtualNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        format_duration(Duration::from_nanos(self.0)).fmt(f)
    }
}

impl fmt::Debug for BitIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitIndex({})", self.0)
    }
}

impl fmt::Display for BitIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not the number, size or duration it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a decimal, `0x` or `0b` number that fits 64 bits.
    #[error("`{0}` is not a number; write it in decimal, or in hex after 0x")]
    Number(String),
    /// Not a size.
    #[error("`{0}` is not a size; write a number of bytes, or one with K, M, G or T behind it, as in 128M")]
    Size(String),
    /// Not a duration.
    #[error("`{0}` is not a duration; write a number and a unit (ns, us, ms, s, m), as in 20ms")]
    Duration(String),
}

/// Reads a whole number: decimal, `0x…` or `0b…`, with `_` allowed between digits.
///
/// # Errors
/// [`UnitError::Number`] when the text is something else or does not fit 64 bits.
pub fn parse_number(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Number(text.to_owned());
    let clean = text.trim().replace('_', "");
    let (digits, radix) = if let Some(hex) = clean.strip_prefix("0x").or_else(|| clean.strip_prefix("0X")) {
        (hex, 16)
    } else if let Some(bin) = clean.strip_prefix("0b") {
        (bin, 2)
    } else {
        (clean.as_str(), 10)
    };
    // `from_str_radix` takes a sign, a number here has none.
    if digits.starts_with(['+', '-']) {
        return Err(bad());
    }
    u64::from_str_radix(digits, radix).map_err(|_| bad())
}

/// Reads a size in bytes: `4096`, `0x1000`, `64K`, `128M`, `1G`, `2T` (powers of 1,024; `MiB` and
/// `MB` mean the same as `M`).
///
/// # Errors
/// [`UnitError::Size`] when the text is something else or does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Size(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    if lower.starts_with("0x") {
        return parse_number(&lower).map_err(|_| bad());
    }
    let stem = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match stem.char_indices().next_back() {
        Some((at, 'k')) => (&stem[..at], 10),
        Some((at, 'm')) => (&stem[..at], 20),
        Some((at, 'g')) => (&stem[..at], 30),
        Some((at, 't')) => (&stem[..at], 40),
        _ => (stem, 0),
    };
    let number = parse_number(digits.trim()).map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// Writes a size with the largest unit that keeps it readable: `128.0 MiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Reads a duration: `20ns`, `5us`, `1.5ms`, `2s`, `3m`; the unit is required.
///
/// # Errors
/// [`UnitError::Duration`] when the text is something else or does not fit 64 bits of nanoseconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration(text.to_owned());
    let clean = text.trim().to_ascii_lowercase().replace('µ', "u");
    let split = clean.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (digits, unit) = clean.split_at(split);
    let scale: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        _ => return Err(bad()),
    };
    let digits = digits.trim().replace('_', "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    if !digits.starts_with(|c: char| c.is_ascii_digit())
        || !fraction.bytes().all(|b| b.is_ascii_digit())
        || (digits.contains('.') && fraction.is_empty())
    {
        return Err(bad());
    }
    let mut total = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(bad)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        total = total.checked_add(u64::from(digit - b'0') * unit).ok_or_else(bad)?;
    }
    Ok(Duration::from_nanos(total))
}

/// The number that bytes are, least significant first; of more than eight, the lowest eight.
#[must_use]
pub fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A time in nanoseconds as [`parse_duration`] reads it, in the largest unit that has no fraction: `1500us`.
#[must_use]
pub fn in_one_unit(ns: u128) -> String {
    let units = [("s", 1_000_000_000u128), ("ms", 1_000_000), ("us", 1000)];
    let unit = units.into_iter().find(|(_, size)| ns > 0 && ns.is_multiple_of(*size));
    let (unit, size) = unit.unwrap_or(("ns", 1));
    format!("{}{unit}", ns / size)
}

/// A virtual time: a [duration](parse_duration), or a bare number of nanoseconds.
///
/// # Errors
/// The text is neither, or longer than 64 bits of nanoseconds.
pub fn parse_virtual(text: &str) -> Result<VirtualNs, UnitError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(VirtualNs).map_err(|_| UnitError::Duration(text.to_owned()));
    }
    let nanos = parse_duration(text)?.as_nanos();
    u64::try_from(nanos).map(VirtualNs).map_err(|_| UnitError::Duration(text.to_owned()))
}

/// Writes a duration with the largest unit that keeps it readable: `146.0 µs`, `2.50 s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let value = nanos as f64;
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        1_000_000_000..120_000_000_000 => format!("{:.2} s", value / 1e9),
        120_000_000_000..7_200_000_000_000 => {
            let seconds = duration.as_secs();
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = duration.as_secs() / 60;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

/// How exactly the time of a flip is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// The guest was stopped at the virtual time asked for.
    #[default]
    Exact,
    /// The guest was stopped when the host got to it.
    Approximate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_in_three_radixes() {
        assert_eq!(parse_number("42"), Ok(42));
        assert_eq!(parse_number("0x4085_1000"), Ok(0x4085_1000));
        assert_eq!(parse_number("0b101"), Ok(5));
        for bad in ["", "0x", "x", "-1", "+1", "0x-1", "1.5", "0x1_0000_0000_0000_0000"] {
            assert_eq!(parse_number(bad), Err(UnitError::Number(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn sizes_take_the_usual_suffixes() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("0x1000"), Ok(4096));
        assert_eq!(parse_size("64K"), Ok(65_536));
        assert_eq!(parse_size("128MiB"), Ok(134_217_728));
        assert_eq!(parse_size("1 g"), Ok(1_073_741_824));
        for bad in ["", "M", "1Q", "-1M", "99999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("20ns"), Ok(Duration::from_nanos(20)));
        assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse_duration("2 s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(parse_duration("7µs"), Ok(Duration::from_micros(7)));
        for bad in ["", "5", "ms", "1.s", ".5s", "1.5.5s", "1h", "-1s", "99999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exact_times_show_every_nanosecond() {
        assert_eq!(VirtualNs(40_000_052).exact(), "40.000052 ms");
        assert_eq!(VirtualNs(7).exact(), "0.000007 ms");
    }

    #[test]
    fn a_bare_virtual_time_is_nanoseconds() {
        assert_eq!(parse_virtual("20"), Ok(VirtualNs(20)));
        assert_eq!(parse_virtual("1.5us"), Ok(VirtualNs(1500)));
        for bad in ["", "-1", "1h", "99999999999999999999"] {
            assert!(parse_virtual(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_sizes_are_shown_with_a_fitting_unit() {
        assert_eq!(format_duration(Duration::from_nanos(999)), "999 ns");
        assert_eq!(format_duration(Duration::from_micros(146)), "146.0 µs");
        assert_eq!(format_duration(Duration::from_secs(754)), "12 min 34 s");
        assert_eq!(format_duration(Duration::from_secs(7199)), "119 min 59 s");
        assert_eq!(format_duration(Duration::from_secs(48_173)), "13 h 22 min");
        assert_eq!(format_size(1023), "1023 B");
        assert_eq!(format_size(128 << 20), "128.0 MiB");
    }

    proptest! {
        #[test]
        fn addresses_survive_their_text_form(value: u64) {
            let address = GuestPhys(value);
            prop_assert_eq!(address.to_string().parse::<GuestPhys>(), Ok(address));
        }

        #[test]
        fn whole_durations_are_exact(value in 0..u64::MAX / 2) {
            prop_assert_eq!(parse_duration(&format!("{value}ns")), Ok(Duration::from_nanos(value)));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,24}") {
            let _ = (parse_number(&text), parse_size(&text), parse_duration(&text));
        }
    }
}
