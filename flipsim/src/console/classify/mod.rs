//! A guest's console → what happened to its kernel and its programs.
//!
//! ```text
//! bytes ─→ lines ─→ signs (which report begins here?) ─→ findings with stable titles ─→ one cause, one outcome
//! prefix (who, when)  text (functions, what is stable)   skip (functions that say little)
//! ```
//!
//! Invariants: **the only table of kernel messages; the bytes alone decide; memory is bounded**.
//!
//! It hands out [`Classifier`], which reads a console, and [`Classification`], all that it found.

pub(super) mod classifier;
pub(super) mod kind;
mod open;
mod prefix;
mod signs;
mod skip;
mod text;
pub(super) mod verdict;

pub use classifier::{
    Classifier, MAX_FINDINGS, STORM, classify, classify_reader, frame_of, kind_of, without_stamps,
};
pub use kind::Kind;
pub use verdict::{Classification, ConsoleVerdict, Finding};
