//! Where a pack is unpacked: a private folder on a disk of this machine, which is removed at the end; one that a killed
//! process left is removed by the next.
//!
//! Invariant: no other user can have made it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use flipsim::files::shared_file_system;
use flipsim::trial::clone::{CloneOptions, Folder};
use flipsim::units::format_size;

use crate::errors::{Error, io_error};

/// Folders that batch systems and users name for this.
const VARIABLES: [&str; 2] = ["SLURM_TMPDIR", "TMPDIR"];

/// Room beside what is unpacked: results, the guests' own folders.
const BESIDES: u64 = 256 << 20;

/// Makes the folder, in the one that was asked for or the first that is there.
pub fn make(wanted: Option<&Path>, unpacked: u64) -> Result<Folder, Error> {
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
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&own);
    made.map_err(io_error("make", &own))?;
    let meta = std::fs::symlink_metadata(&own).map_err(io_error("look at", &own))?;
    if !meta.is_dir() || meta.uid() != user || meta.mode() & 0o077 != 0 {
        return Err(Error::Here(format!(
            "{} is not this user's alone; remove it, or name another folder with --scratch",
            own.display()
        )));
    }
    let options = CloneOptions { name: "pack".to_owned(), ..CloneOptions::below(&own) };
    Ok(Folder::make(&options)?)
}

/// What a file system has for users, in bytes.
fn free(place: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(place).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
