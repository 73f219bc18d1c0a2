//! Bringing a file of an older version to the newest one; one without checksums gets them.
//!
//! The caller has compared it with itself: **what contradicts itself is not sealed**.
//!
//! Invariant: it is brought up to date wholly, or stays as it is.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::schema;
use crate::campaign::store::seal::Made;
use crate::campaign::store::sums::{Sums, refs};
use crate::campaign::store::tally::Tally;

/// How many rows are read before they are written.
const PAGE: usize = 1000;

/// Upgrades an open file, which was checked; no other process writes.
///
/// `from` is its version: rows that have checksums keep them.
pub(super) fn upgrade(conn: &mut Connection, path: &Path, sums: &Sums, from: i64) -> Result<(), StoreError> {
    let error = sqlite("upgrade", path);
    let transaction = schema::upgrading(conn).map_err(&error)?;
    if from >= schema::CHECKED {
        return transaction.commit().map_err(&error);
    }
    let mut tally = Tally::default();
    let fill = |tally: &mut Tally| -> rusqlite::Result<()> {
        results(&transaction, sums, tally)?;
        attempts(&transaction, sums, tally)?;
        tally.changes = tally.results + tally.attempts;
        tally.write(&transaction, sums)?;
        Made::read(&transaction)?.write(&transaction)
    };
    fill(&mut tally).map_err(&error)?;
    transaction.commit().map_err(&error)
}

fn results(conn: &Connection, sums: &Sums, tally: &mut Tally) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT r.*, c.bytes, c.zlib FROM result r LEFT JOIN console c USING (trial) \
         WHERE trial > ?1 ORDER BY trial LIMIT {PAGE}"
    );
    // The columns of version 2.
    const OLD: usize = 20;
    let mut after = i64::MIN;
    loop {
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query_map([after], |row| {
            let mut values = (0..OLD).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>()?;
            let trial: i64 = row.get(0)?;
            let console = match row.get::<_, Option<i64>>(OLD + 2)? {
                Some(bytes) => Some(sums.console(trial, bytes, row.get_ref(OLD + 3)?.as_blob()?)),
                None => None,
            };
            values.push(console.map_or(Value::Null, |sum| Value::Blob(sum.to_vec())));
            Ok((trial, console, sums.result(refs(&values))))
        })?;
        let page = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        for (trial, console, sum) in &page {
            let sql = "UPDATE result SET console = ?2, sum = ?3 WHERE trial = ?1";
            conn.prepare_cached(sql)?.execute(params![trial, console, sum])?;
            tally.add_result(*sum);
        }
        match page.last() {
            Some((last, ..)) if page.len() == PAGE => after = *last,
            _ => return Ok(()),
        }
    }
}

fn attempts(conn: &Connection, sums: &Sums, tally: &mut Tally) -> rusqlite::Result<()> {
    let mut statement =
        conn.prepare("SELECT id, trial, recorded_ms, error, record FROM attempt ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        let values = (1..5).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>()?;
        Ok((row.get::<_, i64>(0)?, sums.attempt(refs(&values))))
    })?;
    for (id, sum) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        conn.prepare_cached("UPDATE attempt SET sum = ?2 WHERE id = ?1")?.execute(params![id, sum])?;
        tally.add_attempt(sum);
    }
    Ok(())
}
