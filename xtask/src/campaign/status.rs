//! `campaign status` and `merge`: how a campaign stands, with rates and intervals.
//!
//! Invariant: `infra` and flips that did not take are in no rate; both are shown beside them.

use std::path::PathBuf;

use anyhow::Result;
use flipsim::campaign::Store;
use flipsim::campaign::store::{Counts, Status};
use flipsim::record::Timing;
use flipsim::stats::proportion::clopper_pearson;
use flipsim::stats::{Confidence, Observed};
use flipsim::trial::Outcome;

use super::new::path_of;
use crate::exit::{Code, ExitWith};
use crate::paths;

/// Show how a campaign stands, while it runs or not.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  cargo xtask campaign status first\n  cargo xtask campaign status first --json"
)]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs `campaign status`.
pub fn run(args: &Args) -> Result<()> {
    let status = Store::open_readonly(&path_of(&args.name)?).exit_with(Code::Usage)?.status()?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        show(&status);
    }
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
    show(&store.status()?);
    outln!("file: {}", paths::show(&path));
    Ok(())
}

/// The state of a campaign, for people.
pub fn show(status: &Status) {
    let other = status.running.filter(|pid| *pid != std::process::id());
    let running = other.map(|pid| format!(", process {pid} works on it")).unwrap_or_default();
    outln!("campaign {}: {} of {} trials{running}", status.name, status.done, status.trials);
    if let Some(why) = &status.output_only {
        outln!("only outputs are compared, a right one is `masked`: {why}");
    }
    if status.timing == Timing::Approximate {
        outln!("times are approximate: the same trial may come out differently");
    }
    table("all", &status.counts, None);
    for stratum in status.strata.iter().filter(|_| status.strata.len() > 1) {
        table(&stratum.name, &stratum.counts, Some(stratum.faults));
    }
    if let [stratum] = status.strata.as_slice() {
        outln!("fault space: {} faults ({})", stratum.faults, stratum.targets);
    }
    if status.lost > 0 {
        let given_up = match status.counts.of(Outcome::Infra) {
            0 => String::new(),
            count => format!(", but for {count} trials that were lost each time"),
        };
        outln!("the laboratory lost {} attempts; they were begun anew{given_up}", status.lost);
    }
}

fn table(name: &str, counts: &Counts, faults: Option<u64>) {
    let trials = counts.counted();
    let space = faults.map(|faults| format!(" of {faults} faults")).unwrap_or_default();
    outln!("{name}: {trials} trials{space}");
    for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Infra) {
        let hits = counts.of(outcome);
        let Ok(observed) = Observed::new(hits, trials) else { continue };
        let interval = clopper_pearson(observed, Confidence::P95);
        outln!(
            "  {:9} {hits:>8}  {:>7.2} %  95 %: {:.2} to {:.2} %",
            outcome.name(),
            observed.rate() * 100.0,
            interval.lower * 100.0,
            interval.upper * 100.0
        );
    }
    for (what, count) in [("infra", counts.of(Outcome::Infra)), ("not flipped", counts.not_flipped)] {
        if count > 0 {
            outln!("  {what:9} {count:>8}  (in no rate)");
        }
    }
}

/// Print every result of a campaign as a JSON line.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign export first
  cargo xtask campaign export first | jq -r 'select(.record.outcome == \"crash\") | .record.title' | sort | uniq -c

Each line has the trial's number, its stratum, and its record with the console (docs/trials.md). One that the
laboratory lost each time has no record: the line has `outcome` (infra), `attempts` and the last `error`.")]
pub struct ExportArgs {
    /// The campaign's name, or its file
    name: String,
}

/// Runs `campaign export`.
pub fn export(args: &ExportArgs) -> Result<()> {
    let store = Store::open_readonly(&path_of(&args.name)?).exit_with(Code::Usage)?;
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
