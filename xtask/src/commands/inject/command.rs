//! `cargo xtask inject`: flips bits in a guest that is booted, or alone goes the whole way from an
//! empty machine to the first flips.
//!
//! Invariant: this file decides on no fault; it turns flags into a fault space of `flipsim` and
//! shows what came of each draw. What was drawn is recorded before the next one is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use flipsim::arch::Arch;
use flipsim::fault::Pattern;
use flipsim::memory::PhysRange;
use flipsim::units::{BitIndex, GuestPhys, parse_duration, parse_number};

use super::shell::command;
use super::{range, snap, timed};
use crate::commands::first;
use crate::guest::flips::Pace;
use crate::guest::session::{GuestChoice, Session};

/// Flip bits in a guest's RAM and registers.
///
/// Alone it goes the whole way: sets up what is missing, boots a guest with a workload, flips single
/// bits in its RAM, shows each as it happens, tells how the guest fared, and ends with the report of a small
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

#[derive(clap::Args, Debug)]
pub struct WholeArgs {
    /// Install host packages that setup needs without asking
    #[arg(long)]
    pub yes: bool,
    /// How many bits to flip, one at a time
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// How many trials the campaign has that comes after; 0 for none, and none with --json
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub trials: u64,
    /// The time between two flips, on the guest's clock
    #[arg(long, default_value = "100ms", value_parser = parse_duration, value_name = "TIME")]
    pub interval: Duration,
    /// What the guest computes meanwhile [default: from lab.toml]
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// The seed of the draws [default: a new one, which is printed]
    #[arg(long, value_parser = parse_number)]
    pub seed: Option<u64>,
    /// The guest's architecture [default: from lab.toml]
    #[arg(long)]
    pub arch: Option<Arch>,
    /// One JSON line a flip on standard output
    #[arg(long)]
    pub json: bool,
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
    /// Save the guest, flip bits, observe, go back; again and again, and count what came of it
    Snap(snap::Args),
    /// Flip a bit in every unit of ranges of addresses, one after the other or a random choice of them
    Range(range::Args),
    /// A prompt: every ability by its short name, and scripts from standard input
    Shell(command::Args),
    /// Show what faults can be drawn from
    #[command(after_help = "Examples:
  cargo xtask inject list regions
  cargo xtask inject list reg --json")]
    List {
        /// ram: the RAM ranges; reg: the registers and which bits take a flip; regions: the whole memory map
        what: ListWhat,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        guest: GuestChoice,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ListWhat {
    Ram,
    Reg,
    Regions,
}

#[derive(clap::Args, Debug)]
struct RamArgs {
    #[command(flatten)]
    place: RamPlace,
    #[command(flatten)]
    common: Common,
}

/// Where in RAM; anywhere, when nothing is said.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct RamPlace {
    /// Regions of the guest's /proc/iomem, by name or path; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub region: Vec<String>,
    /// Kernel symbols, as NAME (all its bytes) or NAME+OFFSET (that byte)
    #[arg(long, value_name = "SYMBOL")]
    pub symbol: Vec<String>,
    /// Ranges of physical addresses, FIRST-LAST (both included) or FIRST+LENGTH
    #[arg(long, value_name = "RANGE")]
    pub range: Vec<PhysRange>,
    /// Physical addresses of single bytes
    #[arg(long, value_name = "ADDRESS")]
    pub address: Vec<GuestPhys>,
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

/// What all commands share that flip bits.
#[derive(clap::Args, Debug, Default)]
pub struct Flipping {
    #[command(flatten)]
    pub bits: Bits,
    /// The seed of the draws [default: a new one, which is printed]
    #[arg(long, value_parser = parse_number)]
    pub seed: Option<u64>,
    /// How long to watch the guest afterwards, on its own clock where that is exact [default: 500ms for a
    /// guest that ran before, up to 20s for a fresh one, nothing for one that was stopped]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub observe: Option<Duration>,
    /// One JSON line a flip on standard output
    #[arg(long)]
    pub json: bool,
    /// Write the records to this file as CSV, too
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    #[command(flatten)]
    pub guest: GuestChoice,
}

/// Which bits flip together.
#[derive(clap::Args, Debug, Default, Clone)]
pub struct Bits {
    /// Always this bit (of the byte, or of the register); with --bits the lowest of them
    #[arg(long, value_name = "N", conflicts_with = "mask")]
    pub bit: Option<u32>,
    /// This many neighbouring bits at once [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "mask")]
    pub bits: Option<u32>,
    /// Exactly these bits
    #[arg(long, value_parser = parse_number, value_name = "MASK")]
    pub mask: Option<u64>,
}

impl Bits {
    /// The same as a pattern.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        let count = self.bits.unwrap_or(1);
        match (self.mask, self.bit) {
            (Some(mask), _) => Pattern::Mask(mask),
            (None, Some(bit)) => Pattern::AdjacentAt { count, bit: BitIndex(bit) },
            (None, None) => Pattern::Adjacent(count),
        }
    }
}

/// RAM or registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Bits of RAM
    Ram,
    /// Bits of registers
    Reg,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        None => first::run(&args.whole),
        Some(Sub::Ram(ram)) => {
            let mut session = Session::attach(&ram.common.flip.guest)?;
            let space = session.ram_space(&ram.place, ram.common.flip.bits.pattern())?;
            session.inject(&space, ram.common.count, Pace::Every(ram.common.interval), &ram.common.flip)
        }
        Some(Sub::Reg(reg)) => {
            let mut session = Session::attach(&reg.common.flip.guest)?;
            let space = session.reg_space(&reg.glob, reg.common.flip.bits.pattern())?;
            session.inject(&space, reg.common.count, Pace::Every(reg.common.interval), &reg.common.flip)
        }
        Some(Sub::Auto(auto)) => timed::run(&auto),
        Some(Sub::Snap(snap)) => snap::run(&snap),
        Some(Sub::Range(range)) => range::run(&range),
        Some(Sub::Shell(shell)) => command::run(&shell),
        Some(Sub::List { what, json, guest }) => {
            let mut session = Session::attach(&guest)?;
            session.list(what, json)?;
            session.finish_quietly()
        }
    }
}
