//! The files of campaigns: where they are, and what is wrong with one.
//!
//! Invariant: **a name is never a way out of the lab's folder**; a file that ends in .sqlite is taken as it is.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};
use flipsim::campaign::{Store, StoreError};
use flipsim::text::shown;

use crate::exit::{Code, exit_error};
use crate::paths;

/// Where campaigns are kept.
pub fn path_of(name: &str) -> Result<PathBuf> {
    if name.ends_with(".sqlite") {
        let path = PathBuf::from(name);
        // With what is kept beside it.
        if path.file_name().is_some_and(|file| file.len() > 240) {
            let text = format!("`{}` is too long for the name of a file", shown(name, 60));
            bail!(exit_error(Code::Usage, text));
        }
        return Ok(path);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > 100 || !name.chars().all(plain) {
        bail!(exit_error(
            Code::Usage,
            format!(
                "`{}` is no campaign's name: letters, digits, - _ . only, 100 at most; or a file that ends in .sqlite",
                shown(name, 60)
            )
        ));
    }
    Ok(paths::lab_dir()?.join("campaigns").join(format!("{name}.sqlite")))
}

/// Opens a campaign to read it. One whose version has no checksums is read, and that is said.
pub fn open_to_read(name: &str) -> Result<Store> {
    let store = Store::open_readonly(&path_of(name)?).map_err(store_error)?;
    if !store.has_checksums() {
        eprintln!(
            "note: {} was made by an older version, without checksums: damage is seen only where it contradicts \
             itself; `cargo xtask campaign run` brings the file up to date",
            paths::show(store.path())
        );
    }
    Ok(store)
}

/// An error of a campaign's file, with its exit code: a disk that is full is no error of the command line's.
pub fn store_error(error: StoreError) -> anyhow::Error {
    use StoreError::{Full, Gone, Io, Locked, ReadOnly, Sqlite};
    match error {
        // A link, say, in the place of a file of ours.
        Io { ref cause, .. } if cause.kind() == std::io::ErrorKind::InvalidInput => {
            exit_error(Code::Usage, error.to_string())
        }
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

/// The campaigns that there are beside one that is not, for a user who has misremembered a name.
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
