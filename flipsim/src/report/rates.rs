//! The tables of rates: by outcome with both intervals, with the trials that are missing, all at once, and what of the
//! failures was noticed.
//!
//! Invariant: an outcome that never came has one bound, the same everywhere; an end is rounded outwards.

use maud::{Markup, html};

use super::svg::{count, large, percent};
use crate::campaign::summary::{Bounds, Class, Coverage, Missing, StratumSummary};
use crate::stats::tally::{Method, OutcomeCount, Rate};
use crate::stats::{Estimate, Interval};
use crate::text::end_text;
use crate::trial::Outcome;

/// The ends of an interval of shares.
pub(super) fn ends(interval: Interval) -> String {
    between(interval, &percent)
}

fn between(interval: Interval, show: &dyn Fn(f64) -> String) -> String {
    format!("{} to {}", end_text(interval.lower, false, show), end_text(interval.upper, true, show))
}

/// An upper bound of a share.
pub(super) fn below(bound: f64) -> String {
    format!("below {}", end_text(bound, true, &percent))
}

/// A rate in words, with its interval; for an outcome that never came its upper bound.
pub(super) fn rate_words(rate: &Rate) -> String {
    match rate.upper_bound {
        Some(bound) => format!("0 %, {}", below(bound)),
        None => format!("{} ({})", percent(rate.value), ends(rate.estimate(Method::default()).interval)),
    }
}

/// An extrapolated count with its interval.
pub(super) fn count_words(failures: Estimate) -> String {
    if failures.value == 0.0 {
        return format!("0, below {}", end_text(failures.interval.upper, true, &large));
    }
    format!("{} ({})", large(failures.value), between(failures.interval, &large))
}

/// Between which values a rate is, and the interval around them.
pub(super) fn bounds_words(bounds: &Bounds) -> String {
    let Bounds { lower, upper, interval, .. } = bounds;
    let rate = if lower == upper { percent(*lower) } else { ends(Interval { lower: *lower, upper: *upper }) };
    format!("{rate} ({})", ends(*interval))
}

/// The rates of a stratum as a table.
pub(super) fn rates_table(stratum: &StratumSummary) -> Markup {
    fn row<O: Copy>(name: &str, entry: &OutcomeCount<O>, missing: Option<&Missing>) -> Markup {
        html! {
            tr {
                th scope="row" { (name) }
                td.n { (count(entry.count)) }
                @match &entry.rate {
                    Some(rate) => {
                        td.n { (percent(rate.value)) }
                        @match rate.upper_bound {
                            Some(bound) => td.n colspan=(if missing.is_some() { 1 } else { 2 }) { (below(bound)) },
                            None => {
                                td.n { (ends(rate.exact)) }
                                // There is no room for three.
                                @if missing.is_none() { td.n { (ends(rate.wilson)) } }
                            },
                        }
                        @if let Some(missing) = missing {
                            td.n { (missing.of(name).map_or_else(String::new, bounds_words)) }
                        }
                        td.n { (rate.extrapolated.map_or_else(|| "–".to_owned(), count_words)) }
                    },
                    None => td colspan="4" { "no trial that counts" },
                }
            }
        }
    }
    let missing = stratum.missing.as_ref();
    html! {
        table.rates {
            thead { tr {
                th { "outcome" } th.n { "trials" } th.n { "rate" } th.n { "exact" }
                th.n { @if missing.is_some() { "with missing" } @else { "Wilson" } }
                th.n { "extrapolated count" }
            } }
            tbody {
                @for outcome in Outcome::WORST_FIRST {
                    @if let Some(entry) = stratum.outcome(outcome) { (row(outcome.name(), entry, missing)) }
                }
                @for class in Class::ALL {
                    @if let Some(entry) = stratum.class(class) { (row(class.name(), entry, missing)) }
                }
            }
        }
        @if let Some(missing) = missing { p.note { (missing_words(missing)) } }
        (together(stratum))
        @if let Some(coverage) = &stratum.coverage { (coverage_table(coverage)) }
    }
}

/// What the column of missing trials is.
pub(super) fn missing_words(missing: &Missing) -> String {
    format!(
        "{} of {} trials were given up, or their flip did not take. With missing: the rate if none of them had the outcome, \
         and if all had, with the interval around both.",
        count(missing.trials),
        count(missing.of)
    )
}

fn together(stratum: &StratumSummary) -> Markup {
    html! {
        @if !stratum.simultaneous.is_empty() {
            p.note { "Each interval above holds by itself. These hold all at once:" }
            table.rates {
                thead { tr { th { "outcome" } th.n { "interval" } } }
                tbody {
                    @for one in stratum.simultaneous.iter().rev() {
                        tr { th scope="row" { (one.outcome.name()) } td.n { (ends(one.interval)) } }
                    }
                }
            }
        }
    }
}

fn coverage_table(coverage: &Coverage) -> Markup {
    let Coverage {
        failures,
        sdc,
        detected,
        ecc_detected,
        crash_reported,
        crash_silent,
        hang_reported,
        hang_silent,
        ..
    } = coverage;
    let rows = [
        ("reported, and went on", detected),
        ("crash, reported", crash_reported),
        ("crash without a word", crash_silent),
        ("hang, reported", hang_reported),
        ("hang without a word", hang_silent),
        ("silent data corruption", sdc),
    ];
    let by_memory = Some(("detected by ECC memory", ecc_detected)).filter(|_| *ecc_detected > 0);
    let rows = rows.into_iter().chain(by_memory);
    html! {
        @if *failures > 0 {
            p.note { "Of the " (count(*failures)) " failures:" }
            table.rates {
                thead { tr { th { "noticed" } th.n { "trials" } } }
                tbody { @for (name, trials) in rows { tr { th scope="row" { (name) } td.n { (count(*trials)) } } } }
            }
            ul {
                @if let Some(rate) = &coverage.by_reports { li { "Coverage by the guest's reports: " (rate_words(rate)) " of the failures." } }
                @if let Some(rate) = &coverage.by_watchdog { li { "By its reports, or a watchdog that ends crashes and hangs: " (rate_words(rate)) "." } }
                @if let Some(rate) = &coverage.due { li { "Detected unrecoverable errors (DUE), crash and hang" @if *ecc_detected > 0 { " and those of ECC memory" } ": " (rate_words(rate)) " of the trials." } }
            }
        }
    }
}
