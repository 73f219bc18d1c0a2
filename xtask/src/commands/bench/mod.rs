//! `cargo xtask bench`: our figures beside the original's methods, on one guest, in one run.
//!
//! Invariant: **nothing is asserted here**; a slow host makes a slow table, not a failure.

pub mod campaign;
pub mod command;
pub mod determinism;
pub mod load;
pub mod options;
pub mod original;
pub mod ours;
pub mod table;
pub mod trials;

pub use command::{Args, run};
