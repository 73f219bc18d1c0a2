//! `cargo xtask setup`: QEMU, kernel and image, built where missing and left alone where up to date.
//!
//! Invariant: **a step that was interrupted leaves nothing that looks finished**.

mod command;
mod fragments;
mod image;
pub mod kconfig;
mod kernel;
mod lane;
mod probe;
mod qemu;

pub use command::{ensure, run};
pub use lane::Args;
