//! `cargo xtask campaign`: trials, and their results.
//!
//! Invariant: **what an outcome is, `flipsim` decides.**

mod check;
mod classify;
mod command;
mod diff;
mod export;
mod merge;
pub mod new;
mod rehearsal;
mod replay;
pub mod run;
mod stats;
mod status;
mod trial;

pub use command::{Args, run};
#[cfg(feature = "fuzzing")]
pub use trial::TrialLine;
