//! `cargo xtask boot`: starts a guest, lists guests, stops them.
//!
//! Invariant: **every QEMU has a living parent of ours.**

pub mod command;

pub use command::{Args, run, watch_guest};
