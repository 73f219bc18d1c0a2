//! What a guest's console says: lines, markers, how it gets to READY and DONE, and what its kernel reports.
//!
//! Invariant: **no line is unbounded, and the bytes alone decide**.

pub mod classify;
mod lines;
mod marker;
pub mod signals;
mod tail;

pub use lines::{LineSplitter, MAX_LINE};
pub use marker::{Done, Marker, flipsim_marker};
pub use tail::{ConsoleTail, marker};
