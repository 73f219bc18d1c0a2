//! `.lab/trusted/`: what may be run here, an empty file a digest.
//!
//! Invariant: **it is this user's alone**: a folder that another user could write to says nothing.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use flipsim::files;

use crate::paths;

/// What was made here, or agreed to.
#[derive(Debug, Clone)]
pub struct Trusted {
    folder: PathBuf,
}

impl Trusted {
    /// The lab's own.
    pub fn of_the_lab() -> Result<Trusted> {
        Ok(Trusted { folder: paths::lab_dir()?.join("trusted") })
    }

    /// Whether this may be run without a question.
    pub fn has(&self, digest: &str) -> bool {
        let mine = fs::symlink_metadata(&self.folder).is_ok_and(|meta| is_private(&meta));
        mine && fs::symlink_metadata(self.folder.join(digest)).is_ok_and(|meta| meta.is_file())
    }

    /// Notes that it may.
    pub fn note(&self, digest: &str) -> Result<()> {
        let failed = || format!("cannot note in {} what may be run here", paths::show(&self.folder));
        if let Some(lab) = self.folder.parent() {
            fs::create_dir_all(lab).with_context(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error).with_context(failed),
            _ => {}
        }
        if !fs::symlink_metadata(&self.folder).is_ok_and(|meta| is_private(&meta)) {
            bail!(
                "{} is not a folder that only you can write to, so it cannot say what may be run here; remove it",
                paths::show(&self.folder)
            );
        }
        let place = self.folder.join(digest);
        match files::make_new(&place) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(failed),
            _ => Ok(()),
        }
    }

    /// At a place of the caller's choice.
    #[cfg(test)]
    fn at(folder: &std::path::Path) -> Trusted {
        Trusted { folder: folder.to_owned() }
    }
}

fn is_private(meta: &fs::Metadata) -> bool {
    meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_was_noted_is_known_and_nothing_else() {
        let lab = tempfile::tempdir().unwrap();
        let trusted = Trusted::at(&lab.path().join("trusted"));
        assert!(!trusted.has("abc"));
        trusted.note("abc").unwrap();
        trusted.note("abc").unwrap();
        assert!(trusted.has("abc") && !trusted.has("abd"));
        let mode = fs::metadata(lab.path().join("trusted")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_others_can_write_to_and_a_link_say_nothing() {
        let lab = tempfile::tempdir().unwrap();
        let folder = lab.path().join("trusted");
        let trusted = Trusted::at(&folder);
        trusted.note("abc").unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!trusted.has("abc"));
        assert!(trusted.note("abd").unwrap_err().to_string().contains("remove it"));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let link = Trusted::at(&lab.path().join("link"));
        symlink(&folder, lab.path().join("link")).unwrap();
        assert!(!link.has("abc") && link.note("abd").is_err());
        symlink("/etc/passwd", folder.join("linked")).unwrap();
        assert!(!trusted.has("linked"));
    }
}
