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
use crate::trial::Class;

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
pub(super) fn cells_list(cells: &[MissionCells]) -> Markup {
    html! {
        ul {
            @for one in cells {
                li {
                    strong { (one.kind.to_string()) } ": " (visible(&one.rate)) ", " (doubt(one)) "; bits exposed: " (exposed(one))
                    ". Source: " (visible(&one.source)) "."
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

/// What is expected of all of it, in one sentence; `None` where no part is that.
#[must_use]
pub fn sentence(outlook: &Outlook) -> Option<String> {
    let part = outlook.all()?;
    let failures = part.rows.last()?.expected;
    let what = part.kind.map_or("RAM and registers".to_owned(), |kind| kind.to_string());
    let any = format!("at least one in {} with {}", span(outlook.years), chance(&part.any));
    Some(format!("In the field ({what}): {} failures a year are expected, {any}", year_text(&failures)))
}

fn span(years: f64) -> String {
    if years == 1.0 { "a year".to_owned() } else { format!("{} years", number(years)) }
}

fn rows_of(part: &FieldPart, years: f64) -> Markup {
    let row = |name: &str, value: &str| {
        html! { tr { th scope="row" { (name) } td.n { (value) } } }
    };
    html! {
        tr { th colspan="2" { (visible(&part.space)) " (" (part.kind.map_or("together".to_owned(), |kind| kind.to_string())) ", " (count(part.bits)) " bits)" } }
        (row("upsets a year", &year_text(&part.upsets)))
        @for one in &part.rows { (row(&format!("{} a year", one.outcome), &year_text(&one.expected))) }
        @if years != 1.0 { (row(&format!("failures in {}", span(years)), &year_text(&part.failures))) }
        (row(&format!("at least one in {}", span(years)), &chance(&part.any)))
    }
}

/// The section of a campaign's page.
pub(super) fn section(mission: &MissionFile, outlook: &Outlook) -> Markup {
    html! {
        h2 id="field" { "In the field" @if let Some(title) = &mission.title { ": " (visible(title)) } }
        @if let Some(sentence) = sentence(outlook) { p { strong { (sentence) "." } } }
        (cells_list(&mission.cells))
        @if outlook.parts.is_empty() {
            p { "No stratum of single bits has trials and a raw rate." }
        } @else {
            table.rates {
                tbody {
                    @for part in outlook.together.iter().chain(&outlook.parts) { (rows_of(part, outlook.years)) }
                }
            }
        }
        p.note { "A year has 8,766 hours. Intervals have the campaign's uncertainty and that of the raw rate in them; noticed is " (Class::Noticed.members()) "." }
        (left_out(&outlook.left_out))
    }
}
