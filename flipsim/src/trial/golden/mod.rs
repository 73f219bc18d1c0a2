//! What a guest does without a fault.

mod measure;
mod output;

pub use measure::*;
