//! Digests of files, kept so that a file that has not changed is read once.
//!
//! Invariant: **what is answered is the digest of what the file holds**: a file is known by its size, its inode and
//! both of its times, to the nanosecond, and is not kept while it is so new that a change could leave these as they are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::writing::{file_digest, write_atomically};

/// A clock of a file system may tick so rarely (FAT's, the slowest, every two seconds).
const TICK: Duration = Duration::from_secs(2);

/// So many are kept.
const MOST: usize = 1000;

/// What distinguishes a file from one that was changed, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    size: u64,
    device: u64,
    inode: u64,
    written_ns: i64,
    changed_ns: i64,
}

impl Look {
    fn at(path: &Path) -> io::Result<Look> {
        let meta = fs::metadata(path)?;
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Ok(Look {
            size: meta.len(),
            device: meta.dev(),
            inode: meta.ino(),
            written_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether a change from now on would show.
    fn is_old(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let newest = u64::try_from(self.written_ns.max(self.changed_ns)).unwrap_or(u64::MAX);
        Duration::from_nanos(newest).checked_add(TICK).is_some_and(|end| end < now)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    look: Look,
    sha256: String,
}

/// The digests of files that were read before, in a file.
#[derive(Debug)]
pub struct Digests {
    path: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    is_new: bool,
}

impl Digests {
    /// Those that are kept in a file; where it cannot be read, there are none yet.
    #[must_use]
    pub fn open(path: &Path) -> Digests {
        let known = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Digests { path: path.to_owned(), known: known.unwrap_or_default(), is_new: false }
    }

    /// The SHA-256 of a file, in hexadecimal; it is read where it is not as it was. `interrupted` is asked often.
    ///
    /// # Errors
    /// The file cannot be read, or the caller wants to stop.
    pub fn of(&mut self, path: &Path, interrupted: fn() -> bool) -> io::Result<String> {
        let look = Look::at(path)?;
        if let Some(known) = self.known.get(path).filter(|known| known.look == look) {
            return Ok(known.sha256.clone());
        }
        let sha256 = file_digest(path, interrupted)?;
        if look.is_old() && Look::at(path)? == look {
            self.known.insert(path.to_owned(), Known { look, sha256: sha256.clone() });
            self.is_new = true;
        }
        Ok(sha256)
    }

    /// Writes down what is new.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&mut self) -> io::Result<()> {
        if !self.is_new {
            return Ok(());
        }
        if self.known.len() > MOST {
            self.known.retain(|path, _| path.exists());
        }
        write_atomically(&self.path, &serde_json::to_vec(&self.known)?)?;
        self.is_new = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path) {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_file_is_read_again_once_it_may_hold_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, file) = (folder.path().join("digests.json"), folder.path().join("file"));
        fs::write(&file, "one").unwrap();
        let mut digests = Digests::open(&kept);
        let one = digests.of(&file, || false).unwrap();
        // So new a file could be written again without a trace.
        assert!(digests.known.is_empty());
        fs::write(&file, "two").unwrap();
        assert_ne!(digests.of(&file, || false).unwrap(), one);
        digests.keep().unwrap();
        assert!(!kept.exists());
        // Time passes: its own clock cannot be set, so what is known of it is.
        age(&file);
        let look = Look::at(&file).unwrap();
        digests.known.insert(file.clone(), Known { look, sha256: "kept".into() });
        digests.is_new = true;
        digests.keep().unwrap();
        let mut digests = Digests::open(&kept);
        assert_eq!(digests.of(&file, || false).unwrap(), "kept");
        // The same size and the same time of writing, and yet it was changed.
        fs::write(&file, "six").unwrap();
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(UNIX_EPOCH + Duration::from_nanos(look.written_ns.cast_unsigned()))
            .unwrap();
        assert_eq!(Look::at(&file).unwrap().written_ns, look.written_ns);
        assert_ne!(digests.of(&file, || false).unwrap(), "kept");
    }

    #[test]
    fn what_is_damaged_is_read_again_and_what_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("digests.json");
        fs::write(&kept, "{\"/x\": 1").unwrap();
        let mut digests = Digests::open(&kept);
        assert!(digests.known.is_empty());
        assert!(digests.of(&folder.path().join("none"), || false).is_err());
    }
}
