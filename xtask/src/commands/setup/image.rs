//! The step `image`: busybox and the workloads, put into an ext4 file system without root, then
//! qcow2, then checked.
//!
//! Invariant: the recipe in `images/recipe.toml` says all that is in the image; owners, modes and
//! times come from it and not from the user who builds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flipsim::files;
use xshell::{Shell, cmd};

use super::fragments::{not_taken, read_fragments};
use super::kconfig;
use super::lane::{Chosen, Lane, compiler_id_or_missing};
use crate::guest::file_system::{E2fs, Script};
use crate::guest::image;
use crate::host::{needs, proc};
use crate::lab::cache::{self, MadeFrom, Product, Request};
use crate::lab::digest;
use crate::lab::in_use::{self, Lab, Origin, SERVICES};
use crate::lab::recipe::{Busybox, Directory, Program, Recipe, read_recipe};
use crate::lab::step::SetupStep;
use crate::progress;
use crate::source::tree::{self, Want};

/// To be raised whenever the way of building changes what comes out.
const RECIPE: u32 = 1;

/// Disk space for source, build and product.
const SPACE: u64 = 1 << 30;

const WAYS_OUT: &str = "a route to one of them";

/// Whether something is to be built.
pub fn needs_build(lane: &Lane<'_>, chosen: &Chosen) -> Result<bool> {
    Ok(lane.args.reset || lane.cache.find(&request(lane, chosen)?)?.is_none())
}

/// Brings the image up to date.
pub fn set_up(lane: &Lane<'_>, chosen: &Chosen) -> Result<()> {
    let recipe = read_recipe(&lane.root.join("images/recipe.toml"))?;
    let request = request(lane, chosen)?;
    if !lane.args.reset
        && let Some(product) = lane.cache.find(&request)?
    {
        return record(lane, &product, chosen, true);
    }
    eprintln!("the image for {}:", lane.arch);
    if lane.runner.is_dry() {
        return build(lane, chosen, &request, &recipe).map(|_| ());
    }
    let _lock = lane.cache.lock("image", "the image")?;
    // Only now: before the lock another setup may be building there.
    if lane.args.reset {
        cache::remove_tree(&lane.cache.work("image", &request.key()?))?;
        lane.cache.forget(&request)?;
    }
    // The one before may have made it.
    if !lane.args.reset
        && let Some(product) = lane.cache.find(&request)?
    {
        return record(lane, &product, chosen, true);
    }
    lane.cache.need_space(SPACE, "building the image")?;
    match build(lane, chosen, &request, &recipe)? {
        Some(product) => record(lane, &product, chosen, false),
        None => Ok(()),
    }
}

fn request(lane: &Lane<'_>, chosen: &Chosen) -> Result<Request> {
    let inputs = BTreeMap::from([
        ("images".to_owned(), digest::of_folder(&lane.root.join("images"))?),
        ("host".to_owned(), std::env::consts::ARCH.to_owned()),
    ]);
    Ok(Request {
        step: "image",
        arch: lane.arch.name,
        recipe: RECIPE,
        source: serde_json::json!({ "pinned": lane.config.busybox, "options": chosen }),
        flags: Vec::new(),
        compiler: compiler_id_or_missing(&format!("{}gcc", needs::tool_prefix(lane.arch))),
        inputs,
    })
}

fn build(lane: &Lane<'_>, chosen: &Chosen, request: &Request, recipe: &Recipe) -> Result<Option<Product>> {
    let want = Want {
        name: "busybox",
        human: "busybox",
        pinned: &lane.config.busybox,
        tarball: None,
        from_distro: chosen.contains_key("from-distro"),
        patches: None,
        ways_out: WAYS_OUT,
    };
    let tree = tree::obtain(&lane.cache, &lane.runner, &want)?;
    let work = lane.cache.work("image", &request.key()?);
    // All of it takes half a minute, so it is done afresh each time.
    if lane.runner.is_dry() {
        lane.runner.note(&format!("make the folder {}", work.display()));
    } else {
        cache::remove_tree(&work)?;
        let dir = work.join("busybox");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let images = lane.root.join("images");
    let busybox =
        build_busybox(lane, &tree.dir, &work.join("busybox"), &images.join(&recipe.busybox.config))?;
    let program = build_workloads(lane, recipe, &images, &work)?;
    let raw = work.join("rootfs.ext4");
    let e2fs = E2fs::new(&lane.runner, &recipe.image, &images);
    e2fs.make(&raw)?;
    e2fs.fill(&populate(recipe, &images, &busybox, &program)?, &raw)?;
    let img = qemu_img(lane)?;
    let qcow2 = work.join("rootfs.qcow2");
    if lane.runner.is_dry() {
        lane.runner.note(&format!("cargo xtask image convert {} {}", proc::quote(&raw), proc::quote(&qcow2)));
        lane.runner.note("copy the image into the cache");
        return Ok(None);
    }
    image::convert(&lane.runner, &img, &raw, &qcow2, true)?;
    let made_from = MadeFrom {
        source: tree.record.clone(),
        flags: recipe.workload_program.flags.clone(),
        compiler: request.compiler.clone(),
        recipe: RECIPE,
        inputs: request.inputs.clone(),
    };
    let product = lane.cache.publish(request, made_from, |dir| {
        files::copy(&qcow2, &dir.join("rootfs.qcow2"))
            .with_context(|| format!("cannot copy {}", qcow2.display()))?;
        let names: Vec<&str> = recipe.workload.iter().map(|workload| workload.name.as_str()).collect();
        Ok(BTreeMap::from([
            ("workloads".to_owned(), names.join(" ")),
            (SERVICES.to_owned(), "by init".to_owned()),
        ]))
    })?;
    cache::remove_tree(&work)?;
    Ok(Some(product))
}

/// Builds busybox with our settings and nothing else. Its kconfig is old: it ignores
/// KCONFIG_ALLCONFIG, and takes the first of two lines about a symbol.
fn build_busybox(lane: &Lane<'_>, tree: &Path, out: &Path, settings: &Path) -> Result<PathBuf> {
    let sh = Shell::new()?;
    let jobs = lane.jobs.to_string();
    let mut flags = vec![format!("ARCH={}", lane.arch.kernel_arch)];
    if !needs::is_native(lane.arch) {
        flags.push(format!("CROSS_COMPILE={}", needs::tool_prefix(lane.arch)));
    }
    let flags = &flags;
    let make = |target: &[&str]| -> Command {
        let mut command: Command = cmd!(sh, "make -C {tree} O={out} -j {jobs} {flags...} {target...}").into();
        command.env("KCONFIG_NOTIMESTAMP", "1").env("SOURCE_DATE_EPOCH", "1");
        command
    };
    let step = lane.runner.step(|| progress::ProgressStep::spinner("building busybox"));
    let run = |what: &str, command: Command| {
        lane.runner.run(what, "busybox.log", command, &mut |line| step.line(line))
    };
    run("busybox: make allnoconfig", make(&["allnoconfig"]))?;
    let config = out.join(".config");
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let wanted = read(settings)?;
    if lane.runner.is_dry() {
        lane.runner.note(&format!("replace the lines of {} in {}", settings.display(), config.display()));
    } else {
        cache::write_atomically(&config, override_settings(&read(&config)?, &wanted).as_bytes())?;
    }
    run("busybox: make oldconfig", make(&["oldconfig"]))?;
    if !lane.runner.is_dry() {
        let dropped = kconfig::check(
            &read_fragments(&[settings.to_owned()])?,
            &kconfig::KernelConfig::parse(&read(&config)?),
        );
        if !dropped.is_empty() {
            bail!(not_taken("this busybox", &dropped, &config));
        }
    }
    run("building busybox", make(&["busybox"]))?;
    if !lane.runner.is_dry() {
        step.done();
    }
    Ok(out.join("busybox"))
}

/// `config` with the settings of `over` in place of those it has.
fn override_settings(config: &str, over: &str) -> String {
    let named: Vec<&str> = over.lines().filter_map(symbol).collect();
    let mut text = String::new();
    for line in config.lines() {
        if symbol(line).is_none_or(|name| !named.contains(&name)) {
            text += line;
            text.push('\n');
        }
    }
    text + over
}

/// The symbol that a line of a configuration is about.
fn symbol(line: &str) -> Option<&str> {
    let name = match line.trim().strip_prefix("# ") {
        Some(rest) => rest.strip_suffix(" is not set")?,
        None => line.trim().split_once('=')?.0,
    };
    name.strip_prefix("CONFIG_")
}

fn build_workloads(lane: &Lane<'_>, recipe: &Recipe, images: &Path, work: &Path) -> Result<PathBuf> {
    let sh = Shell::new()?;
    let compiler = format!("{}gcc", needs::tool_prefix(lane.arch));
    let Program { flags, sources, .. } = &recipe.workload_program;
    let output = work.join("workload-program");
    let mut command: Command = cmd!(sh, "{compiler} {flags...} -o {output} {sources...}").into();
    // Relative names: the path of the source tree stays out of the program.
    command.current_dir(images);
    let step = lane.runner.step(|| progress::ProgressStep::spinner("building the workloads"));
    lane.runner.run_quietly("building the workloads", "workloads.log", command)?;
    if !lane.runner.is_dry() {
        step.done();
    }
    Ok(output)
}

/// The script for debugfs that fills the file system.
fn populate(recipe: &Recipe, images: &Path, busybox: &Path, program: &Path) -> Result<String> {
    let mut script = Script::new(&["/lost+found"]);
    // A folder comes after the one that holds it.
    let mut folders: Vec<&Directory> = recipe.directory.iter().collect();
    folders.sort_by_key(|folder| folder.path.matches('/').count());
    for folder in folders {
        plain(&folder.path)?;
        script.folder(&folder.path, folder.mode)?;
    }
    let Busybox { destination, mode, .. } = &recipe.busybox;
    let Program { destination: program_destination, mode: program_mode, .. } = &recipe.workload_program;
    let mut files = vec![
        (busybox.to_owned(), destination.as_str(), *mode),
        (program.to_owned(), program_destination.as_str(), *program_mode),
    ];
    files.extend(
        recipe.file.iter().map(|file| (images.join(&file.source), file.destination.as_str(), file.mode)),
    );
    for (source, destination, mode) in files {
        plain(destination)?;
        script.file(&source, destination, mode)?;
    }
    let busybox = &recipe.busybox;
    for applet in &busybox.applets {
        let link = format!("{}/{applet}", busybox.applet_directory);
        plain(&link)?;
        script.link(&link, &busybox.destination)?;
    }
    script.finish(recipe.image.timestamp)
}

/// Refuses what is no plain absolute path.
fn plain(path: &str) -> Result<()> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "/._-+[".contains(c);
    if path.starts_with('/') && !path.contains("..") && path.chars().all(ok) {
        return Ok(());
    }
    bail!("images/recipe.toml: `{path}` is no plain absolute path")
}

/// The lab's own qemu-img; the host's will do where QEMU has not been set up.
fn qemu_img(lane: &Lane<'_>) -> Result<PathBuf> {
    let own = Lab::load()?.arch(lane.arch).qemu.map(|qemu| qemu.img).filter(|path| path.is_file());
    if lane.runner.is_dry() {
        return Ok(own.unwrap_or_else(|| "qemu-img".into()));
    }
    own.or_else(|| proc::find_program("qemu-img"))
        .context("no qemu-img: run `cargo xtask setup qemu` first, or install it")
}

fn record(lane: &Lane<'_>, product: &Product, chosen: &Chosen, up_to_date: bool) -> Result<()> {
    let workloads = product.manifest.notes.get("workloads").cloned().unwrap_or_default();
    let origin = Origin {
        from: product.manifest.made_from.source.from.clone(),
        version: format!("workloads {workloads}"),
        options: chosen.clone(),
    };
    if up_to_date {
        lane.up_to_date(SetupStep::Image, &origin);
    } else {
        eprintln!("  {} in {}", origin.version, product.dir.display());
    }
    if lane.runner.is_dry() {
        return Ok(());
    }
    let image = in_use::Image { qcow2: product.dir.join("rootfs.qcow2"), origin };
    Lab::update(lane.arch, |lab| lab.image = Some(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = r#"
version = 1
[image]
size = "64M"
label = "x"
uuid = "u"
hash-seed = "h"
timestamp = 1
block-size = 4096
mke2fs-config = "m"
extended-options = []
reserved-percent = 0
[busybox]
config = "c"
destination = "/bin/busybox"
mode = 0o755
applet-directory = "/bin"
applets = ["["]
[workload-program]
sources = ["w.c"]
headers = []
flags = ["-static"]
destination = "/bin/w"
mode = 0o755
[[directory]]
path = "/tmp/deep"
mode = 0o755
[[directory]]
path = "/tmp"
mode = 0o1777
[[file]]
source = "rootfs/init"
destination = "/init"
mode = 0o644
"#;

    fn recipe(text: &str) -> Result<Recipe> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        fs::write(&path, text).unwrap();
        read_recipe(&path)
    }

    #[test]
    fn the_script_for_debugfs_makes_folders_before_what_is_in_them() {
        let recipe = recipe(RECIPE).unwrap();
        let script = populate(&recipe, Path::new("/i"), Path::new("/b"), Path::new("/w")).unwrap();
        let without_owners: Vec<&str> =
            script.lines().filter(|line| !line.contains("time @1") && !line.ends_with("id 0")).collect();
        insta::assert_snapshot!(without_owners.join("\n"), @r#"
        mkdir /tmp
        sif /tmp mode 041777
        mkdir /tmp/deep
        sif /tmp/deep mode 040755
        cd /bin
        write "/b" busybox
        sif /bin/busybox mode 0100755
        cd /bin
        write "/w" w
        sif /bin/w mode 0100755
        cd /
        write "/i/rootfs/init" init
        sif /init mode 0100644
        symlink /bin/[ /bin/busybox
        "#);
        assert!(script.contains("sif /init mtime @1"));
    }

    #[test]
    fn a_recipe_of_another_version_or_with_odd_names_is_refused() {
        let error = recipe(&RECIPE.replace("version = 1", "version = 2")).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        let odd = recipe(&RECIPE.replace("\"/init\"", "\"/a b\"")).unwrap();
        let error = populate(&odd, Path::new("/i"), Path::new("/b"), Path::new("/w")).unwrap_err();
        assert!(error.to_string().contains("no plain absolute path"), "{error}");
    }

    #[test]
    fn settings_replace_those_of_the_same_symbol() {
        let text = override_settings("# CONFIG_A is not set\nCONFIG_B=y\n", "CONFIG_A=y\n");
        assert_eq!(text, "CONFIG_B=y\nCONFIG_A=y\n");
    }
}
