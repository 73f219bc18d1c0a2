//! `cargo xtask boot`: starts a guest, lists guests, stops them.
//!
//! Invariant: **every QEMU has a living parent of ours.**

pub mod announce;
pub mod command;
pub mod dry_run;
pub mod interactive;
pub mod list;
pub mod prune;
pub mod stop;
pub mod watch;

pub use command::{Args, run};
pub use watch::watch_guest;
