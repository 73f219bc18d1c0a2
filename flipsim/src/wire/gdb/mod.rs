//! The gdb remote protocol, spoken to QEMU's stub directly: no gdb process is involved.
//!
//! Source: "Debugging with GDB", appendix "Remote Serial Protocol", and QEMU's `gdbstub.c` (7.1),
//! `gdbstub/gdbstub.c` (7.2).
//!
//! Invariant: **an answer belongs to the question that was asked**. Stop replies that were not asked for are set
//! aside, and a link that lost count of its answers refuses to go on.
//!
//! It hands out [`GdbClient`] with its errors, the stub's registers ([`RegisterInfo`]), the reasons of a stop
//! ([`StopReason`]), and the packets themselves ([`codec`]).

mod breakpoint;
mod client;
pub mod codec;
mod description;
mod error;
mod link;
mod stop;

pub use crate::wire::net::Timeouts;
pub use breakpoint::{Breakpoint, Stops};
pub use client::GdbClient;
pub use description::{DescriptionError, RegisterInfo, read_description};
pub use error::GdbError;
pub use stop::{RunState, StopReason};
