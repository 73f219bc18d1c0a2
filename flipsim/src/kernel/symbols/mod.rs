//! The symbols of the guest's kernel, wherever it runs.
//!
//! ```text
//! vmlinux, System.map, /proc/kallsyms ─→ Symbols (linked addresses) ──anchor──→ SymbolMap (physical addresses)
//!                                        the guest's banner, compared ──┘
//! ```
//!
//! Invariant: **symbols are believed only after bytes of the guest were compared**.
//!
//! It hands out [`Symbols`], as a file has them, [`SymbolMap`], as the running guest has them, and [`Sources`], where their
//! code comes from.

mod anchor;
pub(super) mod file;
mod sources;

pub use anchor::SymbolMap;
#[cfg(test)]
pub(crate) use anchor::tests::map_of;
pub use file::{Symbol, SymbolError, Symbols};
pub use sources::{SECTION as SOURCES_SECTION, Source, Sources};
