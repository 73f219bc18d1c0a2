//! What a guest's own kernel says of its memory, read from outside while it is stopped.
//!
//! ```text
//! symbols ─┐
//! types ───┴→ known ─→ tasks, slab, areas, files, frames ─→ objects ─→ chosen, naming
//!             view (RAM, page tables) ──┘
//! ```
//!
//! Invariants: **nothing of the guest changes, and no code of it runs. What cannot be known is a coarser kind**, and nothing that RAM
//! holds is believed: a fault may have changed it.
//!
//! It hands out [`Kernel`], which is found once in a guest, and [`Objects`], which hold for an instant.

mod areas;
mod chosen;
mod files;
mod frames;
mod known;
mod naming;
mod objects;
mod slab;
pub mod symbols;
mod tasks;
mod types;
mod view;

pub use areas::VirtualArea;
pub use chosen::{Chosen, ChosenTextError, TaskPart};
pub use known::{Kernel, KernelError};
pub use objects::{Kind, Objects, Owner, Section};
pub use slab::{Cache, Slab};
pub use tasks::{Area, Part, Space, Task};
pub use types::{Array, Field, Types, TypesError};
pub use view::{Entry, Ram, Root, View};
