//! `cargo xtask inject`: flips bits in a guest that is booted.
//!
//! Invariant: **no fault is decided on here**: flags become a fault space of `flipsim`.

pub mod args;
pub mod command;
pub mod list;
pub mod range;
pub mod shell;
pub mod snap;
pub mod timed;

pub use command::{Args, run};
