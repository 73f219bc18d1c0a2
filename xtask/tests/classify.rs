//! `campaign classify`, as a user runs it.

use std::process::{Command, Output, Stdio};

fn classify(args: &[&str], input: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["campaign", "classify"]).args(args).stdin(input);
    command.output().expect("the program was built")
}

#[test]
fn a_file_that_cannot_be_read_is_reported_and_the_others_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let panic = file("panic.log", "[    1.000000] Kernel panic - not syncing: x\n");
    let clean = file("clean.log", "FLIPSIM DONE workload=fs digest=1 status=ok\n");
    let gone = folder.path().join("gone.log").to_str().unwrap().to_owned();
    let output = classify(&[&panic, &gone, folder.path().to_str().unwrap(), &clean], Stdio::null());
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["kind"], &lines[1]["outcome"]), (&"panic".into(), &"clean".into()));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("gone.log cannot be read: No such file"), "{errors}");
    assert!(errors.contains("2 of 4 files could not be read"), "{errors}");
    assert_eq!(classify(&[&panic], Stdio::null()).status.code(), Some(0));
}

#[test]
fn a_dash_is_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    std::fs::write(&path, "FLIPSIM DONE workload=fs digest=1 status=wrong\n").unwrap();
    let output = classify(&["-"], std::fs::File::open(path).unwrap().into());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "{\"file\":\"-\",\"outcome\":\"sdc\",\"kind\":\"wrong-result\",\"title\":\"wrong result of fs\",\"line\":1}\n"
    );
}
