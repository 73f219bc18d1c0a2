//! The tables of a campaign's file, and how an older file becomes a newer one.
//!
//! A file that is only read cannot be changed. It is read through temporary views ([`read_older`]) that show an
//! older table as the newest version has it, so that all queries know the newest version alone.
//!
//! Invariant: a step that was released is never changed; a new version is a new step behind it, and what a reader
//! sees of an older file in its place. The view `trials` is derived from the tables: [`VIEW`] is its only newest
//! form, and is made again after the last step.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// What SQLite's header says of files that are campaigns: `FLIP`.
pub const APPLICATION_ID: i64 = 0x464C_4950;

/// From nothing to version 1, from there to version 2, and so on.
const STEPS: &[&str] = &[V1, V2, V3, V4, V5, V6];

/// The version that this program writes, and reads.
pub const VERSION: i64 = STEPS.len() as i64;

const V1: &str = "
-- One value each: format, manifest, spec, plan.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE stratum (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    targets TEXT NOT NULL,
    faults  INTEGER NOT NULL,
    times   INTEGER NOT NULL,
    trials  INTEGER NOT NULL
) STRICT;

-- The plan. Written once.
CREATE TABLE trial (
    id       INTEGER PRIMARY KEY,
    stratum  INTEGER NOT NULL REFERENCES stratum,
    at_ns    INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    address  INTEGER,
    register TEXT,
    bit      INTEGER,
    mask     TEXT NOT NULL,
    back_ns  INTEGER
) STRICT;

CREATE TABLE result (
    trial              INTEGER PRIMARY KEY REFERENCES trial,
    stratum            INTEGER NOT NULL REFERENCES stratum,
    outcome            TEXT,
    recorded_ms        INTEGER NOT NULL,
    flip_ns            INTEGER,
    end_ns             INTEGER,
    end                TEXT,
    converged_ns       INTEGER,
    detected_ns        INTEGER,
    console_differs_ns INTEGER,
    report             TEXT,
    title              TEXT,
    region             TEXT,
    symbol             TEXT,
    error              TEXT,
    output_only        INTEGER,
    restore            TEXT,
    attempts           INTEGER NOT NULL,
    total_us           INTEGER,
    record             TEXT
) STRICT;

-- Has all that a summary asks for.
CREATE INDEX result_summary ON result (stratum, outcome, recorded_ms, total_us);

CREATE TABLE console (
    trial INTEGER PRIMARY KEY REFERENCES result,
    bytes INTEGER NOT NULL,
    zlib  BLOB NOT NULL
) STRICT;

-- Trials that the laboratory lost.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    trial       INTEGER NOT NULL REFERENCES trial,
    recorded_ms INTEGER NOT NULL,
    error       TEXT NOT NULL,
    record      TEXT
) STRICT;
CREATE INDEX attempt_trial ON attempt (trial);

CREATE TABLE attachment (
    name  TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    zlib  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What people ask: a row for each trial of the plan, with its result if it has one.
CREATE VIEW trials AS
SELECT t.id, s.name AS stratum, t.at_ns, t.kind, t.address, t.register, t.bit, t.mask,
       r.trial IS NOT NULL AS done, r.outcome, r.flip_ns, r.end_ns, r.end, r.converged_ns, r.detected_ns,
       r.console_differs_ns, r.report, r.title, r.region, r.symbol, r.error, r.output_only, r.restore,
       r.attempts, r.total_us, r.recorded_ms,
       r.record ->> '$.costs.restore_us' AS restore_us, r.record ->> '$.costs.walk_us' AS walk_us,
       r.record ->> '$.costs.mark_us' AS mark_us, r.record ->> '$.costs.run_us' AS run_us,
       r.record ->> '$.costs.compare_us' AS compare_us
  FROM trial t
  JOIN stratum s ON s.id = t.stratum
  LEFT JOIN result r ON r.trial = t.id;
";

const V2: &str = "
ALTER TABLE trial ADD COLUMN operation TEXT NOT NULL DEFAULT 'flip';
";

/// The indexes go, as each is a second copy that no checksum covers.
const V3: &str = "
ALTER TABLE result ADD COLUMN console BLOB;
ALTER TABLE result ADD COLUMN sum BLOB;
ALTER TABLE attempt ADD COLUMN sum BLOB;
DROP INDEX result_summary;
DROP INDEX attempt_trial;
-- One row: how many there are, and their checksums together.
CREATE TABLE tally (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    changes     INTEGER NOT NULL,
    results     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    of_results  BLOB NOT NULL,
    of_attempts BLOB NOT NULL,
    sum         BLOB NOT NULL
) STRICT;
";

/// No table is another one. A campaign may have grown: `stages` is in `meta` then, and the checksums of its rows go by the
/// digest of the plan that it began with. A program that does not know this must not take such a file for a damaged one.
const V4: &str = "SELECT 1;";

/// Further faults of a trial, in JSON; empty where it has one alone.
const V5: &str = "
ALTER TABLE trial ADD COLUMN more TEXT NOT NULL DEFAULT '';
";

/// What error-correcting memory makes of a trial; empty where the guest has none.
const V6: &str = "
ALTER TABLE trial ADD COLUMN ecc TEXT NOT NULL DEFAULT '';
";

/// The first version whose rows have checksums.
pub const CHECKED: i64 = 3;

/// What people ask: a row for each trial of the plan, with its result if it has one.
const VIEW: &str = "trials AS
SELECT t.id, s.name AS stratum, t.at_ns, t.kind, t.address, t.register, t.bit, t.mask, t.operation, t.more, t.ecc,
       r.trial IS NOT NULL AS done, r.outcome, r.record ->> '$.because.rule' AS because, r.flip_ns, r.end_ns,
       r.end, r.converged_ns, r.detected_ns,
       r.console_differs_ns, r.report, r.title, r.region, r.symbol, r.error, r.output_only, r.restore,
       r.attempts, r.total_us, r.recorded_ms,
       r.record ->> '$.costs.restore_us' AS restore_us, r.record ->> '$.costs.walk_us' AS walk_us,
       r.record ->> '$.costs.mark_us' AS mark_us, r.record ->> '$.costs.run_us' AS run_us,
       r.record ->> '$.costs.compare_us' AS compare_us
  FROM trial t
  JOIN stratum s ON s.id = t.stratum
  LEFT JOIN result r ON r.trial = t.id;
";

/// For a reader of a file of version 1: its table `trial` as version 2 has it.
const V1_READ: &str = "
CREATE TEMP VIEW trial AS
SELECT id, stratum, at_ns, kind, address, register, bit, mask, back_ns, 'flip' AS operation, '' AS more, '' AS ecc
  FROM main.trial;
";

/// For a reader of a file of version 2 to 4: its table `trial` as version 6 has it.
const V2_TO_4_READ: &str = "
CREATE TEMP VIEW trial AS SELECT *, '' AS more, '' AS ecc FROM main.trial;
";

/// The same of version 5.
const V5_READ: &str = "
CREATE TEMP VIEW trial AS SELECT *, '' AS ecc FROM main.trial;
";

/// For a reader of a file before checksums: tables as version 3 has them.
const V2_READ: &str = "
CREATE TEMP VIEW result AS SELECT *, NULL AS console, NULL AS sum FROM main.result;
CREATE TEMP VIEW attempt AS SELECT *, NULL AS sum FROM main.attempt;
CREATE TEMP VIEW tally AS SELECT 1 AS id, 0 AS changes, 0 AS results, 0 AS attempts, NULL AS of_results,
    NULL AS of_attempts, NULL AS sum WHERE 0;
";

/// Has a connection that only reads see a file of an older version as if it had the newest one.
pub fn read_older(conn: &Connection, version: i64) -> rusqlite::Result<()> {
    if version >= VERSION {
        return Ok(());
    }
    // There may be no place where a file can be written.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.execute_batch(match version {
        ..2 => V1_READ,
        2..5 => V2_TO_4_READ,
        _ => V5_READ,
    })?;
    if version < CHECKED {
        conn.execute_batch(V2_READ)?;
    }
    conn.execute_batch(&format!("CREATE TEMP VIEW {VIEW}"))
}

/// Makes an empty file as version 1 was, to test with.
#[cfg(test)]
pub fn first_version(conn: &mut Connection) {
    migrate_by(conn, &[V1]).expect("an empty file takes the first tables");
}

/// Makes an empty file as version 2 was, to test with.
#[cfg(test)]
pub fn second_version(conn: &mut Connection) {
    migrate_by(conn, &[V1, V2]).expect("an empty file takes the tables of version 2");
}

/// Makes an empty file as version 3 was, to test with.
#[cfg(test)]
pub fn third_version(conn: &mut Connection) {
    migrate_by(conn, &[V1, V2, V3]).expect("an empty file takes the tables of version 3");
}

/// The version of an open file.
pub fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether a file says that it is a campaign.
pub fn is_campaign(conn: &Connection) -> rusqlite::Result<bool> {
    let id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(id == APPLICATION_ID)
}

/// Brings an empty file to the newest version.
pub fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    migrate_by(conn, STEPS)
}

/// A transaction in which a file has the newest version; the caller looks after what is in its tables, and commits.
pub fn upgrading(conn: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    upgrading_by(conn, STEPS)
}

fn migrate_by(conn: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    if version(conn)? >= steps.len() as i64 {
        return Ok(());
    }
    upgrading_by(conn, steps)?.commit()
}

fn upgrading_by<'a>(conn: &'a mut Connection, steps: &[&str]) -> rusqlite::Result<Transaction<'a>> {
    let from = usize::try_from(version(conn)?).unwrap_or(0);
    let transaction: Transaction<'_> = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[from.min(steps.len())..] {
        transaction.execute_batch(step)?;
    }
    transaction.execute_batch(&format!("DROP VIEW IF EXISTS trials; CREATE VIEW {VIEW}"))?;
    transaction.execute("UPDATE meta SET value = ?1 WHERE key = 'format'", [steps.len().to_string()])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as i64)?;
    Ok(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of a table or view that has no rows.
    fn columns(conn: &Connection, of: &str) -> Vec<String> {
        let mut found = conn.prepare(&format!("SELECT * FROM {of}")).unwrap();
        let names = found.column_names().map(str::to_owned).collect();
        assert!(found.query([]).unwrap().next().unwrap().is_none());
        names
    }

    #[test]
    fn an_older_file_looks_to_its_reader_as_it_would_to_its_writer() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate(&mut new).unwrap();
        for version in 1..STEPS.len() {
            let mut old = Connection::open_in_memory().unwrap();
            migrate_by(&mut old, &STEPS[..version]).unwrap();
            read_older(&old, version as i64).unwrap();
            for table in
                ["meta", "stratum", "trial", "result", "console", "attempt", "attachment", "tally", "trials"]
            {
                assert_eq!(columns(&old, table), columns(&new, table), "{table} of version {version}");
            }
        }
    }

    const NEXT: &str = "ALTER TABLE meta ADD COLUMN note TEXT; UPDATE meta SET note = key;";

    #[test]
    fn an_older_file_becomes_a_newer_one_and_keeps_its_rows() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate_by(&mut conn, &[V1]).unwrap();
        conn.execute("INSERT INTO meta VALUES ('plan', 'x')", []).unwrap();
        migrate_by(&mut conn, &[V1, NEXT]).unwrap();
        assert_eq!(version(&conn).unwrap(), 2);
        let note: String = conn.query_row("SELECT note FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(note, "plan");
        // Once is enough.
        migrate_by(&mut conn, &[V1, NEXT]).unwrap();
        assert!(is_campaign(&conn).unwrap());
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate_by(&mut conn, &[V1]).unwrap();
        assert!(migrate_by(&mut conn, &[V1, NEXT, "nonsense"]).is_err());
        assert_eq!(version(&conn).unwrap(), 1);
        assert!(conn.prepare("SELECT note FROM meta").is_err());
    }
}
