//! A machine that can be read, written, stopped and run: the trait, a guest under QEMU, and a fake.
//!
//! Invariants: **memory is only touched while the machine is stopped. A guest is left as it was found.**

pub mod interface;
pub mod live;
pub mod marks;
pub mod state;

pub use interface::*;
