//! How wrong silent data corruption is, as text.
//!
//! Invariant: a grade stands beside its rate, with its interval.

use std::fmt::{Display, Write as _};

use flipsim::campaign::summary::{Spread, StratumSummary};
use flipsim::stats::Confidence;
use flipsim::stats::tally::Method;
use flipsim::text::shown;

use super::tables::{between, percent};

/// How wrong the sdc of a stratum is; nothing where no output was compared.
pub fn wrong(stratum: &StratumSummary, confidence: Confidence, method: Method) -> String {
    let Some(sdc) = stratum.sdc.as_ref().filter(|sdc| sdc.trials > 0) else { return String::new() };
    let mut text =
        format!("{}, how wrong sdc is: {} of {} outputs compared\n", stratum.name, sdc.trials, sdc.of);
    for (what, spread) in [("lines", &sdc.lines), ("bytes", &sdc.bytes), ("bits", &sdc.bits)] {
        text += &spread.as_ref().map_or_else(String::new, |spread| line(what, spread));
    }
    text += &sdc.relative.as_ref().map_or_else(String::new, |spread| line("relative", spread));
    if !sdc.grades.is_empty() {
        let head = "grade";
        _ = writeln!(text, "  {head:16} {:>7}  {:>8}  {confidence}", "trials", "rate");
    }
    for grade in &sdc.grades {
        let name = grade.name.as_deref().map_or_else(|| "(no rule holds)".to_owned(), |name| shown(name, 60));
        let rate = grade
            .rate
            .map(|rate| rate.estimate(method))
            .map(|rate| format!("  {:>6} %  {} %", percent(rate.value), between(rate.interval, percent)));
        _ = writeln!(text, "  {name:16} {:>7}{}", grade.count, rate.unwrap_or_default());
    }
    text
}

fn line<T: Display + Copy>(what: &str, spread: &Spread<T>) -> String {
    let end = |end: Option<T>| end.map_or("?".to_owned(), |end| end.to_string());
    let quantiles = spread.quantiles.iter().map(|quantile| {
        let value = quantile.value;
        let said = format!("{} ({} to {})", value.value, end(value.lower), end(value.upper));
        format!("{} at most {said}", quantile.share)
    });
    let quantiles: Vec<String> = quantiles.collect();
    format!("  {what:8} of {}: {}; largest {}\n", spread.trials, quantiles.join(", "), spread.largest)
}
