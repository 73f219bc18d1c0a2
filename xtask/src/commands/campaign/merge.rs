//! `campaign merge`: joins the parts that several machines ran.
//!
//! Invariant: **a part of another plan or template is refused**, and so are two results of one trial that differ.

use std::path::PathBuf;

use anyhow::Result;
use flipsim::campaign::Store;

use crate::exit::{Code, ExitWith};
use crate::lab::campaigns::files::path_of;
use crate::lab::campaigns::tables::{IntervalMethods, show};
use crate::paths;

/// Join the parts of a campaign that several machines ran.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign merge whole part1.sqlite part2.sqlite part3.sqlite

The parts are copies of one campaign. A part with another plan or template is refused, and so are two results
of one trial that differ.")]
pub struct Args {
    /// The campaign that all parts go into; made from the first part when it is not there
    name: String,
    /// Names or files of parts
    #[arg(required = true, value_name = "PART")]
    part: Vec<String>,
}

/// Runs `campaign merge`.
pub fn run(args: &Args) -> Result<()> {
    let path = path_of(&args.name)?;
    let parts: Vec<PathBuf> = args.part.iter().map(|part| path_of(part)).collect::<Result<_>>()?;
    if !path.exists()
        && let Some(first) = parts.first()
    {
        Store::open_readonly(first).exit_with(Code::Usage)?.copy(&path).exit_with(Code::Usage)?;
    }
    let mut store = Store::open(&path).exit_with(Code::Usage)?;
    let merged = store.merge(&parts).exit_with(Code::Usage)?;
    outln!("{} results were added, {} were there already and are the same", merged.added, merged.same);
    show(&store, IntervalMethods::DEFAULT)?;
    outln!("file: {}", paths::show(&path));
    Ok(())
}
