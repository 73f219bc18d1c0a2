//! Which addresses of a guest are RAM, and what the guest calls them.
//!
//! Invariant: **faults are only drawn from what QEMU calls RAM**.

mod map;

pub use map::{
    MapSource, MemoryError, MemoryMap, PhysRange, RamBlock, RangeError, RangeSet, Region, parse_iomem,
    parse_mtree_ram,
};
