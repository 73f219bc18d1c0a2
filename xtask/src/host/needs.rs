//! What the host must have: programs and libraries, what needs them, how they are found, and what
//! they are called in each package manager.
//!
//! Invariant: one table, read by `doctor`, by `setup` before it builds, and by `--install-deps`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;

use super::ask::{ask, is_yes};
use super::proc::{self, CommandRunner};
use crate::interrupt::Interrupted;
use crate::lab::step::SetupStep;

/// One thing that a step needs.
#[derive(Debug, Clone)]
pub struct Need {
    /// What it is.
    pub name: String,
    /// The steps that need it.
    pub steps: Vec<SetupStep>,
    probe: Probe,
    /// Package names for apt, dnf, pacman and zypper; an empty one is not known.
    packages: [String; 4],
}

#[derive(Debug, Clone)]
enum Probe {
    /// Any of these programs, which says its version when asked with this option, of at least so
    /// many.
    Program { names: Vec<String>, option: &'static str, least: (u32, u32) },
    /// A library that pkg-config knows.
    Module { name: &'static str, least: (u32, u32) },
    /// A file of firmware, by its name in the table.
    Firmware(&'static str),
    /// A program that this compiler can build: (compiler, source, options).
    Compiles { compiler: String, source: &'static str, options: &'static [&'static str] },
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there; its version, where it says one.
    Yes(String),
    /// It is there, and too old.
    TooOld(String),
    /// It is not there.
    No,
}

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manager {
    /// Its name.
    pub name: &'static str,
    column: usize,
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    unattended: &'static [&'static str],
}

static MANAGERS: [Manager; 4] = [
    Manager {
        name: "apt-get",
        column: 0,
        refresh: Some(&["apt-get", "update"]),
        install: &["apt-get", "install"],
        unattended: &["-y"],
    },
    Manager { name: "dnf", column: 1, refresh: None, install: &["dnf", "install"], unattended: &["-y"] },
    Manager {
        name: "pacman",
        column: 2,
        refresh: None,
        install: &["pacman", "-S", "--needed"],
        unattended: &["--noconfirm"],
    },
    Manager {
        name: "zypper",
        column: 3,
        refresh: None,
        install: &["zypper", "install"],
        unattended: &["-y"],
    },
];

/// Firmware that QEMU's release carries and a distribution's source does not: the file, its packages, and
/// the folders where these put it.
static FIRMWARE: &[(&str, [&str; 4], &[&str])] = &[(
    "bios-256k.bin",
    ["seabios", "seabios-bin", "seabios", "qemu-seabios"],
    &["/usr/share/seabios", "/usr/share/qemu", "/usr/share/qemu-kvm"],
)];

/// The packages of a cross compiler and of a static C library for it, by GNU triple. Without a row
/// the names are not known.
static CROSS: &[(&str, [&str; 4], [&str; 4])] = &[
    (
        "aarch64-linux-gnu",
        ["gcc-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc", "cross-aarch64-gcc14"],
        ["libc6-dev-arm64-cross", "", "aarch64-linux-gnu-glibc", "cross-aarch64-glibc-devel"],
    ),
    (
        "x86_64-linux-gnu",
        ["gcc-x86-64-linux-gnu", "gcc-x86_64-linux-gnu", "", "cross-x86_64-gcc14"],
        ["libc6-dev-amd64-cross", "", "", ""],
    ),
];

const MAIN: &str = "int main(void) { return 0; }\n";

/// The first package manager of the host that is known here.
pub fn manager() -> Option<Manager> {
    MANAGERS.iter().copied().find(|manager| proc::find_program(manager.name).is_some())
}

/// The prefix of the tools for a guest: none where the host is of the guest's kind.
pub fn tool_prefix(arch: Arch) -> String {
    if is_native(arch) { String::new() } else { format!("{}-", arch.cross_triple) }
}

/// Whether the host is of the guest's kind.
pub fn is_native(arch: Arch) -> bool {
    arch.name == std::env::consts::ARCH
}

/// Everything that the three steps need for a guest of this kind.
pub fn needs(arch: Arch, llvm: bool) -> Vec<Need> {
    use SetupStep::{Image, Kernel, Qemu};
    let program =
        |name: &str, names: &[&str], option, least, steps: &[SetupStep], packages: [&str; 4]| Need {
            name: name.to_owned(),
            steps: steps.to_vec(),
            probe: Probe::Program { names: names.iter().map(|n| (*n).to_owned()).collect(), option, least },
            packages: packages.map(str::to_owned),
        };
    let module = |name: &'static str, least, steps: &[SetupStep], packages: [&str; 4]| Need {
        name: name.to_owned(),
        steps: steps.to_vec(),
        probe: Probe::Module { name, least },
        packages: packages.map(str::to_owned),
    };
    let compiles =
        |name: &str, compiler: &str, source, options, steps: &[SetupStep], packages: [&str; 4]| Need {
            name: name.to_owned(),
            steps: steps.to_vec(),
            probe: Probe::Compiles { compiler: compiler.to_owned(), source, options },
            packages: packages.map(str::to_owned),
        };
    let version = "--version";
    let all = &[Qemu, Kernel, Image];
    let mut needs = vec![
        program("C compiler", &["cc", "gcc"], version, (7, 4), all, ["gcc"; 4]),
        program("make", &["make"], version, (3, 82), all, ["make"; 4]),
        program("patch", &["patch"], version, (2, 5), all, ["patch"; 4]),
        program("bzip2", &["bzip2"], "--help", (0, 0), &[Qemu, Image], ["bzip2"; 4]),
        program(
            "ninja",
            &["ninja", "ninja-build"],
            version,
            (1, 8),
            &[Qemu],
            ["ninja-build", "ninja-build", "ninja", "ninja"],
        ),
        program("meson", &["meson"], version, (0, 61), &[Qemu], ["meson"; 4]),
        program(
            "pkg-config",
            &["pkg-config"],
            version,
            (0, 0),
            &[Qemu, Kernel],
            ["pkg-config", "pkgconf-pkg-config", "pkgconf", "pkg-config"],
        ),
        program(
            "python3",
            &["python3"],
            version,
            (3, 6),
            &[Qemu],
            ["python3", "python3", "python", "python3"],
        ),
        module(
            "glib-2.0",
            (2, 56),
            &[Qemu],
            ["libglib2.0-dev libmount-dev", "glib2-devel", "glib2 glib2-devel", "glib2-devel"],
        ),
        module(
            "pixman-1",
            (0, 21),
            &[Qemu],
            ["libpixman-1-dev", "pixman-devel", "pixman", "libpixman-1-0-devel"],
        ),
        module("zlib", (1, 2), &[Qemu], ["zlib1g-dev", "zlib-devel", "zlib", "zlib-devel"]),
        module(
            "libcap-ng",
            (0, 0),
            &[Qemu],
            ["libcap-ng-dev", "libcap-ng-devel", "libcap-ng", "libcap-ng-devel"],
        ),
        compiles(
            "libfdt",
            "cc",
            "#include <libfdt.h>\nint main(void) { return fdt_check_header(0); }\n",
            &["-lfdt"],
            &[Qemu],
            ["libfdt-dev", "libfdt-devel", "dtc", "libfdt-devel"],
        ),
        compiles(
            "extended attributes",
            "cc",
            "#include <sys/types.h>\n#include <sys/xattr.h>\nint main(void) { return getxattr(\"/\", \"x\", 0, 0) == 0; }\n",
            &[],
            &[Qemu],
            ["libattr1-dev", "libattr-devel", "attr", "libattr-devel"],
        ),
        program("flex", &["flex"], version, (2, 5), &[Kernel], ["flex"; 4]),
        program("bison", &["bison"], version, (2, 0), &[Kernel], ["bison"; 4]),
        program("bc", &["bc"], version, (1, 6), &[Kernel], ["bc"; 4]),
        program(
            "pahole",
            &["pahole"],
            version,
            (1, 22),
            &[Kernel],
            ["dwarves", "dwarves", "pahole", "dwarves"],
        ),
        program("perl", &["perl"], version, (5, 0), &[Kernel], ["perl"; 4]),
        module(
            "libelf",
            (0, 0),
            &[Kernel],
            ["libelf-dev", "elfutils-libelf-devel", "libelf", "libelf-devel"],
        ),
        module(
            "libcrypto",
            (1, 0),
            &[Kernel],
            ["libssl-dev", "openssl-devel", "openssl", "libopenssl-devel"],
        ),
        program("mke2fs", &["mke2fs"], "-V", (1, 43), &[Image], ["e2fsprogs"; 4]),
        program("debugfs", &["debugfs"], "-V", (1, 43), &[Image], ["e2fsprogs"; 4]),
    ];
    if llvm {
        needs.push(program("clang", &["clang"], version, (11, 0), &[Kernel], ["clang"; 4]));
        needs.push(program("lld", &["ld.lld"], version, (11, 0), &[Kernel], ["lld"; 4]));
        needs.push(program("llvm-objcopy", &["llvm-objcopy"], version, (11, 0), &[Kernel], ["llvm"; 4]));
    }
    for (name, packages, _) in FIRMWARE.iter().filter(|(name, ..)| arch.firmware.contains(name)) {
        needs.push(Need {
            name: format!("firmware for {arch}"),
            steps: vec![Qemu],
            probe: Probe::Firmware(name),
            packages: packages.map(str::to_owned),
        });
    }
    let row = CROSS.iter().find(|(triple, ..)| *triple == arch.cross_triple);
    let (gcc, libc) = match row {
        _ if is_native(arch) => (["gcc"; 4], ["libc6-dev", "glibc-static", "glibc", "glibc-devel-static"]),
        Some((_, gcc, libc)) => (*gcc, *libc),
        None => ([""; 4], [""; 4]),
    };
    let compiler = format!("{}gcc", tool_prefix(arch));
    let steps: &[SetupStep] = if llvm { &[Image] } else { &[Kernel, Image] };
    let name = format!("C compiler for {arch}");
    needs.push(program(&name, &[compiler.as_str()], version, (5, 1), steps, gcc));
    let name = format!("static C library for {arch}");
    needs.push(compiles(&name, &compiler, MAIN, &["-static"], &[Image], libc));
    needs
}

/// Where the host has a file of firmware.
pub fn firmware(name: &str) -> Option<PathBuf> {
    let (.., folders) = FIRMWARE.iter().find(|(known, ..)| *known == name)?;
    folders.iter().map(|folder| PathBuf::from(folder).join(name)).find(|path| path.is_file())
}

/// What of it is not there, for these steps.
pub fn missing(arch: Arch, steps: &[SetupStep], llvm: bool) -> Result<Vec<Need>> {
    let mut missing = Vec::new();
    for need in needs(arch, llvm) {
        if need.steps.iter().any(|step| steps.contains(step)) && !matches!(need.find()?, Found::Yes(_)) {
            missing.push(need);
        }
    }
    Ok(missing)
}

impl Need {
    /// Looks for it.
    pub fn find(&self) -> Result<Found> {
        match &self.probe {
            Probe::Program { names, option, least } => find_program(names, option, *least),
            Probe::Module { name, least } => {
                let mut command = Command::new("pkg-config");
                command.args(["--modversion", name]);
                match try_output(command)? {
                    Some(text) => Ok(judge(text.trim(), *least)),
                    None => Ok(Found::No),
                }
            }
            Probe::Firmware(name) => Ok(match firmware(name) {
                Some(path) => Found::Yes(path.display().to_string()),
                None => Found::No,
            }),
            Probe::Compiles { compiler, source, options } => compiles(compiler, source, options),
        }
    }

    /// Its packages for a manager; nothing where they are not known.
    pub fn packages(&self, manager: Manager) -> Vec<&str> {
        self.packages[manager.column].split_whitespace().collect()
    }

    /// The steps that need it, for a message.
    pub fn wanted_by(&self) -> String {
        self.steps.iter().map(|step| step.name()).collect::<Vec<_>>().join(", ")
    }
}

fn find_program(names: &[String], option: &str, least: (u32, u32)) -> Result<Found> {
    let Some(path) = names.iter().find_map(|name| proc::find_program(name)) else { return Ok(Found::No) };
    let mut command = Command::new(path);
    command.arg(option);
    let (out, err, _) = match proc::capture("asking for a version", &mut command, Duration::from_secs(10)) {
        Ok(answer) => answer,
        Err(error) if error.is::<Interrupted>() => return Err(error),
        // It is there and does not run: as good as missing.
        Err(_) => return Ok(Found::No),
    };
    let text = if out.is_empty() { err } else { out };
    let text = String::from_utf8_lossy(&text).into_owned();
    // perl says its version in the second line.
    let line = text.lines().find(|line| version_in(line).is_some()).unwrap_or_default();
    Ok(judge(line, least))
}

/// The first thing in a line that looks like a version: digits, a dot, digits.
fn version_in(line: &str) -> Option<(&str, (u32, u32))> {
    line.split(|c: char| c.is_whitespace() || "(),;".contains(c)).find_map(|word| {
        let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let word = word[..end].trim_end_matches('.');
        let (major, rest) = word.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some((word, (major.parse().ok()?, minor.parse().ok()?)))
    })
}

fn judge(text: &str, least: (u32, u32)) -> Found {
    match version_in(text) {
        Some((shown, version)) if version < least => Found::TooOld(shown.to_owned()),
        Some((shown, _)) => Found::Yes(shown.to_owned()),
        None => Found::Yes(String::new()),
    }
}

fn try_output(mut command: Command) -> Result<Option<String>> {
    match proc::capture("a probe", &mut command, Duration::from_secs(20)) {
        Ok((out, _, status)) if status.success() => Ok(Some(String::from_utf8_lossy(&out).into_owned())),
        Ok(_) => Ok(None),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(_) => Ok(None),
    }
}

fn compiles(compiler: &str, source: &str, options: &[&str]) -> Result<Found> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = dir.path().join("probe.c");
    files::write_readable(&file, source.as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(compiler);
    command.arg("-o").arg(dir.path().join("probe")).arg(&file).args(options);
    Ok(match try_output(command)? {
        Some(_) => Found::Yes(String::new()),
        None => Found::No,
    })
}

/// The command that installs all of it, where the host's package manager is known.
pub fn install_command(missing: &[Need]) -> Option<String> {
    let manager = manager()?;
    let lines: Vec<String> = commands(manager, missing, false).iter().map(|words| words.join(" ")).collect();
    (!lines.is_empty()).then(|| lines.join(" && "))
}

/// The commands that install what is missing.
fn commands(manager: Manager, missing: &[Need], yes: bool) -> Vec<Vec<String>> {
    let mut packages: Vec<String> =
        missing.iter().flat_map(|need| need.packages(manager)).map(str::to_owned).collect();
    packages.sort();
    packages.dedup();
    if packages.is_empty() {
        return Vec::new();
    }
    let root = rustix::process::geteuid().is_root();
    let prefix: &[&str] = if root || proc::find_program("sudo").is_none() { &[] } else { &["sudo"] };
    let words =
        |words: &[&[&str]]| -> Vec<String> { words.concat().into_iter().map(str::to_owned).collect() };
    let mut lines = Vec::new();
    if let Some(refresh) = manager.refresh {
        lines.push(words(&[prefix, refresh]));
    }
    let mut line = words(&[prefix, manager.install, if yes { manager.unattended } else { &[] }]);
    line.extend(packages);
    lines.push(line);
    lines
}

/// Installs what is missing: asks first on a terminal, and refuses to act unasked elsewhere.
pub fn install(runner: &CommandRunner, missing: &[Need], yes: bool) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|need| need.name.as_str()).collect();
    let Some(manager) = manager() else {
        bail!(
            "the host lacks {}, and none of apt-get, dnf, pacman and zypper is here to install it; install \
             it by hand",
            names.join(", ")
        );
    };
    let unknown: Vec<&str> = missing
        .iter()
        .filter(|need| need.packages(manager).is_empty())
        .map(|need| need.name.as_str())
        .collect();
    if !unknown.is_empty() {
        bail!("{}: no package of that is known for {}; install it by hand", unknown.join(", "), manager.name);
    }
    // A user who answers our question need not answer the package manager's as well.
    let commands = commands(manager, missing, true);
    let lines: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
    let root = rustix::process::geteuid().is_root();
    if !root && proc::find_program("sudo").is_none() && !runner.is_dry() {
        bail!("not root, and no sudo here; as root, run:\n  {}", lines.join(" && "));
    }
    if !runner.is_dry() {
        eprintln!("The host lacks {}. To be installed with:\n  {}", names.join(", "), lines.join("\n  "));
        if !yes && !agreed()? {
            bail!("nothing was installed; run it yourself, or give --yes:\n  {}", lines.join(" && "));
        }
    }
    let last = commands.len().saturating_sub(1);
    for (place, mut words) in commands.into_iter().enumerate() {
        // Packages that ask questions would wait for ever where no user is there to answer. sudo drops
        // the environment, so the variables go behind it.
        if yes && manager.name == "apt-get" {
            let at = usize::from(words[0] == "sudo");
            let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=a"].map(str::to_owned);
            words.splice(at..at, quiet);
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        match runner.run_on_terminal("installing packages", command) {
            // One broken source of the host's is no reason not to install from the others.
            Err(error) if place < last && !error.is::<Interrupted>() => {
                eprintln!("warning: {error:#}; going on with the lists that are there");
            }
            result => result?,
        }
    }
    if runner.is_dry() {
        return Ok(());
    }
    let mut still = Vec::new();
    for need in missing {
        if !matches!(need.find()?, Found::Yes(_)) {
            still.push(need.name.as_str());
        }
    }
    if !still.is_empty() {
        bail!(
            "{} is still missing after {} has run; `cargo xtask doctor` says more",
            still.join(", "),
            manager.name
        );
    }
    Ok(())
}

/// Asks on the terminal. Where there is none, the answer is no.
fn agreed() -> Result<bool> {
    Ok(is_yes(ask("Install them now? [y/N]")?.as_deref()))
}

/// The path of a program that a step runs, by its name in the table above.
pub fn program(name: &str) -> Result<PathBuf> {
    proc::find_program(name)
        .with_context(|| format!("`{name}` is not in PATH; `cargo xtask doctor` says how to install it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let cases = [
            ("gcc (Debian 12.2.0-14) 12.2.0", "12.2.0"),
            ("GNU Make 4.3", "4.3"),
            ("Python 3.11.2", "3.11.2"),
            ("1.11.1", "1.11.1"),
            ("This is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64", "5.36.0"),
            ("mke2fs 1.47.0 (5-Feb-2023)", "1.47.0"),
            ("bc 1.07.1", "1.07.1"),
        ];
        for (line, version) in cases {
            assert_eq!(version_in(line).unwrap().0, version, "{line}");
        }
        assert_eq!(version_in("no version here"), None);
    }

    #[test]
    fn an_old_version_is_too_old() {
        assert_eq!(judge("0.53.2", (0, 61)), Found::TooOld("0.53.2".into()));
        assert_eq!(judge("1.0.1", (0, 61)), Found::Yes("1.0.1".into()));
    }

    #[test]
    fn every_need_has_a_package_for_apt() {
        for arch in Arch::all() {
            for need in needs(arch, true) {
                assert!(!need.packages(MANAGERS[0]).is_empty(), "{arch}: {}", need.name);
                assert!(!need.steps.is_empty());
            }
        }
    }

    #[test]
    fn every_guest_that_is_not_the_host_has_a_row_of_cross_packages() {
        for arch in Arch::all() {
            assert!(CROSS.iter().any(|(triple, ..)| *triple == arch.cross_triple), "{arch}");
        }
    }

    #[test]
    fn packages_are_installed_by_one_sorted_command() {
        let all = needs(Arch::default(), false);
        let some: Vec<Need> = all
            .into_iter()
            .filter(|need| ["mke2fs", "debugfs", "flex"].contains(&need.name.as_str()))
            .collect();
        let lines = commands(MANAGERS[2], &some, true);
        let line = lines[0].join(" ");
        assert!(line.ends_with("pacman -S --needed --noconfirm e2fsprogs flex"), "{line}");
        assert_eq!(commands(MANAGERS[0], &some, false).len(), 2);
    }

    #[test]
    fn a_library_that_no_host_has_is_missing() {
        let found = compiles("cc", "#include <no-such-header.h>\n", &[]).unwrap();
        assert_eq!(found, Found::No);
        let found = compiles("no-such-compiler", MAIN, &[]).unwrap();
        assert_eq!(found, Found::No);
    }
}
