//! `cargo xtask inject`: flips bits in a guest that is booted.
//!
//! Invariant: **no fault is decided on here**: flags become a fault space of `flipsim`.

pub mod args;
mod command;
mod list;
mod range;
mod shell;
mod snap;
mod timed;

pub use command::{Args, run};
#[cfg(feature = "fuzzing")]
pub use shell::{Asked, parse_line};
