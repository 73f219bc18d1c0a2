//! The symbols of the guest's kernel, wherever it runs.
//!
//! Invariant: **believed only after bytes of the guest were compared**.

mod anchor;

pub use anchor::*;
