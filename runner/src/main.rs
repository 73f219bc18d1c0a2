//! `flipsim-run`: runs a packed campaign, or its share of one, on a machine that has nothing of the lab.
//!
//! Invariant: **what is finished is brought home**: now and then, and at once when a signal says that time is short.

mod args;
mod consent;
mod element;
mod errors;
mod home;
mod join;
mod progress;
mod run;
mod scratch;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Args::parse();
    if let Err(error) = signals::install() {
        eprintln!("warning: signals are not taken in, so that one ends this at once: {error}");
    }
    match run::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.code())
        }
    }
}
