//! Which guest: one that runs, one behind a socket, or a fresh one for this command alone.
//!
//! Invariant: **what only a fresh guest can be made of is refused for another one.**

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use flipsim::arch::Arch;
use flipsim::wire::net::Endpoint;

use super::headless::{self, HeadlessGuest};
use super::plan::{self, ClockArg, GuestArgs};
use super::spec::GuestSpec;
use crate::exit::{Code, exit_error};

/// Which guest.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct GuestChoice {
    /// The guest's name; not needed when only one runs
    #[arg(long, value_name = "NAME", conflicts_with = "socket")]
    pub(super) guest: Option<String>,
    /// Boot a guest for this command alone, and stop it at the end: the same line then does the same again
    #[arg(long, conflicts_with_all = ["guest", "socket"])]
    pub(super) fresh: bool,
    /// What the fresh guest's clock follows [default: exact, where this QEMU has the lab's patches]
    #[arg(long, value_enum, requires = "fresh")]
    clock: Option<ClockArg>,
    /// The gdb stub of a guest that was not started by `boot`: a socket's path, or tcp:HOST:PORT
    #[arg(long, value_name = "ENDPOINT")]
    pub(super) socket: Option<Endpoint>,
    /// The QMP monitor of that guest
    #[arg(long, value_name = "ENDPOINT", requires = "socket")]
    pub(super) qmp: Option<Endpoint>,
    /// A file with that guest's /proc/iomem, for regions and symbols
    #[arg(long, value_name = "FILE", requires = "socket")]
    pub(super) iomem: Option<PathBuf>,
    /// What the fresh guest is made of; of the one with the socket, its architecture and symbols
    #[command(flatten)]
    pub(super) spec: GuestSpec,
}

impl GuestChoice {
    /// A guest of this command's own, which runs this workload.
    #[must_use]
    pub fn fresh(arch: Arch, workload: &str, append: String) -> GuestChoice {
        GuestChoice {
            fresh: true,
            spec: GuestSpec {
                arch: Some(arch),
                workload: Some(workload.to_owned()),
                append,
                ..GuestSpec::default()
            },
            ..GuestChoice::default()
        }
    }

    /// The guest of this name.
    #[must_use]
    pub fn named(name: &str) -> GuestChoice {
        GuestChoice { guest: Some(name.to_owned()), ..GuestChoice::default() }
    }

    /// What only a fresh guest can be made of is no word for another one.
    pub(super) fn check(&self) -> Result<()> {
        let named = match self.socket {
            Some(_) => {
                GuestSpec { arch: self.spec.arch, vmlinux: self.spec.vmlinux.clone(), ..GuestSpec::default() }
            }
            None => GuestSpec::default(),
        };
        if self.fresh || self.spec == named {
            return Ok(());
        }
        let words = serde_json::to_value(&self.spec)?;
        let words: Vec<String> =
            words.as_object().into_iter().flatten().map(|(word, _)| format!("--{word}")).collect();
        bail!(exit_error(
            Code::Usage,
            format!(
                "{}: this guest is there already, and is what it is made of; add --fresh to boot one for this command",
                words.join(", ")
            )
        ))
    }

    pub(super) fn boot(&self) -> Result<HeadlessGuest> {
        let spec = self.spec.clone().with_defaults()?;
        let clock = match self.clock {
            Some(clock) => clock,
            None if plan::can_be_exact(spec.arch_or_default()?)? => ClockArg::Exact,
            None => {
                eprintln!(
                    "warning: this QEMU lacks the lab's patches, so times are kept by the host's clock: approximate"
                );
                ClockArg::Real
            }
        };
        let args = GuestArgs {
            spec,
            clock,
            // A folder of the host's would bring the host's time into the guest's boot.
            no_share: clock == ClockArg::Exact,
            ..GuestArgs::default()
        };
        headless::start_headless(&args, Duration::from_secs(120), false)
    }
}
