//! What goes into the image of a service: the program, the user's files, the libraries, each with its place there.
//!
//! Invariant: **each file has a plain name and one content, and no link leads out of the service's folder**; what is
//! neither a file, a folder nor such a link is refused with its name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;
use flipsim::text::shown;
use flipsim::units::format_size;
use serde::{Deserialize, Serialize};

use super::library::libraries_of;
use super::program::{Elf, elf_at};
use crate::guest::file_system::is_printable;
use crate::interrupt;
use crate::lab::digest;

/// Where services are in a guest; its init knows it, too.
pub const FOLDER: &str = "/srv";

/// The longest path of a file below the service's folder.
const LONGEST_PATH: usize = 500;

/// So much fits into an image; a guest reads all of it before it is ready.
const MOST_BYTES: u64 = 512 << 20;
const MOST_FILES: usize = 10_000;

/// So many links are followed, one after the other, as Linux does (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// One thing in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Item {
    /// A folder.
    Folder,
    /// A file, which is on this host.
    File {
        /// Where; in what the cache keeps, its name there.
        source: PathBuf,
        /// Its size.
        bytes: u64,
        /// Its digest.
        sha256: String,
        /// Whether it can be run.
        runs: bool,
    },
    /// A symbolic link with what it says.
    Link(String),
}

/// All of it, by the path in the guest: a folder stands before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents(BTreeMap<String, Item>);

/// What a user says of a service.
#[derive(Debug, Clone)]
pub struct Given<'a> {
    /// Its name.
    pub name: &'a str,
    /// The program.
    pub binary: &'a Path,
    /// A folder with more files.
    pub files: Option<&'a Path>,
    /// What it is for.
    pub arch: Arch,
}

impl Contents {
    /// From what a user has given, with the libraries that the programs in it need.
    pub fn of(given: &Given<'_>) -> Result<Contents> {
        let mut contents = Contents::default();
        let folder = format!("{FOLDER}/{}", given.name);
        contents.add_folder(FOLDER)?;
        contents.add_folder(&folder)?;
        if let Some(files) = given.files {
            contents.add_all(files, &folder)?;
        }
        let name = given.binary.file_name().context("the program has no name")?;
        let path = format!("{folder}/{}", plain_name(name, given.binary)?);
        contents.add_file(given.binary, &path, true)?;
        let has: BTreeMap<String, PathBuf> = contents
            .0
            .keys()
            .filter_map(|path| Some((last_of(path).to_owned(), contents.source_of(path, 0)?)))
            .collect();
        for (source, elf) in contents.programs(given.arch) {
            let libraries = libraries_of(&elf, |name| has.get(name).cloned());
            for (path, source) in libraries.with_context(|| format!("cannot use {}", source.display()))? {
                contents.add_with_folders(&source, &path)?;
            }
        }
        Ok(contents)
    }

    /// The files that are code for these guests; others are data, whatever they are.
    fn programs(&self, arch: Arch) -> Vec<(PathBuf, Elf)> {
        let elf = |path: &Path| Some((path.to_owned(), elf_at(path).ok()??));
        self.files().filter_map(|(_, source)| elf(source)).filter(|(_, elf)| elf.arch == arch).collect()
    }

    /// Where on this host the file is that a path in the guest leads to, by way of links or not.
    fn source_of(&self, path: &str, links: usize) -> Option<PathBuf> {
        match self.0.get(path)? {
            Item::File { source, .. } => Some(source.clone()),
            Item::Link(target) if links < MOST_LINKS => {
                let mut parts: Vec<&str> = path.split('/').collect();
                parts.pop();
                for part in target.split('/') {
                    match part {
                        "" | "." => {}
                        ".." => drop(parts.pop()),
                        part => parts.push(part),
                    }
                }
                self.source_of(&parts.join("/"), links + 1)
            }
            Item::Folder | Item::Link(_) => None,
        }
    }

    /// The files, each by its path in the guest and by its place on this host.
    fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().filter_map(|(path, item)| match item {
            Item::File { source, .. } => Some((path.as_str(), source.as_path())),
            Item::Folder | Item::Link(_) => None,
        })
    }

    /// Each path with what is there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.0.iter().map(|(path, item)| (path.as_str(), item))
    }

    /// The same with other places on this host for its files, in their order.
    pub fn placed(&self, mut place: impl FnMut(&Path, usize) -> Result<PathBuf>) -> Result<Contents> {
        let mut placed = self.clone();
        let files = placed.0.values_mut().filter_map(|item| match item {
            Item::File { source, .. } => Some(source),
            Item::Folder | Item::Link(_) => None,
        });
        for (number, source) in files.enumerate() {
            *source = place(source, number)?;
        }
        Ok(placed)
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|item| if let Item::File { bytes, .. } = item { *bytes } else { 0 }).sum()
    }

    /// How many files, folders and links there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Files outside the service's folder: libraries, with where they are on this host.
    pub fn libraries(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files().filter(|(path, _)| !path.starts_with(&format!("{FOLDER}/")))
    }

    fn add_folder(&mut self, path: &str) -> Result<()> {
        match self.0.insert(path.to_owned(), Item::Folder) {
            None | Some(Item::Folder) => self.check(),
            Some(_) => bail!("{path} would be a folder and a file"),
        }
    }

    fn add_file(&mut self, source: &Path, path: &str, runs: bool) -> Result<()> {
        let meta = files::check_plain(source).with_context(|| format!("cannot use {}", source.display()))?;
        let runs = runs || meta.permissions().mode() & 0o111 != 0;
        if self.bytes() + meta.len() > MOST_BYTES {
            bail!("it has more than {}; make an image of your own for it (--image)", format_size(MOST_BYTES));
        }
        let sha256 = digest::of_file(source)?;
        let item = Item::File { source: source.to_owned(), bytes: meta.len(), sha256, runs };
        match self.0.get_mut(path) {
            None => {
                self.0.insert(path.to_owned(), item);
            }
            // The program may lie in the folder of files.
            Some(Item::File { sha256, runs, .. }) if *sha256 == digest_of(&item) => *runs |= runs_of(&item),
            Some(_) => bail!(
                "two things would be {path} in the guest, {} one of them; give one of them another name",
                source.display()
            ),
        }
        self.check()
    }

    fn add_with_folders(&mut self, source: &Path, path: &str) -> Result<()> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let is_plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && is_printable(part);
        if !path.starts_with('/') || !parts.iter().all(is_plain) || path.len() > LONGEST_PATH {
            bail!("`{}` is no place for a library", shown(path, 80));
        }
        for length in 1..parts.len() {
            self.add_folder(&format!("/{}", parts[..length].join("/")))?;
        }
        self.add_file(source, path, true)
    }

    /// Everything below a folder of the user's.
    fn add_all(&mut self, from: &Path, to: &str) -> Result<()> {
        let root = from.canonicalize().with_context(|| format!("cannot find {}", from.display()))?;
        if !root.is_dir() {
            bail!("--files {} is no folder", from.display());
        }
        let mut open = vec![(root.clone(), to.to_owned())];
        while let Some((folder, into)) = open.pop() {
            let unreadable = || format!("cannot read the folder {}", folder.display());
            let mut entries = fs::read_dir(&folder)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(unreadable)?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                interrupt::check()?;
                let path = entry.path();
                let place = format!("{into}/{}", plain_name(&entry.file_name(), &path)?);
                if place.len() > LONGEST_PATH {
                    bail!("{} has a path that is too long", shown(&path.display().to_string(), 80));
                }
                let kind = entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
                if kind.is_dir() {
                    self.add_folder(&place)?;
                    open.push((path, place));
                } else if kind.is_symlink() {
                    let target = link_inside(&root, &path)?;
                    self.0.insert(place, Item::Link(target));
                    self.check()?;
                } else if kind.is_file() {
                    self.add_file(&path, &place, false)?;
                } else {
                    bail!(
                        "{} is a device, a pipe or a socket; only files, folders and links are taken",
                        path.display()
                    );
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.count() > MOST_FILES {
            bail!("it has more than {MOST_FILES} files; make an image of your own for it (--image)");
        }
        Ok(())
    }
}

fn digest_of(item: &Item) -> String {
    if let Item::File { sha256, .. } = item { sha256.clone() } else { String::new() }
}

fn runs_of(item: &Item) -> bool {
    matches!(item, Item::File { runs: true, .. })
}

fn last_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A name that debugfs can be given, and a shell in the guest.
fn plain_name(name: &std::ffi::OsStr, path: &Path) -> Result<String> {
    match name.to_str().filter(|name| is_printable(name) && name.len() <= 255) {
        Some(name) => Ok(name.to_owned()),
        None => bail!(
            "the name `{}` is not taken: letters, digits, spaces and signs of ASCII are, but for \"; rename it",
            shown(&path.display().to_string(), 200)
        ),
    }
}

/// What a link says, if it leads to a place in the folder that it is in.
fn link_inside(root: &Path, link: &Path) -> Result<String> {
    let target = fs::read_link(link).with_context(|| format!("cannot read the link {}", link.display()))?;
    let text = plain_name(target.as_os_str(), link)?;
    let mut depth = link
        .parent()
        .and_then(|folder| folder.strip_prefix(root).ok())
        .map_or(0, |below| below.components().count());
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => bail!(
                "the link {} leads out of the folder, to {text}; put a copy of the file in its place",
                link.display()
            ),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
