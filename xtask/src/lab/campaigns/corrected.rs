//! What the workload counted and corrected, as text.
//!
//! Invariant: a rate stands with its interval.

use std::fmt::Write as _;

use flipsim::campaign::summary::StratumSummary;
use flipsim::stats::Confidence;
use flipsim::stats::tally::Method;
use flipsim::text::shown;

use super::tables::{between, percent};

/// What was corrected in a stratum; nothing where nothing is counted.
pub fn corrected(stratum: &StratumSummary, confidence: Confidence, method: Method) -> String {
    let Some(found) = &stratum.corrected else { return String::new() };
    let mut text = format!("{}, corrected: {} trials, masked or latent", stratum.name, found.corrected);
    if let Some(rate) = found.rate.map(|rate| rate.estimate(method)) {
        let (value, ends) = (percent(rate.value), between(rate.interval, percent));
        _ = write!(text, ": {value} %, {confidence}: {ends} %");
    }
    _ = writeln!(
        text,
        "\n  {:16} {:>9} {:>7} {:>7} {:>9}  outcomes above",
        "count", "golden", "above", "below", "largest"
    );
    for row in &found.counts {
        let above: u64 = row.above.values().sum();
        let outcomes = row.above.iter().map(|(outcome, count)| format!("{} {count}", outcome.name()));
        let outcomes = outcomes.collect::<Vec<_>>().join(", ");
        let (name, golden, below, largest) = (shown(&row.name, 60), row.golden, row.below, row.largest);
        _ = writeln!(text, "  {name:16} {golden:>9} {above:>7} {below:>7} {largest:>9}  {outcomes}");
    }
    text
}
