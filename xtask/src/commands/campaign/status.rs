//! `campaign status`: how a campaign stands, with rates and intervals.
//!
//! Invariant: `infra` and flips that did not take are in no rate; both are shown beside them.

use std::path::Path;

use anyhow::Result;
use flipsim::pack::{Seen, State, seen};
use flipsim::text::shown;
use flipsim::units::format_duration;

use crate::exit::{Code, ExitWith};
use crate::lab::campaigns::files::{open_to_read, store_error};
use crate::lab::campaigns::tables::{IntervalMethods, show};

/// Show how a campaign stands, while it runs or not.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign status first
  cargo xtask campaign status first --interval wilson
  cargo xtask campaign status first --json
  cargo xtask campaign status parts

`campaign stats` breaks the trials down, and has survival, FIT and missions.")]
pub struct Args {
    /// The campaign's name, or its file; or a folder that `flipsim-run` brings parts home to
    name: String,
    /// The counts as JSON; `stats --json` has the rates
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    intervals: IntervalMethods,
}

/// Runs `campaign status`.
pub fn run(args: &Args) -> Result<()> {
    if Path::new(&args.name).is_dir() {
        return folder(Path::new(&args.name), args.json);
    }
    let store = open_to_read(&args.name)?;
    if !args.json {
        return show(&store, args.intervals);
    }
    outln!("{}", serde_json::to_string_pretty(&store.status().map_err(store_error)?)?);
    Ok(())
}

/// A folder of parts, a line a slice.
fn folder(folder: &Path, json: bool) -> Result<()> {
    let seen = seen(folder).exit_with(Code::Usage)?;
    if json {
        let looks: Vec<_> = seen.iter().map(|seen| &seen.look).collect();
        outln!("{}", serde_json::to_string_pretty(&looks)?);
        return Ok(());
    }
    outln!("{}", table(&seen));
    Ok(())
}

fn table(seen: &[Seen]) -> String {
    let mut text = format!("{:<12} {:<20} {:<16} {:>17}  state\n", "slice", "element", "machine", "trials");
    let (mut done, mut of) = (0, 0);
    for slice in seen {
        let look = &slice.look;
        let state = match look.state {
            State::Done => "done".to_owned(),
            State::Left => "left; the next that is free goes on with it".to_owned(),
            State::Running if slice.is_stale() => {
                format!(
                    "not heard of for {}; the next that is free goes on with it",
                    format_duration(slice.ago)
                )
            }
            State::Running => format!("running, heard of {} ago", format_duration(slice.ago)),
        };
        let trials =
            if look.trials > 0 { format!("{} of {}", look.done, look.trials) } else { "begun".to_owned() };
        let (element, host) = (shown(&look.element, 20), shown(&look.host, 16));
        text += &format!("{:<12} {element:<20} {host:<16} {trials:>17}  {state}\n", look.shard.to_string());
        (done, of) = (done + look.done, of + look.trials);
    }
    let slices = seen.iter().map(|slice| slice.look.shard.count()).max().unwrap_or(0);
    text + &format!("{done} of {of} trials of {} slices are home; there are {slices} slices", seen.len())
}
