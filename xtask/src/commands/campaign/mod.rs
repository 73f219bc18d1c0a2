//! `cargo xtask campaign`: trials, and their results.
//!
//! Invariant: **what an outcome is, `flipsim` decides.**

mod check;
mod classify;
mod command;
mod diff;
mod export;
mod grow;
mod merge;
pub mod new;
mod pack;
mod pilot;
mod rehearsal;
mod replay;
pub mod run;
mod slurm;
mod space;
mod stats;
mod status;
mod templates;
mod trial;

pub use command::{Args, run};
#[cfg(feature = "fuzzing")]
pub use trial::TrialLine;
