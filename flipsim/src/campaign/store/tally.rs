//! How many results and lost attempts there are, and the checksums of all of them together: by that, one that is not
//! there any more is missed.
//!
//! Invariant: **whatever changes `result` or `attempt` changes the tally in the same transaction**, and counts one
//! change more; changes are never taken back.

use rusqlite::{Connection, OptionalExtension, params};

use crate::campaign::store::sums::{Fold, Sum, Sums};

/// What is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How often something was recorded, or taken back.
    pub(super) changes: u64,
    /// How many results there are.
    pub(super) results: u64,
    /// How many attempts were lost.
    pub(super) attempts: u64,
    /// Of the results.
    pub(super) of_results: Fold,
    /// Of the lost attempts.
    pub(super) of_attempts: Fold,
}

impl Tally {
    /// As it is stored; `None` where its row is missing or damaged.
    pub(super) fn read(conn: &Connection, sums: &Sums) -> rusqlite::Result<Option<Tally>> {
        let sql = "SELECT changes, results, attempts, of_results, of_attempts, sum FROM tally";
        let mut statement = conn.prepare_cached(sql)?;
        let row = statement.query_row([], |row| {
            let numbers: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
            let folds: [[u8; 16]; 3] = [row.get(3)?, row.get(4)?, row.get(5)?];
            Ok((numbers, folds))
        });
        // A row that cannot be what it is to be is damaged as well.
        let found = match row.optional() {
            Err(rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..)) => {
                None
            }
            other => other?,
        };
        let Some((numbers, [of_results, of_attempts, sum])) = found else { return Ok(None) };
        if sums.tally(numbers, [&of_results, &of_attempts]) != sum {
            return Ok(None);
        }
        let [changes, results, attempts] = numbers.map(i64::cast_unsigned);
        let (of_results, of_attempts) = (Fold::of(of_results), Fold::of(of_attempts));
        Ok(Some(Tally { changes, results, attempts, of_results, of_attempts }))
    }

    /// Stores it in the place of what is there.
    pub(super) fn write(&self, conn: &Connection, sums: &Sums) -> rusqlite::Result<()> {
        let numbers = [self.changes, self.results, self.attempts].map(u64::cast_signed);
        let (of_results, of_attempts) = (self.of_results.bytes(), self.of_attempts.bytes());
        let sum = sums.tally(numbers, [&of_results, &of_attempts]);
        let sql = "INSERT OR REPLACE INTO tally VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
        let [changes, results, attempts] = numbers;
        let row = params![changes, results, attempts, of_results, of_attempts, sum];
        conn.prepare_cached(sql)?.execute(row).map(drop)
    }

    pub(super) fn add_result(&mut self, sum: Sum) {
        self.results += 1;
        self.of_results.add(sum);
    }

    pub(super) fn take_result(&mut self, sum: Sum) {
        self.results = self.results.saturating_sub(1);
        self.of_results.take(sum);
    }

    pub(super) fn add_attempt(&mut self, sum: Sum) {
        self.attempts += 1;
        self.of_attempts.add(sum);
    }
}
