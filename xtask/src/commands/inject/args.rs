//! Flags that more than one file of `inject` reads.
//!
//! Invariant: **nothing is decided here.**

use std::time::Duration;

use flipsim::arch::Arch;
use flipsim::units::{parse_duration, parse_number};

/// What the whole way is to be, from nothing to the first report.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ListWhat {
    Ram,
    Reg,
    Regions,
    Symbols,
}
