//! The store under what can happen to it: SIGKILL at any moment, a full disk, a file that vanishes.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tests::{create, files, record, record_next, whole};
use super::*;
use crate::campaign::plan::TrialId;
use crate::campaign::shard::Shard;

/// Names the campaign's file to a child of these tests.
const FILE: &str = "FLIPSIM_STORE_TEST_FILE";

#[test]
fn nothing_is_recorded_into_a_file_that_is_not_there_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (folder.path().join("c.db"), folder.path().join("d.db"));
    let mut store = create(&path, 50);
    record_next(&mut store, 3);
    let id = store.pending(Shard::WHOLE).unwrap()[0];
    let trial = record(&store.planned(id).unwrap());
    std::fs::rename(&path, &elsewhere).unwrap();
    for error in [
        store.record(id, &trial).map(drop).unwrap_err(),
        store.fail(id, "lost").map(drop).unwrap_err(),
        store.take_back(&[id]).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Gone(_)), "{error}");
    }
    // Another file of that name is not it.
    std::fs::copy(&elsewhere, &path).unwrap();
    assert!(matches!(store.record(id, &trial), Err(StoreError::Gone(_))));
    std::fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(store.record(id, &trial).unwrap(), Recorded::Done);
    assert_eq!(store.status().unwrap().done, 4);
    whole(&store);
}

#[test]
fn a_full_disk_loses_nothing_and_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut store = create(&path, 2000);
    let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |store: &Store, pages: i64| {
        let set = format!("PRAGMA max_page_count = {pages}");
        store.conn.query_row(&set, [], |_| Ok(())).unwrap();
    };
    limit(&store, pages + 20);
    let mut done = 0;
    let ids = store.pending(Shard::WHOLE).unwrap();
    let error = loop {
        let record = record(&store.planned(ids[done]).unwrap());
        match store.record(ids[done], &record) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(done > 10, "{done}");
    assert_eq!(store.status().unwrap().done, done as u64);
    limit(&store, i64::from(u32::MAX) - 1);
    record_next(&mut store, 2000);
    assert_eq!(store.status().unwrap().done, 2000);
    whole(&store);
}

/// The writer that others kill: it records what is pending and says so after each.
#[test]
#[ignore = "a child of the tests below"]
fn child_that_records() {
    let Ok(path) = std::env::var(FILE) else { return };
    let mut store = Store::open(Path::new(&path)).unwrap();
    let mut out = io::stdout();
    for id in store.pending(Shard::WHOLE).unwrap() {
        let record = record(&store.planned(id).unwrap());
        match store.record(id, &record) {
            Ok(_) => writeln!(out, "\nrecorded {id}").unwrap(),
            Err(StoreError::Full { .. }) => {
                writeln!(out, "\nfull").unwrap();
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The maker that others kill.
#[test]
#[ignore = "a child of the tests below"]
fn child_that_creates() {
    let Ok(path) = std::env::var(FILE) else { return };
    println!("\nrecorded 0");
    create(Path::new(&path), 20_000);
}

/// Runs a child test; `shell` goes before it.
fn child(name: &str, file: &Path, shell: &str) -> Child {
    let test = format!("campaign::store::mishaps::{name}");
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a child said that it recorded, and whether it found the disk full.
fn said(child: &mut Child, until: impl Fn(usize) -> bool) -> (Vec<TrialId>, bool) {
    let (mut ids, mut full) = (Vec::new(), false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        full |= line == "full";
        if let Some(id) = line.strip_prefix("recorded ") {
            ids.push(TrialId(id.parse().unwrap()));
            if until(ids.len()) {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    (ids, full)
}

#[test]
fn a_writer_that_is_killed_loses_nothing_it_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let trials = 6000;
    drop(create(&path, trials));
    let mut known: BTreeSet<TrialId> = BTreeSet::new();
    let mut rng = crate::fault::fault_rng(5, 0);
    for round in 0..25 {
        let count = usize::try_from(rand::RngExt::random_range(&mut rng, 1..200u64)).unwrap();
        let mut writer = child("child_that_records", &path, "");
        let (ids, _) = said(&mut writer, |seen| seen == count);
        assert!(ids.len() >= count, "round {round}: {}", ids.len());
        // None was given out twice.
        assert!(ids.iter().all(|id| known.insert(*id)), "round {round}");
        let store = if round % 2 == 0 { Store::open_readonly(&path) } else { Store::open(&path) }.unwrap();
        let stored: BTreeSet<TrialId> = store.results().map(|row| row.unwrap().trial.id).collect();
        assert!(known.is_subset(&stored), "round {round}");
        // It may have been killed between recording and saying so.
        assert!(stored.len() - known.len() <= 1, "round {round}");
        assert_eq!(stored.len() + store.pending(Shard::WHOLE).unwrap().len(), trials as usize);
        known = stored;
        whole(&store);
    }
    record_next(&mut Store::open(&path).unwrap(), trials as usize);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.status().unwrap().done, trials);
    for row in store.results() {
        let trial = row.unwrap().trial;
        assert_eq!(store.record_of(trial.id).unwrap(), Some(record(&trial)));
    }
}

#[test]
fn a_maker_that_is_killed_leaves_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let (mut whole_ones, mut none) = (0, 0);
    for round in 0..15u64 {
        let mut maker = child("child_that_creates", &path, "");
        let mut lines = BufReader::new(maker.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "recorded 0"));
        std::thread::sleep(Duration::from_millis(12 * round));
        maker.kill().unwrap();
        maker.wait().unwrap();
        if path.exists() {
            whole(&Store::open(&path).unwrap());
            std::fs::remove_file(&path).unwrap();
            whole_ones += 1;
        } else {
            none += 1;
        }
    }
    // Killed at once there is nothing.
    assert!(none > 0, "{whole_ones} {none}");
    drop(create(&path, 100));
    assert_eq!(files(folder.path()), ["c.db"]);
}

#[test]
fn a_limit_on_the_files_size_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    drop(create(&path, 5000));
    // In blocks of 512 or 1024 bytes, as the shell likes; the journal reaches it soon.
    let mut writer = child("child_that_records", &path, "trap '' XFSZ; ulimit -f 1500;");
    let (ids, full) = said(&mut writer, |_| false);
    assert!(full && ids.len() > 20, "{full} {}", ids.len());
    let mut store = Store::open(&path).unwrap();
    let stored: BTreeSet<TrialId> = store.results().map(|row| row.unwrap().trial.id).collect();
    assert_eq!(stored, ids.into_iter().collect());
    record_next(&mut store, 5000);
    assert_eq!(store.status().unwrap().done, 5000);
    whole(&store);
}

#[test]
fn a_plan_that_does_not_fit_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut maker = child("child_that_creates", &path, "trap '' XFSZ; ulimit -f 200;");
    said(&mut maker, |_| false);
    assert!(!maker.wait().unwrap().success());
    assert_eq!(files(folder.path()), Vec::<String>::new());
}
