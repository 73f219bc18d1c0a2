//! The cache: downloads, source trees, half-done builds, and finished products.
//!
//! ```text
//! downloads/<sha256>/<file>       what came from a pinned address, read-only
//! apt/                            private lists and downloads of the distribution's sources
//! sources/<name>-<key>/           unpacked and patched source trees
//! work/<step>-<request>/          builds that can be continued
//! store/<step>-<arch>-<key>/      finished products, each with its manifest.json
//! store/template-<arch>-<key>/    booted guests, each with its template.json
//! refs/<step>-<arch>-<request>    which product answers which request
//! digests.json                    digests of files that were read before
//! locks/, logs/
//! ```
//!
//! Invariants: **a product is complete or not there**: it is made beside its place and renamed; a
//! key says all that went in. A *request* says what was asked for before it is known where the
//! source comes from, so that unchanged inputs are found without asking the network.

use std::collections::BTreeMap;
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::files::{self, LockFile};
use flipsim::units::format_size;
use serde::{Deserialize, Serialize};

use super::{digest, owner};
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// The version of `manifest.json`.
const FORMAT: u32 = 1;

/// The cache's folder, known to exist.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What is asked for: all that decides on the product and is known before any work.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// `qemu`, `kernel` or `image`.
    pub step: &'static str,
    /// The guest's architecture.
    pub arch: &'static str,
    /// To be raised whenever the way of building changes what comes out.
    pub recipe: u32,
    /// The source wanted, and the options that choose another one.
    pub source: serde_json::Value,
    /// Options of the build.
    pub flags: Vec<String>,
    /// What the compiler says it is.
    pub compiler: String,
    /// Digests of whatever else goes in, by name: patches, fragments, recipes.
    pub inputs: BTreeMap<String, String>,
}

impl Request {
    /// 16 hexadecimal digits that stand for all of it.
    pub fn key(&self) -> Result<String> {
        Ok(digest::of_bytes(&serde_json::to_vec(self)?)[..16].to_owned())
    }
}

/// Where a source came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// In words: an address, a source package, a file of the user's.
    pub from: String,
    /// Its version, as far as it is known.
    pub version: String,
    /// Digests of the files that it is made of, by name.
    pub files: BTreeMap<String, String>,
}

/// What a product was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MadeFrom {
    /// The source.
    pub source: SourceRecord,
    /// Options of the build.
    pub flags: Vec<String>,
    /// What the compiler says it is.
    pub compiler: String,
    /// The version of our way of building.
    pub recipe: u32,
    /// Digests of whatever else went in, by name.
    pub inputs: BTreeMap<String, String>,
}

/// `manifest.json` beside a product.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProductManifest {
    /// The version of this format.
    pub format: u32,
    /// `qemu`, `kernel` or `image`.
    pub step: String,
    /// The guest's architecture.
    pub arch: String,
    /// What it was made from.
    pub made_from: MadeFrom,
    /// The host's kernel and architecture.
    pub host: String,
    /// When, in UTC.
    pub time: String,
    /// What a run of the product said of itself.
    pub notes: BTreeMap<String, String>,
    /// Its files.
    pub files: BTreeMap<String, FileRecord>,
}

/// One file of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: String,
}

/// A finished product.
#[derive(Debug, Clone)]
pub struct Product {
    /// Its folder.
    pub dir: PathBuf,
    /// What it says of itself.
    pub manifest: ProductManifest,
}

impl Cache {
    /// The user's cache, made when missing.
    pub fn open() -> Result<Cache> {
        let cache = Cache { root: paths::cache_dir()? };
        fs::create_dir_all(&cache.root).with_context(|| {
            format!(
                "cannot make the cache {}; set FLIPSIM_CACHE to a folder of your own",
                cache.root.display()
            )
        })?;
        owner::check_cache(&cache.root)?;
        Ok(cache)
    }

    /// The user's cache where nothing may be changed: a dry run.
    pub fn look() -> Result<Cache> {
        Ok(Cache { root: paths::cache_dir()? })
    }

    /// A cache at a place of the caller's choice.
    #[cfg(test)]
    pub fn at(root: &Path) -> Cache {
        Cache { root: root.to_owned() }
    }

    /// Downloads by digest.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The output of the host's programs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The digests of files that were read before.
    pub fn digests(&self) -> PathBuf {
        self.root.join("digests.json")
    }

    /// Apt's private state.
    pub fn apt(&self) -> PathBuf {
        self.root.join("apt")
    }

    /// The place of a source tree.
    pub fn source(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("sources").join(format!("{name}-{key}"))
    }

    /// The place of a build that can be continued.
    pub fn work(&self, step: &str, key: &str) -> PathBuf {
        self.root.join("work").join(format!("{step}-{key}"))
    }

    /// The place of a template, which is a product of the lab's guest and not of a source.
    pub fn template(&self, arch: &str, key: &str) -> PathBuf {
        self.root.join("store").join(format!("template-{arch}-{key}"))
    }

    /// The product that answers a request, when there is one and it is whole.
    pub fn find(&self, request: &Request) -> Result<Option<Product>> {
        let path = self.reference(request)?;
        let Ok(name) = fs::read_to_string(&path) else { return Ok(None) };
        let dir = self.root.join("store").join(name.trim());
        match load_product(&dir) {
            Ok(product) => Ok(Some(product)),
            Err(error) => {
                eprintln!("  {error:#}; it is made again");
                Ok(None)
            }
        }
    }

    /// Forgets which product answers a request; the product itself stays.
    pub fn forget(&self, request: &Request) -> Result<()> {
        remove_file(&self.reference(request)?)
    }

    /// Makes a product: `fill` puts its files into the folder it is given, and answers with notes.
    pub fn publish(
        &self,
        request: &Request,
        made_from: MadeFrom,
        fill: impl FnOnce(&Path) -> Result<BTreeMap<String, String>>,
    ) -> Result<Product> {
        let key = digest::of_bytes(&serde_json::to_vec(&made_from)?);
        let name = format!("{}-{}-{}", request.step, request.arch, &key[..16]);
        let dir = self.root.join("store").join(&name);
        let temporary = files::beside(&dir, ".tmp");
        remove_tree(&temporary)?;
        fs::create_dir_all(&temporary).with_context(|| format!("cannot make {}", temporary.display()))?;
        let filled = fill(&temporary).and_then(|notes| {
            interrupt::check()?;
            let manifest = ProductManifest {
                format: FORMAT,
                step: request.step.to_owned(),
                arch: request.arch.to_owned(),
                made_from,
                host: host(),
                time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                notes,
                files: record_files(&temporary)?,
            };
            write_json(&temporary.join("manifest.json"), &manifest)
        });
        if let Err(error) = filled {
            // The error that brought us here says more than one from cleaning up would.
            let _left = remove_tree(&temporary);
            return Err(error);
        }
        // The same inputs have made a product before; that it is made again means that it was found
        // wanting.
        remove_tree(&dir)?;
        fs::rename(&temporary, &dir).with_context(|| format!("cannot make {}", dir.display()))?;
        write_atomically(&self.reference(request)?, name.as_bytes())?;
        load_product(&dir)
    }

    fn reference(&self, request: &Request) -> Result<PathBuf> {
        Ok(self.root.join("refs").join(format!("{}-{}-{}", request.step, request.arch, request.key()?)))
    }

    /// Makes this process the only one that works on `step`; waits for another that does, and may have made what is
    /// wanted: look again.
    pub fn lock(&self, step: &str, human: &str) -> Result<StepLock> {
        let dir = self.root.join("locks");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join(format!("{step}.lock"));
        let mut file = LockFile::open(&path).map_err(|error| {
            let hint = owner::hint(&path, &error);
            anyhow::Error::new(error).context(format!("cannot open {}{hint}", path.display()))
        })?;
        let mut waiting = None;
        loop {
            match file.lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if waiting.is_none() {
                        let pid = file.signer().map(|pid| pid.to_string()).unwrap_or_default();
                        eprintln!("  another command is building {human} (pid {pid}); waiting");
                        waiting = Some(ProgressStep::quiet(format!("waiting for {human} (pid {pid})")));
                    }
                    interrupt::sleep(Duration::from_millis(200))?;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        file.sign().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(StepLock { _file: file })
    }

    /// An error where the disk of the cache has less than `bytes` left.
    pub fn need_space(&self, bytes: u64, what: &str) -> Result<()> {
        let free = free_space(&self.root)?;
        if free < bytes {
            bail!(
                "{what} needs {} of disk space, and {} has {} left; free some, or set FLIPSIM_CACHE to a \
                 folder on another disk",
                format_size(bytes),
                self.root.display(),
                format_size(free)
            );
        }
        Ok(())
    }
}

/// Held while a step is worked on.
#[derive(Debug)]
pub struct StepLock {
    _file: LockFile,
}

/// Space that an ordinary user can still use, in bytes, where `path` is or will be.
pub fn free_space(path: &Path) -> Result<u64> {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(there)
        .with_context(|| format!("cannot find out the free space of {}", there.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What to add to an error when the disk is full, and nothing otherwise.
pub fn full_disk_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: free some space, or set FLIPSIM_CACHE to a folder on another disk"
        }
        _ => "",
    }
}

/// Reads a product and checks that its files are there, by their sizes: their digests would take
/// longer than a `setup` with nothing to do may.
pub fn load_product(dir: &Path) -> Result<Product> {
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).with_context(|| format!("the product {} is gone", dir.display()))?;
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    if head.format != FORMAT {
        bail!("{} has format {}, and this program knows {FORMAT}", path.display(), head.format);
    }
    let manifest: ProductManifest =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    for (name, record) in &manifest.files {
        let size = fs::metadata(dir.join(name)).map(|meta| meta.len()).ok();
        if size != Some(record.size) {
            bail!("the product {} is damaged: {name} is missing or has another size", dir.display());
        }
    }
    Ok(Product { dir: dir.to_owned(), manifest })
}

fn record_files(dir: &Path) -> Result<BTreeMap<String, FileRecord>> {
    let mut records = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let size = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            records.insert(name, FileRecord { size, sha256: digest::of_file(&path)? });
        }
    }
    Ok(records)
}

/// The host's kernel and architecture.
fn host() -> String {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine()))
}

/// Writes a value as JSON, complete or not at all.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

/// Writes a file, complete or not at all.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        files::write_atomically(path, content)
    };
    write().map_err(|error| {
        let hint = full_disk_hint(&error);
        anyhow::Error::new(error).context(format!("cannot write {}{hint}", path.display()))
    })
}

/// Removes a folder and all in it; one that is not there is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    files::remove_tree(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Removes a file; one that is not there is no error.
pub fn remove_file(path: &Path) -> Result<()> {
    files::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests;
