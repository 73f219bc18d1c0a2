//! What a guest does without a fault, from its quiescent point to the end of its window.
//!
//! Invariant: **a golden run is believed only when it was seen four times and was the same each time**; where that
//! fails, trials compare output only, and the reason is kept.
//!
//! It hands out [`Golden`] with its [`Checkpoint`]s, measured as [`GoldenOptions`] ask for.

mod events;
pub(super) mod idle;
pub(super) mod looks;
pub(crate) mod measure;
pub(super) mod model;
pub(super) mod output;
#[cfg(test)]
mod tests;
mod used;
mod watched;

pub use idle::{Idle, Span};
pub use looks::Looks;
pub use model::{Checkpoint, FORMAT, Golden, GoldenOptions, GoldenProgress, Look, Window};
pub use watched::{EventError, EventGuest, MOST_EVENTS};
