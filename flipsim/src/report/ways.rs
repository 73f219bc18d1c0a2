//! How much of the trials was run: settled, late, shortened and audited ones, and what of each stratum is known.
//!
//! Invariant: of a campaign whose trials were all run whole nothing is said but of its control trials.

use maud::{Markup, html};

use super::look::visible;
use super::svg::count;
use crate::campaign::Summary;

/// The lines below the rates.
pub(super) fn section(summary: &Summary) -> Markup {
    let ways = &summary.totals.ways;
    let controls = ways.control_line(summary.confidence);
    let controls = html! { @if let Some(line) = controls { p { (line) "." } } };
    let Some(line) = ways.line(summary.confidence) else { return controls };
    html! {
        p { (line) "." }
        (controls)
        ul {
            @for stratum in &summary.strata {
                @if let Some(known) = &stratum.known { li { (visible(&stratum.name)) ", live: " (known.line()) "." } }
            }
        }
        details {
            summary { "How much of the trials was run" }
            p.note { "Settled without a run: the golden run never reads the byte again, or overwrites it first, or it held what the fault sets it to. Begun late: right before it is read. "
                "Ended early: nothing that differs is read any more; some of these were begun late as well. Audited: chosen at random and run whole, to be compared." }
            table.rates {
                thead { tr { th { "stratum" } th.n { "trials" } th.n { "never read" } th.n { "overwritten" } th.n { "unchanged" } th.n { "begun late" }
                    th.n { "ended early" } th.n { "run whole" } th.n { "audited" } @if summary.totals.ways.decided > 0 { th.n { "decided by memory" } } } }
                tbody {
                    @for stratum in &summary.strata {
                        @let ways = &stratum.ways;
                        tr {
                            th scope="row" { (visible(&stratum.name)) }
                            @for number in [ways.trials, ways.never_read, ways.overwritten, ways.unchanged, ways.late, ways.shortened, ways.whole, ways.audited] {
                                td.n { (count(number)) }
                            }
                            @if summary.totals.ways.decided > 0 { td.n { (count(ways.decided)) } }
                        }
                    }
                }
            }
        }
    }
}
