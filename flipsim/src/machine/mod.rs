//! A guest as a process of the host: its command line, its folder, its start and its end.
//!
//! ```text
//! spec (argv) ─→ folder (sockets, logs, run.json) ─→ process ─→ boot ─→ quiescent point
//!                    └ hold: whose guest it is now       └ watch: its events, until its end
//! ```
//!
//! Invariant: **no QEMU outlives what it belongs to**. Every QEMU is started with a death signal tied
//! to its parent, so that even a SIGKILL of ours takes it along.

pub mod arguments;
pub mod boot;
pub mod confine;
pub(crate) mod end;
mod error;
pub mod folder;
mod hold;
pub mod host;
mod pid;
pub mod process;
pub mod pvpanic;
pub mod spec;
pub mod watch;

pub use end::End;
pub use error::FolderError;
pub use hold::{Hold, HoldNote};
pub use pid::{ProcessId, ProcessStat};
pub use spec::CONSOLE_DEVICE;
