//! `campaign export`: every result as a JSON line.
//!
//! Invariant: **one line a result**, also of a trial that the laboratory lost.

use anyhow::Result;

use crate::lab::campaigns::files::{open_to_read, store_error};

/// Print every result of a campaign as a JSON line.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign export first
  cargo xtask campaign export first | jq -r .record.title | sort | uniq -c

Each line has the trial's number, its stratum, and its record with the console (docs/trials.md). One that the
laboratory lost each time has no record: the line has `outcome` (infra), `attempts` and the last `error`.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
}

/// Runs `campaign export`.
pub fn run(args: &Args) -> Result<()> {
    let store = open_to_read(&args.name)?;
    for row in store.results() {
        let row = row.map_err(store_error)?;
        let trial = &row.trial;
        let stratum = usize::try_from(trial.stratum).ok().and_then(|at| store.strata().get(at));
        let record = store.record_of(trial.id).map_err(store_error)?;
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
