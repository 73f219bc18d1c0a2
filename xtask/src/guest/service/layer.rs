//! The lab's image with a service in it: a product of the cache.
//!
//! ```text
//! store/service-<arch>-<key>/rootfs.qcow2    the image
//!                            service.json    what was added to the lab's, and its command line
//!                            inputs/N        the files, by their place in service.json
//! ```
//!
//! Invariant: **an image is there whole or not at all**, and says all that it was made from, so that it can be made
//! again without the user's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::files;
use flipsim::units::parse_size;
use serde::{Deserialize, Serialize};

use super::contents::{Contents, FOLDER, Item};
use crate::guest::file_system::{E2fs, Script};
use crate::guest::image;
use crate::host::proc::{self, CommandRunner};
use crate::lab::cache::{self, Cache, MadeFrom, Product, Request, SourceRecord};
use crate::lab::digest;
use crate::lab::in_use::ReadyLab;
use crate::lab::recipe::{FileSystem, Recipe};
use crate::progress::ProgressStep;

/// To be raised whenever the way of building changes what comes out.
const RECIPE: u32 = 1;

/// The version of `service.json`.
const FORMAT: u32 = 1;

/// The image's name in its product.
pub const IMAGE: &str = "rootfs.qcow2";

const KEPT: &str = "service.json";
const INPUTS: &str = "inputs";

/// What is added to the lab's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    format: u32,
    /// The service's name.
    pub name: String,
    /// Its command line, for a shell in its folder.
    pub run: String,
    /// Its files.
    pub contents: Contents,
}

impl Layer {
    /// A service of this name, with its command line and files.
    pub fn new(name: &str, run: &str, contents: Contents) -> Layer {
        Layer { format: FORMAT, name: name.to_owned(), run: run.to_owned(), contents }
    }

    /// What the cache has kept of a service, in the folder of its image.
    pub fn kept(dir: &Path) -> Result<Layer> {
        let path = dir.join(KEPT);
        let text = files::read_plain(&path)
            .with_context(|| format!("what the service was made of is gone: {}", path.display()))?;
        let layer: Layer =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if layer.format != FORMAT {
            bail!("{} has format {}, and this program knows {FORMAT}", path.display(), layer.format);
        }
        let contents = layer.contents.placed(|source, _| Ok(dir.join(INPUTS).join(source)))?;
        Ok(Layer { contents, ..layer })
    }

    fn request(&self, base: &str, arch: &'static str) -> Result<Request> {
        // Where the files lie on this host is no part of it.
        let contents = self.contents.placed(|_, number| Ok(number.to_string().into()))?;
        let inputs = BTreeMap::from([
            ("image".to_owned(), base.to_owned()),
            ("contents".to_owned(), digest::of_bytes(&serde_json::to_vec(&contents)?)),
        ]);
        Ok(Request {
            step: "service",
            arch,
            recipe: RECIPE,
            source: serde_json::json!({ "name": self.name, "run": self.run }),
            flags: Vec::new(),
            compiler: String::new(),
            inputs,
        })
    }

    /// The commands that put it into a file system, from files in the folder `inputs` by their numbers.
    fn script(&self, inputs: &Path, recipe: &Recipe) -> Result<String> {
        let mut script = Script::new(&[]);
        let mut number = 0;
        for (path, item) in self.contents.iter() {
            match item {
                Item::Folder if recipe.directory.iter().any(|there| there.path == path) => {}
                Item::Folder => script.folder(path, 0o755)?,
                Item::File { runs, .. } => {
                    script.file(&inputs.join(number.to_string()), path, if *runs { 0o755 } else { 0o644 })?;
                    number += 1;
                }
                Item::Link(target) => script.link(path, target)?,
            }
        }
        script.file(&inputs.join("run"), &format!("{FOLDER}/{}.run", self.name), 0o644)?;
        script.finish(recipe.image.timestamp)
    }
}

/// What a layer is put on, and with what.
#[derive(Debug)]
pub struct Workshop<'a> {
    /// Runs or prints commands.
    pub runner: &'a CommandRunner,
    /// Where products are kept.
    pub cache: &'a Cache,
    /// The lab whose image it is put on.
    pub lab: &'a ReadyLab,
    /// How that image was made.
    pub recipe: &'a Recipe,
    /// The folder `images` of the source tree.
    pub images: PathBuf,
}

impl Workshop<'_> {
    /// The image with this in it: found, or made. `None` in a dry run.
    pub fn make(&self, layer: &Layer) -> Result<Option<Product>> {
        let base = digest::of_file(&self.lab.image.qcow2)?;
        let request = layer.request(&base, self.lab.arch.name)?;
        if !self.runner.is_dry()
            && let Some(product) = self.cache.find(&request)?
        {
            return Ok(Some(product));
        }
        let work = self.cache.work("service", &request.key()?);
        let made = self.build(layer, &request, &work);
        if !self.runner.is_dry() {
            // What went wrong says more than a failure to clean up would.
            let _left = cache::remove_tree(&work);
        }
        made
    }

    fn build(&self, layer: &Layer, request: &Request, work: &Path) -> Result<Option<Product>> {
        let size = size_for(&self.recipe.image, &layer.contents)?;
        if !self.runner.is_dry() {
            self.cache.need_space(3 * size.bytes, "making the image")?;
        }
        self.stage(layer, work)?;
        let (base, raw, qcow2) = (&self.lab.image.qcow2, work.join("rootfs.img"), work.join(IMAGE));
        self.convert(base, &raw)?;
        let e2fs = E2fs::new(self.runner, &self.recipe.image, &self.images);
        if size.grows {
            e2fs.grow(&raw, size.bytes)?;
        }
        e2fs.fill(&layer.script(&work.join(INPUTS), self.recipe)?, &raw)?;
        self.convert(&raw, &qcow2)?;
        if self.runner.is_dry() {
            self.runner.note("copy the image and the files into the cache");
            return Ok(None);
        }
        let made_from = MadeFrom {
            source: SourceRecord {
                from: "your own".to_owned(),
                version: layer.run.clone(),
                files: BTreeMap::new(),
            },
            flags: vec![layer.name.clone()],
            compiler: String::new(),
            recipe: RECIPE,
            inputs: request.inputs.clone(),
        };
        let product = self.cache.publish(request, made_from, |dir| {
            let copy = |from: &Path, to: &Path| {
                files::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))
            };
            copy(&qcow2, &dir.join(IMAGE))?;
            let kept = dir.join(INPUTS);
            fs::create_dir(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
            let contents = layer.contents.placed(|_, number| {
                let name = PathBuf::from(number.to_string());
                copy(&work.join(INPUTS).join(&name), &kept.join(&name))?;
                Ok(name)
            })?;
            cache::write_json(&dir.join(KEPT), &Layer { contents, ..layer.clone() })?;
            Ok(BTreeMap::new())
        })?;
        Ok(Some(product))
    }

    fn convert(&self, from: &Path, to: &Path) -> Result<()> {
        if self.runner.is_dry() {
            self.runner.note(&format!("cargo xtask image convert {} {}", proc::quote(from), proc::quote(to)));
            return Ok(());
        }
        image::convert(self.runner, &self.lab.qemu.img, from, to, true)
    }

    /// Copies the files to where debugfs reads them; a file that was changed since it was looked at is refused.
    fn stage(&self, layer: &Layer, work: &Path) -> Result<()> {
        let inputs = work.join(INPUTS);
        if self.runner.is_dry() {
            let files = layer.contents.iter().filter(|(_, item)| matches!(item, Item::File { .. })).count();
            self.runner.note(&format!("copy {files} files and the command line to {}", inputs.display()));
            return Ok(());
        }
        let step = ProgressStep::spinner("copying the files");
        cache::remove_tree(work)?;
        fs::create_dir_all(&inputs).with_context(|| format!("cannot make {}", inputs.display()))?;
        let mut number = 0;
        for (_, item) in layer.contents.iter() {
            let Item::File { source, sha256, .. } = item else { continue };
            let copy = inputs.join(number.to_string());
            files::copy(source, &copy).with_context(|| format!("cannot copy {}", source.display()))?;
            if digest::of_file(&copy)? != *sha256 {
                bail!("{} was changed meanwhile; run the same command again", source.display());
            }
            number += 1;
        }
        cache::write_atomically(&inputs.join("run"), format!("{}\n", layer.run).as_bytes())?;
        step.done();
        Ok(())
    }
}

/// How long an image has to be.
#[derive(Debug, PartialEq, Eq)]
struct Size {
    bytes: u64,
    grows: bool,
}

/// So much of the lab's image is left for a service; the rest holds the lab's files, a journal and tables.
const SPARE_PARTS: (u64, u64) = (2, 3);

/// The bytes of an image for each of its inodes (`inode_ratio` in images/mke2fs.conf).
const BYTES_PER_INODE: u64 = 16 << 10;

fn size_for(made_of: &FileSystem, contents: &Contents) -> Result<Size> {
    let lab =
        parse_size(&made_of.size).map_err(|error| anyhow::anyhow!("images/recipe.toml: size: {error}"))?;
    let block = u64::from(made_of.block_size);
    // Blocks, those that say where they are, and the entries of folders.
    let count = contents.count() as u64;
    let needed = contents.bytes() / 64 * 65 + count * 2 * block;
    let needed = needed.max(count * BYTES_PER_INODE);
    let spare = lab / SPARE_PARTS.1 * SPARE_PARTS.0;
    let more = needed.saturating_sub(spare);
    // In whole groups of blocks: a bitmap of one block has a bit for each.
    let group = block * block * 8;
    Ok(Size { bytes: lab + (more + more / 16).next_multiple_of(group), grows: more > 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::recipe::read_recipe;

    fn recipe() -> Recipe {
        read_recipe(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/recipe.toml")).unwrap()
    }

    fn contents(sizes: &[u64]) -> Contents {
        let file = |bytes: u64| serde_json::json!({ "file": { "source": "/s", "bytes": bytes, "sha256": "", "runs": true } });
        let files = sizes.iter().enumerate().map(|(at, bytes)| (format!("/srv/mine/{at:05}"), file(*bytes)));
        let mut all: serde_json::Map<String, serde_json::Value> = files.collect();
        all.insert("/srv".into(), "folder".into());
        all.insert("/tmp".into(), "folder".into());
        all.insert("/srv/mine/link".into(), serde_json::json!({ "link": "a b" }));
        serde_json::from_value(all.into()).unwrap()
    }

    #[test]
    fn the_script_makes_what_the_lab_s_image_does_not_have() {
        let layer = Layer::new("mine", "./app \"x\"\n", contents(&[5]));
        let script = layer.script(Path::new("/w"), &recipe()).unwrap();
        let begin = "mkdir /srv\nsif /srv mode 040755\ncd /srv/mine\nwrite \"/w/0\" 00000\n\
                     sif /srv/mine/00000 mode 0100755\nsymlink /srv/mine/link \"a b\"\ncd /srv\n\
                     write \"/w/run\" mine.run\nsif /srv/mine.run mode 0100644\nsif /srv uid 0\n";
        assert!(script.starts_with(begin), "{script}");
        assert!(!script.contains("/tmp"), "the lab's image has it");
    }

    #[test]
    fn the_same_files_make_the_same_request_wherever_they_lie() {
        let layer = Layer::new("mine", "./app", contents(&[5]));
        let moved = Layer {
            contents: layer.contents.placed(|_, _| Ok("/elsewhere".into())).unwrap(),
            ..layer.clone()
        };
        let key = |layer: &Layer, base: &str| layer.request(base, "aarch64").unwrap().key().unwrap();
        assert_eq!(key(&layer, "b"), key(&moved, "b"));
        assert_ne!(key(&layer, "b"), key(&layer, "other"));
        assert_ne!(key(&layer, "b"), key(&Layer { run: "./app -v".into(), ..layer.clone() }, "b"));
        assert_ne!(key(&layer, "b"), key(&Layer { contents: contents(&[6]), ..layer.clone() }, "b"));
    }

    #[test]
    fn an_image_grows_for_what_does_not_fit() {
        let size = |sizes: &[u64]| size_for(&recipe().image, &contents(sizes)).unwrap();
        assert_eq!(size(&[30 << 20]), Size { bytes: 64 << 20, grows: false });
        assert_eq!(size(&[100 << 20]), Size { bytes: (64 + 128) << 20, grows: true });
        assert!(size(&[1; 9000]).grows);
    }

    #[test]
    fn what_was_kept_is_found_by_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let layer =
            Layer::new("mine", "./app", contents(&[5]).placed(|_, at| Ok(at.to_string().into())).unwrap());
        cache::write_json(&dir.path().join(KEPT), &layer).unwrap();
        let kept = Layer::kept(dir.path()).unwrap();
        assert_eq!((kept.name.as_str(), kept.run.as_str()), ("mine", "./app"));
        assert!(kept.contents.iter().any(
            |(_, item)| matches!(item, Item::File { source, .. } if *source == dir.path().join("inputs/0"))
        ));
        assert!(Layer::kept(&dir.path().join("none")).unwrap_err().to_string().contains("is gone"));
    }
}
