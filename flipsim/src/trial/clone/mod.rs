//! Processes that go on from a template, copy-on-write.

pub(super) mod guest;
mod written;

pub use guest::{CloneDisk, CloneGuest, CloneOptions, sweep};
