//! A synthetic campaign with its summary, for the tests of this folder.
//!
//! Invariant: it is the campaign of a hostile guest, so that every test of a page sees markup in its texts.

use tempfile::TempDir;

use crate::campaign::Store;
use crate::campaign::summary::{Summary, SummaryOptions};

/// A campaign in its own folder.
pub struct Sample {
    /// The campaign.
    pub store: Store,
    /// What it says.
    pub summary: Summary,
    _folder: TempDir,
}

/// A campaign of so many trials.
pub fn campaign(trials: u64) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let store =
        crate::testing::hostile_campaign::sample(&folder.path().join("sample.sqlite"), trials).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    Sample { store, summary, _folder: folder }
}
