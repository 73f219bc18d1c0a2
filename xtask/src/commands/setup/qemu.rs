//! The step `qemu`: source, patches, configure, ninja, and a product that runs from anywhere.
//!
//! Invariant: the product is QEMU's own layout (`bin/` beside `share/qemu`), because QEMU finds its
//! data relative to its binary.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;
use xshell::{Shell, cmd};

use super::lane::{Chosen, Lane, compiler_id_or_missing};
use super::probe::{ask, offer, version};
use crate::exit::{Code, ExitWith, exit_error};
use crate::host::{needs, proc};
use crate::interrupt::Interrupted;
use crate::lab::cache::{self, MadeFrom, Product, Request};
use crate::lab::capabilities::QemuOffer;
use crate::lab::in_use::{Lab, Origin, Qemu};
use crate::lab::step::SetupStep;
use crate::lab::{digest, patches};
use crate::progress;
use crate::source::tree::{self, Tree, Want};

/// To be raised whenever the way of building changes what comes out.
const RECIPE: u32 = 2;

/// Disk space for source, build and product.
const SPACE: u64 = 3 << 30;

const WAYS_OUT: &str = "`--qemu-tarball FILE` with an archive fetched elsewhere, `--qemu-bin FILE` with a \
                        QEMU of your own";

/// Whether something is to be built.
pub fn needs_build(lane: &Lane<'_>, chosen: &Chosen) -> Result<bool> {
    if chosen.contains_key("qemu-bin") {
        return Ok(false);
    }
    Ok(lane.args.reset || lane.cache.find(&request(lane, chosen)?)?.is_none())
}

/// Brings QEMU up to date.
pub fn set_up(lane: &Lane<'_>, chosen: &Chosen) -> Result<()> {
    if let Some(program) = chosen.get("qemu-bin") {
        return bring_your_own(lane, Path::new(program), chosen);
    }
    let request = request(lane, chosen)?;
    if !lane.args.reset
        && let Some(product) = lane.cache.find(&request)?
    {
        return record(lane, &product, chosen, true);
    }
    eprintln!("QEMU for {}:", lane.arch);
    if lane.runner.is_dry() {
        return build(lane, chosen, &request).map(|_| ());
    }
    let _lock = lane.cache.lock("qemu", "QEMU")?;
    // Only now: before the lock another setup may be building there.
    if lane.args.reset {
        cache::remove_tree(&work_of(lane, &request)?)?;
        lane.cache.forget(&request)?;
    }
    // The one before may have made it.
    if !lane.args.reset
        && let Some(product) = lane.cache.find(&request)?
    {
        return record(lane, &product, chosen, true);
    }
    lane.cache.need_space(SPACE, "building QEMU")?;
    match build(lane, chosen, &request)? {
        Some(product) => record(lane, &product, chosen, false),
        None => Ok(()),
    }
}

fn request(lane: &Lane<'_>, chosen: &Chosen) -> Result<Request> {
    let pinned = &lane.config.qemu;
    let mut inputs = patches::series_digests(&lane.root.join("qemu-patches"))?;
    if let Some(tarball) = chosen.get("qemu-tarball") {
        inputs.insert("tarball".to_owned(), digest::of_file(Path::new(tarball))?);
    }
    inputs.insert("host".to_owned(), std::env::consts::ARCH.to_owned());
    Ok(Request {
        step: "qemu",
        arch: lane.arch.name,
        recipe: RECIPE,
        source: serde_json::json!({ "pinned": pinned, "options": chosen }),
        flags: flags(),
        compiler: compiler_id_or_missing("cc"),
        inputs,
    })
}

/// The options of `configure`. All that a fault injection needs and nothing that talks to the world:
/// what is not built cannot disturb a trial.
fn flags() -> Vec<String> {
    let targets: Vec<&str> = Arch::all().map(|arch| arch.qemu_target).collect();
    let mut flags = vec!["--prefix=/opt/flipsim".to_owned(), format!("--target-list={}", targets.join(","))];
    flags.extend(
        [
            "--without-default-features",
            "--enable-tcg",
            "--enable-kvm",
            "--enable-fdt=system",
            "--enable-virtfs",
            "--enable-attr",
            "--enable-cap-ng",
            "--enable-plugins",
            "--enable-tools",
            "--disable-docs",
        ]
        .map(str::to_owned),
    );
    flags
}

fn build(lane: &Lane<'_>, chosen: &Chosen, request: &Request) -> Result<Option<Product>> {
    let patches = lane.root.join("qemu-patches");
    let tarball = chosen.get("qemu-tarball").map(PathBuf::from);
    let want = Want {
        name: "qemu",
        human: "QEMU",
        pinned: &lane.config.qemu,
        tarball: tarball.as_deref(),
        from_distro: chosen.contains_key("from-distro"),
        patches: Some(&patches),
        ways_out: WAYS_OUT,
    };
    let tree = tree::obtain(&lane.cache, &lane.runner, &want)?;
    let work = work_of(lane, request)?;
    configure(lane, &tree, &work, &request.flags)?;
    compile(lane, &work)?;
    boot_code(lane, &tree, &work)?;
    if lane.runner.is_dry() {
        lane.runner.note("copy the programs, qemu-plugin.h and the firmware into the cache");
        return Ok(None);
    }
    let made_from = MadeFrom {
        source: tree.record.clone(),
        flags: request.flags.clone(),
        compiler: request.compiler.clone(),
        recipe: RECIPE,
        inputs: request.inputs.clone(),
    };
    let step = progress::ProgressStep::spinner("checking what was built");
    let product = lane.cache.publish(request, made_from, |dir| fill(lane, &tree, &work, dir))?;
    step.done();
    // Only now: until there is a product for each architecture, the build can be continued.
    let missing = |arch| -> Result<bool> {
        let other = Request { arch, ..request.clone() };
        Ok(lane.cache.find(&other)?.is_none())
    };
    for arch in Arch::all() {
        if missing(arch.name)? {
            return Ok(Some(product));
        }
    }
    cache::remove_tree(&work)?;
    Ok(Some(product))
}

/// The folder of a build. All architectures have one: most of QEMU is compiled once for all of them.
fn work_of(lane: &Lane<'_>, request: &Request) -> Result<PathBuf> {
    let all = Request { arch: "all", ..request.clone() };
    Ok(lane.cache.work("qemu", &all.key()?))
}

/// Configures, unless that was done for this very tree and these flags.
fn configure(lane: &Lane<'_>, tree: &Tree, work: &Path, flags: &[String]) -> Result<()> {
    let marker = work.join("configured");
    let wanted = format!("{}\n{}\n", tree.dir.display(), flags.join(" "));
    if !lane.runner.is_dry() {
        if fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
            eprintln!("  going on with the build that is there");
            return Ok(());
        }
        cache::remove_tree(work)?;
        fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    } else {
        lane.runner.note(&format!("make the folder {}", work.display()));
    }
    let sh = Shell::new()?;
    let configure = tree.dir.join("configure");
    let mut command: Command = cmd!(sh, "{configure} {flags...}").into();
    command.current_dir(work);
    let step = lane.runner.step(|| progress::ProgressStep::spinner("configuring QEMU"));
    lane.runner.run("configuring QEMU", "qemu-configure.log", command, &mut |line| step.line(line))?;
    if lane.runner.is_dry() {
        return Ok(());
    }
    step.done();
    cache::write_atomically(&marker, wanted.as_bytes())
}

/// Builds two programs by name: without one, ninja builds more than 600 objects of tests as well.
fn compile(lane: &Lane<'_>, work: &Path) -> Result<()> {
    let sh = Shell::new()?;
    let jobs = lane.jobs.to_string();
    let system = lane.arch.qemu_binary;
    let mut command: Command = cmd!(sh, "ninja -j {jobs} {system} qemu-img").into();
    command.current_dir(work).env("NINJA_STATUS", "[%f/%t] ");
    let step = lane.runner.step(|| progress::ProgressStep::parts("building QEMU", 1));
    lane.runner.run("building QEMU", "qemu-build.log", command, &mut |line| {
        if let Some((done, total, what)) = ninja_status(line) {
            step.set_total(total);
            step.set(done);
            step.line(what);
        }
    })?;
    if !lane.runner.is_dry() {
        step.done();
    }
    Ok(())
}

/// Builds the boot code that goes into the guest, where the source does not carry it ready made: ninja leaves
/// that to make.
fn boot_code(lane: &Lane<'_>, tree: &Tree, work: &Path) -> Result<()> {
    let built_here = |name: &&&str| {
        let source = Path::new(name).with_extension("");
        let source = tree.dir.join("pc-bios/optionrom").join(source);
        ["c", "S"].iter().any(|ext| source.with_extension(ext).is_file())
    };
    let names: Vec<&str> = lane
        .arch
        .firmware
        .iter()
        .filter(|name| !tree.dir.join("pc-bios").join(name).is_file())
        .filter(built_here)
        .copied()
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let sh = Shell::new()?;
    let folder = work.join("pc-bios/optionrom");
    let prefix = needs::tool_prefix(lane.arch);
    // QEMU's configure writes this file only where it finds a whole compiler for 32 bits with its C library,
    // and the boot code needs none.
    let settings = format!(
        "TOPSRC_DIR={}\nPYTHON=python3\nCC={prefix}gcc\nOBJCOPY={prefix}objcopy\n",
        tree.dir.display()
    );
    let file = folder.join("config.mak");
    if lane.runner.is_dry() {
        lane.runner.note(&format!("write {}", file.display()));
    } else {
        cache::write_atomically(&file, settings.as_bytes())?;
    }
    let command: Command = cmd!(sh, "make -C {folder} {names...}").into();
    lane.runner.run_quietly("building the boot code", "qemu-boot-code.log", command)
}

/// `[12/345] Compiling …` as (12, 345, "Compiling …").
fn ninja_status(line: &str) -> Option<(u64, u64, &str)> {
    let (count, what) = line.strip_prefix('[')?.split_once(']')?;
    let (done, total) = count.split_once('/')?;
    Some((done.trim().parse().ok()?, total.trim().parse().ok()?, what.trim()))
}

fn fill(lane: &Lane<'_>, tree: &Tree, work: &Path, dir: &Path) -> Result<BTreeMap<String, String>> {
    let copy = |from: &Path, to: &Path| -> Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        files::copy(from, to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(())
    };
    for program in [lane.arch.qemu_binary, "qemu-img"] {
        copy(&work.join(program), &dir.join("bin").join(program))?;
    }
    copy(&tree.dir.join("include/qemu/qemu-plugin.h"), &dir.join("include/qemu-plugin.h"))?;
    let mut notes = BTreeMap::new();
    let of_guest = |name: &OsStr| lane.arch.firmware.iter().any(|own| name == *own);
    // Firmware that came with the source, and boot code that was built with it. A distribution's
    // source has little of it.
    for (folder, only) in [(tree.dir.join("pc-bios"), None), (work.join("pc-bios/optionrom"), Some("bin"))] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            let ext = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            let wanted = match only {
                // Another architecture's may be there.
                Some(only) => ext == only && path.file_name().is_some_and(of_guest),
                None => ["bin", "rom", "dtb", "img", "fd"].contains(&ext.as_str()),
            };
            if wanted && path.is_file() {
                copy(&path, &dir.join("share/qemu").join(path.file_name().unwrap_or_default()))?;
            }
        }
    }
    let data = dir.join("share/qemu");
    fs::create_dir_all(&data).context("cannot make share/qemu")?;
    for name in lane.arch.firmware.iter().filter(|name| !data.join(name).is_file()) {
        let Some(from) = needs::firmware(name) else {
            bail!(
                "neither QEMU's source nor this host has {name}, without which no {} guest starts; \
                 `cargo xtask doctor --arch {0}` says what to install",
                lane.arch
            );
        };
        copy(&from, &data.join(name))?;
        notes.insert((*name).to_owned(), format!("{}, sha256 {}", from.display(), digest::of_file(&from)?));
    }
    let system = dir.join("bin").join(lane.arch.qemu_binary);
    notes.insert("version".to_owned(), version(&system)?);
    notes.insert("qemu-img".to_owned(), version(&dir.join("bin/qemu-img"))?);
    notes.insert("abilities".to_owned(), offer(lane.arch, &system)?.line());
    Ok(notes)
}

fn record(lane: &Lane<'_>, product: &Product, chosen: &Chosen, up_to_date: bool) -> Result<()> {
    let notes = &product.manifest.notes;
    let note = |name: &str| notes.get(name).cloned().unwrap_or_default();
    let origin = Origin {
        from: product.manifest.made_from.source.from.clone(),
        version: note("version"),
        options: chosen.clone(),
    };
    if up_to_date {
        lane.up_to_date(SetupStep::Qemu, &origin);
    } else {
        eprintln!("  {} in {}", origin.version, product.dir.display());
    }
    if lane.runner.is_dry() {
        return Ok(());
    }
    let qemu = Qemu {
        system: product.dir.join("bin").join(lane.arch.qemu_binary),
        img: product.dir.join("bin/qemu-img"),
        plugin_include: Some(product.dir.join("include")),
        offer: QemuOffer::of_line(&note("abilities")),
        origin,
    };
    Lab::update(lane.arch, |lab| lab.qemu = Some(qemu))
}

/// Takes a QEMU that was not built here, after a look at what it can do.
fn bring_your_own(lane: &Lane<'_>, program: &Path, chosen: &Chosen) -> Result<()> {
    let version = match version(program) {
        Err(error) if !error.is::<Interrupted>() => return Err(error).exit_with(Code::Usage),
        other => other?,
    };
    let offer = offer(lane.arch, program)?;
    let machine = format!("machine:{}", lane.arch.machine);
    for (word, why) in [
        (machine.as_str(), "it is for another architecture"),
        ("accel:tcg", "it cannot emulate"),
        ("device:virtio-9p-pci", "it was built without virtfs, so no folder can be shared"),
        ("device:virtio-blk-pci", "it cannot give the guest a disk"),
    ] {
        if !offer.has(word) {
            bail!(exit_error(
                Code::Usage,
                format!("{} does not offer {word}: {why}; give another --qemu-bin", program.display())
            ));
        }
    }
    let folders = ask(program, &["-L", "help"])?;
    for name in lane.arch.firmware {
        if !folders.lines().any(|folder| Path::new(folder.trim()).join(name).is_file()) {
            let text = format!(
                "{} finds no {name}, without which no {} guest starts; it looks into {}",
                program.display(),
                lane.arch,
                folders.lines().collect::<Vec<_>>().join(", ")
            );
            bail!(exit_error(Code::Usage, text));
        }
    }
    let beside = program.with_file_name("qemu-img");
    let img = if beside.is_file() { Some(beside) } else { proc::find_program("qemu-img") };
    let Some(img) = img else {
        bail!("no qemu-img beside {} nor in PATH; install it, or build QEMU here", program.display());
    };
    for missing in ["plugins", "device:pvpanic-pci", "icount"] {
        if !offer.has(missing) {
            eprintln!("  note: {} does not offer {missing}", program.display());
        }
    }
    let origin = Origin { from: format!("your own {}", program.display()), version, options: chosen.clone() };
    lane.up_to_date(SetupStep::Qemu, &origin);
    if lane.runner.is_dry() {
        return Ok(());
    }
    let qemu = Qemu { system: program.to_owned(), img, plugin_include: None, offer, origin };
    Lab::update(lane.arch, |lab| lab.qemu = Some(qemu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninja_s_count_is_read() {
        assert_eq!(ninja_status("[12/345] Compiling x.c.o"), Some((12, 345, "Compiling x.c.o")));
        assert_eq!(ninja_status("ninja: Entering directory"), None);
        assert_eq!(ninja_status("[warn] x"), None);
    }

    #[test]
    fn the_flags_of_configure_are_these() {
        insta::assert_snapshot!(flags().join("\n"), @r"
        --prefix=/opt/flipsim
        --target-list=aarch64-softmmu,x86_64-softmmu
        --without-default-features
        --enable-tcg
        --enable-kvm
        --enable-fdt=system
        --enable-virtfs
        --enable-attr
        --enable-cap-ng
        --enable-plugins
        --enable-tools
        --disable-docs
        ");
    }
}
