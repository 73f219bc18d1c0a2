//! A guest saved at its quiescent point.

mod saved;

pub use saved::*;
