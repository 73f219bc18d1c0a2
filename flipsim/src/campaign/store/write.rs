//! What is written into a store.
//!
//! Invariant: **a trial has one result at most**, and what was recorded is there after a SIGKILL.

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::campaign::plan::{PlannedTrial, TrialId};
use crate::campaign::store::encode::{json, pack, signed, word};
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::open::Store;
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
        let planned = self.planned(id)?;
        for (same, what) in [
            (record.plan == planned.plan, "the fault or its time"),
            (record.template == self.manifest.template, "the template"),
        ] {
            if !same {
                return Err(StoreError::OtherTrial { id, what });
            }
        }
        if record.outcome == Some(Outcome::Infra) {
            let error = record.lost_because();
            return self.lose(&planned, &error, Some(record));
        }
        // Of the times before only the store knows.
        let lost = lost_attempts(&self.conn, id).map_err(sqlite("read", &self.path))?;
        let record = &TrialRecord { attempts: lost + 1, ..record.clone() };
        let row = row_of(record)?;
        let console = record.console.as_ref().map(|console| pack(console.as_bytes()));
        let transaction = self.begin(id)?;
        let error = sqlite("record in", &self.path);
        let written = || -> rusqlite::Result<()> {
            insert_result(&transaction, id, planned.stratum, &row)?;
            if let (Some(text), Some(zlib)) = (&record.console, &console) {
                let sql = "INSERT INTO console VALUES (?1, ?2, ?3)";
                transaction.prepare_cached(sql)?.execute(params![
                    id.0.cast_signed(),
                    text.len() as i64,
                    zlib
                ])?;
            }
            Ok(())
        };
        written().map_err(&error)?;
        transaction.commit().map_err(&error)?;
        Ok(Recorded::Done)
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
        self.check_writable()?;
        let error = sqlite("take results back in", &self.path);
        let transaction =
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(&error)?;
        let taken = || -> rusqlite::Result<()> {
            for id in ids {
                for sql in ["DELETE FROM console WHERE trial = ?1", "DELETE FROM result WHERE trial = ?1"] {
                    transaction.prepare_cached(sql)?.execute([id.0.cast_signed()])?;
                }
            }
            Ok(())
        };
        taken().map_err(&error)?;
        transaction.commit().map_err(&error)
    }

    fn lose(
        &mut self,
        planned: &PlannedTrial,
        cause: &str,
        record: Option<&TrialRecord>,
    ) -> Result<Recorded, StoreError> {
        let id = planned.id.0.cast_signed();
        let allowed = self.spec.trial.attempts;
        let record = record.map(json);
        let transaction = self.begin(planned.id)?;
        let written = || -> rusqlite::Result<Recorded> {
            let now = Timestamp::now().as_millisecond();
            let sql = "INSERT INTO attempt (trial, recorded_ms, error, record) VALUES (?1, ?2, ?3, ?4)";
            transaction.prepare_cached(sql)?.execute(params![id, now, cause, record])?;
            let lost = lost_attempts(&transaction, planned.id)?;
            if lost < allowed {
                return Ok(Recorded::Again(allowed - lost));
            }
            let row = Row {
                outcome: Some(Outcome::Infra.name()),
                error: Some(cause),
                attempts: lost,
                ..Row::default()
            };
            insert_result(&transaction, planned.id, planned.stratum, &row)?;
            Ok(Recorded::GivenUp)
        };
        let error = sqlite("record in", &self.path);
        let recorded = written().map_err(&error)?;
        transaction.commit().map_err(&error)?;
        Ok(recorded)
    }

    /// A transaction in which the trial has no result.
    pub(super) fn begin(&self, id: TrialId) -> Result<Transaction<'_>, StoreError> {
        self.check_writable()?;
        let error = sqlite("record in", &self.path);
        let transaction =
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(&error)?;
        let has = transaction
            .prepare_cached("SELECT 1 FROM result WHERE trial = ?1")
            .and_then(|mut statement| statement.exists([id.0.cast_signed()]));
        if has.map_err(&error)? { Err(StoreError::Duplicate(id)) } else { Ok(transaction) }
    }
}

/// What a row of `result` says beside trial and stratum.
#[derive(Default)]
pub(super) struct Row<'a> {
    outcome: Option<&'a str>,
    flip_ns: Option<i64>,
    end_ns: Option<i64>,
    end: Option<String>,
    converged_ns: Option<i64>,
    detected_ns: Option<i64>,
    console_differs_ns: Option<i64>,
    report: Option<String>,
    title: Option<&'a str>,
    region: Option<&'a str>,
    symbol: Option<&'a str>,
    error: Option<&'a str>,
    output_only: Option<bool>,
    restore: Option<String>,
    attempts: u32,
    total_us: Option<i64>,
    record: Option<String>,
}

pub(super) fn row_of(record: &TrialRecord) -> Result<Row<'_>, StoreError> {
    let time = |time: Option<u64>| time.map(|time| signed("the time", time)).transpose();
    Ok(Row {
        outcome: record.outcome.map(Outcome::name),
        flip_ns: time(Some(record.flip_ns))?,
        end_ns: time(Some(record.end_ns))?,
        end: record.end.as_ref().map(word),
        converged_ns: time(record.converged_ns)?,
        detected_ns: time(record.detected_ns)?,
        console_differs_ns: time(record.console_differs_ns)?,
        report: record.kind.as_ref().map(word),
        title: record.title.as_deref(),
        region: record.region.as_deref(),
        symbol: record.symbol.as_deref(),
        error: record.error.as_deref(),
        output_only: Some(record.output_only),
        restore: Some(word(&record.restore)),
        attempts: record.attempts,
        total_us: time(Some(record.costs.total_us))?,
        record: Some(json(&TrialRecord { console: None, ..record.clone() })),
    })
}

pub(super) fn insert_result(
    conn: &Connection,
    id: TrialId,
    stratum: u32,
    row: &Row<'_>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO result VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
               ?16, ?17, ?18, ?19, ?20)";
    conn.prepare_cached(sql)?.execute(params![
        id.0.cast_signed(),
        stratum,
        row.outcome,
        Timestamp::now().as_millisecond(),
        row.flip_ns,
        row.end_ns,
        row.end,
        row.converged_ns,
        row.detected_ns,
        row.console_differs_ns,
        row.report,
        row.title,
        row.region,
        row.symbol,
        row.error,
        row.output_only,
        row.restore,
        row.attempts,
        row.total_us,
        row.record,
    ])?;
    Ok(())
}

/// How often the laboratory has lost a trial.
fn lost_attempts(conn: &Connection, id: TrialId) -> rusqlite::Result<u32> {
    let sql = "SELECT count(*) FROM attempt WHERE trial = ?1";
    conn.prepare_cached(sql)?.query_row([id.0.cast_signed()], |row| row.get(0))
}
