//! `.lab/lab.json`: which QEMU, kernel and image are in use, for each architecture.
//!
//! Invariants: `setup` writes it, everything else reads it; what it names existed when it was
//! written, and [`Lab::ready`] checks that it still does. What lies in the cache is named from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cache;
use super::capabilities::QemuOffer;
use super::config::Config;
use super::digest;
use crate::paths;

/// What the manifest of an image notes whose init runs services.
pub const SERVICES: &str = "services";

/// The version of the file.
const FORMAT: u32 = 1;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lab {
    /// The version of this format.
    format: u32,
    /// By architecture.
    archs: BTreeMap<String, ArchLab>,
}

impl Default for Lab {
    fn default() -> Self {
        Lab { format: FORMAT, archs: BTreeMap::new() }
    }
}

/// One architecture's part; a step that has not run yet is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchLab {
    /// QEMU.
    pub qemu: Option<Qemu>,
    /// The kernel.
    pub kernel: Option<Kernel>,
    /// The guest's image.
    pub image: Option<Image>,
    /// The user's own services, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
}

/// Where a product comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// In words: an address, a source package, "your own".
    pub from: String,
    /// What it says its version is.
    pub version: String,
    /// The options of `setup` that chose it; used again until `--reset`.
    pub options: BTreeMap<String, String>,
}

/// QEMU's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// `qemu-system-…`.
    pub system: PathBuf,
    /// `qemu-img`.
    pub img: PathBuf,
    /// The folder with `qemu-plugin.h`, where there is one.
    pub plugin_include: Option<PathBuf>,
    /// What a probe has found: `machine:virt`, `device:virtio-9p-pci`, `accel:kvm`, …
    #[serde(rename = "abilities")]
    pub offer: QemuOffer,
    /// Where it comes from.
    pub origin: Origin,
}

/// The guest's kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// What QEMU boots.
    pub image: PathBuf,
    /// The same with symbols.
    pub vmlinux: Option<PathBuf>,
    /// Its configuration.
    pub config: Option<PathBuf>,
    /// Where it comes from.
    pub origin: Origin,
}

/// The guest's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// A qcow2 image.
    pub qcow2: PathBuf,
    /// Where it comes from.
    pub origin: Origin,
}

/// A program of the user's, in an image that was made of the lab's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The image, in a folder of the cache that also has what it was made from.
    pub qcow2: PathBuf,
    /// The lab's image that it was made of.
    pub base: PathBuf,
    /// The command line that is run in the guest.
    pub run: String,
    /// The size of its files in bytes.
    pub bytes: u64,
    /// The first 16 hex digits of the SHA-256 of its output without any fault.
    pub digest: String,
    /// The first lines of that output.
    pub output: Vec<String>,
    /// When it was added, UTC.
    pub added: Timestamp,
}

impl Service {
    /// Whether it was made of this image of the lab's, or of one that was the same.
    pub fn stands_on(&self, image: &Path) -> bool {
        let content = |path: &Path| digest::of_file(path).ok();
        self.base == image || content(&self.base).is_some_and(|base| content(image) == Some(base))
    }
}

/// What a command line needs to be about this architecture: nothing where `lab.toml` names it.
pub fn arch_option(arch: Arch) -> String {
    let is_default = Config::load().is_ok_and(|config| config.guest.arch == arch);
    if is_default { String::new() } else { format!(" --arch {arch}") }
}

/// A complete lab for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyLab {
    /// Which one.
    pub arch: Arch,
    /// QEMU.
    pub qemu: Qemu,
    /// The kernel.
    pub kernel: Kernel,
    /// The image.
    pub image: Image,
}

impl ArchLab {
    /// The places of all its files.
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let ArchLab { qemu, kernel, image, services } = self;
        let qemu = qemu.iter_mut().flat_map(|Qemu { system, img, plugin_include, .. }| {
            [Some(system), Some(img), plugin_include.as_mut()]
        });
        let kernel = kernel.iter_mut().flat_map(|Kernel { image, vmlinux, config, .. }| {
            [Some(image), vmlinux.as_mut(), config.as_mut()]
        });
        let image = image.iter_mut().map(|image| Some(&mut image.qcow2));
        let services = services.values_mut().flat_map(|own| [Some(&mut own.qcow2), Some(&mut own.base)]);
        qemu.chain(kernel).chain(image).chain(services).flatten()
    }
}

impl Lab {
    /// Reads `.lab/lab.json`; a lab that was never set up is an empty one.
    pub fn load() -> Result<Lab> {
        let mut lab = Lab::load_from(&path()?)?;
        lab.found_in(&paths::cache_dir()?);
        Ok(lab)
    }

    /// What lies in the cache is named from there in the file, so that one that was moved is found.
    fn found_in(&mut self, cache: &Path) {
        self.archs.values_mut().flat_map(ArchLab::paths).for_each(|path| *path = cache.join(&*path));
    }

    fn named_from(&mut self, cache: &Path) {
        for path in self.archs.values_mut().flat_map(ArchLab::paths) {
            if let Ok(rest) = path.strip_prefix(cache) {
                *path = rest.to_owned();
            }
        }
    }

    fn load_from(path: &Path) -> Result<Lab> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lab::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let advice = "remove it and run `cargo xtask setup`; what is built is found again";
        let head: Head = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; {advice}", path.display()))?;
        if head.format != FORMAT {
            bail!("{} has format {}, and this program knows {FORMAT}; {advice}", path.display(), head.format);
        }
        serde_json::from_str(&text).with_context(|| format!("{} is damaged; {advice}", path.display()))
    }

    /// Changes one architecture's part, on disk as well.
    pub fn update(arch: Arch, change: impl FnOnce(&mut ArchLab)) -> Result<()> {
        let mut lab = Lab::load()?;
        let before = lab.clone();
        change(lab.archs.entry(arch.name.to_owned()).or_default());
        if lab == before {
            return Ok(());
        }
        lab.named_from(&paths::cache_dir()?);
        cache::write_json(&path()?, &lab)
    }

    /// One architecture's part.
    pub fn arch(&self, arch: Arch) -> ArchLab {
        self.archs.get(arch.name).cloned().unwrap_or_default()
    }

    /// The architectures that have a service of this name.
    pub fn archs_of(&self, service: &str) -> Vec<Arch> {
        Arch::all().filter(|arch| self.arch(*arch).services.contains_key(service)).collect()
    }

    /// All that a guest needs, or an error that says what to run.
    pub fn ready(&self, arch: Arch) -> Result<ReadyLab> {
        let ArchLab { qemu, kernel, image, .. } = self.arch(arch);
        let (Some(qemu), Some(kernel), Some(image)) = (&qemu, &kernel, &image) else {
            let missing: Vec<&str> =
                [("QEMU", qemu.is_none()), ("the kernel", kernel.is_none()), ("the image", image.is_none())]
                    .into_iter()
                    .filter_map(|(name, absent)| absent.then_some(name))
                    .collect();
            let (missing, option) = (missing.join(", "), arch_option(arch));
            bail!("not set up for {arch} yet: {missing}; run `cargo xtask setup{option}`");
        };
        for (what, step, path) in [
            ("QEMU", "qemu", &qemu.system),
            ("qemu-img", "qemu", &qemu.img),
            ("the kernel", "kernel", &kernel.image),
            ("the image", "image", &image.qcow2),
        ] {
            if !path.is_file() {
                let (path, option) = (path.display(), arch_option(arch));
                bail!("{what} for {arch} is gone: {path}; run `cargo xtask setup {step}{option}`");
            }
        }
        Ok(ReadyLab { arch, qemu: qemu.clone(), kernel: kernel.clone(), image: image.clone() })
    }
}

fn path() -> Result<PathBuf> {
    Ok(paths::lab_dir()?.join("lab.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { from: "a test".into(), version: "1".into(), options: BTreeMap::new() }
    }

    fn full(dir: &Path) -> Lab {
        let file = |name: &str| {
            let path = dir.join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let qemu = Qemu {
            system: file("qemu"),
            img: file("img"),
            plugin_include: None,
            offer: QemuOffer::default(),
            origin: origin(),
        };
        let kernel = Kernel { image: file("Image"), vmlinux: None, config: None, origin: origin() };
        let image = Image { qcow2: file("disk"), origin: origin() };
        let service = Service {
            qcow2: file("own"),
            base: dir.join("disk"),
            run: "./own \"x\"".into(),
            bytes: 7,
            digest: "0123456789abcdef".into(),
            output: vec!["one".into()],
            added: Timestamp::UNIX_EPOCH,
        };
        let services = BTreeMap::from([("own".to_owned(), service)]);
        let part = ArchLab { qemu: Some(qemu), kernel: Some(kernel), image: Some(image), services };
        Lab { format: FORMAT, archs: BTreeMap::from([(Arch::default().name.to_owned(), part)]) }
    }

    #[test]
    fn a_lab_that_was_never_set_up_names_all_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::load_from(&dir.path().join("lab.json")).unwrap();
        let error = lab.ready(Arch::default()).unwrap_err().to_string();
        assert_eq!(error, "not set up for aarch64 yet: QEMU, the kernel, the image; run `cargo xtask setup`");
    }

    #[test]
    fn a_product_that_vanished_is_named_with_its_step() {
        let dir = tempfile::tempdir().unwrap();
        let lab = full(dir.path());
        lab.ready(Arch::default()).unwrap();
        std::fs::remove_file(dir.path().join("Image")).unwrap();
        let error = lab.ready(Arch::default()).unwrap_err().to_string();
        assert!(error.contains("the kernel for aarch64 is gone"), "{error}");
        assert!(error.ends_with("run `cargo xtask setup kernel`"), "{error}");
    }

    #[test]
    fn a_cache_that_was_moved_is_found_and_what_lies_elsewhere_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut lab = full(dir.path());
        let own = |lab: &mut Lab| {
            lab.archs.values_mut().for_each(|part| {
                part.kernel.as_mut().unwrap().image = "/home/me/Image".into();
            })
        };
        own(&mut lab);
        lab.named_from(dir.path());
        let text = serde_json::to_string(&lab).unwrap();
        assert!(!text.contains(dir.path().to_str().unwrap()), "{text}");
        lab.found_in(Path::new("/moved"));
        let part = lab.arch(Arch::default());
        assert_eq!(part.qemu.unwrap().system, Path::new("/moved/qemu"));
        assert_eq!(part.kernel.unwrap().image, Path::new("/home/me/Image"));
        assert_eq!(part.services["own"].qcow2, Path::new("/moved/own"));
    }

    #[test]
    fn a_file_without_services_is_read_and_one_that_has_none_says_nothing_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.json");
        let mut lab = full(dir.path());
        for part in lab.archs.values_mut() {
            part.services.clear();
        }
        cache::write_json(&path, &lab).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("services"));
        assert_eq!(Lab::load_from(&path).unwrap(), lab);
    }

    #[test]
    fn the_file_survives_a_round_trip_and_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.json");
        let lab = full(dir.path());
        cache::write_json(&path, &lab).unwrap();
        assert_eq!(Lab::load_from(&path).unwrap(), lab);
        assert_eq!(lab.archs_of("own"), [Arch::default()]);
        assert!(lab.archs_of("other").is_empty());
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"format\": 1", "\"format\": 7", 1);
        std::fs::write(&path, text).unwrap();
        assert!(Lab::load_from(&path).unwrap_err().to_string().contains("format 7"));
        std::fs::write(&path, "{").unwrap();
        assert!(Lab::load_from(&path).unwrap_err().to_string().contains("is damaged"));
    }
}
