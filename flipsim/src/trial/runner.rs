//! A clone that runs to a time, and what its console said on the way.
//!
//! Invariant: **every wait for a guest has an end on the host's clock**.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::console::signals::{Awaited, Reached, Signals};
use crate::console::{LineSplitter, Unmet};
use crate::fault::GuestNames;
use crate::files;
use crate::machine::{CONSOLE_DEVICE, End};
use crate::target::{Capabilities, Digest128, MarkError, StateDigest, Target, TargetError};
use crate::trial::clone::guest::{CloneDisk, CloneGuest, CloneOptions};
use crate::trial::template::error::TemplateError;
use crate::trial::template::saved::Template;
use crate::units::VirtualNs;
use crate::wire::qmp::QmpError;

/// What went wrong with a guest that was to run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A clone does not start.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The guest is lost, or will not.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The state cannot be marked, gone back to or read.
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
    #[error(
        "without any fault the workload is not done after {after} of virtual time: {unmet}; see that --done is what \
         it prints, or give the window a length (--window TIME)"
    )]
    NoEnd {
        /// How long the run was.
        after: VirtualNs,
        /// What was waited for, and what came.
        unmet: Box<Unmet>,
    },
    /// The guest waits for something itself.
    #[error(
        "without any fault the guest idles, and has said nothing for {after} of its time: {unmet}; if it does go on \
         later, give it longer (--silence TIME), or give the window a length (--window TIME)"
    )]
    Idle {
        /// For how long.
        after: VirtualNs,
        /// What was waited for, and what came.
        unmet: Box<Unmet>,
    },
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

/// What a console said since a moment.
#[derive(Debug)]
pub struct ConsoleListener {
    path: PathBuf,
    file: File,
    said: Vec<u8>,
    lines: LineSplitter,
    signals: Signals,
    done: bool,
    /// How many bytes of `said` another guest has said.
    before: usize,
    /// QEMU's number of the first byte after those.
    first: u64,
}

impl ConsoleListener {
    /// Listens from now on, to a guest that speaks by these signals.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn open(path: &Path, signals: &Signals) -> Result<Self, RunError> {
        let error = |cause| RunError::Console { path: path.to_owned(), cause };
        let file = files::open_to_empty(path).map_err(error)?;
        let mut console = ConsoleListener {
            path: path.to_owned(),
            file,
            said: Vec::new(),
            lines: LineSplitter::default(),
            signals: signals.clone(),
            done: false,
            before: 0,
            first: 0,
        };
        console.restart(&[])?;
        console.first = 0;
        Ok(console)
    }

    /// Forgets what was said so far, but for `before`, and listens from now on. The log is emptied: a worker
    /// runs thousands of trials, and a clone's log is memory.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn restart(&mut self, before: &[u8]) -> Result<(), RunError> {
        let length = self.file.metadata().map(|meta| meta.len());
        let emptied = length.and_then(|length| {
            self.file.set_len(0)?;
            self.file.rewind()?;
            Ok(length)
        });
        self.first += emptied.map_err(|cause| RunError::Console { path: self.path.clone(), cause })?;
        self.before = before.len();
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

    /// The part of [`said`](Self::said) that this guest has said itself.
    #[must_use]
    pub fn own(&self) -> Range<usize> {
        self.before..self.said.len()
    }

    /// Where the line ends by which it first said that it is done.
    #[must_use]
    pub fn done_end(&self) -> Option<usize> {
        self.signals.done_end(&self.said)
    }

    /// Whether the workload said that it is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}

/// Where a guest got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// To the time asked for.
    There,
    /// To its own end, at this time.
    Ended(End, VirtualNs),
}

/// A clone with its console.
#[derive(Debug)]
pub struct Runner {
    /// The clone.
    pub guest: CloneGuest,
    /// What it says.
    pub console: ConsoleListener,
    capabilities: Capabilities,
    /// Where its clock must be by now, as the host's clock says; of no meaning where QEMU can be asked.
    reckoned: VirtualNs,
}

/// So many starts in a row a guest is given whose QEMU dies at its start.
pub const STARTS: usize = 3;

/// Tries a start up to [`STARTS`] times: one that fails says nothing of the next.
///
/// # Errors
/// That of the last start; at once where the caller wants to stop, and of anything that is no start.
pub fn persistently<T>(
    interrupted: fn() -> bool,
    mut start: impl FnMut() -> Result<T, RunError>,
) -> Result<T, RunError> {
    let mut left = STARTS;
    loop {
        left -= 1;
        match start() {
            Err(error @ RunError::Template(_)) if left > 0 && !error.is_interrupted() && !interrupted() => {}
            other => return other,
        }
    }
}

impl RunError {
    /// A file of a guest's that cannot be read; or its reader was interrupted.
    pub(super) fn unread(path: &Path, cause: io::Error) -> RunError {
        match files::is_given_up(&cause) {
            true => RunError::Target(TargetError::Interrupted),
            false => RunError::Console { path: path.to_owned(), cause },
        }
    }

    /// Whether nothing is wrong but that the caller wanted to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        match self {
            RunError::Target(TargetError::Interrupted) => true,
            RunError::Template(error) => error.is_interrupted(),
            _ => false,
        }
    }
}

impl Runner {
    /// As [`Runner::start`], [`persistently`].
    ///
    /// # Errors
    /// It does not start, however often.
    pub fn start_persistently(
        template: &Template,
        parent: &Path,
        disk: CloneDisk,
        interrupted: fn() -> bool,
    ) -> Result<Self, RunError> {
        persistently(interrupted, || Runner::start(template, parent, disk, interrupted))
    }

    /// Starts a clone. Its disk writes stay in QEMU's memory, or for `snapshots` in a separate layer.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(
        template: &Template,
        parent: &Path,
        disk: CloneDisk,
        interrupted: fn() -> bool,
    ) -> Result<Self, RunError> {
        let options = CloneOptions { disk, interrupted, ..CloneOptions::below(parent) };
        let mut guest = CloneGuest::start(template, &options)?;
        if template.info().capabilities.mark {
            // A QEMU that is lost here has not started.
            guest.target().stop_at_storms().map_err(TemplateError::from)?;
        }
        if template.info().capabilities.times {
            let kept = guest.target().keep_write_times(CONSOLE_DEVICE, MAX_CONSOLE as u64);
            kept.map_err(TemplateError::from)?;
        }
        let console = ConsoleListener::open(&guest.console(), &template.info().plan.signals)?;
        let capabilities = template.info().capabilities;
        Ok(Runner { guest, console, capabilities, reckoned: template.virtual_time() })
    }

    /// The guest's own names for places, read off it at its quiescent point, where it stands. One that stands at power-on
    /// is let run until userspace, where its kernel lies where its symbols are, and is taken back.
    ///
    /// # Errors
    /// QEMU is lost, or its memory map cannot be read. A kernel without symbols is no error.
    pub fn names(&mut self, template: &Template) -> Result<GuestNames, RunError> {
        let map = self.guest.target().memory_map(template.iomem().as_deref());
        let map = map.map_err(TemplateError::from)?;
        let plan = &template.info().plan;
        let runs_on = plan.signals.start_at_power_on() && plan.vmlinux.is_some() && self.capabilities.mark;
        if runs_on {
            self.guest.target().mark()?;
            let mut at = self.time()?.0;
            for _ in 0..MOST_STRIDES {
                at += STRIDE;
                if self.run_to(VirtualNs(at), WALL)? != Got::There
                    || plan.signals.reached(self.console.said()) == Some(Reached::Userspace)
                {
                    break;
                }
            }
        }
        let names = GuestNames::read(map, plan.vmlinux.as_deref(), &plan.spec.arch, self.guest.target());
        if runs_on {
            self.guest.target().rewind()?;
            self.console.restart(&[])?;
        }
        Ok(names)
    }

    /// The state that the stopped guest is in, where its QEMU can tell: this is the one place that knows how.
    /// `detailed` lists devices and pages.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state(&mut self, detailed: bool) -> Result<Option<StateDigest>, RunError> {
        if !self.capabilities.mark {
            return Ok(None);
        }
        Ok(Some(self.guest.target().state_digest(detailed)?))
    }

    /// As [`Runner::state`], of devices and disks only where RAM is as expected; `detailed` lists the devices then.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state_if(&mut self, ram: Digest128, detailed: bool) -> Result<Option<StateDigest>, RunError> {
        if !self.capabilities.mark {
            return Ok(None);
        }
        Ok(Some(self.guest.target().state_digest_if(ram, detailed)?))
    }

    /// When the bytes at these places of what the console has said were written, by this guest and not by one
    /// that it goes on from; `None` where that is not known.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn times_of(&mut self, places: &[usize]) -> Result<Vec<Option<VirtualNs>>, RunError> {
        if !self.capabilities.times || places.is_empty() {
            return Ok(vec![None; places.len()]);
        }
        let ConsoleListener { before, first, .. } = self.console;
        // No byte has this number.
        let number =
            |place: &usize| place.checked_sub(before).map_or(i64::MAX as u64, |at| first + at as u64);
        let numbers: Vec<u64> = places.iter().map(number).collect();
        Ok(self.guest.target().write_times(&numbers)?)
    }

    /// From now on it is kept when the guest idles, where QEMU can.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn keep_idle(&mut self) -> Result<(), RunError> {
        if self.capabilities.times {
            self.guest.target().keep_idle_spans(MOST_IDLE)?;
        }
        Ok(())
    }

    /// When it idled since then; `None` where that is not known.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn idle(&mut self) -> Result<Option<Vec<(VirtualNs, u64)>>, RunError> {
        if !self.capabilities.times {
            return Ok(None);
        }
        Ok(self.guest.target().idle_spans()?)
    }

    /// The error of a guest that ended where none should.
    pub(crate) fn ended(&self, how: String) -> RunError {
        let text = String::from_utf8_lossy(self.console.said());
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        let said = lines.into_iter().rev().collect::<Vec<_>>().join(" | ");
        RunError::Ended { how, said }
    }

    /// What the workload did not say that it is done by.
    pub(crate) fn not_done(&self) -> Box<Unmet> {
        let mut lines = LineSplitter::default();
        let whole = lines.push(self.console.said());
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        Box::new(Unmet::new(&self.console.signals, Awaited::Done, &whole, &lines.partial()))
    }

    /// What time it is for the guest; reckoned by the host's clock where QEMU cannot be asked.
    ///
    /// # Errors
    /// The guest is lost.
    pub fn time(&mut self) -> Result<VirtualNs, RunError> {
        Ok(self.guest.target().virtual_time()?.unwrap_or(self.reckoned))
    }

    /// Says what time it is for a guest that was restored.
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
        let events = events.iter().map(|event| (event.name.as_str(), &event.data));
        // It did not get to its time: what ended it and is not the guest's is the host's.
        let end = End::from_events(Some(&status), events).unwrap_or(End::Other);
        Ok(Got::Ended(end, at))
    }
}

/// How far a guest is walked at a time where nothing is looked at.
const STRIDE: u64 = 100_000_000;

/// How many such strides a guest is let run to userspace for the names of its memory, and how long each may take.
const MOST_STRIDES: u32 = 300;
const WALL: Duration = Duration::from_secs(60);

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

/// The registers of a stopped guest, with their values in hex.
///
/// # Errors
/// The guest is lost.
pub fn registers(runner: &mut Runner) -> Result<Vec<(String, String)>, RunError> {
    let target = runner.guest.target();
    let values = target.read_registers()?;
    let names = target.registers().iter().map(|register| register.name.clone());
    Ok(names.zip(values.iter().map(|value| crate::text::hex_value(value))).collect())
}

/// How many times a guest may idle in a run for all of them to be known.
const MOST_IDLE: u64 = 1 << 18;

/// The longest console that is kept, in bytes: one that says more says nothing new.
pub const MAX_CONSOLE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::process::ProcessError;

    fn died() -> RunError {
        let (status, log) = ("exit status: 1".to_owned(), String::new());
        TemplateError::from(ProcessError::Ended { status, log }).into()
    }

    #[test]
    fn a_guest_has_three_starts_and_no_more() {
        for deaths in 0..5 {
            let mut starts = 0;
            let started = persistently(
                || false,
                || {
                    starts += 1;
                    if starts > deaths { Ok(starts) } else { Err(died()) }
                },
            );
            assert_eq!(started.is_ok(), deaths < STARTS, "{deaths}");
            assert_eq!(starts, STARTS.min(deaths + 1), "{deaths}");
        }
    }

    #[test]
    fn a_caller_that_wants_to_stop_and_an_error_that_is_no_start_are_heeded_at_once() {
        let mut starts = 0;
        let mut again = |interrupted: fn() -> bool, error: fn() -> RunError| {
            starts = 0;
            let failed = persistently(interrupted, || -> Result<(), RunError> {
                starts += 1;
                Err(error())
            });
            (failed.unwrap_err().is_interrupted(), starts)
        };
        assert_eq!(again(|| true, died), (false, 1));
        assert_eq!(again(|| false, || TargetError::Interrupted.into()), (true, 1));
        assert_eq!(again(|| false, || TemplateError::from(ProcessError::Interrupted).into()), (true, 1));
        assert_eq!(again(|| false, || RunError::NotRestored(String::new())), (false, 1));
    }
}
