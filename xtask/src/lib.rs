//! The command line of the lab, as a library: so that what reads strangers' bytes can be tried by other programs.
//!
//! Invariant: **it hands out the command line, and nothing else** but, behind the feature `fuzzing`, the doors of its
//! parsers.

// First, for its macros.
#[macro_use]
mod cli;
mod commands;
mod exit;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod host;
mod interrupt;
mod lab;
mod paths;
mod progress;
mod source;

pub use cli::run;
