//! What the golden run does with each byte of RAM: when it is next read or overwritten, and what it holds.
//!
//! ```text
//! QEMU, interval by interval: first accesses, page-table walks, pages written
//!        └──→ Recorder ──→ Accesses ──→ next, of        read, overwritten, never, or unknown
//!                             │    └──→ Contents        what a byte or a page holds at an instant
//!                             ├───────→ shares          how much of a space is what, exactly
//!                             └──────── save, load      a file in the cache
//! ```
//!
//! Invariant: **where it is not certain what comes next, the answer is unknown**; an instant that is given for an access
//! never lies behind it.
//!
//! It hands out [`Recorder`], which takes [records](stream), the [`Accesses`] that it ends with, and the [`RamBlocks`]
//! that both need.

mod blocks;
mod code;
mod contents;
mod deltas;
mod error;
mod events;
mod index;
mod numbers;
mod recent;
mod recorder;
mod saved;
mod shares;
pub mod stream;
mod vcpu;

pub use blocks::{Block, PAGE, Page, Part, RamBlocks};
pub use contents::{Base, Contents};
pub use error::AccessError;
pub use index::{Accesses, Figures, Next, NextOfAll};
pub use recorder::Recorder;
pub use saved::FORMAT;
pub use shares::Shares;
pub use vcpu::{SECTION, Vcpu};

#[cfg(test)]
mod tests;
