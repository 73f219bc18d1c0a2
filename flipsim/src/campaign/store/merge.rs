//! Joining the parts of one campaign that several machines ran.
//!
//! Invariant: all of it is joined, or nothing; a trial that two parts have must have the same result in both.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params_from_iter};
use serde::Serialize;

use super::error::{Change, StoreError, sqlite};
use crate::campaign::plan::TrialId;
use crate::campaign::store::lock::{Lock, beside};
use crate::campaign::store::make::{put_in_place, remove};
use crate::campaign::store::open::Store;
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
        let error = sqlite("merge into", &self.path);
        let mut merged = Merged::default();
        let transaction =
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(&error)?;
        for path in parts {
            let part = Store::open_readonly(path)?;
            self.check_kin(&part)?;
            self.take_in(&part, &mut merged)?;
        }
        transaction.commit().map_err(&error)?;
        Ok(merged)
    }

    /// Copies the campaign to a new file, whole, whatever happens to it meanwhile.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn copy(&self, to: &Path) -> Result<(), StoreError> {
        let _lock = Lock::take(to)?;
        if to.exists() {
            return Err(StoreError::Exists(to.to_owned()));
        }
        let part = beside(to, "part");
        remove(&part)?;
        let copied = self
            .conn
            .execute("VACUUM INTO ?1", [part.to_string_lossy()])
            .map_err(sqlite("write", to))
            .and_then(|_| put_in_place(&part, to));
        if copied.is_err() {
            let _ = remove(&part);
        }
        copied
    }

    fn check_kin(&self, part: &Store) -> Result<(), StoreError> {
        let mut changes: Vec<Change> = self.manifest.changes(&part.manifest);
        // Another build of the same QEMU may have another digest; template and golden run are what counts.
        changes.retain(|change| change.what == "template" || change.what == "golden run");
        if self.digest != part.digest {
            let (then, now) = (Some(self.digest.clone()), Some(part.digest.clone()));
            changes.insert(0, Change { what: "plan".to_owned(), then, now });
        }
        if changes.is_empty() {
            return Ok(());
        }
        Err(StoreError::Stranger { path: part.path.clone(), changes })
    }

    /// All results of a part, within the transaction that is open here.
    fn take_in(&self, part: &Store, merged: &mut Merged) -> Result<(), StoreError> {
        let reading = sqlite("read", &part.path);
        // One view of a part that may be worked on.
        let view = part.conn.unchecked_transaction().map_err(&reading)?;
        let mut statement =
            view.prepare("SELECT trial, outcome FROM result ORDER BY trial").map_err(&reading)?;
        let mut rows = statement.query([]).map_err(&reading)?;
        while let Some(row) = rows.next().map_err(&reading)? {
            let id: i64 = row.get(0).map_err(&reading)?;
            let theirs: Option<String> = row.get(1).map_err(&reading)?;
            let own = self
                .conn
                .prepare_cached("SELECT outcome FROM result WHERE trial = ?1")
                .and_then(|mut own| own.query_row([id], |row| row.get::<_, Option<String>>(0)).optional())
                .map_err(sqlite("merge into", &self.path))?;
            let is_infra = |outcome: &Option<String>| outcome.as_deref() == Some(Outcome::Infra.name());
            match own {
                None => {
                    self.copy_rows(&view, id, &part.path)?;
                    merged.added += 1;
                }
                Some(own) if is_infra(&own) && !is_infra(&theirs) => {
                    for table in ["console", "result"] {
                        let sql = format!("DELETE FROM {table} WHERE trial = ?1");
                        self.conn.execute(&sql, [id]).map_err(sqlite("merge into", &self.path))?;
                    }
                    self.copy_rows(&view, id, &part.path)?;
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
        }
        Ok(())
    }

    /// All that a part has of a trial. Both show the same columns, for a part of an older version is read as if
    /// it were of the newest.
    fn copy_rows(&self, from: &Connection, id: i64, path: &Path) -> Result<(), StoreError> {
        let reading = sqlite("read", path);
        let writing = sqlite("merge into", &self.path);
        for (table, columns) in [
            ("result", "*"),
            ("console", "*"),
            // Numbered again.
            ("attempt", "NULL, trial, recorded_ms, error, record"),
        ] {
            let sql = format!("SELECT {columns} FROM {table} WHERE trial = ?1");
            let mut statement = from.prepare_cached(&sql).map_err(&reading)?;
            let count = statement.column_count();
            let marks = vec!["?"; count].join(", ");
            let insert = format!("INSERT INTO {table} VALUES ({marks})");
            let mut rows = statement.query([id]).map_err(&reading)?;
            while let Some(row) = rows.next().map_err(&reading)? {
                let values: rusqlite::Result<Vec<Value>> = (0..count).map(|index| row.get(index)).collect();
                let values = values.map_err(&reading)?;
                let mut insert = self.conn.prepare_cached(&insert).map_err(&writing)?;
                insert.execute(params_from_iter(values)).map_err(&writing)?;
            }
        }
        Ok(())
    }
}
