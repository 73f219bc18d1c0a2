//! Why a campaign cannot go on.
//!
//! Invariant: what was finished is kept, or it is said what was taken back.

use crate::campaign::plan::TrialId;
use crate::campaign::store::error::StoreError;

/// A campaign that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker broke off in a way that it must not.
    #[error(
        "a worker ended without saying why; this is an error of the lab itself. What was finished is kept"
    )]
    WorkerLost,
    /// No worker's clone starts any more: the disk is full, QEMU is gone.
    #[error(
        "no guest starts any more: {0}; nothing that was finished is lost: mend that (where the disk is full, make \
         room) and resume"
    )]
    NoGuest(String),
    /// Going back was found not to restore the state, again and again.
    #[error(
        "{0}; no trial since the last check is believed. A campaign with `restore = \"clone\"` in its file does without"
    )]
    NotRestored(String),
    /// A trial that was run whole has another record than was known of it before.
    #[error(
        "the audit of trial {id} failed: run whole, its {what} differed; the {taken_back} results that were settled, \
         begun late or ended early are taken back. Run the campaign with `--settle off`, and report this with \
         `cargo xtask campaign replay`"
    )]
    Audit {
        /// The trial.
        id: TrialId,
        /// The keys of its record that differ.
        what: String,
        /// How many results are pending again.
        taken_back: usize,
    },
    /// A trial without a fault did not go as the golden run.
    #[error(
        "the control trial beside trial {id} failed: without any fault, {what}; the {taken_back} results of that worker \
         since its way back was last checked are taken back. See `cargo xtask bench determinism`, and report this"
    )]
    Control {
        /// The trial.
        id: TrialId,
        /// What was not as in the golden run.
        what: String,
        /// How many results are pending again.
        taken_back: usize,
    },
    /// What is known of trials cannot be read.
    #[error("cannot read the template's RAM: {0}")]
    Template(#[from] std::io::Error),
}
