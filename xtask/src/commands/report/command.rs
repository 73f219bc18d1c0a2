//! `cargo xtask report`: what a campaign says, at the terminal, as a page, as CSV and JSON.
//!
//! Invariant: this command reads. It changes no campaign, and a file that it writes is there whole or not
//! at all.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{Store, Summary};
use flipsim::report::{PageOptions, export, page};
use flipsim::text::visible;

use super::output::{default_page, one_to_stdout, open, tell, write};
use super::{compare, gate, runs, trend};
use crate::exit::{Code, exit_error};
use crate::host::proc::quote;
use crate::lab::campaigns::files::store_error;
use crate::lab::campaigns::mission;
use crate::lab::campaigns::tables::{self, IntervalMethods};

/// Report what a campaign says: a table here, and a page that opens anywhere.
///
/// The page is one file, readable offline and without script, with everything that it takes to repeat the
/// campaign.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  cargo xtask report first
  cargo xtask report first --html report.html --confidence 99%
  cargo xtask report first --public --html first.html
  cargo xtask report first --mission mission.toml
  cargo xtask report first --csv first.csv --json first.json
  cargo xtask report first --csv - | head
  cargo xtask report compare first second

The page is .lab/reports/NAME.html unless --html says otherwise; with --csv or --json alone none is written.
docs/report.md explains every column, with examples for pandas and R."
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    /// The campaign's name, or its file
    #[arg(required = true)]
    campaign: Option<String>,
    #[command(flatten)]
    out: Out,
}

/// What is written, and where to.
#[derive(clap::Args, Debug)]
struct Out {
    /// Write the page to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A page for readers elsewhere: files by their names, without their folders
    #[arg(long)]
    public: bool,
    /// The field that it is to be in: a file with raw rates and their sources (docs/field.md)
    #[arg(long, value_name = "FILE")]
    mission: Option<PathBuf>,
    /// Write the trials as CSV; - is standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write summary and trials as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    intervals: IntervalMethods,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    Compare(compare::Args),
    Gate(gate::Args),
    Runs(runs::Args),
    Trend(trend::Args),
}

fn summary_of(store: &Store, intervals: IntervalMethods, short: bool) -> Result<Summary> {
    Summary::new(store, &SummaryOptions { short, ..intervals.options() }).map_err(store_error)
}

/// The report at the terminal. What a guest or a file says moves no cursor.
fn at_the_terminal(name: &str, summary: &Summary, store: &Store, intervals: IntervalMethods) {
    let mut text = tables::overview(summary, store.running(), intervals.method());
    for stratum in &summary.strata {
        text += &tables::times(stratum);
    }
    if summary.totals.done == 0 {
        text += &format!("no trial has a result yet; `cargo xtask campaign run {}` runs them\n", quote(name));
    }
    outln!("{}", visible(text.trim_end()));
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.sub {
        Some(Sub::Compare(args)) => return compare::run(args),
        Some(Sub::Gate(args)) => return gate::run(args),
        Some(Sub::Trend(args)) => return trend::run(args).map(|()| ExitCode::SUCCESS),
        Some(Sub::Runs(args)) => return runs::run(args).map(|()| ExitCode::SUCCESS),
        None => {}
    }
    let Some(name) = &args.campaign else {
        bail!(exit_error(Code::Usage, "say which campaign: cargo xtask report NAME"));
    };
    let Out { html, public, mission, csv, json, intervals } = &args.out;
    let piped = one_to_stdout(&[("--html", html), ("--csv", csv), ("--json", json)])?;
    let mission = mission.as_deref().map(mission::read).transpose()?;
    let store = open(name)?;
    let page_to = match html {
        Some(path) => Some(path.clone()),
        None if csv.is_some() || json.is_some() => None,
        None => Some(default_page(&[&store])?),
    };
    // What is only passed on row by row takes no room, however long the campaign is.
    let summary = match !piped || page_to.is_some() || json.is_some() {
        true => Some(summary_of(&store, *intervals, page_to.is_none() && json.is_none())?),
        false => None,
    };
    if let Some(summary) = summary.as_ref().filter(|_| !piped) {
        at_the_terminal(name, summary, &store, *intervals);
        if let Some(mission) = &mission {
            for line in mission::lines(mission, &summary.outlook(&mission.field(), intervals.method())) {
                outln!("{line}");
            }
        }
    }
    let mut written = Vec::new();
    if let (Some(path), Some(summary)) = (page_to, &summary) {
        let made = jiff::Timestamp::now();
        let options = PageOptions { campaign: quote(name), made, public: *public, mission: mission.clone() };
        let text = page(&store, summary, &options).map_err(store_error)?;
        write(&path, &mut |out| Ok(out.write_all(text.as_bytes())?))?;
        written.push(("page", path));
    }
    if let Some(path) = csv {
        write(path, &mut |out| export::csv(&store, out))?;
        written.push(("csv", path.clone()));
    }
    if let (Some(path), Some(summary)) = (json, &summary) {
        let mission = mission.as_ref().map(|mission| {
            let outlook = summary.outlook(&mission.field(), intervals.method());
            serde_json::json!({ "mission": mission, "expected": outlook })
        });
        write(path, &mut |out| export::json(&store, summary, mission.as_ref(), out))?;
        written.push(("json", path.clone()));
    }
    tell(&written, piped);
    Ok(ExitCode::SUCCESS)
}
