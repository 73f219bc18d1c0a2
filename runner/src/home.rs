//! Bringing results home: a slice's results, from this machine's disk to the folder that all see.
//!
//! Invariant: a file at home is replaced as a whole, and only by the one who has the slice.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flipsim::campaign::{Shard, Store};
use flipsim::files;
use flipsim::pack::{Claim, Slices, State};

use crate::errors::{Error, io_error};

/// What brings the results of a slice home.
pub struct Courier<'a> {
    /// The campaign's file on this machine, to be read.
    pub results: &'a Mutex<Store>,
    /// A folder of this machine.
    pub scratch: &'a Path,
    /// Where home is.
    pub slices: &'a Slices,
    /// The slice.
    pub claim: &'a Claim,
}

impl Courier<'_> {
    /// How many trials the slice has.
    pub fn trials(&self) -> u64 {
        self.claim.shard.trials_of(self.results().len())
    }

    /// Brings home what there is; whether the slice still is ours.
    pub fn bring(&self, state: State) -> Result<bool, Error> {
        let shard = self.claim.shard;
        if !self.slices.is_ours(self.claim) {
            return Ok(false);
        }
        let home = self.slices.part(shard);
        let done = match self.made(self.scratch, shard) {
            Ok((local, done)) => {
                put(&local, &home)?;
                files::remove_file(&local).map_err(io_error("remove", &local))?;
                done
            }
            // A full disk here need not keep results from a place that has room.
            Err(_) => {
                let folder = home.parent().unwrap_or(Path::new("."));
                let beside = files::private_folder_in(folder).map_err(io_error("write to", folder))?;
                let (local, done) = self.made(beside.path(), shard)?;
                std::fs::rename(&local, &home).map_err(io_error("write", &home))?;
                done
            }
        };
        let trials = self.trials();
        let is_less = state == State::Done && done < trials;
        let is_ours = self.slices.say(self.claim, if is_less { State::Left } else { state }, done, trials)?;
        if is_less {
            return Err(Error::Here(format!(
                "{done} of the {trials} trials of slice {shard} were brought home"
            )));
        }
        Ok(is_ours)
    }

    /// Says that the slice is being run.
    pub fn beat(&self) -> Result<bool, Error> {
        Ok(self.slices.beat(self.claim)?)
    }

    fn results(&self) -> MutexGuard<'_, Store> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self, folder: &Path, shard: Shard) -> Result<(PathBuf, u64), Error> {
        let local = folder.join("part.sqlite");
        for ending in ["", ".lock"] {
            let path = files::beside(&local, ending);
            files::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        let done = self.results().copy_part(&local, shard)?;
        Ok((local, done))
    }
}

/// Copies a file to another file system, under another name first.
fn put(from: &Path, to: &Path) -> Result<(), Error> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let beside = files::private_folder_in(folder).map_err(io_error("write to", folder))?;
    let copy = beside.path().join("part");
    let copied = files::copy(from, &copy).and_then(|()| File::open(&copy)?.sync_all());
    copied.and_then(|()| std::fs::rename(&copy, to)).map_err(io_error("write", to))
}

/// Takes into this machine's file what an earlier process brought home of a slice.
pub fn take_up(store: &mut Store, slices: &Slices, shard: Shard) -> Result<(), Error> {
    let home = slices.part(shard);
    match std::fs::metadata(&home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error("look at", &home))?,
    };
    store.merge(&[home])?;
    Ok(())
}
