//! What a guest's console says: lines, markers, how it gets to READY and DONE, and what its kernel reports.
//!
//! Invariant: **no line is unbounded, and the bytes alone decide**.
//!
//! It hands out lines ([`LineSplitter`]), the log as it grows ([`ConsoleTail`]), the lab's own markers
//! ([`Marker`]), the words of any guest ([`signals`]) and what
//! fits when they do not come ([`Unmet`]), the reports of trouble ([`classify`]), and how far an output is from the
//! right one ([`Differences`]).

pub mod classify;
mod counts;
mod differences;
mod lines;
mod marker;
mod pattern;
pub mod signals;
mod tail;
mod unmet;

pub use counts::Counts;
pub use differences::{Differences, RelativeError, Wrong};
pub use lines::{LineSplitter, MAX_LINE, line_end};
pub use marker::{Done, Marker, ends_a_round, flipsim_marker};
pub use tail::{ConsoleTail, marker};
pub use unmet::Unmet;
