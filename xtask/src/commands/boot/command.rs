//! `cargo xtask boot`: starts a guest, lists guests, stops them.
//!
//! Invariant: every QEMU has a living parent of ours. A guest for a person is a child of this
//! command; a headless one is a child of its watcher (`guest-watch`), which itself hangs on this
//! command until the guest is ready.

use std::time::Duration;

use anyhow::Result;
use flipsim::units::parse_duration;

use super::dry_run::dry_run;
use super::interactive::interactive;
use super::list::list;
use super::prune::prune;
use super::stop::stop;
use crate::guest::headless::start_headless;
use crate::guest::plan::GuestArgs;

/// Boot a guest: console, monitor, gdb stub and a shared folder.
///
/// Without more, the guest's console is on this terminal; Ctrl-A X ends the guest, Ctrl-A C switches
/// to QEMU's monitor and back. With --headless the command returns as soon as the guest is ready.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cargo xtask boot                                 a shell in the guest, on this terminal
  cargo xtask boot --headless --workload sha256    for scripts: returns when the guest is ready
  cargo xtask boot --debug                         waits for gdb: target remote :1234
  cargo xtask boot --share ~/exchange              the folder is host0 (9p) in the guest
  cargo xtask boot --monitor /tmp/qemu_socket --gdb tcp:1234
  cargo xtask boot --kernel vmlinuz --initrd initrd.img --image debian.img --memory 512M
  cargo xtask boot list
  cargo xtask boot stop g1"
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    #[command(flatten)]
    guest: GuestArgs,
    /// Return when the guest is ready, and leave it running
    #[arg(long)]
    headless: bool,
    /// How long a headless guest may take until it is ready
    #[arg(long, default_value = "120s", value_parser = parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// Return as soon as QEMU answers: for a guest that never prints FLIPSIM READY (with --headless)
    #[arg(long, requires = "headless")]
    no_wait: bool,
    /// Print QEMU's command line and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print how to reach the guest as JSON (with --headless)
    #[arg(long, requires = "headless")]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    /// List the guests that run, or with --all every guest whose folder is still there
    #[command(after_help = "Example:\n  cargo xtask boot list --json")]
    List {
        /// Ended guests as well
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop guests
    #[command(
        after_help = "Examples:\n  cargo xtask boot stop\n  cargo xtask boot stop g1\n  cargo xtask boot stop --all"
    )]
    Stop {
        /// The guest's name; not needed when only one runs
        name: Vec<String>,
        /// Every guest that runs
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Delete the folders (logs, records, disks) of guests that have ended
    #[command(after_help = "Example:\n  cargo xtask boot prune")]
    Prune,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        Some(Sub::List { all, json }) => list(all, json),
        Some(Sub::Stop { name, all }) => stop(&name, all),
        Some(Sub::Prune) => prune(),
        None if args.dry_run => dry_run(&args.guest, args.headless),
        None if args.headless => {
            let guest = start_headless(&args.guest, args.timeout, args.no_wait)?;
            guest.announce(args.json)?;
            guest.release()
        }
        None => interactive(&args.guest),
    }
}
