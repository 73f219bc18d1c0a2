//! What goes over a socket: streams with time-outs, and clients of QEMU's gdb stub and of its monitor.
//!
//! Invariant: **nothing waits without an end, and an answer belongs to the question that was asked**.
//!
//! It hands out [`net`] (endpoints and streams), [`gdb`] (the stub) and [`qmp`] (the monitor).

pub mod gdb;
pub mod net;
pub mod qmp;
