//! Where things lie: the source tree, the cache, and `.lab/`.
//!
//! Invariant: no other file decides on a folder's place; and nothing generated lands in a tracked file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder that holds `lab.toml`.
pub fn workspace_root() -> Result<PathBuf> {
    // `cargo xtask` sets the variable at run time, so a tree that was moved after it was built is
    // found; the path of the build is what is left when the program is started by itself.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|folder| folder.join("../lab.toml").is_file())
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let root = package.parent().context("the package xtask has no parent folder")?.to_owned();
    if !root.join("lab.toml").is_file() {
        bail!(
            "{} holds no lab.toml; run `cargo xtask` inside the source tree that it was built from",
            root.display()
        );
    }
    Ok(root)
}

/// `.lab/` in the source tree: which products are in use, runs, campaigns. It is not made here.
pub fn lab_dir() -> Result<PathBuf> {
    Ok(workspace_root()?.join(".lab"))
}

/// The cache for downloads and builds: `FLIPSIM_CACHE`, or `flipsim` in the user's cache folder.
/// It is not made here.
pub fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(|name| std::env::var_os(name))
}

fn cache_dir_from(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("FLIPSIM_CACHE") {
        return std::path::absolute(&dir).with_context(|| format!("FLIPSIM_CACHE is {}", dir.display()));
    }
    // The XDG specification says that a relative XDG_CACHE_HOME is to be ignored.
    if let Some(dir) = set("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()) {
        return Ok(dir.join("flipsim"));
    }
    match set("HOME").filter(|dir| dir.is_absolute()) {
        Some(home) => Ok(home.join(".cache/flipsim")),
        None => bail!("no folder for the cache: HOME is not set; set FLIPSIM_CACHE to a folder of your own"),
    }
}

/// The path as it reads best in a message: from the user's home or the current folder.
pub fn show(path: &Path) -> String {
    if let Ok(here) = std::env::current_dir()
        && let Ok(rest) = path.strip_prefix(&here)
        && !rest.as_os_str().is_empty()
    {
        return rest.display().to_string();
    }
    if let Some(home) = std::env::var_os("HOME").filter(|home| home.len() > 1)
        && let Ok(rest) = path.strip_prefix(&home)
    {
        return format!("~/{}", rest.display());
    }
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(vars: &[(&str, &str)]) -> Result<PathBuf> {
        cache_dir_from(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
    }

    #[test]
    fn the_cache_is_where_the_first_set_variable_says() {
        let all = [("FLIPSIM_CACHE", "/f"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(cache(&all).unwrap(), Path::new("/f"));
        assert_eq!(cache(&all[1..]).unwrap(), Path::new("/x/flipsim"));
        assert_eq!(cache(&all[2..]).unwrap(), Path::new("/h/.cache/flipsim"));
    }

    #[test]
    fn a_relative_xdg_folder_is_ignored() {
        let vars = [("XDG_CACHE_HOME", "x"), ("HOME", "/h")];
        assert_eq!(cache(&vars).unwrap(), Path::new("/h/.cache/flipsim"));
    }

    #[test]
    fn without_a_home_the_error_names_the_variable_to_set() {
        assert!(cache(&[]).unwrap_err().to_string().contains("FLIPSIM_CACHE"));
    }

    #[test]
    fn the_root_holds_the_lab_file() {
        assert!(workspace_root().unwrap().join("lab.toml").is_file());
    }
}
