//! A template: a guest at its quiescent point, saved once, from which any number of clones start
//! ([`crate::trial::clone`]).
//!
//! ```text
//! ram            the guest's RAM, with holes where it is zero     disk.qcow2  its disk, a layer on the image
//! device-state   everything else in QEMU, its clock included      iomem.txt   its own memory map
//! console.log    what it said up to there                         template.json, verified
//! ```
//!
//! RAM lies in a file that QEMU maps. The file is the RAM part of the saved state, so that it need
//! not be read to start a clone: a clone maps it copy-on-write (QEMU, `docs/devel/migration.rst`,
//! and the capability `x-ignore-shared`).
//!
//! Invariants: **a template is complete or not there**: it is made beside its place and renamed.
//! **It is never written** once it is there; [`Template::open`] refuses one that was.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::console::signals::Signals;
use crate::machine::boot::{self, BootError, Ready, wait_ready};
use crate::machine::folder::{RunDir, RunError};
use crate::machine::process::{self, ProcessError};
use crate::machine::spec::{
    CONSOLE_LOG, Clock, Console, Disk, DiskWrites, GDB_SOCKET, GdbPort, MachineSpec, RamFile,
};
use crate::memory::RangeSet;
use crate::target::TargetError;
use crate::target::live::{AttachError, LiveTarget, VirtualClock};
use crate::target::marks::MarkError;
use crate::target::state::{PAGE, State, StateError, page_digests};
use crate::trial::ability::Abilities;
use crate::trial::clone::{CloneGuest, CloneOptions};

use crate::units::Timing;
use crate::units::{GuestPhys, VirtualNs};
use crate::wire::net::{Endpoint, Timeouts};
use crate::wire::qmp::QmpError;

/// The version of `template.json`, and of all that lies beside it.
pub const FORMAT: u32 = 2;

const RAM: &str = "ram";
const DEVICE_STATE: &str = "device-state";
const DISK: &str = "disk.qcow2";
const INFO: &str = "template.json";
const VERIFIED: &str = "verified";

/// How long QEMU may take to write its device state, some hundred kilobytes.
const SAVE_LIMIT: Duration = Duration::from_secs(60);

/// A template that cannot be made, opened or believed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
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
    /// The folder holds no template, or one that was changed.
    #[error("the template {folder} cannot be used: {cause}; delete its folder, it is made again")]
    Unusable {
        /// The template.
        folder: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The clock asked for is not one that this QEMU can save a guest with.
    #[error(
        "a template needs a guest whose instructions QEMU itself executes, and the exact clock needs a QEMU \
         with the lab's patches"
    )]
    NotExact,
    /// QEMU cannot be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The guest did not become ready.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The guest cannot be taken hold of.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The guest was lost.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its state cannot be taken.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// What its QEMU can do is not to be had.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// A file in its folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// QEMU did not write the device state.
    #[error("QEMU cannot save the guest's device state: {0}")]
    Save(String),
    /// QEMU did not take the device state in.
    #[error("QEMU cannot start a clone of the template {folder}: {cause}")]
    Restore {
        /// The template.
        folder: PathBuf,
        /// What QEMU said.
        cause: String,
    },
    /// A clone is not what the template was.
    #[error(
        "a clone of the template {folder} differs from it: {what}; its runs would not be the template's, so it \
         is not used. Nothing was deleted; delete the folder to have it made again"
    )]
    Differs {
        /// The template.
        folder: PathBuf,
        /// Where they differ, in words.
        what: String,
    },
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TemplateError {
    let path = path.to_owned();
    move |cause| TemplateError::Io { doing, path, cause }
}

/// What tells a file from one that was changed, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStamp {
    /// In bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl FileStamp {
    fn of(path: &Path) -> Result<Self, TemplateError> {
        let meta = fs::metadata(path).map_err(io_error("look at", path))?;
        let modified_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(FileStamp { size: meta.len(), modified_ns })
    }
}

/// A file that a template was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where it was.
    pub path: PathBuf,
    /// What it was like.
    pub stamp: FileStamp,
    /// The digest of its content.
    pub sha256: String,
}

/// The image below a guest's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// The file, with its whole path.
    pub path: PathBuf,
    /// Its format, as QEMU names it.
    pub format: String,
}

/// All that a template depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplatePlan {
    /// The guest. Its share, disk, console, sockets and RAM file are not those given here: a template has
    /// nothing of the host's in it.
    pub spec: MachineSpec,
    /// The image below its disk.
    pub base: BaseImage,
    /// The program that makes the layer on top of it.
    pub qemu_img: PathBuf,
    /// What `qemu --version` says.
    pub qemu_version: String,
    /// The workload that it is about to start.
    pub workload: Option<String>,
    /// The kernel's symbols.
    pub vmlinux: Option<PathBuf>,
    /// How the guest gets to its quiescent point, and how it speaks.
    #[serde(default, skip_serializing_if = "Signals::are_the_labs")]
    pub signals: Signals,
}

impl TemplatePlan {
    /// 16 hexadecimal digits that stand for all that the template depends on: the whole specification,
    /// this version of the format, and each file with its path, size and time of change.
    ///
    /// # Errors
    /// A file is missing.
    pub fn key(&self) -> Result<String, TemplateError> {
        let mut stamps = BTreeMap::new();
        for (name, path) in self.files() {
            stamps.insert(name, FileStamp::of(path)?);
        }
        let plan = TemplatePlan { spec: self.boot_spec(), ..self.clone() };
        let text = json!({ "format": FORMAT, "plan": plan, "files": stamps }).to_string();
        Ok(hex(&Sha256::digest(text.as_bytes())[..8]))
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let Self { spec, base, vmlinux, .. } = self;
        let fixed = [
            ("qemu", spec.qemu.as_path()),
            ("kernel", spec.kernel.as_path()),
            ("image", base.path.as_path()),
        ];
        let others = [("initrd", &spec.initrd), ("vmlinux", vmlinux)];
        let others = others.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?)));
        fixed.into_iter().chain(others)
    }

    /// The guest as it is booted, in a folder of its own.
    #[must_use]
    pub fn boot_spec(&self) -> MachineSpec {
        MachineSpec {
            disk: Some(Disk { path: DISK.into(), format: "qcow2".to_owned(), writes: DiskWrites::Keep }),
            share: None,
            ram_file: Some(RamFile { path: RAM.into(), shared: true }),
            incoming: false,
            stay_at_end: false,
            // Only where something is typed does anything but the log hang on it.
            console: if self.signals.types() { Console::Socket } else { Console::Log },
            start_stopped: true,
            monitor: None,
            gdb: GdbPort::Socket,
            ..self.spec.clone()
        }
    }
}

/// What a template is, as kept in `template.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateInfo {
    /// The version of this file.
    pub format: u32,
    /// [`TemplatePlan::key`] when it was made.
    pub key: String,
    /// When it was made, UTC.
    pub made: Timestamp,
    /// What it was made of.
    pub plan: TemplatePlan,
    /// QEMU's arguments then.
    pub command: Vec<String>,
    /// The files it was made from, by what they are for: `qemu`, `kernel`, `initrd`, `image`, `vmlinux`.
    pub inputs: BTreeMap<String, Input>,
    /// Virtual time and instruction count at the quiescent point; nothing where QEMU cannot be asked.
    pub clock: Option<VirtualClock>,
    /// What the QEMU that made it can do.
    #[serde(default, skip_serializing_if = "Abilities::is_all")]
    pub abilities: Abilities,
    /// The guest's RAM, as QEMU sees it.
    pub ram: RangeSet,
    /// [`State::ram_digest`] at the quiescent point.
    pub ram_digest: String,
    /// Every register with its value in hex, at the quiescent point.
    pub registers: Vec<(String, String)>,
    /// How long the boot took on the host's clock, in seconds.
    pub boot_seconds: f64,
    /// The files of the template, by name.
    pub files: BTreeMap<String, FileStamp>,
}

/// How a template is made.
#[derive(Clone, Copy, Debug)]
pub struct MakeOptions {
    /// How long the boot may take on the host's clock.
    pub timeout: Duration,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl Default for MakeOptions {
    fn default() -> Self {
        MakeOptions { timeout: Duration::from_secs(120), interrupted: || false }
    }
}

/// A template in its folder.
#[derive(Clone, Debug)]
pub struct Template {
    folder: PathBuf,
    info: TemplateInfo,
}

impl Template {
    /// Opens a template; its files are looked at and not read, which takes well under a millisecond.
    ///
    /// # Errors
    /// There is none, it is of another version, or a file of it, or one that it stands on, is missing or
    /// was written.
    pub fn open(folder: &Path) -> Result<Self, TemplateError> {
        // A clone has another working folder.
        let folder = &std::path::absolute(folder).map_err(io_error("find", folder))?;
        let unusable = |cause: String| TemplateError::Unusable { folder: folder.to_owned(), cause };
        let path = folder.join(INFO);
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged = |error: serde_json::Error| unusable(format!("{INFO} is damaged ({error})"));
        let head: Head = serde_json::from_str(&text).map_err(damaged)?;
        if head.format != FORMAT {
            return Err(unusable(format!("it has format {}, this lab makes {FORMAT}", head.format)));
        }
        let info: TemplateInfo = serde_json::from_str(&text).map_err(damaged)?;
        for (name, stamp) in &info.files {
            if FileStamp::of(&folder.join(name)).ok() != Some(*stamp) {
                return Err(unusable(format!("its file `{name}` is missing or was written")));
            }
        }
        for (name, input) in &info.inputs {
            if FileStamp::of(&input.path).ok() != Some(input.stamp) {
                return Err(unusable(format!("the {name} {} has changed", input.path.display())));
            }
        }
        Ok(Template { folder: folder.to_owned(), info })
    }

    /// Boots the guest and saves it in `folder`, which must not exist. Two must not be made in the same
    /// place at a time. Every line of the console goes to `on_line`.
    ///
    /// # Errors
    /// The guest does not become ready (its console log is then left in `folder` with `.tmp` added), or
    /// cannot be saved.
    pub fn make(
        plan: &TemplatePlan,
        folder: &Path,
        options: MakeOptions,
        on_line: impl FnMut(&str),
    ) -> Result<Self, TemplateError> {
        let mut temporary = folder.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        remove_tree(&temporary)?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&temporary);
        made.map_err(io_error("create", &temporary))?;
        let filled = fill(plan, &temporary, options, on_line);
        if let Err(error) = filled {
            let evidence =
                matches!(&error, TemplateError::Boot(error) if !matches!(error, BootError::Interrupted));
            // What went wrong says more than a failure to clean up would.
            let _ = if evidence {
                [RAM, DISK].iter().try_for_each(|name| fs::remove_file(temporary.join(name)))
            } else {
                fs::remove_dir_all(&temporary)
            };
            return Err(error);
        }
        fs::rename(&temporary, folder).map_err(io_error("create", folder))?;
        Template::open(folder)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> &TemplateInfo {
        &self.info
    }

    /// The virtual time of the quiescent point; zero where QEMU cannot be asked, so that times then count
    /// from there.
    #[must_use]
    pub fn virtual_time(&self) -> VirtualNs {
        VirtualNs(self.info.clock.map_or(0, |clock| clock.virtual_ns))
    }

    /// The file with the guest's RAM.
    #[must_use]
    pub fn ram_file(&self) -> PathBuf {
        self.folder.join(RAM)
    }

    /// The guest's disk at the quiescent point.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join(DISK)
    }

    /// What the guest said up to the quiescent point.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.folder.join(CONSOLE_LOG)
    }

    pub(crate) fn device_state(&self) -> PathBuf {
        self.folder.join(DEVICE_STATE)
    }

    /// The guest's own memory map, when it gave one.
    #[must_use]
    pub fn iomem(&self) -> Option<String> {
        RunDir::at(&self.folder).iomem()
    }

    /// Whether a clone of it was compared with it before.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.folder.join(VERIFIED).is_file()
    }

    /// Compares a clone with the template, unless that was done before: virtual clock, instruction count,
    /// every register, all of RAM. Reads RAM once.
    ///
    /// # Errors
    /// No clone can be started; [`TemplateError::Differs`] when it is not what the template was.
    pub fn verify(&self, options: &CloneOptions) -> Result<(), TemplateError> {
        if self.is_verified() {
            return Ok(());
        }
        let mut clone = CloneGuest::start(self, options)?;
        let state = clone.state()?;
        drop(clone);
        let what = self.differences(&state);
        if !what.is_empty() {
            return Err(TemplateError::Differs { folder: self.folder.clone(), what: what.join("; ") });
        }
        let path = self.folder.join(VERIFIED);
        let text = format!("a clone had the same clock, registers and RAM on {}\n", Timestamp::now());
        fs::write(&path, text).map_err(io_error("write", &path))
    }

    /// Where a state differs from the one at the quiescent point, in words.
    fn differences(&self, state: &State) -> Vec<String> {
        let info = &self.info;
        let mut what = Vec::new();
        if state.clock != info.clock {
            what.push(format!("its clock is {:?}, the template's {:?}", state.clock, info.clock));
        }
        if state.registers.len() != info.registers.len() {
            what.push(format!("it has {} registers, not {}", state.registers.len(), info.registers.len()));
        }
        for ((name, mine), (_, theirs)) in
            info.registers.iter().zip(&state.registers).filter(|(mine, theirs)| mine != theirs)
        {
            what.push(format!("{name} is {theirs}, not {mine}"));
        }
        if state.ram_digest() != info.ram_digest {
            what.push(format!(
                "its RAM has the digest {}, not {}{}",
                state.ram_digest(),
                info.ram_digest,
                self.pages_apart(state).unwrap_or_default()
            ));
        }
        what
    }

    /// The pages in which a state differs from the RAM file, in words; `None` where RAM is not one range.
    fn pages_apart(&self, state: &State) -> Option<String> {
        let (range, pages) = state.ram.iter().find(|(range, _)| range.len() == self.info.plan.spec.memory)?;
        let file = page_digests(File::open(self.ram_file()).ok()?).ok()?;
        let apart: Vec<GuestPhys> = file
            .iter()
            .zip(pages)
            .enumerate()
            .filter(|(_, (mine, theirs))| mine != theirs)
            .map(|(index, _)| GuestPhys(range.first.0 + (index * PAGE) as u64))
            .collect();
        if apart.is_empty() {
            return Some(", although it is equal to the template's file".to_owned());
        }
        let first: Vec<String> = apart.iter().take(8).map(ToString::to_string).collect();
        Some(format!(" ({} pages differ from its file: {} …)", apart.len(), first.join(", ")))
    }
}

/// A guest that was booted from power-on and stands at its quiescent point.
///
/// Dropping it ends QEMU; its folder is the caller's.
#[derive(Debug)]
pub struct Booted {
    /// The guest, stopped.
    pub target: LiveTarget,
    /// How its boot went.
    pub ready: Ready,
    qemu: OwnedQemu,
}

/// A QEMU process that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnedQemu(pub(crate) Child);

impl OwnedQemu {
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself; `wait` also answers then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for OwnedQemu {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Boots a plan's guest in `folder` (private, and QEMU's working folder) to its quiescent point, as it is
/// done for a template.
///
/// # Errors
/// The guest does not become ready.
pub fn boot(
    plan: &TemplatePlan,
    folder: &Path,
    options: MakeOptions,
    on_line: impl FnMut(&str),
) -> Result<Booted, TemplateError> {
    let spec = plan.boot_spec();
    if spec.clock == Clock::Kvm {
        return Err(TemplateError::NotExact);
    }
    let run = RunDir::at(folder);
    let disk = run.file(DISK);
    process::make_overlay(&plan.qemu_img, &plan.base.path, &plan.base.format, &disk)
        .map_err(io_error("create", &disk))?;
    let mut qemu = OwnedQemu(process::spawn(&spec, &run)?);
    drop(process::wait_for_monitor(&mut qemu.0, &run)?);
    let gdb = Endpoint::Unix(run.file(GDB_SOCKET));
    let mut target = LiveTarget::attach(&gdb, Some(&run.qmp()), Timeouts::default())?;
    if spec.clock == Clock::Exact && crate::target::Target::timing(&target) != Timing::Exact {
        return Err(TemplateError::NotExact);
    }
    target.interrupt_by(options.interrupted);
    let alive = || matches!(qemu.0.try_wait(), Ok(None));
    let step = || boot::step(&mut target);
    let ready =
        wait_ready(&run, None, &plan.signals, options.timeout, alive, options.interrupted, on_line, step)?;
    Ok(Booted { target, ready, qemu })
}

/// Has QEMU write everything but RAM, which lies in its file already.
fn save(guest: &mut Booted, options: MakeOptions) -> Result<(), TemplateError> {
    let qmp = guest.target.qmp().ok_or(StateError::NoMonitor)?;
    qmp.execute("migrate-set-capabilities", ignore_shared())?;
    qmp.execute("migrate", json!({ "uri": format!("exec:cat >{DEVICE_STATE}") }))?;
    let end = Instant::now() + SAVE_LIMIT;
    loop {
        let answer = qmp.execute("query-migrate", Value::Null)?;
        match answer["status"].as_str() {
            Some("completed") => return Ok(()),
            Some(status @ ("failed" | "cancelled")) => {
                let cause = answer["error-desc"].as_str().unwrap_or(status);
                return Err(TemplateError::Save(cause.to_owned()));
            }
            _ if (options.interrupted)() => return Err(BootError::Interrupted.into()),
            _ if Instant::now() > end => {
                let cause = format!("it is not done after {} s", SAVE_LIMIT.as_secs());
                return Err(TemplateError::Save(cause));
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The argument of `migrate-set-capabilities`: RAM that is shared with a file is no part of the state.
pub(crate) fn ignore_shared() -> Value {
    json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] })
}

/// Ends QEMU in order, so that its disk is written to the last byte.
fn end(mut guest: Booted) -> Result<(), TemplateError> {
    if let Some(qmp) = guest.target.qmp() {
        // QEMU may close the connection before it has answered.
        let _ = qmp.execute("quit", Value::Null);
    }
    let end = Instant::now() + SAVE_LIMIT;
    loop {
        match guest.qemu.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(TemplateError::Save(format!("QEMU ended badly ({status})"))),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => return Err(TemplateError::Save("QEMU does not end".to_owned())),
            Err(error) => return Err(TemplateError::Save(error.to_string())),
        }
    }
}

/// Makes a template in a folder that is there and empty.
fn fill(
    plan: &TemplatePlan,
    folder: &Path,
    options: MakeOptions,
    on_line: impl FnMut(&str),
) -> Result<(), TemplateError> {
    let key = plan.key()?;
    let mut inputs = BTreeMap::new();
    for (name, path) in plan.files() {
        let input = Input { path: path.to_owned(), stamp: FileStamp::of(path)?, sha256: file_digest(path)? };
        inputs.insert(name.to_owned(), input);
    }
    let run = RunDir::at(folder);
    let mut guest = boot(plan, folder, options, on_line)?;
    let ram = guest.target.memory_map(run.iomem().as_deref())?.ram().clone();
    let state = State::take(&mut guest.target, &ram, folder, b"")?;
    let abilities = Abilities::of(&mut guest.target)?;
    save(&mut guest, options)?;
    let boot_seconds = guest.ready.took.as_secs_f64();
    end(guest)?;
    run.remove_sockets();
    // Whatever else QEMU said, it did what it was asked.
    let log = run.file("qemu.log");
    fs::remove_file(&log).map_err(io_error("remove", &log))?;
    let mut files = BTreeMap::new();
    // QEMU 7 opens the file of a private mapping for writing as well, although it never writes to it.
    for (name, mode) in [(RAM, 0o600), (DEVICE_STATE, 0o400), (DISK, 0o400), (CONSOLE_LOG, 0o400)] {
        let path = folder.join(name);
        // A crash of the host must not leave a template that looks whole and is not.
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("protect", &path))?;
        files.insert(name.to_owned(), FileStamp::of(&path)?);
    }
    let spec = plan.boot_spec();
    let command = std::iter::once(spec.qemu.as_os_str().to_owned()).chain(spec.argv());
    let command = command.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let info = TemplateInfo {
        format: FORMAT,
        key,
        made: Timestamp::now(),
        plan: plan.clone(),
        command,
        inputs,
        clock: state.clock,
        abilities,
        ram,
        ram_digest: state.ram_digest(),
        registers: state.registers,
        boot_seconds,
        files,
    };
    let path = folder.join(INFO);
    let text = serde_json::to_string_pretty(&info).expect("a template's record has only text keys");
    fs::write(&path, text).map_err(io_error("write", &path))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_digest(path: &Path) -> Result<String, TemplateError> {
    let digest = || {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(&hasher.finalize())),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    digest().map_err(io_error("read", path))
}

fn remove_tree(path: &Path) -> Result<(), TemplateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::machine::spec::kernel_command_line;

    fn plan(folder: &Path) -> TemplatePlan {
        let file = |name: &str| {
            let path = folder.join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let arch = Arch::default();
        TemplatePlan {
            spec: MachineSpec {
                arch,
                machine: None,
                cpu: None,
                initrd: None,
                qemu: file("qemu"),
                kernel: file("Image"),
                disk: None,
                memory: 128 << 20,
                cpus: 1,
                append: kernel_command_line(arch, Some("sha256"), ""),
                share: None,
                clock: Clock::Exact,
                fixed: Vec::new(),
                ram_file: None,
                incoming: false,
                stay_at_end: false,
                console: Console::Log,
                start_stopped: false,
                monitor: None,
                gdb: GdbPort::Socket,
                extra: Vec::new(),
            },
            base: BaseImage { path: file("rootfs.qcow2"), format: "qcow2".into() },
            qemu_img: "/qemu-img".into(),
            qemu_version: "7".into(),
            workload: Some("sha256".into()),
            vmlinux: None,
            signals: Signals::default(),
        }
    }

    /// A template as far as `open` looks at it.
    fn template(folder: &Path) -> PathBuf {
        let plan = plan(folder);
        let template = folder.join("t");
        fs::create_dir(&template).unwrap();
        fs::write(template.join(RAM), "ram").unwrap();
        let stamp = FileStamp::of(&template.join(RAM)).unwrap();
        let inputs = plan.files().map(|(name, path)| {
            let stamp = FileStamp::of(path).unwrap();
            (name.to_owned(), Input { path: path.to_owned(), stamp, sha256: file_digest(path).unwrap() })
        });
        let info = TemplateInfo {
            format: FORMAT,
            key: plan.key().unwrap(),
            made: Timestamp::now(),
            command: Vec::new(),
            inputs: inputs.collect(),
            clock: Some(VirtualClock { virtual_ns: 5, icount: true, instructions: Some(5), stop_at: None }),
            abilities: Abilities::ALL,
            ram: RangeSet::default(),
            ram_digest: String::new(),
            registers: Vec::new(),
            boot_seconds: 0.5,
            files: BTreeMap::from([(RAM.to_owned(), stamp)]),
            plan,
        };
        fs::write(template.join(INFO), serde_json::to_string(&info).unwrap()).unwrap();
        template
    }

    #[test]
    fn the_key_changes_with_everything_that_a_template_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        let key = plan.key().unwrap();
        assert_eq!(plan.key().unwrap(), key);
        let mut keys = vec![key.clone()];
        let mut with = |change: &dyn Fn(&mut TemplatePlan)| {
            let mut other = plan.clone();
            change(&mut other);
            keys.push(other.key().unwrap());
        };
        with(&|plan| plan.spec.memory *= 2);
        with(&|plan| plan.spec.cpus = 2);
        with(&|plan| plan.spec.append.push_str(" quiet"));
        with(&|plan| plan.spec.clock = Clock::Real);
        with(&|plan| plan.spec.extra.push("-d".into()));
        with(&|plan| plan.workload = None);
        with(&|plan| plan.qemu_version = "8".into());
        with(&|plan| plan.spec.kernel = plan.base.path.clone());
        for name in ["qemu", "Image", "rootfs.qcow2"] {
            fs::write(folder.path().join(name), format!("{name} of another build")).unwrap();
            keys.push(plan.key().unwrap());
        }
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        // What a template never has does not count.
        let shared = MachineSpec { share: Some("/x".into()), console: Console::Socket, ..plan.spec.clone() };
        assert_eq!(TemplatePlan { spec: shared, ..plan.clone() }.key().unwrap(), plan.key().unwrap());
    }

    #[test]
    fn a_template_opens_until_a_file_of_it_or_below_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = template(folder.path());
        let opened = Template::open(&path).unwrap();
        assert_eq!(opened.virtual_time(), VirtualNs(5));
        assert!(!opened.is_verified());
        fs::write(folder.path().join("rootfs.qcow2"), "written").unwrap();
        let text = Template::open(&path).unwrap_err().to_string();
        assert!(text.contains("rootfs.qcow2 has changed; delete its folder"), "{text}");
        fs::remove_dir_all(&path).unwrap();
        let path = template(folder.path());
        fs::write(path.join(RAM), "RAM!").unwrap();
        let text = Template::open(&path).unwrap_err().to_string();
        assert!(text.contains("its file `ram` is missing or was written"), "{text}");
    }

    #[test]
    fn a_template_of_another_version_is_refused_with_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = template(folder.path());
        fs::write(path.join(INFO), "{\"format\": 9, \"more\": 1}").unwrap();
        let text = Template::open(&path).unwrap_err().to_string();
        assert!(text.contains("it has format 9, this lab makes 2"), "{text}");
        fs::write(path.join(INFO), "{").unwrap();
        assert!(matches!(Template::open(&path), Err(TemplateError::Unusable { .. })));
    }

    #[test]
    fn a_guest_that_the_host_s_processor_executes_is_no_template() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        plan.spec.clock = Clock::Kvm;
        let made = Template::make(&plan, &folder.path().join("t"), MakeOptions::default(), |_| {});
        assert!(matches!(made, Err(TemplateError::NotExact)));
        assert!(!folder.path().join("t.tmp").exists());
    }
}
