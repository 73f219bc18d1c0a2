//! The numbers of a campaign as text.
//!
//! Invariant: every rate stands beside its interval and its extrapolated absolute count.

use std::fmt::Write as _;

use anyhow::Result;
use flipsim::campaign::summary::{
    By, Class, CostSummary, FitRow, MissionRow, Pooled, StratumSummary, SummaryOptions, TimeSummary,
};
use flipsim::campaign::{Store, Summary};
use flipsim::stats::fit::{FitPerMbit, MissionOutlook};
use flipsim::stats::mission::Mission;
use flipsim::stats::tally::Method;
use flipsim::stats::{Confidence, Estimate, Interval};
use flipsim::text::{shown, visible};
use flipsim::trial::Outcome;
use flipsim::units::{VirtualNs, format_duration};

use crate::lab::campaigns::files::store_error;

/// With which intervals numbers are shown.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct IntervalMethods {
    /// The confidence of all intervals
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    confidence: Confidence,
    /// Wilson's interval, or Clopper and Pearson's: never too narrow, for what came once or twice
    #[arg(long, value_enum, default_value = "wilson")]
    interval: IntervalArg,
}

/// Intervals by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum IntervalArg {
    Wilson,
    Exact,
}

impl IntervalMethods {
    /// What a command shows that does not ask.
    pub const DEFAULT: IntervalMethods =
        IntervalMethods { confidence: Confidence::P95, interval: IntervalArg::Wilson };

    /// How a campaign is summarised for this.
    pub fn options(self) -> SummaryOptions {
        SummaryOptions { confidence: self.confidence, ..SummaryOptions::default() }
    }

    /// The method.
    pub fn method(self) -> Method {
        match self.interval {
            IntervalArg::Wilson => Method::Wilson,
            IntervalArg::Exact => Method::ClopperPearson,
        }
    }
}

/// The short form: a table a stratum, where the time went, what to know.
pub fn overview(summary: &Summary, running: Option<u32>, method: Method) -> String {
    let totals = &summary.totals;
    let other = running.filter(|pid| *pid != std::process::id());
    let running = other.map(|pid| format!(", process {pid} works on it")).unwrap_or_default();
    let mut text = format!(
        "campaign {}: {} of {} trials{running}\n",
        shown(&summary.name, 100),
        totals.done,
        totals.planned
    );
    for stratum in &summary.strata {
        text += &stratum_table(stratum, summary.confidence, method);
    }
    for pooled in summary.pooled.iter().filter(|pooled| pooled.why_not.is_none()) {
        text += &pooled_table(pooled, summary.confidence);
    }
    if totals.lost > 0 {
        text += &format!("the laboratory lost {} attempts; they were run again\n", totals.lost);
    }
    if let Some(costs) = &summary.costs {
        text += &cost_line(costs);
    }
    for warning in &summary.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}

fn stratum_table(stratum: &StratumSummary, confidence: Confidence, method: Method) -> String {
    let StratumSummary { name, counted, faults, times, targets, .. } = stratum;
    let (name, targets) = (shown(name, 100), shown(targets, 300));
    let mut text = format!("{name}: {counted} trials of N = {faults} faults × {times} ns ({targets})\n");
    let interval = match method {
        Method::Wilson => format!("{confidence} (Wilson)"),
        Method::ClopperPearson => format!("{confidence} (exact)"),
    };
    if *counted > 0 {
        text += &head(&interval, confidence);
    }
    let outcomes = stratum.outcomes.iter().map(|entry| (entry.outcome.name(), entry.count, entry.rate));
    let failure = stratum.class(Class::Failure).map(|entry| (Class::Failure.name(), entry.count, entry.rate));
    for (name, count, rate) in outcomes.chain(failure) {
        let Some(rate) = rate.map(|rate| rate.estimate(method)) else { continue };
        text += &row(name, &count.to_string(), rate, rate.scaled(stratum.population));
    }
    for (what, count) in [(Outcome::Infra.name(), stratum.infra), ("not flipped", stratum.not_flipped)] {
        if count > 0 {
            text += &format!("  {what:11} {count:>7}  (in no rate)\n");
        }
    }
    text
}

fn pooled_table(pooled: &Pooled, confidence: Confidence) -> String {
    let Pooled { strata, kind, counted, .. } = pooled;
    let mut text =
        format!("{} together ({kind}, weighted by faults): {counted} trials\n", strata.join(" + "));
    text += &head(&format!("{confidence} (beta)"), confidence);
    let outcomes = pooled.outcomes.iter().map(|entry| (entry.outcome.name(), entry.rate, entry.failures));
    let failure =
        pooled.class(Class::Failure).map(|entry| (Class::Failure.name(), entry.rate, entry.failures));
    for (name, rate, failures) in outcomes.chain(failure) {
        text += &row(name, "", rate, failures);
    }
    text
}

fn head(interval: &str, confidence: Confidence) -> String {
    format!(
        "  {:11} {:>7}  {:>8}  {:20}  {:>9}  {confidence}\n",
        "outcome", "trials", "rate", interval, "N × rate"
    )
}

fn row(name: &str, count: &str, rate: Estimate, failures: Estimate) -> String {
    let (of_rate, of_failures) = (between(rate.interval, percent), between(failures.interval, number));
    let (rate, failures) = (percent(rate.value), number(failures.value));
    format!("  {name:11} {count:>7}  {rate:>6} %  {:20}  {failures:>9}  {of_failures}\n", of_rate + " %")
}

fn between(interval: Interval, show: fn(f64) -> String) -> String {
    format!("{} to {}", show(interval.lower), show(interval.upper))
}

/// A share in percent: two digits behind the point, or two at all where that would be nothing.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0".to_owned()
    } else if percent < 0.01 {
        format!("{percent:.1e}")
    } else {
        format!("{percent:.2}")
    }
}

/// A number with three digits or so.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if !(0.01..1e6).contains(&value) {
        format!("{value:.2e}")
    } else if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn micros(us: f64) -> String {
    format_duration(std::time::Duration::from_secs_f64(us.clamp(0.0, 1e18) / 1e6))
}

fn cost_line(costs: &CostSummary) -> String {
    let parts = costs.parts.iter().filter(|part| part.share >= 0.005);
    let parts: Vec<String> = parts.map(|part| format!("{} {:.0} %", part.name, part.share * 100.0)).collect();
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a trial")]
    let median = micros(costs.total.median_us as f64);
    format!("time of a trial: {median} (median): {}; {}\n", parts.join(", "), pace(costs))
}

fn pace(costs: &CostSummary) -> String {
    format!(
        "{} trials a second in {} of work, {:.1} at once",
        number(costs.trials_per_second),
        micros(costs.working_seconds * 1e6),
        costs.at_once
    )
}

/// Where the time went, part by part.
pub fn cost_table(costs: &CostSummary) -> String {
    let mut text = format!("time of {} trials: {}\n", costs.trials, pace(costs));
    _ = writeln!(text, "  {:8} {:>7}  {:>10}  {:>10}  {:>10}", "part", "share", "mean", "median", "together");
    for part in costs.parts.iter().chain([&costs.total]) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a trial")]
        let median = micros(part.median_us as f64);
        let (share, mean) = (format!("{:.1} %", part.share * 100.0), micros(part.mean_us));
        let together = micros(part.total_seconds * 1e6);
        _ = writeln!(text, "  {:8} {share:>7}  {mean:>10}  {median:>10}  {together:>10}", part.name);
    }
    text
}

/// The trials of a stratum by what was struck.
pub fn breakdown(stratum: &StratumSummary, by: By, confidence: Confidence, method: Method) -> String {
    let table = stratum.by.get(by);
    let mut text = format!("{} by {}:\n", stratum.name, by.name());
    if table.rows.iter().all(|row| row.key.is_none()) {
        let what = match by {
            _ if table.rows.is_empty() => "no trial counts",
            By::Bit => "every fault is of several bits",
            By::Register => "no fault is in a register",
            By::Region => "no fault is in a region",
            By::Symbol => "no fault is in a symbol",
            By::Title => "no console reports anything",
        };
        text.truncate(text.len() - 1);
        return text + " " + what + "\n";
    }
    let keys = table.rows.iter().filter_map(|row| row.key.as_deref());
    let width = keys.map(|key| key.chars().count()).max().unwrap_or(0).max(28);
    let outcomes = Outcome::ALL.into_iter().filter(|outcome| outcome.is_counted());
    let names: String = outcomes.clone().map(|outcome| format!(" {:>8}", outcome.name())).collect();
    _ = writeln!(
        text,
        "  {:width$} {:>7}  failure  {:20} {:>8} {names}",
        by.name(),
        "trials",
        confidence.to_string(),
        "q"
    );
    let counts = |of: &std::collections::BTreeMap<Outcome, u64>| -> String {
        outcomes.clone().map(|outcome| format!(" {:>8}", of.get(&outcome).copied().unwrap_or(0))).collect()
    };
    for row in &table.rows {
        let rate = row.failure.estimate(method);
        let key = row.key.as_deref().unwrap_or("-");
        let q = row.discovery.map_or_else(|| "-".to_owned(), |row| row.q_text());
        let (value, interval) = (percent(rate.value), between(rate.interval, percent) + " %");
        _ = writeln!(
            text,
            "  {key:width$} {:>7} {value:>6} %  {interval:20} {q:>8} {}",
            row.trials,
            counts(&row.outcomes)
        );
    }
    if let Some(rest) = &table.rest {
        let what = format!("{} more", rest.keys);
        _ = writeln!(
            text,
            "  {what:width$} {:>7} {:>8}  {:20} {:>8} {}",
            rest.trials,
            "",
            "",
            "",
            counts(&rest.outcomes)
        );
    }
    if table.rows.iter().any(|row| row.discovery.is_some()) {
        text += "  q: is the row's failure rate another than that of the stratum's other trials, among so many rows? Up to 0.05 it is \
                 (one such in twenty is chance)\n";
    }
    text
}

/// How long guests of a stratum lived.
pub fn survival(stratum: &StratumSummary, confidence: Confidence) -> String {
    let Some(curve) = &stratum.survival else { return String::new() };
    let mut text = format!(
        "survival of {}: {} of {} guests crashed; {} hung, which counts as alive; watched for up to {}\n",
        stratum.name, curve.crashes, curve.guests, curve.hangs, curve.last_seen
    );
    let most = curve.steps.len().min(12);
    let shown = (1..=most).map(|number| &curve.steps[number * curve.steps.len() / most - 1]);
    if curve.crashes > 0 {
        _ = writeln!(text, "  {:>12}  {:>7}  {:>8}  {confidence}", "since flip", "at risk", "alive");
    }
    for step in shown {
        let interval = step.interval.map(|interval| between(interval, percent) + " %").unwrap_or_default();
        let (time, alive) = (step.time.to_string(), percent(step.survival));
        _ = writeln!(text, "  {time:>12}  {:>7}  {alive:>6} %  {interval}", step.at_risk);
    }
    if let Some(median) = curve.median {
        _ = writeln!(text, "  half of them live {}", span(median.value, median.lower, median.upper));
    }
    if let Some(mean) = curve.restricted_mean {
        let Interval { lower, upper } = mean.interval;
        let time = |ns: f64| micros(ns / 1e3);
        _ = writeln!(
            text,
            "  mean time alive in the first {}: {} ({} to {})",
            curve.last_seen,
            time(mean.value),
            time(lower),
            time(upper)
        );
    }
    text
}

/// From the flip to its detection and to a crash.
pub fn times(stratum: &StratumSummary) -> String {
    let line = |what: &str, times: &Option<TimeSummary>| {
        let Some(times) = times else { return String::new() };
        let quantiles = times.quantiles.iter().map(|quantile| {
            let time = quantile.time;
            format!("{} within {}", quantile.share, span(time.value, time.lower, time.upper))
        });
        let said = if times.are_few() { times.ends() } else { quantiles.collect::<Vec<String>>().join(", ") };
        format!("{}, from flip to {what}: {} of {}; {said}\n", stratum.name, times.trials, times.of)
    };
    line("report", &stratum.detection) + &line("crash", &stratum.crash)
}

fn span(value: VirtualNs, lower: Option<VirtualNs>, upper: Option<VirtualNs>) -> String {
    let end = |end: Option<VirtualNs>| end.map_or("?".to_owned(), |end| end.to_string());
    format!("{value} ({} to {})", end(lower), end(upper))
}

/// FIT by part of the fault space.
pub fn fit(rows: &[FitRow], raw: FitPerMbit, confidence: Confidence) -> String {
    let mut text = format!("at {} FIT/Mbit:\n", raw.value());
    _ = writeln!(text, "  {:24} {:>9}  {:11} {:>9}  {confidence}", "space", "Mbit", "outcome", "FIT");
    for row in rows {
        for (name, fit) in &row.fit {
            #[expect(clippy::cast_precision_loss, reason = "a memory's size with three digits")]
            let mbit = number(row.bits as f64 / f64::from(1 << 20));
            let (space, interval) = (&row.space, between(fit.interval, number));
            _ = writeln!(text, "  {space:24} {mbit:>9}  {name:11} {:>9}  {interval}", number(fit.value));
        }
    }
    if rows.is_empty() {
        text += "  no stratum of single bits has trials; FIT is raw rate × bits × rate\n";
    }
    text
}

/// What a mission has to expect.
pub fn mission(rows: &[MissionRow], mission: &Mission, seconds: f64, confidence: Confidence) -> String {
    let upsets = mission.upsets_in(seconds);
    let mut text = format!("mission: {} flips are expected; if all of its memory is like\n", number(upsets));
    _ = writeln!(
        text,
        "  {:24} {:11} {:>9}  {:22}  at least one",
        "space",
        "outcome",
        "expected",
        confidence.to_string()
    );
    for row in rows {
        for (name, MissionOutlook { failures, any, .. }) in &row.outlook {
            let (space, interval) = (&row.space, between(failures.interval, number));
            let any = format!("{} % ({} %)", percent(any.value), between(any.interval, percent));
            _ = writeln!(text, "  {space:24} {name:11} {:>9}  {interval:22}  {any}", number(failures.value));
        }
    }
    if rows.is_empty() {
        text += "  no stratum of single bits of RAM has trials\n";
    }
    text
}

/// The state of a campaign, for people.
pub fn show(store: &Store, intervals: IntervalMethods) -> Result<()> {
    let options = SummaryOptions { short: true, ..intervals.options() };
    let summary = Summary::new(store, &options).map_err(store_error)?;
    let text = overview(&summary, store.running(), intervals.method());
    outln!("{}", visible(text.trim_end()));
    Ok(())
}
