//! How far guests got that were followed from power-on, as text.
//!
//! Invariant: nothing is said of other guests.

use std::fmt::Write as _;

use flipsim::campaign::summary::StratumSummary;

/// How far the trials of a stratum got.
pub fn reached(stratum: &StratumSummary) -> String {
    let Some(found) = &stratum.reached else { return String::new() };
    let mut text = format!(
        "{}, from power-on:\n  {:16} {:>9} {:>9}  outcomes\n",
        stratum.name, "reached", "trials", "failures"
    );
    for (reached, trials, failures, outcomes) in found.rows() {
        let outcomes = outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.name()));
        let outcomes = outcomes.collect::<Vec<_>>().join(", ");
        _ = writeln!(text, "  {:16} {trials:>9} {failures:>9}  {outcomes}", reached.name());
    }
    text
}
