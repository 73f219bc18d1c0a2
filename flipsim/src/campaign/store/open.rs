//! A store that is open: made, opened for reading or for writing, and what it says of the campaign as a whole.
//!
//! Invariants: **a file that is only read is not changed**; one that is written is locked by this process alone. **What
//! decides what is run was compared with its digest**, plan and all, before anything is handed out.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::ZlibDecoder;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::campaign::manifest::Manifest;
use crate::campaign::plan::{Plan, Stratum, TrialId};
use crate::campaign::shard::Part;
use crate::campaign::spec::CampaignSpec;
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::lock::{Lock, Note, identity};
use crate::campaign::store::make::{JOURNALS, make_instead, make_whole, remove, write_plan};
use crate::campaign::store::seal::{Made, PART};
use crate::campaign::store::stages::{Stage, stages_of};
use crate::campaign::store::sums::Sums;
use crate::campaign::store::upgrade::upgrade;
use crate::campaign::store::{head, schema};
use crate::files;
use crate::trial::golden::Golden;
use crate::units::format_size;

/// How long to wait for another process that writes or tidies up.
const BUSY: Duration = Duration::from_secs(20);

/// How what is recorded gets into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// By a write-ahead log beside it, which is the fastest, and takes memory that processes share.
    Log,
    /// Directly, with what was there before beside it until that is done. For file systems that machines share, where a log
    /// does not work (SQLite, "Write-Ahead Logging": all processes must be on one machine).
    Direct,
}

impl Journal {
    fn of(path: &Path) -> Journal {
        if files::shared_file_system(path).is_some() { Journal::Direct } else { Journal::Log }
    }

    /// The modes of SQLite.
    fn modes(self) -> [(&'static str, &'static str); 2] {
        match self {
            Journal::Log => [("journal_mode", "WAL"), ("synchronous", "NORMAL")],
            Journal::Direct => [("journal_mode", "DELETE"), ("synchronous", "FULL")],
        }
    }
}

/// A campaign's file.
#[derive(Debug)]
pub struct Store {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    /// The version of the file.
    pub(super) format: i64,
    pub(super) manifest: Manifest,
    pub(super) spec: CampaignSpec,
    pub(super) strata: Vec<Stratum>,
    pub(super) digest: String,
    pub(super) stages: Vec<Stage>,
    pub(super) part: Option<Part>,
    overlaps: Option<Vec<(u32, u32)>>,
    pub(super) trials: u64,
    pub(super) seal: String,
    pub(super) sums: Sums,
    /// How often the laboratory lost a trial; of a store that writes.
    pub(super) lost: HashMap<TrialId, u32>,
    /// What the name led to when it was opened: device and inode.
    file: Option<(u64, u64)>,
    /// The same of SQLite's log; of a store that writes.
    log: Option<(u64, u64)>,
    /// Held by a store that writes. Below the connection, so that it is given up after that is closed.
    pub(super) lock: Option<Lock>,
}

impl Store {
    /// Makes a campaign: all of it, or nothing. `attachments` are kept with it under their names (the golden
    /// run, say); `progress` is called now and then with the number of trials that are written.
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
        let mut go_on = |written| {
            progress(written);
            true
        };
        Store::create_unless_stopped(path, manifest, spec, plan, attachments, &mut go_on)
    }

    /// As [`Store::create`]; `progress` says whether to go on.
    ///
    /// # Errors
    /// As [`Store::create`]; [`StoreError::Stopped`], and nothing is left of it.
    pub fn create_unless_stopped(
        path: &Path,
        manifest: &Manifest,
        spec: &CampaignSpec,
        plan: &Plan,
        attachments: &[(&str, &[u8])],
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Store, StoreError> {
        let mut lock = Lock::take(&real(path))?;
        make_whole(path, |part| {
            // What a lock says that was left is of a campaign that is gone.
            (lock.left, lock.keep) = (None, false);
            write_plan(part, manifest, spec, plan, attachments, progress)
        })?;
        Store::open_new(path, lock)
    }

    /// As [`Store::create_unless_stopped`] in the place of a campaign of that name, whose results are lost; it is there until
    /// the new plan is whole.
    ///
    /// # Errors
    /// The same; or a process works on it. Then nothing has changed.
    pub fn replace_unless_stopped(
        path: &Path,
        manifest: &Manifest,
        spec: &CampaignSpec,
        plan: &Plan,
        attachments: &[(&str, &[u8])],
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Store, StoreError> {
        let mut lock = Lock::take(&real(path))?;
        make_instead(&real(path), |part| write_plan(part, manifest, spec, plan, attachments, progress))?;
        // What a lock says that was left is of the campaign that is gone.
        (lock.left, lock.keep) = (None, false);
        Store::open_new(path, lock)
    }

    /// Opens a campaign that was made just now.
    fn open_new(path: &Path, lock: Lock) -> Result<Store, StoreError> {
        let opened = Store::open_locked(path, lock);
        if opened.is_err() {
            // No other process can have worked on it yet.
            for ending in ["", "-wal", "-shm", ".lock"] {
                let _ = remove(&files::beside(path, ending));
            }
        }
        opened
    }

    /// Opens a campaign to work on it. A file of an older version is brought up to date.
    ///
    /// # Errors
    /// Another process works on it, it is no campaign of a version that is known, or it is damaged.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        is_a_file(path)?;
        Store::open_locked(path, Lock::take(&real(path))?)
    }

    fn open_locked(path: &Path, lock: Lock) -> Result<Store, StoreError> {
        Store::open_with(path, lock, Journal::of(path))
    }

    pub(super) fn open_with(path: &Path, mut lock: Lock, journal: Journal) -> Result<Store, StoreError> {
        let error = sqlite("open", path);
        let real = real(path);
        head::check(&real, lock.left).map_err(|error| error.at(path))?;
        if head::lacks_log(&real) {
            // SQLite would make an empty one; first it is known that nothing was in it.
            Store::read(path)?.not_before(lock.left)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags).map_err(&error)?;
        conn.busy_timeout(BUSY).map_err(&error)?;
        if journal == Journal::Direct {
            // A log that was left is read without memory that processes share.
            conn.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(&error)?;
        }
        // Closed again because something is wrong with it, the file and its log are to be as they were.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&error)?;
        if check_version(&conn, path)? < schema::VERSION {
            let old = Store::open_readonly(path)?;
            // What contradicts itself stays as it is.
            old.verify()?;
            upgrade(&mut conn, path, &old.sums, old.format)?;
        }
        conn.pragma_update(None, "foreign_keys", true).map_err(&error)?;
        // A page that is not read now may be written to later.
        let check: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(&error)?;
        if check != "ok" {
            return Err(StoreError::Damaged { path: path.to_owned(), what: check });
        }
        let mut store = Store::load(conn, path, schema::VERSION)?;
        if let Some(Part { shard, .. }) = store.part {
            return Err(StoreError::IsPart { path: path.to_owned(), shard });
        }
        store.not_before(lock.left)?;
        let mut lost = HashMap::new();
        store.scan_attempts(&mut |trial| *lost.entry(trial).or_default() += 1)?;
        store.lost = lost;
        store.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(&error)?;
        // Before there is a log that could be missing.
        let tally = store.tally()?.unwrap_or_default();
        lock.note(Note::of(&tally))?;
        lock.keep = true;
        for (name, value) in journal.modes() {
            store.conn.pragma_update(None, name, value).map_err(&error)?;
        }
        // From the next read on others may read as well.
        store.conn.pragma_update(None, "locking_mode", "NORMAL").map_err(&error)?;
        store.conn.pragma_update(None, "wal_autocheckpoint", JOINED_AT).map_err(&error)?;
        // The first read makes the log.
        store.tally()?;
        store.log = identity(&files::beside(&real, "-wal"));
        store.lock = Some(lock);
        Ok(store)
    }

    /// Opens a campaign to read it, while another process works on it or not. A file of an older version stays as
    /// it is, and is read as if it were of the newest.
    ///
    /// # Errors
    /// It is no campaign of a version that is known, or it is damaged.
    pub fn open_readonly(path: &Path) -> Result<Store, StoreError> {
        let (note, head) = Store::head_of(path)?;
        head?;
        let store = Store::read(path)?;
        store.not_before(note)?;
        Ok(store)
    }

    /// What was noted of a file by a process that works on it or was killed, before the file is read; and whether its
    /// head and its log are right.
    pub(super) fn head_of(path: &Path) -> Result<(Option<Note>, Result<(), StoreError>), StoreError> {
        is_a_file(path)?;
        let real = real(path);
        let note = Lock::noted(&real);
        Ok((note, head::check(&real, note).map_err(|error| error.at(path))))
    }

    /// Opens a file to read it, whatever its head and its log are.
    pub(super) fn read(path: &Path) -> Result<Store, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |path: &Path, flags| -> rusqlite::Result<Connection> {
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(BUSY)?;
            schema::version(&conn)?;
            Ok(conn)
        };
        let as_it_is = || open(Path::new(&immutable(path)), flags | OpenFlags::SQLITE_OPEN_URI);
        let conn = if head::lacks_log(&real(path)) { as_it_is() } else { open(path, flags) };
        let conn = conn.or_else(|first| {
            // Where neither journal nor the right to make one is, no process writes. A journal that a killed one left
            // is for the next that may write: half of a change is not to be read.
            if JOURNALS.iter().any(|ending| files::beside(&real(path), ending).exists()) {
                return Err(first);
            }
            as_it_is().map_err(|_| first)
        });
        let conn = conn.map_err(|cause| match cause.sqlite_error_code() {
            Some(ErrorCode::ReadOnly) if files::beside(&real(path), "-journal").exists() => {
                StoreError::HalfWritten(path.to_owned())
            }
            _ => sqlite("read", path)(cause),
        })?;
        let found = check_version(&conn, path)?;
        schema::read_older(&conn, found).map_err(sqlite("read", path))?;
        Store::load(conn, path, found)
    }

    /// Reads what the campaign was made from and its plan, and compares both with their digests.
    fn load(conn: Connection, path: &Path, format: i64) -> Result<Store, StoreError> {
        let error = sqlite("read", path);
        let damaged = |what: String| StoreError::Damaged { path: path.to_owned(), what };
        let made = Made::read(&conn).map_err(&error)?;
        if made.value("format") != Some(format.to_string().as_str()) {
            return Err(damaged("its version".to_owned()));
        }
        if format >= schema::CHECKED {
            made.check().map_err(damaged)?;
        }
        let value = |key: &str| made.value(key).ok_or_else(|| damaged(format!("its {key} is missing")));
        let unreadable =
            |key: &'static str| move |cause: serde_json::Error| damaged(format!("its {key}: {cause}"));
        let manifest = serde_json::from_str(value("manifest")?).map_err(unreadable("manifest"))?;
        let spec = serde_json::from_str(value("spec")?).map_err(unreadable("spec"))?;
        let digest = value("plan")?.to_owned();
        let overlaps = made.value("overlaps").map(serde_json::from_str).transpose();
        let overlaps = overlaps.map_err(unreadable("overlaps"))?;
        let part = made.value(PART).map(serde_json::from_str).transpose().map_err(unreadable("part"))?;
        let strata = {
            let sql = "SELECT id, name, targets, faults, times, trials FROM stratum ORDER BY id";
            let mut statement = conn.prepare(sql).map_err(&error)?;
            let rows = statement.query_map([], |row| {
                let number = |index| row.get(index).map(i64::cast_unsigned);
                let (faults, times, trials) = (number(3)?, number(4)?, number(5)?);
                Ok((number(0)?, Stratum { name: row.get(1)?, targets: row.get(2)?, faults, times, trials }))
            });
            rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(&error)?
        };
        if strata.iter().zip(0..).any(|((id, _), at)| *id != at) {
            return Err(damaged("the numbers of its strata".to_owned()));
        }
        let strata: Vec<Stratum> = strata.into_iter().map(|(_, stratum)| stratum).collect();
        let trials = strata.iter().try_fold(0u64, |sum, stratum| sum.checked_add(stratum.trials));
        let trials = trials.ok_or_else(|| damaged("the sizes of its strata".to_owned()))?;
        let stages = stages_of(&made, &strata, &digest).map_err(damaged)?;
        // Those of rows that were recorded before a campaign grew stay as they are.
        let sums = Sums::new(stages.first().map_or(&digest, |first| &first.plan));
        let (file, seal, path) = (identity(path), made.seal, path.to_owned());
        let (lost, log, lock) = (HashMap::new(), None, None);
        let store = Store {
            path,
            format,
            manifest,
            spec,
            strata,
            digest,
            stages,
            part,
            overlaps,
            trials,
            seal,
            sums,
            lost,
            file,
            log,
            lock,
            conn,
        };
        store.check_plan()?;
        Ok(store)
    }

    /// Refuses a file in which less is recorded than was noted.
    fn not_before(&self, note: Option<Note>) -> Result<(), StoreError> {
        let (Some(note), Some(tally)) = (note, self.tally()?) else { return Ok(()) };
        if tally.changes >= note.changes {
            return Ok(());
        }
        let missing = Some(note.results.saturating_sub(tally.results).max(1));
        Err(StoreError::LogMissing { path: self.path.clone(), missing })
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

    /// The SHA-256 of all that decides what is run: specification, plan, manifest, golden run. It was compared with
    /// what is stored when the file was opened, and is the same for all copies of a campaign.
    #[must_use]
    pub fn seal(&self) -> &str {
        &self.seal
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

    /// The golden run that is kept with it; `None` where it is of another version of the lab.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn golden(&self) -> Result<Option<Golden>, StoreError> {
        Ok(self.attachment("golden")?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// An error where what is written would be lost: SQLite goes on writing into a file that was deleted.
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            return Err(StoreError::ReadOnly(self.path.clone()));
        }
        if identity(&self.path) != self.file {
            return Err(StoreError::Gone(self.path.clone()));
        }
        if self.log.is_some() && identity(&files::beside(&real(&self.path), "-wal")) != self.log {
            // What is in the log is still to be had, for it is open here.
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            return Err(StoreError::Gone(files::beside(&self.path, "-wal")));
        }
        Ok(())
    }

    pub(super) fn unpack(&self, zlib: &[u8], what: &str) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let damaged =
            |cause: String| StoreError::Damaged { path: self.path.clone(), what: format!("{what}: {cause}") };
        let count = ZlibDecoder::new(zlib)
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|cause| damaged(cause.to_string()))?;
        if count as u64 > LARGEST {
            return Err(damaged(format!("it is larger than {}", format_size(LARGEST))));
        }
        Ok(bytes)
    }
}

impl Drop for Store {
    /// Leaves one file. A reader of a file with a write-ahead log could not take the log away again; where
    /// one is reading now, the next writer does.
    fn drop(&mut self) {
        let Some(lock) = &mut self.lock else { return };
        let _ = self.conn.busy_timeout(Duration::ZERO);
        let joined = self.conn.pragma_update(None, "journal_mode", "DELETE").is_ok();
        if !joined {
            let _ = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
        // As long as there is a log, it says what is in it. Of a file that is gone it says nothing.
        let is_there = identity(&self.path) == self.file;
        lock.keep = is_there && (!joined || files::beside(&real(&self.path), "-wal").exists());
    }
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

/// Refuses a pipe, a folder or a device in the place of a campaign's file, or of one that SQLite keeps beside it: SQLite
/// would wait for a pipe.
fn is_a_file(path: &Path) -> Result<(), StoreError> {
    let check = |path: &Path| match files::check_plain(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(cause) if cause.kind() == std::io::ErrorKind::InvalidInput => {
            Err(StoreError::NotAFile { path: path.to_owned(), cause })
        }
        // SQLite says what else is wrong with it.
        _ => Ok(true),
    };
    if !check(path)? {
        return Err(StoreError::Missing(path.to_owned()));
    }
    for ending in ["-wal", "-journal", "-shm"] {
        check(&files::beside(path, ending))?;
    }
    Ok(())
}

/// The largest console or golden run that is unpacked, in bytes: a thousandth of it in a stranger's file gives as much.
const LARGEST: u64 = 256 << 20;

/// After how many pages in the log it is joined to the file; a few dozen results.
const JOINED_AT: i64 = 200;

/// The file itself where a path is a link to it: what SQLite keeps beside it is there, and so is the lock.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The address of a file that is not changed, as SQLite wants it.
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
