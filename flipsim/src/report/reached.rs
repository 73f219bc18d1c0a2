//! How far guests got that were followed from power-on, on the page.
//!
//! Invariant: what stands here is of the summary.

use maud::{Markup, html};

use super::look::visible;
use super::svg::count;
use crate::campaign::Summary;

/// A table; nothing where no guest was followed from power-on.
pub(super) fn section(summary: &Summary) -> Markup {
    let strata: Vec<_> = summary.strata.iter().filter_map(|one| Some((one, one.reached.as_ref()?))).collect();
    html! {
        @if !strata.is_empty() {
            h2 id="reached" { "How far the guest got" }
            p.note { "From power-on: whether its console shows that userspace was reached." }
            table.rates {
                thead { tr { th { "stratum" } th { "reached" } th.n { "trials" } th.n { "failures" } th { "outcomes" } } }
                tbody {
                    @for (stratum, reached) in strata {
                        @for (reached, trials, failures, outcomes) in reached.rows() {
                            tr {
                                th scope="row" { (visible(&stratum.name)) } td { (reached.name()) }
                                td.n { (count(trials)) } td.n { (count(failures)) }
                                td { (outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.name())).collect::<Vec<_>>().join(", ")) }
                            }
                        }
                    }
                }
            }
        }
    }
}
