//! What is damaged in a campaign's file, what of it can be kept, and a new file with that.
//!
//! Invariant: **the file that is looked at is not changed**: what is kept is copied into another one. A result is kept
//! when it is what was recorded; a trial without one is pending.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use serde::Serialize;

use crate::campaign::plan::TrialId;
use crate::campaign::store::error::{StoreError, sqlite, system};
use crate::campaign::store::lock::{Lock, Note};
use crate::campaign::store::make::make_whole;
use crate::campaign::store::open::Store;
use crate::campaign::store::row::{CONSOLE, RESULT, SUMMED, insert_attempt, insert_summed};
use crate::campaign::store::scan::Snapshot;
use crate::campaign::store::schema;
use crate::campaign::store::seal::Made;
use crate::campaign::store::sums::{Sum, refs};
use crate::campaign::store::tally::Tally;
use crate::files;

/// How many of SQLite's own findings are kept.
const LISTED: u32 = 20;

/// What is wrong with a campaign's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The version of the file; 0 where that is not known.
    pub format: i64,
    /// What of that from which the campaign was made, or of its plan, is damaged: then nothing is kept.
    pub origin: Option<String>,
    /// What SQLite says of the file's structure, where that is not right.
    pub structure: Vec<String>,
    /// How many trials are planned.
    pub trials: u64,
    /// How many results are what was recorded.
    pub kept: u64,
    /// The trials whose results, or their consoles, are damaged.
    pub damaged: Vec<TrialId>,
    /// How many results were recorded and are not there: it is not known of which trials.
    pub missing: u64,
    /// How many attempts that were lost are what was recorded.
    pub attempts: u64,
    /// How many of them are damaged, or missing.
    pub attempts_damaged: u64,
    /// What else is wrong, in words.
    pub others: Vec<String>,
}

impl Findings {
    /// Whether nothing is damaged or missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Findings { origin, structure, damaged, missing, attempts_damaged, others, .. } = self;
        origin.is_none()
            && structure.is_empty()
            && damaged.is_empty()
            && (*missing, *attempts_damaged) == (0, 0)
            && others.is_empty()
    }

    /// Whether its rows have checksums.
    #[must_use]
    pub fn has_checksums(&self) -> bool {
        self.format >= schema::CHECKED
    }
}

/// A result with its console as they are stored.
struct Whole {
    values: Vec<Value>,
    console: Option<(i64, Vec<u8>)>,
}

/// Looks at everything in a campaign's file.
///
/// # Errors
/// It is no campaign, or cannot be read at all.
pub fn check(path: &Path) -> Result<Findings, StoreError> {
    let mut findings = Findings::default();
    look(path, &mut findings).map(|_| findings)
}

/// As [`check`]; with the store, where what it was made from is not damaged.
fn look(path: &Path, findings: &mut Findings) -> Result<Option<Store>, StoreError> {
    let (store, note, head) = match Store::open_as_it_is(path) {
        Ok(opened) => opened,
        Err(StoreError::Damaged { what, .. }) => {
            findings.origin = Some(what);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    findings.others.extend(head);
    findings.format = store.format;
    findings.trials = store.len();
    let view = Snapshot::new(&store.conn).map_err(sqlite("read", path))?;
    findings.structure = structure(&store.conn);
    let tally = match store.tally() {
        Err(StoreError::Damaged { .. }) => {
            let what = "the count of its results is damaged: whether one is missing is not known";
            findings.others.push(what.to_owned());
            None
        }
        tally => tally?,
    };
    if findings.structure.is_empty() && store.verify().is_ok() {
        store.scan(&mut |_| {
            findings.kept += 1;
            Ok(())
        })?;
        store.scan_attempts(&mut |_| findings.attempts += 1)?;
    } else {
        for id in 0..store.len() {
            match store.whole(id.cast_signed()) {
                Ok(Some(_)) => findings.kept += 1,
                Ok(None) => {}
                Err(_) => findings.damaged.push(TrialId(id)),
            }
        }
        (findings.attempts, findings.attempts_damaged) = store.attempts_as_they_are(&mut |_| Ok(()))?;
    }
    if let Some(tally) = tally {
        let there = findings.kept + findings.damaged.len() as u64;
        findings.missing = tally.results.saturating_sub(there);
        let there = findings.attempts + findings.attempts_damaged;
        findings.attempts_damaged += tally.attempts.saturating_sub(there);
        if there > tally.attempts || findings.kept > tally.results {
            findings.others.push("more is there than was recorded".to_owned());
        }
        if let Some(note) = note.filter(|note| note.changes > tally.changes) {
            findings.missing += note.results.saturating_sub(tally.results).max(1);
            let name = path.display();
            findings
                .others
                .push(format!("the write-ahead log ({name}-wal) is missing, or a part of it is damaged"));
        }
        // Each row is right, and all together are not.
        if findings.is_whole() && store.verify().is_err() {
            findings.others.push("its results are not all that were recorded".to_owned());
        }
    }
    drop(view);
    Ok(Some(store))
}

/// What SQLite says of the structure of a file; nothing where all is right.
fn structure(conn: &Connection) -> Vec<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = conn.prepare(&format!("PRAGMA integrity_check({LISTED})"))?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    };
    match read() {
        Ok(lines) => lines.into_iter().filter(|line| line != "ok").collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// Copies what can be kept of a campaign to a new file, `to`. Trials whose results are damaged are pending there.
///
/// # Errors
/// What the campaign was made from, or its plan, is damaged; another process works on it; the name is taken.
pub fn repair(path: &Path, to: &Path) -> Result<Findings, StoreError> {
    let _source = Lock::take(&path.canonicalize().unwrap_or_else(|_| path.to_owned()))?;
    let mut findings = Findings::default();
    let Some(store) = look(path, &mut findings)? else {
        let what = findings.origin.unwrap_or_default();
        return Err(StoreError::NotRepaired { path: path.to_owned(), what });
    };
    let _lock = Lock::take(to)?;
    make_whole(to, |part| {
        store.keep(part)?;
        // What is handed out is what was kept.
        Store::open_readonly(part)?.verify()
    })?;
    Ok(findings)
}

impl Store {
    /// The result of a trial, if it is what was recorded; an error where it is damaged.
    fn whole(&self, trial: i64) -> Result<Option<Whole>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!("SELECT {RESULT} FROM result r WHERE r.trial = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let mut rows = statement.query([trial]).map_err(&error)?;
        let Some(row) = rows.next().map_err(&error)? else { return Ok(None) };
        self.check_row(row)?;
        self.check_columns(row).map_err(|why| self.damaged(why))?;
        let sum: Option<Sum> = row.get(CONSOLE).map_err(&error)?;
        let values = (0..SUMMED).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>();
        let mut whole = Whole { values: values.map_err(&error)?, console: None };
        if self.console_of(trial, sum)?.is_some() {
            let sql = "SELECT bytes, zlib FROM console WHERE trial = ?1";
            let stored = self.conn.query_row(sql, [trial], |row| Ok((row.get(0)?, row.get(1)?)));
            let (bytes, zlib): (i64, Vec<u8>) = stored.map_err(&error)?;
            whole.values[CONSOLE] = Value::Blob(self.sums.console(trial, bytes, &zlib).to_vec());
            whole.console = Some((bytes, zlib));
        }
        Ok(Some(whole))
    }

    /// Reads the attempts that were lost; `each` is given those that are what was recorded. How many these are, and
    /// how many are not.
    fn attempts_as_they_are(
        &self,
        each: &mut dyn FnMut(&[Value]) -> rusqlite::Result<()>,
    ) -> Result<(u64, u64), StoreError> {
        let error = sqlite("read", &self.path);
        let (mut kept, mut damaged) = (0, 0);
        let sql = "SELECT trial, recorded_ms, error, record, sum FROM attempt ORDER BY id";
        let mut statement = self.conn.prepare(sql).map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        // Behind a page that cannot be read there is nothing more.
        while let Ok(Some(row)) = rows.next() {
            let values = (0..4).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>();
            let values = values.map_err(&error)?;
            let sum = self.sums.attempt(refs(&values));
            let is_right = !self.has_checksums()
                || row.get_ref(4).map_err(&error)?.as_blob().is_ok_and(|stored| stored == sum);
            if is_right {
                each(&values).map_err(&error)?;
                kept += 1;
            } else {
                damaged += 1;
            }
        }
        Ok((kept, damaged))
    }

    /// Writes all that can be kept to a new file.
    fn keep(&self, part: &Path) -> Result<(), StoreError> {
        let (reading, writing) = (sqlite("read", &self.path), sqlite("write", part));
        files::make_new(part).map_err(system("write", part))?;
        let mut new = Connection::open(part).map_err(&writing)?;
        for (name, value) in [("journal_mode", "OFF"), ("synchronous", "OFF"), ("locking_mode", "EXCLUSIVE")]
        {
            new.pragma_update(None, name, value).map_err(&writing)?;
        }
        schema::migrate(&mut new).map_err(&writing)?;
        let transaction = new.transaction().map_err(&writing)?;
        for (table, filter, columns) in [
            ("meta", "WHERE key NOT IN ('format', 'seal')", 2),
            ("stratum", "", 6),
            ("trial", "", 12),
            ("attachment", "", 3),
        ] {
            let mut all = self.conn.prepare(&format!("SELECT * FROM {table} {filter}")).map_err(&reading)?;
            let marks = vec!["?"; columns].join(", ");
            let mut insert =
                transaction.prepare(&format!("INSERT INTO {table} VALUES ({marks})")).map_err(&writing)?;
            let mut rows = all.query([]).map_err(&reading)?;
            while let Some(row) = rows.next().map_err(&reading)? {
                let values = (0..columns).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>();
                insert.execute(params_from_iter(values.map_err(&reading)?)).map_err(&writing)?;
            }
        }
        let format = ["format", &schema::VERSION.to_string()];
        transaction.execute("INSERT INTO meta VALUES (?1, ?2)", format).map_err(&writing)?;
        let mut tally = Tally::default();
        for id in 0..self.len() {
            let Ok(Some(Whole { values, console })) = self.whole(id.cast_signed()) else { continue };
            tally.add_result(insert_summed(&transaction, &self.sums, &values).map_err(&writing)?);
            if let Some((bytes, zlib)) = console {
                let sql = "INSERT INTO console VALUES (?1, ?2, ?3)";
                transaction.execute(sql, params![id.cast_signed(), bytes, zlib]).map_err(&writing)?;
            }
        }
        self.attempts_as_they_are(&mut |values| {
            tally.add_attempt(insert_attempt(&transaction, &self.sums, values)?);
            Ok(())
        })?;
        tally.changes = tally.results + tally.attempts;
        tally.write(&transaction, &self.sums).map_err(&writing)?;
        Made::read(&transaction).and_then(|made| made.write(&transaction)).map_err(&writing)?;
        transaction.commit().map_err(&writing)?;
        new.close().map_err(|(_, cause)| writing(cause))
    }

    /// Opens a file to look at it although its head or its log is not right. What it was made from and its plan must
    /// be. Beside it, what was noted, and what is wrong with the head, in words.
    pub(super) fn open_as_it_is(path: &Path) -> Result<(Store, Option<Note>, Option<String>), StoreError> {
        let (note, head) = Store::head_of(path)?;
        let head = match head {
            Ok(()) => None,
            Err(StoreError::LogMissing { missing: None, .. }) => Some(format!(
                "it was not closed in order, and its write-ahead log ({}-wal) is missing",
                path.display()
            )),
            Err(StoreError::Damaged { what, .. }) => Some(format!("{what} is damaged")),
            Err(error) => return Err(error),
        };
        Ok((Store::read(path)?, note, head))
    }
}
