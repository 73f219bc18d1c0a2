//! `campaign pack`: a campaign in one file, for machines that have nothing of the lab.
//!
//! Invariant: **a pack that is written was tried**: its runner has unpacked it and started its guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use flipsim::campaign::Store;
use flipsim::files;
use flipsim::pack::{self, Pack, PackInfo, Source};
use flipsim::trial::template::TemplateInfo;
use flipsim::units::format_size;

use crate::exit::{Code, ExitWith};
use crate::guest::accesses::accesses_of;
use crate::guest::closure::{Closure, closure};
use crate::guest::consent::Trust;
use crate::guest::golden::Prepared;
use crate::guest::prepared::prepared_of;
use crate::host::cargo::cargo_with;
use crate::host::proc::{self, quote};
use crate::lab::campaigns::files::{path_of, store_error};
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// So many trials are in a slice, if nothing else is said.
const TRIALS: u64 = 200;

/// So many slices there are at most, if nothing else is said.
const SLICES: u64 = 64;

/// How long a pack may take to be tried, on a host that does much else.
const TRY: Duration = Duration::from_secs(600);

/// Pack a campaign with all that its trials need into one file, for other machines.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign pack first
  cargo xtask campaign pack first -o /data/first.pack --slices 256

The file has the plan, the guest at its quiescent point, QEMU with its libraries and firmware, the golden run, what it
does with each byte, and the runner. It runs on any x86-64 Linux from 3.2 on, by any user, at any path, without the lab:

  tar -xf first.pack flipsim-run
  ./flipsim-run first.pack --out parts

docs/cluster.md goes from here to a cluster.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// The file to write [default: NAME.pack]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Into how many slices it is cut for machines that run it side by side [default: one for 200 trials, 64 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    slices: Option<u64>,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let store = Store::open_readonly(&path_of(&args.name)?).map_err(store_error)?;
    let output = args.output.clone().unwrap_or_else(|| default_output(&store));
    let made = make(&store, &output, args.slices, args.trust)?;
    outln!("pack: {}, {}, digest {}", paths::show(&output), format_size(made.bytes), made.digest);
    outln!("slices: {}", made.slices);
    outln!("run it, here or on another machine:");
    let name = quote(output.file_name().unwrap_or_default());
    outln!("  tar -xf {name} flipsim-run");
    outln!("  ./flipsim-run {name} --out parts --trust {}", made.digest);
    outln!("  cargo xtask campaign merge {} parts", quote(&args.name));
    Ok(())
}

/// Where a campaign's pack is written, if nothing else is said.
pub fn default_output(store: &Store) -> PathBuf {
    format!("{}.pack", name_of(store)).into()
}

/// The name of a campaign, as its files have it.
pub fn name_of(store: &Store) -> String {
    store.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A pack that was made and tried.
pub struct Made {
    /// Its size in bytes.
    pub bytes: u64,
    /// The first digits of its digest.
    pub digest: String,
    /// Its slices.
    pub slices: u64,
}

/// Makes a pack of a campaign, and tries it.
pub fn make(store: &Store, output: &Path, slices: Option<u64>, trust: Trust) -> Result<Made> {
    let prepared = prepared_of(store, trust)?;
    let recorded = accesses_of(&prepared)?;
    let runner = runner()?;
    let place = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder =
        files::private_folder_in(place).with_context(|| format!("cannot write to {}", place.display()))?;
    let campaign = folder.path().join("campaign.sqlite");
    store.copy_plan(&campaign).map_err(store_error)?;
    let (template, mut sources) = guest(&prepared)?;
    sources.push(Source { at: "campaign.sqlite".to_owned(), from: campaign, program: false });
    if let Some(recorded) = recorded {
        let path = folder.path().join("accesses");
        let file = files::make_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
        recorded.accesses.save(file).context("cannot write the recorded accesses")?;
        sources.push(Source { at: "accesses".to_owned(), from: path, program: false });
    }
    let slices = slices.unwrap_or_else(|| store.len().div_ceil(TRIALS).clamp(1, SLICES)).min(store.len());
    let info = PackInfo {
        format: pack::FORMAT,
        name: name_of(store),
        seal: store.seal().to_owned(),
        trials: store.len(),
        slices,
        template,
        runner: String::new(),
        files: BTreeMap::new(),
    };
    let step = ProgressStep::spinner("the pack".to_owned());
    let written = pack::write(output, info, &runner, &sources, interrupt::raised, &mut |at| step.line(at));
    interrupt::check()?;
    let written = written?;
    step.line("it is tried");
    let made = Pack::open(output)?;
    let digest = made.digest().get(..16).unwrap_or_default().to_owned();
    let mut command = Command::new(&runner);
    command.arg(output).args(["--check", "--trust", &digest, "--scratch"]).arg(folder.path());
    proc::output_of("flipsim-run", command, TRY).context("the pack was written, and does not run here")?;
    step.done_with(&format!("{} for {} unpacked", format_size(written.bytes), format_size(written.unpacked)));
    Ok(Made { bytes: written.bytes, digest, slices })
}

/// The guest as it is in a pack, and its files.
fn guest(prepared: &Prepared) -> Result<(TemplateInfo, Vec<Source>)> {
    let template = &prepared.template;
    let mut info = template.info().clone();
    let Closure { qemu, loader, mut sources } = closure(&info.plan.spec.qemu).exit_with(Code::Usage)?;
    for (name, path) in info.plan.files().filter(|(name, _)| *name != "qemu") {
        sources.push(Source { at: name.to_owned(), from: path.to_owned(), program: false });
    }
    for name in info.files.keys() {
        let from = template.folder().join(name);
        sources.push(Source { at: format!("template/{name}"), from, program: false });
    }
    if template.iomem().is_some() {
        let name = "iomem.txt";
        let from = template.folder().join(name);
        sources.push(Source { at: format!("template/{name}"), from, program: false });
    }
    let at = |name: &str| if name == "qemu" { PathBuf::from(&qemu) } else { name.into() };
    info.plan.place(|name, _| at(name));
    info.plan.spec.loader = loader;
    info.plan.spec.disk = None;
    info.plan.qemu_img = PathBuf::new();
    // What a path or a time of this host would be is made where it is unpacked.
    info.command = Vec::new();
    for (name, input) in &mut info.inputs {
        input.path = at(name);
        input.stamp.modified_ns = 0;
    }
    info.files.values_mut().for_each(|stored| stored.stamp.modified_ns = 0);
    Ok((info, sources))
}

/// The runner, built if need be: a program that needs no library of the host it runs on.
fn runner() -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // A tree of links is built where the tree is that they lead to.
    let lab = paths::workspace_root()?.join("lab.toml").canonicalize().context("the tree has no lab.toml")?;
    let (manifest, target) = (lab.with_file_name("Cargo.toml"), lab.with_file_name("target"));
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    let manifest = manifest.to_string_lossy();
    let arguments =
        ["build", "--quiet", "--profile", "runner", "--package", "flipsim-run", "--target", &triple];
    let variables = [
        (flags, PathBuf::from("-C target-feature=+crt-static")),
        ("CARGO_TARGET_DIR".to_owned(), target.clone()),
    ];
    eprintln!("building the runner, which takes some minutes the first time");
    cargo_with(&[&arguments[..], &["--manifest-path", &manifest]].concat(), &variables)?;
    Ok(target.join(triple).join("runner").join(pack::RUNNER))
}
