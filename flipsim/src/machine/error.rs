//! Why a guest's folder cannot be made, found or read, and what to do about it.

use std::fs;
use std::io::{self};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A run folder that cannot be made, found or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// `run.json` is not ours.
    #[error("{path} cannot be read ({cause}); it may be of another version of this lab: delete its folder")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// No guest of this name runs.
    #[error("no guest `{name}` is running{known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that run, as `; running: …`, or how to start one.
        known: String,
    },
    /// No guest runs.
    #[error("no guest is running; start one with `cargo xtask boot --headless`")]
    None,
    /// Several guests run.
    #[error("several guests are running ({0}); choose one with --guest NAME")]
    Several(String),
    /// The name is taken by a guest that runs.
    #[error(
        "a guest `{0}` is running already; stop it with `cargo xtask boot stop {0}`, or choose another --name"
    )]
    Taken(String),
    /// Another process holds the guest.
    #[error("another command is working on guest `{0}` at this moment; wait for its end, or stop it")]
    Held(String),
    /// A name that is no plain word.
    #[error("`{0}` is no name for a guest: use letters, digits, `-` and `_`, 32 at most")]
    BadName(String),
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |cause| FolderError::Io { doing, path, cause }
}

pub(super) fn private_folder(path: &Path, may_exist: bool) -> Result<(), FolderError> {
    fs::DirBuilder::new().recursive(may_exist).mode(0o700).create(path).map_err(io_error("create", path))
}
