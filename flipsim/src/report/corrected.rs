//! What the workload counted and corrected, on the page.
//!
//! Invariant: what stands here is of the summary.

use maud::{Markup, html};

use super::look::visible;
use super::rates::rate_words;
use super::svg::count;
use crate::campaign::Summary;
use crate::campaign::summary::CorrectedSummary;

/// A table a stratum; nothing where nothing is counted.
pub(super) fn section(summary: &Summary) -> Markup {
    let strata: Vec<_> =
        summary.strata.iter().filter_map(|one| Some((one, one.corrected.as_ref()?))).collect();
    html! {
        @if !strata.is_empty() {
            h2 id="corrected" { "What the workload corrected" }
            p.note { "By its own word: a masked or latent trial is corrected in which it counted more than in the golden run." }
            @for (stratum, corrected) in strata {
                h3 { (visible(&stratum.name)) }
                (table(corrected))
            }
        }
    }
}

fn table(corrected: &CorrectedSummary) -> Markup {
    html! {
        p { (count(corrected.corrected)) " trials were corrected"
            @if let Some(rate) = &corrected.rate { ": " (rate_words(rate)) } "." }
        table.rates {
            thead { tr { th { "count" } th.n { "golden run" } th.n { "trials above" } th.n { "trials below" } th.n { "largest" } } }
            tbody {
                @for row in &corrected.counts {
                    tr {
                        th scope="row" { (visible(&row.name)) } td.n { (count(row.golden)) }
                        td.n { (count(row.above.values().sum())) } td.n { (count(row.below)) } td.n { (count(row.largest)) }
                    }
                }
            }
        }
    }
}
