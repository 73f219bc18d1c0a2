//! The template of a guest: found in the cache, or booted and saved there.
//!
//! Invariant: what is returned was compared with a clone of it, in this process or an earlier one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use flipsim::files::Digests;
use flipsim::target::state::PIECE;
use flipsim::trial::clone::CloneOptions;
use flipsim::trial::template::{MakeOptions, Template, TemplateError};
use flipsim::units::format_size;

use super::errors::boot_error;
use super::plan::GuestArgs;
use crate::exit::{Code, exit_error};
use crate::interrupt::{self, Interrupted};
use crate::lab::cache::{self, Cache};
use crate::lab::owner;
use crate::paths;
use crate::progress::ProgressStep;

/// Disk space that a template takes beside its RAM: disk, device state, a piece of RAM while its digest is taken,
/// and room to spare.
const BESIDES_RAM: u64 = (64 << 20) + PIECE;

/// The folder that clones have their own folders in.
pub fn clones_dir() -> Result<PathBuf> {
    Ok(paths::lab_dir()?.join("clones"))
}

/// The template of the guest that the arguments describe, with the exact clock where QEMU has what that
/// takes. It is made when there is
/// none, and another one is made when anything that it depends on has changed. Its boot may take
/// `timeout` on the host's clock.
pub fn ensure(args: &GuestArgs, timeout: Duration) -> Result<Template> {
    let options = MakeOptions { patience: args.spec.patience(timeout), interrupted: interrupt::raised };
    let plan = args.template_plan()?;
    let cache = Cache::open()?;
    let mut known = Digests::open(&cache.digests());
    let digests = plan.digests(|path| known.of(path, interrupt::raised)).map_err(with_code)?;
    // Without it the files are only read again.
    let _ = known.keep();
    let key = plan.key(&digests);
    let arch = plan.spec.arch.name;
    let folder = cache.template(arch, &key);
    let open = || Template::open_as(&folder, &plan, &key, interrupt::raised);
    if let Ok(template) = open()
        && template.is_verified()
    {
        return Ok(template);
    }
    interrupt::check()?;
    let human = format!("the template for {}", plan.workload.as_deref().unwrap_or("a shell"));
    // Another process may make it meanwhile; then it is there.
    let _lock = cache.lock(&format!("template-{arch}-{key}"), &human)?;
    let template = match open() {
        Ok(template) => template,
        Err(error) => {
            if folder.exists() {
                if let Some(whose) = owner::whose(&folder).filter(|_| !rustix::process::geteuid().is_root()) {
                    bail!(
                        "the template {} {whose}, and only that user can start guests from it; set FLIPSIM_CACHE to a \
                         folder of your own",
                        folder.display()
                    );
                }
                eprintln!("  {error}");
                cache::remove_tree(&folder)?;
            }
            cache.need_space(plan.spec.memory + BESIDES_RAM, &human)?;
            let step = ProgressStep::spinner(format!("{human}: boot, save"));
            let template = Template::make(&plan, &folder, options, |line| step.line(line));
            let template = template.map_err(with_code)?;
            let at = match template.info().clock {
                Some(_) => format!(", at {} of virtual time", template.virtual_time()),
                None => String::new(),
            };
            step.done_with(&format!("{} of RAM{at}", format_size(plan.spec.memory)));
            template
        }
    };
    if !template.is_verified() {
        let step = ProgressStep::spinner(format!("{human}: compare a clone with it"));
        let options = CloneOptions { interrupted: interrupt::raised, ..CloneOptions::below(&clones_dir()?) };
        template.verify(&options).map_err(with_code)?;
        step.done();
    }
    interrupt::check()?;
    Ok(template)
}

fn with_code(error: TemplateError) -> anyhow::Error {
    if error.is_interrupted() {
        return Interrupted.into();
    }
    match error {
        TemplateError::NotExact => exit_error(Code::Usage, error.to_string()),
        TemplateError::Boot(error) => boot_error(error),
        TemplateError::Target(_) => exit_error(Code::GuestLost, error.to_string()),
        other => other.into(),
    }
}
