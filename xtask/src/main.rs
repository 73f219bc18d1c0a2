//! The command line of the lab: parses, dispatches, and turns an error into an exit code.
//!
//! Exit codes: 0 all went well, 1 it failed, 2 the command line was wrong, 130 a signal ended it.

mod apt;
mod cache;
mod config;
mod digest;
mod doctor;
mod fetch;
mod host;
mod image;
mod interrupt;
mod kvm;
mod lab;
mod paths;
mod proc;
mod progress;
mod setup;
mod source;
mod unpack;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Flip bits in the RAM and registers of a Linux guest under QEMU.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
enum Command {
    Doctor(doctor::Args),
    Setup(setup::Args),
    Image(image::Args),
    /// Run the probe guest of `doctor`
    #[command(name = kvm::COMMAND, hide = true)]
    ProbeKvm,
}

fn main() -> ExitCode {
    let command = Command::parse();
    match interrupt::install().and_then(|()| dispatch(command)) {
        Ok(code) => code,
        // A signal that made something else fail is what the user wants to read about.
        Err(error) if interrupt::raised() || error.chain().any(|e| e.is::<interrupt::Interrupted>()) => {
            eprintln!("{}", interrupt::Interrupted);
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Doctor(args) => {
            return Ok(if doctor::run(&args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Setup(args) => setup::run(&args)?,
        Command::Image(args) => image::run(&args)?,
        Command::ProbeKvm => kvm::probe()?,
    }
    Ok(ExitCode::SUCCESS)
}
