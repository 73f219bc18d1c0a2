//! What a user gives a command, as a user runs it: pipes that no process writes to, files that are something else, and
//! signals while standard input is waited for.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn start(args: &[&str], folder: &Path, input: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).current_dir(folder).env("FLIPSIM_CACHE", folder).env_remove("RUST_BACKTRACE");
    command.stdin(input).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program was built")
}

/// The end of a command, which is killed where it waits.
fn end(mut child: Child) -> (ExitStatus, String) {
    let late = Instant::now() + Duration::from_secs(60);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > late => {
                child.kill().unwrap();
                panic!("it waits");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status, said)
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let (status, said) = end(start(args, folder, Stdio::null()));
    assert_eq!(status.code(), Some(2), "{args:?}: {said}");
    said
}

fn pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}

#[test]
fn no_command_waits_for_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    pipe(&folder.path().join("p"));
    pipe(&folder.path().join("p.sqlite"));
    std::os::unix::fs::symlink("p", folder.path().join("link")).unwrap();
    for args in [
        &["image", "convert", "p", "x.qcow2"][..],
        &["image", "convert", "link", "x.qcow2"],
        &["campaign", "new", "a-test-of-pipes", "--trials", "5", "--spec", "p"],
        &["campaign", "classify", "p"],
        &["campaign", "replay", "p"],
        &["campaign", "status", "p.sqlite"],
        &["campaign", "stats", "p.sqlite"],
        &["campaign", "export", "p.sqlite"],
        &["campaign", "run", "p.sqlite"],
        &["campaign", "merge", "whole.sqlite", "p.sqlite"],
        &["report", "p.sqlite"],
        &["report", "compare", "p.sqlite", "p.sqlite"],
        &["setup", "qemu", "--dry-run", "--qemu-tarball", "p"],
        &["setup", "qemu", "--dry-run", "--qemu-bin", "p"],
        &["setup", "kernel", "--dry-run", "--kernel-src", ".", "--kernel-config", "p"],
        &["setup", "kernel", "--dry-run", "--kernel-image", "p"],
        &["setup", "kernel", "--dry-run", "--kernel-image", "/proc/self/exe", "--vmlinux", "p"],
    ] {
        let said = refused(folder.path(), args);
        assert!(said.contains("a named pipe (FIFO)"), "{args:?}: {said}");
    }
}

#[test]
fn a_specification_is_answered_with_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    for (text, words) in [
        ("trials = 5\nwindow = 200\n", "write \"200ms\""),
        ("trails = 5\n", "did you mean `trials`?"),
        ("trials = 5\n[guest]\nkernal = 'x'\n", "did you mean `kernel`?"),
        ("trials = 5\n[guest]\nmemory = 512\n", "memory = \"512M\""),
        ("window = '1ms'\n", "nothing says how many trials stratum `ram` has"),
    ] {
        std::fs::write(folder.path().join("spec.toml"), text).unwrap();
        let said = refused(folder.path(), &["campaign", "new", "a-test-of-specs", "--spec", "spec.toml"]);
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, args) in [
        (Signal::INT, &["campaign", "classify", "-"]),
        (Signal::TERM, &["campaign", "classify", "-"]),
        (Signal::INT, &["campaign", "replay", "-"]),
    ] {
        let mut child = start(args, folder.path(), Stdio::piped());
        let _open = child.stdin.take();
        // Once: the handler is there long before a second has passed, and were it not, the signal would end it as well.
        std::thread::sleep(Duration::from_secs(1));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let (status, said) = end(child);
        assert_eq!(status.code(), Some(130), "{args:?}: {said}");
    }
}

#[test]
fn a_console_from_a_shell_s_own_pipe_is_read() {
    let (out, mut into) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut into, b"[    1.000000] Kernel panic - not syncing: x\n").unwrap();
    drop(into);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output =
        command.args(["campaign", "classify", "/dev/stdin"]).stdin(Stdio::from(out)).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"outcome\":\"crash\""));
}

#[test]
fn each_guest_that_cannot_be_stopped_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["boot", "stop", "no-such-guest-1", "no-such-guest-2"];
    let (status, said) = end(start(&args, folder.path(), Stdio::null()));
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("no guest `no-such-guest-1` is running"), "{said}");
    assert!(said.contains("no guest `no-such-guest-2` is running"), "{said}");
}

#[test]
fn no_template_is_made_where_one_of_the_files_is_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x-2.sqlite"), "").unwrap();
    let new = ["campaign", "new", "x.sqlite", "--trials", "9", "--templates", "3"];
    let said = refused(folder.path(), &new);
    assert!(said.contains("x-2.sqlite exists already; no campaign was made"), "{said}");
    assert!(!folder.path().join("x-1.sqlite").exists());
    std::fs::write(folder.path().join("spec.toml"), "trials = 9\ntemplates = 3").unwrap();
    let said = refused(folder.path(), &["campaign", "new", "x.sqlite", "--spec", "spec.toml"]);
    assert!(said.contains("no campaign was made"), "{said}");
    for (args, why) in [
        (&["--trials", "2", "--templates", "3"][..], "too few for 3 templates"),
        (&["--margin", "1%", "--templates", "3"], "give `trials`"),
        (&["--spec", "spec.toml", "--pilot", "first"], "--pilot shares the trials of one golden run"),
    ] {
        let said = refused(folder.path(), &[&["campaign", "new", "y.sqlite"], args].concat());
        assert!(said.contains(why), "{why}: {said}");
    }
}
