//! Joining the parts of one campaign that several machines ran.
//!
//! Invariant: all of it is joined, or nothing; a trial that two parts have must have the same result in both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::error::{Change, StoreError, sqlite, system};
use crate::campaign::plan::TrialId;
use crate::campaign::store::encode::pack;
use crate::campaign::store::lock::Lock;
use crate::campaign::store::make::make_whole;
use crate::campaign::store::open::Store;
use crate::campaign::store::row::{CONSOLE, SUMMED, insert_attempt, insert_summed};
use crate::campaign::store::scan::Snapshot;
use crate::campaign::store::sums::Sum;
use crate::campaign::store::tally::Tally;
use crate::campaign::store::write::remove_result;
use crate::files;
use crate::trial::Outcome;

/// The result of joining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Results that were taken.
    pub added: u64,
    /// Results that were there already, and the same.
    pub same: u64,
    /// Trials that had been given up here, and were run there.
    pub replaced: u64,
}

impl Store {
    /// Takes in the results of other parts of the same plan.
    ///
    /// # Errors
    /// A part is of another plan, template or golden run, or has another result for a trial. Nothing is
    /// changed then.
    pub fn merge(&mut self, parts: &[PathBuf]) -> Result<Merged, StoreError> {
        if self.lock.is_none() {
            return Err(StoreError::ReadOnly(self.path.clone()));
        }
        let mut merged = Merged::default();
        // What is damaged here or there is seen before anything is taken.
        self.scan(&mut |_| Ok(()))?;
        let mut change = self.begin(None)?;
        let mut tally = change.tally;
        for path in parts {
            let part = Store::open_readonly(path)?;
            self.check_kin(&part)?;
            self.take_in(&part, &mut merged, &mut tally)?;
        }
        change.tally = tally;
        change.commit()?;
        let mut lost = HashMap::new();
        self.scan_attempts(&mut |trial| *lost.entry(trial).or_default() += 1)?;
        self.lost = lost;
        Ok(merged)
    }

    /// Copies the campaign to a new file, whole, whatever happens to it meanwhile.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn copy(&self, to: &Path) -> Result<(), StoreError> {
        let _lock = Lock::take(to)?;
        make_whole(to, |part| {
            // SQLite would follow a link of that name.
            files::make_new(part).map_err(system("write", to))?;
            let copied = self.conn.execute("VACUUM INTO ?1", [part.to_string_lossy()]);
            copied.map(|_| ()).map_err(sqlite("write", to))
        })
    }

    fn check_kin(&self, part: &Store) -> Result<(), StoreError> {
        self.check_stage(part)?;
        let mut changes: Vec<Change> = self.manifest.changes(&part.manifest);
        // Another build of the same QEMU may have another digest; template and golden run are what counts.
        changes.retain(|change| change.what == "template" || change.what == "golden run");
        if self.digest != part.digest {
            let (then, now) = (Some(self.digest.clone()), Some(part.digest.clone()));
            changes.insert(0, Change { what: "plan".to_owned(), then, now });
        }
        if changes.is_empty()
            && let Some(trial) = self.other_trial(part)?
        {
            let what = format!("trial {trial} of the plan");
            changes.push(Change { what, then: None, now: None });
        }
        if changes.is_empty() {
            return Ok(());
        }
        Err(StoreError::Stranger { path: part.path.clone(), changes })
    }

    /// All results of a part, within the transaction that is open here.
    fn take_in(&self, part: &Store, merged: &mut Merged, tally: &mut Tally) -> Result<(), StoreError> {
        let reading = sqlite("read", &part.path);
        // One view of a part that may be worked on.
        let _view = Snapshot::new(&part.conn).map_err(&reading)?;
        // Its lost attempts are checked here, and taken below with their trials.
        part.scan_attempts(&mut |_| ())?;
        part.scan(&mut |row| {
            let id: i64 = row.get(0).map_err(&reading)?;
            let theirs: Option<String> = row.get(2).map_err(&reading)?;
            let own = self
                .conn
                .prepare_cached("SELECT outcome FROM result WHERE trial = ?1")
                .and_then(|mut own| own.query_row([id], |row| row.get::<_, Option<String>>(0)).optional())
                .map_err(sqlite("merge into", &self.path))?;
            let is_infra = |outcome: &Option<String>| outcome.as_deref() == Some(Outcome::Infra.name());
            match own {
                None => {
                    self.copy_rows(&self.conn, part, id, row, tally)?;
                    merged.added += 1;
                }
                Some(own) if is_infra(&own) && !is_infra(&theirs) => {
                    remove_result(&self.conn, tally, id).map_err(sqlite("merge into", &self.path))?;
                    self.copy_rows(&self.conn, part, id, row, tally)?;
                    merged.replaced += 1;
                }
                Some(_) if is_infra(&theirs) => merged.same += 1,
                Some(_) => {
                    let id = TrialId(id.cast_unsigned());
                    let same = match (self.record_of(id)?, part.record_of(id)?) {
                        (Some(own), Some(theirs)) => own.is_same(&theirs),
                        _ => false,
                    };
                    if !same {
                        return Err(StoreError::Disagree { id, path: part.path.clone() });
                    }
                    merged.same += 1;
                }
            }
            Ok(())
        })
    }

    /// Copies all that a part has of a trial, a result of the columns [`RESULT`]. A part of an older version is read as if it
    /// were of the newest; checksums are made here.
    ///
    /// [`RESULT`]: crate::campaign::store::row::RESULT
    pub(super) fn copy_rows(
        &self,
        to: &Connection,
        part: &Store,
        id: i64,
        row: &Row<'_>,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let reading = sqlite("read", &part.path);
        let writing = sqlite("merge into", &self.path);
        let values = (0..SUMMED).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>();
        let mut values = values.map_err(&reading)?;
        let sum: Option<Sum> = row.get(CONSOLE).map_err(&reading)?;
        // Only a console that is what it was.
        let console = part.console_of(id, sum)?.map(|text| (text.len() as i64, pack(text.as_bytes())));
        let of_console = console.as_ref().map(|(bytes, zlib)| self.sums.console(id, *bytes, zlib));
        values[CONSOLE] = of_console.map_or(Value::Null, |sum| Value::Blob(sum.to_vec()));
        tally.add_result(insert_summed(to, &self.sums, &values).map_err(&writing)?);
        if let Some((bytes, zlib)) = console {
            let insert = "INSERT INTO console VALUES (?1, ?2, ?3)";
            let written = to.prepare_cached(insert).and_then(|mut it| it.execute(params![id, bytes, zlib]));
            written.map_err(&writing)?;
        }
        let sql = "SELECT trial, recorded_ms, error, record FROM attempt WHERE trial = ?1 ORDER BY id";
        let mut statement = part.conn.prepare_cached(sql).map_err(&reading)?;
        let rows = statement.query_map([id], |row| (0..4).map(|at| row.get(at)).collect());
        let rows: rusqlite::Result<Vec<Vec<Value>>> = rows.and_then(Iterator::collect);
        for values in rows.map_err(&reading)? {
            tally.add_attempt(insert_attempt(to, &self.sums, &values).map_err(&writing)?);
        }
        Ok(())
    }
}
