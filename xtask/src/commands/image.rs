//! `cargo xtask image`: converts disk images, checked and compared afterwards.
//!
//! Invariant: **an image is there whole or not at all.**

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use flipsim::units::format_size;

use crate::exit::{Code, ExitWith};
use crate::guest::image::{convert, kinds};
use crate::host::proc::{self, CommandRunner};
use crate::lab::cache::Cache;
use crate::lab::in_use::Lab;

/// Work with disk images.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  cargo xtask image convert disk.img disk.qcow2")]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with an image.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Convert a raw image to qcow2, or back, and compare the two
    ///
    /// The kind of SRC is found by looking at it. The result is checked (`qemu-img check`) and
    /// compared with SRC, bit for bit, before it gets its name.
    #[command(after_help = "\
Examples:
  cargo xtask image convert rootfs.ext4 rootfs.qcow2
  cargo xtask image convert rootfs.qcow2 rootfs.img

Exit codes: 0 DST is there and equal to SRC, 1 it failed, 2 SRC or DST cannot be, 130 interrupted.")]
    Convert {
        /// The image to read
        src: PathBuf,
        /// The image to make: qcow2 where the name ends in .qcow2, otherwise the other kind than SRC
        dst: PathBuf,
        /// Replace DST when it is there
        #[arg(long)]
        force: bool,
        /// Print the commands and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs `cargo xtask image`.
pub fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Convert { src, dst, force, dry_run } => {
            kinds(src, dst, *force).exit_with(Code::Usage)?;
            let cache = if *dry_run { Cache::look()? } else { Cache::open()? };
            let runner = CommandRunner::new(*dry_run, cache.logs());
            let img = qemu_img()?;
            convert(&runner, &img, src, dst, *force)?;
            if !*dry_run {
                let size = std::fs::metadata(dst).map_or(0, |meta| meta.len());
                eprintln!("{}: {}, compared with {}: equal", dst.display(), format_size(size), src.display());
            }
            Ok(())
        }
    }
}

/// The lab's own qemu-img, or the host's.
fn qemu_img() -> Result<PathBuf> {
    let lab = Lab::load()?;
    let mut own = flipsim::arch::Arch::all().filter_map(|arch| Some(lab.arch(arch).qemu?.img));
    own.find(|path| path.is_file())
        .or_else(|| proc::find_program("qemu-img"))
        .context("no qemu-img: run `cargo xtask setup qemu`, or install it")
}
