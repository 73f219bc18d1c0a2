//! The store in use: written, read, summed up, joined; a second writer, a stranger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::*;
use crate::campaign::manifest::{Manifest, golden_digest};
use crate::campaign::plan::{Plan, PlannedTrial, TrialId};
use crate::campaign::shard::Shard;
use crate::campaign::size::Size;
use crate::campaign::spec::{CampaignSpec, StratumSpec, Times};
use crate::campaign::store::open::immutable;
use crate::campaign::store::row::{insert_result, row_of};
use crate::fault::{FaultSpace, FaultTarget, FlippableRegister, Pattern, RamSpace, RegSpace};
use crate::memory::{PhysRange, RangeSet};
use crate::trial::golden::Golden;
use crate::trial::{Because, Costs, Outcome, RestoreMethod, TrialRecord};
use crate::units::VirtualNs;

pub fn manifest() -> Manifest {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Manifest {
        created: "2026-01-02T03:04:05Z".parse().unwrap(),
        command: vec!["campaign".into(), "new".into()],
        host: map(&[("cpu", "fast")]),
        versions: map(&[("flipsim", "0.1.0")]),
        template: "template-key".into(),
        golden: "golden".into(),
        inputs: map(&[("qemu", "aaaa"), ("kernel", "bbbb")]),
    }
}

pub fn spec(trials: u64) -> CampaignSpec {
    CampaignSpec {
        seed: 42,
        size: Some(Size::Trials(trials)),
        strata: vec![
            StratumSpec::new("ram", vec![FaultTarget::Ram]),
            StratumSpec {
                trials: Some(trials / 4),
                ..StratumSpec::new("regs", vec![FaultTarget::Class("core".into())])
            },
        ],
        ..CampaignSpec::default()
    }
}

pub fn plan(spec: &CampaignSpec) -> Plan {
    let bytes: RangeSet = ["0x40000000+128M".parse::<PhysRange>().unwrap()].into_iter().collect();
    let registers: Vec<FlippableRegister> = (0..31)
        .map(|number| FlippableRegister {
            name: format!("x{number}"),
            bits: 64,
            class: "core".into(),
            writable: vec![0xff; 8],
        })
        .collect();
    let spaces = vec![
        FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE).unwrap()),
        FaultSpace::Reg(RegSpace::new(&registers, Pattern::SINGLE).unwrap()),
    ];
    Plan::new(spec, VirtualNs(400_000_000), spaces).unwrap()
}

pub fn create(path: &Path, trials: u64) -> Store {
    let spec = spec(trials);
    Store::create(path, &manifest(), &spec, &plan(&spec), &[("golden", b"golden run")], &mut |_| ()).unwrap()
}

/// What might have come of a trial; the same each time.
pub fn record(trial: &PlannedTrial) -> TrialRecord {
    let after = trial.plan.after.0;
    let outcome = match trial.id.0 % 10 {
        0..7 => Some(Outcome::Masked),
        7 => Some(Outcome::Sdc),
        8 => Some(Outcome::Crash),
        _ => None,
    };
    let loud = matches!(outcome, Some(Outcome::Sdc | Outcome::Crash));
    TrialRecord {
        flipped: outcome.is_some(),
        error: outcome.is_none().then(|| "the flip did not take".to_owned()),
        old: "0x00".into(),
        new: "0x01".into(),
        region: Some("Kernel code".into()),
        symbol: Some("jiffies+0x4".into()),
        outcome,
        converged_ns: (outcome == Some(Outcome::Masked)).then_some(after + 2000),
        console_differs_ns: loud.then_some(after + 3000),
        end_ns: after + 3000,
        end: (outcome == Some(Outcome::Crash)).then_some(crate::machine::End::Panic),
        kind: (outcome == Some(Outcome::Crash)).then_some(crate::console::classify::Kind::Panic),
        title: (outcome == Some(Outcome::Crash)).then(|| "panic in do_idle".to_owned()),
        console: loud.then(|| "[    1.0] line of a console\n".repeat(200)),
        costs: Costs { walk_us: 300, total_us: 1000, ..Costs::default() },
        ..TrialRecord::begun("template-key", &trial.plan, VirtualNs(1000 + after), RestoreMethod::Rewind)
    }
}

pub fn record_next(store: &mut Store, count: usize) {
    for id in store.pending(Shard::WHOLE).unwrap().into_iter().take(count) {
        let record = record(&store.planned(id).unwrap());
        assert_eq!(store.record(id, &record).unwrap(), Recorded::Done);
    }
}

pub fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn whole(store: &Store) {
    let check: String = store.conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    store.verify().unwrap();
}

#[test]
fn a_golden_run_is_known_by_what_the_guest_did_not_by_where_it_was_looked_at() {
    let point = |at: u64| {
        let state = serde_json::json!({
            "digest": "00000000000000000000000000000001", "ram": "00000000000000000000000000000002",
            "devices": "00000000000000000000000000000003", "disks": "00000000000000000000000000000004",
            "virtual-ns": at, "instructions": at, "pages-differing": 5, "pages-hashed": 5,
        });
        crate::trial::golden::Checkpoint {
            at: VirtualNs(at),
            state: Some(serde_json::from_value(state).unwrap()),
            console: 3,
        }
    };
    let golden = Golden {
        format: 1,
        template: "template-key".into(),
        window: crate::trial::golden::Window::Done,
        spacing: VirtualNs(100),
        looks: None,
        start: point(0),
        checkpoints: vec![point(100), point(200)],
        console: b"abc".to_vec(),
        registers: Vec::new(),
        difference: None,
        pages_apart: Vec::new(),
        capabilities: crate::target::Capabilities::ALL,
        signals: crate::console::signals::Signals::default(),
        idle: None,
        done: None,
        events: BTreeMap::new(),
        run_seconds: 1.0,
        compare_seconds: 0.1,
    };
    let slower =
        Golden { spacing: VirtualNs(200), checkpoints: vec![point(200)], run_seconds: 2.0, ..golden.clone() };
    assert_eq!(golden_digest(&golden), golden_digest(&slower));
    for other in [
        Golden { console: b"abd".to_vec(), ..golden.clone() },
        Golden { checkpoints: vec![point(201)], ..golden.clone() },
        Golden { start: point(1), ..golden.clone() },
        Golden { difference: Some("RAM".into()), ..golden.clone() },
    ] {
        assert_ne!(golden_digest(&golden), golden_digest(&other));
    }
}

#[test]
fn what_was_stored_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let store = create(&path, 200);
    let (spec, digest) = (store.spec().clone(), store.plan_digest().to_owned());
    drop(store);
    // One file, with nothing beside it.
    assert_eq!(files(folder.path()), ["c.db"]);
    let mut store = Store::open(&path).unwrap();
    assert_eq!(*store.manifest(), manifest());
    assert_eq!(*store.spec(), spec);
    let drawn = plan(&spec);
    assert_eq!((store.len(), store.plan_digest()), (200, digest.as_str()));
    assert_eq!((drawn.digest(), drawn.strata()), (digest, store.strata()));
    for trial in drawn.iter() {
        assert_eq!(store.planned(trial.id).unwrap(), trial);
    }
    assert_eq!(store.attachment("golden").unwrap().as_deref(), Some(b"golden run".as_slice()));
    assert_eq!(store.attachment("silver").unwrap(), None);
    record_next(&mut store, 150);
    for row in store.results() {
        let row = row.unwrap();
        let expected = record(&row.trial);
        assert_eq!(row.outcome, expected.outcome);
        assert_eq!((row.flip_ns, row.end_ns), (Some(expected.flip_ns), Some(expected.end_ns)));
        assert_eq!(row.report.as_deref(), expected.kind.map(|_| "panic"));
        assert_eq!(store.record_of(row.trial.id).unwrap(), Some(expected));
    }
    assert_eq!(store.results().count(), 150);
    whole(&store);
}

#[test]
fn results_are_read_page_by_page_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = create(&folder.path().join("c.db"), 2400);
    for (count, total) in [(1000, 1000), (1, 1001), (1399, 2400)] {
        record_next(&mut store, count);
        let ids: Vec<u64> = store.results().map(|row| row.unwrap().trial.id.0).collect();
        assert_eq!(ids.len(), total);
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn who_holds_a_store_sees_one_moment_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut store = create(&path, 50);
    record_next(&mut store, 3);
    let (held, other) = (Store::open_readonly(&path).unwrap(), Store::open_readonly(&path).unwrap());
    held.hold().unwrap();
    record_next(&mut store, 2);
    assert_eq!((held.results().count(), other.results().count()), (3, 5));
    assert_eq!(held.status().unwrap().done, 3);
}

#[test]
fn a_batch_is_over_before_the_next_begins() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(&folder.path().join("c.db"), 2500);
    let all = store.pending(Shard::WHOLE).unwrap();
    // Batches of 1,000 trials, where the golden run is not known, and the rest shared out.
    let mut from = 0;
    for until in [1250u64, 2500] {
        let batch = &all[from as usize..until as usize];
        assert!(batch.iter().all(|id| (from..until).contains(&id.0)));
        from = until;
        let times: Vec<u64> = batch.iter().map(|id| store.planned(*id).unwrap().plan.after.0).collect();
        assert!(times.is_sorted());
    }
}

#[test]
fn pending_trials_come_by_time_and_shards_share_them_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = create(&folder.path().join("c.db"), 100);
    let all = store.pending(Shard::WHOLE).unwrap();
    let times: Vec<u64> = all.iter().map(|id| store.planned(*id).unwrap().plan.after.0).collect();
    assert!(times.is_sorted());
    let mut joined = BTreeSet::new();
    for text in ["1/3", "2/3", "3/3"] {
        let shard: Shard = text.parse().unwrap();
        assert_eq!(shard.to_string(), text);
        for id in store.pending(shard).unwrap() {
            assert!(shard.has(id) && joined.insert(id));
        }
    }
    assert_eq!(joined.len(), 100);
    record_next(&mut store, 30);
    assert_eq!(store.pending(Shard::WHOLE).unwrap(), all[30..]);
    for bad in ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/3"] {
        assert!(bad.parse::<Shard>().is_err(), "{bad}");
    }
}

#[test]
fn a_second_result_is_refused_and_the_first_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = create(&folder.path().join("c.db"), 20);
    let trial = store.planned(TrialId(7)).unwrap();
    let first = record(&trial);
    store.record(trial.id, &first).unwrap();
    let second = TrialRecord { outcome: Some(Outcome::Hang), ..first.clone() };
    assert!(matches!(store.record(trial.id, &second), Err(StoreError::Duplicate(TrialId(7)))));
    assert!(matches!(store.fail(trial.id, "lost"), Err(StoreError::Duplicate(TrialId(7)))));
    assert_eq!(store.record_of(trial.id).unwrap(), Some(first));
    assert_eq!(store.status().unwrap().lost, 0);
}

#[test]
fn a_record_of_another_trial_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = create(&folder.path().join("c.db"), 20);
    let one = record(&store.planned(TrialId(1)).unwrap());
    assert!(matches!(store.record(TrialId(2), &one), Err(StoreError::OtherTrial { .. })));
    let other = TrialRecord { template: "another".into(), ..one };
    let error = store.record(TrialId(1), &other).unwrap_err().to_string();
    assert_eq!(error, "the record for trial 1 is not of that trial: the template differs from the plan");
    assert!(matches!(store.fail(TrialId(20), "lost"), Err(StoreError::UnknownTrial(TrialId(20)))));
    assert_eq!(store.status().unwrap().done, 0);
}

#[test]
fn a_lost_trial_is_begun_again_and_given_up_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = create(&folder.path().join("c.db"), 20);
    assert_eq!(store.fail(TrialId(0), "QEMU died").unwrap(), Recorded::Again(2));
    // QEMU's own stop counts as well.
    let infra = TrialRecord {
        outcome: Some(Outcome::Infra),
        end: Some(crate::machine::End::Other),
        ..record(&store.planned(TrialId(0)).unwrap())
    };
    assert_eq!(store.record(TrialId(0), &infra).unwrap(), Recorded::Again(1));
    assert!(store.pending(Shard::WHOLE).unwrap().contains(&TrialId(0)));
    assert_eq!(store.fail(TrialId(0), "QEMU died").unwrap(), Recorded::GivenUp);
    assert!(!store.pending(Shard::WHOLE).unwrap().contains(&TrialId(0)));
    // One that comes through in the end is a trial as any other.
    assert_eq!(store.fail(TrialId(1), "QEMU died").unwrap(), Recorded::Again(2));
    let good = record(&store.planned(TrialId(1)).unwrap());
    store.record(TrialId(1), &good).unwrap();
    let status = store.status().unwrap();
    assert_eq!((status.done, status.lost, status.counts.pending), (2, 4, 18));
    assert_eq!((status.counts.of(Outcome::Infra), status.counts.counted()), (1, 1));
    assert_eq!(store.record_of(TrialId(0)).unwrap(), None);
    let row = store.results().next().unwrap().unwrap();
    assert_eq!((row.outcome, row.attempts), (Some(Outcome::Infra), 3));
    assert_eq!(row.error.as_deref(), Some("QEMU died"));
}

#[test]
fn the_status_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut store = create(&path, 400);
    assert_eq!(store.status().unwrap().first, None);
    let mut expected: HashMap<(u32, Option<Outcome>), u64> = HashMap::new();
    for id in store.pending("1/4".parse().unwrap()).unwrap() {
        let trial = store.planned(id).unwrap();
        *expected.entry((trial.stratum, record(&trial).outcome)).or_default() += 1;
        store.record(id, &record(&trial)).unwrap();
    }
    let status = store.status().unwrap();
    assert_eq!((status.trials, status.done, status.counts.pending), (400, 100, 300));
    assert_eq!(status.counts.total_us, 100_000);
    assert_eq!(status.running, Some(std::process::id()));
    assert!(status.first.is_some() && status.first <= status.last);
    for (index, stratum) in (0..).zip(&status.strata) {
        for outcome in Outcome::ALL {
            let count = expected.get(&(index, Some(outcome))).copied().unwrap_or(0);
            assert_eq!(stratum.counts.of(outcome), count, "{index} {outcome:?}");
        }
        assert_eq!(stratum.counts.not_flipped, expected.get(&(index, None)).copied().unwrap_or(0));
        assert_eq!(stratum.counts.done() + stratum.counts.pending, stratum.trials);
    }
    assert_eq!(status.strata[0].trials + status.strata[1].trials, 400);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["done"], 100);
    assert!(
        json["outcomes"]["masked"].as_u64().unwrap() > 0 && json["strata"][0]["pending"].is_u64(),
        "{json}"
    );
    drop(store);
    assert_eq!(Store::open_readonly(&path).unwrap().status().unwrap().running, None);
}

#[test]
fn one_writes_and_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut store = create(&path, 50);
    let second = Store::open(&path).unwrap_err();
    assert!(matches!(&second, StoreError::Locked { by: Some(pid), .. } if *pid == std::process::id()));
    let mut reader = Store::open_readonly(&path).unwrap();
    for count in 1..=10 {
        record_next(&mut store, 1);
        assert_eq!(reader.status().unwrap().done, count);
    }
    assert!(matches!(reader.fail(TrialId(0), "no"), Err(StoreError::ReadOnly(_))));
    assert!(matches!(reader.merge(&[]), Err(StoreError::ReadOnly(_))));
    drop(store);
    assert_eq!(reader.status().unwrap().done, 10);
    drop(reader);
    assert_eq!(Store::open(&path).unwrap().status().unwrap().done, 10);
}

#[test]
fn a_file_in_a_folder_that_cannot_be_written_is_read_all_the_same() {
    // Root may write anywhere, so only the address is tried here.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("100% odd?name#.db");
    record_next(&mut create(&path, 20), 5);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(immutable(&path), flags).unwrap();
    let count: u32 = conn.query_row("SELECT count(*) FROM result", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 5);
}

#[test]
fn what_is_no_campaign_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    assert!(matches!(Store::open(&path), Err(StoreError::Missing(_))));
    assert!(matches!(Store::open_readonly(&path), Err(StoreError::Missing(_))));
    std::fs::write(&path, "a text of some length, which is no database of any kind at all\n".repeat(30))
        .unwrap();
    for result in [Store::open(&path), Store::open_readonly(&path)] {
        assert!(matches!(result, Err(StoreError::NotACampaign(_))), "{result:?}");
    }
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::NotACampaign(_))));
    assert_eq!(files(folder.path()), ["c.db"]);
}

#[test]
fn a_newer_version_is_refused_and_one_before_the_first_is_no_campaign() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    drop(create(&path, 20));
    let set = |version| {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
    };
    set(schema::VERSION + 1);
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("has format 7, and this flipsim knows formats up to 6; use the newer one"),
        "{error}"
    );
    assert!(matches!(Store::open_readonly(&path), Err(StoreError::Newer { found: 7, .. })));
    set(0);
    assert!(matches!(Store::open_readonly(&path), Err(StoreError::NotACampaign(_))));
}

/// The columns of `result` before there were checksums.
const OLD: &str = "trial, stratum, outcome, recorded_ms, flip_ns, end_ns, end, converged_ns, detected_ns, \
    console_differs_ns, report, title, region, symbol, error, output_only, restore, attempts, total_us, record";

/// The campaign of another file as version 2 kept it: without checksums.
pub fn as_version_2(from: &Path, to: &Path) {
    let mut conn = Connection::open(to).unwrap();
    schema::second_version(&mut conn);
    conn.execute("ATTACH ?1 AS new", [from.to_str().unwrap()]).unwrap();
    conn.execute_batch(&format!(
        "INSERT INTO meta SELECT * FROM new.meta WHERE key != 'seal';
         UPDATE meta SET value = '2' WHERE key = 'format';
         INSERT INTO stratum SELECT * FROM new.stratum;
         INSERT INTO trial SELECT id, stratum, at_ns, kind, address, register, bit, mask, back_ns, operation FROM new.trial;
         INSERT INTO result SELECT {OLD} FROM new.result;
         INSERT INTO console SELECT * FROM new.console;
         INSERT INTO attempt SELECT id, trial, recorded_ms, error, record FROM new.attempt;
         INSERT INTO attachment SELECT * FROM new.attachment;
         DETACH new;"
    ))
    .unwrap();
}

/// The campaign of another file as version 1 kept it: without operations, in its tables and in its records.
fn as_version_1(from: &Path, to: &Path) {
    let mut conn = Connection::open(to).unwrap();
    schema::first_version(&mut conn);
    // Its view has the columns of that version.
    assert!(conn.prepare("SELECT operation FROM trials").is_err());
    conn.execute("ATTACH ?1 AS new", [from.to_str().unwrap()]).unwrap();
    conn.execute_batch(&format!(
        "INSERT INTO meta SELECT * FROM new.meta WHERE key != 'seal';
         UPDATE meta SET value = '1' WHERE key = 'format';
         INSERT INTO stratum SELECT * FROM new.stratum;
         INSERT INTO trial SELECT id, stratum, at_ns, kind, address, register, bit, mask, back_ns FROM new.trial;
         INSERT INTO result SELECT {OLD} FROM new.result;
         UPDATE result SET record = json_set(json_remove(record, '$.plan.fault.operation'), '$.format', 1);
         INSERT INTO console SELECT * FROM new.console;
         INSERT INTO attachment SELECT * FROM new.attachment;",
    ))
    .unwrap();
    let records = "SELECT count(*) FROM result WHERE record LIKE '%operation%'";
    assert_eq!(conn.query_row(records, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    conn.execute_batch("DETACH new").unwrap();
}

/// A whole campaign of 60 trials with 20 results, and the same as version 1 kept it.
fn with_an_older_one(folder: &Path) -> (PathBuf, PathBuf) {
    let (new, old) = (folder.join("new.db"), folder.join("old.db"));
    record_next(&mut create(&new, 60), 20);
    as_version_1(&new, &old);
    (new, old)
}

#[test]
fn a_file_of_the_first_version_is_read_as_it_is_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = with_an_older_one(folder.path());
    let before = std::fs::read(&old).unwrap();
    let (new, store) = (Store::open_readonly(&new).unwrap(), Store::open_readonly(&old).unwrap());
    // The digest of the plan as well.
    whole(&store);
    let status = store.status().unwrap();
    assert_eq!((status.format, status.done, status.trials), (1, 20, 60));
    assert_eq!(store.pending(Shard::WHOLE).unwrap(), new.pending(Shard::WHOLE).unwrap());
    let (rows, of_new) = (store.results().map(Result::unwrap), new.results().map(Result::unwrap));
    for (row, new) in rows.zip(of_new) {
        assert_eq!(row.trial, new.trial);
        let read = store.record_of(row.trial.id).unwrap().unwrap();
        assert!(read.is_same(&record(&row.trial)));
    }
    // Its view is the newest one.
    let sql = "SELECT count(*) FROM trials WHERE operation = 'flip'";
    let flips: i64 = store.conn.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(flips, 60);
    drop(store);
    assert_eq!(std::fs::read(&old).unwrap(), before);
    assert_eq!(files(folder.path()), ["new.db", "old.db"]);
}

#[test]
fn a_file_of_the_first_version_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, old) = with_an_older_one(folder.path());
    let mut store = Store::open(&old).unwrap();
    whole(&store);
    assert_eq!(store.status().unwrap().format, schema::VERSION);
    record_next(&mut store, 60);
    assert_eq!(store.status().unwrap().done, 60);
    whole(&store);
    let format = "SELECT value FROM meta WHERE key = 'format'";
    let format: String = store.conn.query_row(format, [], |row| row.get(0)).unwrap();
    assert_eq!(format, schema::VERSION.to_string());
    for row in store.results() {
        let trial = row.unwrap().trial;
        assert!(store.record_of(trial.id).unwrap().unwrap().is_same(&record(&trial)));
    }
}

#[test]
fn parts_of_two_versions_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = parts(folder.path());
    let old = folder.path().join("old.db");
    as_version_1(&two, &old);
    let mut store = Store::open(&one).unwrap();
    let joined = store.merge(std::slice::from_ref(&old)).unwrap();
    assert_eq!(joined, Merged { added: 50, same: 0, replaced: 0 });
    assert_eq!(store.merge(&[two, old]).unwrap(), Merged { added: 0, same: 100, replaced: 0 });
    whole(&store);
}

#[test]
fn a_taken_name_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    std::fs::write(&path, "mine").unwrap();
    let spec = spec(20);
    let error = Store::create(&path, &manifest(), &spec, &plan(&spec), &[], &mut |_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Exists(_)));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    assert_eq!(files(folder.path()), ["c.db"]);
}

#[test]
fn a_changed_guest_is_refused_with_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(&folder.path().join("c.db"), 20);
    let mut now = manifest();
    (now.command, now.host, now.versions) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    now.created = Timestamp::now();
    store.check_unchanged(&now).unwrap();
    now.inputs.insert("qemu".into(), "cccc".into());
    now.inputs.remove("kernel");
    now.inputs.insert("image".into(), "dddd".into());
    now.golden = "another".into();
    let error = store.check_unchanged(&now).unwrap_err().to_string();
    assert_eq!(
        error,
        "the guest is not what it was when the campaign was made: golden run was golden, is another; \
         image was nothing, is dddd; kernel was bbbb, is nothing; qemu was aaaa, is cccc; restore that, or \
         make a new campaign"
    );
}

/// Two parts of one plan, with their shares of it recorded.
fn parts(folder: &Path) -> (PathBuf, PathBuf) {
    let (one, two) = (folder.join("one.db"), folder.join("two.db"));
    for (path, shard) in [(&one, "1/2"), (&two, "2/2")] {
        let mut store = create(path, 100);
        for id in store.pending(shard.parse().unwrap()).unwrap() {
            let record = record(&store.planned(id).unwrap());
            store.record(id, &record).unwrap();
        }
    }
    (one, two)
}

#[test]
fn parts_are_joined_and_nothing_is_taken_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = parts(folder.path());
    Store::open(&two).unwrap().copy(&folder.path().join("copy.db")).unwrap();
    let whole_file = folder.path().join("whole.db");
    Store::open_readonly(&one).unwrap().copy(&whole_file).unwrap();
    let mut store = Store::open(&whole_file).unwrap();
    let merged = store.merge(&[two.clone(), folder.path().join("copy.db")]).unwrap();
    assert_eq!(merged, Merged { added: 50, same: 50, replaced: 0 });
    assert_eq!(store.pending(Shard::WHOLE).unwrap(), []);
    for row in store.results() {
        let trial = row.unwrap().trial;
        assert_eq!(store.record_of(trial.id).unwrap(), Some(record(&trial)));
    }
    assert_eq!(store.merge(&[one]).unwrap(), Merged { added: 0, same: 50, replaced: 0 });
    whole(&store);
    assert!(matches!(store.copy(&two), Err(StoreError::Exists(_))));
    drop(store);
    assert_eq!(files(folder.path()), ["copy.db", "one.db", "two.db", "whole.db"]);
}

#[test]
fn a_trial_given_up_here_and_run_there_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = parts(folder.path());
    let mut store = Store::open(&one).unwrap();
    for _ in 0..3 {
        store.fail(TrialId(1), "QEMU died").unwrap();
    }
    assert_eq!(store.merge(&[two]).unwrap(), Merged { added: 49, same: 0, replaced: 1 });
    assert_eq!(store.status().unwrap().counts.of(Outcome::Infra), 0);
    assert_eq!(store.status().unwrap().lost, 3);
    whole(&store);
}

#[test]
fn strangers_and_contradictions_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = parts(folder.path());
    let stranger = |name: &str, manifest: &Manifest, spec: &CampaignSpec| {
        let path = folder.path().join(name);
        Store::create(&path, manifest, spec, &plan(spec), &[], &mut |_| ()).unwrap();
        path
    };
    let seed = stranger("seed.db", &manifest(), &CampaignSpec { seed: 43, ..spec(100) });
    let template = stranger("template.db", &Manifest { template: "other".into(), ..manifest() }, &spec(100));
    let contrary = stranger("contrary.db", &manifest(), &spec(100));
    let mut other = Store::open(&contrary).unwrap();
    let trial = other.planned(TrialId(0)).unwrap();
    let lie = TrialRecord { end_ns: 1, ..record(&trial) };
    other.record(trial.id, &lie).unwrap();
    drop(other);
    let mut store = Store::open(&one).unwrap();
    let error = store.merge(&[two.clone(), seed]).unwrap_err().to_string();
    assert!(error.contains("is a part of another campaign: plan was "), "{error}");
    let error = store.merge(&[two.clone(), template]).unwrap_err().to_string();
    assert!(error.contains("template was template-key, is other"), "{error}");
    let error = store.merge(&[two.clone(), contrary]).unwrap_err();
    assert!(matches!(error, StoreError::Disagree { id: TrialId(0), .. }), "{error}");
    assert!(matches!(store.merge(&[two, "absent".into()]), Err(StoreError::Missing(_))));
    assert_eq!(store.status().unwrap().done, 50);
}

#[test]
fn the_view_says_by_which_rule_a_trial_has_its_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = create(&folder.path().join("c.db"), 20);
    let trial = store.planned(TrialId(0)).unwrap();
    let judged = TrialRecord { because: Some(Because::EqualAtEnd), ..record(&trial) };
    store.record(trial.id, &judged).unwrap();
    // Records of version 1 have no rule.
    let other = store.planned(TrialId(1)).unwrap();
    store.record(other.id, &record(&other)).unwrap();
    let sql = "SELECT because FROM trials WHERE done ORDER BY id";
    let mut statement = store.conn.prepare(sql).unwrap();
    let rules = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
    let rules: Vec<Option<String>> = rules.map(Result::unwrap).collect();
    assert_eq!(rules, [Some("equal-at-end".to_owned()), None]);
}

#[test]
fn the_queries_of_the_manual_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    record_next(&mut create(&path, 100), 80);
    let manual = include_str!("../../../../docs/store.md");
    let queries: Vec<&str> =
        manual.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(queries.len() >= 3);
    let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    for query in queries {
        let mut statement = conn.prepare(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let rows =
            statement.query_map([], |_| Ok(())).unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap();
        assert!(!rows.is_empty(), "{query}");
    }
    let walked: i64 = conn.query_row("SELECT sum(walk_us) FROM trials", [], |row| row.get(0)).unwrap();
    assert_eq!(walked, 80 * 300);
    // Every column is explained.
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info('trials')").unwrap();
    for column in statement.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        let column = column.unwrap();
        assert!(manual.contains(&format!("`{column}`")), "{column}");
    }
}

/// `cargo test -p flipsim --release a_million -- --ignored --nocapture`
#[test]
#[ignore = "takes half a minute"]
fn a_million_trials_are_drawn_stored_and_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let trials = 1_000_000;
    let spec = CampaignSpec { times: Times::Within { from: VirtualNs(0), to: None }, ..spec(trials) };
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    let size = || std::fs::metadata(&path).unwrap().len() >> 20;
    let began = Instant::now();
    assert_eq!(plan(&spec).iter().count(), trials as usize);
    println!("drawn: {:?}, peak {} kB", began.elapsed(), peak());
    let began = Instant::now();
    let mut store = Store::create(&path, &manifest(), &spec, &plan(&spec), &[], &mut |_| ()).unwrap();
    println!("drawn and stored: {:?}, {} MiB, peak {} kB", began.elapsed(), size(), peak());
    let began = Instant::now();
    let ids = store.pending(Shard::WHOLE).unwrap();
    println!("pending: {:?}, peak {} kB", began.elapsed(), peak());
    let began = Instant::now();
    store.verify().unwrap();
    println!("verified: {:?}, peak {} kB", began.elapsed(), peak());
    let began = Instant::now();
    for id in &ids[..20_000] {
        let record = record(&store.planned(*id).unwrap());
        store.record(*id, &record).unwrap();
    }
    println!("20,000 recorded one by one: {:?}", began.elapsed());
    // The rest at once, for time's sake.
    let mut change = store.begin(None).unwrap();
    for id in &ids[20_000..] {
        let trial = store.planned(*id).unwrap();
        let record = record(&trial);
        let row = row_of(&record).unwrap();
        change.tally.add_result(insert_result(&store.conn, &store.sums, *id, trial.stratum, &row).unwrap());
    }
    change.commit().unwrap();
    drop(store);
    println!("all recorded: {} MiB, peak {} kB", size(), peak());
    let began = Instant::now();
    let store = Store::open_readonly(&path).unwrap();
    println!("opened to read, the plan checked: {:?}, peak {} kB", began.elapsed(), peak());
    let began = Instant::now();
    let status = store.status().unwrap();
    println!("summed up: {:?}, peak {} kB", began.elapsed(), peak());
    assert_eq!(status.done, trials);
    let began = Instant::now();
    assert_eq!(store.results().map(Result::unwrap).count(), trials as usize);
    println!("all results read: {:?}, peak {} kB", began.elapsed(), peak());
    let peak: u64 = peak().parse().unwrap();
    assert!(peak < 300 << 10, "{peak} kB");
}
