//! `inject snap`: save the guest, flip, observe, go back, count.
//!
//! Invariant: a snapshot of this command's own is deleted on every exit; were the command killed, the
//! next one deletes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::fault::schedule::Intervals;
use flipsim::fault::{FaultSpace, random_seed};
use flipsim::machine::HoldNote;
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::target::Target;
use flipsim::trial::judge::alone::RunVerdict;
use flipsim::units::VirtualNs;

use super::timed::Words;
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::flags::{Flipping, KindArg, RamPlace};
use crate::guest::flips::{Advance, Draws, Pace, open_csv};
use crate::guest::session::Session;
use crate::guest::snapshot::{check_tag, hmp, keep_alive, load, restore};
use crate::guest::watcher::Watcher;
use crate::interrupt;

/// Save the guest, flip bits, observe, go back; again and again, and count the results.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask inject snap 1 1ms 2ms ram --observe 400ms --loop 20 --fresh --workload sha256
  cargo xtask inject snap 5 345ms 345ms ram --observe 2s --guest g1
  cargo xtask inject snap 1 1us 1ms reg --observe 50ms --snapshot booted --loop 10

A run without a flip goes before the others and shows what the guest says then. Every run ends at the
same virtual time, COUNT × MAX + TIME after the snapshot. With --snapshot the guest starts each run
from that snapshot, nothing is saved or deleted, and it is left where the last run ended.")]
pub struct Args {
    /// How many flips, the shortest and the longest interval, and what to flip
    #[arg(num_args = 4, required = true, value_names = ["COUNT", "MIN", "MAX", "ram|reg"])]
    what: Vec<String>,
    /// A snapshot that exists; without one the guest is saved as it is now
    #[arg(long, value_name = "TAG")]
    snapshot: Option<String>,
    /// How often
    #[arg(long = "loop", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    loops: u64,
    #[command(flatten)]
    place: RamPlace,
    /// Registers, by name or glob; may be given more than once
    #[arg(long, value_name = "GLOB")]
    register: Vec<String>,
    #[command(flatten)]
    flip: Flipping,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let words = Words::parse(&args.what)?;
    let (Some(count), Some((min, max))) = (words.count, words.bounds) else {
        bail!(exit_error(Code::Usage, "the order is COUNT MIN MAX ram|reg"));
    };
    let intervals = Intervals::uniform(min, max).exit_with(Code::Usage)?;
    let Some(observe) = args.flip.observe else {
        bail!(exit_error(Code::Usage, "say how long to observe the guest after its flips: --observe 100ms"));
    };
    if let Some(tag) = &args.snapshot {
        check_tag(tag)?;
    }
    if words.kind == KindArg::Ram && !args.register.is_empty() {
        bail!(exit_error(Code::Usage, "--register goes with `reg`, not with `ram`"));
    }
    let mut session = Session::attach(&args.flip.guest)?;
    let space = session.space(words.kind, &args.place, &args.register, &args.flip.bits)?;
    let mut plan = SnapPlan {
        count,
        intervals,
        observe,
        tag: args.snapshot.clone(),
        loops: args.loops,
        seed: args.flip.seed.unwrap_or_else(random_seed),
        json: args.flip.json,
        csv: args.flip.csv.as_deref().map(open_csv).transpose()?,
    };
    let tally = session.snap(&space, &mut plan);
    let released = session.release();
    let tally = tally?;
    released.exit_with(Code::GuestLost)?;
    tally.finish(args.flip.json)
}

/// What `snap` is to do.
pub struct SnapPlan {
    /// Flips a run.
    pub count: u64,
    /// When.
    pub intervals: Intervals,
    /// How long a guest is observed after its flips.
    pub observe: Duration,
    /// The snapshot to start from; without one the guest is saved as it is now.
    pub tag: Option<String>,
    /// How many runs.
    pub loops: u64,
    /// The seed; each run has the next one.
    pub seed: u64,
    /// Print JSON lines.
    pub json: bool,
    /// Where rows go besides.
    pub csv: Option<BufWriter<File>>,
}

/// The counts of all runs.
#[derive(Debug, Default)]
pub struct SnapTally {
    counts: BTreeMap<RunVerdict, u64>,
    runs: u64,
    refused: u64,
    interrupted: bool,
    exact: bool,
    /// Whether the guest says anything in this time without flips.
    quiet: bool,
}

impl SnapTally {
    /// Shows the counts; an error when they are not all that was asked for.
    pub fn finish(&self, json: bool) -> Result<()> {
        self.show(json);
        if self.interrupted {
            return Err(interrupt::Interrupted.into());
        }
        if self.refused > 0 {
            bail!(exit_error(
                Code::NotFlipped,
                format!("{} flips did not take; the records say which", self.refused)
            ));
        }
        Ok(())
    }

    fn show(&self, json: bool) {
        if json {
            let counts: serde_json::Map<_, _> = self
                .counts
                .iter()
                .map(|(verdict, count)| (verdict.name().to_owned(), (*count).into()))
                .collect();
            outln!(
                "{}",
                serde_json::json!({ "runs": self.runs, "outcomes": counts, "refused": self.refused })
            );
            return;
        }
        outln!("{} runs:", self.runs);
        for (verdict, count) in &self.counts {
            outln!("  {count:>6}  {:9}  {}", verdict.name(), verdict.about());
        }
        if self.quiet {
            eprintln!(
                "note: without flips the guest says nothing in this time, so silence proves nothing here"
            );
        }
        if !self.exact {
            eprintln!("note: the clock is not exact, so what the console says differs between any two runs");
        }
    }
}

/// What the console says from here on.
struct Listener {
    log: Option<PathBuf>,
    from: u64,
}

impl Listener {
    fn new(folder: Option<&Path>) -> Listener {
        let log = folder.map(|folder| folder.join(CONSOLE_LOG));
        let from = log.as_ref().and_then(|log| std::fs::metadata(log).ok()).map_or(0, |meta| meta.len());
        Listener { log, from }
    }

    fn heard(&self) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        if let Some(log) = &self.log {
            let mut file = File::open(log).context("cannot read the guest's console")?;
            file.seek(SeekFrom::Start(self.from))?;
            file.take(16 << 20).read_to_end(&mut said)?;
        }
        Ok(said)
    }
}

impl Session {
    /// Runs a plan of `snap`. The guest is back at its snapshot afterwards when that was its own.
    pub fn snap(&mut self, space: &FaultSpace, plan: &mut SnapPlan) -> Result<SnapTally> {
        self.target.stop().exit_with(Code::GuestLost)?;
        let own = plan.tag.is_none();
        let tag = plan.tag.clone().unwrap_or_else(|| format!("flipsim-{}", std::process::id()));
        if own {
            let was_running = self.target.was_running();
            self.note(HoldNote { was_running, snapshot: Some(tag.clone()), ..HoldNote::default() })?;
            if !plan.json {
                eprintln!("saving the guest as {tag}");
            }
        }
        let saved = own.then(|| hmp(&mut self.target, &format!("savevm {tag}"))).transpose();
        // A snapshot that could not be made need not be loaded; one that was is, whatever came after it.
        let loadable = saved.is_ok();
        let tally = saved.and_then(|_| self.runs(space, plan, &tag));
        let restored = match own {
            true => self.go_back(&tag, loadable),
            false => keep_alive(&mut self.target, false),
        };
        let tally = tally?;
        restored?;
        Ok(tally)
    }

    /// Back to the guest's own snapshot, which is then deleted.
    fn go_back(&mut self, tag: &str, loadable: bool) -> Result<()> {
        let back = restore(&mut self.target, tag, loadable);
        let was_running = self.target.was_running();
        self.note(HoldNote { was_running, ..HoldNote::default() })?;
        back
    }

    fn runs(&mut self, space: &FaultSpace, plan: &mut SnapPlan, tag: &str) -> Result<SnapTally> {
        let folder = self.run.as_ref().map(|(run, _)| run.path().to_owned());
        let observe = u64::try_from(plan.observe.as_nanos()).unwrap_or(u64::MAX);
        let longest = plan.intervals.longest().unwrap_or(VirtualNs(0)).0;
        let length = longest.saturating_mul(plan.count).saturating_add(observe);
        let mut tally = SnapTally { exact: self.is_exact(), ..SnapTally::default() };
        keep_alive(&mut self.target, true)?;
        // Without a flip, to know what the guest says by itself.
        load(&mut self.target, tag)?;
        let mut watcher = Watcher::new(self.run.as_ref());
        let listener = Listener::new(folder.as_deref());
        match self
            .advance(VirtualNs(length), &mut watcher)
            .map_err(|error| watcher.lost(0, plan.loops, &error))?
        {
            Advance::There => {}
            Advance::Interrupted => return Ok(SnapTally { interrupted: true, ..tally }),
            Advance::Over(end) => bail!(exit_error(
                Code::GuestLost,
                format!("the guest does not live that long without any flip: {end}; observe it for less")
            )),
        }
        let reference = listener.heard()?;
        tally.quiet = reference.is_empty();
        for run in 1..=plan.loops {
            load(&mut self.target, tag)?;
            let mut watcher = Watcher::new(self.run.as_ref());
            let listener = Listener::new(folder.as_deref());
            let start = self.target.virtual_time().exit_with(Code::GuestLost)?;
            let draws = Draws {
                space,
                count: plan.count,
                pace: Pace::Drawn(plan.intervals),
                seed: plan.seed.wrapping_add(run - 1),
                json: plan.json,
                quiet: false,
                csv: plan.csv.take(),
                until_done: false,
            };
            let mut done = self.flips(draws, &mut watcher)?;
            plan.csv = done.csv.take();
            tally.refused += done.refused;
            if done.crash.is_none() && !done.interrupted {
                let now = self.target.virtual_time().exit_with(Code::GuestLost)?;
                let left = match (start, now) {
                    (Some(start), Some(now)) => length.saturating_sub(now.0 - start.0),
                    _ => observe,
                };
                match self
                    .advance(VirtualNs(left), &mut watcher)
                    .map_err(|error| watcher.lost(run, plan.loops, &error))?
                {
                    Advance::There => {}
                    Advance::Over(end) => done.crash = Some(end),
                    Advance::Interrupted => done.interrupted = true,
                }
            }
            if done.interrupted {
                tally.interrupted = true;
                break;
            }
            watcher.look();
            let (ended, heard) = (done.crash.is_some(), listener.heard()?);
            let verdict = watcher.evidence.run_verdict(ended, &heard, &reference, tally.exact);
            *tally.counts.entry(verdict).or_default() += 1;
            tally.runs += 1;
            if !plan.json {
                let end = done.crash.map(|end| format!(": {end}")).unwrap_or_default();
                outln!("run {run}/{}: {}{end}", plan.loops, verdict.name());
            }
        }
        Ok(tally)
    }
}
