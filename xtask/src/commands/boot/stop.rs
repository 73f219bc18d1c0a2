//! `boot stop`: stops guests by name, or all.
//!
//! Invariant: **their logs and records stay; one that cannot be stopped keeps none of the others.**

use std::collections::BTreeSet;

use anyhow::Result;
use flipsim::machine::folder::{RunDir, RunRecord};

use crate::guest::errors::lookup_error;
use crate::guest::headless::stop_run;
use crate::guest::plan::runs_dir;
use crate::paths;

/// Stops the guests of these names, the only one that runs, or `all`.
pub fn stop(names: &[String], all: bool) -> Result<()> {
    let runs = runs_dir()?;
    let mut failures: Vec<anyhow::Error> = Vec::new();
    let targets: Vec<(RunDir, RunRecord)> = if all {
        let running = RunDir::list(&runs)?.into_iter();
        running.filter(|(_, record)| record.process.is_some_and(|p| p.is_alive())).collect()
    } else if names.is_empty() {
        vec![RunDir::find_running(&runs, None).map_err(lookup_error)?]
    } else {
        let find = |name: &String| RunDir::find_running(&runs, Some(name)).map_err(lookup_error);
        let found = names.iter().filter_map(|name| find(name).map_err(|error| failures.push(error)).ok());
        // A name that is given twice is one guest.
        let mut found: Vec<(RunDir, RunRecord)> = found.collect();
        let mut known = BTreeSet::new();
        found.retain(|(run, _)| known.insert(run.path().to_owned()));
        found
    };
    for (run, record) in &targets {
        match stop_run(run, record) {
            Ok(()) => outln!("stopped guest {}; its logs are in {}", record.name, paths::show(run.path())),
            Err(error) => failures.push(error),
        }
    }
    if targets.is_empty() && failures.is_empty() {
        outln!("no guest is running");
    }
    // The last one is the command's own error, with its exit code.
    let last = failures.pop();
    for error in failures {
        eprintln!("error: {error:#}");
    }
    last.map_or(Ok(()), Err)
}
