//! Applies a series of patches to a source tree.
//!
//! Invariant: **a patch that does not fit ends it**, and the file that it is about is named.

use std::path::Path;

use anyhow::{Result, anyhow};
use xshell::{Shell, cmd};

use crate::host::proc::CommandRunner;
use crate::interrupt::Interrupted;
use crate::lab::patches::read_series;
use crate::progress::ProgressStep;

/// Applies the patches of `patches/series` to the tree, in order. A folder without one has none.
pub fn apply_series(runner: &CommandRunner, human: &str, tree: &Path, patches: &Path) -> Result<()> {
    let series = read_series(patches)?;
    if series.is_empty() {
        return Ok(());
    }
    let step = runner.step(|| ProgressStep::parts(format!("patching {human}"), series.len() as u64));
    for (done, (name, strip)) in series.iter().enumerate() {
        step.set(done as u64);
        step.line(name);
        let sh = Shell::new()?;
        let patch = patches.join(name);
        // --no-backup-if-mismatch: a patch that applies with an offset would leave a .orig file.
        let command =
            cmd!(sh, "patch {strip} --forward --batch --no-backup-if-mismatch -d {tree} -i {patch}");
        runner
            .run_quietly(&format!("applying {name}"), "patch.log", command.into())
            .map_err(|error| explain_reject(error, name, human))?;
    }
    let count = series.len();
    if runner.is_dry() {
        drop(step);
    } else {
        step.done_with(&format!("{count} {}", if count == 1 { "patch" } else { "patches" }));
    }
    Ok(())
}

/// Puts the file that does not fit in front; patch's own output follows.
fn explain_reject(error: anyhow::Error, patch: &str, human: &str) -> anyhow::Error {
    if error.is::<Interrupted>() {
        return error;
    }
    let text = format!("{error:#}");
    let file = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("patching file "))
        .next_back()
        .unwrap_or("a file that is not there");
    anyhow!("the patch {patch} does not fit this source of {human}: {file}\n{text}")
}
