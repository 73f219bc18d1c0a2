//! Tests of `grow`.

use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::campaign::plan::PlanError;
use crate::campaign::shard::Shard;
use crate::campaign::store::merge::Merged;
use crate::campaign::store::schema;
use crate::campaign::store::tests::{create, plan, record, record_next, whole};

fn grow(store: &mut Store, added: &[u64]) -> Result<(), StoreError> {
    let again = again(store);
    store.grow(again, added, &mut |_| true)
}

/// The plan of a store, drawn again stage by stage.
fn again(store: &Store) -> Plan {
    let first = plan(store.spec());
    store.stages()[1..].iter().fold(first, |plan, stage| plan.grown(&stage.trials).unwrap())
}

#[test]
fn a_campaign_that_grows_keeps_its_results_and_runs_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite");
    let mut store = create(&path, 40);
    record_next(&mut store, 40);
    let before: Vec<_> = store.results().map(|row| row.unwrap().trial).collect();
    let (old_plan, old_seal) = (store.plan_digest().to_owned(), store.seal().to_owned());
    grow(&mut store, &[30, 10]).unwrap();
    assert_eq!(store.pending(Shard::WHOLE).unwrap().len(), 40);
    record_next(&mut store, 10);
    grow(&mut store, &[5, 0]).unwrap();
    // The same when it is opened again, with what was recorded before it grew.
    for again in 0..2 {
        whole(&store);
        assert_eq!((store.len(), store.status().unwrap().done), (85, 50));
        let trials: Vec<u64> = store.stages().iter().map(Stage::len).collect();
        assert_eq!(trials, [40, 40, 5]);
        assert_eq!(store.stages()[0], Stage { trials: vec![30, 10], plan: old_plan.clone(), grown: None });
        assert!(store.stages()[1..].iter().all(|stage| stage.grown.is_some()));
        assert_ne!((store.plan_digest(), store.seal()), (old_plan.as_str(), old_seal.as_str()));
        let now: Vec<_> = store.results().map(|row| row.unwrap().trial).collect();
        assert!(before.iter().all(|trial| now.contains(trial)));
        for trial in now {
            assert!(store.record_of(trial.id).unwrap().unwrap().is_same(&record(&trial)));
        }
        drop(store);
        store = if again == 0 { Store::open(&path).unwrap() } else { Store::open_readonly(&path).unwrap() };
    }
    drop(store);
    let mut store = Store::open(&path).unwrap();
    record_next(&mut store, 100);
    assert_eq!(store.status().unwrap().counts.pending, 0);
    whole(&store);
}

#[test]
fn what_cannot_grow_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite");
    let mut store = create(&path, 40);
    let seal = store.seal().to_owned();
    // A plan of other spaces or seeds is not this one.
    let other = crate::campaign::spec::CampaignSpec { seed: 43, ..store.spec().clone() };
    let error = store.grow(plan(&other), &[10, 0], &mut |_| true).unwrap_err();
    assert!(matches!(error, StoreError::DrawnOtherwise(_)), "{error}");
    // More than there are.
    let error = grow(&mut store, &[0, u64::MAX]).unwrap_err();
    assert!(matches!(&error, StoreError::Growth(cause) if matches!(**cause, PlanError::TooLarge)), "{error}");
    let first = again(&store);
    let error = store.grow(first, &[20_000, 0], &mut |_| false).unwrap_err();
    assert!(matches!(error, StoreError::Stopped), "{error}");
    assert_eq!((store.len(), store.seal()), (40, seal.as_str()));
    record_next(&mut store, 1);
    let read = Store::open_readonly(&path).unwrap();
    let (first, error) = (again(&read), "can only be read");
    let mut read = read;
    assert!(read.grow(first, &[1, 0], &mut |_| true).unwrap_err().to_string().contains(error));
    drop((read, store));
    let store = Store::open(&path).unwrap();
    assert_eq!((store.len(), store.stages().len(), store.seal()), (40, 1, seal.as_str()));
    whole(&store);
}

#[test]
fn parts_are_joined_when_they_have_grown_by_the_same_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let mut one = create(&path("one.sqlite"), 40);
    one.copy(&path("two.sqlite")).unwrap();
    record_next(&mut one, 5);
    grow(&mut one, &[10, 10]).unwrap();
    record_next(&mut one, 5);
    // It is of before: said so, from both sides, with the remedy.
    let mut two = Store::open(&path("two.sqlite")).unwrap();
    for (into, part) in [(&mut one, "two.sqlite"), (&mut two, "one.sqlite")] {
        let error = into.merge(&[path(part)]).unwrap_err().to_string();
        assert!(error.contains("two.sqlite has 40 trials") && error.contains("grow"), "{error}");
        assert!(error.contains("--trials 60"), "{error}");
    }
    grow(&mut two, &[10, 10]).unwrap();
    for id in two.pending(Shard::WHOLE).unwrap() {
        let record = record(&two.planned(id).unwrap());
        two.record(id, &record).unwrap();
    }
    drop(two);
    assert_eq!(one.merge(&[path("two.sqlite")]).unwrap(), Merged { added: 50, same: 10, replaced: 0 });
    whole(&one);
    // By other steps it is another plan.
    let mut other = create(&path("other.sqlite"), 40);
    grow(&mut other, &[10, 9]).unwrap();
    grow(&mut other, &[0, 1]).unwrap();
    drop(other);
    assert!(matches!(one.merge(&[path("other.sqlite")]).unwrap_err(), StoreError::Stranger { .. }));
}

#[test]
fn stages_that_are_not_the_plans_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite");
    let mut store = create(&path, 40);
    grow(&mut store, &[10, 10]).unwrap();
    drop(store);
    let change = |sql: &str| {
        let conn = Connection::open(&path).unwrap();
        assert_eq!(conn.execute(sql, []).unwrap(), 1);
        // Sealed again, as a careless tool would.
        Made::read(&conn).unwrap().write(&conn).unwrap();
        drop(conn);
        Store::open_readonly(&path).unwrap_err().to_string()
    };
    for (sql, back) in [
        ("'[10,10]', '[11,9]'", "'[11,9]', '[10,10]'"),
        ("'\"trials\":[10,10]', '\"trials\":[20]'", "'\"trials\":[20]', '\"trials\":[10,10]'"),
    ] {
        let update =
            |what: &str| format!("UPDATE meta SET value = replace(value, {what}) WHERE key = 'stages'");
        let error = change(&update(sql));
        assert!(error.contains("its stages are not those of its plan"), "{error}");
        let conn = Connection::open(&path).unwrap();
        conn.execute(&update(back), []).unwrap();
        Made::read(&conn).unwrap().write(&conn).unwrap();
    }
    Store::open(&path).unwrap();
}

#[test]
fn a_file_of_version_3_is_brought_up_to_date_and_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite");
    let mut store = create(&path, 40);
    record_next(&mut store, 20);
    drop(store);
    let mut empty = Connection::open_in_memory().unwrap();
    schema::third_version(&mut empty);
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "DROP VIEW trials; ALTER TABLE trial DROP COLUMN more; ALTER TABLE trial DROP COLUMN ecc",
    )
    .unwrap();
    conn.execute("UPDATE meta SET value = '3' WHERE key = 'format'", []).unwrap();
    conn.pragma_update(None, "user_version", 3).unwrap();
    drop(conn);
    let old = Store::open_readonly(&path).unwrap();
    old.verify().unwrap();
    assert_eq!((old.status().unwrap().format, old.stages().len()), (3, 1));
    drop(old);
    let mut store = Store::open(&path).unwrap();
    assert_eq!((store.status().unwrap().format, store.status().unwrap().done), (schema::VERSION, 20));
    grow(&mut store, &[10, 10]).unwrap();
    record_next(&mut store, 60);
    whole(&store);
}
