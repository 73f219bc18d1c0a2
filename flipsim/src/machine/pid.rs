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

/// Of `/proc/PID/stat` (proc(5)) what the lab reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Whether the process runs, and is not one that has ended and was not collected yet.
    pub is_alive: bool,
    /// The process that started it.
    pub parent: u32,
    /// How much of a processor's time it has had, in the kernel's clock ticks.
    pub ticks: u64,
    /// When it started, in the kernel's clock ticks since the host's boot.
    pub start: u64,
}

impl ProcessStat {
    /// Of a process; `None` for one that is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        ProcessStat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything, so the fields are counted from its last bracket; the
        // state behind it is the third.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(ProcessStat {
            is_alive: !matches!(*fields.first()?, "Z" | "X"),
            parent: u32::try_from(number(4)?).ok()?,
            ticks: number(14)? + number(15)?,
            start: number(22)?,
        })
    }
}

fn start_time(pid: u32) -> Option<u64> {
    ProcessStat::of(pid).filter(|stat| stat.is_alive).map(|stat| stat.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_from_the_last_bracket_of_a_name() {
        let line = "7 (a) Z 1 (b) S 42 7 7 0 -1 4194304 95 0 0 0 30 12 0 0 20 0 1 0 8861 2437120 340";
        let expected = ProcessStat { is_alive: true, parent: 42, ticks: 42, start: 8861 };
        assert_eq!(ProcessStat::parse(line), Some(expected));
        let ended = ProcessStat { is_alive: false, ..expected };
        assert_eq!(ProcessStat::parse(&line.replace(") S", ") Z")), Some(ended));
        assert_eq!(ProcessStat::parse("7 (a) S 42"), None);
    }

    #[test]
    fn this_process_runs_and_a_number_that_is_not_in_use_does_not() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive() && !ProcessId { start: me.start + 1, ..me }.is_alive());
        assert_eq!(ProcessStat::of(u32::MAX), None);
    }
}
