//! Ctrl-C, and the signals that mean the same: once ends in order, twice at once.
//!
//! Invariant: no child process outlives this one. Those that run a build are registered here, so
//! that the second signal takes them along.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// The exit code of a command that a signal ended.
pub const EXIT_CODE: u8 = 130;

/// A second signal within this time is the same wish: `timeout` and service managers signal a
/// process by itself and once more with its group.
const SAME_WISH: Duration = Duration::from_millis(500);

static RAISED: AtomicBool = AtomicBool::new(false);
static FIRST: Mutex<Option<Instant>> = Mutex::new(None);
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// The user wants it to end. `main` turns it into exit code 130.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; run the same command again to go on")]
pub struct Interrupted;

/// Installs the handler for SIGINT, SIGTERM and SIGHUP. To be called once, by `main`.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        // ctrlc calls this in a separate thread, not in the signal handler: locks are fine.
        let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        let since = first.get_or_insert_with(Instant::now).elapsed();
        if RAISED.swap(true, Ordering::SeqCst) && since > SAME_WISH {
            kill_groups();
            std::process::exit(i32::from(EXIT_CODE));
        }
    })
    .context("cannot install a handler for Ctrl-C")
}

/// Whether a signal has come.
pub fn raised() -> bool {
    RAISED.load(Ordering::SeqCst)
}

/// Forgets a signal that has been heeded: a prompt goes on after the command that it ended.
pub fn clear() {
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = None;
    RAISED.store(false, Ordering::SeqCst);
}

/// An error once a signal has come. What loops or waits calls it often.
pub fn check() -> Result<(), Interrupted> {
    if raised() { Err(Interrupted) } else { Ok(()) }
}

/// As [`check`], for what reads: an error of input.
pub fn check_read() -> io::Result<()> {
    check().map_err(io::Error::other)
}

/// Sleeps, unless a signal comes.
pub fn sleep(time: Duration) -> Result<(), Interrupted> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// A process group that a second signal must end; forgotten when dropped.
#[derive(Debug)]
pub struct GroupGuard(Pid);

impl GroupGuard {
    /// Registers the group that `leader` leads.
    pub fn new(leader: Pid) -> GroupGuard {
        groups().insert(leader.as_raw_nonzero().get());
        GroupGuard(leader)
    }

    /// Sends a signal to the whole group. A group that is gone is no error.
    pub fn signal(&self, signal: Signal) {
        let _gone = kill_process_group(self.0, signal);
    }

    /// Waits until the group has no member left, for two seconds at most.
    pub fn wait_until_gone(&self) {
        wait_until_gone(self.0, Duration::from_secs(2));
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        groups().remove(&self.0.as_raw_nonzero().get());
    }
}

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_groups() {
    let groups: Vec<Pid> = groups().iter().filter_map(|raw| Pid::from_raw(*raw)).collect();
    for group in &groups {
        let _gone = kill_process_group(*group, Signal::KILL);
    }
    for group in groups {
        wait_until_gone(group, Duration::from_millis(500));
    }
}

/// Waits until a group has no member left, for `limit` at most: a process that was killed takes a
/// moment to go, and until then it may still write.
fn wait_until_gone(group: Pid, limit: Duration) {
    let end = Instant::now() + limit;
    while test_kill_process_group(group).is_ok() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}
