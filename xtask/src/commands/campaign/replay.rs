//! `campaign replay`: trials that ran before, once more.
//!
//! Invariant: it fails where anything but the host's part of a record comes out differently.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, bail};
use flipsim::campaign::TrialId;
use flipsim::fault::GuestNames;
use flipsim::files::Stream;
use flipsim::text::shown;
use flipsim::trial::golden::Looks;
use flipsim::trial::{RestoreMethod, TrialRecord, Worker};
use flipsim::units::VirtualNs;

use super::trial::{How, TrialLine, Watch, names, restore_methods, run_trial, show};
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::consent::{self, Trust};
use crate::guest::golden::{Prepared, TrialGuest, note_missing, prepare};
use crate::guest::prepared::prepared_of;
use crate::guest::template::clones_dir;
use crate::host::proc::quote;
use crate::interrupt;
use crate::lab::campaigns::files::{open_to_read, store_error};

/// Run trials again, of a campaign or as `trial --json` wrote them, and compare.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign replay first --trial 17
  cargo xtask campaign replay first --trial 17 --trial 40 --diff
  cargo xtask campaign replay trial.json
  cargo xtask campaign replay - --diff

Exits with 0 when everything is as it was, and with 1 when anything differs.")]
pub struct Args {
    /// With --trial a campaign, by name or file; else JSON lines of `campaign trial --json`, - is standard input
    #[arg(value_name = "CAMPAIGN|FILE")]
    from: String,
    /// The number of a trial of the campaign
    #[arg(long, value_name = "N")]
    trial: Vec<u64>,
    /// Show how the fault has spread, at each checkpoint and while the guest is late
    #[arg(long)]
    diff: bool,
    /// How the guest is restored [default: as in the campaign, and rewind for a file]
    #[arg(long, value_parser = restore_methods())]
    restore: Option<RestoreMethod>,
    #[command(flatten)]
    trust: Trust,
}

/// How many came out, and how many of them as before.
#[derive(Default)]
struct Count {
    all: u64,
    different: u64,
}

/// Runs `campaign replay`.
pub fn run(args: &Args) -> Result<()> {
    let count = if args.trial.is_empty() { of_lines(args)? } else { of_campaign(args)? };
    if count.different > 0 {
        bail!("{} of {} trials came out differently", count.different, count.all);
    }
    Ok(())
}

/// Trials of a campaign, with its own golden run.
fn of_campaign(args: &Args) -> Result<Count> {
    let store = open_to_read(&args.from)?;
    let mut records = Vec::with_capacity(args.trial.len());
    for id in args.trial.iter().copied().map(TrialId) {
        store.planned(id).exit_with(Code::Usage)?;
        let Some(record) = store.record_of(id).map_err(store_error)? else {
            let text = format!(
                "trial {id} has no record to compare with: it is pending, or the laboratory lost it too often; \
                 `cargo xtask campaign status {}` tells",
                quote(&args.from)
            );
            bail!(exit_error(Code::Usage, text));
        };
        records.push((id, record));
    }
    let prepared = prepared_of(&store, args.trust)?;
    let mut options = store.spec().trial.options(interrupt::raised);
    if let Some(restore) = args.restore {
        options.restore = restore;
    }
    note_missing(&prepared.template, options.restore);
    let parent = clones_dir()?;
    let mut worker = Worker::new(&prepared.template, &prepared.golden, &parent, options);
    let names = names(&mut worker)?;
    let mut count = Count::default();
    for (id, record) in &records {
        interrupt::check()?;
        outln!("trial {id} of {}:", shown(&store.spec().name, 100));
        again(&mut worker, record, &names, args.diff, &mut count)?;
    }
    Ok(count)
}

/// Trials that say themselves of which guest they are.
fn of_lines(args: &Args) -> Result<Count> {
    let input: Box<dyn BufRead> = if args.from == "-" {
        let input = Stream::stdin(interrupt::check_read).context("standard input cannot be read");
        Box::new(BufReader::new(input.exit_with(Code::Usage)?))
    } else {
        let file = Stream::open(args.from.as_ref(), interrupt::check_read).map_err(|cause| {
            exit_error(
                Code::Usage,
                format!("cannot read a file {0}: {cause}; if {0} is a campaign, add --trial N", args.from),
            )
        });
        Box::new(BufReader::new(file?))
    };
    let mut count = Count::default();
    for (number, line) in input.lines().enumerate() {
        interrupt::check()?;
        let line = line.context("cannot read the trials").exit_with(Code::Usage)?;
        if line.trim().is_empty() {
            continue;
        }
        let what = format!("line {} of {}", number + 1, args.from);
        let TrialLine { guest, hang_factor, early_stop, spacing, looks, trial } = serde_json::from_str(&line)
            .with_context(|| format!("{what} is no trial of `campaign trial --json`"))
            .exit_with(Code::Usage)?;
        consent::of_trial(&what, &guest, &trial.template, args.trust)?;
        let Prepared { template, golden } = prepared_as(&guest, spacing, looks)?;
        if trial.template != golden.template {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "{what} is of another guest: its template was {}, here it is {}; QEMU, kernel, image or \
                     command line have changed",
                    trial.template, golden.template
                )
            ));
        }
        trial.plan.check(&golden).map_err(|why| exit_error(Code::Usage, format!("{what}: {why}")))?;
        let restore = args.restore.unwrap_or(RestoreMethod::Rewind);
        let how = How { restore, hang_factor, no_early_stop: !early_stop };
        let options = how.options()?;
        note_missing(&template, options.restore);
        let parent = clones_dir()?;
        let mut worker = Worker::new(&template, &golden, &parent, options);
        let names = names(&mut worker)?;
        again(&mut worker, &trial, &names, args.diff, &mut count)?;
    }
    if count.all == 0 {
        bail!(exit_error(Code::Usage, format!("{} has no trial in it", args.from)));
    }
    Ok(count)
}

/// The guest with a golden run of which a trial looks at the same checkpoints as one that ran before.
fn prepared_as(guest: &TrialGuest, spacing: VirtualNs, looks: Option<Looks>) -> Result<Prepared> {
    let mut prepared = prepare(guest, Some(spacing).filter(|_| looks.is_none()))?;
    // Another version of the lab may have another grid.
    if prepared.golden.spacing != spacing {
        prepared = prepare(guest, Some(spacing))?;
    }
    prepared.golden.looks = looks;
    Ok(prepared)
}

/// One trial, compared with what it was.
fn again(
    worker: &mut Worker<'_>,
    before: &TrialRecord,
    names: &GuestNames,
    diff: bool,
    count: &mut Count,
) -> Result<()> {
    let watch = Watch { verbose: true, diff, gdb: false, plan: &before.plan };
    let Some(now) = run_trial(worker, &before.plan, names, &watch)? else { return Ok(()) };
    show(&now, worker.golden().begin());
    count.all += 1;
    if now.is_same(before) {
        outln!("the same as before");
    } else {
        count.different += 1;
        outln!("NOT the same as before: {}", now.differing_keys(before).join(", "));
    }
    Ok(())
}
