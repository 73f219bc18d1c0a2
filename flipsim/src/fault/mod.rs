//! A fault: where, which bits, when; how it is drawn, and how it is made.
//!
//! Invariants: **every possible fault is equally likely; every flip is read back**.

pub mod record;
pub mod schedule;
mod space;
pub mod symbols;

pub use space::*;
