//! Runs cargo in the workspace.
//!
//! Invariant: **a warning in the docs is an error**, as one in the code is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::proc;
use crate::{interrupt, paths};

/// Runs cargo; an error when it fails.
pub fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

/// Runs cargo with more in its environment.
pub fn cargo_with(arguments: &[&str], variables: &[(String, PathBuf)]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(paths::workspace_root()?);
    // A warning in the docs is an error, as one in the code is.
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    eprintln!("+ cargo {}", arguments.join(" "));
    let status = proc::wait_passing_on("cargo", &mut command.spawn().context("cannot run cargo")?)?;
    interrupt::check()?;
    if !status.success() {
        bail!("`cargo {}` failed; its output is above", arguments.join(" "));
    }
    Ok(())
}
