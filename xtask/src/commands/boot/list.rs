//! `boot list`: the guests that run, or whose folders are still there.
//!
//! Invariant: **a guest that another process has hold of is left alone.**

use anyhow::Result;
use flipsim::machine::folder::RunDir;
use flipsim::units::format_size;

use crate::guest::headless::state_of;
use crate::guest::plan::runs_dir;
use crate::paths;

/// Lists guests, with `all` the ended ones too.
pub(super) fn list(all: bool, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for (run, record) in RunDir::list(&runs_dir()?)? {
        let running = record.process.is_some_and(|p| p.is_alive());
        if !running && !run.is_in_use() {
            // Whatever was killed could not clean up after itself.
            run.remove_sockets();
        }
        if running || all {
            let state = if running { state_of(&run) } else { "ended" };
            rows.push((run, record, running, state));
        }
    }
    if json {
        let values: Vec<_> = rows
            .iter()
            .map(|(run, record, running, state)| {
                serde_json::json!({ "running": running, "state": state, "folder": run.path(), "guest": record })
            })
            .collect();
        outln!("{}", serde_json::to_string_pretty(&values)?);
        return Ok(());
    }
    if rows.is_empty() {
        outln!("no guest is running; start one with `cargo xtask boot --headless`");
    }
    for (run, record, _, state) in rows {
        outln!(
            "{:10} {state:8} {:8} {:>9}  {:8} since {:.0}  {}",
            record.name,
            record.arch,
            format_size(record.memory),
            record.workload.as_deref().unwrap_or("shell"),
            record.started,
            paths::show(run.path()),
        );
    }
    Ok(())
}
