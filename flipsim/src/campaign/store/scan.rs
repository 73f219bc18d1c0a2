//! Reading results so that damage is seen: each row with its checksum, and all of them against the tally.
//!
//! A file of a version without checksums is compared with itself: the columns of a row with its record.
//!
//! Invariant: **no row is handed out that was not checked**, and whoever reads to the end knows that none was missing.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::campaign::plan::TrialId;
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::open::Store;
use crate::campaign::store::row::{CONSOLE, RECORD, RESULT, SUM, SUMMED, derived};
use crate::campaign::store::schema;
use crate::campaign::store::sums::{Fold, Sum};
use crate::campaign::store::tally::Tally;
use crate::trial::TrialRecord;

/// One view of the file for as long as this is held, whatever is recorded meanwhile.
#[derive(Debug)]
pub(super) struct Snapshot<'a>(Option<&'a Connection>);

impl<'a> Snapshot<'a> {
    /// Of this connection, which may have one already.
    pub(super) fn new(conn: &'a Connection) -> rusqlite::Result<Self> {
        if !conn.is_autocommit() {
            return Ok(Snapshot(None));
        }
        conn.execute_batch("BEGIN DEFERRED")?;
        Ok(Snapshot(Some(conn)))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.0 {
            // Nothing was changed.
            let _ = conn.execute_batch("COMMIT");
        }
    }
}

/// What is known of the rows that have gone by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    last: i64,
    pub(super) count: u64,
    pub(super) fold: Fold,
}

impl Passed {
    pub(super) fn new() -> Self {
        Passed { last: i64::MIN, count: 0, fold: Fold::default() }
    }

    /// The next row, by its number.
    pub(super) fn take(&mut self, number: i64, sum: Option<Sum>) -> Result<(), String> {
        if number <= self.last {
            return Err(format!("row {number} comes after row {}", self.last));
        }
        self.last = number;
        self.count += 1;
        if let Some(sum) = sum {
            self.fold.add(sum);
        }
        Ok(())
    }

    /// Whether these were all.
    fn are_all(&self, what: &str, count: u64, fold: Fold) -> Result<(), String> {
        if self.count != count {
            return Err(format!("{count} {what} were recorded, and {} are there", self.count));
        }
        if self.fold != fold {
            return Err(format!("its {what} are not the ones that were recorded"));
        }
        Ok(())
    }
}

impl Store {
    pub(super) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.into() }
    }

    /// Whether the file is of a version whose rows have checksums.
    #[must_use]
    pub fn has_checksums(&self) -> bool {
        self.format >= schema::CHECKED
    }

    /// What is to be there; `None` in a file of a version that did not keep it.
    pub(super) fn tally(&self) -> Result<Option<Tally>, StoreError> {
        if !self.has_checksums() {
            return Ok(None);
        }
        let found = Tally::read(&self.conn, &self.sums).map_err(sqlite("read", &self.path))?;
        found.map(Some).ok_or_else(|| self.damaged("the count of its results"))
    }

    /// Checks a row of the columns [`RESULT`].
    pub(super) fn check_row(&self, row: &Row<'_>) -> Result<Option<Sum>, StoreError> {
        let error = sqlite("read", &self.path);
        let trial: i64 = row.get(0).map_err(&error)?;
        let wrong = |why: &str| self.damaged(format!("the result of trial {trial}{why}"));
        if !self.has_checksums() {
            return self.check_columns(row).map(|()| None).map_err(|why| wrong(&why));
        }
        let values = (0..SUMMED).map(|at| row.get_ref(at)).collect::<rusqlite::Result<Vec<_>>>();
        let sum = self.sums.result(values.map_err(&error)?);
        let stored = row.get_ref(SUM).map_err(&error)?;
        if stored.as_blob().is_ok_and(|stored| stored == sum) { Ok(Some(sum)) } else { Err(wrong("")) }
    }

    /// Whether the columns of a row say what its record says; where not, what differs.
    pub(super) fn check_columns(&self, row: &Row<'_>) -> Result<(), String> {
        let unreadable = |error: rusqlite::Error| format!(": {error}");
        let text: Option<String> = row.get(RECORD).map_err(unreadable)?;
        let Some(text) = text else { return Ok(()) };
        let record: TrialRecord =
            serde_json::from_str(&text).map_err(|error| format!(": its record: {error}"))?;
        let expected = derived(&record).map_err(|error| format!(": {error}"))?;
        for (at, value) in expected.columns() {
            let found = row.get_ref(at).map_err(unreadable)?;
            if found != ValueRef::from(&value) {
                let name = row.as_ref().column_name(at).unwrap_or("a column").to_owned();
                return Err(format!(": its {name} is not the one in its record"));
            }
        }
        Ok(())
    }

    /// Reads all results once, by number, and checks each and that none is missing. `each` is given the columns
    /// [`RESULT`].
    pub(super) fn scan(
        &self,
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let error = sqlite("read", &self.path);
        let _view = Snapshot::new(&self.conn).map_err(&error)?;
        let tally = self.tally()?;
        let sql = format!("SELECT {RESULT} FROM result r ORDER BY r.trial");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        let mut passed = Passed::new();
        while let Some(row) = rows.next().map_err(&error)? {
            let sum = self.check_row(row)?;
            let trial = row.get(0).map_err(&error)?;
            passed.take(trial, sum).map_err(|why| self.damaged(why))?;
            each(row)?;
        }
        self.all_results(&passed, tally.as_ref())
    }

    /// Whether the results that have gone by are all that were recorded.
    pub(super) fn all_results(&self, passed: &Passed, tally: Option<&Tally>) -> Result<(), StoreError> {
        let Some(tally) = tally else { return Ok(()) };
        passed.are_all("results", tally.results, tally.of_results).map_err(|why| self.damaged(why))
    }

    /// Reads all attempts that were lost, and checks each and that none is missing; `each` is given their trials.
    pub(super) fn scan_attempts(&self, each: &mut dyn FnMut(TrialId)) -> Result<(), StoreError> {
        let error = sqlite("read", &self.path);
        let _view = Snapshot::new(&self.conn).map_err(&error)?;
        let tally = self.tally()?;
        let sql = "SELECT trial, recorded_ms, error, record, sum, id FROM attempt ORDER BY id";
        let mut statement = self.conn.prepare_cached(sql).map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        let mut passed = Passed::new();
        while let Some(row) = rows.next().map_err(&error)? {
            let (trial, id): (i64, i64) = (row.get(0).map_err(&error)?, row.get(5).map_err(&error)?);
            let sum = match &tally {
                None => None,
                Some(_) => {
                    let values = (0..4).map(|at| row.get_ref(at)).collect::<rusqlite::Result<Vec<_>>>();
                    let sum = self.sums.attempt(values.map_err(&error)?);
                    let stored = row.get_ref(4).map_err(&error)?;
                    if !stored.as_blob().is_ok_and(|stored| stored == sum) {
                        return Err(self.damaged(format!("a lost attempt at trial {trial}")));
                    }
                    Some(sum)
                }
            };
            passed.take(id, sum).map_err(|why| self.damaged(why))?;
            each(TrialId(trial.cast_unsigned()));
        }
        let Some(tally) = tally else { return Ok(()) };
        passed.are_all("lost attempts", tally.attempts, tally.of_attempts).map_err(|why| self.damaged(why))
    }

    /// Whether everything in the file is what was written: the plan, every result with its console, every lost
    /// attempt. What the campaign was made from was compared when it was opened.
    ///
    /// # Errors
    /// It is not, or the file cannot be read.
    pub fn verify(&self) -> Result<(), StoreError> {
        self.check_plan()?;
        let mut consoles = 0u64;
        self.scan(&mut |row| {
            let error = sqlite("read", &self.path);
            if self.has_checksums() {
                let trial: i64 = row.get(0).map_err(&error)?;
                self.check_columns(row)
                    .map_err(|why| self.damaged(format!("the result of trial {trial}{why}")))?;
                let sum: Option<Sum> = row.get(CONSOLE).map_err(&error)?;
                consoles += u64::from(sum.is_some());
                self.console_of(trial, sum)?;
            }
            Ok(())
        })?;
        self.scan_attempts(&mut |_| ())?;
        let stored: i64 = self
            .conn
            .query_row("SELECT count(*) FROM console", [], |row| row.get(0))
            .map_err(sqlite("read", &self.path))?;
        if self.has_checksums() && stored.cast_unsigned() != consoles {
            return Err(
                self.damaged(format!("{consoles} consoles belong to its results, and {stored} are there"))
            );
        }
        Ok(())
    }
}
