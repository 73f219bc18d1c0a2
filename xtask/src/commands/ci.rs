//! `cargo xtask ci`: everything that must pass before a change lands.
//!
//! Invariant: **it runs all that `test` and `tidy` run**, so that what passes here passes there.

use anyhow::Result;

use super::{test, tidy};
use crate::host::cargo::cargo;

/// Run everything that must pass before a change lands.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  cargo xtask ci --yes")]
pub struct Args {
    /// Install host packages that setup needs without asking
    #[arg(long)]
    yes: bool,
}

/// Runs everything.
pub fn run(args: &Args) -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])?;
    tidy::run()?;
    test::run(&test::Args { fast: false, yes: args.yes, filter: None })
}
