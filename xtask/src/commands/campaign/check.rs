//! `campaign check`: what of a campaign's file is damaged, what can be kept, and a way to go on.
//!
//! Invariant: **the file is never changed**; what can be kept goes into another one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use flipsim::campaign::TrialId;
use flipsim::campaign::store::{Findings, check, repair};
use flipsim::text::visible;

use crate::exit::{Code, exit_error};
use crate::host::proc::quote;
use crate::lab::campaigns::files::{path_of, store_error};
use crate::paths;

/// How many stretches of damaged trials are listed.
const LISTED: usize = 30;

/// Look for damage in a campaign's file, and say what can be kept.
///
/// Plan, specification, manifest and golden run are compared with their digests, every result with its checksum, and
/// SQLite checks the file's structure. The other commands do so as well, each for what it reads, and stop at the
/// first damage; this one finds all of it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign check first
  cargo xtask campaign check first --repair

With --repair all that can be kept is copied to NAME-repaired.sqlite, beside the file, which stays as it is. Trials
whose results are damaged or missing are pending there: `campaign run` runs them again, and they come out the same.

Exits with 0 where nothing is damaged, or with --repair when the new file is there; and with 2 where anything is
damaged or missing.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// Copy what can be kept to a new file
    #[arg(long)]
    repair: bool,
    /// What was found as JSON
    #[arg(long, conflicts_with = "repair")]
    json: bool,
}

/// Runs `campaign check`.
pub fn run(args: &Args) -> Result<()> {
    let path = path_of(&args.name)?;
    let found = check(&path).map_err(store_error)?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        lines(&path, &found).iter().for_each(|line| outln!("{}", visible(line)));
    }
    if found.is_whole() {
        return Ok(());
    }
    if !args.repair {
        let next = match &found.origin {
            Some(_) => "take it from a backup, or draw the plan again from its seed".to_owned(),
            None => format!(
                "cargo xtask campaign check {} --repair copies what can be kept to a new file",
                quote(&args.name)
            ),
        };
        bail!(exit_error(Code::Usage, format!("{} is damaged; {next}", paths::show(&path))));
    }
    let to = repaired(&path);
    let kept = repair(&path, &to).map_err(store_error)?;
    outln!(
        "{} results are in {}; the other {} trials are pending there: cargo xtask campaign run {}",
        kept.kept,
        paths::show(&to),
        kept.trials.saturating_sub(kept.kept),
        quote(name_of(&args.name, &to))
    );
    Ok(())
}

/// The first free name beside a file.
fn repaired(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names = (1..).map(|number| match number {
        1 => path.with_file_name(format!("{stem}-repaired.sqlite")),
        number => path.with_file_name(format!("{stem}-repaired-{number}.sqlite")),
    });
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| path.with_extension("repaired.sqlite"))
}

/// As the user names campaigns: by name, or by file.
fn name_of(given: &str, path: &Path) -> String {
    match given.ends_with(".sqlite") {
        true => path.display().to_string(),
        false => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn lines(path: &Path, found: &Findings) -> Vec<String> {
    let mut lines = vec![format!("file       {}", paths::show(path))];
    if let Some(what) = &found.origin {
        lines.push(format!("damaged    {what}; without it nothing can be kept"));
        return lines;
    }
    lines.push(format!("plan       {} trials, as they were drawn", found.trials));
    if found.has_checksums() {
        lines.push("made from  specification, manifest and golden run, as they were".to_owned());
    }
    lines.push(format!("results    {} are what was recorded", found.kept));
    if !found.has_checksums() {
        lines.push(format!(
            "           format {} has no checksums: only what contradicts itself is seen; `campaign run` brings the \
             file up to date",
            found.format
        ));
    }
    if !found.damaged.is_empty() {
        lines.push(format!("damaged    {} results, of {}", found.damaged.len(), trials(&found.damaged)));
    }
    if found.missing > 0 {
        lines.push(format!("missing    {} results that were recorded", found.missing));
    }
    if found.attempts_damaged > 0 {
        let all = found.attempts + found.attempts_damaged;
        lines
            .push(format!("damaged    {} of {all} notes on attempts that were lost", found.attempts_damaged));
    }
    lines.extend(found.others.iter().map(|what| format!("damaged    {what}")));
    lines.extend(found.structure.iter().map(|what| format!("SQLite     {}", what.trim())));
    if found.is_whole() {
        lines.push("nothing is damaged".to_owned());
    }
    lines
}

/// Numbers of trials, in stretches.
fn trials(ids: &[TrialId]) -> String {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for id in ids {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == id.0 => *last = id.0,
            _ => stretches.push((id.0, id.0)),
        }
    }
    let text = |(first, last): &(u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    };
    let shown: Vec<String> = stretches.iter().take(LISTED).map(text).collect();
    let more = if stretches.len() > LISTED { ", and more" } else { "" };
    let word = if ids.len() == 1 { "trial" } else { "trials" };
    format!("{word} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_trials_are_named_in_stretches() {
        let of = |ids: &[u64]| trials(&ids.iter().copied().map(TrialId).collect::<Vec<_>>());
        assert_eq!(of(&[7]), "trial 7");
        assert_eq!(of(&[1, 2, 3, 9, 11, 12]), "trials 1 to 3, 9, 11 to 12");
        assert!(of(&(0..200).map(|at| at * 2).collect::<Vec<_>>()).ends_with("58, and more"));
    }

    #[test]
    fn a_repaired_campaign_has_a_free_name_beside_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.sqlite");
        let first = repaired(&path);
        assert_eq!(first, folder.path().join("first-repaired.sqlite"));
        std::fs::write(&first, "").unwrap();
        assert_eq!(repaired(&path), folder.path().join("first-repaired-2.sqlite"));
        assert_eq!(
            (name_of("first", &first), name_of("a/first.sqlite", &first)),
            ("first-repaired".into(), first.display().to_string())
        );
    }
}
