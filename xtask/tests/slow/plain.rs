//! Trials on a QEMU without the lab's patches, or with some of them only.
//!
//! Such a QEMU is the lab's own with the names of the commands taken out of its program: what it cannot be
//! asked for, it does not have. Invariant: the lab in use is not touched; each test has its own source tree, made of
//! links, and its own cache.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use super::*;

/// The commands that all of the patches add.
const CLOCK: [&str; 3] = ["query-virtual-clock", "stop-at", "stop_delayed"];

/// The commands that the later ones add.
const MARK: [&str; 4] = ["mark-state", "rewind-state", "query-state-digest", "flipsim-cow"];

/// A lab with another QEMU.
struct Lab(tempfile::TempDir);

impl Lab {
    fn without(names: &[&str]) -> Lab {
        let lab = Lab(tree_of_links());
        let root = lab.0.path();
        let known = std::fs::read(root.join(".lab/lab.json")).unwrap();
        let known: Value = serde_json::from_slice(&known).unwrap();
        let qemu = &known["archs"]["aarch64"]["qemu"];
        let mut program = std::fs::read(qemu["system"].as_str().unwrap()).unwrap();
        for name in names {
            hide(&mut program, name);
        }
        let bin = root.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(qemu["img"].as_str().unwrap(), bin.join("qemu-img")).unwrap();
        let system = bin.join("qemu-system-aarch64");
        std::fs::write(&system, program).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&system, mode).unwrap();
        lab.ok(&["setup", "qemu", "--qemu-bin", system.to_str().unwrap()]);
        lab
    }

    fn ok(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).stdin(Stdio::null()).current_dir(self.0.path());
        command.env("CARGO_MANIFEST_DIR", self.0.path().join("xtask"));
        command.env("FLIPSIM_CACHE", self.0.path().join("cache"));
        let output = command.output().expect("the program was built for this test");
        assert!(output.status.success(), "{args:?}:\n{}", text(&output));
        output
    }

    /// A trial's record, and what was said beside it.
    fn trial(&self, args: &[&str]) -> (Value, String) {
        let output = self.ok(&[&["campaign", "trial", "--json"], args].concat());
        (json_lines(&output)[0]["trial"].clone(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let folder = self.0.path().to_str().unwrap();
        assert!(std::thread::panicking() || !qemu_with(folder), "a QEMU is left");
    }
}

/// Gives a name in a program's data another end.
fn hide(program: &mut [u8], name: &str) {
    let pattern = [name.as_bytes(), b"\0"].concat();
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = program[at..].windows(pattern.len()).position(|bytes| bytes == pattern) {
        at += next + pattern.len();
        program[at - 3..at - 1].copy_from_slice(b"zz");
        found += 1;
    }
    assert!(found > 0, "{name} is not in the program");
}

const DESTROYED: [&str; 4] = ["--ram", "__schedule", "--mask", "0xffffffff"];

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_qemu_without_the_patches_runs_trials_and_judges_them_by_their_output() {
    let lab = Lab::without(&[&CLOCK[..], &MARK].concat());
    for (asked, way) in [("rewind", "clone"), ("clone", "clone"), ("loadvm", "loadvm")] {
        let args = [&["--at", "230ms", "--restore", asked], &DESTROYED[..]].concat();
        let (record, said) = lab.trial(&args);
        assert_eq!(record["outcome"], "crash", "{record}");
        assert_eq!(record["title"], "Undefined instruction in __schedule", "{record}");
        assert_eq!(record["restore"], way, "{record}");
        assert_eq!(
            (&record["timing"], &record["output_only"]),
            (&"approximate".into(), &true.into()),
            "{record}"
        );
        let why = record["output_only_because"].as_str().unwrap();
        assert!(why.contains("lacks the lab's patches"), "{why}");
        assert_eq!((&record["state"], &record["converged_ns"]), (&Value::Null, &Value::Null), "{record}");
        assert_eq!(
            said.matches("guests are restored by --restore clone").count(),
            usize::from(asked == "rewind")
        );
    }
    // It is not used, and it cannot be seen to be another one.
    let (record, _) = lab.trial(&["--at", "230ms", "--ram", "0x46000000:3"]);
    assert_eq!((&record["outcome"], &record["new"]), (&"masked".into(), &"0x08".into()), "{record}");

    lab.ok(&["campaign", "new", "plain", "--trials", "6", "--seed", "3", "--stratum", "core=class:core"]);
    let output = text(&lab.ok(&["campaign", "run", "plain"]));
    assert!(output.contains("6 of 6 trials") && output.contains("judged by their output alone"), "{output}");
    let output = text(&lab.ok(&["campaign", "status", "plain"]));
    assert!(
        output.contains("lacks the lab's patches") && output.contains("times are approximate"),
        "{output}"
    );
    let status: Value =
        serde_json::from_slice(&lab.ok(&["campaign", "status", "plain", "--json"]).stdout).unwrap();
    assert_eq!((&status["timing"], &status["done"]), (&"approximate".into(), &6.into()), "{status}");
    let clones = lab.0.path().join(".lab/clones");
    assert_eq!(std::fs::read_dir(clones).unwrap().count(), 0);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_qemu_that_cannot_mark_a_state_repeats_trials_exactly_and_claims_nothing_of_the_state() {
    let lab = Lab::without(&MARK);
    for (at, place, outcome) in [
        ("100ms", &["--reg", "pc:40"][..], "detected"),
        ("30ms", &DESTROYED, "crash"),
        ("100ms", &["--ram", "0x46000000:3"], "masked"),
    ] {
        let mut records = Vec::new();
        for way in ["rewind", "clone", "loadvm"] {
            let args = [&["--at", at, "--restore", way], place].concat();
            let (mut record, _) = lab.trial(&args);
            assert_eq!(record["timing"], "exact", "{record}");
            assert_eq!((&record["outcome"], &record["state"]), (&outcome.into(), &Value::Null), "{record}");
            let why = record["output_only_because"].as_str().unwrap();
            assert!(why.contains("has no mark-state"), "{why}");
            for key in ["restore", "costs"] {
                record[key] = Value::Null;
            }
            records.push(record);
        }
        assert_eq!(records[0], records[1]);
        assert_eq!(records[0], records[2]);
    }
}
