//! `cargo xtask report`: what a campaign says, at the terminal, as a page, as CSV and JSON.
//!
//! Invariant: **this command reads.** It changes no campaign.

mod command;
mod compare;
mod gate;
mod output;
mod runs;
mod trend;

pub use command::{Args, run};
