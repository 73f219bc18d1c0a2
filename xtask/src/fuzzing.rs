//! The doors of this crate's parsers of strangers' bytes, for the fuzz targets. Behind the feature `fuzzing`.
//!
//! Invariant: **a door does what its command does with the same bytes**, and leaves nothing outside of the folder that
//! it was given.

use std::path::Path;

use anyhow::Result;

use crate::commands::campaign::TrialLine;
use crate::commands::inject::{Asked, parse_line};
use crate::commands::setup::kconfig::{Dependencies, Fragment, KernelConfig, check};
use crate::guest::image;
use crate::lab::{config, recipe};
use crate::source::{apt, unpack};

/// Unpacks an archive into a folder, as `setup` does; so many entries and bytes at most.
///
/// # Errors
/// It is no archive, is damaged, or would leave the folder or a limit.
pub fn unpack(archive: &Path, folder: &Path, entries: u64, bytes: u64) -> Result<()> {
    unpack::unpack_into(archive, folder, 1, unpack::Limits { entries, bytes })
}

/// Reads a text as each of the lists of packages that apt has: `sources.list`, `.sources`, `apt-config dump`,
/// `/etc/os-release`, `.dsc`; and `apt-cache showsrc`, whose acceptable versions are returned.
pub fn package_lists(text: &str) -> Vec<String> {
    let own = apt::own_suites(text);
    let list = apt::private_list(text, &own);
    assert!(list.lines().all(|line| line.starts_with("deb-src ")), "{list}");
    let stanzas = apt::private_deb822(text, &own);
    assert!(stanzas.is_empty() || stanzas.starts_with("Types: deb-src\n"), "{stanzas}");
    assert!(apt::checksums(text).iter().all(|(name, _)| !name.contains('/')));
    let _ = apt::private_config(text, Path::new("/nowhere"));
    assert!(apt::first_complaint(text).chars().count() <= 160);
    apt::acceptable_versions(text, &["5.".to_owned(), "1:".to_owned(), String::new()])
}

/// Compares a fragment with a kernel's `.config`, and explains it by a Kconfig file, as `setup kernel` does. Returns
/// what it says of the wishes that were dropped.
pub fn kernel_config(fragment: &str, config: &str, kconfig: &str) -> Vec<String> {
    let Ok(fragment) = Fragment::parse("fuzzed.config", fragment) else { return Vec::new() };
    let config = KernelConfig::parse(config);
    let mut dependencies = Dependencies::default();
    dependencies.add(kconfig);
    let mut dropped = check(&[fragment], &config);
    dependencies.explain(&mut dropped, &config);
    dropped.iter().map(ToString::to_string).collect()
}

/// Reads a line of the prompt of `inject`. Whether it is a command.
pub fn prompt_line(line: &str) -> bool {
    matches!(parse_line(line), Ok(Asked::Command(_)))
}

/// Reads a text as `lab.toml`. Whether it is one.
pub fn lab_toml(text: &str) -> bool {
    config::Config::parse(text, Path::new("lab.toml")).is_ok()
}

/// Reads a file as the recipe of an image. Whether it is one.
pub fn image_recipe(path: &Path) -> bool {
    recipe::read_recipe(path).is_ok()
}

/// Reads a line of `campaign trial --json`, as `campaign replay` does, and writes it again.
///
/// # Errors
/// It is no such line.
pub fn trial_line(line: &str) -> serde_json::Result<String> {
    serde_json::from_str::<TrialLine>(line).and_then(|line| serde_json::to_string(&line))
}

/// Looks at a file as `image convert` and `boot --image` do. Whether it is an image of a kind that is known.
pub fn is_image(path: &Path) -> bool {
    image::kinds(path, Path::new("fuzzed-image"), false).is_ok() | image::kind_of(path).is_ok()
}
