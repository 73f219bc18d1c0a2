//! The flags of all commands that flip bits: where, which bits, and in which guest.
//!
//! Invariant: **a flag means the same in every command.**

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use flipsim::fault::{FaultSpace, Operations, Pattern};
use flipsim::memory::PhysRange;
use flipsim::units::{BitIndex, GuestPhys, parse_duration, parse_number};

use super::choice::GuestChoice;
use crate::exit::{Code, ExitWith, exit_error};

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

/// What all commands share that flip bits.
#[derive(clap::Args, Debug, Default)]
pub struct Flipping {
    #[command(flatten)]
    pub bits: BitsArgs,
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
pub struct BitsArgs {
    /// Always this bit (of the byte, or of the register); with --bits the lowest of them
    #[arg(long, value_name = "N", conflicts_with = "mask")]
    pub bit: Option<u32>,
    /// This many neighbouring bits at once [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "mask")]
    pub bits: Option<u32>,
    /// Exactly these bits
    #[arg(long, value_parser = parse_number, value_name = "MASK")]
    pub mask: Option<u64>,
    /// What is done to them: flip, set0, set1, overwrite:NUMBER, overwrite:random, nothing [default: flip]
    #[arg(long, value_name = "OPERATION")]
    pub operation: Option<Operations>,
}

impl BitsArgs {
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

    /// The same faults under the operation.
    ///
    /// # Errors
    /// They cannot be numbered.
    pub fn under(&self, space: FaultSpace) -> Result<FaultSpace> {
        let operation = self.operation.unwrap_or_default();
        if operation.hold_on() {
            let why = "holds on, which `inject` does not look after; use `campaign trial` or `campaign new`";
            bail!(exit_error(Code::Usage, format!("--operation {operation}: it {why}")));
        }
        space.under(operation).exit_with(Code::Usage)
    }
}

/// RAM or registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KindArg {
    /// Bits of RAM
    Ram,
    /// Bits of registers
    Reg,
}
