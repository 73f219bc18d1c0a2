//! A mission as its file says it: how many upsets each kind of cell has in the field, where that figure is from, how far it
//! may be off, how many bits are exposed, for how long.
//!
//! Invariant: **no rate has a default, and none is without its source.** A key that is not known is a mistake.

use serde::{Deserialize, Serialize};

use crate::campaign::summary::{Cells, Field, SpaceKind, YEAR_HOURS};
use crate::campaign::toml::remedy;
use crate::stats::fit::Bits;
use crate::stats::flux::Flux;
use crate::stats::raw::{RawRange, Spread};
use crate::stats::upsets::{RawRate, Written};
use crate::text::shown;

/// A mission.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MissionFile {
    /// What it is called.
    pub title: Option<String>,
    /// How long, in years of 8,766 hours.
    pub years: f64,
    /// What is known of the cells of each kind.
    pub cells: Vec<MissionCells>,
}

/// The cells of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MissionCells {
    /// Which.
    pub kind: SpaceKind,
    /// The raw rate, as it was written, with its flux.
    pub rate: String,
    /// The same in FIT/Mbit.
    pub raw_fit_per_mbit: f64,
    /// Where it is from.
    pub source: String,
    /// How far it may be off.
    pub spread: Spread,
    /// How many bits are exposed; `None` for those of the campaign's strata.
    pub bits: Option<u64>,
}

/// A mission that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum MissionFileError {
    /// Not TOML, an unknown key, a value of the wrong form. Says line and column.
    #[error("{}{remedy}", error.to_string().trim_end())]
    Toml {
        /// What the reader of TOML says.
        error: Box<toml::de::Error>,
        /// What to write.
        remedy: String,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawMission {
    title: Option<String>,
    years: Option<f64>,
    ram: Option<RawCells>,
    registers: Option<RawCells>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawCells {
    rate: Option<String>,
    flux: Option<String>,
    source: Option<String>,
    factor: Option<f64>,
    interval: Option<[String; 2]>,
    bits: Option<u64>,
    gib: Option<f64>,
}

const GIB: f64 = (1u64 << 30) as f64;
/// So many letters a title has at most, and so many a source.
const LONGEST: (usize, usize) = (200, 1000);

impl MissionFile {
    /// Reads TOML.
    ///
    /// ```
    /// let mission = flipsim::campaign::MissionFile::from_toml(
    ///     r#"
    /// title = "A board at sea level"
    /// years = 5                      # of 8,766 hours; 1 where it is not said
    ///
    /// [ram]                          # and [registers]
    /// rate = "1e-14cm2/bit"          # or 2e-7/bit/day, 10/GiB/month, 1700FIT/Mbit
    /// flux = "sea-level"             # of a cross section: a name of docs/field.md, or 13/cm2/h
    /// source = "beam test of the part, report 7"
    /// factor = 2                     # or interval = ["5e-15cm2/bit", "2e-14cm2/bit"]
    /// gib = 0.125                    # or bits = 1073741824; else those of the strata
    /// "#,
    /// )?;
    /// assert_eq!(mission.cells.len(), 1);
    /// # Ok::<(), flipsim::campaign::MissionFileError>(())
    /// ```
    ///
    /// # Errors
    /// The text says what it may not.
    pub fn from_toml(text: &str) -> Result<Self, MissionFileError> {
        let raw: RawMission = toml::from_str(text).map_err(|error: toml::de::Error| {
            let remedy = remedy(error.message());
            MissionFileError::Toml { error: Box::new(error), remedy }
        })?;
        raw.resolved().map_err(MissionFileError::Invalid)
    }

    /// What it says of the cells of a kind.
    #[must_use]
    pub fn cells(&self, kind: SpaceKind) -> Option<&MissionCells> {
        self.cells.iter().find(|cells| cells.kind == kind)
    }

    /// The same as numbers.
    #[must_use]
    pub fn field(&self) -> Field {
        let of = |kind: SpaceKind| {
            let MissionCells { raw_fit_per_mbit, spread, bits, .. } = self.cells(kind)?;
            let raw = crate::stats::fit::FitPerMbit::new(*raw_fit_per_mbit).ok()?;
            Some(Cells { raw, spread: *spread, bits: bits.map(Bits) })
        };
        let (ram, registers) = (of(SpaceKind::Ram), of(SpaceKind::Registers));
        Field { ram, registers, hours: self.years * YEAR_HOURS }
    }
}

fn words(what: &str, text: &str, most: usize) -> Result<String, String> {
    let letters = text.chars().count();
    match text.trim() {
        "" => Err(format!("{what} is empty")),
        _ if letters > most => {
            Err(format!("{what} has {letters} letters, and {most} are the most: `{}`", shown(text, 40)))
        }
        text => Ok(text.to_owned()),
    }
}

impl RawMission {
    fn resolved(self) -> Result<MissionFile, String> {
        let title = self.title.map(|title| words("`title`", &title, LONGEST.0)).transpose()?;
        let years = self.years.unwrap_or(1.0);
        if !(years > 0.0 && years <= 1e6) {
            return Err(format!("`years` is {years}; write a number above 0, as in 5 or 0.5"));
        }
        let kinds = [("ram", SpaceKind::Ram, self.ram), ("registers", SpaceKind::Registers, self.registers)];
        let cells = kinds.into_iter().filter_map(|(name, kind, raw)| {
            raw.map(|raw| raw.resolved(kind).map_err(|why| format!("[{name}]: {why}")))
        });
        let cells: Vec<MissionCells> = cells.collect::<Result<_, String>>()?;
        if cells.is_empty() {
            return Err("no kind of cell has a rate; write [ram], [registers] or both, each with `rate` and `source`: \
                        there is no default"
                .to_owned());
        }
        Ok(MissionFile { title, years, cells })
    }
}

impl RawCells {
    fn resolved(self, kind: SpaceKind) -> Result<MissionCells, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let rate =
            self.rate.ok_or("it has no `rate`, and there is no default; write one as in 2e-7/bit/day")?;
        let source = self.source.ok_or("it has no `source`; say where the rate is from")?;
        let source = words("`source`", &source, LONGEST.1)?;
        let written: Written = rate.parse().map_err(|error| text(&error))?;
        let flux: Option<Flux> =
            self.flux.map(|flux| flux.parse().map_err(|error| text(&error))).transpose()?;
        let spread = match (self.factor, self.interval) {
            (Some(_), Some(_)) => return Err("it has `factor` and `interval`; leave one out".to_owned()),
            (Some(factor), None) => factor.to_string().parse().map_err(|error| text(&error))?,
            (None, Some(ends)) => interval(&written, &ends)?,
            (None, None) => Spread::EXACT,
        };
        let rate: RawRate = written.in_flux(flux).map_err(|error| text(&error))?;
        let bits = match (self.bits, self.gib) {
            (Some(_), Some(_)) => return Err("it has `bits` and `gib`; leave one out".to_owned()),
            (None, Some(_)) if kind == SpaceKind::Registers => {
                return Err("`gib` is of RAM; write `bits`".to_owned());
            }
            (Some(0), None) => return Err("`bits` is 0; leave it out for those of the strata".to_owned()),
            (bits, None) => bits,
            (None, Some(gib)) => Some(bits_of(gib)?),
        };
        Ok(MissionCells {
            kind,
            rate: rate.to_string(),
            raw_fit_per_mbit: rate.fit().value(),
            source,
            spread,
            bits,
        })
    }
}

fn interval(rate: &Written, [lower, upper]: &[String; 2]) -> Result<Spread, String> {
    let end = |text: &String| -> Result<f64, String> {
        let end: Written =
            text.parse().map_err(|error: crate::stats::upsets::RawRateError| error.to_string())?;
        match end.unit() == rate.unit() {
            true => Ok(end.number()),
            false => Err(format!("`interval` has `{end}` and `rate` is `{rate}`; write both in one unit")),
        }
    };
    let range = RawRange::new(end(lower)?, end(upper)?).map_err(|error| error.to_string())?;
    Spread::around(rate.number(), range).map_err(|error| error.to_string())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0 and below 2^53")]
fn bits_of(gib: f64) -> Result<u64, String> {
    let bits = gib * GIB * 8.0;
    match (1.0..9e15).contains(&bits) {
        true => Ok(bits.round() as u64),
        false => Err(format!("`gib` is {gib}; write a number above 0, as in 0.125")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUND: &str = include_str!("../../../docs/examples/mission-sea-level.toml");

    #[test]
    fn the_example_is_a_mission_and_says_what_is_assumed() {
        let mission = MissionFile::from_toml(GROUND).unwrap();
        let ram = mission.cells(SpaceKind::Ram).unwrap();
        // 10^-14 cm² × 13 /cm²/h: 1.3·10^-4 FIT a bit.
        assert!((ram.raw_fit_per_mbit - 1.3e-4 * 1_048_576.0).abs() < 1e-9);
        assert!(ram.source.contains("assum") && ram.source.contains("JESD89"), "{}", ram.source);
        assert_eq!(mission.cells(SpaceKind::Registers), None);
    }

    #[test]
    fn a_mission_is_what_its_file_says() {
        let text = "years = 5\n[ram]\nrate = \"2e-7/bit/day\"\nsource = \"a model\"\nfactor = 3\ngib = 0.125\n\
                    [registers]\nrate = \"1700FIT/Mbit\"\nsource = \"a guess\"\n\
                    interval = [\"850FIT/Mbit\", \"3400 FIT/Mbit\"]\nbits = 2000\n";
        let mission = MissionFile::from_toml(text).unwrap();
        let field = mission.field();
        let (ram, registers) = (field.ram.unwrap(), field.registers.unwrap());
        assert_eq!(ram.bits, Some(Bits(1 << 30)));
        assert_eq!((ram.spread, registers.spread), ("3".parse().unwrap(), "2".parse().unwrap()));
        assert_eq!(registers.bits, Some(Bits(2000)));
        assert!((field.hours - 5.0 * 8766.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_mission_says_what_to_write() {
        let ram = |rest: &str| format!("[ram]\nrate = \"2e-7/bit/day\"\n{rest}");
        for (text, says) in [
            (String::new(), "no kind of cell has a rate"),
            (ram(""), "[ram]: it has no `source`"),
            ("[ram]\nsource = \"x\"".to_owned(), "no `rate`, and there is no default"),
            (ram("source = \" \""), "`source` is empty"),
            (ram("source = \"x\"\nfaktor = 2"), "unknown field `faktor`"),
            ("[rom]\n".to_owned(), "unknown field `rom`"),
            (ram("source = \"x\"\nfactor = 0.5"), "`0.5` is not a factor"),
            (
                ram("source = \"x\"\nfactor = 2\ninterval = [\"1e-7/bit/day\", \"4e-7/bit/day\"]"),
                "leave one out",
            ),
            (ram("source = \"x\"\ninterval = [\"100FIT/Mbit\", \"4e-7/bit/day\"]"), "write both in one unit"),
            (
                ram("source = \"x\"\ninterval = [\"3e-7/bit/day\", \"4e-7/bit/day\"]"),
                "does not lie in its own interval",
            ),
            (ram("source = \"x\"\nflux = \"sea-level\""), "no cross section"),
            (ram("source = \"x\"\nbits = 5\ngib = 1"), "leave one out"),
            (ram("source = \"x\"\ngib = 0"), "`gib` is 0"),
            ("[registers]\nrate = \"1e-7/bit/day\"\nsource = \"x\"\ngib = 1".to_owned(), "`gib` is of RAM"),
            ("[ram]\nrate = \"1e-14cm2/bit\"\nsource = \"x\"".to_owned(), "say in which flux"),
            ("[ram]\nrate = \"550km\"\nsource = \"x\"".to_owned(), "not a rate of upsets"),
            ("[ram]\nrate = 5\nsource = \"x\"".to_owned(), "write it in quotes"),
            (format!("years = 0\n{}", ram("source = \"x\"")), "`years` is 0"),
        ] {
            let error = MissionFile::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{says}\n{error}");
        }
    }

    #[test]
    fn every_key_is_on_the_page_about_the_field_and_its_example_is_a_mission() {
        let page = include_str!("../../../docs/field.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(MissionFile::from_toml(example).unwrap().cells.len(), 2);
        let keys = [
            "title",
            "years",
            "ram",
            "registers",
            "rate",
            "flux",
            "source",
            "factor",
            "interval",
            "bits",
            "gib",
        ];
        for key in keys {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
        // All that the readers know.
        let known =
            ["x = 1", "[ram]\nx = 1"].map(|text| MissionFile::from_toml(text).unwrap_err().to_string());
        let known =
            known.iter().flat_map(|error| error.split('`').skip(1).step_by(2)).filter(|key| *key != "x");
        assert!(known.clone().count() >= keys.len() && known.clone().all(|key| keys.contains(&key)));
    }
}
