//! The guest's console → what happened to its kernel and its programs.
//!
//! Invariants: **the only table of kernel messages; the bytes alone decide; memory is bounded**.

mod classifier;
mod signs;
mod text;

pub use classifier::*;
