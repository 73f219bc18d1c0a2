//! `report compare`: two campaigns side by side.
//!
//! Invariant: what makes the comparison unfair is printed before any number.

use std::path::PathBuf;

use anyhow::Result;
use flipsim::report::compare::{Comparison, ComparisonRow, Side, StratumComparison, compare};
use flipsim::report::look::visible;
use flipsim::report::svg::{count, large, percent};
use flipsim::stats::{Confidence, Estimate};

use super::{Intervals, is_stdout, open, store_error, summary_of, write};

/// Compare two campaigns: absolute failure counts first, then rates, each with a test.
///
/// Strata of the same name are compared. Where both campaigns have the same plan, their trials are too.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask report compare first second
  cargo xtask report compare first second --json - | jq .unfair

The extrapolated count of failures is what two versions of a program are compared by: the rate of a longer or
larger one falls, although more faults make it fail (docs/statistics.md).")]
pub struct Args {
    /// A campaign's name, or its file
    #[arg(value_name = "A")]
    a: String,
    /// Another one's
    #[arg(value_name = "B")]
    b: String,
    /// Write the comparison as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    intervals: Intervals,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let summaries = [summary_of(&a, args.intervals)?, summary_of(&b, args.intervals)?];
    let [first, second] = &summaries;
    let found = compare(&Side { store: &a, summary: first }, &Side { store: &b, summary: second });
    let found = found.map_err(store_error)?;
    if args.json.as_deref().is_none_or(|path| !is_stdout(path)) {
        for line in lines(&found, first.confidence) {
            outln!("{line}");
        }
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&found)?;
        write(path, &mut |out| Ok(writeln!(out, "{text}")?))?;
    }
    Ok(())
}

fn lines(found: &Comparison, confidence: Confidence) -> Vec<String> {
    let [a, b] = [&found.names[0], &found.names[1]].map(|name| visible(name));
    let mut lines = vec![format!("{b} beside {a}")];
    lines
        .extend(found.unfair.iter().map(|why| format!("warning, not comparable as it is: {}", visible(why))));
    lines.extend(found.differs.iter().map(|what| format!("  differs: {}", visible(what))));
    for (name, alone) in [(&a, &found.alone[0]), (&b, &found.alone[1])] {
        if !alone.is_empty() {
            lines.push(format!("warning: only {name} has {}", visible(&alone.join(", "))));
        }
    }
    if let Some(trials) = &found.trials {
        lines.push(format!(
            "one plan: {} trials have a result in both, {} came out differently",
            count(trials.both),
            count(trials.different)
        ));
        let first: Vec<String> = trials.first.iter().map(|id| format!("--trial {id}")).collect();
        if !first.is_empty() {
            lines.push(format!("  cargo xtask campaign replay {a} {}", first.join(" ")));
        }
        lines.push(
            "  the tests below take the campaigns as drawn independently, which one plan is not".to_owned(),
        );
    }
    let mut tests = 0;
    for stratum in &found.strata {
        lines.extend(of_stratum(stratum, confidence));
        tests += stratum.rows.iter().filter(|row| row.p.is_some()).count();
    }
    if found.strata.is_empty() {
        lines.push("no stratum has the same name in both: there is nothing to compare".to_owned());
    }
    if tests > 0 {
        let text = format!(
            "p is Fisher's exact test of equal rates, two-sided. Of {tests} tests some fall below 5 % by chance; by \
             Bonferroni's rule one means something below {}",
            percent(0.05 / f64::from(u32::try_from(tests).unwrap_or(u32::MAX)))
        );
        lines.extend([String::new(), text]);
    }
    lines
}

fn of_stratum(stratum: &StratumComparison, confidence: Confidence) -> Vec<String> {
    let confidence = confidence.to_string().replace('%', " %");
    let mut lines = vec![
        String::new(),
        format!(
            "{}: {} and {} trials that count",
            visible(&stratum.name),
            count(stratum.counted[0]),
            count(stratum.counted[1])
        ),
        format!("  extrapolated number of (fault, moment) pairs, {confidence} intervals:"),
    ];
    lines.extend(stratum.rows.iter().map(absolute));
    lines.push(format!("  rates, {confidence} intervals:"));
    lines.extend(stratum.rows.iter().map(relative));
    lines
}

fn estimate(estimate: Option<Estimate>, text: &dyn Fn(f64) -> String) -> String {
    estimate.map_or("–".to_owned(), |estimate| {
        let interval = estimate.interval;
        format!("{} ({} to {})", text(estimate.value), text(interval.lower), text(interval.upper))
    })
}

fn absolute(row: &ComparisonRow) -> String {
    let ratio = row.ratio.map_or("–".to_owned(), |ratio| {
        let value = ratio.value.map_or("–".to_owned(), |value| format!("× {value:.2}"));
        let upper = ratio.upper.map_or("no bound".to_owned(), |upper| format!("{upper:.2}"));
        format!("{value} ({:.2} to {upper})", ratio.lower)
    });
    format!(
        "    {:9} {} → {}  {ratio}",
        row.outcome,
        estimate(row.failures[0], &large),
        estimate(row.failures[1], &large)
    )
}

fn relative(row: &ComparisonRow) -> String {
    let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, percent(value));
    let p = row
        .p
        .map_or("–".to_owned(), |p| if p < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") });
    let rate = |side: usize| row.rate[side].map_or("–".to_owned(), |rate| percent(rate.value));
    format!(
        "    {:9} {:>6} {:>8} → {:>6} {:>8}  {}  {p}",
        row.outcome,
        count(row.count[0]),
        rate(0),
        count(row.count[1]),
        rate(1),
        estimate(row.difference, &signed)
    )
}
