//! The store under damage: bits that flip, cells that are edited, a log that is removed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rusqlite::Connection;

use super::tests::{as_version_2, create, files, plan, record, record_next, whole};
use super::*;
use crate::campaign::Summary;
use crate::campaign::plan::TrialId;
use crate::campaign::shard::Shard;
use crate::campaign::summary::SummaryOptions;
use crate::fault::fault_rng;
use crate::report::export;

/// All that the commands say of a campaign: `status`, `stats`, `export`, `report` with its files, `run`'s work.
fn answer(path: &Path) -> Result<String, String> {
    let text = |error: StoreError| error.to_string();
    let store = Store::open_readonly(path).map_err(text)?;
    let mut said = serde_json::to_string(&store.status().map_err(text)?).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).map_err(text)?;
    said += &serde_json::to_string(&summary).unwrap();
    for row in store.results() {
        let row = row.map_err(text)?;
        said += &format!("{row:?} {:?}\n", store.record_of(row.trial.id).map_err(text)?);
    }
    let mut out = Vec::new();
    export::csv(&store, &mut out).map_err(|error| error.to_string())?;
    export::json(&store, &summary, None, &mut out).map_err(|error| error.to_string())?;
    said += &String::from_utf8(out).unwrap();
    said += &format!("{:?} {:?}\n", store.manifest(), store.spec());
    for id in store.pending(Shard::WHOLE).map_err(text)? {
        said += &format!("{:?}\n", store.planned(id).map_err(text)?);
    }
    Ok(said)
}

/// Has a file say that it was made from what is in it now.
pub fn reseal(path: &Path) {
    let conn = Connection::open(path).unwrap();
    seal::Made::read(&conn).unwrap().write(&conn).unwrap();
}

/// Copies a campaign with what is beside it.
fn copy_all(from: &Path, to: &Path) {
    for ending in ["", "-wal", "-journal", ".lock"] {
        let source = crate::files::beside(from, ending);
        let target = crate::files::beside(to, ending);
        let _ = fs::remove_file(&target);
        if source.exists() {
            fs::copy(source, target).unwrap();
        }
    }
    let _ = fs::remove_file(crate::files::beside(to, "-shm"));
}

/// Flips so many bits, one at a time, in one of the files, and says how it went: seen, harmless, and, which must
/// not be, silent.
fn flip_bits(path: &Path, endings: &[&str], count: u64, seed: u64) -> BTreeMap<&'static str, u64> {
    let expected = answer(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let mut counts = BTreeMap::new();
    for number in 0..count {
        let mut rng = fault_rng(seed, number);
        let ending = endings[usize::try_from(number).unwrap() % endings.len()];
        copy_all(path, &copy);
        let target = crate::files::beside(&copy, ending);
        let length = fs::metadata(&target).unwrap().len();
        let (at, bit) = (rng.random_range(0..length), rng.random_range(0..8));
        let file = fs::File::options().read(true).write(true).open(&target).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        let what = match answer(&copy) {
            Ok(said) if said == expected => "harmless",
            Ok(_) => panic!("bit {bit} of byte {at} of `{ending}` changes what is said, silently"),
            Err(_) => "seen",
        };
        *counts.entry(what).or_default() += 1;
        // What writes sees it as well before it begins, or what it writes is right.
        if number % 7 == 0
            && let Ok(mut store) = Store::open(&copy)
            && store.pending(Shard::WHOLE).is_ok()
        {
            record_next(&mut store, 2);
            if what == "harmless" {
                store.verify().unwrap();
            }
            *counts.entry("worked on").or_default() += 1;
        }
    }
    counts
}

/// A campaign whose writer was killed: so many results and a lost attempt in the file, so many results in the log.
fn killed(folder: &Path, trials: u64, in_file: usize, in_log: usize) -> PathBuf {
    let (live, path) = (folder.join("live.db"), folder.join("c.db"));
    let mut store = create(&live, trials);
    store.fail(TrialId(3), "QEMU died").unwrap();
    record_next(&mut store, in_file);
    drop(store);
    let mut store = Store::open(&live).unwrap();
    record_next(&mut store, in_log);
    copy_all(&live, &path);
    path
}

#[test]
fn no_bit_that_flips_changes_silently_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = killed(folder.path(), 24, 12, 5);
    assert!(crate::files::beside(&path, "-wal").exists());
    let counts = flip_bits(&path, &["", "", "-wal", ".lock"], 1000, 14);
    println!("{counts:?}");
    // Most of the rest is where no row is, or what was written again since.
    assert!(counts["seen"] > 200 && counts["worked on"] > 60, "{counts:?}");
}

#[test]
fn where_machines_share_a_file_system_there_is_no_log_and_a_kill_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // One was killed on another file system, and left a log.
    let path = killed(folder.path(), 24, 12, 5);
    let open =
        |path: &Path| Store::open_with(path, lock::Lock::take(path).unwrap(), open::Journal::Direct).unwrap();
    let mut store = open(&path);
    record_next(&mut store, 3);
    let beside =
        |path: &Path| ["-wal", "-shm", "-journal"].map(|ending| crate::files::beside(path, ending).exists());
    assert_eq!(beside(&path), [false; 3]);
    let done = |path: &Path| Store::open_readonly(path).unwrap().status().unwrap().done;
    assert_eq!(done(&path), 20, "it is read while it is written");
    // This one is killed as well.
    let copy = folder.path().join("copy.db");
    copy_all(&path, &copy);
    assert_eq!(done(&copy), 20);
    let mut again = open(&copy);
    record_next(&mut again, 4);
    drop((store, again));
    assert_eq!((done(&path), done(&copy), beside(&copy)), (20, 24, [false; 3]));
    assert!(!crate::files::beside(&copy, ".lock").exists());
}

#[test]
fn half_of_a_record_is_not_read_and_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("c.db"), folder.path().join("copy.db"));
    let mut store = create(&path, 24);
    record_next(&mut store, 12);
    drop(store);
    // A change that is in the file already, and not finished.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN; DELETE FROM result")
        .unwrap();
    copy_all(&path, &copy);
    assert!(crate::files::beside(&copy, "-journal").exists());
    let error = Store::open_readonly(&copy).unwrap_err();
    assert!(
        error.to_string().contains("copy.db-journal, and is taken back when the campaign is resumed"),
        "{error}"
    );
    let store = Store::open(&copy).unwrap();
    assert_eq!(store.status().unwrap().done, 12);
    drop(store);
    whole(&Store::open_readonly(&copy).unwrap());
}

/// `FLIPSIM_FLIP=FILE cargo test -p flipsim flips_of_a_real -- --ignored --nocapture`
#[test]
#[ignore = "wants a campaign's file"]
fn flips_of_a_real_campaign() {
    let Some(path) = std::env::var_os("FLIPSIM_FLIP").map(PathBuf::from) else { return };
    let has_log = crate::files::beside(&path, "-wal").exists();
    let endings: &[&str] = if has_log { &["", "-wal"] } else { &[""] };
    println!("{:?}", flip_bits(&path, endings, 1000, 15));
}

#[test]
fn an_edit_of_any_cell_is_seen_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("c.db"), folder.path().join("copy.db"));
    let mut store = create(&path, 60);
    store.fail(TrialId(3), "QEMU died").unwrap();
    record_next(&mut store, 40);
    let crash = store.results().map(Result::unwrap).find(|row| row.end.is_some()).unwrap().trial.id;
    drop(store);
    for (edit, said) in [
        (
            format!("UPDATE result SET outcome = 'latent' WHERE trial = {crash}"),
            format!("the result of trial {crash}"),
        ),
        (
            format!("UPDATE result SET record = replace(record, 'crash', 'latent') WHERE trial = {crash}"),
            format!("the result of trial {crash}"),
        ),
        (
            format!("UPDATE console SET zlib = zeroblob(20) WHERE trial = {crash}"),
            format!("the console of trial {crash}"),
        ),
        (format!("DELETE FROM console WHERE trial = {crash}"), format!("the console of trial {crash}")),
        (
            format!("DELETE FROM console WHERE trial = {crash}; DELETE FROM result WHERE trial = {crash}"),
            "40 results were recorded, and 39 are there".to_owned(),
        ),
        (
            "UPDATE result SET trial = 1000 WHERE trial = (SELECT max(trial) FROM result)".to_owned(),
            "the result of trial 1000".to_owned(),
        ),
        ("DELETE FROM attempt".to_owned(), "1 lost attempts were recorded, and 0 are there".to_owned()),
        ("UPDATE attempt SET error = 'none'".to_owned(), "a lost attempt at trial 3".to_owned()),
        ("UPDATE tally SET results = results - 1".to_owned(), "the count of its results".to_owned()),
        ("DELETE FROM tally".to_owned(), "the count of its results".to_owned()),
        (
            "UPDATE trial SET address = address + 1 WHERE id = (SELECT min(id) FROM trial WHERE address > 0)"
                .to_owned(),
            "its plan is not the one that was drawn".to_owned(),
        ),
        (
            "UPDATE trial SET at_ns = at_ns + 1 WHERE id = 7".to_owned(),
            "its plan is not the one that was drawn".to_owned(),
        ),
        (
            "UPDATE stratum SET trials = trials + 1 WHERE id = 0".to_owned(),
            "its plan is not the one that was drawn".to_owned(),
        ),
        (
            "UPDATE meta SET value = replace(value, 'aaaa', 'aaab') WHERE key = 'manifest'".to_owned(),
            "its manifest".to_owned(),
        ),
        (
            "UPDATE meta SET value = replace(value, '\"seed\":42', '\"seed\":43') WHERE key = 'spec'"
                .to_owned(),
            "its spec".to_owned(),
        ),
        ("INSERT INTO meta VALUES ('more', '')".to_owned(), "its more".to_owned()),
        ("UPDATE attachment SET zlib = x'00'".to_owned(), "its golden run".to_owned()),
        ("PRAGMA user_version = 2".to_owned(), "its version".to_owned()),
    ] {
        fs::copy(&path, &copy).unwrap();
        Connection::open(&copy)
            .unwrap()
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {edit}"))
            .unwrap();
        let error = answer(&copy).expect_err(&edit);
        assert!(error.contains(&format!("is damaged: {said};")), "{edit}: {error}");
        // Nothing is recorded in such a file either.
        let opened = Store::open(&copy).and_then(|store| store.pending(Shard::WHOLE));
        assert!(
            opened.is_err()
                || edit.contains("console SET")
                || edit.starts_with("DELETE FROM console") && !edit.contains("result"),
            "{edit}"
        );
    }
    assert_eq!(files(folder.path()), ["c.db", "copy.db"]);
}

#[test]
fn an_edit_of_a_file_without_checksums_is_seen_where_it_contradicts_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (folder.path().join("new.db"), folder.path().join("old.db"));
    record_next(&mut create(&new, 60), 40);
    as_version_2(&new, &old);
    let before = answer(&old).unwrap();
    assert!(before.contains("\"format\":2"));
    let conn = Connection::open(&old).unwrap();
    conn.execute("UPDATE result SET outcome = 'latent' WHERE outcome = 'crash'", []).unwrap();
    let error = answer(&old).unwrap_err();
    assert!(error.contains(": its outcome is not the one in its record;"), "{error}");
    // It is not brought up to date, and stays as it is.
    assert!(matches!(Store::open(&old), Err(StoreError::Damaged { .. })));
    conn.execute("UPDATE result SET outcome = 'crash' WHERE outcome = 'latent'", []).unwrap();
    drop(conn);
    assert_eq!(answer(&old).unwrap(), before);
    let mut store = Store::open(&old).unwrap();
    assert!(store.has_checksums());
    whole(&store);
    assert_eq!(
        store.seal(),
        Store::open_readonly(&new).unwrap().seal(),
        "an upgrade changes nothing that is run"
    );
    record_next(&mut store, 20);
    whole(&store);
}

#[test]
fn a_log_that_was_removed_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = killed(folder.path(), 60, 25, 8);
    let beside = |ending: &str| crate::files::beside(&path, ending);
    let wal = fs::read(beside("-wal")).unwrap();
    // With the lock's note it is known how many results are gone; of a log that was cut as well.
    for cut in [None, Some(0), Some(40), Some(wal.len() as u64 / 2)] {
        fs::remove_file(beside("-wal")).unwrap();
        if let Some(length) = cut {
            fs::write(beside("-wal"), &wal[..usize::try_from(length).unwrap()]).unwrap();
        }
        for error in
            [Store::open_readonly(&path).map(drop), Store::open(&path).map(drop)].map(Result::unwrap_err)
        {
            assert!(matches!(error, StoreError::LogMissing { missing: Some(1..=8), .. }), "{cut:?} {error}");
        }
        assert_eq!(cut.is_some(), beside("-wal").exists(), "nothing is made in the place of the log");
        fs::write(beside("-wal"), &wal).unwrap();
    }
    let error = {
        fs::remove_file(beside("-wal")).unwrap();
        let error = Store::open_readonly(&path).unwrap_err().to_string();
        fs::write(beside("-wal"), &wal).unwrap();
        error
    };
    let name = path.display();
    assert_eq!(
        error,
        format!(
            "8 results that were recorded in {name} are missing: its write-ahead log ({name}-wal) is not there, or \
             damaged; put the log back, or go on without with `cargo xtask campaign check {name} --repair`"
        )
    );
    // Without the note it is only known that there was a log.
    let note = fs::read(beside(".lock")).unwrap();
    fs::remove_file(beside(".lock")).unwrap();
    fs::remove_file(beside("-wal")).unwrap();
    for error in [Store::open_readonly(&path).map(drop), Store::open(&path).map(drop)].map(Result::unwrap_err)
    {
        assert!(matches!(error, StoreError::LogMissing { missing: None, .. }), "{error}");
    }
    // Back in its place, nothing is missing.
    fs::write(beside("-wal"), &wal).unwrap();
    fs::write(beside(".lock"), &note).unwrap();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.status().unwrap().done, 33);
    record_next(&mut store, 60);
    whole(&store);
    drop(store);
    assert_eq!(files(folder.path()), ["c.db", "live.db"]);
}

#[test]
fn a_log_that_is_removed_under_a_writer_ends_it_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut store = create(&path, 60);
    record_next(&mut store, 10);
    fs::remove_file(crate::files::beside(&path, "-wal")).unwrap();
    let id = store.pending(Shard::WHOLE).unwrap()[0];
    let next = record(&store.planned(id).unwrap());
    assert!(matches!(store.record(id, &next), Err(StoreError::Gone(_))));
    drop(store);
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.status().unwrap().done, 10);
    record_next(&mut store, 60);
    whole(&store);
}

#[test]
fn a_process_that_is_killed_before_its_first_result_leaves_a_file_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (live, path) = (folder.path().join("live.db"), folder.path().join("c.db"));
    let store = create(&live, 60);
    copy_all(&live, &path);
    drop(store);
    // Between the two moments at which SQLite makes its log.
    let _ = fs::remove_file(crate::files::beside(&path, "-wal"));
    assert_eq!(Store::open_readonly(&path).unwrap().status().unwrap().done, 0);
    assert_eq!(Store::open(&path).unwrap().status().unwrap().done, 0);
}

#[test]
fn locks_and_plans_follow_no_link_and_empty_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, theirs) = (folder.path().join("c.db"), folder.path().join("theirs"));
    drop(create(&path, 20));
    let lock = folder.path().join("c.db.lock");
    fs::write(&theirs, "precious").unwrap();
    std::os::unix::fs::symlink(&theirs, &lock).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Io { .. })));
    assert!(Store::open_readonly(&path).unwrap().status().unwrap().running.is_none());
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "a text of mine").unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::NotALock(_)), "{error}");
    assert_eq!(
        (fs::read(&theirs).unwrap(), fs::read(&lock).unwrap()),
        (b"precious".to_vec(), b"a text of mine".to_vec())
    );
    fs::remove_file(&lock).unwrap();
    // A plan is written under a name that may be a link, which goes.
    let other = folder.path().join("d.db");
    std::os::unix::fs::symlink(&theirs, folder.path().join("d.db.part")).unwrap();
    drop(create(&other, 20));
    Store::open_readonly(&path).unwrap().copy(&folder.path().join("e.db")).unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    // A log without its campaign is not taken for the new one's.
    fs::write(folder.path().join("f.db-wal"), "old").unwrap();
    let spec = Store::open_readonly(&path).unwrap().spec().clone();
    let drawn = plan(&spec);
    let manifest = Store::open_readonly(&path).unwrap().manifest().clone();
    let made = Store::create(&folder.path().join("f.db"), &manifest, &spec, &drawn, &[], &mut |_| ());
    assert!(matches!(made, Err(StoreError::Orphan { .. })));
    let copied = Store::open_readonly(&path).unwrap().copy(&folder.path().join("f.db"));
    assert!(matches!(copied, Err(StoreError::Orphan { .. })));
}

#[test]
fn a_link_to_a_campaign_and_the_campaign_have_one_lock() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("c.db"), folder.path().join("link.db"));
    let store = create(&path, 20);
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(Store::open(&link), Err(StoreError::Locked { .. })));
    drop(store);
    record_next(&mut Store::open(&link).unwrap(), 3);
    assert_eq!(Store::open_readonly(&link).unwrap().status().unwrap().done, 3);
    assert_eq!(files(folder.path()), ["c.db", "link.db"]);
}

/// Goes on with a repaired campaign to its end: all is as if nothing had happened.
fn finishes(path: &Path, kept: u64) {
    let mut store = Store::open(path).unwrap();
    assert_eq!(store.status().unwrap().done, kept);
    record_next(&mut store, 60);
    whole(&store);
    for row in store.results() {
        let trial = row.unwrap().trial;
        let found = store.record_of(trial.id).unwrap().unwrap();
        assert!(found.is_same(&record(&trial)), "{}", trial.id);
    }
    assert_eq!(store.status().unwrap().done, 60);
}

#[test]
fn what_is_damaged_is_listed_and_the_rest_is_kept_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, new) = (folder.path().join("c.db"), folder.path().join("new.db"));
    let mut store = create(&path, 60);
    store.fail(TrialId(3), "QEMU died").unwrap();
    record_next(&mut store, 40);
    let loud = store.results().map(Result::unwrap).find(|row| row.end.is_some()).unwrap().trial.id;
    let quiet: Vec<TrialId> =
        store.results().map(Result::unwrap).filter(|row| row.end.is_none()).map(|row| row.trial.id).collect();
    let (one, two, gone) = (quiet[0], quiet[5], quiet[9]);
    drop(store);
    assert!(check(&path).unwrap().is_whole());
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "UPDATE result SET outcome = 'hang' WHERE trial = {one};
         UPDATE result SET end_ns = end_ns + 1 WHERE trial = {two};
         UPDATE console SET zlib = zeroblob(9) WHERE trial = {loud};
         DELETE FROM result WHERE trial = {gone};
         UPDATE attempt SET error = 'another' WHERE trial = 3;"
    ))
    .unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    let found = check(&path).unwrap();
    let mut damaged = vec![one, two, loud];
    damaged.sort();
    assert_eq!((found.kept, found.missing, &found.damaged), (36, 1, &damaged));
    assert_eq!((found.attempts, found.attempts_damaged), (0, 1));
    assert_eq!(repair(&path, &new).unwrap(), found);
    assert!(matches!(repair(&path, &new), Err(StoreError::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), before, "the old one stays as it is");
    assert!(check(&new).unwrap().is_whole());
    finishes(&new, 36);
    assert_eq!(files(folder.path()), ["c.db", "new.db"]);
}

#[test]
fn a_page_of_noise_costs_the_results_on_it_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (path, new) = (folder.path().join("c.db"), folder.path().join("new.db"));
    record_next(&mut create(&path, 60), 60);
    // The last page that holds a record.
    let bytes = fs::read(&path).unwrap();
    let pages: Vec<&[u8]> = bytes.chunks(4096).collect();
    let holds = |page: &&[u8]| page[0] == 13 && page.windows(10).any(|text| text == b"\"template\"");
    let page = pages.iter().rposition(holds).unwrap() as u64 + 1;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], (page - 1) * 4096).unwrap();
    let found = check(&path).unwrap();
    assert!(!found.structure.is_empty() && found.origin.is_none(), "{found:?}");
    assert!(!found.damaged.is_empty() && found.damaged.len() < 20, "{found:?}");
    assert_eq!(found.kept + found.damaged.len() as u64 + found.missing, 60);
    assert!(answer(&path).is_err());
    repair(&path, &new).unwrap();
    finishes(&new, found.kept);
}

#[test]
fn what_a_missing_log_held_is_run_again_after_a_repair() {
    let folder = tempfile::tempdir().unwrap();
    let path = killed(folder.path(), 60, 25, 8);
    let new = folder.path().join("new.db");
    fs::remove_file(crate::files::beside(&path, "-wal")).unwrap();
    let found = check(&path).unwrap();
    assert!(found.missing > 0 && found.damaged.is_empty() && found.others.len() == 1, "{found:?}");
    // Without the note as well, it is only known that there was a log.
    fs::remove_file(crate::files::beside(&path, ".lock")).unwrap();
    let unknown = check(&path).unwrap();
    assert!(!unknown.is_whole() && unknown.missing == 0 && unknown.kept == found.kept, "{unknown:?}");
    repair(&path, &new).unwrap();
    finishes(&new, found.kept);
}

#[test]
fn nothing_is_kept_of_a_campaign_whose_plan_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    record_next(&mut create(&path, 60), 20);
    Connection::open(&path).unwrap().execute("UPDATE trial SET at_ns = at_ns + 1 WHERE id = 59", []).unwrap();
    let found = check(&path).unwrap();
    assert_eq!(found.origin.as_deref(), Some("its plan is not the one that was drawn"));
    let new = folder.path().join("new.db");
    assert!(matches!(repair(&path, &new), Err(StoreError::NotRepaired { .. })));
    assert_eq!(files(folder.path()), ["c.db"]);
}
