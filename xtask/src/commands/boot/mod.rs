//! `cargo xtask boot`: starts a guest, lists guests, stops them.
//!
//! Invariant: **every QEMU has a living parent of ours.**

mod announce;
mod command;
mod dry_run;
mod interactive;
mod list;
mod prune;
mod stop;
mod watch;

pub use command::{Args, run};
pub use watch::watch_guest;
