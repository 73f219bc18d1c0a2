//! `report trend`: a rate over several campaigns, night by night.
//!
//! Invariant: campaigns are in the order in which they are given.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{Store, Summary};
use flipsim::report::compare::Side;
use flipsim::report::trend::{ABOUT, Trend, cells, outcome_named, trend, trend_page};
use flipsim::text::{near_names, shown, visible};

use super::output::{one_to_stdout, open, tell, write};
use crate::host::proc::quote;
use crate::lab::campaigns::files::store_error;
use crate::paths;

/// Show how a rate went over several campaigns, one a night, say.
///
/// Each stratum has a table, and a chart on the page: the rate of each campaign with its interval, and its extrapolated count
/// over the first one's.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask report trend first second
  cargo xtask report trend first second --outcome sdc --html trend.html
  cargo xtask report trend first second --json - | jq '.strata[0].nights'

The page is .lab/reports/trend.html unless --html says otherwise; with --json alone none is written.")]
pub struct Args {
    /// The campaigns' names, or their files, in the order in which they are shown
    #[arg(value_name = "CAMPAIGN", required = true, num_args = 1..)]
    campaigns: Vec<String>,
    /// Of which outcome, or class of outcomes
    #[arg(long, value_name = "OUTCOME", default_value = "failure", value_parser = outcome)]
    outcome: &'static str,
    /// Write the page to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the numbers as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn outcome(name: &str) -> Result<&'static str, String> {
    let known =
        ["failure", "sdc", "detected", "crash", "hang", "latent", "masked", "ecc-detected", "ecc-corrected"];
    outcome_named(name).ok_or_else(|| {
        format!("`{}` is no outcome that has a rate{}", shown(name, 40), near_names(name, known))
    })
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let piped = one_to_stdout(&[("--html", &args.html), ("--json", &args.json)])?;
    let stores: Vec<Store> = args.campaigns.iter().map(|name| open(name)).collect::<Result<_>>()?;
    let options = SummaryOptions { short: true, ..SummaryOptions::default() };
    let summaries: Result<Vec<Summary>> =
        stores.iter().map(|store| Summary::new(store, &options).map_err(store_error)).collect();
    let summaries = summaries?;
    let sides: Vec<Side<'_>> =
        stores.iter().zip(&summaries).map(|(store, summary)| Side { store, summary }).collect();
    let found = trend(&sides, args.campaigns.iter().map(|name| label(name)).collect(), args.outcome);
    if !piped {
        for line in lines(&found) {
            outln!("{line}");
        }
    }
    let page_to = match &args.html {
        Some(path) => Some(path.clone()),
        None if args.json.is_some() => None,
        None => {
            let folder = paths::lab_dir()?.join("reports");
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            Some(folder.join("trend.html"))
        }
    };
    let mut written = Vec::new();
    if let Some(path) = page_to {
        let names: Vec<String> = args.campaigns.iter().map(quote).collect();
        let command = format!("cargo xtask report trend {}", names.join(" "));
        let text = trend_page(&found, &command, jiff::Timestamp::now());
        write(&path, &mut |out| Ok(out.write_all(text.as_bytes())?))?;
        written.push(("page", path));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&found).context("cannot write the trend as JSON")?;
        write(path, &mut |out| Ok(writeln!(out, "{text}")?))?;
        written.push(("json", path.clone()));
    }
    tell(&written, piped);
    Ok(())
}

/// A campaign's name, or the file's without folder and ending: a nightly campaign may have one name in all files.
fn label(name: &str) -> String {
    let path = Path::new(name);
    match name.strip_suffix(".sqlite") {
        Some(_) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        None => name.to_owned(),
    }
}

fn lines(found: &Trend) -> Vec<String> {
    let mut lines = vec![format!("{} over {} campaigns", found.outcome, found.nights.len())];
    lines.extend(found.warnings.iter().map(|text| format!("warning: {}", visible(text))));
    let nights: Vec<String> = found.nights.iter().map(|name| shown(name, 40)).collect();
    let width = nights.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for stratum in &found.strata {
        lines.push(String::new());
        lines.push(format!(
            "{}, exact 95 % intervals, × is of the first's extrapolated count:",
            visible(&stratum.name)
        ));
        lines.extend(nights.iter().zip(&stratum.nights).map(|(name, night)| {
            let [hits, rate, of_first] = cells(night.as_ref());
            format!("  {name:width$}  {hits:>16}  {rate:28}  {of_first}").trim_end().to_owned()
        }));
    }
    lines.push(String::new());
    lines.push(ABOUT.to_owned());
    lines
}
