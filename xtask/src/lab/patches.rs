//! A folder of patches with a `series`: what it names, and the digests of all.
//!
//! Invariant: **a name in a series is a plain path below its folder.**

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::digest;

/// The patches that a `series` names, with the number of leading folders to strip.
pub fn read_series(patches: &Path) -> Result<Vec<(String, String)>> {
    let path = patches.join("series");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut series = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let strip = words.next().unwrap_or("-p1");
        let plain = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if !plain || !strip.starts_with("-p") || words.next().is_some() {
            bail!("{}, line {}: expected `NAME [-pN]`", path.display(), number + 1);
        }
        series.push((name.to_owned(), strip.to_owned()));
    }
    Ok(series)
}

/// The digests of a series and of its patches, by name.
pub fn series_digests(patches: &Path) -> Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    let series = read_series(patches)?;
    if !series.is_empty() {
        digests.insert("patches/series".to_owned(), digest::of_file(&patches.join("series"))?);
    }
    for (name, _) in series {
        let path = patches.join(&name);
        if !path.is_file() {
            bail!("{} names {name}, which is not there", patches.join("series").display());
        }
        digests.insert(format!("patches/{name}"), digest::of_file(&path)?);
    }
    Ok(digests)
}
