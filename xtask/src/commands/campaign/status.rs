//! `campaign status`: how a campaign stands, with rates and intervals.
//!
//! Invariant: `infra` and flips that did not take are in no rate; both are shown beside them.

use std::collections::BTreeMap;
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

/// A folder of parts, a line an element.
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

/// What an element did.
#[derive(Default)]
struct Element {
    host: String,
    slices: u64,
    trials: u64,
    now: Vec<String>,
}

fn table(seen: &[Seen]) -> String {
    let mut elements: BTreeMap<&str, Element> = BTreeMap::new();
    let (mut done, mut finished) = (0, 0);
    for slice in seen {
        let look = &slice.look;
        let own = elements.entry(&look.element).or_default();
        if own.host.is_empty() || look.state == State::Running {
            own.host.clone_from(&look.host);
        }
        own.trials += look.done;
        done += look.done;
        let (ago, free) = (format_duration(slice.ago), "the next that is free goes on with it");
        let of = format!("slice {}: {} of {}", look.shard, look.done, look.trials);
        match look.state {
            State::Done => (own.slices, finished) = (own.slices + 1, finished + 1),
            State::Left => own.now.push(format!("{of}, left; {free}")),
            State::Running if slice.is_stale() => {
                own.now.push(format!("{of}, not heard of for {ago}; {free}"));
            }
            State::Running => own.now.push(format!("{of}, heard of {ago} ago")),
        }
    }
    let mut text = format!("{:<20} {:<16} {:>7} {:>9}  now\n", "element", "machine", "slices", "trials");
    for (element, Element { host, slices, trials, now }) in &elements {
        let now = if now.is_empty() { "-".to_owned() } else { now.join("; ") };
        let (element, host) = (shown(element, 20), shown(host, 16));
        text += &format!("{element:<20} {host:<16} {slices:>7} {trials:>9}  {now}\n");
    }
    let slices = seen.iter().map(|slice| slice.look.shard.count()).max().unwrap_or(0);
    text + &format!(
        "{done} trials are home; {finished} of {slices} slices are done, {} are begun",
        seen.len() - finished
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flipsim::campaign::Shard;
    use flipsim::pack::{Look, STALE};

    use super::*;

    #[test]
    fn a_folder_of_parts_is_a_line_an_element() {
        let slice = |index, element: &str, state, done, ago| Seen {
            look: Look {
                shard: Shard::of(index, 64).unwrap(),
                seal: String::new(),
                element: element.to_owned(),
                token: String::new(),
                host: format!("n{}", index % 2),
                state,
                done,
                trials: 313,
            },
            ago,
        };
        let second = Duration::from_secs(1);
        let seen = [
            slice(0, "slurm 90_1", State::Done, 313, second),
            slice(1, "slurm 90_1", State::Running, 88, 12 * second),
            slice(8, "slurm 90_2", State::Left, 120, second),
            slice(9, "slurm 90_3", State::Running, 1, STALE + second),
        ];
        insta::assert_snapshot!(table(&seen), @r"
        element              machine           slices    trials  now
        slurm 90_1           n1                     1       401  slice 2/64: 88 of 313, heard of 12.00 s ago
        slurm 90_2           n0                     0       120  slice 9/64: 120 of 313, left; the next that is free goes on with it
        slurm 90_3           n1                     0         1  slice 10/64: 1 of 313, not heard of for 5 min 01 s; the next that is free goes on with it
        522 trials are home; 1 of 64 slices are done, 3 are begun
        ");
    }
}
