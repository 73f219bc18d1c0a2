//! `images/recipe.toml`: what the guest's image is made of, and which workloads it has.
//!
//! Invariant: **an unknown key or version is an error.**

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The version of `recipe.toml` that is understood.
const RECIPE_FORMAT: u32 = 1;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    version: u32,
    pub image: FileSystem,
    pub busybox: Busybox,
    pub workload_program: Program,
    #[serde(default)]
    pub directory: Vec<Directory>,
    #[serde(default)]
    pub file: Vec<PlainFile>,
    #[serde(default)]
    pub workload: Vec<Workload>,
}

impl Recipe {
    /// Whether the image has a file at a path.
    pub fn has(&self, path: &str) -> bool {
        let applet =
            path.strip_prefix(&self.busybox.applet_directory).and_then(|rest| rest.strip_prefix('/'));
        path == self.busybox.destination
            || applet.is_some_and(|name| self.busybox.applets.iter().any(|applet| applet == name))
            || self.file.iter().any(|file| file.destination == path)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileSystem {
    pub size: String,
    pub label: String,
    pub uuid: String,
    pub hash_seed: String,
    pub timestamp: u32,
    pub block_size: u32,
    pub mke2fs_config: PathBuf,
    pub extended_options: Vec<String>,
    pub reserved_percent: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Busybox {
    pub config: PathBuf,
    pub destination: String,
    pub mode: u32,
    pub applet_directory: String,
    pub applets: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Program {
    pub sources: Vec<PathBuf>,
    #[expect(dead_code, reason = "read by the test that every file of the recipe exists")]
    headers: Vec<PathBuf>,
    pub flags: Vec<String>,
    pub destination: String,
    pub mode: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Directory {
    pub path: String,
    pub mode: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PlainFile {
    pub source: PathBuf,
    pub destination: String,
    pub mode: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Workload {
    pub name: String,
    /// That of a run without a fault.
    pub digest: String,
    pub about: String,
}

/// The workloads of the lab's own image.
pub fn workload_names(root: &Path) -> Result<Vec<String>> {
    let recipe = read_recipe(&root.join("images/recipe.toml"))?;
    Ok(recipe.workload.into_iter().map(|workload| workload.name).collect())
}

pub fn read_recipe(path: &Path) -> Result<Recipe> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let recipe: Recipe =
        toml::from_str(&text).with_context(|| format!("{} is not a valid recipe", path.display()))?;
    if recipe.version != RECIPE_FORMAT {
        bail!("{} has version {}, and {RECIPE_FORMAT} is understood", path.display(), recipe.version);
    }
    Ok(recipe)
}
