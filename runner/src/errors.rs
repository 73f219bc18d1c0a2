//! What goes wrong, and whether it is worth another try.
//!
//! Invariant: what is wrong with the campaign, the pack or the command line is never worth one.

use std::path::PathBuf;

use flipsim::campaign::StoreError;
use flipsim::campaign::run::CampaignError;
use flipsim::pack::PackError;
use flipsim::trial::RunError;
use flipsim::trial::template::TemplateError;

use crate::signals::Ended;

/// It may work elsewhere, or later (`sysexits.h`, EX_TEMPFAIL).
const TRY_AGAIN: u8 = 75;

/// Why a run of a pack ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for, or the pack.
    #[error("{0}")]
    Usage(String),
    /// The machine.
    #[error("{0}")]
    Here(String),
    /// The pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The campaign's file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The campaign.
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    /// The guest.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A guest.
    #[error("{0}")]
    Run(#[from] RunError),
    /// A file.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A signal came.
    #[error(transparent)]
    Signal(#[from] Ended),
}

impl Error {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Error::Usage(_)
            | Error::Pack(
                PackError::NotAPack(_)
                | PackError::Format { .. }
                | PackError::Damaged { .. }
                | PackError::OtherCampaign { .. },
            ) => 2,
            Error::Pack(PackError::Condemned { .. })
            | Error::Campaign(
                CampaignError::Audit { .. } | CampaignError::Control { .. } | CampaignError::NotRestored(_),
            ) => 1,
            Error::Template(TemplateError::Differs { .. } | TemplateError::NotExact) => 1,
            Error::Store(StoreError::Stranger { .. } | StoreError::Disagree { .. }) => 1,
            Error::Signal(ended) => ended.code(),
            // A disk, a process, a file system: another machine may do better.
            _ => TRY_AGAIN,
        }
    }
}

pub fn io_error(doing: &'static str, path: &std::path::Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::Io { doing, path: path.clone(), cause }
}
