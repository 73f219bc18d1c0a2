//! What is written into a store.
//!
//! Invariants: **a trial has one result at most**, and what was recorded is there after a SIGKILL. Every row that is
//! written is in the tally.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::campaign::plan::{PlannedTrial, TrialId};
use crate::campaign::store::encode::{json, pack};
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::lock::Note;
use crate::campaign::store::open::Store;
use crate::campaign::store::row::{Row, insert_attempt, insert_result, row_of};
use crate::campaign::store::sums::Sum;
use crate::campaign::store::tally::Tally;
use crate::trial::{Outcome, TrialRecord};

/// The result of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The trial has its result.
    Done,
    /// The laboratory lost it; it may be begun so many times more.
    Again(u32),
    /// The laboratory lost it too often; it is `infra` now.
    GivenUp,
}

impl Store {
    /// Records the result of a trial, in one transaction. A record that is `infra` counts as a failed attempt
    /// ([`Store::fail`]).
    ///
    /// # Errors
    /// The trial has a result already, or is another one; the disk is full. Nothing is changed then.
    pub fn record(&mut self, id: TrialId, record: &TrialRecord) -> Result<Recorded, StoreError> {
        let planned = self.planned_as(id, record)?;
        if record.outcome == Some(Outcome::Infra) {
            let error = record.lost_because();
            return self.lose(&planned, &error, Some(record));
        }
        self.insert(&[(planned, record)])?;
        Ok(Recorded::Done)
    }

    /// Records the results of trials that were settled without a run, all in one transaction.
    ///
    /// # Errors
    /// As [`Store::record`]; nothing is changed then.
    pub fn record_settled(&mut self, results: &[(PlannedTrial, TrialRecord)]) -> Result<(), StoreError> {
        let planned =
            results.iter().map(|(planned, record)| Ok((self.planned_as(planned.id, record)?, record)));
        let planned = planned.collect::<Result<Vec<_>, StoreError>>()?;
        self.insert(&planned)
    }

    /// Takes back the results of all trials that were not run whole; how many there were.
    ///
    /// # Errors
    /// The file cannot be read or written. Nothing is changed then.
    pub fn take_back_shortcuts(&mut self) -> Result<usize, StoreError> {
        let sql = "SELECT trial FROM result WHERE record ->> '$.settled' IS NOT NULL \
                   OR record ->> '$.begun_ns' IS NOT NULL OR record ->> '$.cut_ns' IS NOT NULL";
        let ids = {
            let error = sqlite("read", &self.path);
            let mut statement = self.conn.prepare(sql).map_err(&error)?;
            let rows = statement.query_map([], |row| row.get::<_, i64>(0)).map_err(&error)?;
            let ids = rows.map(|id| id.map(|id| TrialId(id.cast_unsigned())));
            ids.collect::<rusqlite::Result<Vec<TrialId>>>().map_err(&error)?
        };
        self.take_back(&ids)?;
        Ok(ids.len())
    }

    /// The trial of this number, if the record is of it.
    fn planned_as(&self, id: TrialId, record: &TrialRecord) -> Result<PlannedTrial, StoreError> {
        let planned = self.planned(id)?;
        for (same, what) in [
            (record.plan == planned.plan, "the fault or its time"),
            (record.template == self.manifest.template, "the template"),
        ] {
            if !same {
                return Err(StoreError::OtherTrial { id, what });
            }
        }
        Ok(planned)
    }

    fn insert(&self, results: &[(PlannedTrial, &TrialRecord)]) -> Result<(), StoreError> {
        // Of the times before only the store knows.
        let records: Vec<TrialRecord> = results
            .iter()
            .map(|(planned, record)| {
                let attempts = self.lost_attempts(planned.id) + 1;
                TrialRecord { attempts, ..(*record).clone() }
            })
            .collect();
        let mut change = self.begin(None)?;
        for ((planned, _), record) in results.iter().zip(&records) {
            change.is_new(planned.id)?;
            let trial = planned.id.0.cast_signed();
            let mut row = row_of(record)?;
            let console =
                record.console.as_ref().map(|console| (console.len() as i64, pack(console.as_bytes())));
            row.console = console.as_ref().map(|(bytes, zlib)| self.sums.console(trial, *bytes, zlib));
            let error = sqlite("record in", &self.path);
            let Change { transaction, tally, .. } = &mut change;
            let sum = insert_result(transaction, &self.sums, planned.id, planned.stratum, &row);
            tally.add_result(sum.map_err(&error)?);
            if let Some((bytes, zlib)) = &console {
                let sql = "INSERT INTO console VALUES (?1, ?2, ?3)";
                let mut statement = transaction.prepare_cached(sql).map_err(&error)?;
                statement.execute(params![trial, bytes, zlib]).map_err(&error)?;
            }
        }
        change.commit()
    }

    /// Records that the laboratory lost a trial: QEMU died, a socket was lost. After as many times as the
    /// specification says the trial is `infra`.
    ///
    /// # Errors
    /// The trial has a result already; the disk is full. Nothing is changed then.
    pub fn fail(&mut self, id: TrialId, error: &str) -> Result<Recorded, StoreError> {
        let planned = self.planned(id)?;
        self.lose(&planned, error, None)
    }

    /// Takes back the results of trials: they are pending again. For results that turned out not to be
    /// believed.
    ///
    /// # Errors
    /// The file cannot be written. Nothing is changed then.
    pub fn take_back(&mut self, ids: &[TrialId]) -> Result<(), StoreError> {
        self.begin(None)?.change(|transaction, tally| {
            ids.iter().try_for_each(|id| remove_result(transaction, tally, id.0.cast_signed()))
        })
    }

    fn lose(
        &mut self,
        planned: &PlannedTrial,
        cause: &str,
        record: Option<&TrialRecord>,
    ) -> Result<Recorded, StoreError> {
        let id = planned.id;
        let (allowed, lost) = (self.spec.trial.attempts, self.lost_attempts(id) + 1);
        let record = record.map(json);
        let recorded = self.begin(Some(id))?.change(|transaction, tally| {
            let text = |text: &str| Value::Text(text.to_owned());
            let values = [
                Value::Integer(id.0.cast_signed()),
                Value::Integer(Timestamp::now().as_millisecond()),
                text(cause),
                record.as_deref().map_or(Value::Null, text),
            ];
            tally.add_attempt(insert_attempt(transaction, &self.sums, &values)?);
            if lost < allowed {
                return Ok(Recorded::Again(allowed - lost));
            }
            let row = Row::given_up(cause, lost);
            tally.add_result(insert_result(transaction, &self.sums, id, planned.stratum, &row)?);
            Ok(Recorded::GivenUp)
        })?;
        self.lost.insert(id, lost);
        Ok(recorded)
    }

    /// How often the laboratory has lost a trial.
    fn lost_attempts(&self, id: TrialId) -> u32 {
        self.lost.get(&id).copied().unwrap_or(0)
    }

    /// Begins a change; of a trial, one that has no result.
    pub(super) fn begin(&self, id: Option<TrialId>) -> Result<Change<'_>, StoreError> {
        self.check_writable()?;
        let error = sqlite("record in", &self.path);
        let transaction =
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(&error)?;
        let tally = self.tally()?.ok_or_else(|| self.damaged("the count of its results"))?;
        let change = Change { store: self, transaction, tally };
        id.map_or(Ok(()), |id| change.is_new(id))?;
        Ok(change)
    }
}

/// A change of what is recorded, with the tally. It is made wholly or not at all, and noted.
pub(super) struct Change<'a> {
    store: &'a Store,
    transaction: Transaction<'a>,
    pub(super) tally: Tally,
}

impl Change<'_> {
    /// Makes it.
    fn change<T>(
        mut self,
        how: impl FnOnce(&Connection, &mut Tally) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let error = sqlite("record in", &self.store.path);
        let made = how(&self.transaction, &mut self.tally).map_err(error)?;
        self.commit()?;
        Ok(made)
    }

    /// Refuses a trial that has a result.
    fn is_new(&self, id: TrialId) -> Result<(), StoreError> {
        let has = self
            .transaction
            .prepare_cached("SELECT 1 FROM result WHERE trial = ?1")
            .and_then(|mut statement| statement.exists([id.0.cast_signed()]));
        match has.map_err(sqlite("record in", &self.store.path))? {
            true => Err(StoreError::Duplicate(id)),
            false => Ok(()),
        }
    }

    /// What is changed.
    pub(super) fn connection(&self) -> &Connection {
        &self.transaction
    }

    /// Ends it, when all was written.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let error = sqlite("record in", &self.store.path);
        self.tally.changes += 1;
        self.tally.write(&self.transaction, &self.store.sums).map_err(&error)?;
        self.transaction.commit().map_err(&error)?;
        match &self.store.lock {
            Some(lock) => lock.note(Note::of(&self.tally)),
            None => Ok(()),
        }
    }
}

/// Removes a result and its console.
pub(super) fn remove_result(conn: &Connection, tally: &mut Tally, trial: i64) -> rusqlite::Result<()> {
    let sum = conn
        .prepare_cached("SELECT sum FROM result WHERE trial = ?1")?
        .query_row([trial], |row| row.get::<_, Sum>(0))
        .optional()?;
    if let Some(sum) = sum {
        tally.take_result(sum);
    }
    for sql in ["DELETE FROM console WHERE trial = ?1", "DELETE FROM result WHERE trial = ?1"] {
        conn.prepare_cached(sql)?.execute([trial])?;
    }
    Ok(())
}
