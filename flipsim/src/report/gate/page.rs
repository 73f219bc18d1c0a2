//! The decision as a page: the sentence, the table, and how it was made.
//!
//! Invariant: as of a campaign's page, without any script.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::charts::{Dot, Pair, SIDES, pairs};
use super::super::figures::figure;
use super::super::look::visible;
use super::super::page::{document, outcome_words, second, warnings};
use super::super::svg::{percent, tick_percent};
use super::decide::{Gate, GateRow, cells, rate_texts, word};
use crate::stats::{Confidence, Observed};

/// How the page speaks of the two campaigns.
#[derive(Clone, Debug)]
pub struct GatePageOptions {
    /// What the command line calls each, quoted for a shell.
    pub campaigns: [String; 2],
    /// When the page is made.
    pub made: Timestamp,
}

/// Makes the page.
#[must_use]
pub fn gate_page(gate: &Gate, options: &GatePageOptions) -> String {
    let [a, b] = gate.names.each_ref().map(|name| visible(name));
    let campaigns = options.campaigns.join(" ");
    let body = html! {
        header {
            h1 { (b) " against " (a) ": " (word(gate.change)) }
            p.soft { "This page was made at " (second(options.made)) " by " code { "cargo xtask report gate " (campaigns) } "." }
        }
        p { strong { (visible(&gate.line())) "." } }
        (warnings(gate.warnings.iter().cloned()))
        @if !gate.rows.is_empty() { (table(gate)) (chart(gate)) }
        @if !gate.left_out.is_empty() {
            h2 { "In no test" }
            ul { @for stratum in &gate.left_out { li { (visible(stratum)) } } }
        }
        @let about = gate.about();
        @if !about.is_empty() {
            h2 id="tests" { "The tests" }
            ul { @for text in about { li { (text) "." } } }
        }
        h2 id="words" { "Words" }
        dl {
            dt { "A, B" } dd { "the baseline and the campaign; a rise is of B over A" }
            (outcome_words())
        }
        p.note { "All numbers of both side by side: " code { "cargo xtask report compare " (campaigns) } }
    };
    let title = format!("{b} against {a}: {}", word(gate.change));
    document(&title, &body, "script-src 'none'", &html! {})
}

fn table(gate: &Gate) -> Markup {
    html! {
        h2 { "The tests, one a stratum and outcome" }
        table.rates {
            thead { tr {
                th { "stratum" } th { "outcome" } th.n { "A" } th.n { "B" } th.n { "rise, with bounds" } th.n { "test" }
                th { "finding" }
            } }
            tbody {
                @for row in &gate.rows {
                    @let [a, b] = rate_texts(row);
                    @let (rise, p) = cells(row);
                    tr {
                        th scope="row" { (visible(&row.stratum)) }
                        td { (row.outcome) }
                        td.n { (a) } td.n { (b) } td.n { (rise) } td.n { (p) }
                        td.wrap { (word(row.change()))
                            @if let Some(visible) = row.judged.and_then(|judged| judged.visible) {
                                "; could have been seen: +" (percent(visible))
                            } }
                    }
                }
            }
        }
    }
}

fn chart(gate: &Gate) -> Markup {
    let dot = |row: &GateRow, side: usize| {
        let estimate = Observed::new(row.count[side], row.counted[side]).ok()?.estimate(Confidence::P95);
        Some(Dot {
            label: SIDES[side].to_owned(),
            outcome: None,
            value: estimate.value,
            interval: (estimate.interval.lower, estimate.interval.upper),
            note: percent(estimate.value),
        })
    };
    let label = |row: &GateRow| visible(&format!("{}: {}", row.stratum, row.outcome));
    let rows: Vec<Pair> =
        gate.rows.iter().map(|row| Pair { label: label(row), sides: [dot(row, 0), dot(row, 1)] }).collect();
    let words: Vec<String> = gate
        .rows
        .iter()
        .map(|row| {
            let [a, b] = rate_texts(row);
            format!("{}: A {a}, B {b}.", label(row))
        })
        .collect();
    let words = words.join(" ");
    let legend = [0, 1].map(|side| format!("{}: {}", SIDES[side], visible(&gate.names[side])));
    figure(
        "Rates",
        "Shares of the trials that count, with Wilson's 95 % intervals.",
        &html! { (pairs("gate-rates", "Rates", &words, "rate (logarithmic)", &legend, &rows, &tick_percent)) },
        &html! {},
        "",
    )
}
