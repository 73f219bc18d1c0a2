//! `campaign run`, also called `resume`: runs what is pending.
//!
//! Invariant: what was finished is in the store; Ctrl-C once lets the trials under way end, twice ends
//! them, and nothing that was finished is lost either way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use flipsim::campaign::run::{CampaignError, Progress, RunOptions, run as run_trials};
use flipsim::campaign::store::Recorded;
use flipsim::campaign::summary::{Class, SummaryOptions};
use flipsim::campaign::{Shard, Shortcuts, Store, Summary, TimeLimit};
use flipsim::files::shared_file_system;
use flipsim::stats::proportion::wilson;
use flipsim::stats::{Confidence, Observed};
use flipsim::text::shown;
use flipsim::trial::{Outcome, Settling};
use flipsim::units::{format_duration, parse_duration};

use super::space;
use crate::exit::{Code, exit_error};
use crate::guest::accesses::accesses_of;
use crate::guest::consent::Trust;
use crate::guest::golden::{names_of, note_missing};
use crate::guest::prepared::prepared_of;
use crate::guest::template::clones_dir;
use crate::guest::workers::default_workers;
use crate::host::proc::quote;
use crate::interrupt;
use crate::lab::campaigns::files::{path_of, store_error};
use crate::lab::campaigns::tables::{self, IntervalMethods};
use crate::paths;
use crate::progress::LiveLine;

/// Run the trials of a campaign that have no result yet.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign run second
  cargo xtask campaign resume second
  cargo xtask campaign run second --workers 1
  cargo xtask campaign run second --shard 1/4
  cargo xtask campaign run second --settle off
  cargo xtask campaign run second --max-time 10m

Every trial is stored before its worker takes the next one, so that a run can be interrupted, killed and resumed at
any time. With --max-time it begins no group of trials that would not be finished by then, so that what was run is a
fair sample, and ends with exit code 0 (docs/campaigns.md). A shard is a fixed part of the plan, for another machine with a copy of the file; `merge` joins them.

A fault in a byte that the golden run never reads again, or overwrites first, is settled without a run; others begin
right before that byte is read. A part of these is run whole as well, and compared: one difference ends the campaign.
`--settle off` runs every trial whole. docs/settling.md has the reasons.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// How many guests run side by side [default: one a core, if memory suffices]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    workers: Option<u64>,
    /// Only this part of the plan
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Whether trials are settled, begun late and ended early by what the golden run is known to do with each byte
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    settle: Settle,
    /// End in order after so long, as in 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_time: Option<Duration>,
    /// Without the table at the end
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    trust: Trust,
}

/// Whether what is known is used.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Settle {
    On,
    Off,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let from = Instant::now();
    let path = path_of(&args.name)?;
    let mut store = Store::open(&path).map_err(store_error)?;
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    // Every result is read for this: nothing is started for a campaign that is damaged.
    let pending = store.pending(shard).map_err(store_error)?.len();
    let spec = store.spec().clone();
    let prepared = prepared_of(&store, args.trust)?;
    space::lacking(&spec, &prepared)?;
    let parent = clones_dir()?;
    let names = names_of(&prepared.template)?;
    if pending == 0 {
        outln!("nothing is left to do; look at it with `cargo xtask campaign status {}`", quote(&args.name));
        return Ok(());
    }
    note_missing(&prepared.template, spec.trial.restore);
    let workers = args
        .workers
        .and_then(|workers| usize::try_from(workers).ok())
        .unwrap_or_else(|| default_workers(prepared.template.info().plan.spec.memory));
    let trial = spec.trial.options(|| false);
    let accesses = match args.settle {
        Settle::On => accesses_of(&prepared)?,
        Settle::Off => None,
    };
    let settling = accesses.as_ref().map(|known| {
        Settling::new(&prepared.template, &prepared.golden, &known.accesses, &trial, Some(&names))
    });
    let settling = settling.transpose().context("cannot read the template's RAM")?.flatten();
    let shortcuts =
        settling.map(|settling| Shortcuts::new(&store, settling)).transpose().map_err(store_error)?;
    let options = RunOptions {
        names: Some(&names),
        workers,
        shard,
        // A first Ctrl-C lets the trials under way end.
        trial: trial.clone(),
        stop: interrupt::raised,
        limit: args.max_time.map(|longest| TimeLimit { from, longest }),
    };
    eprintln!("{pending} trials, {} workers; Ctrl-C ends after the trials under way", workers.min(pending));
    if let Some(shared) = shared_file_system(store.path()) {
        eprintln!(
            "note: {} lies on {}, which machines share: each record is written at once; let one machine at a time work on it",
            paths::show(store.path()),
            shown(&shared, 40)
        );
    }
    let mut line = Line::new(pending);
    let summary = run_trials(
        &mut store,
        &prepared.template,
        &prepared.golden,
        shortcuts.as_ref(),
        &parent,
        &options,
        &mut |progress| line.tell(&progress),
    );
    line.shown.end();
    let summary = summary.map_err(|error| match error {
        CampaignError::Store(error) => store_error(error),
        CampaignError::NoGuest(_) => anyhow::Error::from(error),
        other => exit_error(Code::GuestLost, other.to_string()),
    })?;
    outln!("{} trials in {}, {} left", summary.done, format_duration(line.began.elapsed()), summary.left);
    if line.given_up > 0 {
        outln!("{} were lost each time they were begun: they are `infra`, and in no rate", line.given_up);
    }
    if summary.stopped {
        return Err(interrupt::Interrupted.into());
    }
    if summary.out_of_time {
        outln!("{}", over(&store, &args.name)?);
    } else if summary.left > 0 {
        bail!("{} trials could not be run", summary.left);
    }
    if args.quiet {
        return Ok(());
    }
    tables::show(&store, IntervalMethods::DEFAULT)
}

/// What is said of a run whose time was over.
fn over(store: &Store, name: &str) -> Result<String> {
    let options = SummaryOptions { short: true, ..SummaryOptions::default() };
    let totals = Summary::new(store, &options).map_err(store_error)?.totals;
    let sample = match totals.done - totals.waiting {
        0 => "no batch is finished yet, so that there are no rates".to_owned(),
        whole => format!("{whole} of them are whole batches, which rates are of"),
    };
    Ok(format!(
        "the time is over: {} of {} trials have a result; {sample}; `cargo xtask campaign run {}` goes on",
        totals.done,
        totals.planned,
        quote(name)
    ))
}

/// The live line.
struct Line {
    began: Instant,
    pending: usize,
    done: u64,
    given_up: u64,
    counts: BTreeMap<&'static str, u64>,
    shown: LiveLine,
}

impl Line {
    fn new(pending: usize) -> Line {
        let (began, shown) = (Instant::now(), LiveLine::new());
        Line { began, pending, done: 0, given_up: 0, counts: BTreeMap::new(), shown }
    }

    fn tell(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Done(_, record) => {
                self.done += 1;
                *self.counts.entry(record.outcome.map_or("not flipped", Outcome::name)).or_default() += 1;
            }
            Progress::Lost(id, why, recorded) => {
                let next = match recorded {
                    Recorded::GivenUp => "given up",
                    _ => "run again",
                };
                self.given_up += u64::from(*recorded == Recorded::GivenUp);
                self.shown.above(&format!("note: trial {id} was lost and is {next}: {why}"));
            }
            Progress::TakenBack(count, why) => {
                self.done = self.done.saturating_sub(*count as u64);
                let text = format!("warning: {why}; {count} trials since the last check are run again");
                self.shown.above(&text);
            }
            Progress::GivenUp(worker, why) => {
                let text = format!(
                    "warning: the guest of worker {} did not start three times in a row, and it is given up: {why}",
                    worker + 1
                );
                self.shown.above(&text);
            }
            Progress::Unchecked(0, _) | Progress::Tick => {}
            Progress::Unchecked(count, why) => {
                let text = format!("warning: the last {count} trials of a worker were not checked: {why}");
                self.shown.above(&text);
            }
        }
        self.shown.show(|| self.text());
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn text(&self) -> String {
        let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let left = (self.pending as u64).saturating_sub(self.done) as f64 / rate.max(1e-3);
        let counts: Vec<String> = self.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!(
            "{}/{}  {rate:.1}/s  {} left  {}{}",
            self.done,
            self.pending,
            format_duration(Duration::from_secs_f64(left.min(1e8))),
            self.failures(),
            counts.join("  ")
        )
    }

    /// The rate of failures in what was just run, with its interval.
    fn failures(&self) -> String {
        let count = |outcome: &Outcome| self.counts.get(outcome.name()).copied().unwrap_or(0);
        let failed: u64 =
            Outcome::ALL.iter().filter(|outcome| Class::Failure.has(**outcome)).map(count).sum();
        let all: u64 = Outcome::ALL.iter().filter(|outcome| outcome.is_counted()).map(count).sum();
        let Ok(observed) = Observed::new(failed, all) else { return String::new() };
        let interval = wilson(observed, Confidence::P95);
        let percent = |share: f64| share * 100.0;
        format!(
            "failures {:.1} % ({:.1} to {:.1})  ",
            percent(observed.rate()),
            percent(interval.lower),
            percent(interval.upper)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_has_the_rate_of_failures_with_its_interval() {
        let mut line = Line::new(200);
        assert!(!line.text().contains("failures"), "{}", line.text());
        line.done = 104;
        for (name, count) in [("masked", 50), ("latent", 46), ("sdc", 3), ("crash", 1), ("not flipped", 4)] {
            line.counts.insert(name, count);
        }
        let text = line.text();
        assert!(text.starts_with("104/200  "), "{text}");
        // 4 of 100: what did not take is in no rate.
        assert!(text.contains("failures 4.0 % (1.6 to 9.8)  crash 1  latent 46"), "{text}");
    }
}
