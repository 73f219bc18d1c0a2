//! Where a pack is unpacked: a private folder on a disk of this machine, which is removed at the end; one that a killed
//! process left is removed by the next. It lies in one of this user's, which the last one removes.
//!
//! Invariants: no other user can have made it; **who makes something in the user's folder, or removes that, holds its lock**.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use flipsim::files::shared_file_system;
use flipsim::trial::clone::{CloneOptions, Folder};
use flipsim::units::format_size;
use rustix::fs::{Mode, OFlags};

use crate::errors::{Error, io_error};

/// Folders that batch systems and users name for this.
const VARIABLES: [&str; 2] = ["SLURM_TMPDIR", "TMPDIR"];

/// Room beside what is unpacked: results, the guests' own folders.
const BESIDES: u64 = 256 << 20;

/// The folder, until it is dropped.
pub struct Scratch {
    folder: Option<Folder>,
    /// The user's folder.
    own: PathBuf,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().map_or(&self.own, Folder::path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.folder = None;
        // Another process of this user may have something in it, and removes it then.
        if let Ok(Some(_held)) = hold(&self.own) {
            let _ = std::fs::remove_dir(&self.own);
        }
    }
}

/// The lock of a folder; `None` where another has taken its place meanwhile.
fn hold(own: &Path) -> io::Result<Option<File>> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = File::from(rustix::fs::open(own, folder, Mode::empty())?);
    held.lock()?;
    let (mine, there) = (held.metadata()?, std::fs::symlink_metadata(own)?);
    Ok((mine.ino() == there.ino() && mine.dev() == there.dev()).then_some(held))
}

/// Makes the user's folder where it is not there, and takes its lock.
fn made_and_held(own: &Path, user: u32) -> Result<File, Error> {
    // Another process may remove it at any moment before that.
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    loop {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(own);
        made.map_err(io_error("make", own))?;
        let meta = match std::fs::symlink_metadata(own) {
            Err(error) if gone(&error) => continue,
            other => other.map_err(io_error("look at", own))?,
        };
        if !meta.is_dir() || meta.uid() != user || meta.mode() & 0o077 != 0 {
            return Err(Error::Here(format!(
                "{} is not this user's alone; remove it, or name another folder with --scratch",
                own.display()
            )));
        }
        match hold(own) {
            Ok(Some(held)) => return Ok(held),
            Ok(None) => {}
            Err(error) if gone(&error) => {}
            Err(error) => return Err(io_error("lock", own)(error)),
        }
    }
}

/// Makes the folder, in the one that was asked for or the first that is there.
pub fn make(wanted: Option<&Path>, unpacked: u64) -> Result<Scratch, Error> {
    let named = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let mut places = wanted.map(Path::to_owned).into_iter().chain(named.filter(|_| wanted.is_none()));
    let place = places.find(|place| place.is_dir()).unwrap_or_else(|| "/tmp".into());
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_dir()) {
        return Err(Error::Usage(format!("--scratch {}: there is no such folder", wanted.display())));
    }
    if let Some(shared) = shared_file_system(&place) {
        eprintln!(
            "note: the scratch folder {} lies on {shared}, which is slow for this; --scratch names another",
            place.display()
        );
    }
    let need = unpacked.saturating_add(BESIDES);
    if let Some(free) = free(&place).filter(|free| *free < need) {
        return Err(Error::Here(format!(
            "{} has {} free, and {} are needed; make room, or name another folder with --scratch",
            place.display(),
            format_size(free),
            format_size(need)
        )));
    }
    let user = rustix::process::geteuid().as_raw();
    let own = place.join(format!("flipsim-{user}"));
    let _held = made_and_held(&own, user)?;
    let options = CloneOptions { name: "pack".to_owned(), ..CloneOptions::below(&own) };
    Ok(Scratch { folder: Some(Folder::make(&options)?), own })
}

/// What a file system has for users, in bytes.
fn free(place: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(place).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_leaves_nothing() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let left = || std::fs::read_dir(place.path()).expect("it is there").count();
        let [one, other] = [1, 2].map(|_| make(Some(place.path()), 0).expect("there is room"));
        assert!(one.path().is_dir() && other.path().is_dir() && one.path() != other.path());
        drop(one);
        assert!(other.path().is_dir());
        drop(other);
        assert_eq!(left(), 0);
        // However many come and go at once.
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let come_and_go =
                    || (0..50).for_each(|_| drop(make(Some(place.path()), 0).expect("there is room")));
                scope.spawn(come_and_go);
            }
        });
        assert_eq!(left(), 0);
    }
}
