//! `cargo xtask campaign`: many trials, and what came of them.
//!
//! Invariant: this file only dispatches. What an outcome is, `flipsim` decides.

mod classify;

use anyhow::Result;

/// Judge what came of many trials.
///
/// A console that a trial left is put into a class: whether the guest crashed, noticed something, or
/// ended as it should, and by which report.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign classify .lab/runs/g1/console.log
  cargo xtask campaign classify a.log b.log | jq -r .title")]
pub struct Args {
    #[command(subcommand)]
    sub: Sub,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    Classify(classify::Args),
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        Sub::Classify(args) => classify::run(&args),
    }
}
