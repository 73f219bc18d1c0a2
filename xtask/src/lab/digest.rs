//! SHA-256 of files and of descriptions.
//!
//! Invariant: a digest is written as 64 lower-case hexadecimal digits, everywhere.

use std::path::Path;

use anyhow::{Context, Result};
use flipsim::files::{self, stream_digest};
use flipsim::text::hex;
use sha2::{Digest, Sha256};

use crate::interrupt;

/// The digest of some bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of a file's content.
pub fn of_file(path: &Path) -> Result<String> {
    let file = files::open_plain(path).with_context(|| format!("cannot open {}", path.display()))?;
    let error = |error| anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
    let (digest, _) = stream_digest(file, error, || Ok(interrupt::check()?))?;
    Ok(digest)
}

/// The digest of every file below a folder, names included, in the order of the names.
pub fn of_folder(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut lines = String::new();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        lines += &format!("{}  {}\n", of_file(&file)?, name.display());
    }
    Ok(of_bytes(lines.as_bytes()))
}

fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_one_in_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
    }

    #[test]
    fn a_folder_s_digest_changes_with_a_name_and_with_a_content() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "1").unwrap();
        let first = of_folder(dir.path()).unwrap();
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        let renamed = of_folder(dir.path()).unwrap();
        std::fs::write(dir.path().join("b"), "2").unwrap();
        let changed = of_folder(dir.path()).unwrap();
        assert!(first != renamed && renamed != changed && first != changed);
    }
}
