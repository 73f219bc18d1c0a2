//! Arguments for QEMU that the user adds: which of them the lab can let pass.
//!
//! ```text
//! check (reads the words) ─→ table (a row an option) ─→ rules (what a value decides)
//! ```
//!
//! Invariant: **every option has a row**: the lab's own, harmless, or for one's own command line alone. One that is
//! not in the table is never harmless.

mod check;
mod rules;
mod table;

pub use check::{Refused, check, check_cpu, check_machine, need_programs, not_harmless};
