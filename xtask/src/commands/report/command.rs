//! `cargo xtask report`: what a campaign says, at the terminal, as a page, as CSV and JSON.
//!
//! Invariant: this command reads. It changes no campaign, and a file that it writes is there whole or not
//! at all.

use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::campaign::Store;
use flipsim::campaign::Summary;
use flipsim::report::export::{self, ExportError};
use flipsim::report::look::visible;
use flipsim::report::{PageOptions, page};

use super::compare;
use crate::exit::{Code, exit_error};
use crate::lab::campaigns::files::path_of;
use crate::lab::campaigns::files::store_error;
use crate::lab::campaigns::tables;
use crate::lab::campaigns::tables::Intervals;
use crate::paths;

/// Report what a campaign says: a table here, and a page that opens anywhere.
///
/// The page is one file, readable offline and without script, with everything that it takes to repeat the
/// campaign.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  cargo xtask report first
  cargo xtask report first --html report.html --confidence 99%
  cargo xtask report first --csv first.csv --json first.json
  cargo xtask report first --csv - | head
  cargo xtask report compare first second

The page is .lab/reports/NAME.html unless --html says otherwise; with --csv or --json alone none is written.
docs/report.md explains every column, with examples for pandas and R."
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    /// The campaign's name, or its file
    #[arg(required = true)]
    campaign: Option<String>,
    #[command(flatten)]
    out: Out,
}

/// What is written, and where to.
#[derive(clap::Args, Debug)]
struct Out {
    /// Write the page to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the trials as CSV; - is standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write summary and trials as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    intervals: Intervals,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    Compare(compare::Args),
}

/// A campaign that is read.
pub(super) fn open(name: &str) -> Result<Store> {
    let store = Store::open_readonly(&path_of(name)?).map_err(store_error)?;
    // Table, pictures and rows are of one moment, also of a campaign that goes on.
    store.hold().map_err(store_error)?;
    Ok(store)
}

fn summary_of(store: &Store, intervals: Intervals) -> Result<Summary> {
    Summary::new(store, &intervals.options()).map_err(store_error)
}

/// The report at the terminal. What a guest or a file says moves no cursor.
fn at_the_terminal(summary: &Summary, store: &Store, intervals: Intervals) {
    let mut text = tables::overview(summary, store.running(), intervals.method());
    for stratum in &summary.strata {
        text += &tables::times(stratum);
    }
    if summary.totals.done == 0 {
        text += &format!(
            "no trial has a result yet; `cargo xtask campaign run {}` carries them out\n",
            summary.name
        );
    }
    outln!("{}", visible(text.trim_end()));
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if let Some(Sub::Compare(args)) = &args.sub {
        return compare::run(args);
    }
    let Some(name) = &args.campaign else {
        bail!(exit_error(Code::Usage, "say which campaign: cargo xtask report NAME"));
    };
    let Out { html, csv, json, intervals } = &args.out;
    let piped = one_to_stdout(&[("--html", html), ("--csv", csv), ("--json", json)])?;
    let store = open(name)?;
    let summary = summary_of(&store, *intervals)?;
    let page_to = match html {
        Some(path) => Some(path.clone()),
        None if csv.is_some() || json.is_some() => None,
        None => Some(default_page(&[&store])?),
    };
    if !piped {
        at_the_terminal(&summary, &store, *intervals);
    }
    let mut written = Vec::new();
    if let Some(path) = page_to {
        let options = PageOptions { campaign: quoted(name), made: jiff::Timestamp::now() };
        let text = page(&store, &summary, &options).map_err(store_error)?;
        write(&path, &mut |out| Ok(out.write_all(text.as_bytes())?))?;
        written.push(("page", path));
    }
    if let Some(path) = csv {
        write(path, &mut |out| export::csv(&store, out))?;
        written.push(("csv", path.clone()));
    }
    if let Some(path) = json {
        write(path, &mut |out| export::json(&store, &summary, out))?;
        written.push(("json", path.clone()));
    }
    tell(&written, piped);
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A name for a shell.
pub(super) fn quoted(name: &str) -> String {
    shlex::try_quote(name).map_or_else(|_| name.to_owned(), Into::into)
}

/// Whether one of these goes to standard output; two cannot.
pub(super) fn one_to_stdout(outputs: &[(&str, &Option<PathBuf>)]) -> Result<bool> {
    let mut piped = outputs.iter().filter(|(_, path)| path.as_deref().is_some_and(is_stdout));
    if let (Some((one, _)), Some((other, _))) = (piped.next(), piped.next()) {
        bail!(exit_error(
            Code::Usage,
            format!("both {one} and {other} cannot go to standard output; give one of them a file")
        ));
    }
    Ok(outputs.iter().any(|(_, path)| path.as_deref().is_some_and(is_stdout)))
}

/// Says which files were written, where standard output is not one of them.
pub(super) fn tell(written: &[(&str, PathBuf)], piped: bool) {
    for (what, path) in written.iter().filter(|(_, path)| !is_stdout(path)) {
        if piped {
            eprintln!("{what}: {}", paths::show(path));
        } else {
            outln!("{what}: {}", paths::show(path));
        }
    }
}

/// `.lab/reports/NAME.html`, `.lab/reports/A+B.html`; the folder is made. No campaign's name has a `+`.
pub(super) fn default_page(stores: &[&Store]) -> Result<PathBuf> {
    let folder = paths::lab_dir()?.join("reports");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut name = std::ffi::OsString::new();
    for store in stores {
        if !name.is_empty() {
            name.push("+");
        }
        name.push(store.path().file_stem().context("a campaign's file has a name")?);
    }
    name.push(".html");
    Ok(folder.join(name))
}

/// What fills an output.
type Content<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), ExportError>;

/// Writes a file whole, or standard output; a reader that has gone away is no error.
pub fn write(path: &Path, content: Content<'_>) -> Result<()> {
    write_to(path, content).or_else(|error| match error {
        ExportError::Io(cause) if is_stdout(path) && cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ExportError::Io(cause) => Err(anyhow::Error::from(cause)
            .context(format!("cannot write {}; give a folder that is there and has room", path.display()))),
        ExportError::Store(error) => Err(store_error(error)),
    })
}

fn write_to(path: &Path, content: Content<'_>) -> Result<(), ExportError> {
    if is_stdout(path) {
        return fill(io::stdout().lock(), content);
    }
    // What is no plain file, such as /dev/stderr, cannot be put in place by its name.
    if path.exists() && !path.is_file() {
        return fill(std::fs::OpenOptions::new().write(true).open(path)?, content);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As readable as any other new file.
    let mode = std::fs::Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".report").permissions(mode).tempfile_in(folder)?;
    fill(&file, content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn fill(out: impl Write, content: Content<'_>) -> Result<(), ExportError> {
    let mut out = BufWriter::new(out);
    content(&mut out)?;
    Ok(out.flush()?)
}
