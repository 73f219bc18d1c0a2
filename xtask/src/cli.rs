//! The command line of the lab: parses, dispatches, and turns an error into an exit code.
//!
//! Invariant: nothing is decided here. Each command has its own file.

/// Prints a line on standard output. A reader that has gone away (`| head`) is no reason to end, least
/// of all while a guest hangs on this process.
macro_rules! outln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        let _closed = writeln!(out, $($text)*).and_then(|()| out.flush());
    }};
}

/// As the standard one, which panics where its reader has gone away: a closed terminal, or `2>&1 | head`. What is
/// under way must end in order then, too.
macro_rules! eprintln {
    ($($text:tt)*) => {
        crate::cli::tell(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// As [`eprintln!`], without the line's end.
macro_rules! eprint {
    ($($text:tt)*) => {
        crate::cli::tell(format_args!($($text)*))
    };
}

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::commands::{
    bench, boot, campaign, ci, doctor, first, greet, image, inject, profile, report, setup, test, tidy,
};
use crate::host::kvm;
use crate::{exit, interrupt};

/// A laboratory for single-event upsets: builds a QEMU lab, boots a Linux guest in it, flips bits in
/// that guest's RAM and registers, and reports the outcome.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 110,
    after_help = format!("\
First steps:
  cargo xtask               where the lab stands, and what is next
  cargo xtask inject        the whole way, from nothing to the first flips
  cargo xtask doctor        what this host has and lacks
  cargo xtask boot          a guest of your own, at its console

{}", exit::HELP)
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Doctor(doctor::Args),
    Setup(setup::Args),
    Image(image::Args),
    Boot(Box<boot::Args>),
    Inject(Box<inject::Args>),
    Campaign(campaign::Args),
    Profile(Box<profile::Args>),
    Report(report::Args),
    Bench(bench::Args),
    Test(test::Args),
    Tidy(tidy::Args),
    Ci(ci::Args),
    /// The parent of a headless guest; only `boot` starts it
    #[command(hide = true)]
    GuestWatch {
        /// The guest's folder
        folder: PathBuf,
    },
    /// Run the probe guest of `doctor`
    #[command(name = kvm::COMMAND, hide = true)]
    ProbeKvm,
}

/// Parses the command line, runs the command, and says with which code the process ends.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        None => greet::run().map(|()| ExitCode::SUCCESS),
        Some(command) => prepare(&command).and_then(|()| dispatch(command)),
    };
    match done {
        Ok(code) => code,
        // A signal that made something else fail is what the user wants to read about.
        Err(error) if interrupt::raised() || error.chain().any(|e| e.is::<interrupt::Interrupted>()) => {
            eprintln!("{}", interrupt::Interrupted);
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::code_of(&error))
        }
    }
}

/// Writes on standard error, with or without a reader. What a guest or a stranger's file says in it moves no cursor.
pub fn tell(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let text = flipsim::text::visible(&text.to_string());
    if cfg!(test) {
        // What a test says is kept for when it fails.
        std::eprint!("{text}");
    } else {
        let _closed = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

fn prepare(command: &Command) -> Result<()> {
    match command {
        // The watcher ends with its guest, or with the command that it hangs on, and not before.
        Command::GuestWatch { .. } => Ok(()),
        _ => interrupt::install(),
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Doctor(args) => {
            return Ok(if doctor::run(&args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Setup(args) => setup::run(&args)?,
        Command::Image(args) => image::run(&args)?,
        Command::Boot(args) => boot::run(*args)?,
        Command::Inject(args) => inject::run(*args, first::run)?,
        Command::Campaign(args) => campaign::run(args)?,
        Command::Profile(args) => profile::run(&args)?,
        Command::Report(args) => return report::run(&args),
        Command::Bench(args) => bench::run(args)?,
        Command::Test(args) => test::run(&args)?,
        Command::Tidy(_) => tidy::run()?,
        Command::Ci(args) => ci::run(&args)?,
        Command::GuestWatch { folder } => boot::watch_guest(&folder)?,
        Command::ProbeKvm => kvm::probe()?,
    }
    Ok(ExitCode::SUCCESS)
}
