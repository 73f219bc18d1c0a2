//! What a guest's console says: lines, markers, how it gets to READY and DONE, and what its kernel reports.
//!
//! Invariant: **no line is unbounded, and the bytes alone decide**.

pub mod classify;
pub mod signals;
mod tail;

pub use tail::*;
