//! The symbols of the guest's kernel, wherever it runs.
//!
//! Invariant: **believed only after bytes of the guest were compared**.

pub(super) mod anchor;
pub(super) mod file;

pub use anchor::SymbolMap;
pub use file::{Symbol, SymbolError, Symbols};
