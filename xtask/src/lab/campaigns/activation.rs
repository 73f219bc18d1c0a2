//! Which faults were activated, as text.
//!
//! Invariant: a rate stands with its interval.

use std::fmt::Write as _;

use flipsim::campaign::summary::StratumSummary;
use flipsim::report::use_words;
use flipsim::stats::Confidence;
use flipsim::stats::tally::{Method, Rate};

use super::tables::{between, percent};

/// What was first done with what the faults of a stratum changed; nothing where that is known of none.
pub fn activation(stratum: &StratumSummary, confidence: Confidence, method: Method) -> String {
    let Some(found) = &stratum.activation else { return String::new() };
    let words = |rate: &Option<Rate>| {
        rate.as_ref().map_or(String::new(), |rate| {
            let rate = rate.estimate(method);
            format!("{:>6} %  {} %", percent(rate.value), between(rate.interval, percent))
        })
    };
    let mut text = format!("{}, first use of what was changed ({confidence}):\n", stratum.name);
    _ = writeln!(text, "  {:18} {:>8}  {:26} {:>8}  of these", "", "trials", "share", "failures");
    for row in found.uses.iter().filter(|row| row.trials > 0) {
        let (share, rate) = (words(&row.share), words(&row.rate));
        _ = writeln!(
            text,
            "  {:18} {:>8}  {share:26} {:>8}  {rate}",
            use_words(row.used),
            row.trials,
            row.failures
        );
    }
    if let Some(latency) = &found.latency {
        _ = writeln!(
            text,
            "  from the first read to report or crash (1 ns is an instruction while the guest executes): {} trials; {}",
            latency.trials,
            latency.line()
        );
    }
    text
}
