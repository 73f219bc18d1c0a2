//! `image add`: a program of the user's becomes a workload.
//!
//! Invariant: **a service that is known by its name has been seen to give the same output three times**; a command that
//! is ended half-way leaves the lab as it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::text::shown;
use flipsim::units::{format_duration, format_size};

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::service::contents::{Contents, FOLDER, Given};
use crate::guest::service::golden::{self, Golden};
use crate::guest::service::layer::{IMAGE, Layer, Workshop};
use crate::guest::service::program::Program;
use crate::guest::workload;
use crate::host::proc::{CommandRunner, quote};
use crate::lab::cache::{self, Cache};
use crate::lab::in_use::{Lab, ReadyLab, SERVICES, Service, arch_option};
use crate::lab::recipe::read_recipe;
use crate::paths;

/// A service to be added.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Its name: letters a to z, digits and -
    pub name: String,
    /// The program: an ELF file for the guest, or a script for its shell
    #[arg(long, value_name = "FILE", required_unless_present = "again")]
    pub binary: Option<PathBuf>,
    /// More files: what is in this folder is beside the program
    #[arg(long, value_name = "DIR", requires = "binary")]
    pub files: Option<PathBuf>,
    /// The command line, for a shell in that folder [default: the program alone]
    #[arg(long, value_name = "CMD", requires = "binary", allow_hyphen_values = true)]
    pub run: Option<String>,
    /// The guest's architecture [default: the program's; of a script, all that are set up]
    #[arg(long)]
    pub arch: Option<Arch>,
    /// Put it in the place of a service of that name
    #[arg(long)]
    pub replace: bool,
    /// Put the same files into the lab's image of today
    #[arg(long, conflicts_with_all = ["binary", "replace"])]
    pub again: bool,
    /// Print the commands and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// So many lines of the output are shown and kept.
const SHOWN_LINES: usize = 8;

/// The longest command line.
const LONGEST_RUN: usize = 4000;

/// Adds a service, for one architecture or for several.
pub(super) fn add(args: &Args) -> Result<()> {
    workload::check_new(&args.name)?;
    let lab = Lab::load()?;
    let layers = if args.again { kept(args, &lab)? } else { given(args, &lab)? };
    let root = paths::workspace_root()?;
    let recipe = read_recipe(&root.join("images/recipe.toml"))?;
    let cache = if args.dry_run { Cache::look()? } else { Cache::open()? };
    let runner = CommandRunner::new(args.dry_run, cache.logs());
    // One at a time: two would write the same files, and the same list.
    let _lock = (!args.dry_run).then(|| cache.lock("service", "a service")).transpose()?;
    let mut labs = Vec::new();
    for (arch, layer) in &layers {
        let ready = lab.ready(*arch).exit_with(Code::Missing)?;
        check_image(&ready)?;
        labs.push((ready, layer));
    }
    for (ready, layer) in labs {
        let arch = ready.arch;
        let images = root.join("images");
        let workshop = Workshop { runner: &runner, cache: &cache, lab: &ready, recipe: &recipe, images };
        let Some(product) = workshop.make(layer)? else {
            runner.note("boot it three times, compare what it prints, and note the service in .lab/lab.json");
            continue;
        };
        let image = product.dir.join(IMAGE);
        let golden = golden::measure(&args.name, arch, &image)?;
        say(layer, arch, &golden);
        let service = Service {
            qcow2: image,
            base: ready.image.qcow2.clone(),
            run: layer.run.clone(),
            bytes: layer.contents.bytes(),
            digest: golden.digest,
            output: golden.lines.iter().take(SHOWN_LINES).map(|line| shown(line, 200)).collect(),
            added: jiff::Timestamp::now(),
        };
        Lab::update(arch, |lab| {
            lab.services.insert(args.name.clone(), service);
        })?;
    }
    if !args.dry_run {
        let name = &args.name;
        eprintln!("Next: cargo xtask campaign new {name}-1 --workload {name} --trials 200");
    }
    Ok(())
}

/// What the user has given, for each architecture.
fn given(args: &Args, lab: &Lab) -> Result<Vec<(Arch, Layer)>> {
    let (name, binary) = (&args.name, args.binary.as_deref().context("--binary is not there")?);
    let program = Program::at(binary).exit_with(Code::Usage)?;
    let archs = archs_for(&program, args, lab)?;
    if let Some(arch) = lab.archs_of(name).into_iter().find(|arch| archs.contains(arch) && !args.replace) {
        bail!(exit_error(
            Code::Usage,
            format!("there is a service {name} for {arch} already; --replace puts this one in its place")
        ));
    }
    let run = match &args.run {
        Some(run) => run.trim().to_owned(),
        None => {
            check_interpreter(&program, binary, args)?;
            format!("./{}", quote(binary.file_name().unwrap_or_default()))
        }
    };
    if run.is_empty() || run.len() > LONGEST_RUN || run.contains('\0') {
        bail!(exit_error(
            Code::Usage,
            format!("--run: a command line of 1 to {LONGEST_RUN} bytes is wanted")
        ));
    }
    let layer = |arch: Arch| -> Result<(Arch, Layer)> {
        let given = Given { name, binary, files: args.files.as_deref(), arch };
        Ok((arch, Layer::new(name, &run, Contents::of(&given).exit_with(Code::Usage)?)))
    };
    archs.into_iter().map(layer).collect()
}

/// What the cache has kept of a service.
fn kept(args: &Args, lab: &Lab) -> Result<Vec<(Arch, Layer)>> {
    let name = &args.name;
    let archs: Vec<Arch> = lab
        .archs_of(name)
        .into_iter()
        .filter(|arch| args.arch.is_none_or(|wanted| wanted == *arch))
        .collect();
    if archs.is_empty() {
        bail!(exit_error(Code::Usage, workload::no_service(name, lab)));
    }
    let layer = |arch: Arch| -> Result<(Arch, Layer)> {
        let service = lab.arch(arch).services.remove(name).context("it was there")?;
        let dir = service.qcow2.parent().context("an image without a folder")?;
        let kept = Layer::kept(dir).with_context(|| {
            format!("give the files once more: `cargo xtask image add {name} --binary FILE --replace`")
        });
        Ok((arch, kept.exit_with(Code::Missing)?))
    };
    archs.into_iter().map(layer).collect()
}

/// The architectures that a program is for.
fn archs_for(program: &Program, args: &Args, lab: &Lab) -> Result<Vec<Arch>> {
    match (program.arch(), args.arch) {
        (Some(own), Some(wanted)) if own != wanted => bail!(exit_error(
            Code::Usage,
            format!(
                "--arch {wanted}: the program is for {own}; leave --arch out, or compile it for {wanted}"
            )
        )),
        (Some(own), _) => Ok(vec![own]),
        (None, Some(wanted)) => Ok(vec![wanted]),
        (None, None) => {
            let archs: Vec<Arch> = Arch::all().filter(|arch| lab.ready(*arch).is_ok()).collect();
            // The error of the default one says what to do.
            Ok(if archs.is_empty() { vec![workload::arch_for(None)?] } else { archs })
        }
    }
}

/// Refuses a script whose interpreter the guest does not have.
fn check_interpreter(program: &Program, binary: &Path, args: &Args) -> Result<()> {
    let Program::Script(interpreter) = program else { return Ok(()) };
    let recipe = read_recipe(&paths::workspace_root()?.join("images/recipe.toml"))?;
    if recipe.has(interpreter) {
        return Ok(());
    }
    let file = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let given = if args.files.is_some() { "" } else { " give it with --files, and" };
    bail!(exit_error(
        Code::Usage,
        format!(
            "{} wants {interpreter}, which the guest does not have;{given} say how it is run, as in --run './interpreter \
             {file}', or write it for /bin/sh (busybox)",
            binary.display()
        )
    ))
}

/// Refuses an image whose init knows no services yet.
fn check_image(ready: &ReadyLab) -> Result<()> {
    let made = ready.image.qcow2.parent().and_then(|dir| cache::load_product(dir).ok());
    if made.is_none_or(|made| made.manifest.notes.contains_key(SERVICES)) {
        return Ok(());
    }
    let option = arch_option(ready.arch);
    bail!(exit_error(
        Code::Missing,
        format!(
            "the image for {} was made by an earlier version of the lab; run `cargo xtask setup image{option}` first, \
             half a minute",
            ready.arch
        )
    ))
}

/// Says what was added.
fn say(layer: &Layer, arch: Arch, golden: &Golden) {
    let Golden { digest, lines, took } = golden;
    eprintln!(
        "{} for {arch}: {} in {FOLDER}/{0}, run as `{}`",
        layer.name,
        format_size(layer.contents.bytes()),
        layer.run
    );
    for (path, source) in layer.contents.libraries() {
        eprintln!("  {path} is {}", source.display());
    }
    let took = format_duration(std::time::Duration::from_nanos(took.0));
    eprintln!("  the same output in three boots, in at most {took} of virtual time, digest {digest}:");
    for line in lines.iter().take(SHOWN_LINES) {
        eprintln!("  | {}", shown(line, 200));
    }
    if lines.len() > SHOWN_LINES {
        eprintln!("  | … {} lines in all", lines.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(arch: Option<Arch>) -> Args {
        Args {
            name: "mine".into(),
            binary: None,
            files: None,
            run: None,
            arch,
            replace: false,
            again: false,
            dry_run: false,
        }
    }

    #[test]
    fn the_program_says_what_it_is_for_and_arch_must_agree() {
        let lab = Lab::default();
        let [own, other] = [Arch::all().next().unwrap(), Arch::all().nth(1).unwrap()];
        let own_program = crate::guest::service::program::Elf {
            arch: own,
            interpreter: None,
            needed: Vec::new(),
            search: Vec::new(),
            is_entered: true,
        };
        let program = Program::Elf(own_program);
        assert_eq!(archs_for(&program, &args(None), &lab).unwrap(), [own]);
        assert_eq!(archs_for(&program, &args(Some(own)), &lab).unwrap(), [own]);
        let error = archs_for(&program, &args(Some(other)), &lab).unwrap_err().to_string();
        assert!(error.contains(&format!("the program is for {own}")), "{error}");
        let script = Program::Script("/bin/sh".into());
        assert_eq!(archs_for(&script, &args(Some(other)), &lab).unwrap(), [other]);
    }

    #[test]
    fn a_script_for_an_interpreter_that_no_guest_has_is_refused() {
        let check = |interpreter: &str| {
            check_interpreter(&Program::Script(interpreter.into()), Path::new("a/app.py"), &args(None))
        };
        check("/bin/sh").unwrap();
        check("/bin/busybox").unwrap();
        let error = check("/usr/bin/python3").unwrap_err().to_string();
        assert!(error.contains("wants /usr/bin/python3") && error.contains("app.py"), "{error}");
    }
}
