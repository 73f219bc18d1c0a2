//! `campaign status`: how a campaign stands, with rates and intervals.
//!
//! Invariant: `infra` and flips that did not take are in no rate; both are shown beside them.

use anyhow::Result;

use crate::lab::campaigns::files::{open_to_read, store_error};
use crate::lab::campaigns::tables::{IntervalMethods, show};

/// Show how a campaign stands, while it runs or not.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign status first
  cargo xtask campaign status first --interval wilson
  cargo xtask campaign status first --json

`campaign stats` breaks the trials down, and has survival, FIT and missions.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// The counts as JSON; `stats --json` has the rates
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    intervals: IntervalMethods,
}

/// Runs `campaign status`.
pub fn run(args: &Args) -> Result<()> {
    let store = open_to_read(&args.name)?;
    if !args.json {
        return show(&store, args.intervals);
    }
    outln!("{}", serde_json::to_string_pretty(&store.status().map_err(store_error)?)?);
    Ok(())
}
