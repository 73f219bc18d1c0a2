//! Guest architectures: the table of what differs between them, and what their instructions do with registers.
//!
//! Invariant: **no other folder compares an architecture's name**; what differs is a column of [`ArchRow`].
//!
//! ```text
//! table ─→ operands
//! ```
//!
//! It hands out [`Arch`] with its row, and [`Operands`].

mod operands;
mod table;

pub use operands::{Operands, RegisterPart};
pub use table::{
    ARCHS, Arch, ArchRow, KernelForm, NOT_STUCK, PageTables, SYSTEM, UnknownArch, may_be_stuck,
    of_program_counter,
};
