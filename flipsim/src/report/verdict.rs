//! The head of a comparison's page: what is shown, in sentences and as one picture, and what it comes to in the field.
//!
//! Invariant: a sentence stands here as [`super::answers`] made it, and beside it the interval that it rests on.

use maud::{Markup, html};

use super::compare::{Comparison, NOT_OF_ONE, Shown, ratio_text, year_text};
use super::field::{FieldComparison, PartComparison};
use super::figures::figure;
use super::forest::{ForestRow, forest};
use super::look::visible;
use super::mission::{cells_list, left_out};
use super::svg::{count, number, rough};
use crate::text::end_text;

/// So many strata have a row in the picture.
const STRATA: usize = 12;

/// The section; nothing where no stratum is in both.
pub(super) fn section(found: &Comparison, confidence: &str) -> Markup {
    if found.strata.is_empty() {
        return html! {};
    }
    let names = found.sentence_names();
    html! {
        h2 id="answers" { "What is shown" }
        @if !found.unfair.is_empty() { p { strong { (NOT_OF_ONE) "." } } }
        @if let Some(sentence) = found.field.as_ref().and_then(|field| field.sentence(names)) {
            p { strong { (visible(&sentence)) "." } }
        }
        ul.answer {
            @for answer in found.said() {
                li.shown[answer.shown != Shown::Nothing] { (visible(&answer.sentence)) "." }
            }
        }
        p.note { "Numbers are " (found.per.about()) ". Each sentence holds with " (confidence) " by itself; see the tests for many." }
        @for note in &found.notes { p.note { (visible(note)) "." } }
        @if found.strata.iter().any(|stratum| !stratum.counted.contains(&0)) {
            div.figures { (picture(found, confidence)) }
        }
        (ratios(found))
        @if let Some(field) = &found.field { (in_the_field(field, names)) }
    }
}

/// The ratios as a forest.
fn picture(found: &Comparison, confidence: &str) -> Markup {
    let shown = found.strata.iter().take(STRATA);
    let rows = shown.flat_map(|stratum| {
        stratum.answers.iter().filter_map(|answer| {
            // Nothing is drawn of what came in neither.
            let ratio = answer.ratio.filter(|ratio| ratio.value.is_some() || ratio.lower > 0.0)?;
            let note = match ratio.value {
                Some(0.0) => "none in B".to_owned(),
                Some(value) => format!("× {value:.2}"),
                None => "none in A".to_owned(),
            };
            Some(ForestRow { group: visible(&stratum.name), label: answer.outcome.to_owned(), ratio, note })
        })
    });
    let rows: Vec<ForestRow> = rows.collect();
    let per = found.per.name();
    let words = format!(
        "B over A per {per}, with {confidence} intervals. Left of the broken line at 1 there is less in B."
    );
    let described: Vec<String> =
        rows.iter().map(|row| format!("{}, {}: {}.", row.group, row.label, ratio_text(&row.ratio))).collect();
    let more = found.strata.len().saturating_sub(STRATA);
    let left_out = if more > 0 { format!("{more} more strata are in the table.") } else { String::new() };
    let axis = format!("B / A per {per} (logarithmic)");
    let title = format!("Ratios per {per}");
    if rows.is_empty() {
        return html! {};
    }
    let chart = forest("ratios", &title, &described.join(" "), &axis, &rows);
    figure(&title, &words, &chart, &html! {}, &left_out)
}

/// The ratios, counted in each way.
fn ratios(found: &Comparison) -> Markup {
    let counted: Vec<_> = found
        .answers()
        .filter(|answer| answer.has_ratio())
        .flat_map(|answer| &answer.ratios)
        .map(|one| one.per)
        .collect();
    let mut ways = Vec::new();
    for per in counted {
        if !ways.contains(&per) {
            ways.push(per);
        }
    }
    html! {
        @if !ways.is_empty() {
            h3 { "B / A, counted each way" }
            table.rates {
                thead { tr { th { "of" } @for per in &ways { th.n { "per " (per.name()) } } } }
                tbody {
                    @for stratum in &found.strata {
                        @for answer in stratum.answers.iter().filter(|answer| answer.has_ratio()) {
                            tr {
                                th scope="row" { (visible(&stratum.name)) ": " (answer.outcome) }
                                @for per in &ways {
                                    @let ratio = answer.ratios.iter().find(|one| one.per == *per);
                                    td.n { (ratio.map_or("–".to_owned(), |one| ratio_text(&one.ratio))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn in_the_field(field: &FieldComparison, [a, b]: [&str; 2]) -> Markup {
    html! {
        h2 id="field" { "In the field" @if let Some(title) = &field.title { ": " (visible(title)) } }
        (cells_list(&field.cells))
        @for part in &field.parts { (part_of(part, field.years)) }
        p.note { "A is " (visible(a)) ", B is " (visible(b)) ". A year has 8,766 hours. The raw rate is the same for both: what is wrong about it scales the difference, and not the ratio." }
        (left_out(&field.left_out))
    }
}

/// What people read of a difference.
fn signed(value: f64) -> String {
    format!("{}{}", if value > 0.0 { "+" } else { "" }, rough(value))
}

fn part_of(part: &PartComparison, years: f64) -> Markup {
    let [a, b] = part.spaces.each_ref().map(|name| visible(name));
    let name = if a == b { a } else { format!("A: {a}; B: {b}") };
    let kind = part.kind.map_or("all kinds together".to_owned(), |kind| kind.to_string());
    let bits = match part.bits {
        [one, other] if one == other => count(one),
        [one, other] => format!("{} in A, {} in B", count(one), count(other)),
    };
    let end = |end: f64, is_upper: bool| end_text(end, is_upper, &signed);
    let ratios = part
        .rows
        .iter()
        .filter_map(|row| Some(format!("{} {}", row.outcome, ratio_text(row.ratio.as_ref()?))));
    let ratios: Vec<String> = ratios.collect();
    html! {
        h3 { (name) " (" (kind) ", " (bits) " bits)" }
        table.rates {
            thead { tr { th { "expected a year" } th.n { "A" } th.n { "B" } th.n { "B − A" } } }
            tbody {
                tr {
                    th scope="row" { "upsets" }
                    @for side in 0..2 { td.n { (year_text(&part.upsets[side])) } }
                    td.n {}
                }
                @for row in &part.rows {
                    tr {
                        th scope="row" { (row.outcome) }
                        @for side in 0..2 { td.n { (year_text(&row.per_year[side])) } }
                        td.n { (signed(row.difference.value)) " (" (end(row.difference.interval.lower, false)) " to " (end(row.difference.interval.upper, true)) ")" }
                    }
                }
                tr {
                    th scope="row" { "failures in " (number(years)) @if years == 1.0 { " year" } @else { " years" } ", at least one" }
                    @for side in 0..2 { td.n { (year_text(&part.failures[side])) ", " (super::mission::chance(&part.any[side])) } }
                    td.n {}
                }
            }
        }
        @if !ratios.is_empty() { p.note { "B / A a year: " (ratios.join(", ")) "." } }
    }
}
