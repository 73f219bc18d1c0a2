//! The step `kernel`: allnoconfig, our fragments, a check that every line of them survived, and a
//! build outside the source tree.
//!
//! Invariant: **no kernel is built whose configuration lost a line of a fragment**: what a fragment
//! asks for and Kconfig drops in silence would come up as a guest that hangs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;
use flipsim::kernel::symbols::{SOURCES_SECTION, Sources};
use xshell::{Shell, cmd};

use super::fragments::{not_taken, read, read_fragments};
use super::kconfig::{self, Dependencies, Fragment, KernelConfig};
use super::lane::{Chosen, Lane, compiler_id_or_missing};
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::kernel::{Given, check as check_kernel};
use crate::host::{needs, proc};
use crate::lab::cache::{self, MadeFrom, Product, Request, SourceRecord};
use crate::lab::digest;
use crate::lab::in_use::{Kernel, Lab, Origin};
use crate::lab::step::SetupStep;
use crate::progress;
use crate::source::tree::{self, Want};

/// To be raised whenever the way of building changes what comes out.
const RECIPE: u32 = 2;

/// Disk space for source, build and product.
const SPACE: u64 = 3 << 30;

/// The fragments that make a kernel tree of the user's own take part in the lab, where its architecture has them.
const FOR_OTHERS: &[&str] = &["9p", "pci", "pci-host-generic"];

/// The fragments that are merged into a configuration of the user's own: it keeps its other choices.
const FOR_OTHER_CONFIGS: &[&str] = &["9p", "pci", "pci-host-generic", "block", "pvpanic"];

/// The fragments that make the configuration.
fn names_of(lane: &Lane<'_>, chosen: &Chosen) -> Vec<&'static str> {
    let wanted = |name: &&str| !chosen.contains_key("kernel-config") || FOR_OTHER_CONFIGS.contains(name);
    lane.arch.fragments.iter().copied().filter(wanted).collect()
}

const WAYS_OUT: &str = "`--kernel-src DIR` with a source tree of your own, `--kernel-image FILE` with a kernel \
                        of your own";

/// Whether something is to be built.
pub fn needs_build(lane: &Lane<'_>, chosen: &Chosen) -> Result<bool> {
    if chosen.contains_key("kernel-image") {
        return Ok(false);
    }
    Ok(lane.args.reset
        || lane.args.kernel_src.is_some()
        || lane.cache.find(&request(lane, chosen)?)?.is_none())
}

/// Brings the kernel up to date.
pub fn set_up(lane: &Lane<'_>, chosen: &Chosen) -> Result<()> {
    if let Some(image) = chosen.get("kernel-image") {
        return bring_your_own(lane, Path::new(image), chosen);
    }
    let request = request(lane, chosen)?;
    // A tree of the user's may have changed since: when it is named, make has a look at it.
    let look_again = lane.args.kernel_src.is_some() || lane.args.reset;
    if !look_again && let Some(product) = lane.cache.find(&request)? {
        return record(lane, &product, chosen, true);
    }
    eprintln!("the kernel for {}:", lane.arch);
    if lane.runner.is_dry() {
        return build(lane, chosen, &request).map(|_| ());
    }
    let _lock = lane.cache.lock("kernel", "the kernel")?;
    // Only now: before the lock another setup may be building there.
    if lane.args.reset {
        cache::remove_tree(&lane.cache.work("kernel", &request.key()?))?;
        lane.cache.forget(&request)?;
    }
    // The one before may have made it.
    if !look_again && let Some(product) = lane.cache.find(&request)? {
        return record(lane, &product, chosen, true);
    }
    lane.cache.need_space(SPACE, "building the kernel")?;
    match build(lane, chosen, &request)? {
        Some(product) => record(lane, &product, chosen, false),
        None => Ok(()),
    }
}

fn request(lane: &Lane<'_>, chosen: &Chosen) -> Result<Request> {
    let llvm = chosen.contains_key("llvm");
    let mut inputs = BTreeMap::from([("host".to_owned(), std::env::consts::ARCH.to_owned())]);
    if let Some(path) = chosen.get("kernel-config") {
        inputs.insert("config".to_owned(), digest::of_file(Path::new(path))?);
    }
    for path in fragments(lane, &names_of(lane, chosen))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        inputs.insert(name, digest::of_file(&path)?);
    }
    let compiler = if llvm { "clang".to_owned() } else { format!("{}gcc", needs::tool_prefix(lane.arch)) };
    Ok(Request {
        step: "kernel",
        arch: lane.arch.name,
        recipe: RECIPE,
        source: serde_json::json!({ "pinned": lane.config.kernel, "options": chosen }),
        flags: make_flags(lane, llvm),
        compiler: compiler_id_or_missing(&compiler),
        inputs,
    })
}

/// The variables that every call of the kernel's make gets.
fn make_flags(lane: &Lane<'_>, llvm: bool) -> Vec<String> {
    let mut flags = vec![format!("ARCH={}", lane.arch.kernel_arch)];
    if llvm {
        flags.push("LLVM=1".to_owned());
    } else if !needs::is_native(lane.arch) {
        flags.push(format!("CROSS_COMPILE={}", needs::tool_prefix(lane.arch)));
    }
    flags
}

pub(super) fn fragments(lane: &Lane<'_>, names: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = lane.root.join("kernel-config");
    let mut paths = Vec::new();
    for name in names {
        let path = folder.join(format!("{name}.config"));
        if !path.is_file() {
            bail!("the fragment {} is missing; it belongs to the source tree", path.display());
        }
        paths.push(path);
    }
    Ok(paths)
}

/// One call of the kernel's make.
fn make(lane: &Lane<'_>, tree: &Path, out: &Path, flags: &[String], target: &[&str]) -> Result<Command> {
    let sh = Shell::new()?;
    let jobs = lane.jobs.to_string();
    let mut command: Command = cmd!(sh, "make -C {tree} O={out} -j {jobs} {flags...} {target...}").into();
    // The same inputs give the same kernel: no name, host or time of the build goes in.
    for (name, value) in [
        ("KBUILD_BUILD_USER", "flipsim"),
        ("KBUILD_BUILD_HOST", "flipsim"),
        ("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC"),
    ] {
        command.env(name, value);
    }
    Ok(command)
}

fn build(lane: &Lane<'_>, chosen: &Chosen, request: &Request) -> Result<Option<Product>> {
    let (tree, source) = match chosen.get("kernel-src") {
        Some(dir) => {
            let tree = kernel_tree(Path::new(dir))?;
            refuse_configured(&tree)?;
            let from = format!("your own tree {dir}");
            (tree, SourceRecord { from, version: String::new(), files: BTreeMap::new() })
        }
        None => {
            let want = Want {
                name: "linux",
                human: "Linux",
                pinned: &lane.config.kernel,
                tarball: None,
                from_distro: chosen.contains_key("from-distro"),
                patches: None,
                ways_out: WAYS_OUT,
            };
            let tree = tree::obtain(&lane.cache, &lane.runner, &want)?;
            (tree.dir, tree.record)
        }
    };
    let work = lane.cache.work("kernel", &request.key()?);
    configure(lane, &tree, &work, request, chosen)?;
    let what = "building the kernel";
    let step = lane.runner.step(|| progress::ProgressStep::spinner(what));
    let command = make(lane, &tree, &work, &request.flags, &[lane.arch.kernel_target])?;
    lane.runner.run(what, "kernel-build.log", command, &mut |line| step.line(line))?;
    if lane.runner.is_dry() {
        lane.runner.note("copy the kernel, vmlinux, System.map and .config into the cache");
        lane.runner.note("give that vmlinux its types (pahole) and its source lines in place of its debug information (objcopy)");
        return Ok(None);
    }
    step.done();
    let own = chosen.contains_key("kernel-src");
    let made_from = MadeFrom {
        source,
        flags: request.flags.clone(),
        compiler: request.compiler.clone(),
        recipe: RECIPE,
        inputs: if own { with_image_digest(lane, request, &work)? } else { request.inputs.clone() },
    };
    let step = progress::ProgressStep::spinner("keeping the kernel");
    let product = lane.cache.publish(request, made_from, |dir| {
        for (from, to) in [
            (lane.arch.kernel_image, "Image"),
            ("vmlinux", "vmlinux"),
            ("System.map", "System.map"),
            (".config", "config"),
        ] {
            let from = work.join(from);
            files::copy(&from, &dir.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        keep_debugging(lane, dir, chosen.contains_key("llvm"))?;
        let command = make(lane, &tree, &work, &request.flags, &["-s", "kernelrelease"])?;
        let release = proc::output_of("asking for the kernel's release", command, Duration::from_secs(60))?;
        let release = release.lines().last().unwrap_or_default().trim().to_owned();
        Ok(BTreeMap::from([("release".to_owned(), release)]))
    })?;
    step.done();
    // A tree of the user's is likely to be built again, so its objects are worth their space.
    if !own {
        cache::remove_tree(&work)?;
    }
    Ok(Some(product))
}

/// Puts the kernel's types (BTF), and which source its code is of, into the `vmlinux` that is kept, in place of its debug
/// information, which is ten times as large. The kernel itself is without: what is in the guest's RAM is what was there before. One
/// with types of its own keeps them.
fn keep_debugging(lane: &Lane<'_>, dir: &Path, llvm: bool) -> Result<()> {
    let config = KernelConfig::parse(&read(&dir.join("config"))?);
    let has = |symbol: &str| *config.get(symbol) == kconfig::Value::Yes;
    if !has("DEBUG_INFO") {
        return Ok(());
    }
    let (vmlinux, types, lines) = (dir.join("vmlinux"), dir.join("types"), dir.join("sources"));
    let objcopy =
        if llvm { "llvm-objcopy".to_owned() } else { format!("{}objcopy", needs::tool_prefix(lane.arch)) };
    let mut strip = Command::new(objcopy);
    strip.arg("--strip-debug");
    if !has("DEBUG_INFO_BTF") {
        let mut encode = Command::new("pahole");
        encode.arg(format!("--btf_encode_detached={}", types.display())).arg(&vmlinux);
        lane.runner.run_quietly("reading the kernel's types", "kernel-types.log", encode)?;
        strip.arg("--add-section").arg(format!(".BTF={}", types.display()));
    }
    match Sources::read(&vmlinux) {
        Ok(None) => {}
        Ok(Some(sources)) => {
            let kept = files::write_atomically(&lines, &sources.section());
            kept.with_context(|| format!("cannot write {}", lines.display()))?;
            strip.arg("--add-section").arg(format!("{SOURCES_SECTION}={}", lines.display()));
        }
        Err(why) => eprintln!("  note: it is not known which source the kernel's code is of: {why}"),
    }
    strip.arg(&vmlinux);
    lane.runner.run_quietly("keeping the kernel's types and lines", "kernel-types.log", strip)?;
    for file in [types, lines].iter().filter(|file| file.exists()) {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

/// A tree of the user's has no digest: that of its product stands for it.
fn with_image_digest(lane: &Lane<'_>, request: &Request, work: &Path) -> Result<BTreeMap<String, String>> {
    let mut inputs = request.inputs.clone();
    inputs.insert("result".to_owned(), digest::of_file(&work.join(lane.arch.kernel_image))?);
    Ok(inputs)
}

fn kernel_tree(dir: &Path) -> Result<PathBuf> {
    if !dir.join("Kbuild").is_file() || !dir.join("scripts/kconfig/merge_config.sh").is_file() {
        bail!(exit_error(
            Code::Usage,
            format!("{} is no Linux source tree: it has no Kbuild or no scripts/kconfig", dir.display())
        ));
    }
    Ok(dir.to_owned())
}

/// Configures, unless that was done for this very tree and these fragments.
fn configure(lane: &Lane<'_>, tree: &Path, work: &Path, request: &Request, chosen: &Chosen) -> Result<()> {
    let fragments = fragments(lane, &names_of(lane, chosen))?;
    let marker = work.join("configured");
    let wanted = format!("{}\n{}\n", tree.display(), request.key()?);
    if !lane.runner.is_dry() {
        if fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
            eprintln!("  going on with the build that is there");
            // A tree of the user's may have other options since, and make would settle them without
            // a word.
            let settle = make(lane, tree, work, &request.flags, &["olddefconfig"])?;
            lane.runner.run_quietly("make olddefconfig", "kernel-configure.log", settle)?;
            return check(tree, lane.arch, &work.join(".config"), &fragments);
        }
        cache::remove_tree(work)?;
        fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    } else {
        lane.runner.note(&format!("make the folder {}", work.display()));
    }
    let step = lane.runner.step(|| progress::ProgressStep::spinner("configuring the kernel"));
    let flags = &request.flags;
    let log = "kernel-configure.log";
    let run = |what: &str, command: Command| lane.runner.run(what, log, command, &mut |l| step.line(l));
    match chosen.get("kernel-config") {
        None => run("make allnoconfig", make(lane, tree, work, flags, &["allnoconfig"])?)?,
        Some(own) if lane.runner.is_dry() => {
            lane.runner.note(&format!("copy {own} to {}", work.join(".config").display()));
        }
        Some(own) => {
            let copied = files::copy(own.as_ref(), &work.join(".config"));
            copied.with_context(|| format!("cannot copy {own}"))?;
        }
    }
    run("merging the fragments", merge(tree, work, &fragments)?)?;
    run("make olddefconfig", make(lane, tree, work, flags, &["olddefconfig"])?)?;
    if lane.runner.is_dry() {
        lane.runner.note("check that every line of every fragment is in .config");
        return Ok(());
    }
    check(tree, lane.arch, &work.join(".config"), &fragments)?;
    step.done();
    if chosen.get("kernel-config").is_some() {
        let own = read_fragments(&self::fragments(lane, lane.arch.fragments)?)?;
        if let Some(note) = lacking(&own, &KernelConfig::parse(&read(&work.join(".config"))?)) {
            eprintln!("  note: {note}");
        }
    }
    cache::write_atomically(&marker, wanted.as_bytes())
}

/// The kernel's makefiles refuse to build outside of a tree that was configured in place, and advise
/// `make mrproper`, which would delete the user's configuration.
fn refuse_configured(tree: &Path) -> Result<()> {
    let Some(found) = [".config", "include/config"].into_iter().find(|name| tree.join(name).exists()) else {
        return Ok(());
    };
    bail!(exit_error(
        Code::Usage,
        format!(
            "{} was configured in place (it has {found}), and a build outside of it is refused then; build from a \
         clean copy (`git worktree add` makes one), or build it yourself and give --kernel-image and --vmlinux",
            tree.display()
        )
    ))
}

/// The kernel's own script; `-m` leaves the dependencies to olddefconfig.
fn merge(tree: &Path, out: &Path, fragments: &[PathBuf]) -> Result<Command> {
    let sh = Shell::new()?;
    let config = out.join(".config");
    let mut command: Command =
        cmd!(sh, "sh scripts/kconfig/merge_config.sh -m -O {out} {config} {fragments...}").into();
    command.current_dir(tree);
    Ok(command)
}

/// What the lab's own kernel has switched on and this one has not: without its console, say, a guest says nothing.
fn lacking(own: &[Fragment], config: &KernelConfig) -> Option<String> {
    let dropped = kconfig::check(own, config);
    let on = dropped.iter().filter(|dropped| dropped.wanted == kconfig::Value::Yes);
    let names: Vec<&str> = on.map(|dropped| dropped.symbol.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "this configuration lacks {} that the lab's own kernel has; if the guest says nothing, or does not find its \
             root, it may be one of them: {}",
            if names.len() == 1 { "an option".to_owned() } else { format!("{} options", names.len()) },
            names.join(" ")
        )
    })
}

/// An error that names every line of the fragments that is not in the final configuration, with the
/// dependencies that the tree's Kconfig files say are not met.
fn check(tree: &Path, arch: Arch, config: &Path, fragments: &[PathBuf]) -> Result<()> {
    let fragments = read_fragments(fragments)?;
    let settled = KernelConfig::parse(&read(config)?);
    let mut dropped = kconfig::check(&fragments, &settled);
    if dropped.is_empty() {
        return Ok(());
    }
    Dependencies::read(tree, arch.kernel_arch).explain(&mut dropped, &settled);
    bail!(not_taken("this kernel", &dropped, config))
}

/// `--config-only`: merges the options that a guest of the lab needs into a tree of the user's.
pub fn config_only(lane: &Lane<'_>) -> Result<()> {
    let Some(dir) = &lane.args.kernel_src else {
        bail!(exit_error(Code::Usage, "--config-only needs --kernel-src DIR"))
    };
    let dir = dir
        .canonicalize()
        .with_context(|| format!("cannot find {}", dir.display()))
        .exit_with(Code::Usage)?;
    let tree = kernel_tree(&dir)?;
    let flags = &make_flags(lane, lane.args.llvm);
    let config = tree.join(".config");
    let sh = Shell::new()?;
    let log = "kernel-config-only.log";
    let in_tree =
        |target: &str| -> Result<Command> { Ok(cmd!(sh, "make -C {tree} {flags...} {target}").into()) };
    if config.is_file() {
        let backup = (0..)
            .map(|n| {
                tree.join(if n == 0 {
                    ".config.before-flipsim".into()
                } else {
                    format!(".config.before-flipsim.{n}")
                })
            })
            .find(|path| !path.exists())
            .context("no free name for a copy of .config")?;
        if lane.runner.is_dry() {
            lane.runner.note(&format!("copy {} to {}", config.display(), backup.display()));
        } else {
            files::copy(&config, &backup).with_context(|| format!("cannot write {}", backup.display()))?;
            eprintln!("  the old configuration is kept in {}", backup.display());
        }
    } else {
        eprintln!("  {} has no .config: starting from defconfig", tree.display());
        lane.runner.run_quietly("make defconfig", log, in_tree("defconfig")?)?;
    }
    let names: Vec<&str> =
        lane.arch.fragments.iter().copied().filter(|name| FOR_OTHERS.contains(name)).collect();
    let fragments = fragments(lane, &names)?;
    lane.runner.run_quietly("merging the fragments", log, merge(&tree, &tree, &fragments)?)?;
    lane.runner.run_quietly("make olddefconfig", log, in_tree("olddefconfig")?)?;
    if !lane.runner.is_dry() {
        check(&tree, lane.arch, &config, &fragments)?;
        eprintln!("  {}: every option of {} is set", config.display(), names.join(" and "));
    }
    Ok(())
}

fn record(lane: &Lane<'_>, product: &Product, chosen: &Chosen, up_to_date: bool) -> Result<()> {
    let release = product.manifest.notes.get("release").cloned().unwrap_or_default();
    let origin = Origin {
        from: product.manifest.made_from.source.from.clone(),
        version: format!("Linux {release}"),
        options: chosen.clone(),
    };
    if up_to_date {
        lane.up_to_date(SetupStep::Kernel, &origin);
    } else {
        eprintln!("  {} in {}", origin.version, product.dir.display());
    }
    if lane.runner.is_dry() {
        return Ok(());
    }
    let kernel = Kernel {
        image: product.dir.join("Image"),
        vmlinux: Some(product.dir.join("vmlinux")),
        config: Some(product.dir.join("config")),
        origin,
    };
    Lab::update(lane.arch, |lab| lab.kernel = Some(kernel))
}

fn bring_your_own(lane: &Lane<'_>, image: &Path, chosen: &Chosen) -> Result<()> {
    // Of the QEMU that is set up; without one nothing is known of what it unpacks.
    let qemu = Lab::load()?.arch(lane.arch).qemu.map(|qemu| qemu.origin.version).unwrap_or_default();
    let given = Given { path: image, arch: lane.arch, qemu: &qemu, ours: true };
    if let Some(warning) = check_kernel(given).exit_with(Code::Usage)? {
        eprintln!("  warning: {warning}");
    }
    let vmlinux = chosen.get("vmlinux").map(PathBuf::from);
    if let Some(path) = &vmlinux {
        flipsim::kernel::symbols::Symbols::load(path).exit_with(Code::Usage)?;
    } else {
        eprintln!("  note: without --vmlinux, faults cannot be placed by the name of a symbol");
    }
    let origin = Origin {
        from: format!("your own {}", image.display()),
        version: "your own kernel".to_owned(),
        options: chosen.clone(),
    };
    lane.up_to_date(SetupStep::Kernel, &origin);
    if lane.runner.is_dry() {
        return Ok(());
    }
    let kernel = Kernel { image: image.to_owned(), vmlinux, config: None, origin };
    Lab::update(lane.arch, |lab| lab.kernel = Some(kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_was_configured_in_place_is_refused_without_advice_to_delete_it() {
        let tree = tempfile::tempdir().unwrap();
        refuse_configured(tree.path()).unwrap();
        fs::write(tree.path().join(".config"), "").unwrap();
        let error = refuse_configured(tree.path()).unwrap_err().to_string();
        assert!(error.contains("it has .config") && !error.contains("mrproper"), "{error}");
    }

    #[test]
    fn options_that_did_not_survive_are_named_with_what_they_depend_on() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("net")).unwrap();
        fs::write(at("net/Kconfig"), "config NET_9P\n\tbool \"9p\"\n\tdepends on INET\n").unwrap();
        fs::write(at("9p.config"), "CONFIG_NET_9P=y\n").unwrap();
        fs::write(at(".config"), "# CONFIG_INET is not set\n").unwrap();
        let error = check(dir.path(), Arch::default(), &at(".config"), &[at("9p.config")]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("this kernel has not taken 1 option:\n  9p.config:1: CONFIG_NET_9P"),
            "{error}"
        );
        assert!(error.contains("INET"), "{error}");
        fs::write(at(".config"), "CONFIG_NET_9P=y\n").unwrap();
        check(dir.path(), Arch::default(), &at(".config"), &[at("9p.config")]).unwrap();
    }

    #[test]
    fn a_folder_that_is_no_kernel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(kernel_tree(dir.path()).unwrap_err().to_string().contains("no Linux source tree"));
    }

    #[test]
    fn a_configuration_without_a_console_is_reported() {
        let own = Fragment::parse(
            "x",
            "CONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_HZ=250\nCONFIG_IPV6=n\nCONFIG_TTY=y\n",
        )
        .unwrap();
        let config = KernelConfig::parse("CONFIG_TTY=y\nCONFIG_IPV6=y\n");
        let note = lacking(&[own], &config).unwrap();
        assert!(note.contains("lacks an option") && note.ends_with(": SERIAL_8250_CONSOLE"), "{note}");
        assert_eq!(lacking(&[], &config), None);
    }
}
