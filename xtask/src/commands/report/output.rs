//! What a report reads and where it goes: a campaign held still, and files or standard output.
//!
//! Invariant: **a file that is written is there whole or not at all.**

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::campaign::Store;
use flipsim::files;
use flipsim::report::export::ExportError;

use crate::exit::{Code, exit_error};
use crate::lab::campaigns::files::{open_to_read, store_error};
use crate::paths;

/// A campaign that is read.
pub(super) fn open(name: &str) -> Result<Store> {
    let store = open_to_read(name)?;
    // Table, pictures and rows are of one moment, also of a campaign that goes on.
    store.hold().map_err(store_error)?;
    Ok(store)
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
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
        // A pipe that no process reads.
        ExportError::Io(cause) if cause.kind() == io::ErrorKind::InvalidInput => {
            Err(exit_error(Code::Usage, format!("cannot write {}: {cause}", path.display())))
        }
        ExportError::Io(cause) => Err(anyhow::Error::from(cause)
            .context(format!("cannot write {}; give a folder that is there and has room", path.display()))),
        ExportError::Store(error) => Err(store_error(error)),
    })
}

fn write_to(path: &Path, content: Content<'_>) -> Result<(), ExportError> {
    if is_stdout(path) {
        return fill(io::stdout().lock(), content);
    }
    let output = files::Output::new(path)?;
    fill(output.file(), content)?;
    Ok(output.finish()?)
}

fn fill(out: impl Write, content: Content<'_>) -> Result<(), ExportError> {
    let mut out = BufWriter::new(out);
    content(&mut out)?;
    Ok(out.flush()?)
}
