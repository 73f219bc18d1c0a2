//! A fault: where, which bits, what is done to them, when; how it is drawn, and how it is made.
//!
//! Invariants: **every possible fault is equally likely; every flip is read back**.

mod array;
mod cells;
mod count;
mod draw;
mod ecc;
mod error;
mod flip;
mod hold;
mod listed;
pub(crate) mod model;
mod names;
mod operation;
mod paired;
mod profile;
pub mod record;
mod registers;
pub mod schedule;
mod space;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod used;

pub use array::{Clusters, Mapping, MappingError, Shape, ShapeError};
pub use cells::{Units, UnitsError};
pub use count::{Count, CountError};
pub use draw::{FaultRng, fault_rng, random_seed};
pub use ecc::{Ecc, EccError, Verdict, filter};
pub use error::SpaceError;
pub use flip::{Flip, FlipError, code_at, flip, stuck};
pub use hold::{Hold, HoldError};
pub use listed::{Listed, ListedFault, ListedPlace};
pub use model::{Fault, Pattern, PatternError, format_pattern, parse_pattern};
pub use names::{GuestNames, NameError};
pub use operation::{NUMBERS, Operation, OperationError, Operations};
pub use paired::{Like, used_space};
pub use profile::{Executed, Function, Profile};
pub use registers::{FlippableRegister, probe_registers};
pub use space::{Align, Extent, FaultSpace, Moment, PairedSpace, RamSpace, RegSpace};
pub use target::{Borders, FaultTarget, FaultTargetError, FaultTargetTextError, TargetGuest};
pub use used::{MOST_STACK, Used, UsedByTrigger, UsedHere};
