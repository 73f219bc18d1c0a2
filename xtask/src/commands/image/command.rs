//! The words of `cargo xtask image`.
//!
//! Invariant: nothing is decided here. Each word has its own file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use flipsim::arch::Arch;

use super::{add, convert, list, remove};

/// Put programs of your own into the guest's image, or convert disk images.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image add mine --binary ./mine
  cargo xtask image list
  cargo xtask image convert disk.img disk.qcow2")]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with an image.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Put a program of yours into the guest's image, to be run by --workload NAME
    ///
    /// The program runs to its end; what it prints on standard output is its result. That is looked at in three boots
    /// first, and kept as what is right. A dynamically linked program gets its libraries from this host, or from
    /// the cross compiler's.
    #[command(after_help = "\
Examples:
  cargo xtask image add mine --binary ./mine
  cargo xtask image add mine --binary ./mine --files data --run './mine -n 1000 input.txt' --replace
  cargo xtask image add mine --again

Exit codes: 0 it is there, 1 it failed, 2 the program cannot be used, or prints something else in each boot,
3 the lab is not set up, 130 interrupted.")]
    Add(add::Args),
    /// List the workloads: the lab's own, and the services that were added
    #[command(after_help = "Examples:\n  cargo xtask image list\n  cargo xtask image list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a service out
    ///
    /// Its campaigns can still be read and reported. To run or replay their trials, the same service must be there.
    #[command(after_help = "Example:\n  cargo xtask image remove mine")]
    Remove {
        /// The service
        name: String,
        /// For this architecture alone
        #[arg(long)]
        arch: Option<Arch>,
    },
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
        Action::Add(args) => add::add(args),
        Action::List { json } => list::list(*json),
        Action::Remove { name, arch } => remove::remove(name, *arch),
        Action::Convert { src, dst, force, dry_run } => convert::convert(src, dst, *force, *dry_run),
    }
}
