//! What a campaign's rates mean in the field: what is asked on the command line, and the answer as text.
//!
//! Invariant: every number stands beside its interval, and says what raw rate it rests on.

use std::fmt::Write as _;
use std::str::FromStr;

use flipsim::campaign::Summary;
use flipsim::campaign::summary::{
    Cells, Expected, Field, FitRow, FitTogether, MissionRow, SpaceKind, YEAR_HOURS,
};
use flipsim::stats::fit::{Bits, FitPerMbit, MissionOutlook, Mttf};
use flipsim::stats::flux::{CrossSection, Flux, UpsetsPerBitDay};
use flipsim::stats::mission::{MONTH, Mission, UpsetRate};
use flipsim::stats::raw::{RawRange, Spread};
use flipsim::stats::tally::Method;
use flipsim::stats::upsets::{RawRate, Written};
use flipsim::stats::{Confidence, Interval};

use super::tables::{between, number, percent};

const GIB: f64 = (1u64 << 30) as f64;

/// Flips in the field, and for how long.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("raw").args(["rate", "raw_fit", "upsets_per_bit_day", "cross_section"]))]
#[command(group = clap::ArgGroup::new("areas").args(["rate", "cross_section"]).multiple(true))]
#[command(group = clap::ArgGroup::new("flips").args(["rate", "raw_fit", "upsets_per_bit_day", "cross_section", "flips_per_gib_month"]).multiple(true))]
pub struct FieldArgs {
    /// The raw rate of upsets: 2e-7/bit/day, 10/GiB/month, 1700FIT/Mbit, 1e-14cm2/bit with --flux, or a name of docs/field.md;
    /// for one kind as ram=RATE or registers=RATE: shows FIT and MTTF
    #[arg(long, value_name = "RATE", help_heading = HEADING)]
    rate: Vec<OfKind<Written>>,
    /// The same in FIT/Mbit (2^20 bits), as a number
    #[arg(long, value_name = "FIT", help_heading = HEADING)]
    raw_fit: Vec<OfKind<FitPerMbit>>,
    /// The same as upsets of a bit in a day: a number, or a name of docs/field.md
    #[arg(long, value_name = "UPSETS", help_heading = HEADING)]
    upsets_per_bit_day: Vec<OfKind<UpsetsPerBitDay>>,
    /// The same as the cross section of a bit in a flux, as in 1e-14cm2/bit
    #[arg(long, value_name = "AREA", requires = "flux", help_heading = HEADING)]
    cross_section: Vec<OfKind<CrossSection>>,
    /// Particles per cm² and time, as in 13/cm2/h, or a name: sea-level, sea-level-thermal, aircraft
    #[arg(long, value_name = "FLUX", requires = "areas", help_heading = HEADING)]
    flux: Option<Flux>,
    /// How far the raw rate may be off: by so large a factor, up and down
    #[arg(long, value_name = "FACTOR", requires = "flips", help_heading = HEADING)]
    raw_factor: Option<Spread>,
    /// The same as LOW..HIGH, in the unit of the raw rate
    #[arg(long, value_name = "LOW..HIGH", requires = "flips", conflicts_with = "raw_factor", help_heading = HEADING)]
    raw_interval: Option<RawRange>,
    /// The raw rate of flips of a mission: so many in 1 GiB in a month of 30 days
    #[arg(long, value_name = "FLIPS", requires_all = ["years", "gib"], help_heading = HEADING)]
    flips_per_gib_month: Option<Positive>,
    /// How long, in years of 8,766 hours [default: 1]; with --flips-per-gib-month in years of 360 days
    #[arg(long, value_name = "YEARS", requires = "flips", help_heading = HEADING)]
    years: Option<Positive>,
    /// How much RAM there is, in GiB, in place of a stratum's
    #[arg(long, value_name = "GIB", requires = "flips", help_heading = HEADING)]
    gib: Option<Positive>,
}

const HEADING: &str = "In the field";

/// A number above 0.
#[derive(Clone, Copy, Debug)]
struct Positive(f64);

impl FromStr for Positive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
        number.map(Positive).ok_or_else(|| "it must be a number above 0, as in 10 or 0.5".to_owned())
    }
}

/// A value for one kind of space, or for both.
#[derive(Clone, Copy, Debug)]
struct OfKind<T> {
    kind: Option<SpaceKind>,
    value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OfKind<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = match text.split_once('=') {
            None => (None, text),
            Some(("ram", value)) => (Some(SpaceKind::Ram), value),
            Some(("registers", value)) => (Some(SpaceKind::Registers), value),
            Some((other, _)) => return Err(format!("`{other}` has no raw rate; write ram=… or registers=…")),
        };
        Ok(OfKind { kind, value: value.parse().map_err(|error: T::Err| error.to_string())? })
    }
}

/// A raw rate as it was given.
struct Given {
    kind: Option<SpaceKind>,
    rate: RawRate,
}

/// What a summary says of the field that was asked for.
pub struct Answer {
    given: Vec<Given>,
    field: Option<(Field, Vec<FitRow>, Option<FitTogether>)>,
    mission: Option<(Mission, f64, Vec<MissionRow>)>,
    spread: Spread,
}

impl FieldArgs {
    fn given(&self) -> Result<Vec<Given>, String> {
        let fit = self.raw_fit.iter().map(|one| (one.kind, Written::fit(one.value)));
        let upsets = self.upsets_per_bit_day.iter();
        let upsets = upsets.map(|one| (one.kind, Written::upsets_per_bit_day(one.value)));
        let areas = self.cross_section.iter().map(|one| (one.kind, Written::area(one.value)));
        let rates = self.rate.iter().map(|one| (one.kind, one.value.clone()));
        let given = rates.chain(fit).chain(upsets).chain(areas).map(|(kind, written)| {
            // A flux is for those that take one; it is a mistake where none does.
            let flux =
                self.flux.filter(|_| written.is_area() || self.rate.iter().all(|one| !one.value.is_area()));
            Ok(Given { kind, rate: written.in_flux(flux).map_err(|error| error.to_string())? })
        });
        given.collect()
    }

    /// The mission and its length in seconds.
    fn mission(&self) -> Option<(Mission, f64)> {
        let (Positive(flips), Positive(years), Positive(gib)) =
            (self.flips_per_gib_month?, self.years?, self.gib?);
        let rate = UpsetRate { per_byte_second: flips / GIB / MONTH };
        Some((Mission { rate, bytes: bytes(gib), accelerate: 1.0 }, years * 12.0 * MONTH))
    }

    /// The numbers; the text is what is wrong with what was asked.
    pub fn answer(&self, summary: &Summary, method: Method) -> Result<Option<Answer>, String> {
        let (given, mission) = (self.given()?, self.mission());
        let numbers = given.iter().map(|one| one.rate.written().number());
        let numbers: Vec<f64> = numbers.chain(self.flips_per_gib_month.map(|flips| flips.0)).collect();
        let spread = match (self.raw_factor, self.raw_interval, numbers.as_slice()) {
            (Some(factor), ..) => factor,
            (None, Some(range), [rate]) => Spread::around(*rate, range).map_err(|error| error.to_string())?,
            (None, Some(_), _) => {
                return Err("--raw-interval is of one raw rate; with several write --raw-factor".to_owned());
            }
            (None, None, _) => Spread::EXACT,
        };
        let of = |kind: SpaceKind| -> Result<Option<FitPerMbit>, String> {
            let mut found = given.iter().filter(|one| one.kind.is_none_or(|own| own == kind));
            let first = found.next().map(|one| one.rate.fit());
            match found.next() {
                Some(_) => Err(format!("{kind} has two raw rates; write one each, as ram=… and registers=…")),
                None => Ok(first),
            }
        };
        // A mission has years and memory of its own.
        let alone = mission.is_none();
        let bits = self.gib.filter(|_| alone).map(|gib| Bits::of_bytes(bytes(gib.0)));
        let cells = |raw: Option<FitPerMbit>, bits| raw.map(|raw| Cells { raw, spread, bits });
        let field = Field {
            ram: cells(of(SpaceKind::Ram)?, bits),
            registers: cells(of(SpaceKind::Registers)?, None),
            hours: self.years.filter(|_| alone).map_or(1.0, |years| years.0) * YEAR_HOURS,
        };
        let field = (!given.is_empty()).then(|| {
            let (rows, together) = (summary.fit(&field, method), summary.fit_together(&field, method));
            (field, rows, together)
        });
        let mission = mission
            .map(|(mission, seconds)| (mission, seconds, summary.mission(&mission, seconds, spread, method)));
        let none = field.is_none() && mission.is_none();
        Ok((!none).then_some(Answer { given, field, mission, spread }))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0; a cast saturates")]
fn bytes(gib: f64) -> u64 {
    (gib * GIB) as u64
}

impl Answer {
    /// Adds the keys `fit` and `mission`.
    pub fn json(&self, json: &mut serde_json::Value) {
        if let Some((field, rows, together)) = &self.field {
            // One number where there is one.
            let [ram, registers] = [field.ram, field.registers].map(|cells| Some(cells?.raw));
            let one = [ram, registers].into_iter().flatten().collect::<Vec<_>>();
            let same = one.iter().all(|raw| Some(raw) == one.first());
            json["fit"] = serde_json::json!({
                "raw_fit_per_mbit": one.first().filter(|_| same),
                "raw": { "ram": ram, "registers": registers, "spread": self.spread },
                "hours": field.hours,
                "rows": rows,
                "together": together,
            });
        }
        if let Some((mission, seconds, rows)) = &self.mission {
            json["mission"] = serde_json::json!({ "upsets": mission.upsets_in(*seconds), "rows": rows });
        }
    }

    /// As tables and sentences.
    pub fn text(&self, confidence: Confidence) -> String {
        let mut text = String::new();
        if let Some((_, rows, together)) = &self.field {
            text += &fit(rows, &self.raw(None), confidence);
            for row in rows {
                let kind = row.kind;
                let what = format!("{} ({} Mbit of {kind})", row.space, number(mbit(row.bits)));
                text += &Self::sentence(&what, &self.raw(Some(kind)), &row.expected, confidence);
            }
            if let Some(FitTogether { spaces, expected }) = together {
                let what = format!("{} together", spaces.join(" and "));
                text += &Self::sentence(&what, &self.raw(None), expected, confidence);
            }
            if !rows.is_empty() {
                _ = writeln!(
                    text,
                    "  assumed: the workload repeats without a pause, flips come one by one, nothing corrects them{}; \
                     docs/field.md",
                    if self.spread.is_exact() { ", the raw rate is exact (--raw-factor)" } else { "" }
                );
            }
        }
        if let Some((mission, seconds, rows)) = &self.mission {
            text += &mission_table(rows, mission, *seconds, self.spread, confidence);
        }
        text
    }

    /// The raw rates of a kind, or of all, in words, with how far they may be off.
    fn raw(&self, of: Option<SpaceKind>) -> String {
        let wanted = self.given.iter().filter(|one| of.is_none() || one.kind.is_none() || one.kind == of);
        let said = wanted.map(|one| match one.kind.filter(|_| of.is_none()) {
            Some(kind) => format!("{kind} {}", one.rate),
            None => one.rate.to_string(),
        });
        let said = said.collect::<Vec<_>>().join(", ");
        let Interval { lower, upper } = self.spread.of(1.0);
        if self.spread.is_exact() {
            said
        } else {
            format!("{said} (times {} to {})", digits(lower), digits(upper))
        }
    }

    fn sentence(what: &str, raw: &str, expected: &Expected, confidence: Confidence) -> String {
        let Expected { hours, failures, any, mttf_hours, failures_per_run, .. } = expected;
        let years = hours / YEAR_HOURS;
        let time = if years == 1.0 { "a year".to_owned() } else { format!("{} years", digits(years)) };
        let run = failures_per_run.map_or(String::new(), |run| {
            format!(
                "; F = {} ({}) pairs of bit and moment fail one run",
                digits(run.value),
                between(run.interval, digits)
            )
        });
        format!(
            "  {what}: {} failures in {time} of 8,766 h are expected ({}, {confidence}) at {}, at least one with \
             {} % ({} %); MTTF {}{run}\n",
            digits(failures.value),
            between(failures.interval, digits),
            raw,
            percent(any.value),
            between(any.interval, percent),
            mttf(*mttf_hours),
        )
    }
}

/// A mean time to a failure, in the unit that fits its estimate.
fn mttf(Mttf { value, lower, upper }: Mttf) -> String {
    let of = value.or(lower).unwrap_or(0.0);
    let (unit, hours) = match of {
        _ if of >= YEAR_HOURS => ("years", YEAR_HOURS),
        _ if of >= 48.0 => ("days", 24.0),
        _ => ("hours", 1.0),
    };
    let show = |time: f64| digits(time / hours);
    match (value, lower, upper) {
        (Some(value), Some(lower), Some(upper)) => {
            format!("{} {unit} ({} to {})", show(value), show(lower), show(upper))
        }
        (Some(value), Some(lower), None) => format!("{} {unit} (from {} on)", show(value), show(lower)),
        (None, Some(lower), _) => format!("above {} {unit}", show(lower)),
        _ => "unknown".to_owned(),
    }
}

/// A number with three digits, also below 1.
fn digits(value: f64) -> String {
    if (1e-3..0.1).contains(&value) {
        let places = if value < 0.01 { 5 } else { 4 };
        format!("{value:.places$}")
    } else {
        number(value)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a memory's size with three digits")]
fn mbit(bits: u64) -> f64 {
    bits as f64 / f64::from(1 << 20)
}

/// FIT by part of the fault space.
fn fit(rows: &[FitRow], raw: &str, confidence: Confidence) -> String {
    let mut text = format!("at {raw}:\n");
    _ = writeln!(text, "  {:24} {:>9}  {:11} {:>9}  {confidence}", "space", "Mbit", "outcome", "FIT");
    for row in rows {
        for (name, fit) in &row.fit {
            let mbit = number(mbit(row.bits));
            let (space, interval) = (&row.space, between(fit.interval, number));
            _ = writeln!(text, "  {space:24} {mbit:>9}  {name:11} {:>9}  {interval}", number(fit.value));
        }
    }
    if rows.is_empty() {
        text += "  no stratum of single bits has trials and a raw rate; FIT is raw rate × bits × rate\n";
    }
    text
}

/// What a mission has to expect.
fn mission_table(
    rows: &[MissionRow],
    mission: &Mission,
    seconds: f64,
    spread: Spread,
    confidence: Confidence,
) -> String {
    let upsets = mission.upsets_in(seconds);
    let off =
        if spread.is_exact() { String::new() } else { format!(" ({})", between(spread.of(upsets), number)) };
    let mut text = format!(
        "mission (years of 360 days): {} flips are expected{off}; if all of its memory is like\n",
        number(upsets)
    );
    _ = writeln!(
        text,
        "  {:24} {:11} {:>9}  {:22}  at least one",
        "space",
        "outcome",
        "expected",
        confidence.to_string()
    );
    for row in rows {
        for (name, MissionOutlook { failures, any, .. }) in &row.outlook {
            let (space, interval) = (&row.space, between(failures.interval, number));
            let any = format!("{} % ({} %)", percent(any.value), between(any.interval, percent));
            _ = writeln!(text, "  {space:24} {name:11} {:>9}  {interval:22}  {any}", number(failures.value));
        }
    }
    if rows.is_empty() {
        text += "  no stratum of single bits of RAM has trials\n";
    }
    text
}
