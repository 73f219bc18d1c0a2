//! `inject shell`: a prompt with all abilities by their short names.
//!
//! Invariant: **a word does what the command of that name does.**

pub mod command;
pub mod complete;
pub mod words;

pub use command::{Args, run};
