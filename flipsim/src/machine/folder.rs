//! The folder of one guest: sockets, console log, records of flips, and what the guest is.
//!
//! `run.json` is written before QEMU starts and again with its process id, so that a guest can
//! always be found and stopped, whatever happened to the command that started it.
//!
//! Invariant: a run folder belongs to its user alone (mode 0700), and a process is only ever
//! signalled when its start time is the recorded one.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::machine::spec::{self, Clock, MachineSpec};
use crate::wire::net::Endpoint;

/// The version of `run.json`.
pub const FORMAT: u32 = 1;

/// The guest's own memory map, in the run folder.
const IOMEM: &str = "iomem.txt";

/// What a guest is, as kept in `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The version of this file.
    pub format: u32,
    /// The guest's name, unique in the lab.
    pub name: String,
    /// The architecture.
    pub arch: Arch,
    /// QEMU's process, once it was started.
    pub process: Option<ProcessId>,
    /// When it was started, UTC.
    pub started: Timestamp,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// RAM in bytes.
    pub memory: u64,
    /// The number of vCPUs.
    pub cpus: u32,
    /// What its clock follows.
    #[serde(default)]
    pub clock: Clock,
    /// Where the gdb stub listens, as an endpoint's text; relative paths start at the run folder.
    pub gdb: String,
    /// The user's own monitor socket.
    pub monitor: Option<PathBuf>,
    /// The kernel's boot image.
    pub kernel: PathBuf,
    /// The kernel with its symbols.
    pub vmlinux: Option<PathBuf>,
    /// The image that the guest's disk stands on.
    pub image: Option<PathBuf>,
    /// The shared folder.
    pub share: Option<PathBuf>,
    /// The workload.
    pub workload: Option<String>,
    /// What `qemu --version` says.
    pub qemu_version: String,
}

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

/// A run folder that cannot be made, found or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system said no.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// `run.json` is not ours.
    #[error("{path} cannot be read ({cause}); it may be of another version of this lab: delete its folder")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// No guest of this name runs.
    #[error("no guest `{name}` is running{known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that run, as `; running: …`, or how to start one.
        known: String,
    },
    /// No guest runs.
    #[error("no guest is running; start one with `cargo xtask boot --headless`")]
    None,
    /// Several guests run.
    #[error("several guests are running ({0}); choose one with --guest NAME")]
    Several(String),
    /// The name is taken by a guest that runs.
    #[error(
        "a guest `{0}` is running already; stop it with `cargo xtask boot stop {0}`, or choose another --name"
    )]
    Taken(String),
    /// Another process holds the guest.
    #[error("another command is working on guest `{0}` at this moment; wait for its end, or stop it")]
    Held(String),
    /// A name that is no plain word.
    #[error("`{0}` is no name for a guest: use letters, digits, `-` and `_`, 32 at most")]
    BadName(String),
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |cause| RunError::Io { doing, path, cause }
}

/// The folder of one guest.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the folder of a new guest below `runs`, named as asked or `g1`, `g2`, … .
    ///
    /// # Errors
    /// The name is taken by a running guest or is no name, or the folder cannot be made.
    pub fn create(runs: &Path, name: Option<&str>) -> Result<(Self, Starting), RunError> {
        private_folder(runs, true)?;
        if let Some(name) = name {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
                return Err(RunError::BadName(name.to_owned()));
            }
            let run = RunDir { path: runs.join(name) };
            if run.path.exists() {
                if run.is_in_use() {
                    return Err(RunError::Taken(name.to_owned()));
                }
                // An ended guest of this name makes way under a name that nobody asks for.
                let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S-%f");
                let aside = runs.join(format!("{name}.{stamp}"));
                fs::rename(&run.path, &aside).map_err(io_error("move aside", &run.path))?;
            }
            private_folder(&run.path, false)?;
            let starting = run.lock().ok_or_else(|| RunError::Taken(name.to_owned()))?;
            return Ok((run, starting));
        }
        let taken = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            // A number of nine digits was chosen by the user and starts no count.
            let number = name.split('.').next()?.strip_prefix('g')?.parse::<u64>().ok()?;
            (number < 1_000_000_000).then_some(number)
        };
        let entries = fs::read_dir(runs).map_err(io_error("read", runs))?;
        let mut number = entries.filter_map(taken).max().unwrap_or(0) + 1;
        loop {
            let run = RunDir { path: runs.join(format!("g{number}")) };
            match fs::DirBuilder::new().mode(0o700).create(&run.path) {
                Ok(()) => {
                    if let Some(starting) = run.lock() {
                        return Ok((run, starting));
                    }
                }
                // Another boot was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("create", &run.path)(error)),
            }
            number = number.saturating_add(1);
        }
    }

    /// Locks the folder for a guest that is being started; `None` when somebody else has.
    fn lock(&self) -> Option<Starting> {
        let file = fs::File::create(self.file("start.lock")).ok()?;
        lock_soon(&file).ok()?;
        Some(Starting { _lock: file })
    }

    /// Whether a guest runs here or is being started.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        let running = self.load().is_ok_and(|record| record.process.is_some_and(|p| p.is_alive()));
        running || self.lock().is_none()
    }

    /// The folder at this path, which must exist.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        RunDir { path: path.to_owned() }
    }

    /// All guests below `runs` whose records can be read, oldest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(runs: &Path) -> Result<Vec<(RunDir, RunRecord)>, RunError> {
        let entries = match fs::read_dir(runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", runs)(error)),
        };
        let mut found: Vec<(RunDir, RunRecord)> = entries
            .filter_map(|entry| {
                let run = RunDir { path: entry.ok()?.path() };
                let record = run.load().ok()?;
                Some((run, record))
            })
            .collect();
        found.sort_by_key(|(_, record)| record.started);
        Ok(found)
    }

    /// The guest with this name, or the only one that runs.
    ///
    /// # Errors
    /// No such guest runs, or a name is needed to choose.
    pub fn find_running(runs: &Path, name: Option<&str>) -> Result<(RunDir, RunRecord), RunError> {
        let mut running: Vec<_> =
            Self::list(runs)?.into_iter().filter(|(_, r)| r.process.is_some_and(|p| p.is_alive())).collect();
        let names = running.iter().map(|(_, r)| r.name.clone()).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => {
                let at = running.iter().position(|(_, r)| r.name == name);
                at.map(|at| running.swap_remove(at)).ok_or_else(|| RunError::Unknown {
                    name: name.to_owned(),
                    known: if names.is_empty() {
                        "; start one with `cargo xtask boot --headless`".to_owned()
                    } else {
                        format!("; running: {names}")
                    },
                })
            }
            None if running.len() > 1 => Err(RunError::Several(names)),
            None => running.pop().ok_or(RunError::None),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name, which is the guest's.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// A file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `run.json`, whole or not at all.
    ///
    /// # Errors
    /// The system said no.
    pub fn save(&self, record: &RunRecord) -> Result<(), RunError> {
        let path = self.file("run.json");
        let text = serde_json::to_string_pretty(record).expect("a run's record has only text keys");
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// The file is missing, damaged, or of another version.
    pub fn load(&self) -> Result<RunRecord, RunError> {
        let path = self.file("run.json");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let record: RunRecord = serde_json::from_str(&text)
            .map_err(|error| RunError::Record { path: path.clone(), cause: error.to_string() })?;
        if record.format != FORMAT {
            let cause = format!("it is of format {}, this lab writes {FORMAT}", record.format);
            return Err(RunError::Record { path, cause });
        }
        Ok(record)
    }

    /// Writes the guest's specification, for the process that starts it.
    ///
    /// # Errors
    /// The system said no.
    pub fn save_spec(&self, spec: &MachineSpec) -> Result<(), RunError> {
        let path = self.file("spec.json");
        let text = serde_json::to_string_pretty(spec)
            .map_err(|error| RunError::Record { path: path.clone(), cause: error.to_string() })?;
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Reads the guest's specification.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn load_spec(&self) -> Result<MachineSpec, RunError> {
        let path = self.file("spec.json");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        serde_json::from_str(&text).map_err(|error| RunError::Record { path, cause: error.to_string() })
    }

    /// The guest's own memory map, when it gave one.
    #[must_use]
    pub fn iomem(&self) -> Option<String> {
        fs::read_to_string(self.file(IOMEM)).ok()
    }

    /// Keeps the guest's own memory map.
    ///
    /// # Errors
    /// The system said no.
    pub fn save_iomem(&self, text: &str) -> Result<(), RunError> {
        let path = self.file(IOMEM);
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Takes the guest for this process alone, to stop it and change it.
    ///
    /// # Errors
    /// Another process holds it, or the system said no.
    pub fn hold(&self) -> Result<Hold, RunError> {
        let path = self.file("held.json");
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(io_error("open", &path))?;
        match lock_soon(&file) {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(RunError::Held(self.name())),
            Err(fs::TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io_error("read", &path))?;
        // A note that was cut by a full disk says no more than that somebody was here.
        let left = (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap_or_default());
        Ok(Hold { file, path, left })
    }

    /// The QMP monitor for users and injection.
    #[must_use]
    pub fn qmp(&self) -> Endpoint {
        Endpoint::Unix(self.file(spec::QMP_SOCKET))
    }

    /// The gdb stub, as recorded.
    ///
    /// # Errors
    /// The record holds no endpoint.
    pub fn gdb(&self, record: &RunRecord) -> Result<Endpoint, RunError> {
        if record.gdb == spec::GDB_SOCKET {
            return Ok(Endpoint::Unix(self.file(spec::GDB_SOCKET)));
        }
        record.gdb.parse().map_err(|error: crate::wire::net::EndpointError| RunError::Record {
            path: self.file("run.json"),
            cause: error.to_string(),
        })
    }

    /// The QMP monitor of the process that watches over the guest.
    #[must_use]
    pub fn watch(&self) -> Endpoint {
        Endpoint::Unix(self.file(spec::WATCH_SOCKET))
    }

    /// Removes the sockets of a guest that has ended; the logs stay.
    pub fn remove_sockets(&self) {
        let names =
            [spec::QMP_SOCKET, spec::WATCH_SOCKET, spec::HMP_SOCKET, spec::GDB_SOCKET, spec::CONSOLE_SOCKET];
        for name in names {
            // Most often QEMU has removed it itself.
            let _ = fs::remove_file(self.file(name));
        }
    }

    /// The last lines of what QEMU itself said.
    #[must_use]
    pub fn qemu_log_tail(&self) -> String {
        let text = fs::read(self.file("qemu.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// What a process that holds a guest will have to put right at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldNote {
    /// Whether the guest ran before it was taken.
    pub was_running: bool,
    /// Registers that are being probed, with their values in hex, least significant byte first.
    pub registers: Vec<(String, String)>,
    /// A snapshot of this command's own, to be deleted.
    #[serde(default)]
    pub snapshot: Option<String>,
}

impl Default for HoldNote {
    fn default() -> Self {
        HoldNote { was_running: true, registers: Vec::new(), snapshot: None }
    }
}

/// A guest that this process holds alone. The note outlives a process that is killed, so that the
/// next one can put right what it left.
#[derive(Debug)]
pub struct Hold {
    file: fs::File,
    path: PathBuf,
    left: Option<HoldNote>,
}

impl Hold {
    /// What a process that was killed while it held the guest has left to do.
    #[must_use]
    pub fn left_behind(&self) -> Option<&HoldNote> {
        self.left.as_ref()
    }

    /// Writes down what is to be put right.
    ///
    /// # Errors
    /// The system said no.
    pub fn note(&mut self, note: &HoldNote) -> Result<(), RunError> {
        let text = serde_json::to_string(note).expect("a note has only text keys");
        self.write(text.as_bytes())
    }

    /// Everything is put right.
    ///
    /// # Errors
    /// The system said no.
    pub fn clear(&mut self) -> Result<(), RunError> {
        self.write(b"")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RunError> {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(io::SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(bytes));
        written.map_err(io_error("write", &self.path))
    }
}

/// A guest that is being started; nobody takes its folder as long as this lives.
#[derive(Debug)]
pub struct Starting {
    _lock: fs::File,
}

/// Writes a file through a neighbour and a rename, so that a reader sees the old or the new text.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

fn private_folder(path: &Path, may_exist: bool) -> Result<(), RunError> {
    fs::DirBuilder::new().recursive(may_exist).mode(0o700).create(path).map_err(io_error("create", path))
}

/// Locks a file, or says that another process has it locked. One that is just being started has, for the
/// moment between fork and exec, whatever its parent had open: that is waited for.
///
/// # Errors
/// As [`fs::File::try_lock`].
pub fn lock_soon(file: &fs::File) -> Result<(), fs::TryLockError> {
    let end = std::time::Instant::now() + Duration::from_millis(200);
    loop {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) if std::time::Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record(name: &str, process: Option<ProcessId>) -> RunRecord {
        RunRecord {
            format: FORMAT,
            name: name.into(),
            arch: Arch::default(),
            process,
            started: Timestamp::now(),
            command: vec!["qemu".into()],
            memory: 128 << 20,
            cpus: 1,
            clock: Clock::Real,
            gdb: "gdb.sock".into(),
            monitor: None,
            kernel: "/k".into(),
            vmlinux: None,
            image: None,
            share: None,
            workload: None,
            qemu_version: String::new(),
        }
    }

    fn me() -> ProcessId {
        ProcessId::of(std::process::id()).unwrap()
    }

    #[test]
    fn guests_are_numbered_and_their_folders_private() {
        let lab = tempfile::tempdir().unwrap();
        let runs = lab.path().join("runs");
        let first = RunDir::create(&runs, None).unwrap().0;
        let second = RunDir::create(&runs, None).unwrap().0;
        assert_eq!((first.name(), second.name()), ("g1".into(), "g2".into()));
        let mode = fs::metadata(first.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_record_survives_and_a_foreign_one_is_told() {
        let lab = tempfile::tempdir().unwrap();
        let run = RunDir::create(lab.path(), Some("one")).unwrap().0;
        let record = record("one", Some(me()));
        run.save(&record).unwrap();
        assert_eq!(run.load().unwrap(), record);
        let text = fs::read_to_string(run.file("run.json")).unwrap();
        fs::write(run.file("run.json"), text.replace("\"format\": 1", "\"format\": 9")).unwrap();
        assert!(run.load().unwrap_err().to_string().contains("format 9, this lab writes 1"));
        fs::write(run.file("run.json"), "{").unwrap();
        assert!(matches!(run.load(), Err(RunError::Record { .. })));
    }

    #[test]
    fn the_only_running_guest_needs_no_name() {
        let lab = tempfile::tempdir().unwrap();
        assert!(matches!(RunDir::find_running(lab.path(), None), Err(RunError::None)));
        let save = |name: &str, process| {
            RunDir::create(lab.path(), Some(name)).unwrap().0.save(&record(name, process)).unwrap();
        };
        save("dead", Some(ProcessId { pid: std::process::id(), start: 1 }));
        save("live", Some(me()));
        assert_eq!(RunDir::find_running(lab.path(), None).unwrap().1.name, "live");
        let text = RunDir::find_running(lab.path(), Some("dead")).unwrap_err().to_string();
        assert_eq!(text, "no guest `dead` is running; running: live");
        save("other", Some(me()));
        let text = RunDir::find_running(lab.path(), None).unwrap_err().to_string();
        assert!(text.contains("live, other"), "{text}");
    }

    #[test]
    fn a_running_guests_name_is_taken_and_an_ended_ones_is_not() {
        let lab = tempfile::tempdir().unwrap();
        let run = RunDir::create(lab.path(), Some("x")).unwrap().0;
        run.save(&record("x", Some(me()))).unwrap();
        assert!(matches!(RunDir::create(lab.path(), Some("x")), Err(RunError::Taken(_))));
        run.save(&record("x", None)).unwrap();
        fs::write(run.file("console.log"), "kept").unwrap();
        RunDir::create(lab.path(), Some("x")).unwrap();
        assert_eq!(fs::read_dir(lab.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_guest_that_a_killed_process_held_is_recognised() {
        let lab = tempfile::tempdir().unwrap();
        let run = RunDir::create(lab.path(), Some("x")).unwrap().0;
        let mut hold = run.hold().unwrap();
        assert_eq!(hold.left_behind(), None);
        let note = HoldNote {
            was_running: false,
            registers: vec![("x0".into(), "00".into())],
            ..HoldNote::default()
        };
        hold.note(&note).unwrap();
        // Dropped without `clear`, as by a kill.
        drop(hold);
        let mut hold = run.hold().unwrap();
        assert_eq!(hold.left_behind(), Some(&note));
        hold.clear().unwrap();
        drop(hold);
        assert_eq!(run.hold().unwrap().left_behind(), None);
    }

    #[test]
    fn two_processes_do_not_hold_one_guest() {
        let lab = tempfile::tempdir().unwrap();
        let run = RunDir::create(lab.path(), Some("x")).unwrap().0;
        let mut hold = run.hold().unwrap();
        hold.note(&HoldNote::default()).unwrap();
        assert!(matches!(run.hold(), Err(RunError::Held(_))));
        drop(hold);
        assert!(run.hold().unwrap().left_behind().is_some(), "a refused one takes no note away");
    }

    #[test]
    fn a_guest_that_is_being_started_keeps_its_folder() {
        let lab = tempfile::tempdir().unwrap();
        let (run, starting) = RunDir::create(lab.path(), Some("x")).unwrap();
        assert!(matches!(RunDir::create(lab.path(), Some("x")), Err(RunError::Taken(_))));
        assert!(run.is_in_use());
        drop(starting);
        assert!(!run.is_in_use());
    }

    #[test]
    fn an_odd_name_does_not_end_the_count() {
        let lab = tempfile::tempdir().unwrap();
        RunDir::create(lab.path(), Some("g18446744073709551615")).unwrap();
        assert_eq!(RunDir::create(lab.path(), None).unwrap().0.name(), "g1");
    }

    #[test]
    fn names_are_plain_words() {
        let lab = tempfile::tempdir().unwrap();
        for bad in ["", "../x", "a b", "a/b", &"x".repeat(33)] {
            assert!(matches!(RunDir::create(lab.path(), Some(bad)), Err(RunError::BadName(_))), "{bad}");
        }
    }

    #[test]
    fn a_process_number_that_was_used_again_is_not_the_process() {
        assert!(me().is_alive());
        assert!(!ProcessId { start: me().start + 1, ..me() }.is_alive());
    }
}
