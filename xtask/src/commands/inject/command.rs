//! `cargo xtask inject`: flips bits in a guest that is booted, or alone goes the whole way from an
//! empty machine to the first flips.
//!
//! Invariant: this file decides on no fault; it turns flags into a fault space of `flipsim` and
//! shows the outcome of each draw. What was drawn is recorded before the next one is.

use std::time::Duration;

use anyhow::Result;
use flipsim::units::parse_duration;

use super::args::{ListWhat, WholeArgs};
use super::{range, shell, snap, timed};
use crate::guest::choice::GuestChoice;
use crate::guest::flags::{Flipping, KindArg, RamPlace};
use crate::guest::flips::Pace;
use crate::guest::session::Session;

/// Flip bits in a guest's RAM and registers.
///
/// Alone it goes the whole way: sets up what is missing, boots a guest with a workload, flips single
/// bits in its RAM, shows each as it happens, says how the guest fared, and ends with the report of a small
/// campaign.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cargo xtask inject                                           the whole way, from nothing
  cargo xtask inject ram --region 'Kernel data' --count 10 --interval 20ms
  cargo xtask inject ram --symbol jiffies --bit 3
  cargo xtask inject ram --address 0x40851000 --mask 0x81
  cargo xtask inject reg 'x*' --count 5 --seed 7 --json
  cargo xtask inject auto 10 20ns 100ns ram                    exact times, from [20, 100] ns
  cargo xtask inject snap 1 1ms 2ms ram --observe 100ms --loop 20
  cargo xtask inject range 4 random 0x41000000-0x41ffffff 100
  cargo xtask inject shell                                     a prompt with these words, and more
  cargo xtask inject list regions"
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    #[command(flatten)]
    whole: WholeArgs,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    /// Flip bits in RAM: anywhere, in a region, in a symbol, in a range, or at one address
    #[command(after_help = "Examples:
  cargo xtask inject ram --count 10
  cargo xtask inject ram --region 'Kernel code' --bits 2 --count 5 --interval 1s
  cargo xtask inject ram --symbol jiffies+4 --bit 0
  cargo xtask inject ram --range 0x40000000+1M --range 0x44000000+1M --csv flips.csv")]
    Ram(RamArgs),
    /// Flip bits in registers of the current vCPU, chosen by name or glob
    #[command(after_help = "Examples:
  cargo xtask inject reg x19 --bit 5
  cargo xtask inject reg 'x*' 'v?' --count 20 --interval 5ms
  cargo xtask inject reg --json")]
    Reg(RegArgs),
    /// Flip bits at drawn times: uniform intervals, a Poisson process, or the rate of a mission
    Auto(timed::AutoArgs),
    /// Save the guest, flip bits, observe, go back; again and again, and count the outcomes
    Snap(snap::Args),
    /// Flip a bit in every unit of ranges of addresses, one after the other or a random choice of them
    Range(range::Args),
    /// A prompt: every command by its short name, and scripts from standard input
    Shell(shell::Args),
    /// Show what faults can be drawn from
    #[command(after_help = "Examples:
  cargo xtask inject list regions
  cargo xtask inject list reg --json
  cargo xtask inject list symbols 'tcp_*'")]
    List {
        /// ram: the RAM ranges; reg: the registers and which bits take a flip; regions: the whole memory map; symbols: the
        /// kernel's functions and variables
        what: ListWhat,
        /// Only those of this name, with * and ?
        #[arg(default_value = "*")]
        glob: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        guest: GuestChoice,
    },
}

#[derive(clap::Args, Debug)]
struct RamArgs {
    #[command(flatten)]
    place: RamPlace,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
struct RegArgs {
    /// Names or globs of registers; without any, every register that takes a flip
    #[arg(value_name = "GLOB")]
    glob: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
struct Common {
    /// How many faults to draw
    #[arg(long, short = 'n', default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// The time between two flips; without one all strike at the same instant
    #[arg(long, default_value = "0ms", value_parser = parse_duration, value_name = "TIME")]
    interval: Duration,
    #[command(flatten)]
    flip: Flipping,
}

/// Runs the command. Alone it is `whole`, which is handed in: the whole way calls other commands, and none of these
/// does.
pub fn run(args: Args, whole: impl FnOnce(&WholeArgs) -> Result<()>) -> Result<()> {
    match args.sub {
        None => whole(&args.whole),
        Some(Sub::Ram(ram)) => {
            let mut session = Session::attach(&ram.common.flip.guest)?;
            let space = session.space(KindArg::Ram, &ram.place, &[], &ram.common.flip.bits)?;
            session.inject(&space, ram.common.count, Pace::Every(ram.common.interval), &ram.common.flip)
        }
        Some(Sub::Reg(reg)) => {
            let mut session = Session::attach(&reg.common.flip.guest)?;
            let place = RamPlace::default();
            let space = session.space(KindArg::Reg, &place, &reg.glob, &reg.common.flip.bits)?;
            session.inject(&space, reg.common.count, Pace::Every(reg.common.interval), &reg.common.flip)
        }
        Some(Sub::Auto(auto)) => timed::run(&auto),
        Some(Sub::Snap(snap)) => snap::run(&snap),
        Some(Sub::Range(range)) => range::run(&range),
        Some(Sub::Shell(shell)) => shell::run(&shell),
        Some(Sub::List { what, glob, json, guest }) => {
            let mut session = Session::attach(&guest)?;
            session.list(what, &glob, json)?;
            session.finish_quietly()
        }
    }
}
