//! The loop of draws: wait, flip, record; and the verdict on the guest.
//!
//! Invariant: what was drawn is recorded before the next fault is.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::fault::record::{FlipRecord, Moment, RecordContext, RecordLog};
use flipsim::fault::schedule::Intervals;
use flipsim::fault::{Fault, FaultSpace, Flip, FlipError, Operation, fault_rng, flip, random_seed};
use flipsim::files;
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::target::{Target, TargetError};
use flipsim::text::visible;
use flipsim::trial::judge::alone::Health;
use flipsim::units::{Timing, VirtualNs, format_duration};

use super::console::{self, Answer};
use super::flags::Flipping;
use super::session::Session;
use super::watcher::Watcher;
use crate::exit::{Code, ExitWith, exit_error};
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// When the faults strike.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The first at once, each other after this time; after none, all at the same instant.
    Every(Duration),
    /// Each after a drawn time.
    Drawn(Intervals),
}

/// The stream of a seed from which faults are drawn.
pub const FAULTS: u64 = 0;
/// The stream of a seed from which the times between faults are drawn.
pub const TIMES: u64 = 1;

/// The draws of one command.
pub struct Draws<'a> {
    /// What is drawn from.
    pub space: &'a FaultSpace,
    /// How often.
    pub count: u64,
    /// When.
    pub pace: Pace,
    /// The seed of faults and times.
    pub seed: u64,
    /// Print JSON lines.
    pub json: bool,
    /// Print nothing.
    pub quiet: bool,
    /// Where rows go besides.
    pub csv: Option<BufWriter<std::fs::File>>,
    /// Whether the end of the workload ends the draws.
    pub until_done: bool,
}

/// A run of the guest that is longer may take a while on the host's clock, and is shown.
const LONG_RUN: VirtualNs = VirtualNs(1_000_000_000);

/// How long an exact guest is let run between two looks at its console.
const LOOK: Duration = Duration::from_millis(10);

/// How long a fresh guest is given for its workload, on its own clock.
const FRESH_OBSERVE: Duration = Duration::from_secs(20);

/// How long a guest that ran before is watched.
const OBSERVE: Duration = Duration::from_millis(500);

/// The files that every record of a command goes to.
pub struct Logs {
    log: Option<RecordLog>,
    csv: Option<BufWriter<std::fs::File>>,
}

impl Logs {
    /// Opens the guest's own records.
    pub fn open(session: &Session, csv: Option<BufWriter<std::fs::File>>) -> Result<Logs> {
        let log = match &session.run {
            Some((run, _)) => Some(RecordLog::open(run.path()).context("cannot write the records of flips")?),
            None => None,
        };
        Ok(Logs { log, csv })
    }

    /// The user's file, for the next command.
    pub fn into_csv(self) -> Option<BufWriter<std::fs::File>> {
        self.csv
    }

    fn append(&mut self, record: &FlipRecord) -> Result<()> {
        let kept = match &mut self.log {
            Some(log) => log.append(record),
            None => Ok(()),
        };
        let kept = kept.and_then(|()| match &mut self.csv {
            Some(csv) => writeln!(csv, "{}", record.csv()).and_then(|()| csv.flush()),
            None => Ok(()),
        });
        kept.with_context(|| format!("cannot write a record; is the disk full? It is: {}", record.json()))
    }
}

/// One fault that was to be injected, and its record.
pub struct Attempt {
    /// Its result.
    pub result: Result<Flip, FlipError>,
    /// What was recorded.
    pub record: FlipRecord,
    /// Why nothing is known of the time, if so.
    clock: Result<(), TargetError>,
}

impl Attempt {
    fn is_lost(&self) -> bool {
        matches!(&self.result, Err(FlipError::Target(TargetError::Lost { .. })))
    }
}

impl Session {
    /// Draws and injects the faults, then watches the guest for a while.
    pub fn inject(mut self, space: &FaultSpace, count: u64, pace: Pace, how: &Flipping) -> Result<()> {
        let mut watcher = Watcher::new(self.run.as_ref());
        if self.is_fresh() {
            watcher.read_from_start();
        }
        let draws = Draws {
            space,
            count,
            pace,
            seed: how.seed.unwrap_or_else(random_seed),
            json: how.json,
            quiet: false,
            csv: how.csv.as_deref().map(open_csv).transpose()?,
            until_done: false,
        };
        let done = self.flips(draws, &mut watcher)?;
        self.finish(done, how.observe, watcher)
    }

    /// Injects one fault and records it.
    pub fn attempt(
        &mut self,
        index: u64,
        fault: &Fault,
        wanted: Option<VirtualNs>,
        seed: u64,
        logs: &mut Logs,
    ) -> Result<Attempt> {
        let result = flip(&mut self.target, fault);
        let lost = matches!(&result, Err(FlipError::Target(TargetError::Lost { .. })));
        // A flip that took place is recorded, whatever happens to the guest right after.
        let clock = if lost { Ok(None) } else { self.target.clock() };
        let now = clock.as_ref().ok().copied().flatten();
        let moment = Moment {
            at: now.map(|clock| VirtualNs(clock.virtual_ns)),
            wanted,
            instructions: now.and_then(|clock| clock.instructions),
        };
        let timing = self.target.timing();
        let context = RecordContext { names: &self.names, seed, timing };
        let record = context.record(index, fault, &result, moment);
        logs.append(&record)?;
        Ok(Attempt { result, record, clock: clock.map(|_| ()) })
    }

    /// The loop of draws. Time passes for the guest only as the pace says.
    pub fn flips(&mut self, mut draws: Draws<'_>, watcher: &mut Watcher) -> Result<FlipsDone> {
        let mut logs = Logs::open(self, draws.csv.take())?;
        let (count, seed) = (draws.count, draws.seed);
        let (mut faults, mut times) = (fault_rng(seed, FAULTS), fault_rng(seed, TIMES));
        let mut done = FlipsDone { seed, drawn: count, ..FlipsDone::default() };
        if !draws.json && !draws.quiet {
            let plural = if draws.space.len() == 1 { "" } else { "s" };
            outln!("seed {seed}, {} possible fault{plural}", draws.space.len());
        }
        for index in 1..=count {
            let wait = match draws.pace {
                Pace::Every(time) if index == 1 || time.is_zero() => None,
                Pace::Every(time) => Some(VirtualNs(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))),
                Pace::Drawn(intervals) => Some(intervals.draw(&mut times)),
            };
            if interrupt::raised() {
                done.interrupted = true;
                break;
            }
            let mut wanted = None;
            if let Some(wait) = wait {
                let start = self.target.virtual_time().map_err(|error| watcher.lost(index, count, &error))?;
                wanted = start.map(|start| VirtualNs(start.0.saturating_add(wait.0)));
                match self.advance(wait, watcher).map_err(|error| watcher.lost(index, count, &error))? {
                    Advance::There => {}
                    Advance::Over(end) => done.crash = Some(end),
                    Advance::Interrupted => done.interrupted = true,
                }
                done.workload_ended = draws.until_done && watcher.evidence.done.is_some();
                if done.crash.is_some() || done.interrupted || done.workload_ended {
                    break;
                }
            }
            let fault = draws.space.draw(&mut faults);
            let attempt = self.attempt(index, &fault, wanted, seed, &mut logs)?;
            if !draws.quiet {
                show(&attempt.record, count, draws.json);
            }
            done.count(&attempt, index, watcher)?;
        }
        done.csv = logs.csv.take();
        Ok(done)
    }

    /// Lets the guest run for a time, and looks how it fares.
    pub fn advance(&mut self, time: VirtualNs, watcher: &mut Watcher) -> Result<Advance, TargetError> {
        let _step =
            (time.0 >= LONG_RUN.0).then(|| ProgressStep::quiet(format!("Running the guest for {time}")));
        let arrival = match self.target.run_for(time) {
            Err(TargetError::Interrupted) => return Ok(Advance::Interrupted),
            other => other?,
        };
        // A guest that reached an exact time still runs: there is nothing to ask.
        let asked = arrival.early.is_some() || arrival.timing == Timing::Approximate;
        let end = if asked { watcher.end(&mut self.target) } else { watcher.over() };
        Ok(match (end, arrival.early) {
            (Some(end), _) => Advance::Over(end),
            (None, Some(early)) => Advance::Over(format!("it stopped by itself ({early})")),
            (None, None) => Advance::There,
        })
    }

    /// Lets an exact guest run until it ends, or this time has passed, or what else ends the watch. How much of the
    /// time has passed is shown.
    pub fn watch_exactly(
        &mut self,
        limit: Duration,
        until: Until,
        watcher: &mut Watcher,
    ) -> Result<Advance, TargetError> {
        let what =
            if until == Until::Time { "Watching the guest" } else { "Waiting for the workload's result" };
        let step = ProgressStep::quiet(what);
        let whole = format_duration(limit);
        let (mut left, mut rounds) = (limit, watcher.rounds);
        while !left.is_zero() {
            if until != Until::Time && watcher.evidence.done.is_some() {
                break;
            }
            let mut so_far = String::new();
            if until == Until::Rounds {
                if watcher.rounds != rounds {
                    (left, rounds) = (limit, watcher.rounds);
                }
                so_far = format!("round {}: ", rounds + 1);
            }
            step.line(&format!("{so_far}{} of {whole} of virtual time", format_duration(limit - left)));
            let slice = left.min(LOOK);
            left -= slice;
            match self.advance(VirtualNs(u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX)), watcher)? {
                Advance::There => {}
                other => return Ok(other),
            }
        }
        Ok(Advance::There)
    }

    /// Watches the guest after the last flip, lets go of it, and says how it fares.
    pub fn finish(
        mut self,
        mut done: FlipsDone,
        observe: Option<Duration>,
        mut watcher: Watcher,
    ) -> Result<()> {
        let was_running = self.target.was_running();
        let (exact, fresh) = (self.is_exact(), self.is_fresh());
        let limit = observe.or(match (fresh, was_running) {
            (true, _) => Some(FRESH_OBSERVE),
            (false, true) => Some(OBSERVE),
            (false, false) => None,
        });
        let over = done.crash.is_some() || done.interrupted;
        if let Some(limit) = limit.filter(|_| exact && !over) {
            let until = if fresh { Until::Done } else { Until::Time };
            match self.watch_exactly(limit, until, &mut watcher) {
                Ok(Advance::There) => {}
                Ok(Advance::Over(end)) => done.crash = Some(end),
                Ok(Advance::Interrupted) => done.interrupted = true,
                Err(error) => return Err(watcher.lost(done.drawn, done.drawn, &error)),
            }
        }
        if let Some(given) = limit
            .filter(|limit| fresh && exact && !limit.is_zero() && done.crash.is_none() && !done.interrupted)
        {
            let given = format!("{} of virtual time", format_duration(given));
            eprintln!("How the guest fared: {}", watcher.verdict(&done.in_words(), &given));
        }
        let released = self.release();
        if done.crash.is_none() {
            released.map_err(|error| watcher.lost(done.drawn, done.drawn, &error))?;
        }
        let Some((run, record)) = self.run.take() else {
            eprintln!(
                "{} of {} flips made; this guest was not started by `boot`, so its console is not watched",
                done.flipped, done.drawn
            );
            return done.result(None);
        };
        let alone = was_running && !fresh;
        let step = (alone && !exact).then(|| ProgressStep::quiet("Watching the guest"));
        let end = Instant::now() + limit.unwrap_or_default();
        while alone && !exact && Instant::now() < end && !interrupt::raised() && !watcher.look().is_over() {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(step);
        let answer = (alone && record.workload.is_none() && !watcher.look().is_over())
            .then(|| console::console_answers(&run, Duration::from_secs(3), self.target.qmp()));
        // Asked for the status again: a panic may have come with the answer. The monitor serves one client
        // at a time, and that is still ours.
        if let Some(qmp) = self.target.qmp().filter(|_| alone) {
            watcher.evidence.status = qmp.status().ok().map(|status| status.status);
        }
        let health = if fresh { watcher.last_health() } else { watcher.look() };
        let life = match (&health, answer, &watcher.evidence.done) {
            (Health::Alive, _, Some(end)) => {
                format!("alive: workload {} ended with status {}", end.workload, end.status)
            }
            (Health::Alive, _, _) if fresh => "was stopped with this command".to_owned(),
            (Health::Alive, _, _) if !was_running => "stopped, as it was before".to_owned(),
            (Health::Alive, Some(Answer::Yes), _) => "alive: its console answers".to_owned(),
            (Health::Alive, Some(Answer::No), _) => {
                "silent: its console does not answer (a hang, perhaps)".to_owned()
            }
            (Health::Alive, _, None) => "alive: it runs, and its console shows nothing wrong".to_owned(),
            (other, _, _) => other.to_string(),
        };
        eprintln!(
            "{} of {} flips made and read back; guest {}: {life}",
            done.flipped, done.drawn, record.name
        );
        eprintln!("records: {}", paths::show(&run.file("flips.jsonl")));
        eprintln!("console: {}", paths::show(&run.file(CONSOLE_LOG)));
        done.result(health.is_over().then(|| health.to_string()))
    }
}

/// What ends the watch over a guest, besides its time and its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Nothing.
    Time,
    /// The end of its workload.
    Done,
    /// That, too; and each round of it that ends has the time begin again.
    Rounds,
}

/// Where a guest got that was let run for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advance {
    /// To the end of that time.
    There,
    /// To its own end: how.
    Over(String),
    /// Ctrl-C was pressed.
    Interrupted,
}

/// Opens a new file for the records as CSV.
pub fn open_csv(path: &Path) -> Result<BufWriter<std::fs::File>> {
    let file = files::make_new(path)
        .with_context(|| {
            format!("--csv {}: choose a name that is still free, in a folder that exists", path.display())
        })
        .exit_with(Code::Usage)?;
    let mut file = BufWriter::new(file);
    writeln!(file, "{}", FlipRecord::csv_header()).context("cannot write the CSV file")?;
    Ok(file)
}

/// The results of a command's draws.
#[derive(Debug, Default)]
pub struct FlipsDone {
    /// The seed.
    pub seed: u64,
    /// How many were to be drawn.
    pub drawn: u64,
    /// How many took.
    pub flipped: u64,
    /// How many did not.
    pub refused: u64,
    /// How the guest ended, if it did.
    pub crash: Option<String>,
    /// Ctrl-C was pressed.
    pub interrupted: bool,
    /// The workload's end ended the draws.
    pub workload_ended: bool,
    /// Where rows go besides, for the next draws.
    pub csv: Option<BufWriter<std::fs::File>>,
}

impl FlipsDone {
    /// Counts one attempt; an error when it was the guest's end.
    pub fn count(&mut self, attempt: &Attempt, index: u64, watcher: &mut Watcher) -> Result<()> {
        match &attempt.result {
            Ok(_) => self.flipped += 1,
            Err(error) if attempt.is_lost() => return Err(watcher.lost(index, self.drawn, error)),
            Err(_) => self.refused += 1,
        }
        match &attempt.clock {
            Ok(()) => Ok(()),
            Err(error) => Err(watcher.lost(index, self.drawn, error)),
        }
    }

    /// How many flips took, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        if self.workload_ended {
            let left = self.drawn - self.flipped - self.refused;
            format!("{} flips (the workload ended before the other {left})", self.flipped)
        } else {
            format!("{} flips", self.flipped)
        }
    }

    /// The command's result; `over` says how the guest ended after the last flip, if it did.
    pub fn result(&self, over: Option<String>) -> Result<()> {
        let left = self.drawn - self.flipped - self.refused;
        if self.interrupted {
            match left {
                0 => eprintln!(
                    "interrupted while the guest was watched; {} of {} flips took (seed {})",
                    self.flipped, self.drawn, self.seed
                ),
                left => eprintln!(
                    "interrupted: {left} of {} flips were not made (seed {})",
                    self.drawn, self.seed
                ),
            }
            return Err(interrupt::Interrupted.into());
        }
        if let Some(end) = &self.crash {
            bail!(exit_error(
                Code::GuestLost,
                format!(
                    "the guest did not survive {} flips, {left} were not made: {end}",
                    self.flipped + self.refused
                )
            ));
        }
        if let Some(end) = over {
            bail!(exit_error(
                Code::GuestLost,
                format!("the guest did not survive {} flips: {end}", self.flipped + self.refused)
            ));
        }
        if self.refused > 0 {
            bail!(exit_error(
                Code::NotFlipped,
                format!(
                    "{} of {} flips did not take; the records say which and why",
                    self.refused, self.drawn
                )
            ));
        }
        Ok(())
    }
}

/// Shows one flip, as a line for people or as JSON.
pub fn show(record: &FlipRecord, count: u64, json: bool) {
    outln!("{}", if json { record.json() } else { visible(&describe(record, count)) });
}

/// One flip as a line for people.
#[must_use]
pub fn describe(record: &FlipRecord, count: u64) -> String {
    let place = match (&record.address, &record.register) {
        (Some(address), _) => format!("ram {}", address.0),
        (None, Some(register)) => format!("reg {register:6}"),
        (None, None) => record.kind.clone(),
    };
    let bits = match record.bit {
        Some(bit) => format!("bit {bit:<3}"),
        None => format!("mask {}", record.mask),
    };
    let bits = match record.operation {
        Operation::Flip => bits,
        other => format!("{bits} {other}"),
    };
    let width = count.to_string().len();
    let mut line =
        format!("{:>width$}/{count}  {place}  {bits}  {} -> {}", record.index, record.old, record.new);
    if let Some(time) = record.virtual_ns {
        line.push_str(&format!("  at {}", VirtualNs(time).exact()));
    }
    if let Some(region) = &record.region {
        line.push_str(&format!("  {region}"));
    }
    if let Some(symbol) = &record.symbol {
        line.push_str(&format!("  {symbol}"));
    }
    if let Some(error) = &record.error {
        line.push_str(&format!("  NOT FLIPPED: {error}"));
    }
    line
}
