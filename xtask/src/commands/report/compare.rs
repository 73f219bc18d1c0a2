//! `report compare`: two campaigns side by side.
//!
//! Invariant: what makes the comparison unfair is printed before any number.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flipsim::campaign::Summary;
use flipsim::campaign::summary::SummaryOptions;
use flipsim::report::compare::{Comparison, ComparisonRow, Side, StratumComparison, compare, estimate_text};
use flipsim::report::svg::{count, large, percent};
use flipsim::report::{BesideOptions, beside};
use flipsim::stats::Confidence;
use flipsim::text::visible;

use super::output::{default_page, one_to_stdout, open, tell, write};
use crate::host::proc::quote;
use crate::lab::campaigns::files::store_error;

/// Compare two campaigns: absolute failure counts first, then rates, each with a test.
///
/// Strata of the same name are compared. Where both campaigns have the same plan, their trials are too.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask report compare first second
  cargo xtask report compare first second --html both.html
  cargo xtask report compare first second --json - | jq .unfair

The page is .lab/reports/A+B.html unless --html says otherwise; with --json alone none is written.
The extrapolated count of failures is what two versions of a program are compared by: the rate of a longer or
larger one falls, although more faults make it fail (docs/statistics.md).")]
pub struct Args {
    /// A campaign's name, or its file
    #[arg(value_name = "A")]
    a: String,
    /// Another one's
    #[arg(value_name = "B")]
    b: String,
    /// Write the page to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the comparison as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The confidence of all intervals
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    confidence: Confidence,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let piped = one_to_stdout(&[("--html", &args.html), ("--json", &args.json)])?;
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let options = SummaryOptions { confidence: args.confidence, ..SummaryOptions::default() };
    let summary = |store| Summary::new(store, &options).map_err(store_error);
    let (first, second) = (summary(&a)?, summary(&b)?);
    let found = compare(&Side { store: &a, summary: &first }, &Side { store: &b, summary: &second });
    let found = found.map_err(store_error)?;
    if !piped {
        for line in lines(&found, args.confidence) {
            outln!("{line}");
        }
    }
    let page_to = match &args.html {
        Some(path) => Some(path.clone()),
        None if args.json.is_some() => None,
        None => Some(default_page(&[&a, &b])?),
    };
    let mut written = Vec::new();
    if let Some(path) = page_to {
        let campaigns = [quote(&args.a), quote(&args.b)];
        let text =
            beside(&found, [&first, &second], &BesideOptions { campaigns, made: jiff::Timestamp::now() });
        write(&path, &mut |out| Ok(out.write_all(text.as_bytes())?))?;
        written.push(("page", path));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&found).context("cannot write the comparison as JSON")?;
        write(path, &mut |out| Ok(writeln!(out, "{text}")?))?;
        written.push(("json", path.clone()));
    }
    tell(&written, piped);
    Ok(())
}

fn lines(found: &Comparison, confidence: Confidence) -> Vec<String> {
    let [a, b] = [&found.names[0], &found.names[1]].map(|name| visible(name));
    let mut lines = vec![format!("{b} beside {a}")];
    lines.extend(found.warnings().iter().map(|text| format!("warning: {}", visible(text))));
    lines.extend(found.differs.iter().map(|what| format!("  differs: {}", visible(what))));
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
    lines.extend(found.strata.iter().flat_map(|stratum| of_stratum(stratum, confidence)));
    if let Some(text) = found.about_tests() {
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

fn absolute(row: &ComparisonRow) -> String {
    let [a, b] = row.failures.map(|estimate| estimate_text(estimate, &large));
    format!("    {:9} {a} → {b}  {}", row.outcome, row.ratio_text())
}

fn relative(row: &ComparisonRow) -> String {
    let rate = |side: usize| row.rate[side].map_or("–".to_owned(), |rate| percent(rate.value));
    format!(
        "    {:9} {:>6} {:>8} → {:>6} {:>8}  {}  {}",
        row.outcome,
        count(row.count[0]),
        rate(0),
        count(row.count[1]),
        rate(1),
        row.difference_text(),
        row.p_text()
    )
}
