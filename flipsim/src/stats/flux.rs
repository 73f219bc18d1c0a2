//! Where the raw rate of upsets comes from: a flux of particles on a cross section, or upsets per bit and day.
//!
//! Invariant: **a figure with a name is one row of [`FLUXES`], with its unit, what it counts, and its source**;
//! `docs/field.md` has every row.

use std::str::FromStr;

use crate::stats::fit::FitPerMbit;

/// Hours of a day.
const DAY: f64 = 24.0;
/// Bits of a megabit, and the hours of FIT.
const MBIT: f64 = (1u64 << 20) as f64;
const FIT_HOURS: f64 = 1e9;

/// What a named figure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Particles through 1 cm² in an hour; takes a cross section to become upsets.
    PerCm2Hour(f64),
    /// Upsets of one bit in a day, of one kind of memory in one orbit.
    UpsetsPerBitDay(f64),
}

/// A figure from a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NamedFlux {
    /// Its name on the command line.
    pub name: &'static str,
    /// The figure.
    pub figure: Figure,
    /// Which particles, where.
    pub what: &'static str,
    /// The document.
    pub source: &'static str,
}

/// All of them. Orbits are few on purpose: what strikes there depends on inclination, shielding and the sun, and on
/// the part's response to protons and to heavy ions, so that a rate comes from a model for that part (CREME96, SPENVIS,
/// OMERE), as upsets per bit and day.
pub const FLUXES: &[NamedFlux] = &[
    NamedFlux {
        name: "sea-level",
        figure: Figure::PerCm2Hour(13.0),
        what: "neutrons above 10 MeV, outdoors in New York City at sea level, the sun's activity at its mean",
        source: "JEDEC JESD89A, 2006, annex A; JESD89B, 2021",
    },
    NamedFlux {
        name: "sea-level-thermal",
        figure: Figure::PerCm2Hour(4.0),
        what: "thermal neutrons at sea level (39° N, 76.5° W); for a cross section of thermal neutrons",
        source: "Dirk, Nelson, Ziegler, Thompson, Zabel: Terrestrial Thermal Neutrons, IEEE TNS 50, 2003, abstract",
    },
    NamedFlux {
        name: "aircraft",
        figure: Figure::PerCm2Hour(6000.0),
        what: "neutrons above 10 MeV at 40,000 feet (12.2 km) and 45° of latitude",
        source: "IEC 62396-1:2016 (nominal flux)",
    },
    NamedFlux {
        name: "alsat-1",
        figure: Figure::UpsetsPerBitDay(4.04e-7),
        what: "measured over 8 years in the commercial SRAM of Alsat-1, in a sun-synchronous low Earth orbit near 700 km",
        source: "Bentoutou: A Review of in-orbit Observations of Radiation-Induced Effects in Commercial Memories \
                 onboard Alsat-1, 2011, abstract",
    },
];

/// Text that is no flux, no cross section or no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FluxError {
    /// No flux.
    #[error("`{0}` is not a flux; write particles per cm² and time, as in 13/cm2/h (s, h, day), or one of: {names}", names = names(|figure| matches!(figure, Figure::PerCm2Hour(_))))]
    Flux(String),
    /// No cross section.
    #[error("`{0}` is not a cross section; write the cm² of one bit, as in 1e-14cm2/bit")]
    CrossSection(String),
    /// No rate of upsets.
    #[error("`{0}` is not a rate of upsets; write those of one bit in a day, as in 1e-7, or one of: {names}", names = names(|figure| matches!(figure, Figure::UpsetsPerBitDay(_))))]
    Upsets(String),
}

fn names(of: fn(&Figure) -> bool) -> String {
    let names: Vec<&str> = FLUXES.iter().filter(|row| of(&row.figure)).map(|row| row.name).collect();
    names.join(", ")
}

/// The row with this name.
pub(super) fn named(name: &str) -> Option<&'static NamedFlux> {
    FLUXES.iter().find(|row| row.name == name)
}

/// A finite number above 0.
fn positive(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

/// Particles through 1 cm² in an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flux {
    /// How many.
    pub per_cm2_hour: f64,
    /// The row that they are from.
    pub named: Option<&'static NamedFlux>,
}

impl FromStr for Flux {
    type Err = FluxError;
    fn from_str(text: &str) -> Result<Self, FluxError> {
        let error = || FluxError::Flux(text.to_owned());
        let text = text.trim();
        if let Some(row) = named(text)
            && let Figure::PerCm2Hour(per_cm2_hour) = row.figure
        {
            return Ok(Flux { per_cm2_hour, named: Some(row) });
        }
        let mut parts = text.split('/').map(str::trim);
        let (Some(number), Some("cm2" | "cm²"), Some(time), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let hours = match time {
            "s" => 1.0 / 3600.0,
            "h" | "hour" => 1.0,
            "d" | "day" => DAY,
            _ => return Err(error()),
        };
        let per_cm2_hour = positive(number).ok_or_else(error)? / hours;
        Ok(Flux { per_cm2_hour, named: None })
    }
}

/// The area of one bit, in cm², that a particle must hit for it to flip.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct CrossSection(f64);

impl CrossSection {
    /// The cm² of one bit.
    #[must_use]
    pub fn cm2_per_bit(self) -> f64 {
        self.0
    }

    /// The raw rate in a flux: σ Φ upsets of a bit in an hour.
    #[must_use]
    pub fn in_flux(self, flux: Flux) -> Option<FitPerMbit> {
        FitPerMbit::new(self.0 * flux.per_cm2_hour * FIT_HOURS * MBIT).ok()
    }
}

impl FromStr for CrossSection {
    type Err = FluxError;
    fn from_str(text: &str) -> Result<Self, FluxError> {
        let number = text.trim();
        let number = number.strip_suffix("/bit").unwrap_or(number);
        let number = number.strip_suffix("cm2").or(number.strip_suffix("cm²")).unwrap_or(number);
        // A bit has far less than 1 mm²: a larger number is one of a whole part.
        let area = positive(number).filter(|area| *area < 1e-2);
        area.map(CrossSection).ok_or_else(|| FluxError::CrossSection(text.to_owned()))
    }
}

/// Upsets of one bit in a day, as models of orbits give them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpsetsPerBitDay {
    /// How many.
    pub upsets: f64,
    /// The row that they are from.
    pub named: Option<&'static NamedFlux>,
}

impl From<UpsetsPerBitDay> for FitPerMbit {
    fn from(rate: UpsetsPerBitDay) -> Self {
        FitPerMbit(rate.upsets / DAY * FIT_HOURS * MBIT)
    }
}

impl FromStr for UpsetsPerBitDay {
    type Err = FluxError;
    fn from_str(text: &str) -> Result<Self, FluxError> {
        if let Some(row) = named(text.trim())
            && let Figure::UpsetsPerBitDay(upsets) = row.figure
        {
            return Ok(UpsetsPerBitDay { upsets, named: Some(row) });
        }
        let upsets = positive(text).filter(|upsets| *upsets < 1.0);
        let rate = upsets.map(|upsets| UpsetsPerBitDay { upsets, named: None });
        rate.ok_or_else(|| FluxError::Upsets(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cross_section_in_a_flux_is_a_rate_of_upsets() {
        // 10^-14 cm² · 13 /(cm² h) = 1.3·10^-13 a bit and hour: 1.3·10^-4 FIT a bit, 136 FIT/Mbit.
        let area: CrossSection = "1e-14cm2/bit".parse().unwrap();
        let fit = area.in_flux("sea-level".parse().unwrap()).unwrap();
        assert!((fit.value() - 1.3e-4 * 1_048_576.0).abs() < 1e-9, "{fit:?}");
        assert_eq!(area.in_flux("13/cm2/h".parse().unwrap()), Some(fit));
        let day: Flux = "312/cm²/day".parse().unwrap();
        assert!((day.per_cm2_hour - 13.0).abs() < 1e-12);
        let second: Flux = "2/cm2/s".parse().unwrap();
        assert!((second.per_cm2_hour - 7200.0).abs() < 1e-9);
        // A bit that flips once in 10^7 days: 4.17·10^-9 an hour.
        let upsets: UpsetsPerBitDay = "1e-7".parse().unwrap();
        assert!((FitPerMbit::from(upsets).value() - 1e-7 / 24.0 * 1e9 * 1_048_576.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_flux_says_how_one_is_written_and_which_have_names() {
        for bad in ["", "13", "leo", "13/cm2", "13/m2/h", "-1/cm2/h", "nan/cm2/h", "13/cm2/h/h", "alsat-1"] {
            let error = bad.parse::<Flux>().unwrap_err().to_string();
            assert!(error.contains("sea-level, sea-level-thermal, aircraft"), "{error}");
        }
        for bad in ["", "0", "1", "1e-14m2", "inf", "x"] {
            assert_eq!(bad.parse::<CrossSection>(), Err(FluxError::CrossSection(bad.to_owned())));
        }
        for bad in ["", "0", "7", "aircraft", "nan"] {
            let error = bad.parse::<UpsetsPerBitDay>().unwrap_err().to_string();
            assert!(error.contains("one of: alsat-1"), "{error}");
        }
    }

    #[test]
    fn the_page_on_the_field_has_every_row() {
        let page = include_str!("../../../docs/field.md");
        for row in FLUXES {
            let (number, unit) = match row.figure {
                Figure::PerCm2Hour(number) => (number, "/cm²/h"),
                Figure::UpsetsPerBitDay(number) => (number, "/bit/day"),
            };
            let number = if number < 1.0 { format!("{number:e}") } else { format!("{number}") };
            let begins = format!("| `{}` | {number} {unit} | {} |", row.name, row.what);
            assert!(page.contains(&begins), "docs/field.md has no row that begins with {begins}");
            assert!(page.contains(row.source), "docs/field.md does not name {}", row.source);
        }
    }
}
