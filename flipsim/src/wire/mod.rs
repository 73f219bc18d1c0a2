//! What goes over a socket: streams with time-outs, and clients of QEMU's gdb stub and of its monitor.
//!
//! Invariant: **nothing waits without an end**, and an answer belongs to the question that was asked.

pub mod gdb;
pub mod net;
pub mod qmp;
