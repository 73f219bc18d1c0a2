//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use flipsim::campaign::{Shard, ShardError};

/// Run a packed campaign, or a share of it.
#[derive(clap::Parser, Debug)]
#[command(
    name = "flipsim-run",
    version,
    after_help = "Examples:
  flipsim-run first.pack --out parts
  flipsim-run first.pack --out parts --shard 2/4
  flipsim-run first.pack --check
  flipsim-run first.pack --out parts --merge
  sbatch --array=1-8 --wrap 'exec flipsim-run first.pack --out parts --trust 0123456789abcdef'

The campaign's slices are shared out through the folder --out, which all machines see: each process takes one after the
other, also those that an ended one has left. Its results come together there, one file a slice;
`cargo xtask campaign merge` joins them, and `cargo xtask campaign status` shows a folder while it fills.

Which element of a job this is, is found out from Slurm, SGE, LSF, PBS, HTCondor, HyperQueue or GNU parallel. Scratch is
the first of $SLURM_TMPDIR, $TMPDIR, /tmp that is there.

Exit codes:
  0    all that was to be run here is done and home
  1    it failed, and would fail again: an audit, a guest that cannot be restored
  2    the command line or the pack is wrong
  75   it may work elsewhere or later: a full disk, a machine that is going down, no time left (SIGUSR1); run it again
  143  ended by SIGTERM (130: by Ctrl-C); what was finished is home"
)]
pub struct Args {
    /// The pack
    pub pack: PathBuf,
    /// Which part of the plan: auto takes one slice after the other, I/N runs a fixed part
    #[arg(long, default_value = "auto", value_name = "auto|I/N")]
    pub shard: Which,
    /// The folder where the results of all come together
    #[arg(long, default_value = "parts", value_name = "DIR")]
    pub out: PathBuf,
    /// A folder of this machine with room for the unpacked pack [default: $SLURM_TMPDIR, $TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// How many guests run side by side [default: one a core of this job, if memory suffices]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub workers: Option<u64>,
    /// Run every trial whole: nothing is settled, begun late or ended early
    #[arg(long)]
    pub whole: bool,
    /// Only unpack it, and compare a clone of its guest with what was saved
    #[arg(long)]
    pub check: bool,
    /// Join what has come together in --out into one file, with a page; runs nothing
    #[arg(long, conflicts_with = "check")]
    pub merge: bool,
    /// Run the pack with this digest (its first 16 digits) without being asked
    #[arg(long, value_name = "DIGEST")]
    pub trust: Option<String>,
}

/// What of the plan is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Slices, as long as there are any.
    Auto,
    /// This part.
    Part(Shard),
}

impl FromStr for Which {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        if text == "auto" { Ok(Which::Auto) } else { text.parse().map(Which::Part) }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Auto => f.write_str("auto"),
            Which::Part(shard) => shard.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_in_order() {
        Args::command().debug_assert();
    }
}
