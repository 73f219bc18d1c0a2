//! Files of kernel config fragments, and what a configuration did not take of them.
//!
//! Invariant: **a line that is neither a symbol nor a comment is an error.**

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::kconfig::{Dropped, Fragment};

/// Reads config fragments; an invalid line is an error.
pub fn read_fragments(paths: &[PathBuf]) -> Result<Vec<Fragment>> {
    let mut fragments = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fragments.push(Fragment::parse(&name, &read(path)?)?);
    }
    Ok(fragments)
}

/// The message for options that a source has not taken.
pub fn not_taken(whose: &str, dropped: &[Dropped], config: &Path) -> String {
    let lines: Vec<String> = dropped.iter().map(|dropped| format!("  {dropped}\n")).collect();
    let count = dropped.len();
    let options = if count == 1 { "option" } else { "options" };
    format!(
        "{whose} has not taken {count} {options}:\n{}They are missing from {}",
        lines.concat(),
        config.display()
    )
}

pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
