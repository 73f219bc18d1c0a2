//! Whether a campaign is worse than a baseline, for a build that is to fail then.
//!
//! Invariant: **nothing is called not worse that could not have been seen to be worse.**
//!
//! It hands out [`gate()`], which decides, and three forms of what it found: [`junit()`], [`markdown()`] and [`gate_page()`].

mod decide;
mod junit;
mod markdown;
mod page;

pub use decide::{Condition, Gate, GateOptions, GateRow, gate, row_text, word};
pub use junit::junit;
pub use markdown::markdown;
pub use page::{GatePageOptions, gate_page};
