//! Golden runs: what a guest does without a fault, from its quiescent point to the end of its window.
//!
//! Invariant: **a golden run is believed only when it was seen four times and was the same each time**:
//! in one process, twice again there after going back, and in a fresh clone. Where they differ, the first
//! difference is kept, and trials compare output only. So they do where QEMU cannot tell a guest's state; the
//! reason is kept in the place of the difference.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::console::LineSplitter;
use crate::console::signals::Signals;
use crate::target::live::WALL_TIME;
use crate::target::marks::{Digest128, EXCEPTION_STORM, MarkError, StateDigest};
use crate::target::{Target, TargetError};
use crate::trial::ability::Abilities;
use crate::trial::clone::{CloneDisk, CloneGuest, CloneOptions};
use crate::trial::template::{Template, TemplateError};
use crate::units::{VirtualNs, format_duration};
use crate::wire::qmp::QmpError;

/// The version of a stored golden run.
pub const FORMAT: u32 = 2;

/// The longest console that is kept, in bytes: one that says more says nothing new.
pub const MAX_CONSOLE: usize = 4 << 20;

/// What a comparison at a checkpoint may cost beside the emulation, as one part of so many.
const COST_SHARE: u32 = 20;

/// The pilot's spacing, and bounds of the one that is chosen.
const PILOT: VirtualNs = VirtualNs(10_000_000);
const SHORTEST: u64 = 1_000_000;
const LONGEST: u64 = 100_000_000;

/// What went wrong with a guest that was to run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A clone does not start.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The guest is lost, or will not.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The state cannot be marked, gone back to or told.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The console's log.
    #[error("cannot read the guest's console {path}: {cause}")]
    Console {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The workload does not end.
    #[error("without any fault the workload is not done after {0} of virtual time; give the window a length")]
    NoEnd(VirtualNs),
    /// The guest ends by itself.
    #[error("without any fault the guest ended ({how}); its console's last words: {said}")]
    Ended {
        /// How, and when.
        how: String,
        /// The end of what its console said.
        said: String,
    },
    /// What was gone back to is not what was marked.
    #[error("going back did not restore the state: {0}")]
    NotRestored(String),
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// Until the workload says that it is done.
    Done,
    /// So long from the quiescent point on.
    Time(VirtualNs),
}

/// What a console said since a moment.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    file: File,
    said: Vec<u8>,
    lines: LineSplitter,
    signals: Signals,
    done: bool,
}

impl Console {
    /// Listens from now on, to a guest that speaks by these signals.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open(path: &Path, signals: &Signals) -> Result<Self, RunError> {
        let error = |cause| RunError::Console { path: path.to_owned(), cause };
        let file = File::options().read(true).write(true).open(path).map_err(error)?;
        let mut console = Console {
            path: path.to_owned(),
            file,
            said: Vec::new(),
            lines: LineSplitter::default(),
            signals: signals.clone(),
            done: false,
        };
        console.restart(&[])?;
        Ok(console)
    }

    /// Forgets what was said so far, but for `before`, and listens from now on. The log is emptied: a worker
    /// carries out thousands of trials, and a clone's log is memory.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn restart(&mut self, before: &[u8]) -> Result<(), RunError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|cause| RunError::Console { path: self.path.clone(), cause })?;
        self.said.clear();
        self.said.extend_from_slice(before);
        self.lines = LineSplitter::default();
        self.done = false;
        self.read_lines(0);
        Ok(())
    }

    fn read_lines(&mut self, from: usize) {
        let lines = self.lines.push(&self.said[from..]);
        self.done |= lines.iter().any(|line| self.signals.is_done(line));
    }

    /// Takes in what is new.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn poll(&mut self) -> Result<(), RunError> {
        let before = self.said.len();
        let room = MAX_CONSOLE.saturating_sub(before) as u64;
        let read = (&mut self.file).take(room).read_to_end(&mut self.said);
        read.map_err(|cause| RunError::Console { path: self.path.clone(), cause })?;
        self.read_lines(before);
        Ok(())
    }

    /// All that was said, at most [`MAX_CONSOLE`] bytes.
    #[must_use]
    pub fn said(&self) -> &[u8] {
        &self.said
    }

    /// Whether the workload said that it is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}

/// Why a guest stopped before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It told QEMU that it panicked.
    Panic,
    /// It reset itself.
    Reset,
    /// It switched itself off.
    PowerOff,
    /// It takes one exception after the other, and does nothing else any more.
    ExceptionStorm,
    /// It took more of the host's time than a trial may.
    WallTime,
    /// QEMU stopped it for a reason of its own.
    Other,
}

/// Where a guest got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// To the time asked for.
    There,
    /// To an end of its own, at this time.
    Ended(End, VirtualNs),
}

/// A clone with its console.
#[derive(Debug)]
pub struct Runner {
    /// The clone.
    pub guest: CloneGuest,
    /// What it says.
    pub console: Console,
    abilities: Abilities,
    /// Where its clock must be by now, as the host's clock says; of no meaning where QEMU can be asked.
    reckoned: VirtualNs,
}

impl Runner {
    /// Starts a clone. Its disk writes stay in QEMU's memory, or for `snapshots` in a layer of its own.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(
        template: &Template,
        parent: &Path,
        disk: CloneDisk,
        interrupted: fn() -> bool,
    ) -> Result<Self, RunError> {
        let options = CloneOptions { disk, ..CloneOptions::below(parent) };
        let mut guest = CloneGuest::start(template, &options)?;
        guest.target().interrupt_by(interrupted);
        if template.info().abilities.mark {
            guest.target().stop_at_storms()?;
        }
        let console = Console::open(&guest.console(), &template.info().plan.signals)?;
        let abilities = template.info().abilities;
        Ok(Runner { guest, console, abilities, reckoned: template.virtual_time() })
    }

    /// The state that the stopped guest is in, where its QEMU can tell: this is the one place that knows how.
    /// `detailed` lists devices and pages.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state(&mut self, detailed: bool) -> Result<Option<StateDigest>, RunError> {
        if !self.abilities.mark {
            return Ok(None);
        }
        Ok(Some(self.guest.target().state_digest(detailed)?))
    }

    /// As [`Runner::state`], of devices and disks only where RAM is as expected.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state_if(&mut self, ram: Digest128) -> Result<Option<StateDigest>, RunError> {
        if !self.abilities.mark {
            return Ok(None);
        }
        Ok(Some(self.guest.target().state_digest_if(ram)?))
    }

    /// The error of a guest that ended where none should.
    pub(crate) fn ended(&self, how: String) -> RunError {
        let text = String::from_utf8_lossy(self.console.said());
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        let said = lines.into_iter().rev().collect::<Vec<_>>().join(" | ");
        RunError::Ended { how, said }
    }

    /// What time it is for the guest; reckoned by the host's clock where QEMU cannot be asked.
    ///
    /// # Errors
    /// The guest is lost.
    pub fn time(&mut self) -> Result<VirtualNs, RunError> {
        Ok(self.guest.target().virtual_time()?.unwrap_or(self.reckoned))
    }

    /// Says what time it is for a guest that was put back.
    pub fn put_back_to(&mut self, time: VirtualNs) {
        self.reckoned = time;
    }

    /// To a time, by the way that this QEMU has; and where it got.
    fn arrive(&mut self, time: VirtualNs, wall: Duration) -> Result<(VirtualNs, Option<String>), RunError> {
        let target = self.guest.target();
        if target.virtual_time()?.is_some() {
            let arrival = target.run_until_within(time, wall)?;
            return Ok((arrival.at.unwrap_or(time), arrival.early));
        }
        let left = time.0.saturating_sub(self.reckoned.0);
        if left == 0 {
            return Ok((self.reckoned, None));
        }
        let began = Instant::now();
        let early = target.run_for(VirtualNs(left))?.early;
        let ran = u64::try_from(began.elapsed().as_nanos()).unwrap_or(left);
        self.reckoned = if early.is_some() { VirtualNs(self.reckoned.0 + ran.min(left)) } else { time };
        Ok((self.reckoned, early))
    }

    /// Lets the guest run until its clock shows `time`, for `wall` on the host's clock at most.
    ///
    /// # Errors
    /// The guest is lost.
    pub fn run_to(&mut self, time: VirtualNs, wall: Duration) -> Result<Got, RunError> {
        let (at, early) = self.arrive(time, wall)?;
        self.console.poll()?;
        let Some(status) = early else { return Ok(Got::There) };
        let events = self.guest.events()?;
        let shut = events.iter().rev().find(|event| event.name == "SHUTDOWN");
        let reason = shut.and_then(|event| event.data.get("reason")?.as_str()).unwrap_or_default();
        let end = match (status.as_str(), reason) {
            ("guest-panicked", _) | (_, "guest-panic") => End::Panic,
            ("shutdown", "guest-reset" | "subsystem-reset") => End::Reset,
            ("shutdown", _) => End::PowerOff,
            (WALL_TIME, _) => End::WallTime,
            _ if events.iter().any(|event| event.name == EXCEPTION_STORM) => End::ExceptionStorm,
            _ => End::Other,
        };
        Ok(Got::Ended(end, at))
    }
}

/// How far a guest is walked at a time where nothing is looked at.
const STRIDE: u64 = 100_000_000;

impl Runner {
    /// As [`Runner::run_to`], in strides that have this much of the host's time each: a long way is no sign
    /// of anything.
    ///
    /// # Errors
    /// The guest is lost.
    pub fn walk_to(&mut self, time: VirtualNs, wall: Duration) -> Result<Got, RunError> {
        let mut at = self.time()?.0;
        loop {
            at = at.saturating_add(STRIDE).min(time.0);
            let got = self.run_to(VirtualNs(at), wall)?;
            if got != Got::There || at == time.0 {
                return Ok(got);
            }
        }
    }
}

/// The state of the golden run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// On the virtual clock.
    pub at: VirtualNs,
    /// RAM, devices, disks; nothing where QEMU cannot tell.
    pub state: Option<StateDigest>,
    /// How many bytes the console had said.
    pub console: usize,
}

impl Checkpoint {
    fn is_same(&self, other: &Checkpoint) -> bool {
        let same = match (&self.state, &other.state) {
            (Some(one), Some(other)) => one.is_same(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.at == other.at && self.console == other.console && same
    }
}

/// What a golden run is to be.
#[derive(Clone, Copy, Debug)]
pub struct GoldenOptions {
    /// How long it is.
    pub window: Window,
    /// The time between two checkpoints; chosen by cost without.
    pub spacing: Option<VirtualNs>,
    /// How long a workload may take until it is done, on the virtual clock.
    pub limit: VirtualNs,
    /// How long one stretch between two checkpoints may take on the host's clock.
    pub wall: Duration,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl Default for GoldenOptions {
    fn default() -> Self {
        GoldenOptions {
            window: Window::Done,
            spacing: None,
            limit: VirtualNs(600_000_000_000),
            wall: Duration::from_secs(60),
            interrupted: || false,
        }
    }
}

/// What a guest does without a fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The version of this.
    pub format: u32,
    /// The key of the template.
    pub template: String,
    /// How long it was to be.
    pub window: Window,
    /// The time between two checkpoints.
    pub spacing: VirtualNs,
    /// At the quiescent point, in detail.
    pub start: Checkpoint,
    /// In order; the last is the end, in detail.
    pub checkpoints: Vec<Checkpoint>,
    /// All that the console said.
    #[serde(with = "hex_bytes")]
    pub console: Vec<u8>,
    /// The registers at the end, with their values in hex.
    pub registers: Vec<(String, String)>,
    /// The first difference between the runs, if they were not one, or why that cannot be told.
    pub difference: Option<String>,
    /// The first pages that differed there, by their offset in RAM, for who can name them.
    #[serde(default)]
    pub pages_apart: Vec<u64>,
    /// What the QEMU that it was measured with can do.
    #[serde(default, skip_serializing_if = "Abilities::is_all")]
    pub abilities: Abilities,
    /// How the guest speaks.
    #[serde(default, skip_serializing_if = "Signals::are_the_labs")]
    pub signals: Signals,
    /// How long the emulation took, from the quiescent point to the end, in seconds.
    pub run_seconds: f64,
    /// How long one comparison took, in seconds.
    pub compare_seconds: f64,
}

/// One pass over the window.
pub(super) struct Pass {
    pub(super) start: Checkpoint,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) console: Vec<u8>,
    /// At each checkpoint of a detailed pass.
    registers: Vec<Vec<(String, String)>>,
    pub(super) run: Duration,
    compare: Duration,
}

/// Where two passes differ first.
struct Difference {
    words: String,
    pages: Vec<u64>,
}

impl Difference {
    fn words(words: &str) -> Difference {
        Difference { words: words.to_owned(), pages: Vec::new() }
    }
}

impl Golden {
    /// Measures the golden run of a template.
    ///
    /// # Errors
    /// The guest does not run, or its workload does not end.
    pub fn measure(template: &Template, parent: &Path, options: &GoldenOptions) -> Result<Self, RunError> {
        let abilities = template.info().abilities;
        if let Some(missing) = abilities.missing().filter(|_| !abilities.mark) {
            return Golden::measure_output(template, parent, options, missing);
        }
        let mut runner = Runner::start(template, parent, CloneDisk::Memory, options.interrupted)?;
        runner.guest.target().mark()?;
        // Where the run ends must not depend on how far apart the checkpoints are.
        let pilot = pass(&mut runner, options, PILOT, None, false)?;
        let end = pilot.checkpoints.last().map(|last| last.at);
        let back = |runner: &mut Runner| -> Result<(), RunError> {
            runner.guest.target().rewind()?;
            runner.console.restart(&[])
        };
        back(&mut runner)?;
        // Trials run in processes that have translated the guest's code already, as this one has now.
        let warm = pass(&mut runner, options, PILOT, end, false)?;
        let spacing = options.spacing.unwrap_or_else(|| choose_spacing(&warm));
        back(&mut runner)?;
        let mut first = pass(&mut runner, options, spacing, end, true)?;
        let registers = registers(&mut runner)?;
        let mut fresh = Runner::start(template, parent, CloneDisk::Memory, options.interrupted)?;
        fresh.guest.target().mark()?;
        let second = pass(&mut fresh, options, spacing, end, true)?;
        let difference = difference(&first, &second)
            .or_else(|| difference(&pilot, &warm))
            .or_else(|| difference(&warm, &first));
        let (difference, pages_apart) =
            difference.map_or((None, Vec::new()), |found| (Some(found.words), found.pages));
        // Only the end is kept in detail.
        let inner = first.checkpoints.len().saturating_sub(1);
        for state in first.checkpoints[..inner].iter_mut().filter_map(|checkpoint| checkpoint.state.as_mut())
        {
            state.pages = None;
            state.sections = None;
        }
        let count = u32::try_from(first.checkpoints.len()).unwrap_or(u32::MAX).max(1);
        Ok(Golden {
            format: FORMAT,
            template: template.info().key.clone(),
            window: options.window,
            spacing,
            start: first.start,
            checkpoints: std::mem::take(&mut first.checkpoints),
            console: first.console,
            registers,
            difference,
            pages_apart,
            abilities,
            signals: template.info().plan.signals.clone(),
            run_seconds: warm.run.as_secs_f64(),
            compare_seconds: (first.compare / count).as_secs_f64(),
        })
    }

    /// The virtual time of the quiescent point.
    #[must_use]
    pub fn begin(&self) -> VirtualNs {
        self.start.at
    }

    /// The virtual time of the end.
    #[must_use]
    pub fn end(&self) -> VirtualNs {
        self.checkpoints.last().map_or(self.start.at, |last| last.at)
    }

    /// Whether states can be compared with it, or output only.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.difference.is_none()
    }

    /// What the console had said at a checkpoint.
    #[must_use]
    pub fn console_at(&self, checkpoint: &Checkpoint) -> &[u8] {
        &self.console[..checkpoint.console.min(self.console.len())]
    }
}

/// The registers of a stopped guest, with their values in hex.
///
/// # Errors
/// The guest is lost.
pub fn registers(runner: &mut Runner) -> Result<Vec<(String, String)>, RunError> {
    let target = runner.guest.target();
    let mut all = Vec::with_capacity(target.registers().len());
    for index in 0..target.registers().len() {
        let value = crate::text::hex_value(&target.read_register(index)?);
        all.push((target.registers()[index].name.clone(), value));
    }
    Ok(all)
}

/// One run from where the guest stands, to `end` or to where the window says.
pub(super) fn pass(
    runner: &mut Runner,
    options: &GoldenOptions,
    spacing: VirtualNs,
    end: Option<VirtualNs>,
    detailed: bool,
) -> Result<Pass, RunError> {
    let (mut run, mut compare) = (Duration::ZERO, Duration::ZERO);
    let state = runner.state(true)?;
    let begin = runner.time()?;
    let start = Checkpoint { at: begin, state, console: 0 };
    let limit = match options.window {
        Window::Time(length) => begin.0.saturating_add(length.0),
        Window::Done => begin.0.saturating_add(options.limit.0),
    };
    let last = end.map_or(limit, |end| end.0);
    let (mut checkpoints, mut all_registers) = (Vec::new(), Vec::new());
    let mut at = begin;
    loop {
        at = VirtualNs(at.0.saturating_add(spacing.0).min(last));
        let began = Instant::now();
        if let Got::Ended(end, at) = runner.run_to(at, options.wall)? {
            let how = format!("{end:?} at {at}");
            return Err(runner.ended(how));
        }
        run += began.elapsed();
        let began = Instant::now();
        let over =
            at.0 == last || (end.is_none() && runner.console.is_done() && options.window == Window::Done);
        let state = runner.state(false)?;
        compare += began.elapsed();
        // In detail, so that a difference between two runs can be told in detail.
        let state = if detailed || over { runner.state(true)? } else { state };
        checkpoints.push(Checkpoint { at, state, console: runner.console.said().len() });
        if detailed {
            all_registers.push(registers(runner)?);
        }
        if over {
            break;
        }
    }
    // One that is not done where another run was is told as a difference.
    if end.is_none() && options.window == Window::Done && !runner.console.is_done() {
        return Err(RunError::NoEnd(options.limit));
    }
    let console = runner.console.said().to_vec();
    Ok(Pass { start, checkpoints, console, registers: all_registers, run, compare })
}

/// So far apart that comparing costs one part in [`COST_SHARE`] of the emulation.
fn choose_spacing(pilot: &Pass) -> VirtualNs {
    let count = pilot.checkpoints.len().max(1) as u128;
    let length = pilot.checkpoints.last().map_or(0, |last| last.at.0 - pilot.start.at.0);
    let run = pilot.run.as_nanos().max(1);
    let compare = pilot.compare.as_nanos() / count;
    let wanted = compare * u128::from(COST_SHARE) * u128::from(length) / run;
    let wanted = u64::try_from(wanted).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    // Whole milliseconds are easier to read.
    VirtualNs(wanted.div_ceil(SHORTEST) * SHORTEST)
}

/// The first difference of two passes; checkpoints that only one of them has do not count.
fn difference(first: &Pass, second: &Pass) -> Option<Difference> {
    let start = (!first.start.is_same(&second.start)).then_some((&first.start, &second.start, None));
    let mut pairs = first.checkpoints.iter().enumerate().filter_map(|(index, mine)| {
        let (at, theirs) = second.checkpoints.iter().enumerate().find(|(_, theirs)| theirs.at == mine.at)?;
        let registers = first.registers.get(index).zip(second.registers.get(at));
        (!mine.is_same(theirs)).then_some((mine, theirs, registers))
    });
    let Some((mine, theirs, registers)) = start.or_else(|| pairs.next()) else {
        return (first.console != second.console)
            .then(|| Difference::words("the consoles say different things"));
    };
    let after = format_duration(Duration::from_nanos(mine.at.0 - first.start.at.0));
    let (here, there) = (mine.state.as_ref(), theirs.state.as_ref());
    let apart = here.zip(there).map_or_else(String::new, |(here, there)| describe(here, there));
    let mut words = format!("{after} after the quiescent point: {apart}");
    let apart: Vec<&str> = registers
        .map(|(mine, theirs)| mine.iter().zip(theirs).filter(|(one, other)| one != other))
        .into_iter()
        .flatten()
        .map(|((name, _), _)| name.as_str())
        .collect();
    if !apart.is_empty() {
        words.push_str(&format!("; registers {}", apart.join(" ")));
    }
    let pages = here.zip(there).map_or_else(Vec::new, |(here, there)| pages_between(here, there));
    Some(Difference { words, pages: pages.into_iter().take(8).map(|(_, offset)| offset).collect() })
}

/// Where two states differ, in words.
#[must_use]
pub fn describe(one: &StateDigest, other: &StateDigest) -> String {
    let mut parts = Vec::new();
    if one.virtual_ns != other.virtual_ns || one.instructions != other.instructions {
        let clock = |state: &StateDigest| match state.instructions {
            Some(count) => format!("{} ns, {count} instructions", state.virtual_ns),
            None => format!("{} ns", state.virtual_ns),
        };
        parts.push(format!("clocks ({}; {})", clock(one), clock(other)));
    }
    if one.ram != other.ram {
        let pages = pages_between(one, other);
        let names: Vec<String> =
            pages.iter().take(8).map(|(block, offset)| format!("{block}+{offset:#x}")).collect();
        parts.push(match names.is_empty() {
            true => format!("RAM ({} and {} pages written)", one.pages_differing, other.pages_differing),
            false => format!("RAM ({} pages: {})", pages.len(), names.join(", ")),
        });
    }
    let both = |one: Option<_>, other: Option<_>| one.is_some() && other.is_some() && one != other;
    if both(one.devices, other.devices) {
        let names = devices_between(one, other);
        parts.push(if names.is_empty() {
            "devices".to_owned()
        } else {
            format!("devices ({})", names.join(", "))
        });
    }
    if both(one.disks, other.disks) {
        parts.push("the disk".to_owned());
    }
    if parts.is_empty() { "nothing but the console".to_owned() } else { parts.join("; ") }
}

/// The pages that differ between two detailed states: block and offset, in order.
#[must_use]
pub fn pages_between(one: &StateDigest, other: &StateDigest) -> Vec<(String, u64)> {
    let (Some(one), Some(other)) = (&one.pages, &other.pages) else { return Vec::new() };
    let set = |pages: &[crate::target::marks::ChangedPage]| {
        pages.iter().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    let (one, other) = (set(one), set(other));
    let mut found: Vec<(String, u64)> =
        one.symmetric_difference(&other).map(|page| (page.block.clone(), page.offset)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The devices whose state differs between two detailed states.
#[must_use]
pub fn devices_between(one: &StateDigest, other: &StateDigest) -> Vec<String> {
    let (Some(one), Some(other)) = (&one.sections, &other.sections) else { return Vec::new() };
    let theirs = |name: &str, instance| other.iter().find(|s| s.name == name && s.instance == instance);
    one.iter()
        .filter(|mine| theirs(&mine.name, mine.instance).is_none_or(|theirs| theirs.digest != mine.digest))
        .map(|mine| mine.name.clone())
        .collect()
}

/// Bytes as hexadecimal text.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::marks::{ChangedPage, DeviceSection, Digest128};
    use std::io::Write;

    fn state(ram: u128) -> StateDigest {
        StateDigest {
            digest: Some(Digest128(ram)),
            ram: Digest128(ram),
            devices: Some(Digest128(1)),
            disks: Some(Digest128(0)),
            virtual_ns: 10,
            instructions: Some(9),
            pages_differing: 2,
            pages_hashed: 2,
            sections: None,
            pages: None,
        }
    }

    fn page(offset: u64, digest: u128) -> ChangedPage {
        ChangedPage { block: "ram0".into(), offset, digest: Digest128(digest) }
    }

    fn pass_of(states: &[u128]) -> Pass {
        let checkpoint = |(index, ram): (usize, &u128)| Checkpoint {
            at: VirtualNs(10 + index as u64 * 1_000_000),
            state: Some(state(*ram)),
            console: 0,
        };
        let mut checkpoints: Vec<Checkpoint> = states.iter().enumerate().map(checkpoint).collect();
        Pass {
            start: checkpoints.remove(0),
            checkpoints,
            console: Vec::new(),
            registers: Vec::new(),
            run: Duration::from_millis(1),
            compare: Duration::from_micros(100),
        }
    }

    #[test]
    fn the_first_difference_of_two_runs_is_named() {
        assert!(difference(&pass_of(&[1, 2, 3]), &pass_of(&[1, 2, 3])).is_none());
        let (mut one, mut other) = (pass_of(&[1, 2, 3]), pass_of(&[1, 4, 5]));
        let text = difference(&one, &other).unwrap().words;
        assert_eq!(text, "1.0 ms after the quiescent point: RAM (2 and 2 pages written)");
        one.checkpoints[0].state.as_mut().unwrap().pages = Some(vec![page(0x1000, 2)]);
        other.checkpoints[0].state.as_mut().unwrap().pages = Some(vec![page(0x1000, 3)]);
        one.registers = vec![vec![("x0".into(), "0x1".into()), ("x1".into(), "0x1".into())]];
        other.registers = vec![vec![("x0".into(), "0x1".into()), ("x1".into(), "0x2".into())]];
        let found = difference(&one, &other).unwrap();
        assert_eq!(found.words, "1.0 ms after the quiescent point: RAM (1 pages: ram0+0x1000); registers x1");
        assert_eq!(found.pages, [0x1000]);
        let mut other = pass_of(&[1, 2, 3]);
        other.console = b"x".to_vec();
        assert!(difference(&pass_of(&[1, 2, 3]), &other).unwrap().words.contains("consoles"));
    }

    #[test]
    fn pages_and_devices_that_differ_are_listed() {
        let mut one = state(1);
        let mut other = state(2);
        one.pages = Some(vec![page(0, 1), page(0x1000, 2)]);
        other.pages = Some(vec![page(0x1000, 3), page(0x2000, 4), page(0, 1)]);
        let expected = [("ram0".to_owned(), 0x1000), ("ram0".to_owned(), 0x2000)];
        assert_eq!(pages_between(&one, &other), expected);
        let section =
            |digest| DeviceSection { name: "cpu".into(), instance: 0, bytes: 1, digest: Digest128(digest) };
        one.sections = Some(vec![section(1)]);
        other.sections = Some(vec![section(2)]);
        other.devices = Some(Digest128(2));
        assert_eq!(devices_between(&one, &other), ["cpu"]);
        assert_eq!(describe(&one, &other), "RAM (2 pages: ram0+0x1000, ram0+0x2000); devices (cpu)");
    }

    #[test]
    fn checkpoints_cost_one_part_in_twenty() {
        // 2 ms of virtual time in 1 ms, a comparison in 50 µs: one in 1 ms, which are 2 of virtual time.
        let pilot = pass_of(&[1, 2, 3]);
        assert_eq!(choose_spacing(&pilot), VirtualNs(2_000_000));
    }

    #[test]
    fn a_console_is_heard_from_a_moment_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        std::fs::write(&path, "before\n").unwrap();
        let mut console = Console::open(&path, &Signals::default()).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        write!(file, "FLIPSIM DONE workload=x dig").unwrap();
        console.poll().unwrap();
        assert_eq!((console.said(), console.is_done()), (&b"FLIPSIM DONE workload=x dig"[..], false));
        writeln!(file, "est=0000000000000000 status=ok").unwrap();
        console.poll().unwrap();
        assert!(console.is_done());
        console.restart(&[]).unwrap();
        console.poll().unwrap();
        assert_eq!((console.said(), console.is_done()), (&b""[..], false));
        // What was said before a mark is said again after going back to it.
        console.restart(b"FLIPSIM DONE workload=x dig").unwrap();
        writeln!(file, "est=0000000000000000 status=ok").unwrap();
        console.poll().unwrap();
        assert!(console.is_done() && console.said().starts_with(b"FLIPSIM DONE workload=x digest"));
    }

    #[test]
    fn a_stored_golden_run_is_read_back() {
        let golden = Golden {
            format: FORMAT,
            template: "abc".into(),
            window: Window::Done,
            spacing: VirtualNs(5),
            start: Checkpoint { at: VirtualNs(1), state: Some(state(1)), console: 0 },
            checkpoints: vec![Checkpoint { at: VirtualNs(6), state: Some(state(2)), console: 3 }],
            console: vec![0, 255, 10],
            registers: vec![("x0".into(), "0x1".into())],
            difference: None,
            pages_apart: Vec::new(),
            abilities: Abilities::ALL,
            signals: Signals::default(),
            run_seconds: 1.0,
            compare_seconds: 0.5,
        };
        let text = serde_json::to_string(&golden).unwrap();
        let back: Golden = serde_json::from_str(&text).unwrap();
        assert_eq!((back.console.as_slice(), back.end()), (&golden.console[..], VirtualNs(6)));
        assert_eq!(back.checkpoints, golden.checkpoints);
    }
}
