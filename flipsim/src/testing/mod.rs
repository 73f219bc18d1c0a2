//! Scripted stand-ins for QEMU, on real unix sockets, and made-up campaigns, for tests that boot nothing.
//!
//! No part of the library proper: it is behind the cargo feature `testing`, for the tests of every crate here.
//!
//! Invariant: **a fake has the same traps as QEMU 7.1 and 7.2**, so a client that works
//! against it by luck does not.
//!
//! It hands out [`FakeStub`] and [`FakeMonitor`], which can act on one [`FakeGuest`], and campaigns without a guest
//! ([`fake_campaign`], [`hostile_campaign`]). [`guest_campaign`] is for tests that do boot one.

pub mod fake_campaign;
mod fake_guest;
mod fake_monitor;
mod fake_stub;
pub mod guest_campaign;
pub mod hostile_campaign;
mod server;
mod stub_server;

pub use fake_guest::{FakeGuest, FakeRegister};
pub use fake_monitor::{FakeMonitor, FakeMonitorBuilder, Misbehaviour};
pub use fake_stub::{FakeStub, FakeStubBuilder, StubHandle};
pub use stub_server::{AfterResume, StubFault};
