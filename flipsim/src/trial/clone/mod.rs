//! Processes that go on from a template, copy-on-write.

mod guest;
mod written;

pub use guest::*;
