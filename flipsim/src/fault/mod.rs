//! A fault: where, which bits, when; how it is drawn, and how it is made.
//!
//! Invariants: **every possible fault is equally likely; every flip is read back**.

mod cells;
mod draw;
mod error;
mod flip;
pub(crate) mod model;
mod names;
pub(crate) mod place;
pub mod record;
mod registers;
pub mod schedule;
mod space;
pub mod symbols;
#[cfg(test)]
mod tests;

pub use cells::{Units, UnitsError};
pub use draw::{FaultRng, fault_rng, random_seed};
pub use error::SpaceError;
pub use flip::{Flip, FlipError, flip};
pub use model::{Fault, Pattern, PatternError, format_pattern, parse_pattern};
pub use names::{GuestNames, NameError};
pub use place::{Place, PlaceError};
pub use registers::{FlippableRegister, probe_registers};
pub use space::{FaultSpace, RamSpace, RegSpace};
