//! What the host has: its programs and packages, its KVM, and the running of its commands.
//!
//! Invariant: **a command of the host ends with this process**, and what it says is kept or shown.

pub mod ask;
pub mod cargo;
pub mod kvm;
pub mod needs;
pub mod proc;
