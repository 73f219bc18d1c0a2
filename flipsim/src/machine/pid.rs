//! A process of the host, known by its number and its start time.
//!
//! Invariant: **a process is only signalled when its start time is the recorded one**.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for another one that got the same number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// When it started, in the kernel's clock ticks since the host's boot.
    pub start: u64,
}

impl ProcessId {
    /// The identity of a process that runs now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(ProcessId { pid, start: start_time(pid)? })
    }

    /// Whether the process still runs. One that ended and was not collected yet does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // The process may end between the check and the signal; then there is nothing to do.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until the process has ended; whether it did within the time.
    #[must_use]
    pub fn wait_gone(&self, timeout: Duration) -> bool {
        let deadline = std::time::Instant::now() + timeout;
        while self.is_alive() {
            if std::time::Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)); `None` for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so the fields are counted from its last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
