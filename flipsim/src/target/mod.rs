//! A machine that can be read, written, stopped and run: the trait, a guest under QEMU, and a fake.
//!
//! Invariants: **memory is only touched while the machine is stopped. A guest is left as it was found.**
//!
//! It hands out the trait [`Target`], its implementations [`LiveTarget`] and [`FakeTarget`], and the state of a stopped
//! guest as digests: by a patched QEMU ([`StateDigest`], and how it hashes: [`page_hash`]), or by any ([`state`]).

mod accesses;
mod breakpoints;
mod capabilities;
pub(crate) mod digest;
mod error;
mod fake;
mod interface;
mod live;
mod marks;
pub mod page_hash;
mod silence;
pub mod state;
mod stuck;
mod times;
mod virtual_memory;

pub use accesses::{AccessHook, RecordedBlock, RecordedInterval, RecordedRam, RecordedRange};
pub use capabilities::Capabilities;
pub use digest::{
    ChangedPage, DeviceSection, Digest128, StateChange, StateDigest, describe, devices_between, pages_between,
};
pub use error::{AttachError, MarkError, TargetError};
pub use fake::FakeTarget;
pub use interface::{Arrival, Register, Target};
pub use live::{LiveTarget, VirtualClock, WALL_TIME};
pub use marks::EXCEPTION_STORM;
pub use silence::{SILENCE, Silence};
pub use stuck::{MOST_STUCK, StuckByte, StuckPlace};
