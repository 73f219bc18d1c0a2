//! Following a guest from its start to the quiescent point.
//!
//! Invariant: a guest counts as ready only when it said so itself, or when its signals
//! ([`Signals`]) ask for no such line.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::console::signals::{Approach, Awaited, Next, Signals};
use crate::console::{ConsoleTail, Marker, Unmet, marker};
use crate::machine::error::FolderError;
use crate::machine::folder::RunDir;
use crate::machine::spec::{CONSOLE_LOG, CONSOLE_SOCKET};
use crate::target::{LiveTarget, SILENCE, Silence, Target, TargetError, VirtualClock};
use crate::units::VirtualNs;
use crate::wire::net::Endpoint;

/// A guest that did not get to the quiescent point.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// It panicked on the way.
    #[error("the guest panicked while it booted: {line}\nits console is in {log}")]
    Panicked {
        /// The kernel's line.
        line: String,
        /// The console log.
        log: PathBuf,
    },
    /// QEMU ended.
    #[error(
        "QEMU ended before the guest was ready; its last words:\n{qemu}\nthe guest's console is in {log}"
    )]
    Ended {
        /// The end of QEMU's own log.
        qemu: String,
        /// The console log.
        log: PathBuf,
    },
    /// Nothing came in time.
    #[error(
        "the guest was not ready after {} s: {unmet}; its console is in {log}; give it longer (`boot --timeout`), see \
         that --ready and --dialogue are what it prints, or that the kernel has the fragments of kernel-config/",
        after.as_secs()
    )]
    Late {
        /// How long the wait was.
        after: Duration,
        /// What for, and what came.
        unmet: Box<Unmet>,
        /// The console log.
        log: PathBuf,
    },
    /// The guest waits for something itself.
    #[error(
        "the guest idles, and has said nothing for {after} of its time: {unmet}; its console is in {log}; if it does go on \
         later, give it longer (--silence TIME)"
    )]
    Idle {
        /// For how long.
        after: VirtualNs,
        /// What was waited for, and what came.
        unmet: Box<Unmet>,
        /// The console log.
        log: PathBuf,
    },
    /// The console log or the run folder.
    #[error(transparent)]
    Run(#[from] FolderError),
    /// The console log cannot be read.
    #[error("cannot read the guest's console: {0}")]
    Console(#[from] io::Error),
    /// Nothing can be typed.
    #[error("cannot type at the guest's console {socket}: {cause}; is another client connected there?")]
    Type {
        /// The console's socket.
        socket: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The guest could not be let run for the next step of its boot.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl BootError {
    /// Whether it is rather what the lab was to wait for that is wrong than the guest.
    #[must_use]
    pub fn is_wrong_use(&self) -> bool {
        match self {
            BootError::Idle { .. } => true,
            BootError::Late { unmet, .. } => unmet.is_users || unmet.at_a_prompt,
            _ => false,
        }
    }
}

/// How long a guest is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// On the host's clock, whatever the guest does.
    pub timeout: Duration,
    /// On its own exact clock, for one that idles and says nothing.
    pub silence: VirtualNs,
}

impl Patience {
    /// For so long on the host's clock, and as long as usual for one that idles.
    #[must_use]
    pub fn of(timeout: Duration) -> Patience {
        Patience { timeout, silence: SILENCE }
    }
}

/// So many of the last lines are looked through for one that is like what was waited for.
const KEPT_LINES: usize = 200;

/// How far a guest with the exact clock is let run between two looks at its console. Its boot is the
/// same each time, so it is always found ready after the same number of steps.
pub const BOOT_STEP: VirtualNs = VirtualNs(10_000_000);

/// The same once it has said that it will be ready soon: as far as its workload has got at most when it is stopped.
pub const FINE_STEP: VirtualNs = VirtualNs(100_000);

/// The rest between the line that READY will come and READY, in seconds. It is longer than a [`BOOT_STEP`], so that
/// the line is seen in time; READY is then said where the workload begins, and no idle time lies between.
pub const BOOT_REST: &str = "0.02";

/// The rest between READY and the workload, in seconds, of a guest that is stopped when the host gets to it.
pub const LONG_BOOT_REST: &str = "0.2";

/// A guest at the quiescent point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The workload that is about to start; empty for none.
    pub workload: String,
    /// How long the boot took on the host's clock.
    pub took: Duration,
    /// Whether the guest gave its memory map, over the share or on the console.
    pub has_iomem: bool,
}

/// Follows the console until the guest is at its quiescent point, by the signals that it has; keeps the memory
/// map that it leaves in `share` or prints. Every line goes to `on_line`; `alive` is asked whether QEMU still
/// runs, `stop_waiting` whether to give up. Between two looks `pause` lets some time pass: so much on the
/// guest's clock ([`BOOT_STEP`] or [`FINE_STEP`]) or some on the host's; where that clock is exact it says what it shows then, and a guest
/// that only idles is not waited for until the time-out.
///
/// # Errors
/// The guest panics, QEMU ends, the patience runs out, nothing can be typed, or the caller asks to stop.
#[expect(clippy::too_many_arguments, reason = "each is one thing to ask the caller for")]
pub fn wait_ready(
    run: &RunDir,
    share: Option<&std::path::Path>,
    signals: &Signals,
    patience: Patience,
    mut alive: impl FnMut() -> bool,
    mut stop_waiting: impl FnMut() -> bool,
    mut on_line: impl FnMut(&str),
    mut pause: impl FnMut(VirtualNs) -> Result<Option<VirtualClock>, BootError>,
) -> Result<Ready, BootError> {
    let start = Instant::now();
    let started = std::fs::metadata(run.path()).and_then(|meta| meta.created()).ok();
    let log = run.file(CONSOLE_LOG);
    let mut tail = ConsoleTail::from_start(&log);
    let mut approach = Approach::new(signals);
    let mut printed_map: Option<String> = None;
    let mut in_map = false;
    let mut workload = String::new();
    let mut said: VecDeque<String> = VecDeque::new();
    let mut before = String::new();
    let mut silence = Silence::default();
    let mut step = BOOT_STEP;
    // What is still to be typed, and for how many pauses nothing is to be done.
    let mut keys: VecDeque<u8> = VecDeque::new();
    let mut rest = 0u64;
    loop {
        // Asked before the log is read: what QEMU wrote before it ended is then still seen.
        let was_alive = alive();
        let mut typed = None;
        for line in tail.poll()? {
            on_line(&line);
            match marker(&line) {
                Some(Marker::IomemBegin) => {
                    in_map = true;
                    printed_map = Some(String::new());
                }
                Some(Marker::IomemEnd) => in_map = false,
                Some(Marker::Soon) => step = FINE_STEP,
                Some(Marker::Ready(name)) => {
                    workload = name;
                    step = BOOT_STEP;
                    approach.marked();
                }
                Some(Marker::Trouble(kind, line)) if kind.is_panic() => {
                    return Err(BootError::Panicked { line, log });
                }
                _ if in_map => {
                    // A kernel message in the middle is no line of the map.
                    if let Some(map) = printed_map.as_mut().filter(|_| line.contains(" : ")) {
                        map.push_str(&line);
                        map.push('\n');
                    }
                }
                _ => {}
            }
            // Two prompts cannot be open at a time.
            if let Next::Type(text) = approach.line(&line) {
                typed = Some(text);
            }
            silence.broken();
            if said.len() == KEPT_LINES {
                said.pop_front();
            }
            said.push_back(line);
        }
        let partial = tail.partial();
        if partial != before {
            silence.broken();
            before.clone_from(&partial);
        }
        if typed.is_none()
            && let Next::Type(text) = approach.partial(&partial)
        {
            typed = Some(text);
        }
        if let Some(text) = typed {
            keys.extend(text.bytes().chain([b'\r']));
        }
        if !was_alive {
            return Err(BootError::Ended { qemu: run.qemu_log_tail(), log });
        }
        if let Some(key) = keys.pop_front() {
            press(run, key)?;
        }
        if keys.is_empty() && rest == 0 {
            match approach.settle() {
                Next::Ready => {
                    let map = printed_map.or_else(|| share.and_then(|folder| shared_map(folder, started)));
                    if let Some(map) = &map {
                        run.save_iomem(map)?;
                    }
                    return Ok(Ready { workload, took: start.elapsed(), has_iomem: map.is_some() });
                }
                Next::Rest(time) => rest = time.0.div_ceil(BOOT_STEP.0),
                Next::Wait | Next::Type(_) => {}
            }
        }
        if stop_waiting() {
            return Err(BootError::Interrupted);
        }
        let awaited = approach.awaits();
        let unmet = || {
            let lines: Vec<&str> = said.iter().map(String::as_str).collect();
            let unmet = Unmet::new(signals, awaited.unwrap_or(Awaited::Ready), &lines, &partial);
            Box::new(match awaited {
                Some(_) => unmet,
                None => Unmet { waits_for: "its time".to_owned(), fits: None, ..unmet },
            })
        };
        if start.elapsed() > patience.timeout {
            return Err(BootError::Late { after: patience.timeout, unmet: unmet(), log });
        }
        // What is being typed, or is left alone for a time, need not say anything.
        if awaited.is_none() || !keys.is_empty() || rest > 0 {
            silence.broken();
        }
        if let Some(clock) = pause(step)?
            && let Some(after) = silence.at(&clock).filter(|idled| *idled >= patience.silence)
        {
            return Err(BootError::Idle { after, unmet: unmet(), log });
        }
        rest = rest.saturating_sub(1);
    }
}

/// How long QEMU may take to read one key.
const KEY_WAIT: Duration = Duration::from_secs(5);

/// Types one key at the console's socket, and waits until QEMU has handed it to the guest's UART. One at a time:
/// a UART whose FIFO is off takes no more before the guest has read it. QEMU closes the connection once it has
/// read all and its end.
fn press(run: &RunDir, key: u8) -> Result<(), BootError> {
    let socket = run.file(CONSOLE_SOCKET);
    let typed = || -> io::Result<()> {
        let mut stream = Endpoint::Unix(socket.clone()).connect(KEY_WAIT).map_err(io::Error::other)?;
        stream.set_read_timeout(Some(KEY_WAIT))?;
        stream.write_all(&[key])?;
        rustix::net::shutdown(&stream, rustix::net::Shutdown::Write)?;
        // What the guest says meanwhile is in the log.
        io::copy(&mut stream, &mut io::sink()).map(|_| ())
    };
    typed().map_err(|cause| BootError::Type { socket, cause })
}

/// The `pause` for a guest that runs by itself.
///
/// # Errors
/// None.
pub fn rest(_: VirtualNs) -> Result<Option<VirtualClock>, BootError> {
    std::thread::sleep(Duration::from_millis(10));
    Ok(None)
}

/// The `pause` for a guest with the exact clock, which this lets run for so long.
///
/// # Errors
/// The guest is lost.
pub fn step(target: &mut LiveTarget, length: VirtualNs) -> Result<Option<VirtualClock>, BootError> {
    match target.run_for(length) {
        Ok(arrival) if arrival.early.is_none() => Ok(target.clock()?),
        // It panicked or switched itself off: its console has the last word, and gets time for it.
        Ok(_) => rest(length),
        Err(TargetError::Interrupted) => Err(BootError::Interrupted),
        Err(error) => Err(error.into()),
    }
}

/// The map that the guest left in the shared folder. The guest may put anything there, and an earlier
/// guest may have left a file of the same name: only a plain, short file of this run is taken.
fn shared_map(folder: &std::path::Path, started: Option<SystemTime>) -> Option<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(folder.join("iomem.txt")).ok()?;
    let meta = file.metadata().ok()?;
    let fresh = started.is_none_or(|started| meta.modified().is_ok_and(|modified| modified >= started));
    if !meta.is_file() || !fresh {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_MAP).read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// The longest memory map that is taken, in bytes; real ones have a few kilobytes.
const MAX_MAP: u64 = 1 << 20;

#[cfg(test)]
mod tests;
