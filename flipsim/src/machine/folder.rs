//! The folder of one guest: sockets, console log, records of flips, and what the guest is.
//!
//! `run.json` is written before QEMU starts and again with its process id, so that a guest can
//! always be found and stopped, whatever happened to the command that started it.
//!
//! Invariant: a run folder belongs to its user alone (mode 0700), and a guest that is being started or is running keeps
//! its name.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::files::{LockFile, lock_soon, open_or_make, write_atomically};
use crate::machine::error::{FolderError, io_error, private_folder};
use crate::machine::hold::Hold;
use crate::machine::pid::ProcessId;
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
    /// The image below the guest's disk.
    pub image: Option<PathBuf>,
    /// The shared folder.
    pub share: Option<PathBuf>,
    /// The workload.
    pub workload: Option<String>,
    /// What `qemu --version` says.
    pub qemu_version: String,
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
    pub fn create(runs: &Path, name: Option<&str>) -> Result<(Self, Starting), FolderError> {
        private_folder(runs, true)?;
        if let Some(name) = name {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
                return Err(FolderError::BadName(name.to_owned()));
            }
            let run = RunDir { path: runs.join(name) };
            if run.path.exists() {
                if run.is_in_use() {
                    return Err(FolderError::Taken(name.to_owned()));
                }
                // An ended guest of this name makes way under a name that is never asked for.
                let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S-%f");
                let aside = runs.join(format!("{name}.{stamp}"));
                fs::rename(&run.path, &aside).map_err(io_error("move aside", &run.path))?;
            }
            private_folder(&run.path, false)?;
            let starting = run.lock().ok_or_else(|| FolderError::Taken(name.to_owned()))?;
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

    /// Locks the folder for a guest that is being started; `None` when another process has.
    fn lock(&self) -> Option<Starting> {
        let file = open_or_make(&self.file("start.lock")).ok()?;
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
    pub fn list(runs: &Path) -> Result<Vec<(RunDir, RunRecord)>, FolderError> {
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
    pub fn find_running(runs: &Path, name: Option<&str>) -> Result<(RunDir, RunRecord), FolderError> {
        let mut running: Vec<_> =
            Self::list(runs)?.into_iter().filter(|(_, r)| r.process.is_some_and(|p| p.is_alive())).collect();
        let names = running.iter().map(|(_, r)| r.name.clone()).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => {
                let at = running.iter().position(|(_, r)| r.name == name);
                at.map(|at| running.swap_remove(at)).ok_or_else(|| FolderError::Unknown {
                    name: name.to_owned(),
                    known: if names.is_empty() {
                        "; start one with `cargo xtask boot --headless`".to_owned()
                    } else {
                        format!("; running: {names}")
                    },
                })
            }
            None if running.len() > 1 => Err(FolderError::Several(names)),
            None => running.pop().ok_or(FolderError::None),
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
    /// The system refused.
    pub fn save(&self, record: &RunRecord) -> Result<(), FolderError> {
        let path = self.file("run.json");
        let text = serde_json::to_string_pretty(record).expect("a run's record has only text keys");
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// The file is missing, damaged, or of another version.
    pub fn load(&self) -> Result<RunRecord, FolderError> {
        let path = self.file("run.json");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let record: RunRecord = serde_json::from_str(&text)
            .map_err(|error| FolderError::Record { path: path.clone(), cause: error.to_string() })?;
        if record.format != FORMAT {
            let cause = format!("it is of format {}, this lab writes {FORMAT}", record.format);
            return Err(FolderError::Record { path, cause });
        }
        Ok(record)
    }

    /// Writes the guest's specification, for the process that starts it.
    ///
    /// # Errors
    /// The system refused.
    pub fn save_spec(&self, spec: &MachineSpec) -> Result<(), FolderError> {
        let path = self.file("spec.json");
        let text = serde_json::to_string_pretty(spec)
            .map_err(|error| FolderError::Record { path: path.clone(), cause: error.to_string() })?;
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Reads the guest's specification.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn load_spec(&self) -> Result<MachineSpec, FolderError> {
        let path = self.file("spec.json");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        serde_json::from_str(&text).map_err(|error| FolderError::Record { path, cause: error.to_string() })
    }

    /// The guest's own memory map, when it gave one.
    #[must_use]
    pub fn iomem(&self) -> Option<String> {
        fs::read_to_string(self.file(IOMEM)).ok()
    }

    /// Keeps the guest's own memory map.
    ///
    /// # Errors
    /// The system refused.
    pub fn save_iomem(&self, text: &str) -> Result<(), FolderError> {
        let path = self.file(IOMEM);
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Takes the guest for this process alone, to stop it and change it.
    ///
    /// # Errors
    /// Another process holds it, or the system refused.
    pub fn hold(&self) -> Result<Hold, FolderError> {
        let path = self.file("held.json");
        let mut file = LockFile::open(&path).map_err(io_error("open", &path))?;
        match file.lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FolderError::Held(self.name())),
            Err(fs::TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        let text = file.read().map_err(io_error("read", &path))?;
        // A note that was cut by a full disk says no more than that a process was here.
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
    pub fn gdb(&self, record: &RunRecord) -> Result<Endpoint, FolderError> {
        if record.gdb == spec::GDB_SOCKET {
            return Ok(Endpoint::Unix(self.file(spec::GDB_SOCKET)));
        }
        record.gdb.parse().map_err(|error: crate::wire::net::EndpointError| FolderError::Record {
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

/// A guest that is being started; its folder is not taken as long as this lives.
#[derive(Debug)]
pub struct Starting {
    _lock: fs::File,
}

#[cfg(test)]
mod tests;
