//! Scripted stand-ins for QEMU, on real unix sockets, for tests that boot nothing.
//!
//! No part of the library proper: it is public so that the tests of every crate here can use it.
//!
//! Invariant: a fake falls into the same traps as QEMU 7.1 and 7.2 do, so a client that works
//! against it by luck does not.

pub mod fake_campaign;
pub mod fake_monitor;
pub mod fake_stub;
mod server;

pub use fake_monitor::{FakeMonitor, FakeMonitorBuilder, Misbehaviour};
pub use fake_stub::{AfterResume, FakeGuest, FakeRegister, FakeStub, FakeStubBuilder, StubFault, StubHandle};
