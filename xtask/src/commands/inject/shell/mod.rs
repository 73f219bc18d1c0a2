//! `inject shell`: a prompt with all commands by their short names.
//!
//! Invariant: **a word does what the command of that name does.**

mod command;
mod complete;
mod words;

pub use command::{Args, run};
#[cfg(feature = "fuzzing")]
pub use words::{Asked, parse_line};
