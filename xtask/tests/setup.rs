//! `cargo xtask setup` and `doctor` as a user starts them, without building anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn xtask(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("FLIPSIM_CACHE", cache).stdin(Stdio::null());
    command
}

/// What does not depend on this machine: paths, keys, and where e2fsprogs lie.
fn normal(text: &str, cache: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = text
        .replace(&*cache.to_string_lossy(), "CACHE")
        .replace(&*root.to_string_lossy(), "ROOT")
        .replace("/usr/sbin/", "")
        .replace("/sbin/", "");
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            word.push(c);
            continue;
        }
        out += if word.len() == 16 { "KEY" } else { &word };
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn dry_run(step: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    // --reset: what this source tree was set up with before does not count.
    let output = xtask(&cache).args(["setup", step, "--dry-run", "--reset", "--jobs", "2"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!cache.exists(), "a dry run has made the cache");
    let lines = String::from_utf8(output.stdout).unwrap();
    // What the host lacks is not the same everywhere.
    let lines: Vec<&str> = lines.lines().filter(|line| !line.contains("host lacks")).collect();
    normal(&lines.join("\n"), &cache)
}

/// What it is on this host is the host's; that it ends by itself or can be ended is not.
#[test]
fn the_probe_of_kvm_runs_its_guest_or_says_which_call_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut probe = xtask(dir.path()).arg("probe-kvm").stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while probe.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // On a KVM that never comes back from the guest.
    let hangs = probe.try_wait().unwrap().is_none();
    probe.kill().unwrap();
    let output = probe.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let says = ["/dev/kvm", "KVM_", "no probe guest for this host", "is due"];
    assert!(hangs || output.status.success() || says.iter().any(|what| text.contains(what)), "{text}");
}

#[test]
fn a_dry_run_prints_the_commands_that_build_qemu() {
    insta::assert_snapshot!("dry_run_qemu", dry_run("qemu"));
}

#[test]
fn a_dry_run_prints_the_commands_that_build_the_kernel() {
    insta::assert_snapshot!("dry_run_kernel", dry_run("kernel"));
}

#[test]
fn a_dry_run_prints_the_commands_that_build_the_image() {
    insta::assert_snapshot!("dry_run_image", dry_run("image"));
}

#[test]
fn the_second_setup_waits_for_the_first_and_a_signal_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let locks = dir.path().join("locks");
    std::fs::create_dir_all(&locks).unwrap();
    let held = std::fs::File::create(locks.join("qemu.lock")).unwrap();
    held.lock().unwrap();
    std::fs::write(locks.join("qemu.lock"), "4711").unwrap();
    let mut child =
        xtask(dir.path()).args(["setup", "qemu", "--reset"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("waiting") {
        if stderr.read_line(&mut seen).unwrap() == 0 {
            // A host without a compiler ends before it comes to the lock.
            child.wait().unwrap();
            assert!(seen.contains("host lacks"), "{seen}");
            return;
        }
    }
    let started = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    stderr.read_to_string(&mut seen).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{seen}");
    assert!(seen.contains("another command is building QEMU (pid 4711); waiting"), "{seen}");
    assert!(seen.ends_with("interrupted; run the same command again to go on\n"), "{seen}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_file_that_is_no_qemu_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = xtask(dir.path()).args(["setup", "qemu", "--qemu-bin", "/bin/true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is no QEMU"), "{text}");
}

#[test]
fn invalid_input_is_reported_with_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let file = dir.path().join("disk.img");
    std::fs::write(&file, [7; 1024]).unwrap();
    let file = file.to_str().unwrap();
    for (args, part) in [
        (&["setup", "kernel", "--kernel-src", folder][..], "no Linux source tree"),
        (&["setup", "kernel", "--kernel-src", "/nonexistent"], "cannot find /nonexistent"),
        (&["setup", "kernel", "--kernel-image", file], "it has no header of a kernel"),
        (&["setup", "image", "--kernel-src", folder], "which is not among those to run"),
        (&["image", "convert", "/nonexistent.img", "new.qcow2"], "cannot open"),
        (&["image", "convert", file, file], "is a raw image already"),
        (&["image", "convert", file, "/nonexistent/new.qcow2"], "there is no folder"),
        (&["inject", "--count", "0"], "--count"),
    ] {
        let output = xtask(dir.path()).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn a_cache_that_cannot_be_made_is_explained() {
    let output = xtask(Path::new("/dev/null/cache")).args(["setup", "qemu"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("set FLIPSIM_CACHE"), "{text}");
}

#[test]
fn doctor_answers_in_json_and_its_exit_code_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let output = xtask(dir.path()).args(["doctor", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["ready"].as_bool().unwrap(), output.status.success());
    assert!(report["checks"].as_array().unwrap().len() > 20);
}

#[test]
fn who_says_yes_to_every_question_has_what_is_missing_installed() {
    let dir = tempfile::tempdir().unwrap();
    let tools = dir.path().join("bin");
    std::fs::create_dir(&tools).unwrap();
    // All that this host has is a package manager that does nothing.
    std::os::unix::fs::symlink("/bin/true", tools.join("apt-get")).unwrap();
    let lines = |options: &[&str]| {
        let mut command = xtask(&dir.path().join("cache"));
        command.args(["setup", "--reset", "--dry-run"]).args(options).env("PATH", &tools);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let installs =
        |text: &str| text.lines().any(|line| !line.starts_with('#') && line.contains("apt-get install"));
    let (none, deps, yes) = (lines(&[]), lines(&["--install-deps"]), lines(&["--yes"]));
    assert!(!installs(&none) && none.contains("host lacks"), "{none}");
    for text in [deps, yes] {
        assert!(installs(&text) && !text.contains("host lacks"), "{text}");
    }
}
