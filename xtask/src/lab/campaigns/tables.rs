//! The numbers of a campaign as text.
//!
//! Invariant: every rate stands beside its interval and its extrapolated absolute count.

use std::fmt::Write as _;

use anyhow::Result;
use flipsim::campaign::summary::{
    Bounds, By, Class, CostSummary, Coverage, HangLimits, Missing, Pooled, StratumSummary, SummaryOptions,
    TimeSummary, Together, with_ends,
};
use flipsim::campaign::{Store, Summary};
use flipsim::stats::strata::Strata;
use flipsim::stats::tally::{Method, Rate};
use flipsim::stats::{Confidence, Estimate, Interval};
use flipsim::text::{end_text, shown, visible};
use flipsim::trial::Outcome;
use flipsim::units::format_duration;

use crate::lab::campaigns::files::store_error;

/// With which intervals numbers are shown.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct IntervalMethods {
    /// The confidence of all intervals
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    confidence: Confidence,
    /// The exact interval, which is never too narrow, or Wilson's, which is for what came once or twice
    #[arg(long, value_enum, default_value = "exact")]
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
        IntervalMethods { confidence: Confidence::P95, interval: IntervalArg::Exact };

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
    if totals.waiting > 0 {
        _ = writeln!(
            text,
            "{} trials wait for the rest of their batch, and are in no rate yet",
            totals.waiting
        );
    }
    for stratum in &summary.strata {
        text += &stratum_table(stratum, summary.confidence, method);
    }
    for pooled in summary.pooled.iter().filter(|pooled| pooled.why_not.is_none()) {
        text += &pooled_table(pooled, summary.confidence);
    }
    let ways = &totals.ways;
    for line in [ways.line(summary.confidence), ways.control_line(summary.confidence)].into_iter().flatten() {
        _ = writeln!(text, "{line}");
    }
    if let Some(idle) = &summary.idle {
        text += &format!("{}\n", idle.line());
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
    let StratumSummary { name, counted, faults, times, when, targets, .. } = stratum;
    let (name, targets) = (shown(name, 100), shown(targets, 300));
    let space = when.space(*faults, *times, |number| number.to_string());
    let mut text = format!("{name}: {counted} trials of N = {space} ({targets})\n");
    let named = match method {
        Method::Wilson => "Wilson",
        Method::ClopperPearson => "exact",
    };
    let grown =
        stratum.class(Class::Failure).and_then(|entry| entry.rate).filter(|rate| rate.anytime.is_some());
    let live = if stratum.known_part().is_some() { ", live" } else { "" };
    let interval = format!("{confidence} ({}{live})", if grown.is_some() { "any look" } else { named });
    let missing = stratum.missing.as_ref();
    if *counted > 0 {
        text += &head(&interval, confidence, missing);
    }
    let outcomes = stratum.outcomes.iter().map(|entry| (entry.outcome.name(), entry.count, entry.rate));
    let classes = [Class::NoEffect, Class::Failure].into_iter().filter_map(|class| stratum.class(class));
    let classes = classes.map(|entry| (entry.outcome.name(), entry.count, entry.rate));
    for (name, count, rate) in outcomes.chain(classes) {
        let Some(rate) = rate.map(|rate| rate.estimate(method)) else { continue };
        let bounds = missing.and_then(|missing| missing.of(name));
        text += &row(name, &count.to_string(), rate, rate.scaled(stratum.population), bounds);
    }
    if method == Method::Wilson && *counted > 0 {
        text += "  Wilson's holds in 84 to 93 % for some rates that are met fewer than 15 times: there `--interval exact`\n";
    }
    if let Some(rate) = grown {
        let plain = Rate { anytime: None, ..rate }.estimate(method).interval;
        text += &format!("  of a campaign of fixed size, failure: {} % ({named})\n", between(plain, percent));
    }
    if let Some(known) = &stratum.known {
        _ = writeln!(text, "  live: {}", known.line());
    }
    if let Some(unchanged) = &stratum.unchanged {
        _ = writeln!(text, "  {}", unchanged.line());
    }
    for (what, count) in [(Outcome::Infra.name(), stratum.infra), ("not flipped", stratum.not_flipped)] {
        if count > 0 {
            text += &format!("  {what:11} {count:>7}  (in no rate)\n");
        }
    }
    if let Some(missing) = missing {
        text += &missing_line(missing);
    }
    text + &hangs(stratum) + &moments(stratum)
}

/// How many hangs of a stratum the guest had reported something before; nothing where none hung.
fn hangs(stratum: &StratumSummary) -> String {
    let Some(coverage) = &stratum.coverage else { return String::new() };
    let (reported, silent) = (coverage.hang_reported, coverage.hang_silent);
    if reported + silent == 0 {
        return String::new();
    }
    format!("  hangs: {reported} after a report of the guest's, {silent} without a word\n")
}

/// How many trials of a stratum failed while the guest idled, and while it did not; nothing where all are of one kind.
fn moments(stratum: &StratumSummary) -> String {
    let rows = stratum.by.moment.rows.iter().filter_map(|row| Some((row.key.as_deref()?, row)));
    let parts: Vec<String> =
        rows.map(|(key, row)| format!("{} of {} {key}", row.failures(), row.trials)).collect();
    if parts.len() < 2 {
        return String::new();
    }
    format!("  failures by moment: {}\n", parts.join(", "))
}

fn pooled_table(pooled: &Pooled, confidence: Confidence) -> String {
    let Pooled { strata, kind, counted, .. } = pooled;
    let mut text =
        format!("{} together ({kind}, weighted by faults × moments): {counted} trials\n", strata.join(" + "));
    let missing = pooled.missing.as_ref();
    let grown = pooled.outcomes.iter().any(|entry| entry.anytime.is_some());
    let named = if grown { "any look" } else { "beta" };
    let live = if pooled.known.is_empty() { "" } else { ", live" };
    text += &head(&format!("{confidence} ({named}{live})"), confidence, missing);
    let outcomes = pooled.outcomes.iter().map(|entry| (entry.outcome.name(), entry.shown()));
    let classes = [Class::NoEffect, Class::Failure].into_iter().filter_map(|class| pooled.class(class));
    let classes = classes.map(|entry| (entry.outcome.name(), entry.shown()));
    for (name, (rate, failures)) in outcomes.chain(classes) {
        text += &row(name, "", rate, failures, missing.and_then(|missing| missing.of(name)));
    }
    if !pooled.few.is_empty() {
        let few = pooled.few.join(", ");
        _ = writeln!(
            text,
            "  strata of fewer than {} trials count as one, so that the interval is wide: {few}",
            Strata::FEW
        );
    }
    if let Some(missing) = missing {
        text += &missing_line(missing);
    }
    text
}

fn missing_line(missing: &Missing) -> String {
    format!(
        "  with missing: the rate if none of the {} missing trials of {} had the outcome, and if all had; around both, the interval\n",
        missing.trials, missing.of
    )
}

fn head(interval: &str, confidence: Confidence, missing: Option<&Missing>) -> String {
    let bounds = if missing.is_some() { "  with missing" } else { "" };
    format!(
        "  {:11} {:>7}  {:>8}  {:20}  {:>9}  {:22}{bounds}",
        "outcome",
        "trials",
        "rate",
        interval,
        "N × rate",
        confidence.to_string()
    )
    .trim_end()
    .to_owned()
        + "\n"
}

fn row(name: &str, count: &str, rate: Estimate, failures: Estimate, bounds: Option<&Bounds>) -> String {
    let ends = |of: Estimate, show: fn(f64) -> String| match of.value {
        0.0 => format!("below {}", end(of.interval.upper, true, show)),
        _ => between(of.interval, show),
    };
    let (of_rate, of_failures) = (ends(rate, percent) + " %", ends(failures, number));
    let (rate, failures) = (percent(rate.value), number(failures.value));
    let bounds = bounds.map_or(String::new(), |Bounds { lower, upper, interval, .. }| {
        let rates = between(Interval { lower: *lower, upper: *upper }, percent);
        format!("  {rates} % ({} %)", between(*interval, percent))
    });
    // The longer names leave as much less to the count, so that columns stay columns.
    let wide = 19 - name.len().clamp(11, 18);
    let row = format!(
        "  {name:11}{count:>wide$}  {rate:>6} %  {of_rate:20}  {failures:>9}  {of_failures:22}{bounds}"
    );
    row.trim_end().to_owned() + "\n"
}

/// An end of an interval, rounded away from the other.
fn end(value: f64, is_upper: bool, show: fn(f64) -> String) -> String {
    // Shares are shown in percent, with the sign behind the last number.
    let is_share = show(0.5) == percent(0.5);
    let shown = |value: f64| show(value) + if is_share { "%" } else { "" };
    end_text(value, is_upper, &shown).trim_end_matches('%').to_owned()
}

pub(super) fn between(interval: Interval, show: fn(f64) -> String) -> String {
    format!("{} to {}", end(interval.lower, false, show), end(interval.upper, true, show))
}

/// A share in percent: two digits behind the point, or two at all where that would be nothing.
pub(super) fn percent(share: f64) -> String {
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
pub(super) fn number(value: f64) -> String {
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

pub(super) fn micros(us: f64) -> String {
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
            By::Moment => "it is not known when the guest idles",
            By::Subsystem => "no report names a function whose part of the kernel is known",
        };
        text.truncate(text.len() - 1);
        return text + " " + what + "\n";
    }
    let keys = table.rows.iter().filter_map(|row| row.key.as_deref());
    let width = keys.map(|key| key.chars().count()).max().unwrap_or(0).max(28);
    let hits = |outcome| -> u64 { table.rows.iter().filter_map(|row| row.outcomes.get(&outcome)).sum() };
    let outcomes: Vec<Outcome> = Outcome::ALL
        .into_iter()
        .filter(|outcome| outcome.is_counted() && outcome.is_of(hits(*outcome) > 0))
        .collect();
    let names: String = outcomes.iter().map(|outcome| format!(" {:>8}", outcome.name())).collect();
    _ = writeln!(
        text,
        "  {:width$} {:>7}  failure  {:20} {:>8} {names}",
        by.name(),
        "trials",
        confidence.to_string(),
        "q"
    );
    let counts = |of: &std::collections::BTreeMap<Outcome, u64>| -> String {
        outcomes
            .iter()
            .map(|outcome| {
                format!(" {:>1$}", of.get(outcome).copied().unwrap_or(0), outcome.name().len().max(8))
            })
            .collect()
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

/// How long guests of a stratum lived, and how their runs ended.
pub fn survival(stratum: &StratumSummary, confidence: Confidence) -> String {
    let Some(curve) = &stratum.survival else { return String::new() };
    let mut text = format!(
        "survival of {}: {} of {} guests crashed by the run's end; watched for up to {}\n",
        stratum.name, curve.crashes, curve.guests, curve.last_seen
    );
    if curve.crashes_after_end > 0 {
        let s = if curve.crashes_after_end == 1 { "" } else { "es" };
        _ = writeln!(
            text,
            "  {} crash{s} came after the run's end, and not in the curve",
            curve.crashes_after_end
        );
    }
    if let Some(bound) = curve.crash_bound {
        _ = writeln!(
            text,
            "  below {} % crash by the run's end ({confidence}, one-sided)",
            end(bound, true, percent)
        );
    }
    let most = curve.steps.len().min(12);
    let shown = (1..=most).map(|number| &curve.steps[number * curve.steps.len() / most - 1]);
    if curve.crashes > 0 {
        _ = writeln!(text, "  {:>12}  {:>7}  {:>8}  {confidence}", "since flip", "at risk", "S(t)");
    }
    for step in shown {
        let interval = step.interval.map(|interval| between(interval, percent) + " %").unwrap_or_default();
        let (time, alive) = (step.time.to_string(), percent(step.survival));
        _ = writeln!(text, "  {time:>12}  {:>7}  {alive:>6} %  {interval}", step.at_risk);
    }
    if let Some(median) = curve.median {
        _ = writeln!(text, "  half of them live {}", with_ends(median.value, median.lower, median.upper));
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
    if curve.crashes > 0 {
        text += "  1 - S(t) is not the share that crashes: S(t) takes other ends of a run as if it went on. The shares:\n";
    }
    _ = writeln!(text, "  {:12}  {:>7}  {:>8}  {confidence}", "run's end", "guests", "share");
    for one in &curve.ends {
        let (name, share) = (one.end.name(), percent(one.share));
        _ = writeln!(
            text,
            "  {name:12}  {:>7}  {share:>6} %  {} %",
            one.guests,
            between(one.interval, percent)
        );
    }
    text
}

/// Intervals of the outcomes that hold all at once.
pub fn simultaneous(stratum: &StratumSummary, confidence: Confidence) -> String {
    if stratum.simultaneous.is_empty() {
        return String::new();
    }
    let mut text = format!("{}, all outcomes at once, {confidence} (exact, Bonferroni):\n", stratum.name);
    for Together { outcome, interval } in &stratum.simultaneous {
        _ = writeln!(text, "  {:11} {} %", outcome.name(), between(*interval, percent));
    }
    text
}

/// What hangs by other limits than the campaign's, where that is not the same, and which guests were late but right.
pub fn hang_limits(stratum: &StratumSummary) -> String {
    let limits = stratum.hang_limits.as_ref().filter(|limits| limits.matter());
    let Some(HangLimits { limits, late_but_right, latest }) = limits else { return String::new() };
    let counts = |[least, most]: [u64; 2]| {
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    };
    let rates = |bounds: &Bounds| {
        let (least, most) = (percent(bounds.lower), percent(bounds.upper));
        let rate = if least == most { least } else { format!("{least} to {most}") };
        (rate + " %", between(bounds.interval, percent) + " %")
    };
    let mut text = format!("{}, by hang limit:\n", stratum.name);
    _ = writeln!(text, "  {:26} {:>9} {:>16}  {:20} failures", "golden runs", "hang", "rate", "interval");
    for limit in limits {
        let factor = format!("{} ×", limit.factor);
        let own = if limit.is_campaigns { ", the campaign's" } else { "" };
        let ((hang, hang_ends), (failure, failure_ends)) = (rates(&limit.hang), rates(&limit.failure));
        let (name, hung) = (factor + own, counts(limit.hung));
        _ = writeln!(text, "  {name:26} {hung:>9} {hang:>16}  {hang_ends:20} {failure} ({failure_ends})");
    }
    if let Some(latest) = latest {
        let s = if *late_but_right == 1 { " was" } else { "s were" };
        _ = writeln!(
            text,
            "  {late_but_right} guest{s} late but right: done after the golden run's end, the last after {latest:.2} of its lengths"
        );
    }
    text
}

/// How many of the failures were noticed.
pub fn coverage(stratum: &StratumSummary, confidence: Confidence, method: Method) -> String {
    let Some(coverage) = stratum.coverage.as_ref().filter(|coverage| coverage.failures > 0) else {
        return String::new();
    };
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
    let mut text = format!(
        "{}, {failures} failure{}: {sdc} sdc; {detected} detected, and the guest went on; {} crash ({crash_silent} without a \
         word), {} hang ({hang_silent} without a word)\n",
        stratum.name,
        if *failures == 1 { "" } else { "s" },
        crash_reported + crash_silent,
        hang_reported + hang_silent,
    );
    if *ecc_detected > 0 {
        _ = writeln!(text, "  and {ecc_detected} detected by memory, which count as reports and as DUE");
    }
    let due = if *ecc_detected > 0 { "DUE: crash, hang, memory" } else { "DUE: crash and hang" };
    let rates = [
        ("coverage by the guest's reports", &coverage.by_reports, "failures"),
        ("by its reports or a watchdog", &coverage.by_watchdog, "failures"),
        (due, &coverage.due, "trials"),
    ];
    for (what, rate, of) in rates {
        let Some(rate) = rate.map(|rate| rate.estimate(method)) else { continue };
        let ends = match rate.value {
            0.0 => format!("below {}", end(rate.interval.upper, true, percent)),
            _ => between(rate.interval, percent),
        };
        _ = writeln!(text, "  {what:32} {:>6} % of the {of:8} {confidence}: {ends} %", percent(rate.value));
    }
    text
}

/// From the flip to its detection and to a crash.
pub fn times(stratum: &StratumSummary) -> String {
    let line = |what: &str, times: &Option<TimeSummary>| {
        let Some(times) = times else { return String::new() };
        format!("{}, from flip to {what}: {} of {}; {}\n", stratum.name, times.trials, times.of, times.line())
    };
    line("report", &stratum.detection) + &line("crash", &stratum.crash)
}

/// The state of a campaign, for people.
pub fn show(store: &Store, intervals: IntervalMethods) -> Result<()> {
    let options = SummaryOptions { short: true, ..intervals.options() };
    let summary = Summary::new(store, &options).map_err(store_error)?;
    let text = overview(&summary, store.running(), intervals.method());
    outln!("{}", visible(text.trim_end()));
    Ok(())
}
