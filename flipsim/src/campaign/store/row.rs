//! A row of `result` and one of `attempt`: their columns, what they take from a record, and their checksums.
//!
//! Invariant: **every row that is written has its checksum**, and the columns of a result follow from its record.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::campaign::plan::TrialId;
use crate::campaign::store::encode::{json, signed, word};
use crate::campaign::store::error::StoreError;
use crate::campaign::store::sums::{Sum, Sums, refs};
use crate::trial::{Outcome, TrialRecord};

/// The columns of a result in their order, with its checksum at the end; as `r`.
pub(super) const RESULT: &str = "r.trial, r.stratum, r.outcome, r.recorded_ms, r.flip_ns, r.end_ns, r.end, \
    r.converged_ns, r.detected_ns, r.console_differs_ns, r.report, r.title, r.region, r.symbol, r.error, \
    r.output_only, r.restore, r.attempts, r.total_us, r.record, r.console, r.sum";

/// How many of them are in the checksum.
pub(super) const SUMMED: usize = 21;

/// Where its record is, where the checksum of its console, where its own.
pub(super) const RECORD: usize = 19;
pub(super) const CONSOLE: usize = 20;
pub(super) const SUM: usize = 21;

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
    pub(super) console: Option<Sum>,
}

impl<'a> Row<'a> {
    /// Of a trial that the laboratory lost so often, the last time for this reason.
    pub(super) fn given_up(error: &'a str, attempts: u32) -> Self {
        Row { outcome: Some(Outcome::Infra.name()), error: Some(error), attempts, ..Row::default() }
    }

    /// All columns of `result` but the checksum, in their order.
    pub(super) fn values(&self, id: TrialId, stratum: u32, recorded_ms: i64) -> Vec<Value> {
        let number = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
        let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
        let values = vec![
            Value::Integer(id.0.cast_signed()),
            Value::Integer(stratum.into()),
            text(self.outcome),
            Value::Integer(recorded_ms),
            number(self.flip_ns),
            number(self.end_ns),
            text(self.end.as_deref()),
            number(self.converged_ns),
            number(self.detected_ns),
            number(self.console_differs_ns),
            text(self.report.as_deref()),
            text(self.title),
            text(self.region),
            text(self.symbol),
            text(self.error),
            number(self.output_only.map(i64::from)),
            text(self.restore.as_deref()),
            Value::Integer(self.attempts.into()),
            number(self.total_us),
            text(self.record.as_deref()),
            self.console.map_or(Value::Null, |sum| Value::Blob(sum.to_vec())),
        ];
        debug_assert_eq!(values.len(), SUMMED);
        values
    }

    /// The columns that follow from a record, by their place; the record itself is not among them.
    pub(super) fn columns(&self) -> impl Iterator<Item = (usize, Value)> {
        let derived = |at: &usize| *at == 2 || (4..RECORD).contains(at);
        self.values(TrialId(0), 0, 0).into_iter().enumerate().filter(move |(at, _)| derived(at))
    }
}

/// The row of a record.
pub(super) fn row_of(record: &TrialRecord) -> Result<Row<'_>, StoreError> {
    let text = json(&TrialRecord { console: None, ..record.clone() });
    Ok(Row { record: Some(text), ..derived(record)? })
}

/// The same without the record itself.
pub(super) fn derived(record: &TrialRecord) -> Result<Row<'_>, StoreError> {
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
        record: None,
        console: None,
    })
}

pub(super) fn insert_result(
    conn: &Connection,
    sums: &Sums,
    id: TrialId,
    stratum: u32,
    row: &Row<'_>,
) -> rusqlite::Result<Sum> {
    insert_summed(conn, sums, &row.values(id, stratum, Timestamp::now().as_millisecond()))
}

/// Inserts a result by all its columns but the checksum, which is returned.
pub(super) fn insert_summed(conn: &Connection, sums: &Sums, values: &[Value]) -> rusqlite::Result<Sum> {
    let sum = sums.result(refs(values));
    let sql = "INSERT INTO result VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
               ?16, ?17, ?18, ?19, ?20, ?21, ?22)";
    let all = values.iter().cloned().chain([Value::Blob(sum.to_vec())]);
    conn.prepare_cached(sql)?.execute(params_from_iter(all))?;
    Ok(sum)
}

/// Inserts a lost attempt by its columns `trial`, `recorded_ms`, `error`, `record`; it is numbered here.
pub(super) fn insert_attempt(conn: &Connection, sums: &Sums, values: &[Value]) -> rusqlite::Result<Sum> {
    let sum = sums.attempt(refs(values));
    let sql = "INSERT INTO attempt (trial, recorded_ms, error, record, sum) VALUES (?1, ?2, ?3, ?4, ?5)";
    let all = values.iter().cloned().chain([Value::Blob(sum.to_vec())]);
    conn.prepare_cached(sql)?.execute(params_from_iter(all))?;
    Ok(sum)
}
