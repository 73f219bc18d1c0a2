//! What can go wrong with a store, and what to do then.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::campaign::plan::{PlanError, TrialId};
use crate::campaign::shard::Shard;
use crate::text::shell_quote;

/// Something that is not what it was when the campaign was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub what: String,
    /// What it was; nothing where there was none.
    pub then: Option<String>,
    /// What it is now.
    pub now: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &Option<String>| match text {
            // Digests are distinguished by their beginning.
            Some(text) => text.chars().take(16).collect(),
            None => "nothing".to_owned(),
        };
        write!(f, "{} was {}, is {}", self.what, short(&self.then), short(&self.now))
    }
}

/// Why a store does not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller wanted no more of it.
    #[error("interrupted before the plan was whole; nothing of it was kept")]
    Stopped,
    /// The name is taken.
    #[error("{0} exists already; resume that campaign, or choose another name")]
    Exists(PathBuf),
    /// There is no such file.
    #[error("there is no campaign {0}; `cargo xtask campaign new` makes one")]
    Missing(PathBuf),
    /// A pipe, a folder, a device.
    #[error("{path} is no campaign: {cause}")]
    NotAFile {
        /// What stands there.
        path: PathBuf,
        /// What it is.
        cause: io::Error,
    },
    /// A part of a campaign, where the whole of it is needed.
    #[error("{path} is part {shard} of a campaign; join its parts: `cargo xtask campaign merge NAME FOLDER`")]
    IsPart {
        /// The file.
        path: PathBuf,
        /// Which part.
        shard: Shard,
    },
    /// A process was killed while it wrote a record.
    #[error(
        "a process was killed while it wrote to {0}: what it had not finished stands in {0}-journal, and is taken back when \
         the campaign is resumed"
    )]
    HalfWritten(PathBuf),
    /// Another kind of file.
    #[error("{0} is not a campaign of flipsim's")]
    NotACampaign(PathBuf),
    /// Made by a newer program.
    #[error("{path} has format {found}, and this flipsim knows formats up to {known}; use the newer one")]
    Newer {
        /// The campaign.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another process works on it.
    #[error(
        "{path} is being worked on{}; wait for it, or stop it; `campaign status` can be asked meanwhile",
        by.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The campaign.
        path: PathBuf,
        /// The process, where it is known.
        by: Option<u32>,
    },
    /// It was opened for reading, or can be opened for nothing else.
    #[error(
        "{0} can only be read: by its own rights, its folder's, or as its disk is mounted; make it writable and \
         resume; nothing that was recorded is lost"
    )]
    ReadOnly(PathBuf),
    /// The file was taken away while it was in use.
    #[error(
        "{0} was deleted, moved or replaced while it was worked on, so nothing more is recorded; restore it (or a \
         copy) and resume, or make the campaign again from its seed"
    )]
    Gone(PathBuf),
    /// No space, a quota, a limit.
    #[error("cannot write to {path}: {cause}; make room and resume; nothing that was recorded is lost")]
    Full {
        /// The campaign.
        path: PathBuf,
        /// What SQLite said.
        cause: String,
    },
    /// SQLite.
    #[error("cannot {action} {path}: {cause}")]
    Sqlite {
        /// What was to be done.
        action: &'static str,
        /// The campaign.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
    /// The system.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A row that says what it cannot.
    #[error(
        "{path} is damaged: {what}; nothing of it is shown or run; `cargo xtask campaign check {}` says what can be \
         kept",
        quoted(path)
    )]
    Damaged {
        /// The campaign.
        path: PathBuf,
        /// Where, and how.
        what: String,
    },
    /// Nothing can be kept of it.
    #[error(
        "nothing of {path} can be kept, for {what} is damaged; take it from a backup, or draw the plan again from its \
         seed"
    )]
    NotRepaired {
        /// The campaign.
        path: PathBuf,
        /// Where.
        what: String,
    },
    /// What a killed process recorded is not there.
    #[error(
        "{}; put the log back, or go on without with `cargo xtask campaign check {} --repair`",
        log_missing(path, *missing),
        quoted(path)
    )]
    LogMissing {
        /// The campaign.
        path: PathBuf,
        /// How many results were in it, where that is known.
        missing: Option<u64>,
    },
    /// A journal of SQLite's without its file.
    #[error(
        "{} is there without {path}, and SQLite would take it for the new file's; move it to where its campaign \
         is, or remove it", left.display()
    )]
    Orphan {
        /// The campaign that was to be made.
        path: PathBuf,
        /// What is there.
        left: PathBuf,
    },
    /// Something of that name that is not ours.
    #[error("{0} is there, and is no lock of flipsim's: it is left as it is; move it away")]
    NotALock(PathBuf),
    /// A number that SQLite has no room for.
    #[error("{what} {value} does not fit 63 bits")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// No such trial.
    #[error("the plan has no trial {0}")]
    UnknownTrial(TrialId),
    /// A second result.
    #[error("trial {0} has its result already; a second one is not taken")]
    Duplicate(TrialId),
    /// A record of something else.
    #[error("the record for trial {id} is not of that trial: {what} differs from the plan")]
    OtherTrial {
        /// The trial.
        id: TrialId,
        /// What differs.
        what: &'static str,
    },
    /// A part of another campaign.
    #[error("{path} is a part of another campaign: {}; only parts of one plan can be joined", list(changes))]
    Stranger {
        /// The part.
        path: PathBuf,
        /// What differs.
        changes: Vec<Change>,
    },
    /// Two results of one trial that differ.
    #[error(
        "trial {id} has another result in {path}; a trial depends on template, fault and QEMU alone, so one \
         of the two machines is not to be trusted: replay it on both"
    )]
    Disagree {
        /// The trial.
        id: TrialId,
        /// The part that says something else.
        path: PathBuf,
    },
    /// A part of the campaign before it grew.
    #[error(
        "{} has {has} trials and {} has {needs}: it is of before the campaign grew; \
         `cargo xtask campaign grow {} --trials {needs}` draws the same ones there, by the same steps, and then they can \
         be joined",
        path.display(), to.display(), quoted(path)
    )]
    NotGrown {
        /// The part.
        path: PathBuf,
        /// The campaign that has grown.
        to: PathBuf,
        /// How many trials the part has.
        has: u64,
        /// How many the other has.
        needs: u64,
    },
    /// The guest does not give the plan that is stored.
    #[error(
        "the plan of {0} cannot be drawn again as it was, so that trials might be drawn twice: the guest's memory map, \
         symbols or registers are found otherwise than then; make a new campaign"
    )]
    DrawnOtherwise(PathBuf),
    /// A plan that does not grow so.
    #[error(transparent)]
    Growth(Box<PlanError>),
    /// What the campaign was made with is not there any more.
    #[error(
        "the guest is not what it was when the campaign was made: {}; restore that, or make a new campaign",
        list(.0)
    )]
    Changed(Vec<Change>),
}

fn quoted(path: &Path) -> String {
    shell_quote(&path.to_string_lossy())
}

fn log_missing(path: &Path, missing: Option<u64>) -> String {
    let name = path.display();
    match missing {
        Some(missing) => format!(
            "{missing} results that were recorded in {name} are missing: its write-ahead log ({name}-wal) is not \
             there, or damaged"
        ),
        None => format!(
            "{name} was not closed in order, and its write-ahead log ({name}-wal) is not beside it: results may be \
             missing"
        ),
    }
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl StoreError {
    /// The same of a campaign by the name that its user knows it by.
    pub(super) fn at(self, name: &Path) -> Self {
        let path = name.to_owned();
        match self {
            StoreError::Damaged { what, .. } => StoreError::Damaged { path, what },
            StoreError::LogMissing { missing, .. } => StoreError::LogMissing { path, missing },
            other => other,
        }
    }
}

/// Turns the system's errors into ours.
pub(super) fn system(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let path = path.to_owned();
    move |cause| {
        let path = path.clone();
        match cause.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => StoreError::Full { path, cause: cause.to_string() },
            ReadOnlyFilesystem => StoreError::ReadOnly(path),
            _ => StoreError::Io { action, path, cause },
        }
    }
}

/// Turns SQLite's errors into ours.
pub(super) fn sqlite(action: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |cause| {
        let path = path.clone();
        match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path, cause: cause.to_string() },
            // A quota or a limit on the file's size is to SQLite an error of input and output.
            Some(ErrorCode::SystemIoFailure) if is_write(&cause) => {
                StoreError::Full { path, cause: cause.to_string() }
            }
            Some(ErrorCode::NotADatabase) => StoreError::NotACampaign(path),
            Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what: cause.to_string() },
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(path),
            // Our queries are right: a table or column that they ask for is not there.
            Some(ErrorCode::Unknown) | None if action == "read" => {
                StoreError::Damaged { path, what: cause.to_string() }
            }
            _ => StoreError::Sqlite { action, path, cause },
        }
    }
}

fn is_write(cause: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{
        SQLITE_IOERR_FSYNC, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE,
    };
    let writes = [SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_SHMSIZE];
    cause.sqlite_error().is_some_and(|error| writes.contains(&error.extended_code))
}
