//! What every step of `setup` needs: the settings of one run, for one architecture, and the options that choose a
//! step's source.
//!
//! Invariant: **`setup` without options leaves a lab as its user has chosen it.**

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;
use xshell::{Shell, cmd};

use crate::exit::{Code, ExitWith, exit_error};
use crate::host::needs;
use crate::host::proc::{self, CommandRunner};
use crate::lab::cache::Cache;
use crate::lab::config::Config;
use crate::lab::in_use::{ArchLab, Lab, Origin, arch_option};
use crate::lab::step::SetupStep;

/// Build what the lab is made of: QEMU, a guest kernel, and the guest's disk image.
///
/// Without a step all three are built. What is up to date is left alone, so it can be run at any
/// time; what was interrupted is continued. Builds lie in ~/.cache/flipsim (or FLIPSIM_CACHE).
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask setup --install-deps          everything, host packages included (asks first)
  cargo xtask setup --arch x86_64           for guests of another architecture, beside the first
  cargo xtask setup --dry-run               print every command and change nothing
  cargo xtask setup qemu --from-distro      from the distribution's source package
  cargo xtask setup qemu --qemu-bin /usr/bin/qemu-system-aarch64
  cargo xtask setup kernel --kernel-src ~/linux
  cargo xtask setup kernel --kernel-src ~/linux --kernel-config ~/my.config --llvm
  cargo xtask setup kernel --kernel-src ~/linux --config-only
                                            merge the 9p and PCI options into ~/linux/.config

Exit codes: 0 all is there, 1 a step failed, 2 wrong command line or input, 130 interrupted.")]
pub struct Args {
    /// Build only these
    #[arg(value_name = "STEP")]
    pub steps: Vec<SetupStep>,
    /// Install what the host lacks with its package manager (asks first on a terminal)
    #[arg(long)]
    pub install_deps: bool,
    /// Answer yes to every question, and install what the host lacks
    #[arg(long, short)]
    pub yes: bool,
    /// Print the commands and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The guest's architecture; lab.toml names the default
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Arch>,
    /// QEMU's source: an archive of your own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_distro", "qemu_bin"])]
    pub qemu_tarball: Option<PathBuf>,
    /// A QEMU of your own, not built here; what it can do is probed and recorded
    #[arg(long, value_name = "FILE")]
    pub qemu_bin: Option<PathBuf>,
    /// A kernel source tree of your own; it is built outside the tree
    #[arg(long, value_name = "DIR", conflicts_with = "kernel_image")]
    pub kernel_src: Option<PathBuf>,
    /// A kernel configuration of your own to start from, in place of allnoconfig: the options for 9p, PCI, the disk
    /// and panics are merged into a copy of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel_image", "config_only"])]
    pub kernel_config: Option<PathBuf>,
    /// A kernel of your own, not built here
    #[arg(long, value_name = "FILE")]
    pub kernel_image: Option<PathBuf>,
    /// The vmlinux (or System.map, or /proc/kallsyms) of --kernel-image: gives the names of its symbols
    #[arg(long, value_name = "FILE", requires = "kernel_image")]
    pub vmlinux: Option<PathBuf>,
    /// Only merge the 9p and PCI options into the .config of --kernel-src, and check them
    #[arg(long, requires = "kernel_src")]
    pub config_only: bool,
    /// Build the kernel with clang and lld (LLVM=1)
    #[arg(long)]
    pub llvm: bool,
    /// Take the distribution's source packages, not the pinned archives
    #[arg(long)]
    pub from_distro: bool,
    /// Parallel jobs of the builds; one for each processor when not given
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<u32>,
    /// Forget the options of earlier runs and what they built, and build again; downloads are kept
    #[arg(long)]
    pub reset: bool,
}

pub(super) fn jobs(wanted: Option<u32>) -> u32 {
    let processors = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    wanted.filter(|n| *n > 0).unwrap_or_else(processors)
}

/// What every step needs: the settings of one run, for one architecture.
#[derive(Debug)]
pub struct Lane<'a> {
    /// `lab.toml`.
    pub config: Config,
    /// Where builds lie.
    pub cache: Cache,
    /// Runs or prints commands.
    pub runner: CommandRunner,
    /// The guest's architecture.
    pub arch: Arch,
    /// The source tree.
    pub root: PathBuf,
    /// Parallel jobs.
    pub jobs: u32,
    /// The command line.
    pub args: &'a Args,
}

/// The options that choose a step's source, given now or remembered.
pub type Chosen = BTreeMap<String, String>;

impl Lane<'_> {
    /// The options of this run, or those that the lab was set up with: `setup` without options
    /// leaves a lab as its user has chosen it.
    pub(super) fn choose(&self, step: SetupStep) -> Result<Chosen> {
        let mut chosen = Chosen::new();
        let mut path = |name: &str, value: &Option<PathBuf>| -> Result<()> {
            if let Some(value) = value {
                let full = value
                    .canonicalize()
                    .with_context(|| format!("--{name}: cannot find {}", value.display()))
                    .exit_with(Code::Usage)?;
                if name != "kernel-src" {
                    files::check_plain(&full)
                        .with_context(|| format!("--{name}: cannot use {}", value.display()))
                        .exit_with(Code::Usage)?;
                }
                chosen.insert(name.to_owned(), full.to_string_lossy().into_owned());
            }
            Ok(())
        };
        match step {
            SetupStep::Qemu => {
                path("qemu-tarball", &self.args.qemu_tarball)?;
                path("qemu-bin", &self.args.qemu_bin)?;
            }
            SetupStep::Kernel => {
                path("kernel-src", &self.args.kernel_src)?;
                path("kernel-config", &self.args.kernel_config)?;
                path("kernel-image", &self.args.kernel_image)?;
                path("vmlinux", &self.args.vmlinux)?;
                if self.args.llvm {
                    chosen.insert("llvm".to_owned(), "true".to_owned());
                }
            }
            SetupStep::Image => {}
        }
        let own = ["qemu-tarball", "qemu-bin", "kernel-src", "kernel-image"];
        if self.args.from_distro && !own.iter().any(|name| chosen.contains_key(*name)) {
            chosen.insert("from-distro".to_owned(), "true".to_owned());
        }
        if !chosen.is_empty() || self.args.reset {
            return Ok(chosen);
        }
        let ArchLab { qemu, kernel, image, .. } = Lab::load()?.arch(self.arch);
        let remembered = match step {
            SetupStep::Qemu => qemu.map(|part| part.origin.options),
            SetupStep::Kernel => kernel.map(|part| part.origin.options),
            SetupStep::Image => image.map(|part| part.origin.options),
        };
        let remembered = remembered.unwrap_or_default();
        for name in ["qemu-tarball", "qemu-bin", "kernel-src", "kernel-config", "kernel-image", "vmlinux"] {
            if let Some(value) = remembered.get(name)
                && !Path::new(value).exists()
            {
                bail!(exit_error(
                    Code::Usage,
                    format!(
                        "{} was set up with --{name} {value}, which is gone; give another, or forget it with \
                     `cargo xtask setup {} --reset`",
                        step.human(),
                        step.name()
                    )
                ));
            }
        }
        Ok(remembered)
    }

    /// Says that a step had nothing to do: what it has made, or was given, is in use.
    pub fn up_to_date(&self, step: SetupStep, origin: &Origin) {
        let state = if origin.from.starts_with("your own") { "in use" } else { "up to date" };
        let remembered: Vec<String> = origin
            .options
            .iter()
            .map(
                |(name, value)| {
                    if value == "true" { format!("--{name}") } else { format!("--{name} {value}") }
                },
            )
            .collect();
        let note = if remembered.is_empty() {
            String::new()
        } else {
            format!(" [{}; --reset forgets it]", remembered.join(" "))
        };
        // A network that failed once must not choose the QEMU of a paper in silence.
        let fallback = origin.from.contains("source package") && !origin.options.contains_key("from-distro");
        // Said whole once, and not with every part.
        static SAID: AtomicBool = AtomicBool::new(false);
        let fallback = match fallback.then(|| SAID.swap(true, Ordering::Relaxed)) {
            Some(false) => {
                " (the distribution's, because the pinned source could not be had; --reset tries that again)"
            }
            Some(true) => " (the distribution's)",
            None => "",
        };
        eprintln!("{} for {}: {}, {state}{note}{fallback}", step.human(), self.arch, origin.version);
    }

    /// Makes sure that the host has what the builds of these steps need, installing it where that was
    /// asked for.
    pub(super) fn need_host(&self, steps: &[SetupStep], llvm: bool) -> Result<()> {
        let missing = needs::missing(self.arch, steps, llvm)?;
        if missing.is_empty() {
            return Ok(());
        }
        // Who answers yes to every question answers this one, too.
        if self.args.install_deps || self.args.yes {
            return needs::install(&self.runner, &missing, self.args.yes);
        }
        let names: Vec<&str> = missing.iter().map(|need| need.name.as_str()).collect();
        let advice = match needs::install_command(&missing) {
            Some(command) => {
                let option = arch_option(self.arch);
                format!("{command}\nor let setup do it: `cargo xtask setup{option} --install-deps`")
            }
            None => "this host's package manager is not known to setup; install them by hand".to_owned(),
        };
        let what: Vec<&str> = steps.iter().map(|step| step.human()).collect();
        let text = format!(
            "the host lacks what it takes to build {}: {}\n{advice}",
            what.join(", "),
            names.join(", ")
        );
        if self.runner.is_dry() {
            self.runner.note(&text.replace('\n', "\n# "));
            return Ok(());
        }
        bail!(text)
    }
}

/// What a compiler says it is: the first line of `--version`.
pub fn compiler_id(program: &str) -> Result<String> {
    let sh = Shell::new()?;
    let command: Command = cmd!(sh, "{program} --version").into();
    let text = proc::output_of(program, command, Duration::from_secs(20))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// What a compiler says it is, or that it is missing: a request is asked before the host is checked.
pub fn compiler_id_or_missing(program: &str) -> String {
    compiler_id(program).unwrap_or_else(|_| format!("{program} is missing"))
}
