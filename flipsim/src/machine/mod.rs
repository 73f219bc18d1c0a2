//! A guest as a process of the host: its command line, its folder, its start and its end.
//!
//! Invariant: no QEMU outlives what it belongs to. Every QEMU is started with a death signal tied
//! to its parent, so that even a SIGKILL of ours takes it along.

pub mod boot;
pub mod folder;
pub mod health;
pub mod process;
pub mod pvpanic;
pub mod spec;
pub mod watch;
