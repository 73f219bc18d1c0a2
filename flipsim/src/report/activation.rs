//! Which faults were activated, on the page.
//!
//! Invariant: what stands here is of the summary.

use maud::{Markup, html};

use super::look::visible;
use super::rates::rate_words;
use super::svg::count;
use crate::campaign::Summary;
use crate::campaign::summary::ActivationSummary;
use crate::trial::Used;

/// A table a stratum; nothing where it is known of no fault.
pub(super) fn section(summary: &Summary) -> Markup {
    let strata: Vec<_> =
        summary.strata.iter().filter_map(|one| Some((one, one.activation.as_ref()?))).collect();
    html! {
        @if !strata.is_empty() {
            h2 id="activation" { "Which faults were activated" }
            p.note { "A fault is activated once a byte that it changed is read: loaded, executed, or used by a device. Rates \
                of failures are here of the trials of that row alone." }
            @for (stratum, activation) in strata {
                h3 { (visible(&stratum.name)) }
                (table(activation))
            }
        }
    }
}

/// What a use is called in a table.
#[must_use]
pub fn use_words(used: Used) -> &'static str {
    match used {
        Used::Read => "read: activated",
        Used::Overwritten => "overwritten first",
        Used::Never => "never used again",
        Used::Unknown => "not known",
    }
}

fn table(found: &ActivationSummary) -> Markup {
    html! {
        table.rates {
            thead { tr { th { "first use" } th.n { "trials" } th { "share" } th.n { "failures" } th { "of these" } } }
            tbody {
                @for row in found.uses.iter().filter(|row| row.trials > 0) {
                    tr {
                        th scope="row" { (use_words(row.used)) } td.n { (count(row.trials)) }
                        td { @if let Some(share) = &row.share { (rate_words(share)) } }
                        td.n { (count(row.failures)) }
                        td { @if let Some(rate) = &row.rate { (rate_words(rate)) } }
                    }
                }
            }
        }
        @if let Some(latency) = &found.latency {
            p { "From the first read to the guest's report or crash, " (count(latency.trials)) " trials: " (latency.line()) ". \
                While the guest executes, a nanosecond is an instruction." }
        }
    }
}
