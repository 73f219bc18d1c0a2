//! `report runs`: several campaigns, each of a golden run of its own, as one estimate.
//!
//! Invariant: what makes them no runs of one campaign is printed before any number.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{Store, Summary};
use flipsim::report::compare::Side;
use flipsim::report::runs::{Runs, RunsRow, SKEWED, StratumRuns, runs};
use flipsim::report::svg::{count, percent};
use flipsim::stats::Confidence;
use flipsim::text::visible;

use super::output::{one_to_stdout, open, tell, write};
use crate::exit::{Code, ExitWith};
use crate::lab::campaigns::files::store_error;

/// Estimate from several golden runs: the mean of their rates, and how much runs differ.
///
/// The campaigns are those of `campaign new --templates`: of one specification, with a template, a golden run and a seed of
/// their own each. Strata of the same name are taken together; each run counts once.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask report runs several-1 several-2
  cargo xtask report runs several-1 several-2 --json - | jq '.strata[0].rows[0].together'

The interval of the mean is for runs like these (Korn and Graubard); the one that ignores runs takes all trials as of one,
and is too narrow where runs differ (docs/statistics.md).")]
pub struct Args {
    /// The campaigns' names, or their files
    #[arg(value_name = "CAMPAIGN", required = true, num_args = 2..)]
    campaigns: Vec<String>,
    /// Write the estimates as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The confidence of all intervals
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    confidence: Confidence,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let piped = one_to_stdout(&[("--json", &args.json)])?;
    let stores: Vec<Store> = args.campaigns.iter().map(|name| open(name)).collect::<Result<_>>()?;
    let options = SummaryOptions { confidence: args.confidence, short: true, ..SummaryOptions::default() };
    let summaries: Result<Vec<Summary>> =
        stores.iter().map(|store| Summary::new(store, &options).map_err(store_error)).collect();
    let summaries = summaries?;
    let sides: Vec<Side<'_>> =
        stores.iter().zip(&summaries).map(|(store, summary)| Side { store, summary }).collect();
    let found = runs(&sides).exit_with(Code::Usage)?;
    if !piped {
        for line in lines(&found) {
            outln!("{line}");
        }
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&found).context("cannot write the estimates as JSON")?;
        write(path, &mut |out| Ok(writeln!(out, "{text}")?))?;
        tell(&[("json", path.clone())], piped);
    }
    Ok(())
}

fn lines(found: &Runs) -> Vec<String> {
    let names: Vec<String> = found.names.iter().map(|name| visible(name)).collect();
    let mut lines = vec![format!("{} golden runs: {}", names.len(), names.join(", "))];
    lines.extend(found.warnings().iter().map(|text| format!("warning: {}", visible(text))));
    lines.extend(found.differs.iter().map(|what| format!("  differs: {}", visible(what))));
    lines.extend(found.strata.iter().flat_map(|stratum| of_stratum(stratum, found.confidence)));
    if !found.strata.is_empty() {
        lines.push(String::new());
        lines.push(
            "mean: of the rates of the runs, each run once; between: the standard deviation of runs without what trials of equal \
             runs would differ by;"
                .to_owned(),
        );
        lines.push(
            "× is the design effect, the variance of the mean over that of as many trials of one run; ignoring runs: all trials \
             as of one run"
                .to_owned(),
        );
        lines.push(format!("{SKEWED} (docs/statistics.md)"));
    }
    lines
}

fn of_stratum(stratum: &StratumRuns, confidence: Confidence) -> Vec<String> {
    let counted: Vec<String> = stratum.counted.iter().map(|trials| count(*trials)).collect();
    let level = confidence.to_string().replace('%', " %");
    let mut lines = vec![
        String::new(),
        format!("{}: {} trials that count, {level} intervals:", visible(&stratum.name), counted.join(" + ")),
        format!(
            "    {:9}  {:28}  {:>9}  {:>7}  {:28}  rate of each run",
            "outcome", "mean", "between", "×", "ignoring runs"
        ),
    ];
    lines.extend(stratum.rows.iter().map(row));
    lines
}

fn row(row: &RunsRow) -> String {
    let rates: Vec<String> =
        row.rate.iter().map(|rate| rate.map_or("–".to_owned(), |rate| percent(rate.value))).collect();
    let (between, effect) = row
        .together
        .map_or(("–".to_owned(), None), |found| (percent(found.between_sd), found.design_effect));
    let effect = effect.map_or("–".to_owned(), |effect| format!("{effect:.2}"));
    format!(
        "    {:9}  {:28}  {between:>9}  {effect:>7}  {:28}  {}",
        row.outcome,
        row.mean_text(),
        row.ignoring_text(),
        rates.join("  ")
    )
}
