//! `cargo xtask campaign`: trials, and their results.
//!
//! Invariant: **what an outcome is, `flipsim` decides.**

pub mod classify;
pub mod command;
pub mod diff;
pub mod export;
pub mod merge;
pub mod new;
pub mod replay;
pub mod run;
pub mod spaces;
pub mod stats;
pub mod status;
pub mod trial;

pub use command::{Args, run};
