//! Processes that go on from a template, copy-on-write.
//!
//! Invariant: **a clone writes nothing of its template's, and leaves neither process nor folder**.
//!
//! It hands out [`CloneGuest`], started by [`CloneOptions`], [`Folder`], a place for one guest, and [`sweep`], which removes
//! what killed processes left; and [`GuestRam`], what a stopped one has in its RAM.

pub(super) mod guest;
pub(super) mod ram;
mod written;

pub use guest::{CloneDisk, CloneGuest, CloneOptions, Folder, sweep};
pub use ram::{GuestRam, ProcessRam};
