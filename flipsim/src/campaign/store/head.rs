//! The first bytes of a campaign's file and the log beside it, before SQLite looks at them.
//!
//! SQLite takes some of these bytes as they come, and a log that is not there for one that never was.
//!
//! Invariant: **a file that was left with a log is not read without one**, unless it is known that nothing was in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::error::{StoreError, system};
use crate::campaign::store::lock::{Lock, Note};
use crate::files;

/// The bytes of the head that are the same in every campaign, by SQLite's description of its format.
const FIXED: &[(usize, &[u8])] = &[
    // No bytes are kept free in a page; the fractions.
    (20, &[0, 64, 32, 32]),
    // The schema's format.
    (44, &[0, 0, 0, 4]),
    // No vacuum by itself.
    (52, &[0; 4]),
    // UTF-8.
    (56, &[0, 0, 0, 1]),
    (64, &[0; 4]),
    (72, &[0; 20]),
];

/// How often one looks again at a file that is being closed, and after how long.
const LOOKS: (u32, Duration) = (100, Duration::from_millis(10));

/// Whether the file says that a log is beside it.
fn has_log(path: &Path) -> Result<bool, StoreError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut head));
    read.map_err(system("read", path))?;
    // What is no database at all, SQLite says.
    if head.len() < 100 || !head.starts_with(b"SQLite format 3\0") {
        return Ok(false);
    }
    let damaged = || StoreError::Damaged { path: path.to_owned(), what: "its head".to_owned() };
    if FIXED.iter().any(|(at, bytes)| !head[*at..].starts_with(bytes)) {
        return Err(damaged());
    }
    match [head[18], head[19]] {
        [1, 1] => Ok(false),
        [2, 2] => Ok(true),
        _ => Err(damaged()),
    }
}

/// Whether a file says that a log is beside it, and none is: SQLite would make one.
pub(super) fn lacks_log(path: &Path) -> bool {
    !files::beside(path, "-wal").exists() && has_log(path).unwrap_or(false)
}

/// Refuses a file whose log is missing. `note` is what was recorded, where that is known: then the tally tells.
pub(super) fn check(path: &Path, note: Option<Note>) -> Result<(), StoreError> {
    let log = files::beside(path, "-wal");
    for look in 0.. {
        let is_there = log.metadata().is_ok_and(|log| log.len() > 0);
        if !has_log(path)? || is_there {
            return Ok(());
        }
        // A process that opens or closes it may be between the two.
        if look == LOOKS.0 || Lock::holder(path).is_none_or(|pid| pid == std::process::id()) {
            break;
        }
        std::thread::sleep(LOOKS.1);
    }
    if note.is_some() { Ok(()) } else { Err(StoreError::LogMissing { path: path.to_owned(), missing: None }) }
}
