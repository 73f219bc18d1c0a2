//! The command line of the lab: parses, dispatches, and turns an error into an exit code.
//!
//! Invariant: nothing is decided here. Each command is a file of its own.

mod boot;
mod cache;
mod config;
mod digest;
mod exit;
mod inject;
mod interrupt;
mod lab;
mod paths;
mod proc;
mod progress;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// A laboratory for single-event upsets: builds a QEMU lab, boots a Linux guest in it, flips bits in
/// that guest's RAM and registers, and says what came of it.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = format!("\
First steps:
  cargo xtask inject        the whole way, from nothing to the first flips
  cargo xtask doctor        what this host has and lacks
  cargo xtask boot          a guest of your own, at its console

{}", exit::HELP)
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Boot(boot::Args),
    Inject(inject::Args),
    /// The parent of a headless guest; only `boot` starts it
    #[command(hide = true)]
    GuestWatch {
        /// The guest's folder
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The watcher lives and dies with its guest and must not be stopped by signals meant for us.
    if !matches!(cli.command, Command::GuestWatch { .. })
        && let Err(error) = interrupt::install()
    {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let result = match cli.command {
        Command::Boot(args) => boot::run(args),
        Command::Inject(args) => inject::run(args),
        Command::GuestWatch { folder } => boot::watch_guest(&folder),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::code_of(&error))
        }
    }
}
