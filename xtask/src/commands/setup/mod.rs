//! `cargo xtask setup`: QEMU, kernel and image, built where missing and left alone where up to date.
//!
//! Invariant: **a step that was interrupted leaves nothing that looks finished**.

pub mod command;
pub mod fragments;
pub mod image;
pub mod kconfig;
pub mod kernel;
pub mod lane;
pub mod probe;
pub mod qemu;

pub use command::{ensure, run};
pub use lane::Args;
