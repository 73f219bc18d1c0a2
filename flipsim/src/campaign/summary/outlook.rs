//! What a campaign's rates come to in the field, a year and a mission: upsets, silent data corruption, what is noticed, failures.
//!
//! Invariant: **nothing is expected of a kind of cell without a raw rate**, and what has none is named.

use serde::Serialize;

use crate::campaign::summary::field::{Cells, Field, YEAR_HOURS, widened_sum};
use crate::campaign::summary::model::{SpaceKind, Summary};
use crate::stats::Estimate;
use crate::stats::fit::{fit_of_class, outlook};
use crate::stats::raw::{Spread, sum};
use crate::stats::tally::Method;
use crate::trial::{Class, Outcome};

/// What is expected in a year, with the uncertainty of the campaign and of the raw rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PerYear {
    /// Of what: `sdc`, `noticed`, `failure`.
    pub outcome: &'static str,
    /// How often.
    #[serde(flatten)]
    pub expected: Estimate,
    /// The same with a raw rate that is exact: what the campaign alone says.
    #[serde(skip)]
    pub sampled: Estimate,
}

/// A part of the fault space in the field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldPart {
    /// The names of its strata, joined by ` + `; of all parts together those of the parts.
    pub space: String,
    /// What its faults strike; `None` of all kinds together.
    pub kind: Option<SpaceKind>,
    /// Whether it is all that the campaign has of its kind, so that it counts in the sum.
    pub whole: bool,
    /// The bits that are exposed.
    pub bits: u64,
    /// Upsets a year.
    pub upsets: Estimate,
    /// A row each: sdc, what is noticed, all failures.
    pub rows: Vec<PerYear>,
    /// Failures in all the years of the mission.
    pub failures: Estimate,
    /// The chance of at least one of them.
    pub any: Estimate,
    /// How far its raw rate may be off.
    #[serde(skip)]
    pub spread: Spread,
}

/// What a mission has to expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// Its length, in years of 8,766 hours.
    pub years: f64,
    /// A row for each stratum of single bits whose kind has a raw rate, and for those that are pooled.
    pub parts: Vec<FieldPart>,
    /// The kinds added up, where there are two.
    pub together: Option<FieldPart>,
    /// What is in none of these numbers, and why.
    pub left_out: Vec<String>,
}

impl Outlook {
    /// All kinds together, or all of the only kind; `None` where no part is that.
    #[must_use]
    pub fn all(&self) -> Option<&FieldPart> {
        let kind = self.parts.first()?.kind;
        let is_only = self.parts.iter().all(|part| part.kind == kind);
        let whole = || self.parts.iter().find(|part| part.whole).filter(|_| is_only);
        self.together.as_ref().or_else(whole)
    }
}

/// FIT as a number a year.
const A_YEAR: f64 = YEAR_HOURS / 1e9;

fn exactly(value: f64) -> Estimate {
    Estimate { value, interval: crate::stats::Interval { lower: value, upper: value } }
}

impl FieldPart {
    /// What is expected of an outcome.
    #[must_use]
    pub fn row(&self, outcome: &str) -> Option<&PerYear> {
        self.rows.iter().find(|row| row.outcome == outcome)
    }

    fn in_years(mut self, years: f64) -> Self {
        if let Some(row) = self.row(Class::Failure.name()) {
            (self.failures, self.any) = outlook(row.expected.scaled(years));
        }
        self
    }

    fn new(exposed: &super::field::Exposed, cells: &Cells, years: f64) -> Option<Self> {
        // So much memory is all of a kind, and not as much as one of several strata.
        let cells = &if exposed.whole { *cells } else { Cells { bits: None, ..*cells } };
        let (bits, spread) = (exposed.bits(cells), cells.spread);
        let of = |name: &str| exposed.rates.iter().find(|(other, _)| *other == name).map(|(_, rate)| *rate);
        let rates = [
            (Outcome::Sdc.name(), of(Outcome::Sdc.name())?),
            (Class::Noticed.name(), exposed.noticed?),
            (Class::Failure.name(), of(Class::Failure.name())?),
        ];
        let rows = rates.map(|(outcome, rate)| {
            let sampled = fit_of_class(cells.raw, bits, rate).scaled(A_YEAR);
            PerYear { outcome, expected: spread.widen(sampled), sampled }
        });
        let part = FieldPart {
            space: exposed.space.clone(),
            kind: Some(exposed.kind),
            whole: exposed.whole,
            bits: bits.0,
            upsets: spread.widen(fit_of_class(cells.raw, bits, exactly(1.0)).scaled(A_YEAR)),
            rows: rows.to_vec(),
            failures: exactly(0.0),
            any: exactly(0.0),
            spread,
        };
        Some(part.in_years(years))
    }

    /// Parts of different kinds together: what is wrong about one raw rate is taken to be wrong about the others.
    fn sum(parts: &[&FieldPart], years: f64) -> Option<Self> {
        let first = parts.first()?;
        let rows = first.rows.iter().map(|row| {
            let each = parts.iter().map(|part| Some((part.spread, part.row(row.outcome)?.sampled)));
            let each = each.collect::<Option<Vec<_>>>()?;
            let sampled: Vec<Estimate> = each.iter().map(|(_, sampled)| *sampled).collect();
            Some(PerYear { outcome: row.outcome, expected: widened_sum(&each), sampled: sum(&sampled) })
        });
        let rows: Vec<PerYear> = rows.collect::<Option<_>>()?;
        let raw: Vec<(Spread, Estimate)> =
            parts.iter().map(|part| (part.spread, exactly(part.upsets.value))).collect();
        let failures: Vec<(Spread, Estimate)> =
            parts.iter().filter_map(|part| Some((part.spread, part.rows.last()?.sampled))).collect();
        let part = FieldPart {
            space: parts.iter().map(|part| part.space.as_str()).collect::<Vec<_>>().join(" + "),
            kind: None,
            whole: true,
            bits: parts.iter().map(|part| part.bits).sum(),
            upsets: widened_sum(&raw),
            rows,
            failures: exactly(0.0),
            any: exactly(0.0),
            spread: Spread::of_sum(&failures),
        };
        Some(part.in_years(years))
    }
}

impl Summary {
    /// What is to be expected in the field.
    #[must_use]
    pub fn outlook(&self, field: &Field, method: Method) -> Outlook {
        let years = field.hours / YEAR_HOURS;
        let exposed = self.exposed(method);
        let part =
            |exposed: &super::field::Exposed| FieldPart::new(exposed, field.cells(exposed.kind)?, years);
        let parts: Vec<FieldPart> = exposed.iter().filter_map(part).collect();
        let kinds = [SpaceKind::Ram, SpaceKind::Registers];
        let whole = |kind: SpaceKind| {
            let mut whole = parts.iter().filter(|part| part.kind == Some(kind) && part.whole);
            whole.next().filter(|_| whole.next().is_none())
        };
        let wholes = kinds.map(whole);
        let both: Vec<&FieldPart> = wholes.into_iter().flatten().collect();
        let together = (both.len() == kinds.len()).then(|| FieldPart::sum(&both, years)).flatten();
        let mut left_out = Vec::new();
        for kind in kinds {
            let has_strata = self.strata.iter().any(|stratum| stratum.kind == kind);
            let why = match (field.cells(kind), has_strata) {
                (None, true) => format!("{kind}: the mission has no rate, and no number has it in it"),
                (Some(_), false) => {
                    format!("{kind}: the campaign has no stratum of it, and no number has it in it")
                }
                (Some(_), true) if whole(kind).is_none() => {
                    format!("{kind}: its strata are no sum, or of several bits: no number is of all of it")
                }
                _ => continue,
            };
            left_out.push(why);
        }
        Outlook { years, parts, together, left_out }
    }
}
