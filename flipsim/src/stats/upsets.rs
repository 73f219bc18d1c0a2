//! A raw rate of upsets as people write it: one syntax, wherever a rate is asked for.
//!
//! ```text
//! 2e-7/bit/day    10/GiB/month    1700FIT/Mbit    alsat-1            complete
//! 1e-14cm2/bit                                                       of a bit's cross section: takes a flux
//! ```
//!
//! Invariant: **a text is the same rate wherever it is read**, and nothing is a rate that was not written.

use std::fmt;
use std::str::FromStr;

use crate::stats::fit::FitPerMbit;
use crate::stats::flux::{CrossSection, Figure, Flux, NamedFlux, UpsetsPerBitDay, named};
use crate::stats::mission::{UpsetRate, parse_memory};

/// Bits of a megabit.
const MBIT: f64 = (1u64 << 20) as f64;

/// Text that is no rate, or that no rate comes of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawRateError {
    /// It is none.
    #[error(
        "`{0}` is not a rate of upsets; write one as in 2e-7/bit/day, 10/GiB/month, 1700FIT/Mbit, or 1e-14cm2/bit with a flux \
         (s, minute, hour, day, month of 30 days, year of 360; Mbit is 2^20 bits), or a name of docs/field.md"
    )]
    Rate(String),
    /// More than one upset of a bit in a day.
    #[error("`{0}` is more than one upset of each bit in a day; is that the rate of a whole memory?")]
    TooMany(String),
    /// The name of a flux.
    #[error(
        "`{0}` is a flux, and no rate of upsets: give a cross section as the rate, as in 1e-14cm2/bit, and this as its flux"
    )]
    Flux(String),
    /// A cross section without a flux.
    #[error("`{0}` is a cross section; say in which flux, as in sea-level or 13/cm2/h")]
    NoFlux(String),
    /// A flux for something else.
    #[error("`{0}` is no cross section, and takes no flux; leave the flux out")]
    NotOfFlux(String),
}

/// What a text says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    /// Flips for so much memory and time.
    Upsets(UpsetRate),
    /// FIT.
    Fit(FitPerMbit),
    /// The area of a bit.
    Area(CrossSection),
}

/// A rate as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    text: String,
    number: f64,
    unit: String,
    value: Value,
    named: Option<&'static NamedFlux>,
}

/// A raw rate of upsets, with all that it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct RawRate {
    written: Written,
    flux: Option<Flux>,
    fit: FitPerMbit,
}

impl FromStr for Written {
    type Err = RawRateError;

    fn from_str(text: &str) -> Result<Self, RawRateError> {
        let error = || RawRateError::Rate(crate::text::shown(text, 60));
        let text = text.trim();
        if let Some(row) = named(text) {
            let Figure::UpsetsPerBitDay(number) = row.figure else {
                return Err(RawRateError::Flux(text.to_owned()));
            };
            let value = Value::Fit(UpsetsPerBitDay { upsets: number, named: Some(row) }.into());
            let unit = "/bit/day".to_owned();
            return Ok(Written { text: text.to_owned(), number, unit, value, named: Some(row) });
        }
        let behind = text.find(|c: char| !(c.is_ascii_digit() || ".eE+-".contains(c))).ok_or_else(error)?;
        let (digits, unit) = text.split_at(behind);
        let number: f64 = digits.trim().parse().map_err(|_| error())?;
        if !(number.is_finite() && number > 0.0) {
            return Err(error());
        }
        let unit: String = unit.split_whitespace().collect::<String>().to_ascii_lowercase().replace('²', "2");
        let value = if let Some(size) = unit.strip_prefix("fit/") {
            let bits = 8.0 * parse_memory(size).ok_or_else(error)?;
            Value::Fit(FitPerMbit::new(number / bits * MBIT).map_err(|_| error())?)
        } else if unit == "cm2/bit" {
            Value::Area(format!("{digits}cm2/bit").parse().map_err(|_| error())?)
        } else if unit.starts_with('/') {
            if unit == "/bit/day" && number >= 1.0 {
                return Err(RawRateError::TooMany(text.to_owned()));
            }
            Value::Upsets(format!("{number}{unit}").parse().map_err(|_| error())?)
        } else {
            return Err(error());
        };
        Ok(Written { text: text.to_owned(), number, unit, value, named: None })
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Written {
    /// A number of FIT/Mbit.
    #[must_use]
    pub fn fit(fit: FitPerMbit) -> Self {
        let (number, unit) = (fit.value(), "fit/mbit".to_owned());
        let text = format!("{number} FIT/Mbit");
        Written { text, number, unit, value: Value::Fit(fit), named: None }
    }

    /// Upsets of a bit in a day.
    #[must_use]
    pub fn upsets_per_bit_day(rate: UpsetsPerBitDay) -> Self {
        let name = rate.named.map_or(String::new(), |row| format!(" ({})", row.name));
        let text = format!("{:e} upsets a bit and day{name}", rate.upsets);
        let (number, unit) = (rate.upsets, "/bit/day".to_owned());
        Written { text, number, unit, value: Value::Fit(rate.into()), named: rate.named }
    }

    /// The cross section of a bit.
    #[must_use]
    pub fn area(area: CrossSection) -> Self {
        let number = area.cm2_per_bit();
        let text = format!("{number:e} cm²/bit");
        Written { text, number, unit: "cm2/bit".to_owned(), value: Value::Area(area), named: None }
    }

    /// The number, in its unit.
    #[must_use]
    pub fn number(&self) -> f64 {
        self.number
    }

    /// The unit, in small letters and without blanks.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Where its figure is from, if it was given by a name.
    #[must_use]
    pub fn named(&self) -> Option<&'static NamedFlux> {
        self.named
    }

    /// Whether it is a cross section, which takes a flux.
    #[must_use]
    pub fn is_area(&self) -> bool {
        matches!(self.value, Value::Area(_))
    }

    /// The raw rate: of a cross section in a flux, of anything else without one.
    ///
    /// # Errors
    /// There is no flux where it takes one, or one where it takes none.
    pub fn in_flux(self, flux: Option<Flux>) -> Result<RawRate, RawRateError> {
        let fit = match (self.value, flux) {
            (Value::Area(_), None) => return Err(RawRateError::NoFlux(self.text)),
            (Value::Area(area), Some(flux)) => {
                area.in_flux(flux).ok_or_else(|| RawRateError::Rate(self.text.clone()))?
            }
            (_, Some(_)) => return Err(RawRateError::NotOfFlux(self.text)),
            (Value::Upsets(rate), None) => rate.into(),
            (Value::Fit(fit), None) => fit,
        };
        Ok(RawRate { written: self, flux, fit })
    }
}

impl RawRate {
    /// The rate in FIT/Mbit.
    #[must_use]
    pub fn fit(&self) -> FitPerMbit {
        self.fit
    }

    /// The rate in flips per byte and second, to the last bit where it was written so.
    #[must_use]
    pub fn upsets(&self) -> UpsetRate {
        match self.written.value {
            Value::Upsets(rate) => rate,
            _ => self.fit.into(),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn written(&self) -> &Written {
        &self.written
    }
}

impl fmt::Display for RawRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawRate { written, flux, .. } = self;
        match flux {
            None => write!(f, "{written}"),
            Some(Flux { per_cm2_hour, named }) => {
                let name = named.map_or(String::new(), |row| format!(" ({})", row.name));
                write!(f, "{written} × {per_cm2_hour} /cm²/h{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(text: &str) -> f64 {
        text.parse::<Written>().unwrap().in_flux(None).unwrap().fit().value()
    }

    #[test]
    fn one_rate_is_the_same_in_every_form() {
        // 10^-7 a bit and day: 10^-7 / 24 h · 10^9 h · 2^20 bits.
        let expected = 1e-7 / 24.0 * 1e9 * MBIT;
        let texts =
            ["1e-7/bit/day", "1e-7 / bit / day", "8e-7/B/day", "0.1048576/Mbit/day", "3.6e-5/bit/year"];
        for text in texts {
            assert!((fit(text) / expected - 1.0).abs() < 1e-12, "{text}: {}", fit(text));
        }
        assert!((fit("1700FIT/Mbit") - 1700.0).abs() < 1e-9 && fit("1700 fit / Mbit") == fit("1700FIT/Mbit"));
        assert!((fit("17FIT/bit") - 17.0 * MBIT).abs() < 1e-3);
        assert!((fit("10/GiB/month") - 1695.4).abs() < 0.1);
        assert!((fit("alsat-1") - 4.04e-7 / 24.0 * 1e9 * MBIT).abs() < 1e-6);
        let area: Written = "1e-14cm²/bit".parse().unwrap();
        let rate = area.clone().in_flux(Some("sea-level".parse().unwrap())).unwrap();
        assert!((rate.fit().value() - 1.3e-4 * MBIT).abs() < 1e-9);
        assert_eq!(rate.to_string(), "1e-14cm²/bit × 13 /cm²/h (sea-level)");
        assert!(area.is_area() && area.unit() == "cm2/bit");
    }

    #[test]
    fn a_rate_that_was_written_as_flips_is_kept_to_the_last_bit() {
        let rate = "10/GiB/month".parse::<Written>().unwrap().in_flux(None).unwrap();
        assert_eq!(rate.upsets(), "10/GiB/month".parse().unwrap());
    }

    #[test]
    fn what_is_no_rate_says_how_one_is_written() {
        for bad in [
            "",
            "5",
            "x",
            "-1/bit/day",
            "0/bit/day",
            "1/bit",
            "5FIT",
            "5FIT/day",
            "1e-7/bit/day/day",
            "nan/bit/day",
            "7cm2/bit",
        ] {
            let error = bad.parse::<Written>().unwrap_err();
            assert!(matches!(error, RawRateError::Rate(_)), "{bad}: {error}");
            assert!(error.to_string().contains("as in 2e-7/bit/day"), "{error}");
        }
        assert_eq!("7/bit/day".parse::<Written>(), Err(RawRateError::TooMany("7/bit/day".to_owned())));
        assert_eq!("aircraft".parse::<Written>(), Err(RawRateError::Flux("aircraft".to_owned())));
        let of = |text: &str, flux: Option<&str>| {
            text.parse::<Written>().unwrap().in_flux(flux.map(|flux| flux.parse().unwrap()))
        };
        assert!(matches!(of("1e-14cm2/bit", None), Err(RawRateError::NoFlux(_))));
        assert!(matches!(of("1e-7/bit/day", Some("sea-level")), Err(RawRateError::NotOfFlux(_))));
    }
}
