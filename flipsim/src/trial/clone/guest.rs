//! A clone: a QEMU process that starts at a template's quiescent point.
//!
//! It maps the template's RAM copy-on-write, so that its start takes the same time for every size of
//! guest, and loads the device state. One trial, one clone.
//!
//! Invariants: **a clone writes nothing of its template's**. It has its own private folder, and both
//! end with it: QEMU dies with this process, whatever ends it, and a folder that a killed process left is
//! removed by the next start. **What its console says is kept in memory**: QEMU drops in silence what a full
//! disk does not take, and a guest that finished would look like one that hangs.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::json;

use crate::machine::folder::RunDir;
use crate::machine::process::{OwnedQemu, Streams};
use crate::machine::spec::{CONSOLE_LOG, Console, DiskWrites, GDB_SOCKET, MachineSpec, RamFile};
use crate::machine::{ProcessId, process};
use crate::memory::RangeSet;
use crate::target::LiveTarget;
use crate::target::state::{PageDigest, State, StateError};
use crate::trial::clone::written;
use crate::trial::template::error::{TemplateError, io_error};
use crate::trial::template::saved::{Template, ignore_shared};
use crate::wire::net::{Endpoint, Timeouts};
use crate::wire::qmp::{Event, QmpClient, QmpError};

/// How long QEMU may take to load the device state, some hundred kilobytes.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);

/// Where a clone's disk writes go. The template's disk is only read in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloneDisk {
    /// Into a qcow2 layer without a name, in the clone's folder. Works with every QEMU, `savevm` and
    /// `loadvm` included.
    #[default]
    Layer,
    /// Into QEMU's memory, by the block filter `flipsim-cow`; by a QEMU without it as [`CloneDisk::Layer`].
    Memory,
}

/// How a clone is started.
#[derive(Clone, Debug)]
pub struct CloneOptions {
    /// The folder that its own folder is made in; it is made when missing, for this user alone.
    pub parent: PathBuf,
    /// What its folder's name starts with.
    pub name: String,
    /// Where its disk writes go.
    pub disk: CloneDisk,
    /// Asked often, for as long as it lives; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl CloneOptions {
    /// A clone with its folder below `parent`.
    #[must_use]
    pub fn below(parent: &Path) -> Self {
        CloneOptions {
            parent: parent.to_owned(),
            name: "clone".to_owned(),
            disk: CloneDisk::default(),
            interrupted: || false,
        }
    }
}

/// A guest that started at a template's quiescent point. Dropping it kills QEMU and removes its folder.
///
/// It has no watcher: its owner reads its [`events`](Self::events) (`GUEST_PANICKED`,
/// `SHUTDOWN` with its reason, `STOP`, `RESUME`). A guest that panics, resets or switches itself off
/// leaves QEMU there, stopped; from then on it must not be resumed.
#[derive(Debug)]
pub struct CloneGuest {
    // In this order they are dropped: QEMU is killed, for there is nothing in it to be kept and a stuck
    // one would not answer; the target then finds no QEMU; at last the folder goes.
    qemu: OwnedQemu,
    target: LiveTarget,
    run: Folder,
    ram: RangeSet,
    /// What `console.log` in its folder leads to.
    _console: File,
}

impl CloneGuest {
    /// Starts a clone; it is stopped at the template's virtual time. May be called from any thread.
    ///
    /// # Errors
    /// QEMU does not start or does not load the state.
    pub fn start(template: &Template, options: &CloneOptions) -> Result<Self, TemplateError> {
        let run = Folder::make(options)?;
        let console = make_console(&run.0.file(CONSOLE_LOG))?;
        let input = template.device_state();
        let input = File::open(&input).map_err(io_error("open", &input))?;
        let output = console.try_clone().map_err(io_error("open", &run.0.file(CONSOLE_LOG)))?;
        let streams = Streams { input: Some(input), output: Some(output), deaf: true };
        let mut qemu = OwnedQemu(process::spawn_with(&spec(template, options), &run.0, streams)?);
        let monitor = process::wait_for_monitor(&mut qemu.0, &run.0, options.interrupted)?;
        let restored = restore(monitor, &mut qemu, &run.0, options.interrupted);
        // QEMU's own complaint of a process that ends is not what ended it.
        if (options.interrupted)() {
            return Err(process::ProcessError::Interrupted.into());
        }
        restored.map_err(|cause| TemplateError::Restore { folder: template.folder().to_owned(), cause })?;
        let gdb = Endpoint::Unix(run.0.file(GDB_SOCKET));
        let mut target = LiveTarget::attach(&gdb, Some(&run.0.qmp()), Timeouts::default())?;
        target.interrupt_by(options.interrupted);
        let (clock, wanted) = (target.clock()?, template.info().clock);
        if clock != wanted {
            let cause = format!("its clock is {clock:?} and not {wanted:?}");
            return Err(TemplateError::Restore { folder: template.folder().to_owned(), cause });
        }
        Ok(CloneGuest { qemu, target, run, ram: template.info().ram.clone(), _console: console })
    }

    /// The guest.
    pub fn target(&mut self) -> &mut LiveTarget {
        &mut self.target
    }

    /// QEMU's process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.qemu.0.id()
    }

    /// Its folder, which is QEMU's working folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.run.0.path()
    }

    /// The file with all that its console said since the quiescent point.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.run.0.file(CONSOLE_LOG)
    }

    /// What happened in QEMU since this was asked last, oldest first.
    ///
    /// # Errors
    /// QEMU is gone, and no event is left.
    pub fn events(&mut self) -> Result<Vec<Event>, QmpError> {
        self.target.take_events()
    }

    /// Its whole state, with the console since the quiescent point.
    ///
    /// # Errors
    /// QEMU is lost, or the disk is full.
    pub fn state(&mut self) -> Result<State, StateError> {
        let path = self.console();
        let console = fs::read(&path).map_err(|cause| StateError::Dump { path, cause })?;
        State::take(&mut self.target, &self.ram, self.run.0.path(), &console)
    }

    /// The pages in which its RAM differs from its template's, by their offset in RAM, with a digest of each.
    /// This looks at the process from outside, by the kernel's own record of what was written, and so is a
    /// check on what QEMU says of itself.
    ///
    /// # Errors
    /// QEMU is gone, or this system does not show another process's pages.
    pub fn written_pages(&self, template: &Template) -> io::Result<Vec<(u64, PageDigest)>> {
        written::differing(self.pid(), &template.ram_file(), self.target.interrupted())
    }
}

/// A clone's command line: its template's, but for the files that must not be written.
fn spec(template: &Template, options: &CloneOptions) -> MachineSpec {
    let writes = match options.disk {
        CloneDisk::Memory if template.info().capabilities.mark => DiskWrites::Memory,
        CloneDisk::Memory | CloneDisk::Layer => DiskWrites::Discard,
    };
    MachineSpec {
        disk: Some(template.info().plan.disk(template.disk(), writes)),
        ram_file: Some(RamFile { path: template.ram_file(), shared: false }),
        incoming: true,
        stay_at_end: true,
        console: Console::Output,
        ..template.info().plan.boot_spec()
    }
}

/// Has QEMU read the device state from its standard input.
fn restore(
    mut qmp: QmpClient,
    qemu: &mut OwnedQemu,
    run: &RunDir,
    interrupted: fn() -> bool,
) -> Result<(), String> {
    // QEMU ends itself when it cannot read the state, and says why in its log.
    let explained = |error: QmpError, qemu: &mut OwnedQemu| {
        qemu.kill();
        format!("{error}; QEMU's last words: {}", run.qemu_log_tail())
    };
    let asked = qmp
        .execute("migrate-set-capabilities", ignore_shared())
        .and_then(|_| qmp.execute("migrate-incoming", json!({ "uri": "fd:0" })));
    asked.map_err(|error| explained(error, qemu))?;
    let end = Instant::now() + RESTORE_LIMIT;
    loop {
        let status = qmp.status().map_err(|error| explained(error, qemu))?;
        match status.status.as_str() {
            "inmigrate" if interrupted() => return Err("interrupted".to_owned()),
            "inmigrate" if Instant::now() < end => std::thread::sleep(Duration::from_micros(500)),
            "inmigrate" => return Err(format!("not done after {} s", RESTORE_LIMIT.as_secs())),
            // A guest that was saved where it was switched on has not run.
            "paused" | "prelaunch" => return Ok(()),
            other => return Err(format!("QEMU's state is `{other}` and not `paused`")),
        }
    }
}

/// A file in memory that can be opened by a path for as long as it is held here.
fn make_console(path: &Path) -> Result<File, TemplateError> {
    let file = memfd_create("console", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let file = File::from(file.map_err(io_error("make memory for", path))?);
    let place = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    symlink(place, path).map_err(io_error("create", path))?;
    Ok(file)
}

/// A guest's private folder, which is removed when this is dropped, or else by the next one that is made in its parent.
#[derive(Debug)]
pub struct Folder(RunDir);

impl Folder {
    /// Makes one, with the parent and the name of the options, and removes those that killed processes left.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(options: &CloneOptions) -> Result<Self, TemplateError> {
        sweep(&options.parent);
        Ok(Folder(RunDir::at(&make_folder(options)?)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now, the next start tries again once this process has ended.
        let _ = fs::remove_dir_all(self.0.path());
    }
}

/// Makes a private folder whose name says which process it belongs to: `NAME-PID-START-NUMBER`.
fn make_folder(options: &CloneOptions) -> Result<PathBuf, TemplateError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // QEMU works in the folder, and gets its name as well.
    let parent = std::path::absolute(&options.parent).map_err(io_error("find", &options.parent))?;
    let private = |recursive: bool, path: &Path| {
        let made = fs::DirBuilder::new().recursive(recursive).mode(0o700).create(path);
        made.map_err(io_error("create", path))
    };
    private(true, &parent)?;
    let pid = std::process::id();
    let start = ProcessId::of(pid).map_or(0, |process| process.start);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = parent.join(format!("{}-{pid}-{start}-{number}", options.name));
    private(false, &path)?;
    Ok(path)
}

/// Removes the folders of clones whose process has ended without doing so.
pub fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let owner = entry.file_name().to_str().and_then(owner);
        if owner.is_some_and(|owner| !owner.is_alive()) {
            // Another process may be sweeping too, and nothing depends on this.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that a folder's name names.
fn owner(name: &str) -> Option<ProcessId> {
    let mut parts = name.rsplit('-');
    parts.next()?.parse::<u64>().ok()?;
    let start = parts.next()?.parse().ok()?;
    let pid = parts.next()?.parse().ok()?;
    parts.next()?;
    Some(ProcessId { pid, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_processes_that_have_ended_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let mine = make_folder(&CloneOptions::below(parent.path())).unwrap();
        let me = ProcessId::of(std::process::id()).unwrap();
        // The same number, used again by another process.
        let left = parent.path().join(format!("clone-{}-{}-7", me.pid, me.start + 1));
        let others = ["notes", "a-b-c-d", "clone-1-2", "-1-2-3-x"].map(|name| parent.path().join(name));
        for folder in others.iter().chain([&left]) {
            fs::create_dir(folder).unwrap();
        }
        fs::write(left.join("console.log"), "").unwrap();
        sweep(parent.path());
        assert!(!left.exists());
        assert!(mine.is_dir() && others.iter().all(|folder| folder.is_dir()));
        sweep(&parent.path().join("missing"));
    }

    #[test]
    fn a_console_is_written_and_read_by_its_path_and_takes_no_disk() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONSOLE_LOG);
        let held = make_console(&path).unwrap();
        // As QEMU opens it.
        let mut qemu = File::options().append(true).create(true).open(&path).unwrap();
        qemu.write_all(b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(rustix::fs::fstatfs(&qemu).unwrap().f_type, 0x0102_1994, "TMPFS_MAGIC");
        // What is said after it was emptied is at its beginning.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        qemu.write_all(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        drop((held, qemu));
        fs::remove_dir_all(folder.path()).unwrap();
    }

    #[test]
    fn every_clone_has_a_folder_of_its_own_whatever_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let options = CloneOptions { name: "w-1".into(), ..CloneOptions::below(parent.path()) };
        let (one, two) = (make_folder(&options).unwrap(), make_folder(&options).unwrap());
        assert_ne!(one, two);
        let name = one.file_name().unwrap().to_str().unwrap();
        assert_eq!(owner(name), ProcessId::of(std::process::id()));
    }
}
