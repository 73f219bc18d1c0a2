//! Breakpoints of the stub.
//!
//! Invariant: QEMU takes each at a virtual address, whichever address space is in force.

/// Where a guest stops by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breakpoint {
    /// At what.
    pub stops: Stops,
    /// The first byte, a virtual address.
    pub address: u64,
    /// How many bytes; of an instruction 1.
    pub length: u64,
}

/// What a guest stops at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stops {
    /// Right before the instruction at the address.
    AtInstruction,
    /// An instruction that writes one of the bytes: before it, or behind it, as the architecture does.
    AtWrite,
    /// An instruction that reads one of the bytes, likewise.
    AtRead,
}

impl Breakpoint {
    /// Right before the instruction at an address.
    #[must_use]
    pub fn at_instruction(address: u64) -> Breakpoint {
        Breakpoint { stops: Stops::AtInstruction, address, length: 1 }
    }
}
