//! A template on disk: what it depends on, what its folder holds, and whether it may be used. Clones of it are
//! [`crate::trial::clone`]'s.
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
//! Invariant: **a template is never written** once it is there, and one that was is refused. **It is known by what its
//! files hold**, not by where they lie: a lab that was moved or copied goes on with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::console::signals::Signals;
use crate::files::{file_digest, write_readable};
use crate::machine::folder::RunDir;
use crate::machine::spec::{
    BaseImage, CONSOLE_LOG, Console, Disk, DiskWrites, GdbPort, MachineSpec, RamFile,
};
use crate::memory::RangeSet;
use crate::target::{Capabilities, VirtualClock};
use crate::text::hex;
use crate::trial::template::error::{TemplateError, io_error};
use crate::units::VirtualNs;

/// The version of `template.json`, and of all that lies beside it.
pub const FORMAT: u32 = 3;

pub(super) const RAM: &str = "ram";
pub(super) const DEVICE_STATE: &str = "device-state";
pub(super) const DISK: &str = "disk.qcow2";
pub(super) const INFO: &str = "template.json";
pub(super) const VERIFIED: &str = "verified";

/// How long QEMU may take to write its device state, some hundred kilobytes.
pub(super) const SAVE_LIMIT: Duration = Duration::from_secs(60);

/// What distinguishes a file from one that was changed, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStamp {
    /// In bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl FileStamp {
    pub(super) fn of(path: &Path) -> Result<Self, TemplateError> {
        let meta = fs::metadata(path).map_err(io_error("look at", path))?;
        let modified_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(FileStamp { size: meta.len(), modified_ns })
    }
}

/// A file of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// What it is like, here.
    pub stamp: FileStamp,
    /// The digest of its content, anywhere.
    pub sha256: String,
}

impl Stored {
    pub(super) fn of(path: &Path, interrupted: fn() -> bool) -> Result<Self, TemplateError> {
        let sha256 = file_digest(path, interrupted).map_err(io_error("read", path))?;
        Ok(Stored { stamp: FileStamp::of(path)?, sha256 })
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

/// All that a template depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplatePlan {
    /// The guest. Its share, disk, console, sockets and RAM file are not those given here: a template has
    /// nothing of the host in it.
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
    /// 16 hexadecimal digits that stand for all that the template depends on: the whole specification, this version
    /// of the format, and the content of each file, by `digests`. Where the files lie is not in it.
    #[must_use]
    pub fn key(&self, digests: &BTreeMap<String, String>) -> String {
        let mut plan = TemplatePlan { qemu_img: PathBuf::new(), ..self.clone() };
        plan.spec.loader = None;
        plan.place(|_, _| PathBuf::new());
        plan.spec = plan.boot_spec();
        let text = json!({ "format": FORMAT, "plan": plan, "files": digests }).to_string();
        hex(&Sha256::digest(text.as_bytes())[..8])
    }

    /// The digest of each of its files, by what they are for, as `of` gives it.
    ///
    /// # Errors
    /// A file is missing, or cannot be read.
    pub fn digests(
        &self,
        mut of: impl FnMut(&Path) -> io::Result<String>,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        let digest =
            |(name, path): (&str, &Path)| Ok((name.to_owned(), of(path).map_err(io_error("read", path))?));
        self.files().map(digest).collect()
    }

    /// Has its files lie where `at` says, by what each is for and where it lies now.
    pub fn place(&mut self, at: impl Fn(&str, &Path) -> PathBuf) {
        let Self { spec, base, vmlinux, .. } = self;
        let fixed = [("qemu", &mut spec.qemu), ("kernel", &mut spec.kernel), ("image", &mut base.path)];
        let others = [("initrd", &mut spec.initrd), ("vmlinux", vmlinux)];
        let others = others.into_iter().filter_map(|(name, path)| Some((name, path.as_mut()?)));
        for (name, path) in fixed.into_iter().chain(others) {
            *path = at(name, path);
        }
    }

    /// Its files, by what they are for: `qemu`, `kernel`, `image`, `initrd`, `vmlinux`.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
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

    /// The guest as it is booted, in a separate folder.
    #[must_use]
    pub fn boot_spec(&self) -> MachineSpec {
        MachineSpec {
            disk: Some(self.disk(DISK.into(), DiskWrites::Keep)),
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

    /// A layer on its image, which does not say itself where that lies.
    pub(crate) fn disk(&self, layer: PathBuf, writes: DiskWrites) -> Disk {
        Disk { path: layer, format: "qcow2".to_owned(), writes, backing: Some(self.base.clone()) }
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
    #[serde(rename = "abilities", default, skip_serializing_if = "Capabilities::is_default")]
    pub capabilities: Capabilities,
    /// The guest's RAM, as QEMU sees it.
    pub ram: RangeSet,
    /// [`State::ram_digest`](crate::target::state::State::ram_digest) at the quiescent point.
    pub ram_digest: String,
    /// Every register with its value in hex, at the quiescent point.
    pub registers: Vec<(String, String)>,
    /// How long the boot took on the host's clock, in seconds.
    pub boot_seconds: f64,
    /// The files of the template, by name.
    pub files: BTreeMap<String, Stored>,
}

impl TemplateInfo {
    /// The key of what it was made of.
    #[must_use]
    pub fn identity(&self) -> String {
        let digest = |(name, input): (&String, &Input)| (name.clone(), input.sha256.clone());
        self.plan.key(&self.inputs.iter().map(digest).collect())
    }

    /// Writes it into its template's folder.
    pub(super) fn write(&self, folder: &Path) -> Result<(), TemplateError> {
        let path = folder.join(INFO);
        let text = serde_json::to_string_pretty(self).expect("a template's record has only text keys");
        write_readable(&path, text.as_bytes()).map_err(io_error("write", &path))
    }
}

/// A template in its folder.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) folder: PathBuf,
    pub(super) info: TemplateInfo,
}

impl Template {
    /// Opens a template with the files that it was made of, where these still are. They and its own are looked at and
    /// not read, which takes well under a millisecond.
    ///
    /// # Errors
    /// There is no template, it is of another version, or a file of it, or one that it depends on, is missing or
    /// was written.
    pub fn open(folder: &Path) -> Result<Self, TemplateError> {
        let template = Template::load(folder)?;
        for (name, input) in &template.info.inputs {
            if FileStamp::of(&input.path).ok() != Some(input.stamp) {
                return Err(template.unusable(format!("the {name} {} has changed", input.path.display())));
            }
        }
        template.with_its_files(|| false)
    }

    /// Opens the template of a plan, whose key this is. The files that it depends on are those of the plan, wherever it
    /// was made.
    ///
    /// # Errors
    /// There is no template, it is that of another plan or of another version, or a file of it is missing or was written.
    pub fn open_as(
        folder: &Path,
        plan: &TemplatePlan,
        key: &str,
        interrupted: fn() -> bool,
    ) -> Result<Self, TemplateError> {
        let mut template = Template::load(folder)?;
        if template.info.key != key || template.info.identity() != key {
            return Err(template.unusable("it is the template of another guest".to_owned()));
        }
        template.info.plan = plan.clone();
        template.with_its_files(interrupted)
    }

    /// Makes a template of files that lie in a folder already, and whose digests were compared with those in `info`.
    ///
    /// # Errors
    /// One is missing, or `info` contradicts itself.
    pub fn install(folder: &Path, mut info: TemplateInfo) -> Result<Self, TemplateError> {
        for (name, stored) in &mut info.files {
            stored.stamp = FileStamp::of(&folder.join(name))?;
        }
        for input in info.inputs.values_mut() {
            input.stamp = FileStamp::of(&input.path)?;
        }
        let key = info.identity();
        if key != info.key {
            let cause = "what it was made of is not what its name stands for".to_owned();
            return Err(TemplateError::Unusable { folder: folder.to_owned(), cause });
        }
        info.write(folder)?;
        Template::open(folder)
    }

    fn load(folder: &Path) -> Result<Self, TemplateError> {
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
        let info = serde_json::from_str(&text).map_err(damaged)?;
        Ok(Template { folder: folder.to_owned(), info })
    }

    /// Looks at its files. Those of a template that was copied have other times: they are read, once.
    fn with_its_files(mut self, interrupted: fn() -> bool) -> Result<Self, TemplateError> {
        let mut copied = Vec::new();
        for (name, stored) in &self.info.files {
            let path = self.folder.join(name);
            let stamp = FileStamp::of(&path).ok();
            if stamp == Some(stored.stamp) {
                continue;
            }
            let is_it = stamp.is_some_and(|stamp| stamp.size == stored.stamp.size)
                && Stored::of(&path, interrupted)?.sha256 == stored.sha256;
            match stamp.filter(|_| is_it) {
                Some(stamp) => copied.push((name.clone(), stamp)),
                None => return Err(self.unusable(format!("its file `{name}` is missing or was written"))),
            }
        }
        if !copied.is_empty() {
            let mut kept = Template::load(&self.folder)?.info;
            for (name, stamp) in copied {
                for info in [&mut kept, &mut self.info] {
                    info.files.entry(name.clone()).and_modify(|stored| stored.stamp = stamp);
                }
            }
            // Without it they are read again.
            let _ = kept.write(&self.folder);
        }
        Ok(self)
    }

    fn unusable(&self, cause: String) -> TemplateError {
        TemplateError::Unusable { folder: self.folder.clone(), cause }
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
}

/// The argument of `migrate-set-capabilities`: RAM that is shared with a file is no part of the state.
pub(crate) fn ignore_shared() -> Value {
    json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] })
}

#[cfg(test)]
pub(crate) mod tests;
