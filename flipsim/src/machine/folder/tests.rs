//! Tests of `folder`.

use super::*;
use crate::machine::hold::HoldNote;
use std::os::unix::fs::PermissionsExt;

fn record(name: &str, process: Option<ProcessId>) -> RunRecord {
    RunRecord {
        format: FORMAT,
        name: name.into(),
        arch: Arch::default(),
        process,
        started: Timestamp::now(),
        command: vec!["qemu".into()],
        memory: 128 << 20,
        cpus: 1,
        clock: Clock::Real,
        gdb: "gdb.sock".into(),
        monitor: None,
        kernel: "/k".into(),
        vmlinux: None,
        image: None,
        share: None,
        workload: None,
        qemu_version: String::new(),
    }
}

fn me() -> ProcessId {
    ProcessId::of(std::process::id()).unwrap()
}

#[test]
fn guests_are_numbered_and_their_folders_private() {
    let lab = tempfile::tempdir().unwrap();
    let runs = lab.path().join("runs");
    let first = RunDir::create(&runs, None).unwrap().0;
    let second = RunDir::create(&runs, None).unwrap().0;
    assert_eq!((first.name(), second.name()), ("g1".into(), "g2".into()));
    let mode = fs::metadata(first.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_record_survives_and_a_foreign_one_is_reported() {
    let lab = tempfile::tempdir().unwrap();
    let run = RunDir::create(lab.path(), Some("one")).unwrap().0;
    let record = record("one", Some(me()));
    run.save(&record).unwrap();
    assert_eq!(run.load().unwrap(), record);
    let text = fs::read_to_string(run.file("run.json")).unwrap();
    fs::write(run.file("run.json"), text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    assert!(run.load().unwrap_err().to_string().contains("format 9, this lab writes 1"));
    fs::write(run.file("run.json"), "{").unwrap();
    assert!(matches!(run.load(), Err(FolderError::Record { .. })));
}

#[test]
fn the_only_running_guest_needs_no_name() {
    let lab = tempfile::tempdir().unwrap();
    assert!(matches!(RunDir::find_running(lab.path(), None), Err(FolderError::None)));
    let save = |name: &str, process| {
        RunDir::create(lab.path(), Some(name)).unwrap().0.save(&record(name, process)).unwrap();
    };
    save("dead", Some(ProcessId { pid: std::process::id(), start: 1 }));
    save("live", Some(me()));
    assert_eq!(RunDir::find_running(lab.path(), None).unwrap().1.name, "live");
    let text = RunDir::find_running(lab.path(), Some("dead")).unwrap_err().to_string();
    assert_eq!(text, "no guest `dead` is running; running: live");
    save("other", Some(me()));
    let text = RunDir::find_running(lab.path(), None).unwrap_err().to_string();
    assert!(text.contains("live, other"), "{text}");
}

#[test]
fn a_running_guests_name_is_taken_and_an_ended_ones_is_not() {
    let lab = tempfile::tempdir().unwrap();
    let run = RunDir::create(lab.path(), Some("x")).unwrap().0;
    run.save(&record("x", Some(me()))).unwrap();
    assert!(matches!(RunDir::create(lab.path(), Some("x")), Err(FolderError::Taken(_))));
    run.save(&record("x", None)).unwrap();
    fs::write(run.file("console.log"), "kept").unwrap();
    RunDir::create(lab.path(), Some("x")).unwrap();
    assert_eq!(fs::read_dir(lab.path()).unwrap().count(), 2);
}

#[test]
fn a_guest_that_a_killed_process_held_is_recognised() {
    let lab = tempfile::tempdir().unwrap();
    let run = RunDir::create(lab.path(), Some("x")).unwrap().0;
    let mut hold = run.hold().unwrap();
    assert_eq!(hold.left_behind(), None);
    let note =
        HoldNote { was_running: false, registers: vec![("x0".into(), "00".into())], ..HoldNote::default() };
    hold.note(&note).unwrap();
    // Dropped without `clear`, as by a kill.
    drop(hold);
    let mut hold = run.hold().unwrap();
    assert_eq!(hold.left_behind(), Some(&note));
    hold.clear().unwrap();
    drop(hold);
    assert_eq!(run.hold().unwrap().left_behind(), None);
}

#[test]
fn two_processes_do_not_hold_one_guest() {
    let lab = tempfile::tempdir().unwrap();
    let run = RunDir::create(lab.path(), Some("x")).unwrap().0;
    let mut hold = run.hold().unwrap();
    hold.note(&HoldNote::default()).unwrap();
    assert!(matches!(run.hold(), Err(FolderError::Held(_))));
    drop(hold);
    assert!(run.hold().unwrap().left_behind().is_some(), "a refused one takes no note away");
}

#[test]
fn a_guest_that_is_being_started_keeps_its_folder() {
    let lab = tempfile::tempdir().unwrap();
    let (run, starting) = RunDir::create(lab.path(), Some("x")).unwrap();
    assert!(matches!(RunDir::create(lab.path(), Some("x")), Err(FolderError::Taken(_))));
    assert!(run.is_in_use());
    drop(starting);
    assert!(!run.is_in_use());
}

#[test]
fn an_odd_name_does_not_end_the_count() {
    let lab = tempfile::tempdir().unwrap();
    RunDir::create(lab.path(), Some("g18446744073709551615")).unwrap();
    assert_eq!(RunDir::create(lab.path(), None).unwrap().0.name(), "g1");
}

#[test]
fn names_are_plain_words() {
    let lab = tempfile::tempdir().unwrap();
    for bad in ["", "../x", "a b", "a/b", &"x".repeat(33)] {
        assert!(matches!(RunDir::create(lab.path(), Some(bad)), Err(FolderError::BadName(_))), "{bad}");
    }
}

#[test]
fn a_process_number_that_was_used_again_is_not_the_process() {
    assert!(me().is_alive());
    assert!(!ProcessId { start: me().start + 1, ..me() }.is_alive());
}
