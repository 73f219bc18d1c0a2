//! What a guest's console says: lines, markers, how it gets to READY and DONE, and what its kernel reports.
//!
//! Invariant: **no line is unbounded, and the bytes alone decide**.
//!
//! It hands out lines ([`LineSplitter`]), the log as it grows ([`ConsoleTail`]), the lab's own markers
//! ([`Marker`]), the words of any guest ([`signals`]), and the reports of trouble ([`classify`]).

pub mod classify;
mod lines;
mod marker;
pub mod signals;
mod tail;

pub use lines::{LineSplitter, MAX_LINE};
pub use marker::{Done, Marker, flipsim_marker};
pub use tail::{ConsoleTail, marker};
