//! `boot stop`: stops guests by name, or all.
//!
//! Invariant: **their logs and records stay.**

use anyhow::Result;
use flipsim::machine::folder::{RunDir, RunRecord};

use crate::guest::errors::lookup_error;
use crate::guest::headless::stop_run;
use crate::guest::plan::runs_dir;
use crate::paths;

/// Stops the guests of these names, the only one that runs, or `all`.
pub fn stop(names: &[String], all: bool) -> Result<()> {
    let runs = runs_dir()?;
    let targets: Vec<(RunDir, RunRecord)> = if all {
        let running = RunDir::list(&runs)?.into_iter();
        running.filter(|(_, record)| record.process.is_some_and(|p| p.is_alive())).collect()
    } else if names.is_empty() {
        vec![RunDir::find_running(&runs, None).map_err(lookup_error)?]
    } else {
        let find = |name: &String| RunDir::find_running(&runs, Some(name)).map_err(lookup_error);
        names.iter().map(find).collect::<Result<_>>()?
    };
    for (run, record) in &targets {
        stop_run(run, record)?;
        outln!("stopped guest {}; its logs are in {}", record.name, paths::show(run.path()));
    }
    if targets.is_empty() {
        outln!("no guest is running");
    }
    Ok(())
}
