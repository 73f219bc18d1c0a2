//! `cargo xtask doctor`: what the host has and lacks, one line each, and the command that installs
//! the rest.
//!
//! Invariant: it changes nothing, and its exit code says whether `setup` can run.

use anyhow::Result;
use clap::ValueEnum;
use flipsim::arch::Arch;
use flipsim::units::format_size;
use serde::Serialize;

use crate::host::kvm::{self, Kvm};
use crate::host::needs::{self, Found};
use crate::lab::cache;
use crate::lab::config::Config;
use crate::lab::in_use::{Lab, ReadyLab, arch_option};
use crate::paths;

/// Say what this host has and lacks for building and running the lab.
///
/// One line for each program, library and permission: found, with its version, or missing, with
/// the steps that need it. It ends with the one command that installs the rest.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask doctor
  cargo xtask doctor --json | jq .missing

Exit codes: 0 setup can run, 1 something is missing.")]
pub struct Args {
    /// The guest's architecture; lab.toml names the default
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Arch>,
    /// As JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// For a kernel built with clang and lld
    #[arg(long)]
    pub llvm: bool,
    /// Colour of the marks
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
}

/// When marks are coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Disk space for all three steps together.
const SPACE: u64 = 7 << 30;

#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    arch: Arch,
    ready: bool,
    checks: Vec<Check>,
    missing: Vec<String>,
    package_manager: Option<String>,
    install: Option<String>,
    kvm: Kvm,
    /// What is set up, or why it is not complete; says nothing about the host.
    lab: String,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    found: Option<String>,
    needed_by: String,
    packages: Vec<String>,
}

/// Runs `cargo xtask doctor`; says whether `setup` can run.
pub fn run(args: &Args) -> Result<bool> {
    let arch = match args.arch {
        Some(arch) => arch,
        None => Config::load()?.guest.arch,
    };
    let report = examine(arch, args.llvm)?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", text(&report, coloured(args.color)));
    }
    Ok(report.ready)
}

fn coloured(color: Color) -> bool {
    use std::io::IsTerminal;
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

fn examine(arch: Arch, llvm: bool) -> Result<Report> {
    let manager = needs::manager();
    let mut checks = Vec::new();
    let mut missing = Vec::new();
    for need in needs::needs(arch, llvm) {
        let found = need.find()?;
        let packages = manager.map(|manager| need.packages(manager)).unwrap_or_default();
        checks.push(Check {
            name: need.name.clone(),
            ok: matches!(found, Found::Yes(_)),
            found: match &found {
                Found::Yes(version) => Some(version.clone()),
                Found::TooOld(version) => Some(format!("{version}, which is too old")),
                Found::No => None,
            },
            needed_by: need.wanted_by(),
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        });
        if !matches!(found, Found::Yes(_)) {
            missing.push(need);
        }
    }
    let cache_dir = paths::cache_dir()?;
    let free = cache::free_space(&cache_dir)?;
    let shown = format!("{} free in {}", format_size(free), paths::show(&cache_dir));
    checks.push(Check {
        name: "disk space".to_owned(),
        ok: free >= SPACE,
        found: Some(if free >= SPACE {
            shown
        } else {
            format!("{shown}; {} are needed, FLIPSIM_CACHE names another disk", format_size(SPACE))
        }),
        needed_by: "all".to_owned(),
        packages: Vec::new(),
    });
    Ok(Report {
        version: 1,
        arch,
        ready: checks.iter().all(|check| check.ok),
        missing: missing.iter().map(|need| need.name.clone()).collect(),
        package_manager: manager.map(|manager| manager.name.to_owned()),
        install: needs::install_command(&missing),
        kvm: kvm::find(arch)?,
        lab: lab_state(arch),
        checks,
    })
}

fn lab_state(arch: Arch) -> String {
    match Lab::load().and_then(|lab| lab.ready(arch)) {
        Ok(ReadyLab { arch, qemu, kernel, image }) => format!(
            "set up for {arch}: {}; {}; {}",
            qemu.origin.version, kernel.origin.version, image.origin.version
        ),
        Err(error) => format!("{error:#}"),
    }
}

fn text(report: &Report, coloured: bool) -> String {
    let mark = |ok: bool| match (ok, coloured) {
        (true, true) => "\x1b[32mok\x1b[0m     ",
        (false, true) => "\x1b[31mmissing\x1b[0m",
        (true, false) => "ok     ",
        (false, false) => "missing",
    };
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in &report.checks {
        let found = check.found.clone().unwrap_or_default();
        let wanted =
            if check.ok { String::new() } else { format!("{}needed by {}", gap(&found), check.needed_by) };
        let line = format!("{} {:width$}  {found}{wanted}", mark(check.ok), check.name);
        out += line.trim_end();
        out.push('\n');
    }
    // No step needs it: a trial's clock is exact only under TCG.
    let kvm_mark = if report.kvm == Kvm::Usable { mark(true) } else { "-      " };
    out += &format!("{kvm_mark} {:width$}  {} (optional)\n", "KVM", report.kvm);
    let manager = report.package_manager.clone().unwrap_or_else(|| "none that setup knows".to_owned());
    out += &format!("        {:width$}  {manager}\n", "package manager");
    out += &format!("        {:width$}  {}\n", "lab", report.lab);
    let option = arch_option(report.arch);
    out += match (&report.install, report.ready) {
        (_, true) => format!("\nEverything is there: `cargo xtask setup{option}` can run.\n"),
        (Some(command), false) => {
            format!(
                "\nTo install what is missing:\n  {command}\nor: cargo xtask setup{option} --install-deps\n"
            )
        }
        (None, false) => "\nSomething is missing, and no package manager known here has it.\n".to_owned(),
    }
    .as_str();
    out
}

fn gap(found: &str) -> &'static str {
    if found.is_empty() { "" } else { "; " }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_is_missing_and_ends_with_the_command() {
        let check = |name: &str, found: Option<&str>| Check {
            name: name.to_owned(),
            ok: found.is_some(),
            found: found.map(str::to_owned),
            needed_by: "qemu".to_owned(),
            packages: vec![],
        };
        let report = Report {
            version: 1,
            arch: Arch::default(),
            ready: false,
            checks: vec![check("ninja", None), check("pkg-config", Some("1.8.1"))],
            missing: vec!["ninja".to_owned()],
            package_manager: Some("apt-get".to_owned()),
            install: Some("apt-get update && apt-get install ninja-build".to_owned()),
            kvm: Kvm::OtherArch("not for aarch64 guests on this x86_64 host; TCG is used".to_owned()),
            lab: "not set up".to_owned(),
        };
        insta::assert_snapshot!(text(&report, false), @r"
        missing ninja       needed by qemu
        ok      pkg-config  1.8.1
        -       KVM         not for aarch64 guests on this x86_64 host; TCG is used (optional)
                package manager  apt-get
                lab         not set up

        To install what is missing:
          apt-get update && apt-get install ninja-build
        or: cargo xtask setup --install-deps
        ");
    }
}
