//! Which addresses of a guest are RAM, and what the guest calls them.
//!
//! Invariant: **faults are only drawn from what QEMU calls RAM**.
//!
//! It hands out ranges of addresses ([`PhysRange`], [`RangeSet`]) and the guest's map ([`MemoryMap`]).

mod map;
mod range;
#[cfg(test)]
mod tests;

pub use map::{MapSource, MemoryError, MemoryMap, RamBlock, Region, parse_iomem, parse_mtree_ram};
pub use range::{PhysRange, RangeError, RangeSet};
