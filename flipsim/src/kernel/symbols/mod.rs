//! The symbols of the guest's kernel, wherever it runs.
//!
//! ```text
//! vmlinux, System.map, /proc/kallsyms ─→ Symbols (linked addresses) ──anchor──→ SymbolMap (physical addresses)
//!                                        the guest's banner, compared ──┘
//! ```
//!
//! Invariant: **symbols are believed only after bytes of the guest were compared**.
//!
//! It hands out [`Symbols`], as a file has them, and [`SymbolMap`], as the running guest has them.

mod anchor;
mod file;

pub use anchor::SymbolMap;
#[cfg(test)]
pub(crate) use anchor::tests::map_of;
pub use file::{Symbol, SymbolError, Symbols};
