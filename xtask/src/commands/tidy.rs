//! `cargo xtask tidy`: checks what the compiler does not: heads of files, the patch series, links, leftovers.
//!
//! Invariant: **it reads the tree and changes nothing**; every finding is reported before it fails.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// Ways to make, to empty or to open a file for writing. They are for [`FILES`] alone, which follows no link and empties
/// nothing that is not ours.
const RAW: &[&str] = &[
    "File::create",
    "fs::write(",
    "OpenOptions",
    "File::options",
    "fs::copy(",
    "create_new(",
    "tempfile_in",
    "NamedTempFile",
    "Connection::open(",
];

/// Where they may be all the same, and why that is safe.
const FILES: &[(&str, &str)] = &[
    ("flipsim/src/files/writing.rs", "the one place"),
    ("flipsim/src/files/reading.rs", "its other half, for what a user names"),
    ("flipsim/src/machine/boot.rs", "only reads, and not through a link"),
    ("flipsim/src/campaign/store/make.rs", "opens a file that was just made there"),
    ("flipsim/src/campaign/store/part.rs", "opens a file that was just made there"),
    ("flipsim/src/campaign/store/check.rs", "opens a file that was just made there"),
    ("xtask/src/source/unpack.rs", "makes new files alone, in a folder of its own"),
    ("xtask/src/host/kvm.rs", "opens a device"),
    ("xtask/src/commands/tidy.rs", "this table"),
];

/// Check what the compiler does not: heads of files, the patch series, links, leftovers.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  cargo xtask tidy")]
pub struct Args {}

/// Checks the tree; every finding is reported before it fails.
pub fn run() -> Result<()> {
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
    bail!("tidy has {} findings; correct them", findings.len())
}

/// The findings in one file.
fn check_file(file: &Path, text: &str, root: &Path) -> Vec<String> {
    let name = file.display();
    let mut findings = Vec::new();
    // Inputs of fuzz targets are bytes, whatever they look like.
    if file.starts_with("fuzz/corpus") {
        return findings;
    }
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
    if kind == "rs" && !is_test(file, root) {
        for (at, call) in raw_files(file, text) {
            findings.push(format!(
                "{name}:{at}: `{call}` makes or opens a file by itself; flipsim/src/files/writing.rs has a way that follows no \
                 link"
            ));
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

/// Whether a file is compiled for tests alone.
fn is_test(file: &Path, root: &Path) -> bool {
    let in_tests = file
        .components()
        .any(|part| ["tests", "testing", "fuzz"].iter().any(|name| part.as_os_str() == *name));
    let stem = file.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let head = file.parent().map(|folder| root.join(folder).join("mod.rs"));
    let head = head.and_then(|head| std::fs::read_to_string(head).ok()).unwrap_or_default();
    let marked = |shown: &str| head.contains(&format!("#[cfg(test)]\n{shown}mod {stem};"));
    in_tests || stem == "tests" || marked("") || marked("pub(super) ")
}

/// The lines in which a file is made or opened by other means than ours, up to the tests at the end of the text.
fn raw_files(file: &Path, text: &str) -> Vec<(usize, &'static str)> {
    if FILES.iter().any(|(allowed, _)| file == Path::new(allowed)) {
        return Vec::new();
    }
    let lines = text.lines().enumerate().take_while(|(_, line)| *line != "mod tests {");
    let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter_map(|(at, line)| Some((at + 1, *RAW.iter().find(|call| line.contains(**call))?))).collect()
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
    fn a_file_that_is_made_by_other_means_than_ours_is_found_outside_of_tests() {
        let text = "//! x\n// File::create is not for us\nfn f() {\n    std::fs::write(a, b);\n}\n";
        let found = check("xtask/src/a.rs", text);
        assert!(
            found.len() == 1 && found[0].starts_with("xtask/src/a.rs:4: `fs::write(` makes"),
            "{found:?}"
        );
        assert!(check("xtask/tests/a.rs", text).is_empty());
        assert!(check("flipsim/src/files/writing.rs", text).is_empty());
        assert!(check("xtask/src/a.rs", &text.replace("fn f", "mod tests {\nfn f")).is_empty());
        for (allowed, _) in FILES {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(allowed).is_file(), "{allowed}");
        }
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
