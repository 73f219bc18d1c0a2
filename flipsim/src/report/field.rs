//! Two campaigns in the field: what a mission expects of each, and the difference.
//!
//! The raw rate is the same for both. What is wrong about it cancels in the ratio of two numbers of one kind of cell, and
//! scales their difference.
//!
//! Invariant: the arithmetic is [`crate::stats`]'s; what is in no number is named.

use serde::Serialize;

use super::svg::rough;
use crate::campaign::summary::{FieldPart, Outlook, SpaceKind, Summary};
use crate::campaign::{MissionCells, MissionFile};
use crate::stats::Estimate;
use crate::stats::compare::{Ratio, difference, ratio};
use crate::stats::raw::Spread;
use crate::stats::tally::Method;
use crate::text::end_text;
use crate::trial::Class;

/// What a mission expects of both.
#[derive(Clone, Debug, Serialize)]
pub struct FieldComparison {
    /// What the mission is called.
    pub title: Option<String>,
    /// Its length, in years of 8,766 hours.
    pub years: f64,
    /// What is known of the cells.
    pub cells: Vec<MissionCells>,
    /// The parts of the fault space that both have, then all kinds together.
    pub parts: Vec<PartComparison>,
    /// What is in none of these numbers, and why.
    pub left_out: Vec<String>,
}

/// A part of the fault space in the field, in both.
#[derive(Clone, Debug, Serialize)]
pub struct PartComparison {
    /// Its strata, in each.
    pub spaces: [String; 2],
    /// What its faults strike; `None` of all kinds together.
    pub kind: Option<SpaceKind>,
    /// Whether it is all that the campaigns have of its kind.
    pub whole: bool,
    /// The bits that are exposed in each.
    pub bits: [u64; 2],
    /// Upsets a year in each.
    pub upsets: [Estimate; 2],
    /// A row each: sdc, what is noticed, all failures.
    pub rows: Vec<FieldRow>,
    /// Failures in all the years, in each.
    pub failures: [Estimate; 2],
    /// The chance of at least one, in each.
    pub any: [Estimate; 2],
}

/// One outcome, or class of outcomes, in a year.
#[derive(Clone, Debug, Serialize)]
pub struct FieldRow {
    /// Its name.
    pub outcome: &'static str,
    /// How often a year, in each.
    pub per_year: [Estimate; 2],
    /// B less A.
    pub difference: Estimate,
    /// B over A; `None` where kinds of cell are together whose raw rates are uncertain in different ways.
    pub ratio: Option<Ratio>,
}

impl FieldComparison {
    /// Of two campaigns in one mission.
    #[must_use]
    pub fn new(summaries: [&Summary; 2], mission: &MissionFile) -> Self {
        let field = mission.field();
        let outlooks = summaries.map(|summary| summary.outlook(&field, Method::default()));
        // Differences and ratios are made of Wilson's intervals, here as elsewhere.
        let of_wilson = summaries.map(|summary| summary.outlook(&field, Method::Wilson));
        let [a, b] = &outlooks;
        let spreads: Vec<Spread> = mission.cells.iter().map(|cells| cells.spread).collect();
        let parts = a.parts.iter().zip(&of_wilson[0].parts).filter_map(|(part, of_wilson_a)| {
            let sides = [(part, of_wilson_a), (same(part, b)?, same(of_wilson_a, &of_wilson[1])?)];
            Some(compared(sides, &[part.spread]))
        });
        let both =
            |side: usize| Some((outlooks[side].together.as_ref()?, of_wilson[side].together.as_ref()?));
        let together = both(0).zip(both(1)).map(|(a, b)| compared([a, b], &spreads));
        let mut left_out: Vec<String> = Vec::new();
        for (name, outlook) in ["A", "B"].into_iter().zip(&outlooks) {
            left_out.extend(outlook.left_out.iter().map(|why| format!("{name}: {why}")));
        }
        if let [one, other] = [a, b].map(|outlook| &outlook.left_out)
            && one == other
        {
            left_out.clone_from(one);
        }
        FieldComparison {
            title: mission.title.clone(),
            years: mission.years,
            cells: mission.cells.clone(),
            parts: parts.chain(together).collect(),
            left_out,
        }
    }

    fn part(&self, stratum: &str) -> Option<&PartComparison> {
        self.parts.iter().find(|part| part.spaces == [stratum, stratum])
    }

    /// The bits of a stratum that are exposed in each.
    #[expect(clippy::cast_precision_loss, reason = "memories are far below 2^53 bits")]
    pub(super) fn bits_of(&self, stratum: &str) -> Option<[f64; 2]> {
        Some(self.part(stratum)?.bits.map(|bits| bits as f64))
    }

    /// A row of a stratum.
    pub(super) fn row(&self, stratum: &str, outcome: &str) -> Option<&FieldRow> {
        self.part(stratum)?.rows.iter().find(|row| row.outcome == outcome)
    }

    /// The widest part: all kinds together, or all of the only kind.
    fn all(&self) -> Option<&PartComparison> {
        let together = self.parts.iter().find(|part| part.kind.is_none());
        let first = self.parts.first()?;
        let is_only = self.parts.iter().all(|part| part.kind == first.kind);
        together.or_else(|| self.parts.iter().find(|part| part.whole).filter(|_| is_only))
    }

    /// How many failures a year, and how many fewer or more, in one sentence; `None` where nothing is all of it.
    #[must_use]
    pub fn sentence(&self, [a, b]: [&str; 2]) -> Option<String> {
        let part = self.all()?;
        let row = part.rows.iter().find(|row| row.outcome == Class::Failure.name())?;
        let Estimate { value, interval } = row.difference;
        let size = |value: f64| rough(value.abs());
        let end = |end: f64, is_upper: bool| end_text(end, is_upper, &rough);
        let change = match () {
            () if interval.upper < 0.0 => format!(
                "{} fewer ({} to {})",
                size(value),
                end(-interval.upper, false),
                end(-interval.lower, true)
            ),
            () if interval.lower > 0.0 => {
                format!(
                    "{} more ({} to {})",
                    size(value),
                    end(interval.lower, false),
                    end(interval.upper, true)
                )
            }
            () => format!(
                "the difference, {} ({} to {}), may be chance",
                rough(value),
                end(interval.lower, false),
                end(interval.upper, true)
            ),
        };
        let what = part.kind.map_or("RAM and registers".to_owned(), |kind| kind.to_string());
        let [one, other] = row.per_year.map(|estimate| year_text(&estimate));
        Some(format!("In the field ({what}): {other} failures a year in {b}, {one} in {a}: {change}"))
    }
}

/// An expected number with its interval as people read it; of what never came its bound.
#[must_use]
pub fn year_text(estimate: &Estimate) -> String {
    let interval = estimate.interval;
    let upper = end_text(interval.upper, true, &rough);
    if estimate.value == 0.0 && interval.lower == 0.0 {
        return format!("0 (below {upper})");
    }
    format!("{} ({} to {upper})", rough(estimate.value), end_text(interval.lower, false, &rough))
}

/// The part of the other campaign that is the same: by its strata, or all of the kind.
fn same<'a>(part: &FieldPart, other: &'a Outlook) -> Option<&'a FieldPart> {
    let named = other.parts.iter().find(|one| one.kind == part.kind && one.space == part.space);
    named.or_else(|| other.parts.iter().find(|one| one.kind == part.kind && one.whole && part.whole))
}

/// `spreads` are those of the kinds in it.
fn compared(
    [(a, of_wilson_a), (b, of_wilson_b)]: [(&FieldPart, &FieldPart); 2],
    spreads: &[Spread],
) -> PartComparison {
    let is_one = spreads.iter().all(|spread| Some(spread) == spreads.first());
    let widest = spreads.iter().copied().fold(Spread::EXACT, Spread::or_wider);
    let rows = a.rows.iter().filter_map(|one| {
        let other = b.row(one.outcome)?;
        let [first, second] = [of_wilson_a.row(one.outcome)?.sampled, of_wilson_b.row(one.outcome)?.sampled];
        Some(FieldRow {
            outcome: one.outcome,
            per_year: [one.expected, other.expected],
            difference: widest.widen(difference(second, first)),
            ratio: is_one.then(|| ratio(second, first)),
        })
    });
    PartComparison {
        spaces: [a.space.clone(), b.space.clone()],
        kind: a.kind,
        whole: a.whole && b.whole,
        bits: [a.bits, b.bits],
        upsets: [a.upsets, b.upsets],
        rows: rows.collect(),
        failures: [a.failures, b.failures],
        any: [a.any, b.any],
    }
}
