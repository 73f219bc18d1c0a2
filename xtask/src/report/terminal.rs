//! The report at the terminal.
//!
//! Invariant: what a guest or a file said is made visible before it is printed; no byte of it moves a
//! cursor.

use flipsim::campaign::summary::{Class, Pooled, StratumSummary, Summary, Times};
use flipsim::report::look::{WORST_FIRST, visible};
use flipsim::report::svg::{count, number, percent};
use flipsim::stats::tally::{OutcomeCount, Rate};
use flipsim::units::VirtualNs;

/// So many titles of reports are listed a stratum.
const TITLES: usize = 3;

/// Shows a summary.
pub fn show(summary: &Summary) {
    for line in lines(summary) {
        outln!("{line}");
    }
}

/// The report, line by line.
fn lines(summary: &Summary) -> Vec<String> {
    let totals = &summary.totals;
    let mut lines = vec![format!(
        "campaign {}: {} of {} trials done, {} count",
        visible(&summary.name),
        count(totals.done),
        count(totals.planned),
        count(totals.counted)
    )];
    if totals.done == 0 {
        lines.push(format!(
            "no trial has a result yet; `cargo xtask campaign run {}` carries them out",
            visible(&summary.name)
        ));
        return lines;
    }
    for (what, number) in [("infra", totals.infra), ("not flipped", totals.not_flipped)] {
        if number > 0 {
            lines.push(format!("  {what}: {}, in no rate", count(number)));
        }
    }
    let confidence = summary.confidence.to_string().replace('%', " %");
    for stratum in &summary.strata {
        lines.extend(of_stratum(stratum, &confidence));
    }
    for pooled in &summary.pooled {
        lines.extend(together(pooled, &confidence));
    }
    if let Some(costs) = &summary.costs {
        let parts: Vec<String> = costs
            .parts
            .iter()
            .filter(|part| part.share >= 0.005)
            .map(|part| format!("{} {:.0} %", part.name, part.share * 100.0))
            .collect();
        lines.push(format!(
            "cost: {} trials a second, {} at once; median {} a trial: {}",
            number(costs.trials_per_second),
            number(costs.at_once),
            VirtualNs(costs.total.median_us.saturating_mul(1000)),
            parts.join(", ")
        ));
    }
    lines.extend(summary.warnings.iter().map(|warning| format!("warning: {}", visible(&warning.to_string()))));
    lines
}

fn of_stratum(stratum: &StratumSummary, confidence: &str) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!(
            "{}: {} trials of {} faults × {} moments ({}, {})",
            visible(&stratum.name),
            count(stratum.counted),
            count(stratum.faults),
            count(stratum.times),
            visible(&stratum.targets),
            stratum.pattern
        ),
        format!("  {:10} {:>9} {:>9}  {confidence} interval", "outcome", "trials", "rate"),
    ];
    let outcomes = WORST_FIRST.iter().filter_map(|outcome| stratum.outcome(*outcome));
    lines.extend(outcomes.map(|entry| row(entry.outcome.name(), entry)));
    let class = stratum.class(Class::Failure);
    lines.extend(class.map(|entry| row("= failure", entry)));
    if let Some(curve) = stratum.survival.as_ref().filter(|curve| curve.crashes > 0) {
        let median = curve.median.map_or("more than half live on".to_owned(), |m| format!("half by {}", m.value));
        lines.push(format!("  survival: {} of {} guests crashed; {median}", count(curve.crashes), count(curve.guests)));
    }
    let times = [("flip to detection", &stratum.detection), ("flip to crash", &stratum.crash)];
    lines.extend(times.into_iter().filter_map(|(what, times)| Some(quantiles(what, times.as_ref()?))));
    for title in stratum.by.title.rows.iter().filter(|row| row.key.is_some()).take(TITLES) {
        let name = visible(title.key.as_deref().unwrap_or_default()).replace(['\n', '\t'], " ");
        lines.push(format!("  {:>6} × {name}", count(title.trials)));
    }
    lines
}

fn row<O>(name: &str, entry: &OutcomeCount<O>) -> String {
    let rate = entry.rate.as_ref().map_or("no rate".to_owned(), rate);
    format!("  {name:10} {:>9} {rate}", count(entry.count))
}

fn rate(rate: &Rate) -> String {
    let interval = match rate.upper_bound {
        Some(bound) => format!("below {}", percent(bound)),
        None => format!("{} to {}", percent(rate.wilson.lower), percent(rate.wilson.upper)),
    };
    format!("{:>9}  {interval}", percent(rate.value))
}

fn quantiles(what: &str, times: &Times) -> String {
    let parts: Vec<String> = times
        .quantiles
        .iter()
        .map(|quantile| format!("{} by {}", quantile.share, quantile.time.value))
        .collect();
    format!("  {what}: {} ({} of {} trials)", parts.join(", "), count(times.trials), count(times.of))
}

fn together(pooled: &Pooled, confidence: &str) -> Vec<String> {
    let names = visible(&pooled.strata.join(", "));
    let mut lines = vec![String::new(), format!("{names} together, by the number of their faults:")];
    if let Some(why) = &pooled.why_not {
        lines.push(format!("  no rate: {}", visible(why)));
    }
    if let Some(failure) = pooled.class(Class::Failure) {
        let interval = failure.rate.interval;
        lines.push(format!(
            "  {:10} {:>9} {:>9}  {confidence}: {} to {}",
            "= failure",
            "",
            percent(failure.rate.value),
            percent(interval.lower),
            percent(interval.upper)
        ));
    }
    lines
}
