//! `cargo xtask campaign`: trials, and what came of them.
//!
//! Invariant: this file only dispatches. What an outcome is, `flipsim` decides.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use flipsim::campaign::StoreError;

use super::{classify, new, replay, stats, status, trial};
use crate::exit::{Code, exit_error};
use crate::paths;

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
    #[command(visible_alias = "resume")]
    Run(super::run::Args),
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
        StoreError::Missing(path) => {
            exit_error(Code::Usage, format!("there is no campaign {}{}", paths::show(&path), known(&path)))
        }
        other => exit_error(Code::Usage, other.to_string()),
    }
}

/// The files of campaigns in a folder, the one that was written to last at the end. A folder that cannot be read
/// has none.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "sqlite"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// The campaigns that there are beside one that is not, for who has misremembered a name.
fn known(path: &Path) -> String {
    // Elsewhere a campaign is named by its file.
    let by_name = paths::lab_dir().is_ok_and(|lab| path.parent() == Some(&lab.join("campaigns")));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let files = files_in(folder);
    let name = |path: &PathBuf| match by_name {
        true => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        false => path.display().to_string(),
    };
    let names: Vec<String> = files.iter().rev().take(8).map(name).collect();
    match (names.as_slice(), files.len()) {
        ([], _) => "; `cargo xtask campaign new` makes one".to_owned(),
        (names, all) if all > names.len() => format!("; the last ones are: {}", names.join(", ")),
        (names, _) => format!("; there are: {}", names.join(", ")),
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        Sub::New(args) => new::run(&args),
        Sub::Run(args) => super::run::run(&args),
        Sub::Status(args) => status::run(&args),
        Sub::Stats(args) => stats::run(&args),
        Sub::Export(args) => status::export(&args),
        Sub::Merge(args) => status::merge(&args),
        Sub::Trial(args) => trial::run(&args),
        Sub::Replay(args) => replay::run(&args),
        Sub::Classify(args) => classify::run(&args),
    }
}
