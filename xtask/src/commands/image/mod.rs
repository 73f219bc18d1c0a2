//! `cargo xtask image`: the guest's disk images, and the services of the user's that are put into them.
//!
//! Invariant: **an image is there whole or not at all.**

mod add;
mod command;
mod convert;
mod list;
mod remove;

pub use command::{Args, run};
