//! Source trees: from a pinned address, a file of the user's, or the distribution; unpacked,
//! patched, and named after all that went in.
//!
//! Invariant: a tree under its final name is complete. The sources are tried in order, and each try
//! is reported in one line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::files;
use flipsim::units::format_size;

use super::http::{FetchError, Policy, Wanted};
use super::series::apply_series;
use super::unpack::{self, Limits};
use super::{apt, fetch};
use crate::host::proc::CommandRunner;
use crate::interrupt::Interrupted;
use crate::lab::cache::{self, Cache, SourceRecord};
use crate::lab::config::Pinned;
use crate::lab::digest;
use crate::lab::patches::series_digests;

/// What the tree was made from; lies in the tree itself, so that both appear at once.
const RECORD: &str = ".flipsim-source.json";

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// For file names: `qemu`, `linux`, `busybox`.
    pub name: &'a str,
    /// For messages.
    pub human: &'a str,
    /// The pin.
    pub pinned: &'a Pinned,
    /// An archive of the user's, in place of all else.
    pub tarball: Option<&'a Path>,
    /// Leaves the pinned address out.
    pub from_distro: bool,
    /// A folder with a `series` of our own patches.
    pub patches: Option<&'a Path>,
    /// The options that are left when all fails.
    pub ways_out: &'a str,
}

/// A source tree, ready to be built.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Its folder.
    pub dir: PathBuf,
    /// Where it comes from.
    pub record: SourceRecord,
}

/// Where the files of a tree lie.
enum Parts {
    Tarball(PathBuf),
    Package(apt::SourcePackage),
}

/// Gets the tree, from the first source that has it.
pub fn obtain(cache: &Cache, runner: &CommandRunner, want: &Want<'_>) -> Result<Tree> {
    if let Some(tarball) = want.tarball {
        let name = tarball.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = digest::of_file(tarball)?;
        let is_pinned = found == want.pinned.sha256.as_str();
        if !is_pinned && name == want.pinned.url.file_name() {
            bail!(
                "{} has the name of the pinned archive and not its sha256 (it is {found}, lab.toml pins {}): it is \
                 damaged or another one; get it again, or give it another name if it is meant to differ",
                tarball.display(),
                want.pinned.sha256.as_str()
            );
        }
        eprintln!(
            "  your archive {name}: {}",
            if is_pinned { "the pinned one" } else { "not the pinned one" }
        );
        let files = BTreeMap::from([(name, found)]);
        let from = format!("your archive {}", tarball.display());
        let record = SourceRecord { from, version: "as in the archive".to_owned(), files };
        return unpack_tree(cache, runner, want, Parts::Tarball(tarball.to_owned()), record);
    }
    let mut failures = Vec::new();
    if !want.from_distro {
        match from_pin(cache, runner, want) {
            Ok((parts, record)) => return unpack_tree(cache, runner, want, parts, record),
            Err(FetchError::Interrupted(signal)) => return Err(signal.into()),
            // It may have been tampered with: going on elsewhere in silence would hide that. And
            // a disk that is full for one source is full for the next.
            Err(error @ (FetchError::WrongDigest { .. } | FetchError::Disk { .. })) => {
                return Err(error.into());
            }
            Err(error) => {
                eprintln!("  {error}");
                failures.push(error.to_string());
            }
        }
    }
    let package = &want.pinned.distro_package;
    if apt::is_here() {
        eprintln!("  {}: trying the distribution's source package {package}", want.human);
        match apt::download(cache, runner, package, &want.pinned.distro_accepts) {
            Ok(found) => {
                let record = found.record.clone();
                return unpack_tree(cache, runner, want, Parts::Package(found), record);
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                eprintln!("  {error:#}");
                failures.push(format!("{error:#}"));
            }
        }
    } else {
        failures.push("no apt on this host, so no source package of the distribution's either".to_owned());
    }
    bail!(
        "no source for {}:\n  {}\nWays out: {}; behind a proxy, set HTTPS_PROXY; or run it again later.",
        want.human,
        failures.join("\n  "),
        want.ways_out
    )
}

fn from_pin(
    cache: &Cache,
    runner: &CommandRunner,
    want: &Want<'_>,
) -> Result<(Parts, SourceRecord), FetchError> {
    let pinned = want.pinned;
    let wanted = Wanted {
        url: pinned.url.as_str(),
        file_name: pinned.url.file_name(),
        sha256: pinned.sha256.as_str(),
        size: pinned.size,
    };
    let downloads = cache.downloads();
    let record = SourceRecord {
        from: pinned.url.as_str().to_owned(),
        version: pinned.version.clone(),
        files: BTreeMap::from([(pinned.url.file_name().to_owned(), pinned.sha256.to_string())]),
    };
    let path = fetch::place(&downloads, &wanted);
    if runner.is_dry() {
        runner.note(&format!("download {} to {}", wanted.url, path.display()));
        runner.note(&format!("check its sha256: {}", wanted.sha256));
        return Ok((Parts::Tarball(path), record));
    }
    if !path.exists() {
        let size = pinned.size.map(|size| format!(", {}", format_size(size))).unwrap_or_default();
        eprintln!("  {} {}: trying {}{size}", want.human, pinned.version, wanted.url);
    }
    Ok((Parts::Tarball(fetch::fetch(&downloads, &wanted, &Policy::default())?), record))
}

fn unpack_tree(
    cache: &Cache,
    runner: &CommandRunner,
    want: &Want<'_>,
    parts: Parts,
    mut record: SourceRecord,
) -> Result<Tree> {
    if let Some(patches) = want.patches {
        record.files.extend(series_digests(patches)?);
    }
    let key = digest::of_bytes(&serde_json::to_vec(&record.files)?)[..16].to_owned();
    let dir = cache.source(want.name, &key);
    if let Ok(text) = fs::read_to_string(dir.join(RECORD))
        && let Ok(record) = serde_json::from_str(&text)
    {
        return Ok(Tree { dir, record });
    }
    let temporary = files::beside(&dir, ".tmp");
    if runner.is_dry() {
        match &parts {
            Parts::Tarball(path) => {
                runner.note(&format!("unpack {} to {}", path.display(), temporary.display()));
            }
            Parts::Package(package) => {
                runner.note(&format!("unpack {} to {}", package.dir.display(), temporary.display()));
                runner.note("apply debian/patches/series");
            }
        }
        if let Some(patches) = want.patches {
            apply_series(runner, want.human, &temporary, patches)?;
        }
        runner.note(&format!("rename {} to {}", temporary.display(), dir.display()));
        return Ok(Tree { dir, record });
    }
    cache::remove_tree(&dir)?;
    cache::remove_tree(&temporary)?;
    let fill = || -> Result<()> {
        match &parts {
            Parts::Tarball(path) => unpack::unpack_new(path, &temporary)?,
            Parts::Package(package) => {
                for (archive, component) in &package.orig {
                    match component {
                        None => unpack::unpack_new(archive, &temporary)?,
                        Some(component) => unpack::unpack_new(archive, &temporary.join(component))?,
                    }
                }
                unpack::unpack_into(&package.debian, &temporary, 0, Limits::default())?;
                apply_series(runner, want.human, &temporary, &temporary.join("debian/patches"))?;
            }
        }
        if let Some(patches) = want.patches {
            apply_series(runner, want.human, &temporary, patches)?;
        }
        cache::write_json(&temporary.join(RECORD), &record)?;
        fs::rename(&temporary, &dir).with_context(|| format!("cannot make {}", dir.display()))
    };
    let filled = fill();
    if filled.is_err() {
        // The error that brought us here says more than one from cleaning up would.
        let _left = cache::remove_tree(&temporary);
    }
    filled?;
    Ok(Tree { dir, record })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new(patch: &str) -> Place {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["tree", "patches"] {
                fs::create_dir(dir.path().join(folder)).unwrap();
            }
            fs::write(dir.path().join("tree/f"), "one\ntwo\nthree\n").unwrap();
            fs::write(dir.path().join("patches/series"), "# first\n\n0001.patch # why\n").unwrap();
            fs::write(dir.path().join("patches/0001.patch"), patch).unwrap();
            Place(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn apply(&self) -> Result<()> {
            let runner = CommandRunner::new(false, self.path("logs"));
            apply_series(&runner, "QEMU", &self.path("tree"), &self.path("patches"))
        }
    }

    const GOOD: &str = "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";

    #[test]
    fn a_series_is_applied_in_order_and_leaves_no_backups() {
        let place = Place::new(GOOD);
        place.apply().unwrap();
        assert_eq!(fs::read_to_string(place.path("tree/f")).unwrap(), "one\n2\nthree\n");
        assert_eq!(fs::read_dir(place.path("tree")).unwrap().count(), 1);
    }

    #[test]
    fn a_patch_that_does_not_fit_is_named_with_its_file() {
        let place = Place::new(&GOOD.replace("-two", "-zwei"));
        let error = place.apply().unwrap_err().to_string();
        assert!(error.starts_with("the patch 0001.patch does not fit this source of QEMU: f\n"), "{error}");
        assert!(error.contains("FAILED"), "{error}");
    }

    #[test]
    fn a_folder_without_a_series_has_no_patches() {
        let dir = tempfile::tempdir().unwrap();
        let runner = CommandRunner::new(false, dir.path().into());
        apply_series(&runner, "QEMU", dir.path(), &dir.path().join("none")).unwrap();
        assert!(series_digests(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_series_that_names_a_missing_or_odd_patch_is_refused() {
        let place = Place::new(GOOD);
        fs::write(place.path("patches/series"), "0002.patch\n").unwrap();
        assert!(series_digests(&place.path("patches")).unwrap_err().to_string().contains("0002.patch"));
        fs::write(place.path("patches/series"), "../0001.patch\n").unwrap();
        assert!(place.apply().unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn a_tarball_of_the_user_s_becomes_a_tree_once() {
        let dir = tempfile::tempdir().unwrap();
        let tarball = dir.path().join("mine.tar");
        let mut builder = tar::Builder::new(fs::File::create(&tarball).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, "top/VERSION", &b"7\n"[..]).unwrap();
        builder.finish().unwrap();
        let config = crate::lab::config::Config::load().unwrap();
        let cache = Cache::at(&dir.path().join("cache"));
        let want = Want {
            name: "qemu",
            human: "QEMU",
            pinned: &config.qemu,
            tarball: Some(&tarball),
            from_distro: false,
            patches: None,
            ways_out: "",
        };
        let runner = CommandRunner::new(false, cache.logs());
        let first = obtain(&cache, &runner, &want).unwrap();
        assert_eq!(fs::read_to_string(first.dir.join("VERSION")).unwrap(), "7\n");
        fs::write(first.dir.join("kept"), "").unwrap();
        assert!(obtain(&cache, &runner, &want).unwrap().dir.join("kept").exists());
    }
}
