//! Which process works on a campaign: a lock on a file beside it.
//!
//! Not on the campaign's own file: closing any descriptor of a file drops the POSIX locks that SQLite
//! holds on it in the same process.
//!
//! Invariant: one process at most holds the lock, and one that is killed holds it no more.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{StoreError, system};

use crate::files::lock_soon;

/// The lock, while it is held.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Closed last, after the file was removed.
    file: File,
}

impl Lock {
    /// Takes the lock of a campaign, or says who has it.
    pub fn take(campaign: &Path) -> Result<Lock, StoreError> {
        let path = beside(campaign, "lock");
        let error = system("lock", &path);
        loop {
            let mut options = OpenOptions::new();
            let mut file =
                options.read(true).write(true).create(true).truncate(false).open(&path).map_err(&error)?;
            match lock_soon(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked { path: campaign.to_owned(), by: holder(&mut file) });
                }
                Err(TryLockError::Error(cause)) => return Err(error(cause)),
            }
            // The one before may have removed the file between our opening and our locking it.
            let own = file.metadata().map_err(&error)?;
            if identity(&path) == Some((own.dev(), own.ino())) {
                // Where there is no room for the number, the file goes again.
                let mut lock = Lock { path, file };
                let told = lock.file.set_len(0).and_then(|()| writeln!(lock.file, "{}", std::process::id()));
                return told.map(|()| lock).map_err(error);
            }
        }
    }

    /// The process that works on a campaign now.
    pub fn holder(campaign: &Path) -> Option<u32> {
        let mut file = File::open(beside(campaign, "lock")).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Some(holder(&mut file).unwrap_or(0)),
            _ => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be removed is locked by nobody, and that is what counts.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A campaign's file with another ending behind its own.
pub fn beside(campaign: &Path, ending: &str) -> PathBuf {
    let mut name = campaign.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Which file a path leads to: device and inode.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
