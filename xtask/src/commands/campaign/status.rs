//! `campaign status` and `merge`: how a campaign stands, with rates and intervals.
//!
//! Invariant: `infra` and flips that did not take are in no rate; both are shown beside them.

use std::path::PathBuf;

use anyhow::Result;
use flipsim::campaign::{Store, Summary};
use flipsim::report::look::visible;

use super::command::store_error;
use super::new::path_of;
use super::show::Intervals;
use crate::exit::{Code, ExitWith};
use crate::paths;

/// Show how a campaign stands, while it runs or not.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign status first
  cargo xtask campaign status first --interval exact
  cargo xtask campaign status first --json

`campaign stats` breaks the trials down, and has survival, FIT and missions.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// The counts as JSON; `stats --json` has the rates
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    intervals: Intervals,
}

/// Runs `campaign status`.
pub fn run(args: &Args) -> Result<()> {
    let store = Store::open_readonly(&path_of(&args.name)?).map_err(store_error)?;
    if !args.json {
        return show(&store, args.intervals);
    }
    outln!("{}", serde_json::to_string_pretty(&store.status()?)?);
    Ok(())
}

/// Join the parts of a campaign that several machines carried out.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign merge whole part1.sqlite part2.sqlite part3.sqlite

The parts are copies of one campaign. A part with another plan or template is refused, and so are two results
of one trial that differ.")]
pub struct MergeArgs {
    /// The campaign that all parts go into; made from the first part when it is not there
    name: String,
    /// Names or files of parts
    #[arg(required = true, value_name = "PART")]
    part: Vec<String>,
}

/// Runs `campaign merge`.
pub fn merge(args: &MergeArgs) -> Result<()> {
    let path = path_of(&args.name)?;
    let parts: Vec<PathBuf> = args.part.iter().map(|part| path_of(part)).collect::<Result<_>>()?;
    if !path.exists()
        && let Some(first) = parts.first()
    {
        Store::open_readonly(first).exit_with(Code::Usage)?.copy(&path).exit_with(Code::Usage)?;
    }
    let mut store = Store::open(&path).exit_with(Code::Usage)?;
    let merged = store.merge(&parts).exit_with(Code::Usage)?;
    outln!("{} results were added, {} were there already and are the same", merged.added, merged.same);
    show(&store, Intervals::DEFAULT)?;
    outln!("file: {}", paths::show(&path));
    Ok(())
}

/// The state of a campaign, for people.
pub fn show(store: &Store, intervals: Intervals) -> Result<()> {
    let summary = Summary::new(store, &intervals.options())?;
    let text = crate::commands::campaign::show::overview(&summary, store.running(), intervals.method());
    outln!("{}", visible(text.trim_end()));
    Ok(())
}

/// Print every result of a campaign as a JSON line.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign export first
  cargo xtask campaign export first | jq -r .record.title | sort | uniq -c

Each line has the trial's number, its stratum, and its record with the console (docs/trials.md). One that the
laboratory lost each time has no record: the line has `outcome` (infra), `attempts` and the last `error`.")]
pub struct ExportArgs {
    /// The campaign's name, or its file
    name: String,
}

/// Runs `campaign export`.
pub fn export(args: &ExportArgs) -> Result<()> {
    let store = Store::open_readonly(&path_of(&args.name)?).map_err(store_error)?;
    for row in store.results() {
        let row = row?;
        let trial = &row.trial;
        let stratum = usize::try_from(trial.stratum).ok().and_then(|at| store.strata().get(at));
        let record = store.record_of(trial.id)?;
        let mut line = serde_json::json!({
            "trial": trial.id, "stratum": stratum.map(|stratum| &stratum.name), "record": record,
        });
        if record.is_none() {
            line["outcome"] = serde_json::json!(row.outcome);
            line["attempts"] = row.attempts.into();
            line["error"] = row.error.clone().into();
        }
        outln!("{line}");
    }
    Ok(())
}
