//! Copies of a campaign that have less than all of it: its plan without results, to be run elsewhere, and a part of the
//! plan with its results, to be brought home.
//!
//! Invariants: **a part has its trials and no others**, by a digest that is compared at each opening; it is read, shown and
//! merged, and nothing is run by it. The same campaign gives the same copy without results, byte by byte.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::error::{StoreError, sqlite, system};
use super::schema;
use crate::campaign::plan::PlanDigest;
use crate::campaign::shard::{Part, Shard};
use crate::campaign::store::encode::json;
use crate::campaign::store::lock::Lock;
use crate::campaign::store::make::make_whole;
use crate::campaign::store::open::Store;
use crate::campaign::store::planned::{PLANNED, plan_line};
use crate::campaign::store::scan::Snapshot;
use crate::campaign::store::seal::PART;
use crate::campaign::store::tally::Tally;
use crate::files;

/// The columns of each table that a copy is made of.
const TABLES: [(&str, &str); 4] = [
    ("meta", "key, value"),
    ("attachment", "name, bytes, zlib"),
    ("stratum", "id, name, targets, faults, times, trials"),
    ("trial", "id, stratum, at_ns, kind, address, register, bit, mask, back_ns, operation, more, ecc"),
];

impl Store {
    /// Which part of its campaign this is; `None` where it is the whole of it.
    #[must_use]
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// Copies what was drawn to a new file, without results.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn copy_plan(&self, to: &Path) -> Result<(), StoreError> {
        let _lock = Lock::take(to)?;
        make_whole(to, |path| self.write_copy(path, Shard::WHOLE).map(drop))
    }

    /// Copies a part of the plan with its results to a new file; how many results these are.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written; a result is damaged.
    pub fn copy_part(&self, to: &Path, shard: Shard) -> Result<u64, StoreError> {
        let _lock = Lock::take(to)?;
        let mut count = 0;
        make_whole(to, |path| {
            let conn = self.write_copy(path, shard)?;
            let error = sqlite("write", to);
            let reading = sqlite("read", &self.path);
            let transaction = conn.unchecked_transaction().map_err(&error)?;
            let mut tally = Tally::default();
            self.scan(&mut |row| {
                let id: i64 = row.get(0).map_err(&reading)?;
                if shard.has_number(id.cast_unsigned()) {
                    self.copy_rows(&transaction, self, id, row, &mut tally)?;
                    count += 1;
                }
                Ok(())
            })?;
            tally.changes = count;
            tally.write(&transaction, &self.sums).map_err(&error)?;
            transaction.commit().map_err(&error)?;
            conn.close().map_err(|(_, cause)| error(cause))
        })?;
        Ok(count)
    }

    /// The slices, of so many, of which a trial has no result, with the number of these.
    ///
    /// # Errors
    /// The file cannot be read; a result is damaged.
    pub fn missing(&self, slices: u64) -> Result<Vec<(Shard, u64)>, StoreError> {
        let slices = slices.max(1);
        let error = sqlite("read", &self.path);
        let _view = Snapshot::new(&self.conn).map_err(&error)?;
        // What is damaged is not there.
        self.scan(&mut |_| Ok(()))?;
        let sql = "SELECT t.id % ?1, count(*) FROM trial t LEFT JOIN result r ON r.trial = t.id \
                   WHERE r.trial IS NULL GROUP BY 1 ORDER BY 1";
        let mut statement = self.conn.prepare(sql).map_err(&error)?;
        let rows = statement.query_map([slices.cast_signed()], |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
        });
        let rows = rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(&error)?;
        Ok(rows.into_iter().filter_map(|(at, count)| Some((Shard::of(at, slices)?, count))).collect())
    }

    /// Writes a new file with what was drawn of a part.
    fn write_copy(&self, path: &Path, shard: Shard) -> Result<Connection, StoreError> {
        let (error, reading) = (sqlite("write", path), sqlite("read", &self.path));
        // SQLite would follow a link of that name.
        files::make_new(path).map_err(system("write", path))?;
        let mut conn = Connection::open(path).map_err(&error)?;
        for (name, value) in [("journal_mode", "OFF"), ("synchronous", "OFF"), ("locking_mode", "EXCLUSIVE")]
        {
            conn.pragma_update(None, name, value).map_err(&error)?;
        }
        schema::migrate(&mut conn).map_err(&error)?;
        let transaction = conn.transaction().map_err(&error)?;
        let mut plan = PlanDigest::new(&self.strata, &self.stages);
        for (table, columns) in TABLES {
            let key = columns.split(',').next().unwrap_or(columns);
            let sql = if table == "trial" {
                let (with, from) = self.trials_of(shard);
                format!("{with} SELECT {columns} FROM {from} ORDER BY {key}")
            } else {
                format!("SELECT {columns} FROM {table} ORDER BY {key}")
            };
            let mut statement = self.conn.prepare(&sql).map_err(&reading)?;
            let count = statement.column_count();
            let places = vec!["?"; count].join(", ");
            let insert = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
            let mut rows = statement.query([]).map_err(&reading)?;
            while let Some(row) = rows.next().map_err(&reading)? {
                let values: Vec<Value> =
                    (0..count).map(|at| row.get(at)).collect::<rusqlite::Result<_>>().map_err(&reading)?;
                if matches!(values.first(), Some(Value::Text(key)) if table == "meta" && (key == PART || key == "format"))
                {
                    continue;
                }
                // A copy of the whole plan has the digest that the plan has.
                let is_of_part = table == "trial" && shard != Shard::WHOLE;
                if let (true, Some(Value::Integer(id))) = (is_of_part, values.first()) {
                    plan.add_line(&self.plan_line_of(*id)?.unwrap_or_default());
                }
                let insert = transaction.prepare_cached(&insert);
                insert.and_then(|mut insert| insert.execute(params_from_iter(values))).map_err(&error)?;
            }
        }
        let mut meta = vec![("format", schema::VERSION.to_string())];
        if shard != Shard::WHOLE {
            meta.push((PART, json(&Part { shard, plan: plan.finish() })));
        }
        for (key, value) in meta {
            transaction.execute("INSERT INTO meta VALUES (?1, ?2)", [key, &value]).map_err(&error)?;
        }
        Tally::default().write(&transaction, &self.sums).map_err(&error)?;
        transaction.commit().map_err(&error)?;
        Ok(conn)
    }

    /// The line of a trial for a plan's digest; `None` where this has no such trial.
    pub(super) fn plan_line_of(&self, id: i64) -> Result<Option<String>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!("SELECT {PLANNED} FROM trial t WHERE id = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let found = statement
            .query_row([id], |row| {
                let mut line = String::new();
                Ok(plan_line(row, &mut line).map(|()| line))
            })
            .optional()
            .map_err(&error)?;
        found.transpose().map_err(|why| self.damaged(format!("its plan: {why}")))
    }

    /// The first trial of a part that this campaign does not have, or has otherwise.
    pub(super) fn other_trial(&self, part: &Store) -> Result<Option<i64>, StoreError> {
        let error = sqlite("read", &part.path);
        let mut statement = part.conn.prepare("SELECT id FROM trial ORDER BY id").map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        while let Some(row) = rows.next().map_err(&error)? {
            let id = row.get(0).map_err(&error)?;
            if self.plan_line_of(id)? != part.plan_line_of(id)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create, record_next};
    use super::*;

    #[test]
    fn parts_have_their_trials_alone_and_make_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut store = create(&at("c.sqlite"), 40);
        record_next(&mut store, 25);
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].map(|text| text.parse().unwrap()).into();
        let parts: Vec<_> = ["1", "2", "3"].map(at).into();
        let counts: u64 =
            shards.iter().zip(&parts).map(|(shard, path)| store.copy_part(path, *shard).unwrap()).sum();
        assert_eq!(counts, 25);
        assert!(matches!(store.copy_part(&parts[0], shards[0]), Err(StoreError::Exists(_))));
        let part = Store::open_readonly(&parts[1]).unwrap();
        assert_eq!(part.part().map(|part| part.shard), Some(shards[1]));
        assert_eq!((part.seal(), part.plan_digest()), (store.seal(), store.plan_digest()));
        assert!(part.results().all(|row| shards[1].has(row.unwrap().trial.id)));
        // Nothing is run by it.
        assert!(matches!(Store::open(&parts[1]), Err(StoreError::IsPart { .. })));
        // Without results it is the campaign as it was drawn, and the same each time.
        for name in ["plan", "again"] {
            store.copy_plan(&at(name)).unwrap();
        }
        assert_eq!(std::fs::read(at("plan")).unwrap(), std::fs::read(at("again")).unwrap());
        let mut whole = Store::open(&at("plan")).unwrap();
        assert_eq!((whole.part(), whole.status().unwrap().done), (None, 0));
        let merged = whole.merge(&parts).unwrap();
        assert_eq!((merged.added, merged.same), (25, 0));
        let rows = |store: &Store| store.results().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(rows(&whole), rows(&store));
        // What is left, by slice.
        let missing = whole.missing(3).unwrap();
        assert_eq!(missing.iter().map(|(_, count)| count).sum::<u64>(), 15);
        for (shard, count) in missing {
            assert_eq!(whole.pending(shard).unwrap().len() as u64, count);
        }
        // A part again adds nothing.
        assert_eq!(whole.merge(&parts[..1]).unwrap().added, 0);
    }

    #[test]
    fn a_part_whose_trials_were_changed_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = create(&folder.path().join("c.sqlite"), 40);
        record_next(&mut store, 25);
        for (sql, name) in [
            ("DELETE FROM trial WHERE id = (SELECT max(id) FROM trial)", "fewer"),
            ("UPDATE trial SET at_ns = at_ns + 1 WHERE id = (SELECT max(id) FROM trial)", "later"),
            ("UPDATE meta SET value = replace(value, '2/3', '1/3') WHERE key = 'part'", "another"),
            ("DELETE FROM meta WHERE key = 'part'", "whole"),
        ] {
            let path = folder.path().join(name);
            store.copy_part(&path, "2/3".parse().unwrap()).unwrap();
            Connection::open(&path).unwrap().execute(sql, []).unwrap();
            let opened = Store::open_readonly(&path);
            assert!(matches!(opened, Err(StoreError::Damaged { .. })), "{name}: {opened:?}");
        }
    }
}
