//! Watching a guest that runs without a terminal: its events are written down (all but `STOP` and
//! `RESUME`), and it ends with its watcher.
//!
//! Invariant: the watcher is QEMU's parent, so QEMU ends when the watcher does. Until the guest is
//! handed over ("released") the watcher itself hangs on a pipe to the command that asked for the
//! guest, and ends when that command does.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::machine::end::EXIT;
use crate::machine::folder::RunDir;
use crate::wire::qmp::QmpClient;

/// The file of events in the run folder, a JSON line each.
pub const EVENTS: &str = "events.jsonl";

/// The byte that hands the guest over.
pub const RELEASE: u8 = b'r';

/// One event of the machine, as kept in [`EVENTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// QEMU's name of the event, or `EXIT` for the end of QEMU itself.
    pub event: String,
    /// QEMU's details.
    pub data: serde_json::Value,
    /// The host's time, UTC.
    pub host_time: String,
}

/// Why the watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// QEMU ended.
    QemuEnded,
    /// The command that asked for the guest ended before it was handed over.
    Abandoned,
}

/// Watches until QEMU ends, or until the command on the other side of `leash` ends without having
/// sent [`RELEASE`]. QEMU is gone when this returns.
///
/// # Errors
/// The event log cannot be written.
pub fn watch(
    child: &mut Child,
    mut qmp: QmpClient,
    run: &RunDir,
    leash: &mut (impl io::Read + AsFd),
) -> io::Result<WatchEnd> {
    let mut log = files::append_private(&run.file(EVENTS))?;
    let mut write = |event: &str, data: serde_json::Value| {
        // Every flip stops and resumes the guest: two lines a flip would say nothing.
        if matches!(event, "STOP" | "RESUME") {
            return;
        }
        let host_time = jiff::Timestamp::now().to_string();
        let line = LoggedEvent { event: event.to_owned(), data, host_time };
        let text = serde_json::to_string(&line).expect("an event has only text keys");
        // A full disk must not end the guest.
        if let Err(error) = log.write_all(format!("{text}\n").as_bytes()) {
            eprintln!("error: cannot write {EVENTS}: {error}");
        }
    };
    let mut released = false;
    let mut monitor_open = true;
    let end = loop {
        if !released {
            let mut fds = [PollFd::new(leash, PollFlags::IN)];
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0) {
                let mut byte = [0];
                match leash.read(&mut byte)? {
                    1 if byte[0] == RELEASE => released = true,
                    0 => {
                        let _ = child.kill();
                        let _ = child.wait();
                        break WatchEnd::Abandoned;
                    }
                    _ => {}
                }
            }
        }
        if monitor_open {
            let wait = if released { Duration::from_millis(500) } else { Duration::from_millis(1) };
            // All that has come: each flip brings two events, and one that says more must not wait behind them.
            let mut next = qmp.wait_event(&[], wait);
            while let Ok(Some(event)) = next {
                write(&event.name, event.data);
                next = qmp.wait_event(&[], Duration::ZERO);
            }
            monitor_open = next.is_ok();
        } else if released {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(status) = child.try_wait()? {
            while let Ok(Some(event)) = qmp.wait_event(&[], Duration::ZERO) {
                write(&event.name, event.data);
            }
            write(EXIT, serde_json::Value::String(status.to_string()));
            break WatchEnd::QemuEnded;
        }
    };
    run.remove_sockets();
    Ok(end)
}

/// The events in lines of [`EVENTS`], oldest first; lines that are not whole are passed over.
#[must_use]
pub fn parse_events(lines: &[String]) -> Vec<LoggedEvent> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
