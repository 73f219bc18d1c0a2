//! `cargo xtask campaign`: trials, and what came of them.
//!
//! Invariant: this file only dispatches. What an outcome is, `flipsim` decides.

mod classify;
mod diff;
pub mod new;
pub mod places;
pub mod prepare;
mod replay;
pub mod run;
pub mod show;
mod stats;
mod status;
mod trial;

use anyhow::Result;
use flipsim::campaign::StoreError;

use crate::exit::{Code, exit_error};

/// Carry out trials and judge what came of them.
///
/// A trial is one fault, carried out at its very instruction in a guest that starts from a saved state,
/// compared with a run without a fault, and judged by evidence.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign new second --trials 200
  cargo xtask campaign run second
  cargo xtask campaign status second
  cargo xtask campaign stats first --by symbol
  cargo xtask campaign trial --at 12.5ms --ram 0x46000000:3
  cargo xtask campaign trial --at 100ms --reg x19:5 --diff
  cargo xtask campaign replay trial.json
  cargo xtask campaign replay first --trial 17
  cargo xtask campaign classify .lab/runs/g1/console.log")]
pub struct Args {
    #[command(subcommand)]
    sub: Sub,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    New(Box<new::Args>),
    #[command(alias = "resume")]
    Run(run::Args),
    Status(status::Args),
    Stats(stats::Args),
    Export(status::ExportArgs),
    Merge(status::MergeArgs),
    Trial(Box<trial::Args>),
    Replay(replay::Args),
    Classify(classify::Args),
}

/// An error of a campaign's file, with its exit code: a disk that is full is no error of the command line's.
pub fn store_error(error: StoreError) -> anyhow::Error {
    use StoreError::{Full, Gone, Io, Locked, ReadOnly, Sqlite};
    match error {
        Full { .. } | Gone(_) | Io { .. } | Locked { .. } | ReadOnly(_) | Sqlite { .. } => error.into(),
        other => exit_error(Code::Usage, other.to_string()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        Sub::New(args) => new::run(&args),
        Sub::Run(args) => run::run(&args),
        Sub::Status(args) => status::run(&args),
        Sub::Stats(args) => stats::run(&args),
        Sub::Export(args) => status::export(&args),
        Sub::Merge(args) => status::merge(&args),
        Sub::Trial(args) => trial::run(&args),
        Sub::Replay(args) => replay::run(&args),
        Sub::Classify(args) => classify::run(&args),
    }
}
