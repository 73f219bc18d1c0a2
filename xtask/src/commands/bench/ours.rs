//! The lab's own times: flips, stops at a virtual time, `inject auto`.
//!
//! Invariant: a flip is timed with its check, and every flip is taken back afterwards, so that little is
//! left in the guest.

use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::fault::record::FlipRecord;
use flipsim::fault::{Fault, FaultSpace, Pattern, RamSpace, fault_rng, flip};
use flipsim::machine::folder::RunDir;
use flipsim::target::{LiveTarget, Target};
use flipsim::units::VirtualNs;
use flipsim::wire::qmp::Event;

use super::options::{AUTO_FLIPS, Options, intervals};
use super::table::Measured;
use crate::guest::choice::GuestChoice;
use crate::guest::flips::{Draws, FAULTS, Pace, TIMES};
use crate::guest::session::Session;
use crate::guest::watcher::Watcher;
use crate::host::proc;
use crate::interrupt;

/// How long the guest runs between two measurements, on the host's clock.
const PAUSE: Duration = Duration::from_micros(500);

/// How far it runs between two runs of `auto`.
const STRETCH: VirtualNs = VirtualNs(1_000_000);

/// How often the whole command is run.
const COMMANDS: u32 = 10;

/// Takes hold of the guest, and says what can be flipped in it.
pub fn attach(name: &str) -> Result<(Session, FaultSpace)> {
    let session = Session::attach(&GuestChoice::named(name))?;
    let space = RamSpace::new(&session.names.map.system_ram(), Pattern::SINGLE)?;
    Ok((session, FaultSpace::Ram(space)))
}

/// Flips in a guest that stands, and in one that runs.
pub fn flips(target: &mut LiveTarget, space: &FaultSpace, options: &Options) -> Result<[Measured; 2]> {
    let mut rng = fault_rng(options.seed, FAULTS);
    let mut standing = Measured::new("ours, guest stopped: flip");
    let mut running = Measured::new("ours, guest running: stop, flip, go on");
    events(target)?;
    for _ in 0..options.count.div_ceil(2) {
        interrupt::check()?;
        let fault = space.draw(&mut rng);
        for _ in 0..2 {
            let start = Instant::now();
            flip(target, &fault)?;
            standing.flips.push(start.elapsed());
        }
        target.resume()?;
        for _ in 0..2 {
            // Each starts with a guest that has run for a while, as it would in use.
            std::thread::sleep(PAUSE);
            let start = Instant::now();
            target.stop()?;
            flip(target, &fault)?;
            target.resume()?;
            running.flips.push(start.elapsed());
        }
        std::thread::sleep(PAUSE);
        target.stop()?;
        // This loop's own stop is the last event, and its own resume the first: neither is half of a pair.
        running.stood.extend(stood(&events(target)?));
    }
    Ok([running, standing])
}

/// Stops at a virtual time, each a drawn interval ahead, with nothing else.
pub fn stops(target: &mut LiveTarget, options: &Options) -> Result<Measured> {
    let mut times = fault_rng(options.seed, TIMES);
    let mut measured = Measured::new("ours: ask for it, go on, wait for it, read the clock");
    for _ in 0..options.count {
        interrupt::check()?;
        let interval = intervals().draw(&mut times);
        let before = now(target)?;
        let start = Instant::now();
        let arrival = target.run_for(interval)?;
        measured.stops.push(start.elapsed());
        let at = arrival.at.filter(|_| arrival.early.is_none()).context("the guest stopped by itself")?;
        measured.errors.push(missed(before, at, interval));
    }
    Ok(measured)
}

/// The run of `auto` without records: nothing but stops and flips.
pub fn autos(target: &mut LiveTarget, space: &FaultSpace, options: &Options) -> Result<Measured> {
    let mut measured = Measured::new("ours: `auto`, nothing recorded");
    for run in 0..options.autos {
        interrupt::check()?;
        let seed = options.seed.wrapping_add(u64::from(run));
        let (mut faults, mut times) = (fault_rng(seed, FAULTS), fault_rng(seed, TIMES));
        let mut done = Vec::new();
        events(target)?;
        let mut before = now(target)?;
        let start = Instant::now();
        for _ in 0..AUTO_FLIPS {
            let interval = intervals().draw(&mut times);
            let arrival = target.run_for(interval)?;
            let fault = space.draw(&mut faults);
            flip(target, &fault)?;
            done.push((fault, interval, arrival.at));
        }
        measured.autos.push(start.elapsed());
        for (_, interval, at) in &done {
            let at = at.context("this QEMU cannot be asked for its clock")?;
            measured.errors.push(missed(before, at, *interval));
            before = at;
        }
        measured.stood.extend(stood(&events(target)?));
        take_back(target, done.iter().map(|(fault, ..)| fault))?;
        target.run_for(STRETCH)?;
    }
    Ok(measured)
}

/// The run of `auto` as the command does it: drawn, flipped, looked after and recorded on disk.
pub fn recorded(session: &mut Session, space: &FaultSpace, options: &Options) -> Result<Measured> {
    let mut measured = Measured::new("ours: `auto`, recorded on disk");
    let run = session.run.as_ref().map(|(run, _)| RunDir::at(run.path())).context("no guest of ours")?;
    for index in 0..options.autos {
        interrupt::check()?;
        let seed = options.seed.wrapping_add(u64::from(index));
        let draws = Draws {
            space,
            count: u64::from(AUTO_FLIPS),
            pace: Pace::Drawn(intervals()),
            seed,
            json: false,
            quiet: true,
            csv: None,
            until_done: false,
        };
        let mut watcher = Watcher::new(session.run.as_ref());
        let before = Records::end(&run)?;
        events(&mut session.target)?;
        now(&mut session.target)?;
        let start = Instant::now();
        let done = session.flips(draws, &mut watcher)?;
        measured.autos.push(start.elapsed());
        done.result(None)?;
        measured.stood.extend(stood(&events(&mut session.target)?));
        measured.errors.extend(before.errors()?);
        undo(&mut session.target, space, seed)?;
        session.target.run_for(STRETCH)?;
    }
    Ok(measured)
}

/// `cargo xtask inject auto` as a command, from its start to its end.
pub fn command(name: &str, auto: &str, options: &Options) -> Result<Measured> {
    let mut measured = Measured::new("ours: `cargo xtask inject auto`, from its start to its end");
    let program = std::env::current_exe().context("cannot find this program itself")?;
    for index in 0..COMMANDS {
        let seed = options.seed.wrapping_add(u64::from(index));
        let mut command = std::process::Command::new(&program);
        command.arg("inject").args(auto.split(' ')).args(["--guest", name, "--seed", &seed.to_string()]);
        let start = Instant::now();
        proc::output_of("inject auto", command, Duration::from_secs(60))?;
        measured.autos.push(start.elapsed());
        let (mut session, space) = attach(name)?;
        undo(&mut session.target, &space, seed)?;
        session.finish_quietly()?;
    }
    Ok(measured)
}

/// Takes back the flips of `auto` with this seed.
fn undo(target: &mut LiveTarget, space: &FaultSpace, seed: u64) -> Result<()> {
    let mut faults = fault_rng(seed, FAULTS);
    let faults: Vec<Fault> = (0..AUTO_FLIPS).map(|_| space.draw(&mut faults)).collect();
    take_back(target, faults.iter())
}

fn take_back<'a>(target: &mut LiveTarget, faults: impl Iterator<Item = &'a Fault>) -> Result<()> {
    for fault in faults {
        flip(target, fault)?;
    }
    Ok(())
}

fn now(target: &mut LiveTarget) -> Result<VirtualNs> {
    target.virtual_time()?.context("this QEMU cannot be asked for its clock")
}

/// By how much an interval was missed.
pub fn missed(before: VirtualNs, at: VirtualNs, interval: VirtualNs) -> u64 {
    at.0.abs_diff(before.0.saturating_add(interval.0))
}

/// The events so far, all of them: QEMU sends the answer to a question after what happened before it.
fn events(target: &mut LiveTarget) -> Result<Vec<Event>> {
    let qmp = target.qmp().context("the guest has no monitor")?;
    qmp.status()?;
    Ok(qmp.take_events()?)
}

/// How long the guest stood still each time, from each STOP to the next RESUME, on the host's clock.
pub fn stood(events: &[Event]) -> Vec<Duration> {
    let micros = |event: &Event| u64::try_from(event.seconds * 1_000_000 + event.microseconds).ok();
    let mut since = None;
    let mut stood = Vec::new();
    for event in events {
        match event.name.as_str() {
            "STOP" => since = micros(event),
            "RESUME" => {
                let times = since.take().zip(micros(event));
                stood.extend(times.and_then(|(from, to)| to.checked_sub(from)).map(Duration::from_micros));
            }
            _ => {}
        }
    }
    stood
}

/// The records that a guest's folder gets from here on.
struct Records {
    file: std::path::PathBuf,
    from: u64,
}

impl Records {
    fn end(run: &RunDir) -> Result<Records> {
        let file = run.file("flips.jsonl");
        let from = std::fs::metadata(&file).map_or(0, |meta| meta.len());
        Ok(Records { file, from })
    }

    /// By how much each flip missed its time, as recorded.
    fn errors(&self) -> Result<Vec<u64>> {
        let mut file = std::fs::File::open(&self.file).context("cannot read the records of flips")?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        errors_in(&text)
    }
}

fn errors_in(records: &str) -> Result<Vec<u64>> {
    let error = |line: &str| -> Result<u64> {
        let record: FlipRecord = serde_json::from_str(line).context("a record cannot be read")?;
        match (record.virtual_ns, record.wanted_ns) {
            (Some(at), Some(wanted)) => Ok(at.abs_diff(wanted)),
            _ => bail!("a record says nothing of its time: {line}"),
        }
    };
    records.lines().map(error).collect()
}
