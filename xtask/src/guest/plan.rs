//! From flags to the plan of a guest: its folder, QEMU's arguments, its record.
//!
//! Invariant: **what cannot work is refused before anything is made.**

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::console::signals::Signals;
use flipsim::files;
use flipsim::machine::boot::{BOOT_REST, LONG_BOOT_REST};
use flipsim::machine::folder::{FORMAT, RunDir, RunRecord, Starting};
use flipsim::machine::process;
use flipsim::machine::spec::{
    BaseImage, Clock, Console, Disk, DiskWrites, GDB_SOCKET, GdbPort, MachineSpec, kernel_command_line,
};
use flipsim::trial::template::TemplatePlan;
use flipsim::units::{format_size, parse_size};
use flipsim::wire::net::Endpoint;

use super::errors::lookup_error;
use super::image::{self, ImageKind};
use super::kernel;
use super::share;
use super::spec::GuestSpec;
use super::workload;
use crate::exit::{Code, ExitWith, exit_error};
use crate::lab::capabilities::SANDBOX;
use crate::lab::config::Config;
use crate::lab::in_use::Lab;
use crate::paths;

/// What a guest is made of, and what it gets from this host.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct GuestArgs {
    /// The guest's name [default: g1, g2, …]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub spec: GuestSpec,
    /// Throw the guest's disk away at its end
    #[arg(long)]
    pub snapshot: bool,
    /// What the guest's clock follows
    #[arg(long, value_enum, default_value_t)]
    pub clock: ClockArg,
    /// No shared folder: the guest prints its memory map, and nothing of the host's enters its boot
    #[arg(long, conflicts_with = "share")]
    pub no_share: bool,
    /// Share this folder with the guest, which mounts it as host0 over 9p [default: its own folder]
    #[arg(long, value_name = "DIR")]
    pub share: Option<PathBuf>,
    /// A second monitor socket at a path of yours
    #[arg(long, value_name = "PATH")]
    pub monitor: Option<PathBuf>,
    /// Where the gdb stub listens: tcp:PORT, on the loopback interface only but open to every user of this host
    /// [default: a socket in the guest's folder]
    #[arg(long, value_name = "tcp:PORT", value_parser = parse_gdb_port)]
    pub gdb: Option<u16>,
    /// Wait for a debugger before the first instruction (gdb stub on tcp:1234, unless --gdb says otherwise)
    #[arg(long)]
    pub debug: bool,
}

/// What a guest's clock follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ClockArg {
    /// Its own instructions, 1 ns each: flips are exact, runs repeat, idle time is skipped
    Exact,
    /// The host's clock
    #[default]
    Real,
    /// The host's clock, with the guest on the host's processor
    Kvm,
}

impl From<ClockArg> for Clock {
    fn from(clock: ClockArg) -> Clock {
        match clock {
            ClockArg::Exact => Clock::Exact,
            ClockArg::Real => Clock::Real,
            ClockArg::Kvm => Clock::Kvm,
        }
    }
}

fn parse_gdb_port(text: &str) -> Result<u16, String> {
    let number = text.strip_prefix("tcp:").unwrap_or(text).trim_start_matches(':');
    number
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("`{text}` is no port; write tcp:PORT, as in tcp:1234"))
}

/// The folder of all guests.
pub fn runs_dir() -> Result<PathBuf> {
    Ok(paths::lab_dir()?.join("runs"))
}

/// A guest that is about to be started: its folder, specification and record.
pub struct Planned {
    pub spec: MachineSpec,
    record: RunRecord,
    /// The image below the guest's disk, with its format and the program that makes the layer.
    pub base: (PathBuf, String, PathBuf),
    /// Whether it gets no shared folder.
    pub no_share: bool,
    /// How it gets ready, and how it speaks.
    pub signals: Signals,
}

impl GuestArgs {
    pub fn plan(&self, console: Console) -> Result<Planned> {
        let config = Config::load()?;
        let arch = self.spec.arch_or_default()?;
        let known = Lab::load()?;
        let lab = known.ready(arch).exit_with(Code::Missing)?;
        let memory = match self.spec.memory {
            Some(memory) => memory,
            None => parse_size(&config.guest.memory).context("lab.toml: [guest] memory")?,
        };
        if memory < 32 << 20 || memory % (1 << 20) != 0 {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "--memory {} will not do: a guest needs a whole number of MiB, 32M at least",
                    format_size(memory)
                )
            ));
        }
        let cpus = self.spec.cpus.unwrap_or(config.guest.cpus);
        if !(1..=8).contains(&cpus) {
            bail!(exit_error(Code::Usage, format!("--cpus {cpus} will not do: a guest has 1 to 8")));
        }
        let own = |path: &Option<PathBuf>, what: &str| -> Result<Option<PathBuf>> {
            let Some(path) = path else { return Ok(None) };
            let full = std::fs::canonicalize(path)
                .with_context(|| format!("cannot find {what} {}", path.display()))
                .exit_with(Code::Usage)?;
            Ok(Some(full))
        };
        let kernel = own(&self.spec.kernel, "the kernel")?;
        if let Some(path) = &kernel {
            // Who sits at a console sees what a guest without the lab's words does.
            let ours = self.spec.speaks_as_ours() && console != Console::Terminal;
            let given = kernel::Given { path, arch, qemu: &lab.qemu.origin.version, ours };
            if let Some(warning) = kernel::check(given).exit_with(Code::Usage)? {
                eprintln!("warning: {warning}");
            }
        }
        let initrd = own(&self.spec.initrd, "the initial RAM disk")?;
        if let Some(path) = &initrd {
            kernel::check_initrd(path).exit_with(Code::Usage)?;
        }
        let image = own(&self.spec.image, "the image")?;
        let share = own(&self.share, "the folder to share")?;
        if let Some(share) = share.as_ref().filter(|share| !share.is_dir()) {
            bail!(exit_error(Code::Usage, format!("--share {} is not a folder", share.display())));
        }
        if let Some(share) = &share {
            share::warn_of(share);
        }
        let vmlinux = match own(&self.spec.vmlinux, "the symbols")? {
            Some(path) => {
                files::check_plain(&path)
                    .with_context(|| format!("cannot use the symbols {}", path.display()))
                    .exit_with(Code::Usage)?;
                Some(path)
            }
            // The lab's symbols are those of the lab's kernel and of no other.
            None if kernel.is_none() => lab.kernel.vmlinux.clone(),
            None => None,
        };
        let kernel = kernel.unwrap_or_else(|| lab.kernel.image.clone());
        let (base, format) = match image {
            Some(path) => {
                let kind = image::check(&lab.qemu.img, &path).exit_with(Code::Usage)?;
                (path, kind)
            }
            // Checked when they were made.
            None => {
                let own = workload::image_of(&known, arch, self.spec.workload.as_deref())?;
                (own.unwrap_or_else(|| lab.image.qcow2.clone()), ImageKind::Qcow2)
            }
        };
        let format = format.name().to_owned();
        let signals = self.spec.signals();
        signals.check().exit_with(Code::Usage)?;
        let workload = self.spec.workload.clone().filter(|name| name != workload::SHELL);
        if let Some(name) = workload.as_ref().filter(|_| !self.spec.speaks_as_ours()) {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "--workload {name}: this guest becomes ready by its own words, so its workload is what they \
                     start; leave --workload out"
                )
            ));
        }
        if signals.types() && console == Console::Terminal {
            bail!(exit_error(
                Code::Usage,
                "--dialogue: you sit at this guest's console yourself; leave it out, or add --headless"
            ));
        }
        if let Some(name) = workload.as_ref().filter(|_| self.spec.image.is_none()) {
            workload::check(name, arch)?;
        }
        let gdb = match (self.gdb, self.debug) {
            (Some(port), _) => GdbPort::Tcp(port),
            (None, true) => GdbPort::Tcp(1234),
            (None, false) => GdbPort::Socket,
        };
        let monitor = self.monitor.as_deref().map(std::path::absolute).transpose()?;
        if let Some(path) = &monitor {
            check_socket_free(path)?;
        }
        if let GdbPort::Tcp(port) = gdb {
            check_port_free(port)?;
        }
        let clock = Clock::from(self.clock);
        let stepped = clock == Clock::Exact && console != Console::Terminal;
        let mut append = self.spec.append.clone();
        // Only a template's guest has no other console than its log.
        let rest = match (stepped, console) {
            // It was ready long before.
            _ if signals.start_at_power_on() => None,
            (true, _) => Some(("flipsim.settle=", BOOT_REST)),
            (false, Console::Log) => Some(("flipsim.delay=", LONG_BOOT_REST)),
            _ => None,
        };
        if let Some((word, rest)) = rest
            && workload.is_some()
            && !append.contains(word)
        {
            append = format!("{append} {word}{rest}");
        }
        let fixed = match clock {
            Clock::Exact => lab.qemu.offer.fixed(),
            Clock::Real | Clock::Kvm => Vec::new(),
        };
        if clock == Clock::Exact && !lab.qemu.offer.is_exact() {
            bail!(exit_error(
                Code::Usage,
                "--clock exact: this QEMU lacks the lab's patches; use --clock real, or let the lab build its own \
                 with `cargo xtask setup qemu --reset`"
            ));
        }
        let append = match &self.spec.cmdline {
            Some(line) => line.trim().to_owned(),
            None => kernel_command_line(arch, workload.as_deref(), &append),
        };
        let spec = MachineSpec {
            arch,
            machine: self.spec.machine.clone(),
            cpu: self.spec.cpu.clone(),
            qemu: lab.qemu.system.clone(),
            loader: None,
            kernel: kernel.clone(),
            initrd,
            disk: Some(Disk {
                path: "disk.qcow2".into(),
                format: "qcow2".to_owned(),
                writes: if self.snapshot { DiskWrites::Discard } else { DiskWrites::Keep },
                backing: None,
            }),
            memory,
            cpus,
            append,
            share: share.clone(),
            clock,
            fixed,
            ram_file: None,
            incoming: false,
            stay_at_end: false,
            console,
            // With the exact clock a headless guest is let run step by step, so that it always stops at
            // the same instruction.
            start_stopped: self.debug || stepped,
            monitor: monitor.clone(),
            gdb,
            extra: self.spec.qemu_arg.clone(),
            sandbox: lab.qemu.offer.has(SANDBOX),
        };
        spec.check().exit_with(Code::Usage)?;
        let record = RunRecord {
            format: FORMAT,
            name: String::new(),
            arch,
            process: None,
            started: jiff::Timestamp::now(),
            command: Vec::new(),
            memory,
            cpus,
            clock,
            gdb: match gdb {
                GdbPort::Socket => GDB_SOCKET.to_owned(),
                GdbPort::Tcp(port) => format!("tcp:127.0.0.1:{port}"),
            },
            monitor,
            kernel,
            vmlinux,
            image: Some(base.clone()),
            share,
            workload,
            qemu_version: lab.qemu.origin.version.clone(),
        };
        Ok(Planned {
            spec,
            record,
            base: (base, format, lab.qemu.img.clone()),
            no_share: self.no_share,
            signals,
        })
    }
}

impl GuestArgs {
    /// The same guest as the plan of a template: with the exact clock, and without anything of the host's.
    pub fn template_plan(&self) -> Result<TemplatePlan> {
        let not_in_a_template = [
            ("--share", self.share.is_some()),
            ("--monitor", self.monitor.is_some()),
            ("--gdb", self.gdb.is_some()),
            ("--debug", self.debug),
            ("--snapshot", self.snapshot),
        ];
        if let Some((option, _)) = not_in_a_template.iter().find(|(_, given)| *given) {
            bail!(exit_error(
                Code::Usage,
                format!("{option}: clones start from a template, which cannot have it; leave it out")
            ));
        }
        // Without the patches nothing stops a clock that counts instructions at a time that means anything.
        let clock =
            if can_be_exact(self.spec.arch_or_default()?)? { ClockArg::Exact } else { ClockArg::Real };
        let guest = GuestArgs { clock, ..self.clone() };
        let Planned { spec, record, base: (path, format, qemu_img), signals, .. } =
            guest.plan(Console::Log)?;
        Ok(TemplatePlan {
            spec,
            base: BaseImage { path, format },
            qemu_img,
            qemu_version: record.qemu_version,
            workload: record.workload,
            vmlinux: record.vmlinux,
            signals,
        })
    }
}

/// Whether the lab's QEMU has what the exact clock takes.
pub fn can_be_exact(arch: Arch) -> Result<bool> {
    let lab = Lab::load()?.ready(arch).exit_with(Code::Missing)?;
    Ok(lab.qemu.offer.is_exact())
}

/// QEMU removes whatever lies at the path of a socket it makes; another guest's monitor would be gone.
fn check_socket_free(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        let parent = path.parent().filter(|parent| parent.is_dir());
        return match parent {
            Some(_) => Ok(()),
            None => bail!(exit_error(
                Code::Usage,
                format!("--monitor {}: its folder does not exist; make it first", path.display())
            )),
        };
    };
    if !meta.file_type().is_socket() {
        bail!(exit_error(
            Code::Usage,
            format!(
                "--monitor {}: a file of that name exists and is no socket; choose another path",
                path.display()
            )
        ));
    }
    if Endpoint::Unix(path.to_owned()).connect(Duration::from_secs(2)).is_ok() {
        bail!(exit_error(
            Code::Usage,
            format!(
                "--monitor {}: another guest listens there; stop it (`cargo xtask boot list` shows this lab's), or \
             choose another path",
                path.display()
            )
        ));
    }
    Ok(())
}

fn check_port_free(port: u16) -> Result<()> {
    match std::net::TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!(exit_error(
            Code::Usage,
            format!(
                "--gdb tcp:{port}: the port cannot be used ({error}); stop what listens there, or choose another"
            )
        )),
    }
}

impl Planned {
    /// Makes the guest's folder with everything in it that QEMU needs.
    pub fn prepare(mut self, name: Option<&str>) -> Result<(RunDir, MachineSpec, RunRecord, Starting)> {
        let (run, starting) = RunDir::create(&runs_dir()?, name).map_err(lookup_error)?;
        self.record.name = run.name();
        if self.spec.share.is_none() && !self.no_share {
            let share = run.file("share");
            std::fs::create_dir(&share).with_context(|| format!("cannot create {}", share.display()))?;
            self.spec.share = Some(share.clone());
            self.record.share = Some(share);
        }
        let (base, format, qemu_img) = &self.base;
        process::make_overlay(qemu_img, base, format, &run.file("disk.qcow2"))
            .with_context(|| format!("cannot make the guest's disk on top of {}", base.display()))?;
        let argv = self.spec.argv();
        let program = std::iter::once(self.spec.qemu.as_os_str().to_owned()).chain(argv);
        self.record.command = program.map(|arg| arg.to_string_lossy().into_owned()).collect();
        run.save_spec(&self.spec)?;
        run.save(&self.record)?;
        Ok((run, self.spec, self.record, starting))
    }
}
