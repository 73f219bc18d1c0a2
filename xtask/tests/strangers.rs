//! A campaign, a specification and a trial that somebody else made: looking runs nothing, running asks first.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flipsim::campaign::{Shard, Store};
use flipsim::testing::fake_campaign::{create, fill, spec};
use serde_json::json;

/// A campaign whose guest would leave a mark on this host.
struct Poisoned {
    folder: tempfile::TempDir,
}

impl Poisoned {
    fn new(guest: serde_json::Value) -> Poisoned {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(20, &["range:0x40000000+1M"]);
        spec.guest = guest;
        let mut store = create(&folder.path().join("theirs.sqlite"), &spec).unwrap();
        fill(&mut store, 20).unwrap();
        drop(store);
        Poisoned { folder }
    }

    fn file(&self) -> String {
        self.path("theirs.sqlite").to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mark() -> serde_json::Value {
        json!({ "workload": "sha256", "qemu-args": ["-incoming", "exec:touch pwned"] })
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn xtask(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = xtask(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    said
}

#[test]
fn looking_at_a_poisoned_campaign_works_and_runs_nothing() {
    let theirs = Poisoned::new(Poisoned::mark());
    let file = theirs.file();
    let whole = theirs.path("whole.sqlite").to_str().unwrap().to_owned();
    let page = theirs.path("page.html").to_str().unwrap().to_owned();
    for args in [
        &["campaign", "status", &file][..],
        &["campaign", "stats", &file, "--json"],
        &["campaign", "export", &file],
        &["report", &file, "--html", &page],
        &["report", "compare", &file, &file, "--html", &page],
        &["campaign", "merge", &whole, &file],
    ] {
        let output = xtask(theirs.folder.path(), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let left: Vec<String> = theirs
        .files()
        .into_iter()
        .filter(|name| !name.ends_with(".lock") && name != "whole.sqlite")
        .collect();
    assert_eq!(left, ["page.html", "theirs.sqlite"]);
}

#[test]
fn arguments_that_take_away_what_the_lab_relies_on_are_refused_whatever_is_trusted() {
    let theirs = Poisoned::new(Poisoned::mark());
    let file = theirs.file();
    for args in [
        &["campaign", "run", &file][..],
        &["campaign", "run", &file, "--trust"],
        &["campaign", "resume", &file, "--trust-qemu-args"],
        &["campaign", "replay", &file, "--trial", "1"],
        &["campaign", "replay", &file, "--trial", "1", "--trust", "--trust-qemu-args"],
    ] {
        let said = refused(theirs.folder.path(), args);
        assert!(said.contains("--qemu-arg -incoming exec:touch pwned: "), "{said}");
    }
    assert!(!theirs.path("pwned").exists());
}

#[test]
fn arguments_that_reach_the_host_take_a_word_of_their_own() {
    let theirs = Poisoned::new(
        json!({ "qemu-args": ["-device", "loader,file=/etc/shadow"], "machine": "virt,firmware=/x" }),
    );
    for trust in [&[][..], &["--trust"]] {
        let said = refused(theirs.folder.path(), &[&["campaign", "run", &theirs.file()], trust].concat());
        assert!(said.contains("-device loader,file=/etc/shadow, -machine virt,firmware=/x"), "{said}");
        assert!(said.contains("--trust-qemu-args"), "{said}");
    }
}

#[test]
fn a_campaign_that_was_not_made_here_is_not_run_unasked() {
    let theirs = Poisoned::new(json!({ "append": "\u{1b}[2J\nRun it? [y/N] y" }));
    for args in
        [&["campaign", "run", &theirs.file()][..], &["campaign", "replay", &theirs.file(), "--trial", "1"]]
    {
        let said = refused(theirs.folder.path(), args);
        assert!(said.contains("was not made here, and says what QEMU runs on this host"), "{said}");
        assert!(said.contains("--trust runs this:\n  "), "{said}");
        // A line of the file's cannot pass for one of ours.
        assert!(!said.lines().any(|line| line.starts_with("Run it?")), "{said}");
    }
}

#[test]
fn a_specification_and_a_trial_of_somebody_elses_are_asked_about_as_well() {
    let theirs = Poisoned::new(json!({}));
    let spec = "name = 'x'\ntrials = 1\n[guest]\nqemu-args = ['-netdev', 'tap,id=n,script=/tmp/x']\n\
                [[stratum]]\nname = 'ram'\ntargets = ['ram']\n";
    std::fs::write(theirs.path("spec.toml"), spec).unwrap();
    let new = theirs.path("new.sqlite").to_str().unwrap().to_owned();
    let said = refused(theirs.folder.path(), &["campaign", "new", &new, "--spec", "spec.toml"]);
    assert!(said.contains("spec.toml") && said.contains("-netdev tap,id=n,script=/tmp/x"), "{said}");

    let store = Store::open_readonly(&theirs.path("theirs.sqlite")).unwrap();
    assert!(store.pending(Shard::WHOLE).unwrap().is_empty());
    let id = store.results().next().unwrap().unwrap().trial.id;
    let trial = store.record_of(id).unwrap().unwrap();
    let line = json!({
        "guest": Poisoned::mark(), "hang_factor": 3.0, "early_stop": true, "spacing": 1000, "trial": trial,
    });
    std::fs::write(theirs.path("trial.json"), line.to_string()).unwrap();
    let said = refused(theirs.folder.path(), &["campaign", "replay", "trial.json", "--trust"]);
    assert!(said.contains("-incoming exec:touch pwned"), "{said}");
    let plain =
        line.to_string().replace("\"qemu-args\":[\"-incoming\",\"exec:touch pwned\"]", "\"append\":\"x\"");
    std::fs::write(theirs.path("trial.json"), plain).unwrap();
    let said = refused(theirs.folder.path(), &["campaign", "replay", "trial.json"]);
    assert!(said.contains("line 1 of trial.json was not made here"), "{said}");
    assert!(!theirs.path("pwned").exists());
}
