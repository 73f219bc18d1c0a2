//! How much is measured, and of which guests.
//!
//! Invariant: **the command that is compared is the same for every method.**

use std::path::PathBuf;

use anyhow::{Result, bail};
use flipsim::arch::Arch;
use flipsim::fault::schedule::Intervals;
use flipsim::units::{VirtualNs, parse_number};
use serde::Serialize;

use crate::exit::{Code, ExitWith, exit_error};
use crate::lab::config::Config;
use crate::lab::in_use::Lab;

/// How much is measured.
#[derive(clap::Args, Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// Flips, and stops, with the lab's own client
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) count: u32,
    /// Runs of `auto 10 20ns 100ns ram` with the lab's own client
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) autos: u32,
    /// Flips with one gdb process each, and with pygdbmi
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(super) gdb_count: u32,
    /// Runs of `auto 10 20ns 100ns ram` with gdb commands; one takes some 20 s
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub(super) gdb_autos: u32,
    /// The seed of addresses and intervals
    #[arg(long, default_value = "1", value_parser = parse_number)]
    pub(super) seed: u64,
    /// The guests' architectures, each in its turn [default: from lab.toml]
    #[arg(long, value_delimiter = ',', value_name = "ARCH,…")]
    #[serde(skip)]
    pub(super) arch: Vec<Arch>,
    /// As JSON
    #[arg(long)]
    #[serde(skip)]
    pub(super) json: bool,
    /// Write the JSON to this file, too
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(super) out: Option<PathBuf>,
}

/// The command that is compared, in the original's words.
pub(super) const AUTO: &str = "auto 10 20ns 100ns ram";

/// Its number of flips.
pub(super) const AUTO_FLIPS: u32 = 10;

/// Its intervals.
pub(super) fn intervals() -> Intervals {
    Intervals::Uniform { min: VirtualNs(20), max: VirtualNs(100) }
}

/// These architectures, or the one of `lab.toml`. One that is not set up is reported before minutes of measuring.
pub(super) fn archs(chosen: &[Arch]) -> Result<Vec<Arch>> {
    let mut archs: Vec<Arch> = Vec::new();
    for arch in chosen {
        if archs.contains(arch) {
            bail!(exit_error(Code::Usage, format!("--arch: {arch} is there twice")));
        }
        archs.push(*arch);
    }
    if archs.is_empty() {
        archs.push(Config::load()?.guest.arch);
    }
    let lab = Lab::load()?;
    for arch in &archs {
        lab.ready(*arch).exit_with(Code::Missing)?;
    }
    Ok(archs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_auto_are_what_is_measured() {
        assert_eq!(AUTO, format!("auto {AUTO_FLIPS} 20ns 100ns ram"));
        assert_eq!(intervals(), Intervals::uniform(VirtualNs(20), VirtualNs(100)).unwrap());
    }
}
