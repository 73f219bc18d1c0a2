//! Making a campaign's file: written under another name, then put in place.
//!
//! Invariant: a file with the campaign's name holds the whole plan.

use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::{Connection, params};

use super::error::{StoreError, sqlite, system};
use super::schema;
use crate::campaign::manifest::Manifest;
use crate::campaign::plan::{Plan, PlanDigest, PlannedTrial};
use crate::campaign::spec::CampaignSpec;
use crate::campaign::store::encode::{json, pack, signed};
use crate::campaign::store::lock::beside;
use crate::campaign::store::seal::Made;
use crate::campaign::store::sums::Sums;
use crate::campaign::store::tally::Tally;
use crate::fault::Verdict;
use crate::files;
use crate::text::hex_value;
use crate::trial::TrialPlan;

/// Writes a new file with the whole plan. It has no journal: what goes wrong makes it void.
pub fn write_plan(
    path: &Path,
    manifest: &Manifest,
    spec: &CampaignSpec,
    plan: &Plan,
    attachments: &[(&str, &[u8])],
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), StoreError> {
    let error = sqlite("write", path);
    // SQLite would follow a link of that name.
    files::make_new(path).map_err(system("write", path))?;
    let mut conn = Connection::open(path).map_err(&error)?;
    for (name, value) in [("journal_mode", "OFF"), ("synchronous", "OFF"), ("locking_mode", "EXCLUSIVE")] {
        conn.pragma_update(None, name, value).map_err(&error)?;
    }
    schema::migrate(&mut conn).map_err(&error)?;
    let transaction = conn.transaction().map_err(&error)?;
    for (id, stratum) in plan.strata().iter().enumerate() {
        let sql = "INSERT INTO stratum VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![
            id as i64,
            stratum.name,
            stratum.targets,
            signed("the number of faults", stratum.faults)?,
            signed("the number of times", stratum.times)?,
            signed("the number of trials", stratum.trials)?,
        ];
        transaction.execute(sql, row).map_err(&error)?;
    }
    let stages: Vec<&[u64]> = plan.stages().collect();
    let mut digest = PlanDigest::new(plan.strata(), &stages);
    for trial in plan.iter() {
        digest.add(&trial);
        insert_trial(&transaction, &trial, &error)?;
        if trial.id.0 % 10_000 == 0 && !progress(trial.id.0) {
            return Err(StoreError::Stopped);
        }
    }
    for (name, bytes) in attachments {
        let row = params![name, bytes.len() as i64, pack(bytes)];
        transaction.execute("INSERT INTO attachment VALUES (?1, ?2, ?3)", row).map_err(&error)?;
    }
    let plan_digest = digest.finish();
    let meta = [
        ("format", schema::VERSION.to_string()),
        ("manifest", json(manifest)),
        ("spec", spec.json()),
        ("plan", plan_digest.clone()),
        ("overlaps", json(&plan.overlaps())),
    ];
    for (key, value) in meta {
        transaction.execute("INSERT INTO meta VALUES (?1, ?2)", [key, &value]).map_err(&error)?;
    }
    Made::read(&transaction).and_then(|made| made.write(&transaction)).map_err(&error)?;
    Tally::default().write(&transaction, &Sums::new(&plan_digest)).map_err(&error)?;
    transaction.commit().map_err(&error)?;
    conn.close().map_err(|(_, cause)| error(cause))
}

/// Inserts a trial of a plan.
pub(super) fn insert_trial(
    conn: &Connection,
    trial: &PlannedTrial,
    error: &dyn Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let TrialPlan { after, fault, back_after, more, ecc } = &trial.plan;
    let row = params![
        trial.id.0.cast_signed(),
        trial.stratum,
        signed("the time", after.0)?,
        fault.kind(),
        fault.address().map(|address| signed("the address", address.0)).transpose()?,
        fault.register(),
        fault.single_bit().map(|bit| bit.0),
        hex_value(fault.mask()),
        back_after.map(|back| signed("the time", back.0)).transpose()?,
        fault.operation().to_string(),
        if more.is_empty() { String::new() } else { json(more) },
        ecc.map_or("", Verdict::name),
    ];
    let sql = "INSERT INTO trial (id, stratum, at_ns, kind, address, register, bit, mask, back_ns, operation, more, \
               ecc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    conn.prepare_cached(sql).and_then(|mut insert| insert.execute(row)).map(drop).map_err(error)
}

/// What SQLite keeps beside a file while it is written.
pub const JOURNALS: [&str; 2] = ["-wal", "-journal"];

/// Refuses a new name beside which a journal is: SQLite would take it for the new file's.
pub fn no_journals(path: &Path) -> Result<(), StoreError> {
    let mut journals = JOURNALS.iter().map(|ending| files::beside(path, ending));
    match journals.find(|file| file.exists()) {
        Some(left) => Err(StoreError::Orphan { path: path.to_owned(), left }),
        None => Ok(()),
    }
}

/// Makes a campaign's file under another name, and puts it in place when it is whole. The caller has the lock.
///
/// # Errors
/// The name is taken, or what `write` says; nothing is left of it then.
pub(super) fn make_whole(
    to: &Path,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Exists(to.to_owned()));
    }
    no_journals(to)?;
    through_part(to, write, put_in_place)
}

/// The same in the place of another campaign, which is there, whole, until the new one is. The caller has its lock.
///
/// # Errors
/// What `write` says; then nothing has changed.
pub(super) fn make_instead(
    to: &Path,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    through_part(to, write, |part, to| {
        let error = system("replace", to);
        File::open(part).and_then(|file| file.sync_all()).map_err(&error)?;
        // SQLite would take a journal of the old file for one of the new.
        for ending in JOURNALS.iter().chain(&["-shm"]) {
            remove(&files::beside(to, ending))?;
        }
        std::fs::rename(part, to).and_then(|()| sync_folder(to)).map_err(error)
    })
}

fn through_part(
    to: &Path,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
    place: impl FnOnce(&Path, &Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // What a killed predecessor left has the same name, and no other process works on it.
    let part = beside(to, "part");
    remove(&part)?;
    let made = write(&part).and_then(|()| place(&part, to));
    if made.is_err() {
        let _ = remove(&part);
    }
    made
}

/// Gives a finished file its name, unless that is taken.
pub fn put_in_place(part: &Path, path: &Path) -> Result<(), StoreError> {
    let error = system("put in place", path);
    File::open(part).and_then(|file| file.sync_all()).map_err(&error)?;
    match std::fs::hard_link(part, path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StoreError::Exists(path.to_owned()));
        }
        linked => linked.map_err(&error)?,
    }
    remove(part)?;
    sync_folder(path).map_err(&error)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

pub fn remove(path: &Path) -> Result<(), StoreError> {
    let error = |cause| StoreError::Io { action: "remove", path: path.to_owned(), cause };
    files::remove_file(path).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::super::open::Store;
    use super::super::tests::{create, manifest, plan, record_next, spec};
    use super::*;

    #[test]
    fn a_campaign_is_replaced_once_the_new_plan_is_whole_and_not_while_it_is_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sqlite");
        let mut store = create(&path, 40);
        record_next(&mut store, 20);
        let replace = |trials: u64, go_on: bool| {
            let spec = spec(trials);
            let kept: &[(&str, &[u8])] = &[("golden", b"golden run")];
            Store::replace_unless_stopped(&path, &manifest(), &spec, &plan(&spec), kept, &mut |_| go_on)
        };
        // Whose process is it?
        assert!(matches!(replace(60, true), Err(StoreError::Locked { .. })));
        // As a kill leaves it, with a log beside the file.
        let left = folder.path().join("killed.sqlite");
        std::fs::copy(&path, &left).unwrap();
        let log = files::beside(&path, "-wal");
        std::fs::copy(&log, files::beside(&left, "-wal")).unwrap();
        drop(store);
        assert!(matches!(replace(60, false), Err(StoreError::Stopped)));
        assert_eq!(Store::open_readonly(&path).unwrap().status().unwrap().done, 20);
        std::fs::copy(files::beside(&left, "-wal"), &log).unwrap();
        let new = replace(60, true).unwrap();
        assert_eq!((new.len(), new.status().unwrap().done), (60, 0));
        drop(new);
        let store = Store::open_readonly(&path).unwrap();
        store.verify().unwrap();
        assert_eq!(store.len(), 60);
        let names = || folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names().any(|name| name.to_string_lossy().contains(".part")));
    }
}
