//! What a mission has to expect, on a campaign's page: the raw rates with their sources, and what they come to.
//!
//! Invariant: no expected number without the rate that it rests on, its source, and how far that may be off.

use maud::{Markup, html};

use super::field::year_text;
use super::look::visible;
use super::rates::ends;
use super::svg::{count, number, percent};
use crate::campaign::summary::{FieldPart, Outlook};
use crate::campaign::{MissionCells, MissionFile};
use crate::stats::Estimate;

/// What all numbers of the field take for granted.
pub const ASSUMED: &str = "The workload repeats without a pause, upsets come one by one and equally likely in each bit and at each moment, and nothing \
                           corrects them but what the campaign ran.";

/// How far a raw rate may be off, in words.
#[must_use]
pub fn doubt(cells: &MissionCells) -> String {
    if cells.spread.is_exact() {
        return "taken as exact: no doubt is given".to_owned();
    }
    let ends = cells.spread.of(1.0);
    format!("× {} to {}", number(ends.lower), number(ends.upper))
}

/// The bits that are exposed, in words.
#[must_use]
pub fn exposed(cells: &MissionCells) -> String {
    cells.bits.map_or("those of the strata".to_owned(), count)
}

/// A chance with its interval.
pub(super) fn chance(any: &Estimate) -> String {
    format!("{} ({})", percent(any.value), ends(any.interval))
}

/// The raw rates.
pub(super) fn cells_table(cells: &[MissionCells]) -> Markup {
    html! {
        table.rates {
            thead { tr { th { "cells" } th { "upsets" } th { "doubt" } th { "bits exposed" } th { "source" } } }
            tbody {
                @for one in cells {
                    tr {
                        th scope="row" { (one.kind.to_string()) }
                        td.wrap { (visible(&one.rate)) }
                        td { (doubt(one)) }
                        td { (exposed(one)) }
                        td.wrap { (visible(&one.source)) }
                    }
                }
            }
        }
    }
}

/// What is in no number.
pub(super) fn left_out(left_out: &[String]) -> Markup {
    html! {
        @if !left_out.is_empty() { ul { @for why in left_out { li { (visible(why)) "." } } } }
        p.note { (ASSUMED) }
    }
}

fn row(part: &FieldPart, years: f64) -> Markup {
    html! {
        tr {
            th scope="row" { (visible(&part.space)) }
            td.n { (count(part.bits)) }
            td.n { (year_text(&part.upsets)) }
            @for row in &part.rows { td.n { (year_text(&row.expected)) } }
            @if years != 1.0 { td.n { (year_text(&part.failures)) } }
            td.n { (chance(&part.any)) }
        }
    }
}

/// The section of a campaign's page.
pub(super) fn section(mission: &MissionFile, outlook: &Outlook) -> Markup {
    let years = outlook.years;
    let span = if years == 1.0 { "a year".to_owned() } else { format!("{} years", number(years)) };
    html! {
        h2 id="field" { "In the field" @if let Some(title) = &mission.title { ": " (visible(title)) } }
        (cells_table(&mission.cells))
        h3 { "Expected a year" }
        @if outlook.parts.is_empty() {
            p { "No stratum of single bits has trials and a raw rate." }
        } @else {
            table.rates {
                thead { tr {
                    th { "of" } th.n { "bits" } th.n { "upsets" } th.n { "sdc" } th.n { "noticed" } th.n { "failures" }
                    @if years != 1.0 { th.n { "failures in " (span) } }
                    th.n { "at least one in " (span) }
                } }
                tbody {
                    @for part in &outlook.parts { (row(part, years)) }
                    @if let Some(part) = &outlook.together { (row(part, years)) }
                }
            }
        }
        p.note { "A year has 8,766 hours. Intervals have the campaign's uncertainty and that of the raw rate in them; noticed is detected, crash or hang." }
        (left_out(&outlook.left_out))
    }
}
