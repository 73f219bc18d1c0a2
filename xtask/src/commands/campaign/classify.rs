//! `campaign classify`: what the consoles in files say happened to their guests.
//!
//! Invariant: one line a file that could be read, in the order given; the others are reported and decide the
//! exit code.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flipsim::console::classify::{Classification, classify_reader};

use crate::exit::{Code, exit_error};
use crate::interrupt::{self, Input};

/// Say what the consoles in files show: outcome, kind, title.
///
/// Prints a JSON line a file: `file`, `outcome` (crash, detected, sdc, clean, incomplete), `kind`, `title`, and the
/// number of the `line` that decided; null where nothing was noticed. A title is the same for the same crash in
/// every run. docs/classify.md has all kinds.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign classify .lab/runs/g1/console.log
  cargo xtask campaign classify a.log b.log | jq -r .title | sort | uniq -c
  cargo xtask campaign classify -                              a console on standard input

A file that cannot be read is reported on standard error, and makes the exit code 2.")]
pub struct Args {
    /// Consoles, of any Linux guest; - is standard input
    #[arg(required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut unread = 0;
    for file in &args.file {
        match read(file) {
            Ok(found) => outln!("{}", line(file, &found)),
            Err(error) => {
                interrupt::check()?;
                eprintln!("error: {} cannot be read: {error}", file.display());
                unread += 1;
            }
        }
    }
    match unread {
        0 => Ok(()),
        count => {
            let all = args.file.len();
            Err(exit_error(
                Code::Usage,
                format!("{count} of {all} files could not be read; check their names"),
            ))
        }
    }
}

fn read(file: &Path) -> io::Result<Classification> {
    if file.as_os_str() == "-" {
        classify_reader(Input::new(io::stdin()))
    } else {
        classify_reader(Input::new(File::open(file)?))
    }
}

fn line(file: &Path, found: &Classification) -> serde_json::Value {
    let deciding = found.deciding();
    serde_json::json!({
        "file": file.to_string_lossy(),
        "outcome": found.outcome,
        "kind": deciding.map(|finding| finding.kind),
        "title": deciding.map(|finding| &finding.title),
        "line": deciding.map(|finding| finding.line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flipsim::console::classify::classify;

    #[test]
    fn a_line_has_its_keys_in_order_and_null_where_nothing_was_noticed() {
        let path = Path::new("a.log");
        let panic = classify(b"boot\n[    1.000000] Kernel panic - not syncing: x\n");
        assert_eq!(
            line(path, &panic).to_string(),
            r#"{"file":"a.log","outcome":"crash","kind":"panic","title":"Kernel panic - not syncing: x","line":2}"#
        );
        assert_eq!(
            line(path, &classify(b"")).to_string(),
            r#"{"file":"a.log","outcome":"incomplete","kind":null,"title":null,"line":null}"#
        );
    }
}
