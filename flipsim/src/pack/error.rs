//! What can be wrong with a pack, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::campaign::store::StoreError;
use crate::trial::template::TemplateError;

/// A pack that cannot be written, read or run.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
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
    /// Another kind of file.
    #[error("{0} is no pack of flipsim's: it does not begin as one; `cargo xtask campaign pack` makes one")]
    NotAPack(PathBuf),
    /// Of another version.
    #[error(
        "{path} has format {found}, and this flipsim knows {known}; take the runner that is in it: tar -xf {path} flipsim-run"
    )]
    Format {
        /// The pack.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It is not what it was.
    #[error("{path} is damaged: {what}; copy it again and compare its digest with that of the original")]
    Damaged {
        /// The pack.
        path: PathBuf,
        /// What of it.
        what: String,
    },
    /// The folder where parts come together is of another campaign.
    #[error("{folder} has parts of another campaign ({found}); give another folder with --out")]
    OtherCampaign {
        /// The folder.
        folder: PathBuf,
        /// Whose.
        found: String,
    },
    /// A trial that was run whole had another record than was known of it before, or one without a fault was not masked.
    #[error(
        "a check failed, so nothing in {folder} is believed: {why}. Where that was an audit, run all of it again with \
         --whole and another --out; report this in any case"
    )]
    Condemned {
        /// The folder.
        folder: PathBuf,
        /// Who found what.
        why: String,
    },
    /// The campaign in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The guest in it.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> PackError {
    let path = path.to_owned();
    move |cause| PackError::Io { doing, path: path.clone(), cause }
}
