//! Which process works on a campaign: a lock on a file beside it.
//!
//! Not on the campaign's own file: closing any descriptor of a file drops the POSIX locks that SQLite
//! holds on it in the same process.
//!
//! Invariant: one process at most holds the lock, and one that is killed holds it no more.

use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{StoreError, system};
use crate::files::{self, LockFile};

/// The lock, while it is held.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Closed last, after the file was removed.
    file: LockFile,
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
                // Where there is no room for the number, the file goes again.
                let mut lock = Lock { path, file };
                let signed = lock.file.sign();
                return signed.map(|()| lock).map_err(error);
            }
        }
    }

    /// The process that works on a campaign now.
    pub fn holder(campaign: &Path) -> Option<u32> {
        LockFile::locked_by(&beside(campaign, "lock"))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be removed is not locked, and that is what counts.
        let _ = std::fs::remove_file(&self.path);
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
