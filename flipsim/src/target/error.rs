//! Why a guest cannot be attached to, marked, read, written or run, and what to do about it.

use std::path::PathBuf;

use crate::memory::MemoryError;
use crate::units::VirtualNs;
use crate::wire::gdb::GdbError;
use crate::wire::qmp::QmpError;

/// How a QEMU without the patch is reported.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The monitor, or QEMU's refusal.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The gdb stub, whose own monitor takes the command.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// No monitor at all.
    #[error("a state can only be marked where the guest's QMP monitor is known")]
    NoMonitor,
    /// An answer that cannot be read.
    #[error("QEMU's answer to `{command}` cannot be read: {cause}; is it a QEMU with the lab's patches?")]
    Answer {
        /// The command.
        command: &'static str,
        /// What is wrong.
        cause: serde_json::Error,
    },
}

/// A guest that cannot be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The gdb stub.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// The monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The memory map.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest's machine has ended or panicked; there is nothing left to inject into.
    #[error("the guest is not alive: QEMU says `{status}`{}", meaning(.status))]
    Dead {
        /// QEMU's word for the run state.
        status: String,
    },
    /// The file with the guest's `/proc/iomem`.
    #[error("cannot read the guest's memory map from {path}: {cause}")]
    Iomem {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// What QEMU's word for a run state means, where the word alone does not say it.
fn meaning(status: &str) -> &'static str {
    match status {
        "internal-error" => ", which is an exception storm, or an error of the host",
        "io-error" => ", which is a disk that cannot be written, as a full one",
        _ => "",
    }
}

/// What can go wrong between us and the machine.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The machine, or the way to it, is gone.
    #[error("lost the guest while trying to {doing}: {cause}")]
    Lost {
        /// What was under way.
        doing: String,
        /// What the protocol client said.
        cause: String,
    },
    /// The machine refused.
    #[error("the guest refused to {doing}: {cause}")]
    Refused {
        /// What was under way.
        doing: String,
        /// What the protocol client said.
        cause: String,
    },
    /// The machine runs; memory and registers are out of reach.
    #[error("cannot {doing} while the guest runs; stop it first")]
    Running {
        /// What was asked for.
        doing: String,
    },
    /// The machine did not stop at the time asked for, although its clock is exact.
    #[error(
        "the guest stopped at {at} where {wanted} was asked for: this QEMU's clock is not exact after all"
    )]
    Missed {
        /// The time asked for.
        wanted: VirtualNs,
        /// Where it stopped.
        at: VirtualNs,
    },
    /// The caller asked to stop.
    #[error("interrupted while the guest ran")]
    Interrupted,
}
