//! A store that is open: its file, and what is written into it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::campaign::plan::{Plan, PlanDigest, PlannedTrial, Stratum, TrialId};
use crate::campaign::spec::CampaignSpec;
use crate::campaign::store::error::sqlite;
use crate::campaign::store::error::{Change, StoreError};
use crate::campaign::store::lock::{Lock, beside};
use crate::campaign::store::make::{put_in_place, remove, write_plan};
use crate::campaign::store::schema;
use crate::fault::Fault;
use crate::trial::golden::Golden;
use crate::trial::{Outcome, TrialPlan, TrialRecord};
use crate::units::{GuestPhys, VirtualNs};

/// How long to wait for another process that writes or tidies up.
const BUSY: Duration = Duration::from_secs(20);

/// What a campaign was made with, where, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// When it was made, UTC.
    pub created: Timestamp,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub host: BTreeMap<String, String>,
    /// Versions, by what they are of.
    pub versions: BTreeMap<String, String>,
    /// The key of the template.
    pub template: String,
    /// What the guest does without a fault: [`golden_digest`].
    pub golden: String,
    /// The digests of the files, by what they are for: `qemu`, `patches`, `kernel`, `image`.
    pub inputs: BTreeMap<String, String>,
}

impl Manifest {
    /// What differs, of that on which outcomes depend.
    pub(super) fn changes(&self, now: &Manifest) -> Vec<Change> {
        let mut pairs = vec![
            ("template".to_owned(), Some(&self.template), Some(&now.template)),
            ("golden run".to_owned(), Some(&self.golden), Some(&now.golden)),
        ];
        let names: BTreeSet<&String> = self.inputs.keys().chain(now.inputs.keys()).collect();
        pairs.extend(
            names.into_iter().map(|name| (name.clone(), self.inputs.get(name), now.inputs.get(name))),
        );
        pairs
            .into_iter()
            .filter(|(_, then, now)| then != now)
            .map(|(what, then, now)| Change { what, then: then.cloned(), now: now.cloned() })
            .collect()
    }
}

/// The SHA-256 of what a golden run says of the guest: its start, its end, its console. Where the
/// checkpoints between lie depends on the host's speed, and is left out.
#[must_use]
pub fn golden_digest(golden: &Golden) -> String {
    let mut hash = Sha256::new();
    let last = golden.checkpoints.last().unwrap_or(&golden.start);
    for point in [&golden.start, last] {
        // Without it, what is left is the output.
        let Some(state) = &point.state else { continue };
        hash.update(format!("{} {} {:?} {:?}\n", point.at.0, point.console, state.ram, state.devices));
        hash.update(format!("{:?} {:?} {:?}\n", state.disks, state.virtual_ns, state.instructions));
    }
    hash.update(format!("{} {:?} {:?}\n", golden.template, golden.window, golden.difference));
    hash.update(&golden.console);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fixed part of a plan: every trial whose number leaves the same remainder. Written `I/N`, with I from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub(super) index: u64,
    pub(super) count: u64,
}

impl Shard {
    /// The whole plan.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Whether a trial belongs to it.
    #[must_use]
    pub fn has(self, id: TrialId) -> bool {
        id.0 % self.count == self.index
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

/// Text that is no part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no part of a plan; write I/N with I from 1 to N, as in 2/4")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parts = text.split_once('/').and_then(|(index, count)| {
            let index: u64 = index.trim().parse().ok()?;
            let count: u64 = count.trim().parse().ok()?;
            (1..=count).contains(&index).then(|| Shard { index: index - 1, count })
        });
        parts.ok_or_else(|| ShardError(text.to_owned()))
    }
}

/// What came of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The trial has its result.
    Done,
    /// The laboratory lost it; it may be begun so many times more.
    Again(u32),
    /// The laboratory lost it too often; it is `infra` now.
    GivenUp,
}

/// A campaign's file.
#[derive(Debug)]
pub struct Store {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) spec: CampaignSpec,
    pub(super) strata: Vec<Stratum>,
    pub(super) digest: String,
    overlaps: Option<Vec<(u32, u32)>>,
    pub(super) trials: u64,
    /// What the name led to when it was opened: device and inode.
    file: Option<(u64, u64)>,
    /// Held by who writes. Below the connection, so that it is given up after that is closed.
    pub(super) lock: Option<Lock>,
}

impl Store {
    /// Makes a campaign: all of it, or nothing. `attachments` are kept with it under their names (the golden
    /// run, say); `progress` is told now and then how many trials are written.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn create(
        path: &Path,
        manifest: &Manifest,
        spec: &CampaignSpec,
        plan: &Plan,
        attachments: &[(&str, &[u8])],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Store, StoreError> {
        let lock = Lock::take(path)?;
        if path.exists() {
            return Err(StoreError::Exists(path.to_owned()));
        }
        // What a killed predecessor left has the same name, and nobody else works on it.
        let part = beside(path, "part");
        remove(&part)?;
        let written = write_plan(&part, manifest, spec, plan, attachments, progress)
            .and_then(|()| put_in_place(&part, path));
        if let Err(error) = written {
            let _ = remove(&part);
            return Err(error);
        }
        let opened = Store::open_writable(path);
        if opened.is_err() {
            // Nobody can have worked on it yet: the lock is ours.
            for ending in ["", "-wal", "-shm"] {
                let _ = remove(&beside_sqlite(path, ending));
            }
        }
        let mut store = opened?;
        store.lock = Some(lock);
        Ok(store)
    }

    /// Opens a campaign to work on it. A file of an older version is brought up to date.
    ///
    /// # Errors
    /// Another process works on it, or it is no campaign of a version that is known.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let lock = Lock::take(path)?;
        let mut store = Store::open_writable(path)?;
        store.lock = Some(lock);
        Ok(store)
    }

    fn open_writable(path: &Path) -> Result<Store, StoreError> {
        let error = sqlite("open", path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags).map_err(&error)?;
        conn.busy_timeout(BUSY).map_err(&error)?;
        check_version(&conn, path)?;
        schema::migrate(&mut conn).map_err(&error)?;
        conn.pragma_update(None, "journal_mode", "WAL").map_err(&error)?;
        conn.pragma_update(None, "synchronous", "NORMAL").map_err(&error)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(&error)?;
        Store::load(conn, path)
    }

    /// Opens a campaign to read it, while another process works on it or not.
    ///
    /// # Errors
    /// It is no campaign of this version.
    pub fn open_readonly(path: &Path) -> Result<Store, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |path: &Path, flags| -> rusqlite::Result<Connection> {
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(BUSY)?;
            schema::version(&conn)?;
            Ok(conn)
        };
        let conn = open(path, flags).or_else(|first| {
            // Where neither journal nor the right to make one is, nobody writes.
            if beside_sqlite(path, "-wal").exists() {
                return Err(first);
            }
            open(Path::new(&immutable(path)), flags | OpenFlags::SQLITE_OPEN_URI).map_err(|_| first)
        });
        let conn = conn.map_err(sqlite("read", path))?;
        let found = check_version(&conn, path)?;
        if found < schema::VERSION {
            return Err(StoreError::Older { path: path.to_owned(), found, known: schema::VERSION });
        }
        Store::load(conn, path)
    }

    fn load(conn: Connection, path: &Path) -> Result<Store, StoreError> {
        let error = sqlite("read", path);
        let meta = |key: &str| -> Result<String, StoreError> {
            conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).map_err(&error)
        };
        let damaged = |key: &'static str| {
            move |cause: serde_json::Error| StoreError::Damaged {
                path: path.to_owned(),
                what: format!("its {key}: {cause}"),
            }
        };
        let manifest = serde_json::from_str(&meta("manifest")?).map_err(damaged("manifest"))?;
        let spec = serde_json::from_str(&meta("spec")?).map_err(damaged("spec"))?;
        let digest = meta("plan")?;
        let sql = "SELECT value FROM meta WHERE key = 'overlaps'";
        let overlaps: Option<String> =
            conn.query_row(sql, [], |row| row.get(0)).optional().map_err(&error)?;
        let overlaps =
            overlaps.map(|json| serde_json::from_str(&json)).transpose().map_err(damaged("overlaps"))?;
        let strata = {
            let sql = "SELECT name, targets, faults, times, trials FROM stratum ORDER BY id";
            let mut statement = conn.prepare(sql).map_err(&error)?;
            let rows = statement.query_map([], |row| {
                let number = |index| row.get(index).map(i64::cast_unsigned);
                let (faults, times, trials) = (number(2)?, number(3)?, number(4)?);
                Ok(Stratum { name: row.get(0)?, targets: row.get(1)?, faults, times, trials })
            });
            rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(&error)?
        };
        let trials = strata.iter().map(|stratum| stratum.trials).sum();
        let file = identity(path);
        let path = path.to_owned();
        Ok(Store { path, manifest, spec, strata, digest, overlaps, trials, file, lock: None, conn })
    }

    /// The campaign's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was made with.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it was to be.
    #[must_use]
    pub fn spec(&self) -> &CampaignSpec {
        &self.spec
    }

    /// Its strata.
    #[must_use]
    pub fn strata(&self) -> &[Stratum] {
        &self.strata
    }

    /// The pairs of strata, by number, that have a fault in common; `None` in a file that was made before
    /// this was kept.
    #[must_use]
    pub fn overlaps(&self) -> Option<&[(u32, u32)]> {
        self.overlaps.as_deref()
    }

    /// The SHA-256 of its plan.
    #[must_use]
    pub fn plan_digest(&self) -> &str {
        &self.digest
    }

    /// How many trials are planned, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty plan cannot be drawn")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.trials
    }

    /// Refuses to go on with another QEMU, kernel, image, template or golden run.
    ///
    /// # Errors
    /// [`StoreError::Changed`], with all that changed.
    pub fn check_unchanged(&self, now: &Manifest) -> Result<(), StoreError> {
        let changes = self.manifest.changes(now);
        if changes.is_empty() { Ok(()) } else { Err(StoreError::Changed(changes)) }
    }

    /// What was kept under a name when the campaign was made.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn attachment(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT zlib FROM attachment WHERE name = ?1";
        let blob: Option<Vec<u8>> = self
            .conn
            .query_row(sql, [name], |row| row.get(0))
            .optional()
            .map_err(sqlite("read", &self.path))?;
        blob.map(|blob| self.unpack(&blob, name)).transpose()
    }

    /// Records what came of a trial, in one transaction. A record that is `infra` counts as a failed attempt
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
            let row = Row { outcome: Some("infra"), error: Some(cause), attempts: lost, ..Row::default() };
            insert_result(&transaction, planned.id, planned.stratum, &row)?;
            Ok(Recorded::GivenUp)
        };
        let error = sqlite("record in", &self.path);
        let recorded = written().map_err(&error)?;
        transaction.commit().map_err(&error)?;
        Ok(recorded)
    }

    /// An error where what is written would be lost: SQLite goes on writing into a file that was deleted.
    fn check_writable(&self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            return Err(StoreError::ReadOnly(self.path.clone()));
        }
        if identity(&self.path) != self.file {
            return Err(StoreError::Gone(self.path.clone()));
        }
        Ok(())
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

    pub(super) fn unpack(&self, zlib: &[u8], what: &str) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        ZlibDecoder::new(zlib).read_to_end(&mut bytes).map_err(|cause| StoreError::Damaged {
            path: self.path.clone(),
            what: format!("{what}: {cause}"),
        })?;
        Ok(bytes)
    }
}

impl Drop for Store {
    /// Leaves one file. A reader of a file with a write-ahead log could not take the log away again; where
    /// one is reading now, the next writer does.
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = self.conn.busy_timeout(Duration::ZERO);
            let _ = self.conn.pragma_update(None, "journal_mode", "DELETE");
        }
    }
}

/// What a row of `result` says beside trial and stratum.
#[derive(Default)]
struct Row<'a> {
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

pub(super) fn insert_result(conn: &Connection, id: TrialId, stratum: u32, row: &Row<'_>) -> rusqlite::Result<()> {
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

/// Which file a path leads to: device and inode.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The version of a campaign, if it is one that is known.
fn check_version(conn: &Connection, path: &Path) -> Result<i64, StoreError> {
    let error = sqlite("read", path);
    let found = schema::version(conn).map_err(&error)?;
    if !schema::is_campaign(conn).map_err(&error)? || found < 1 {
        return Err(StoreError::NotACampaign(path.to_owned()));
    }
    if found > schema::VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: schema::VERSION });
    }
    Ok(found)
}

/// A file that SQLite keeps beside its own.
fn beside_sqlite(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The address of a file that nobody changes, as SQLite wants it.
pub(super) fn immutable(path: &Path) -> String {
    let mut text = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text + "?immutable=1"
}

/// A number as SQLite keeps it.
pub(super) fn signed(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::TooLarge { what, value })
}

/// The word that an enum is written as.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text keys and finite numbers only")
}

pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all that is written")
}
