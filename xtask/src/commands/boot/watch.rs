//! `guest-watch`, which only `boot` starts: the parent of a headless QEMU.
//!
//! Invariant: **QEMU does not outlive it.**

use std::path::Path;

use anyhow::Result;
use flipsim::machine::folder::RunDir;
use flipsim::machine::watch::{WatchEnd, watch};
use flipsim::machine::{ProcessId, process};

use crate::interrupt;

/// `guest-watch`, which only `boot` starts: the parent of a headless QEMU.
pub fn watch_guest(folder: &Path) -> Result<()> {
    let run = RunDir::at(folder);
    let spec = run.load_spec()?;
    let mut child = process::spawn(&spec, &run)?;
    let mut record = run.load()?;
    record.process = ProcessId::of(child.id());
    let watched = run.save(&record).map_err(anyhow::Error::from).and_then(|()| {
        let qmp = process::wait_for_monitor(&mut child, &run, interrupt::raised)?;
        Ok(watch(&mut child, qmp, &run, &mut std::io::stdin())?)
    });
    if watched.is_err() {
        let _ = child.kill();
        let _ = child.wait();
        run.remove_sockets();
    }
    match watched? {
        WatchEnd::QemuEnded | WatchEnd::Abandoned => Ok(()),
    }
}
