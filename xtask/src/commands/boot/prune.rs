//! `boot prune`: deletes the folders of guests that have ended.
//!
//! Invariant: **a guest that runs, or that a command has hold of, keeps its folder.**

use anyhow::{Context, Result};
use flipsim::machine::folder::RunDir;

use crate::guest::plan::runs_dir;

/// Deletes the folders of ended guests.
pub(super) fn prune() -> Result<()> {
    let mut count = 0;
    for (run, record) in RunDir::list(&runs_dir()?)? {
        if record.process.is_some_and(|p| p.is_alive()) || run.is_in_use() {
            continue;
        }
        std::fs::remove_dir_all(run.path())
            .with_context(|| format!("cannot delete {}", run.path().display()))?;
        count += 1;
    }
    outln!("deleted the folders of {count} ended guests");
    Ok(())
}
