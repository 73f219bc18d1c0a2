//! `cargo xtask test`, `tidy` and `ci`: what a contributor runs.
//!
//! Invariant: `ci` runs all that `test` and `tidy` run, so that what passes here passes there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;

use crate::guest::plan::GuestArgs;
use crate::guest::spec::GuestSpec;
use crate::paths;

/// Run the tests: the fast ones, then the slow suite that boots the real guest.
///
/// The slow suite needs the lab; what is missing of it is set up first, host packages included.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --fast
  cargo xtask test --yes      installs missing host packages without asking")]
pub struct TestArgs {
    /// Only the tests that boot nothing
    #[arg(long)]
    fast: bool,
    /// Install host packages that setup needs without asking
    #[arg(long)]
    yes: bool,
    /// Only tests whose name contains this
    #[arg(value_name = "NAME")]
    filter: Option<String>,
}

/// Check what the compiler does not: heads of files, the patch series, links, leftovers.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  cargo xtask tidy")]
pub struct TidyArgs {}

/// Run everything that must pass before a change lands.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  cargo xtask ci --yes")]
pub struct CiArgs {
    /// Install host packages that setup needs without asking
    #[arg(long)]
    yes: bool,
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

/// Runs cargo with more in its environment.
fn cargo_with(arguments: &[&str], variables: &[(&str, PathBuf)]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(paths::workspace_root()?);
    // A warning in the docs is an error, as one in the code is.
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    eprintln!("+ cargo {}", arguments.join(" "));
    let status = command.status().context("cannot run cargo")?;
    crate::interrupt::check()?;
    if !status.success() {
        bail!("`cargo {}` failed; its output is above", arguments.join(" "));
    }
    Ok(())
}

/// Runs the tests.
pub fn test(args: &TestArgs) -> Result<()> {
    let filter: Vec<&str> = args.filter.as_deref().into_iter().collect();
    let mut fast = vec!["test", "--quiet", "--workspace"];
    fast.extend(&filter);
    cargo(&fast)?;
    if args.fast {
        return Ok(());
    }
    for arch in Arch::all() {
        super::setup::ensure(arch, args.yes)?;
    }
    // One guest at a time: a test that waits for a guest must not wait for the others' guests too.
    let slow = |targets: &[&'static str]| {
        let mut arguments = vec!["test"];
        arguments.extend(targets);
        arguments.extend(["--", "--ignored", "--test-threads=1"]);
        arguments.extend(&filter);
        arguments
    };
    cargo(&slow(&["--package", "xtask", "--test", "slow"]))?;
    // The report in a browser; where none is installed this says so and passes.
    let mut browser = slow(&["--package", "xtask", "--test", "browser"]);
    browser.push("--nocapture");
    cargo(&browser)?;
    let mut variables = Vec::new();
    for (variable, workload) in [("FLIPSIM_TEMPLATE_SHA256", "sha256"), ("FLIPSIM_TEMPLATE_FS", "fs")] {
        let spec = GuestSpec { workload: Some(workload.to_owned()), ..GuestSpec::default() };
        let guest = GuestArgs { spec, ..GuestArgs::default() };
        let template = crate::guest::template::ensure(&guest, Duration::from_secs(120))?;
        variables.push((variable, template.folder().to_owned()));
    }
    cargo_with(&slow(&["--package", "flipsim", "--test", "template", "--test", "take_back"]), &variables)
}

/// Runs everything.
pub fn ci(args: &CiArgs) -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])?;
    tidy()?;
    test(&TestArgs { fast: false, yes: args.yes, filter: None })
}

/// Checks the tree; every finding is told before it fails.
pub fn tidy() -> Result<()> {
    let root = paths::workspace_root()?;
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .context("cannot run git")?;
    if !listed.status.success() {
        bail!("tidy needs a git checkout: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let files: Vec<PathBuf> = listed
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
        .filter(|name| root.join(name).is_file())
        .collect();
    let mut findings = Vec::new();
    for file in &files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        findings.extend(check_file(file, &text, &root));
    }
    findings.extend(check_series(&root.join("qemu-patches"), &files)?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        outln!("tidy: {} files, nothing to say", files.len());
        return Ok(());
    }
    bail!("tidy has {} findings; mend them", findings.len())
}

/// The findings in one file.
fn check_file(file: &Path, text: &str, root: &Path) -> Vec<String> {
    let name = file.display();
    let mut findings = Vec::new();
    let kind = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    if kind == "rs" && !text.starts_with("//! ") {
        findings.push(format!("{name}:1: does not open with `//!`: say what the file is for"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(format!("{name}: does not end with a line's end"));
    }
    let patch = kind == "patch";
    for (number, line) in text.lines().enumerate() {
        let at = number + 1;
        if !patch && line.ends_with([' ', '\t']) {
            findings.push(format!("{name}:{at}: space at the line's end"));
        }
        if ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark)) {
            findings.push(format!("{name}:{at}: a merge conflict is left"));
        }
    }
    if kind == "md" {
        for target in links(text) {
            let base = root.join(file.parent().unwrap_or(Path::new("")));
            if !base.join(&target).exists() {
                findings.push(format!("{name}: links to {target}, which does not exist"));
            }
        }
    }
    findings
}

/// The files that a Markdown text links to, without anchors and addresses.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split("](").skip(1) {
        let target = part.split([')', '#', ' ']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            found.push(target.to_owned());
        }
    }
    found
}

/// Every patch is in the series, every line of the series is a patch.
fn check_series(folder: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let series = std::fs::read_to_string(folder.join("series")).context("cannot read qemu-patches/series")?;
    let named: Vec<&str> =
        series.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let mut findings = Vec::new();
    for name in &named {
        if !folder.join(name).is_file() {
            findings.push(format!("qemu-patches/series: {name} does not exist"));
        }
    }
    for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "patch")) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.starts_with("qemu-patches") && !named.contains(&name.as_str()) {
            findings.push(format!("{}: is not in the series", file.display()));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str) -> Vec<String> {
        check_file(Path::new(name), text, Path::new("/nowhere"))
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert!(check("a.rs", "//! What it is for.\n\nfn f() {}\n").is_empty());
    }

    #[test]
    fn each_fault_of_a_file_is_found_with_its_line() {
        assert_eq!(check("a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(check("a.toml", "x = 1 \n"), ["a.toml:1: space at the line's end"]);
        assert_eq!(check("a.toml", "x = 1").len(), 1);
        let conflict = format!("{} HEAD\n", "<".repeat(7));
        assert_eq!(check("a.toml", &conflict).len(), 1);
    }

    #[test]
    fn a_link_to_a_file_that_is_missing_is_found() {
        let text = "[a](b.md) [c](https://example.org/x) [d](#here) ![e](pic.svg#x)\n";
        assert_eq!(links(text), ["b.md", "pic.svg"]);
        assert_eq!(check("x.md", text).len(), 2);
    }

    #[test]
    fn a_patch_keeps_its_own_white_space() {
        assert!(check("a.patch", " context \n").is_empty());
    }
}
