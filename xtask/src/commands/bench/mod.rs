//! `cargo xtask bench`: our figures beside the original's methods, on one guest, in one run.
//!
//! Invariant: **nothing is asserted here**; a slow host makes a slow table, not a failure.

mod campaign;
mod command;
mod determinism;
mod load;
mod options;
mod original;
mod ours;
mod table;
mod trials;

pub use command::{Args, run};
