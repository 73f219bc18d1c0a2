//! `boot --dry-run`: prints the commands.
//!
//! Invariant: **it changes nothing.**

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use flipsim::machine::process;
use flipsim::machine::spec::Console;

use crate::guest::plan::{GuestArgs, Planned};
use crate::host::proc;

/// Prints what `boot` would run for these flags.
pub(super) fn dry_run(args: &GuestArgs, headless: bool) -> Result<()> {
    let console = if headless { Console::Socket } else { Console::Terminal };
    let Planned { mut spec, base: (base, format, qemu_img), no_share, .. } = args.plan(console)?;
    outln!("# in a new folder of the guest's own, .lab/runs/NAME");
    if spec.share.is_none() && !no_share {
        outln!("mkdir share");
        spec.share = Some("share".into());
    }
    outln!(
        "{}",
        proc::shell_line(&process::overlay_command(&qemu_img, &base, &format, Path::new("disk.qcow2")))
    );
    let mut command = Command::new(&spec.qemu);
    command.args(spec.argv());
    outln!("{}", proc::shell_line(&command));
    Ok(())
}
