//! `cargo xtask campaign`: its words, and the file that runs each.
//!
//! Invariant: this file only dispatches. What an outcome is, `flipsim` decides.

use anyhow::Result;

use super::{check, classify, export, grow, merge, new, pack, replay, slurm, stats, status, trial};

/// Run trials and judge their outcomes.
///
/// A trial is one fault, injected at its very instruction in a guest that starts from a saved state,
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
    #[command(visible_alias = "resume")]
    Run(super::run::Args),
    Grow(grow::Args),
    Status(status::Args),
    Stats(Box<stats::Args>),
    Export(export::Args),
    Merge(merge::Args),
    Pack(pack::Args),
    Slurm(slurm::Args),
    Check(check::Args),
    Trial(Box<trial::Args>),
    Replay(replay::Args),
    Classify(classify::Args),
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        Sub::New(args) => new::run(&args),
        Sub::Run(args) => super::run::run(&args),
        Sub::Grow(args) => grow::run(&args),
        Sub::Status(args) => status::run(&args),
        Sub::Stats(args) => stats::run(&args),
        Sub::Export(args) => export::run(&args),
        Sub::Merge(args) => merge::run(&args),
        Sub::Pack(args) => pack::run(&args),
        Sub::Slurm(args) => slurm::run(&args),
        Sub::Check(args) => check::run(&args),
        Sub::Trial(args) => trial::run(&args),
        Sub::Replay(args) => replay::run(&args),
        Sub::Classify(args) => classify::run(&args),
    }
}
