//! Which process works on a campaign: a lock on a file beside it; and a note in it of what was recorded.
//!
//! Not on the campaign's own file: closing any descriptor of a file drops the POSIX locks that SQLite
//! holds on it in the same process.
//!
//! A process that is killed leaves its results in SQLite's write-ahead log, a file beside the campaign. SQLite takes a
//! log that is gone, or one whose last part is damaged, for one that never was; so what it holds is noted here as well,
//! after each record. The file is removed when the log has been joined to the campaign.
//!
//! Invariants: one process at most holds the lock, and one that is killed holds it no more. **What the note counts was
//! recorded before.**

use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{StoreError, system};
use crate::campaign::store::sums::digest_of;
use crate::campaign::store::tally::Tally;
use crate::files::{self, LockFile};

/// What had been recorded when the note was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// [`Tally::changes`].
    pub(super) changes: u64,
    /// [`Tally::results`].
    pub(super) results: u64,
}

impl Note {
    pub(super) fn of(tally: &Tally) -> Self {
        Note { changes: tally.changes, results: tally.results }
    }

    /// The lines of a lock's file: the process, and the note. All are of one length.
    fn lines(self, pid: u32) -> String {
        let Note { changes, results } = self;
        let line = format!("{changes:>20} changes, {results:>20} results");
        format!("{pid:<10}\n{line} {}\n", check(&line))
    }

    /// The note in a lock's file; nothing where there is none, or it is damaged.
    fn read(text: &str) -> Option<Note> {
        let line = text.lines().nth(1)?;
        let (line, sum) = line.rsplit_once(' ')?;
        if check(line) != sum {
            return None;
        }
        let (changes, results) = line.split_once(',')?;
        let number = |text: &str, unit: &str| text.strip_suffix(unit)?.trim().parse().ok();
        Some(Note { changes: number(changes, " changes")?, results: number(results, " results")? })
    }
}

fn check(line: &str) -> String {
    digest_of("note", [line.as_bytes()]).chars().take(16).collect()
}

/// The lock, while it is held.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Closed last, after the file was removed.
    file: LockFile,
    /// What the one before had recorded, where it was killed.
    pub(super) left: Option<Note>,
    /// Whether the file stays, for what it says is still of use.
    pub(super) keep: bool,
}

impl Lock {
    /// Takes the lock of a campaign, or says who has it.
    pub fn take(campaign: &Path) -> Result<Lock, StoreError> {
        let path = beside(campaign, "lock");
        let error = system("lock", &path);
        loop {
            let mut file = LockFile::open(&path).map_err(&error)?;
            match file.lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked { path: campaign.to_owned(), by: file.signer() });
                }
                Err(TryLockError::Error(cause)) => return Err(error(cause)),
            }
            // The one before may have removed the file between our opening and our locking it.
            if identity(&path) == Some(file.identity().map_err(&error)?) {
                let text = file.read().map_err(&error)?;
                // A file of that name that is somebody's own.
                if !text.is_empty()
                    && text.lines().next().is_none_or(|line| line.trim().parse::<u32>().is_err())
                {
                    return Err(StoreError::NotALock(path));
                }
                let left = Note::read(&text);
                // Where there is no room for the number, the file goes again, unless there was something in it.
                let mut lock = Lock { path, file, left, keep: left.is_some() };
                let signed = match left {
                    Some(note) => lock.file.overwrite(&note.lines(std::process::id())),
                    None => lock.file.sign(),
                };
                return signed.map(|()| lock).map_err(error);
            }
        }
    }

    /// The process that works on a campaign now.
    pub fn holder(campaign: &Path) -> Option<u32> {
        LockFile::locked_by(&beside(campaign, "lock"))
    }

    /// What the lock's file says was recorded, of a process that works or was killed.
    pub(super) fn noted(campaign: &Path) -> Option<Note> {
        let path = beside(campaign, "lock");
        if !path.symlink_metadata().ok()?.is_file() {
            return None;
        }
        Note::read(&std::fs::read_to_string(path).ok()?)
    }

    /// Notes what is recorded now.
    pub(super) fn note(&self, note: Note) -> Result<(), StoreError> {
        let lines = note.lines(std::process::id());
        self.file.overwrite(&lines).map_err(system("write", &self.path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be removed is not locked, and that is what counts.
        if !self.keep {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A campaign's file with another ending behind its own.
pub fn beside(campaign: &Path, ending: &str) -> PathBuf {
    files::beside(campaign, &format!(".{ending}"))
}

/// Which file a path leads to: device and inode.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_one_that_is_damaged_is_none() {
        let note = Note { changes: 461, results: 460 };
        let text = note.lines(12);
        assert_eq!((Note::read(&text), text.len()), (Some(note), Note::default().lines(4_000_000).len()));
        for at in 11..text.len() - 1 {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert_eq!(Note::read(&String::from_utf8_lossy(&bytes)), None, "{at} {bit}");
            }
        }
        assert_eq!(Note::read("12\n"), None);
    }
}
