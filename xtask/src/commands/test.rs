//! `cargo xtask test`: the fast tests, then the slow suite that boots the real guest.
//!
//! Invariant: **no more guests at a time than CPUs, and two at most**: a test that waits for a guest must not wait for the
//! others' guests too.

use std::time::Duration;

use anyhow::Result;
use flipsim::arch::Arch;

use crate::guest::plan::GuestArgs;
use crate::guest::spec::GuestSpec;
use crate::guest::template;
use crate::host::cargo::{cargo, cargo_with};

/// Run the tests: the fast ones, then the slow suite that boots the real guest.
///
/// The slow suite needs the lab; what is missing of it is set up first, host packages included.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --fast
  cargo xtask test --yes      installs missing host packages without asking")]
pub struct Args {
    /// Only the tests that boot nothing
    #[arg(long)]
    pub(super) fast: bool,
    /// Install host packages that setup needs without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// Only tests whose name contains this
    #[arg(value_name = "NAME")]
    pub(super) filter: Option<String>,
}

/// Runs the tests.
pub fn run(args: &Args) -> Result<()> {
    let filter: Vec<&str> = args.filter.as_deref().into_iter().collect();
    let mut fast = vec!["test", "--quiet", "--workspace"];
    fast.extend(&filter);
    cargo(&fast)?;
    if args.fast {
        return Ok(());
    }
    for arch in Arch::all() {
        super::setup::ensure(arch, args.yes)?;
    }
    let threads = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(2));
    let threads = format!("--test-threads={threads}");
    // Of the whole workspace, as above: of a package alone cargo builds the library once more, with what that package asks
    // for of others.
    let slow = |targets: &[&'static str]| {
        let mut arguments = vec!["test", "--workspace"];
        arguments.extend(targets);
        arguments.extend(["--", "--ignored", &threads]);
        arguments.extend(&filter);
        arguments
    };
    cargo(&slow(&["--test", "slow"]))?;
    // The report in a browser; where none is installed this says so and passes.
    let mut browser = slow(&["--test", "browser"]);
    browser.push("--nocapture");
    cargo(&browser)?;
    let traps = Arch::all()
        .map(|arch| (format!("FLIPSIM_TEMPLATE_TRAPS_{}", arch.name.to_uppercase()), "traps", Some(arch)));
    let of_default = [("SHA256", "sha256"), ("FS", "fs"), ("OBJECTS", "objects")]
        .map(|(name, workload)| (format!("FLIPSIM_TEMPLATE_{name}"), workload, None));
    let mut variables = Vec::new();
    for (variable, workload, arch) in of_default.into_iter().chain(traps) {
        let spec = GuestSpec { arch, workload: Some(workload.to_owned()), ..GuestSpec::default() };
        let guest = GuestArgs { spec, ..GuestArgs::default() };
        let template = template::ensure(&guest, Duration::from_secs(120))?;
        variables.push((variable, template.folder().to_owned()));
    }
    let of_guests =
        ["template", "registers", "take_back", "settled", "traps", "objects"].map(|name| ["--test", name]);
    cargo_with(&slow(of_guests.as_flattened()), &variables)
}
