//! A store that is open: made, opened for reading or for writing, and what it says of the campaign as a whole.
//!
//! Invariant: **a file that is only read is not changed**; one that is written is locked by this process alone.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::ZlibDecoder;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::campaign::manifest::Manifest;
use crate::campaign::plan::{Plan, Stratum};
use crate::campaign::spec::CampaignSpec;
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::lock::{Lock, beside, identity};
use crate::campaign::store::make::{put_in_place, remove, write_plan};
use crate::campaign::store::schema;
use crate::files;

/// How long to wait for another process that writes or tidies up.
const BUSY: Duration = Duration::from_secs(20);

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
    overlaps: Option<Vec<(u32, u32)>>,
    pub(super) trials: u64,
    /// What the name led to when it was opened: device and inode.
    file: Option<(u64, u64)>,
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
        let lock = Lock::take(path)?;
        if path.exists() {
            return Err(StoreError::Exists(path.to_owned()));
        }
        // What a killed predecessor left has the same name, and no other process works on it.
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
            // No other process can have worked on it yet: the lock is ours.
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
        check_files(path)?;
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
        Store::load(conn, path, schema::VERSION)
    }

    /// Opens a campaign to read it, while another process works on it or not. A file of an older version stays as
    /// it is, and is read as if it were of the newest.
    ///
    /// # Errors
    /// It is no campaign of a version that is known.
    pub fn open_readonly(path: &Path) -> Result<Store, StoreError> {
        check_files(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |path: &Path, flags| -> rusqlite::Result<Connection> {
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(BUSY)?;
            schema::version(&conn)?;
            Ok(conn)
        };
        let conn = open(path, flags).or_else(|first| {
            // Where neither journal nor the right to make one is, no process writes. A journal that a killed one left
            // is for the next that may write: half of a change is not to be read.
            if ["-wal", "-journal"].iter().any(|ending| beside_sqlite(path, ending).exists()) {
                return Err(first);
            }
            open(Path::new(&immutable(path)), flags | OpenFlags::SQLITE_OPEN_URI).map_err(|_| first)
        });
        let conn = conn.map_err(sqlite("read", path))?;
        let found = check_version(&conn, path)?;
        schema::read_older(&conn, found).map_err(sqlite("read", path))?;
        Store::load(conn, path, found)
    }

    fn load(conn: Connection, path: &Path, format: i64) -> Result<Store, StoreError> {
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
        Ok(Store { path, format, manifest, spec, strata, digest, overlaps, trials, file, lock: None, conn })
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

    /// An error where what is written would be lost: SQLite goes on writing into a file that was deleted.
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            return Err(StoreError::ReadOnly(self.path.clone()));
        }
        if identity(&self.path) != self.file {
            return Err(StoreError::Gone(self.path.clone()));
        }
        Ok(())
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
fn check_files(path: &Path) -> Result<(), StoreError> {
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
        check(&beside_sqlite(path, ending))?;
    }
    Ok(())
}

/// A file that SQLite keeps beside its own.
fn beside_sqlite(path: &Path, ending: &str) -> PathBuf {
    files::beside(path, ending)
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
