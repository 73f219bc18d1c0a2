//! What a guest does without a fault.

pub(crate) mod measure;
pub(super) mod model;
pub(super) mod output;
#[cfg(test)]
mod tests;

pub use model::{Checkpoint, FORMAT, Golden, GoldenOptions, Window};
