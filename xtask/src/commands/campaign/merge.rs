//! `campaign merge`: joins the parts that several machines ran.
//!
//! Invariant: **a part of another plan or template is refused**, and so are two results of one trial that differ. What is
//! missing is said.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::campaign::Store;

use crate::exit::{Code, ExitWith, exit_error};
use crate::host::proc::quote;
use crate::lab::campaigns::files::{files_in, path_of, store_error};
use crate::lab::campaigns::tables::{IntervalMethods, show};
use crate::paths;

/// So many slices with missing trials are listed.
const LISTED: usize = 8;

/// Join the parts of a campaign that several machines ran.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign merge first parts
  cargo xtask campaign merge whole part1.sqlite part2.sqlite part3.sqlite

A part is a copy of a campaign's file that ran a shard, or what `flipsim-run` has brought home; of a folder all are taken.
A part with another plan or template is refused, and so are two results of one trial that differ.")]
pub struct Args {
    /// The campaign that all parts go into; made from the first part when it is not there
    name: String,
    /// Names or files of parts, or folders of them
    #[arg(required = true, value_name = "PART")]
    part: Vec<String>,
}

/// Runs `campaign merge`.
pub fn run(args: &Args) -> Result<()> {
    let path = path_of(&args.name)?;
    let parts = parts(&args.part, &path)?;
    if !path.exists()
        && let Some(first) = parts.first()
    {
        let first = Store::open_readonly(first).exit_with(Code::Usage)?;
        if let Some(part) = first.part() {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "there is no campaign {}, and {} is part {} of one; take the campaign that the pack was made of, or \
                     `flipsim-run PACK --out {} --merge`",
                    paths::show(&path),
                    paths::show(first.path()),
                    part.shard,
                    quote(&args.part[0])
                )
            ));
        }
        first.copy(&path).exit_with(Code::Usage)?;
    }
    let mut store = Store::open(&path).exit_with(Code::Usage)?;
    let merged = store.merge(&parts).exit_with(Code::Usage)?;
    outln!("{} results were added, {} were there already and are the same", merged.added, merged.same);
    show(&store, IntervalMethods::DEFAULT)?;
    let slices = parts
        .iter()
        .filter_map(|part| Store::open_readonly(part).ok()?.part().map(|part| part.shard.count()));
    say_missing(&store, slices.max().unwrap_or(1), args)?;
    outln!("file: {}", paths::show(&path));
    Ok(())
}

/// The files of all parts; one that is given twice is a mistake.
fn parts(given: &[String], into: &Path) -> Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for part in given {
        let folder = Path::new(part);
        if !folder.is_dir() {
            parts.push(path_of(part)?);
            continue;
        }
        flipsim::pack::check(folder).exit_with(Code::Usage)?;
        let mut found = files_in(folder);
        // What it is merged into may lie there as well.
        found.retain(|file| !same(file, into) && is_part(file));
        if found.is_empty() {
            bail!(exit_error(Code::Usage, format!("there is no part of a campaign in {}", folder.display())));
        }
        found.sort();
        parts.extend(found);
    }
    let mut seen = BTreeSet::new();
    for part in &parts {
        let real = part.canonicalize().unwrap_or_else(|_| part.clone());
        if !seen.insert(real) {
            bail!(exit_error(Code::Usage, format!("{} is given twice", paths::show(part))));
        }
    }
    Ok(parts)
}

fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// By its name: what `flipsim-run --merge` makes in the same folder is the whole.
fn is_part(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.contains(".part-") || Store::open_readonly(file).is_ok_and(|store| store.part().is_some())
}

/// Says what is missing, and how just that is run.
fn say_missing(store: &Store, slices: u64, args: &Args) -> Result<()> {
    let missing = store.missing(slices).map_err(store_error)?;
    let trials: u64 = missing.iter().map(|(_, count)| count).sum();
    if trials == 0 {
        outln!("all {} trials have a result", store.len());
        return Ok(());
    }
    outln!("{trials} of {} trials are missing", store.len());
    if slices == 1 {
        outln!("  cargo xtask campaign run {}", quote(&args.name));
        return Ok(());
    }
    let out = args.part.first().context("a part is given")?;
    for (shard, count) in missing.iter().take(LISTED) {
        outln!("  {count:>8}  ./flipsim-run PACK --shard {shard} --out {}", quote(out));
    }
    if missing.len() > LISTED {
        outln!(
            "  … and {} slices more; without --shard it takes all that is missing",
            missing.len() - LISTED
        );
    }
    Ok(())
}
