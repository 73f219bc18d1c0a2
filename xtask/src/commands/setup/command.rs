//! `cargo xtask setup`: QEMU, kernel and image, built where missing and left alone where up to date.
//!
//! Invariants: what is up to date costs no network and no compiler; **a step that was interrupted
//! leaves nothing that looks finished**; a dry run changes nothing.

use anyhow::{Result, bail};
use flipsim::arch::Arch;

use super::lane::{Args, Lane, jobs};
use super::{image, kernel, qemu};
use crate::exit::{Code, exit_error};
use crate::host::proc::CommandRunner;
use crate::lab::cache::Cache;
use crate::lab::config::Config;
use crate::lab::in_use::{Lab, ReadyLab};
use crate::lab::step::SetupStep;
use crate::paths;

/// Runs `cargo xtask setup`.
pub fn run(args: &Args) -> Result<()> {
    let config = Config::load()?;
    let arch = args.arch.unwrap_or(config.guest.arch);
    let cache = if args.dry_run { Cache::look()? } else { Cache::open()? };
    let mut steps = if args.steps.is_empty() { SetupStep::ALL.to_vec() } else { args.steps.clone() };
    steps.sort();
    steps.dedup();
    check_options(args, &steps)?;
    let ctx = Lane {
        runner: CommandRunner::new(args.dry_run, cache.logs()),
        jobs: jobs(args.jobs),
        root: paths::workspace_root()?,
        config,
        cache,
        arch,
        args,
    };
    if args.config_only {
        return kernel::config_only(&ctx);
    }
    // Asked for once, before the first build: a second question would wait for an answer in vain. And what a
    // product was made with is only known once the compiler is there.
    let mut to_build = Vec::new();
    let mut llvm = false;
    for step in &steps {
        let chosen = ctx.choose(*step)?;
        let needed = match step {
            SetupStep::Qemu => qemu::needs_build(&ctx, &chosen)?,
            SetupStep::Kernel => kernel::needs_build(&ctx, &chosen)?,
            SetupStep::Image => image::needs_build(&ctx, &chosen)?,
        };
        if needed {
            to_build.push(*step);
            llvm |= *step == SetupStep::Kernel && chosen.contains_key("llvm");
        }
    }
    if !to_build.is_empty() {
        ctx.need_host(&to_build, llvm)?;
    }
    for step in steps {
        let chosen = ctx.choose(step)?;
        match step {
            SetupStep::Qemu => qemu::set_up(&ctx, &chosen)?,
            SetupStep::Kernel => kernel::set_up(&ctx, &chosen)?,
            SetupStep::Image => image::set_up(&ctx, &chosen)?,
        }
    }
    Ok(())
}

/// Makes sure that a lab for `arch` is there, and says where. For commands that need one: asks
/// before it installs packages of the host, unless `yes`.
pub fn ensure(arch: Arch, yes: bool) -> Result<ReadyLab> {
    run(&Args { arch: Some(arch), install_deps: true, yes, ..Args::default() })?;
    Lab::load()?.ready(arch)
}

/// Options for a step that is not run would be dropped in silence.
fn check_options(args: &Args, steps: &[SetupStep]) -> Result<()> {
    let given = [
        ("--qemu-tarball", SetupStep::Qemu, args.qemu_tarball.is_some()),
        ("--qemu-bin", SetupStep::Qemu, args.qemu_bin.is_some()),
        ("--kernel-src", SetupStep::Kernel, args.kernel_src.is_some()),
        ("--kernel-config", SetupStep::Kernel, args.kernel_config.is_some()),
        ("--kernel-image", SetupStep::Kernel, args.kernel_image.is_some()),
        ("--llvm", SetupStep::Kernel, args.llvm),
    ];
    for (option, step, is_given) in given {
        if is_given && !steps.contains(&step) {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "{option} is about the step `{0}`, which is not among those to run; add `{0}`",
                    step.name()
                )
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_for_a_step_that_is_not_run_is_refused() {
        let args = Args { qemu_bin: Some("/x".into()), ..Args::default() };
        let error = check_options(&args, &[SetupStep::Kernel]).unwrap_err().to_string();
        assert!(error.contains("--qemu-bin") && error.contains("add `qemu`"), "{error}");
        check_options(&args, &SetupStep::ALL).unwrap();
    }

    #[test]
    fn jobs_are_never_zero() {
        assert_eq!(jobs(Some(3)), 3);
        assert!(jobs(Some(0)) >= 1 && jobs(None) >= 1);
    }
}
