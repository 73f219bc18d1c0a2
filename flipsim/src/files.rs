//! Files that are there whole or not at all, locks that are waited for a moment, digests of files.
//!
//! Invariant: **no reader sees half a file**.

pub mod input;

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::text::hex;

/// Writes a file through a neighbour and a rename, so that a reader sees the old or the new text.
///
/// # Errors
/// The file cannot be written; what was there before still is.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    // Without it, a machine that loses its power may be left with the new name and none of the bytes.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Locks a file, or says that another process has it locked. One that is just being started has, for the
/// moment between fork and exec, whatever its parent had open: that is waited for.
///
/// # Errors
/// As [`File::try_lock`].
pub fn lock_soon(file: &File) -> Result<(), fs::TryLockError> {
    let end = Instant::now() + Duration::from_millis(200);
    loop {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// A file that one process at a time has locked, with a text in it for the others. The lock is the kernel's, and
/// goes with the process.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// Opens the file, which is made when missing; it is not locked yet.
    ///
    /// # Errors
    /// The system said no.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).open(path).map(LockFile)
    }

    /// Locks it, as [`lock_soon`].
    ///
    /// # Errors
    /// Another process has it locked, or the system said no.
    pub fn lock(&self) -> Result<(), fs::TryLockError> {
        lock_soon(&self.0)
    }

    /// Device and inode, by which a path that leads to another file by now is noticed.
    ///
    /// # Errors
    /// The system said no.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        self.0.metadata().map(|file| (file.dev(), file.ino()))
    }

    /// All that is in it.
    ///
    /// # Errors
    /// The system said no.
    pub fn read(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes a text in the place of what is in it.
    ///
    /// # Errors
    /// The system said no.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text.as_bytes())
    }

    /// Writes the number of this process into it, for messages of those that wait.
    ///
    /// # Errors
    /// The system said no.
    pub fn sign(&mut self) -> io::Result<()> {
        self.write(&format!("{}\n", std::process::id()))
    }

    /// The process that signed it last, where that can be read.
    #[must_use]
    pub fn signer(&mut self) -> Option<u32> {
        self.read().ok()?.trim().parse().ok()
    }

    /// The process that has a file locked now, which is not made when missing; 0 for one that did not sign.
    #[must_use]
    pub fn locked_by(path: &Path) -> Option<u32> {
        let mut file = LockFile(File::open(path).ok()?);
        match file.0.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => Some(file.signer().unwrap_or(0)),
            _ => None,
        }
    }
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn file_digest(path: &Path) -> io::Result<String> {
    stream_digest(input::open(path)?, |error| error, || Ok(())).map(|(digest, _)| digest)
}

/// The SHA-256 of all that can be read, in hexadecimal, and how many bytes that is. `go_on` is asked before each
/// piece.
///
/// # Errors
/// What `go_on` said, or that it cannot be read.
pub fn stream_digest<E>(
    mut from: impl Read,
    error: impl Fn(io::Error) -> E,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<(String, u64), E> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        go_on()?;
        match from.read(&mut buffer).map_err(&error)? {
            0 => return Ok((hex(&hasher.finalize()), size)),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

/// A path with something added to its name.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// It cannot be removed.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; one that is not there is no error.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_failure_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert!(write_atomically(&folder.path().join("no/such/folder"), b"third").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
    }

    #[test]
    fn a_locked_file_says_who_has_it_and_is_free_when_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(LockFile::locked_by(&path), None);
        assert!(!path.exists(), "a look makes nothing");
        let mut mine = LockFile::open(&path).unwrap();
        mine.lock().unwrap();
        assert_eq!(LockFile::locked_by(&path), Some(0));
        mine.write("a longer text than the number").unwrap();
        mine.sign().unwrap();
        assert_eq!(LockFile::locked_by(&path), Some(std::process::id()));
        let mut other = LockFile::open(&path).unwrap();
        assert!(matches!(other.lock(), Err(fs::TryLockError::WouldBlock)));
        assert_eq!((other.signer(), other.identity().unwrap()), (mine.signer(), mine.identity().unwrap()));
        drop(mine);
        assert_eq!(LockFile::locked_by(&path), None);
        other.lock().unwrap();
        assert_eq!(other.read().unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn what_is_not_there_is_removed_already() {
        let folder = tempfile::tempdir().unwrap();
        let file = beside(&folder.path().join("a"), ".part");
        assert_eq!(file.file_name().unwrap(), "a.part");
        fs::write(&file, "x").unwrap();
        for _ in 0..2 {
            remove_file(&file).unwrap();
            remove_tree(folder.path()).unwrap();
        }
        assert!(!folder.path().exists());
    }

    #[test]
    fn the_digest_of_abc_is_the_one_in_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = |go_on: fn() -> io::Result<()>| stream_digest(&b"abc"[..], |error| error, go_on);
        assert_eq!(digest(|| Ok(())).unwrap(), (abc.to_owned(), 3));
        assert_eq!(digest(|| Err(io::ErrorKind::Other.into())).unwrap_err().kind(), io::ErrorKind::Other);
    }
}
