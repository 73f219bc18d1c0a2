//! How wrong silent data corruption is, on the page.
//!
//! Invariant: what stands here is of the summary.

use std::fmt::Display;

use maud::{Markup, html};

use super::look::visible;
use super::rates::rate_words;
use super::svg::count;
use crate::campaign::Summary;
use crate::campaign::summary::{Spread, WrongSummary};

/// A table a stratum in which outputs were compared; nothing where there is none.
pub(super) fn section(summary: &Summary) -> Markup {
    let strata = summary.strata.iter().filter_map(|one| Some((one, one.sdc.as_ref()?)));
    let strata: Vec<_> = strata.filter(|(_, sdc)| sdc.trials > 0).collect();
    html! {
        @if !strata.is_empty() {
            h2 id="wrong" { "How wrong silent data corruption is" }
            p.note { "Outputs against the golden run's. An interval is that of the quantile; the relative error is the largest "
                "of an output, |here − golden| / |golden|, of those in which a number differs." }
            @for (stratum, sdc) in strata {
                h3 { (visible(&stratum.name)) }
                p { (count(sdc.trials)) " of " (count(sdc.of)) " outputs were compared." }
                (spreads(sdc))
                @if !sdc.grades.is_empty() { (grades(sdc)) }
            }
        }
    }
}

fn spreads(sdc: &WrongSummary) -> Markup {
    html! {
        table.rates {
            thead { tr { th { "differ" } th.n { "outputs" } th.n { "half at most" } th.n { "90 % at most" } th.n { "largest" } } }
            tbody {
                (row("lines", sdc.lines.as_ref()))
                (row("bytes", sdc.bytes.as_ref()))
                (row("bits", sdc.bits.as_ref()))
                (row("relative error", sdc.relative.as_ref()))
            }
        }
    }
}

fn row<T: Display + Copy>(what: &str, spread: Option<&Spread<T>>) -> Markup {
    let end = |end: Option<T>| end.map_or("?".to_owned(), |end| end.to_string());
    html! {
        @if let Some(spread) = spread {
            tr {
                th scope="row" { (what) } td.n { (count(spread.trials)) }
                @for quantile in &spread.quantiles {
                    @let value = quantile.value;
                    td.n { (value.value) " (" (end(value.lower)) " to " (end(value.upper)) ")" }
                }
                td.n { (spread.largest) }
            }
        }
    }
}

fn grades(sdc: &WrongSummary) -> Markup {
    html! {
        table.rates {
            thead { tr { th { "grade" } th.n { "trials" } th.n { "rate" } } }
            tbody {
                @for grade in &sdc.grades {
                    tr {
                        th scope="row" { (grade.name.as_deref().map_or_else(|| "no rule holds".to_owned(), visible)) }
                        td.n { (count(grade.count)) }
                        td.n { (grade.rate.as_ref().map(rate_words).unwrap_or_default()) }
                    }
                }
            }
        }
    }
}
