//! A trial: one fault, at its time, in a guest that starts from a template; compared with the golden run, and judged.
//!
//! Invariant: **an outcome depends on the template, the fault and the QEMU build alone**.

pub mod ability;
pub mod causes;
pub mod clone;
pub mod golden;
pub mod template;
mod worker;

pub use worker::*;
