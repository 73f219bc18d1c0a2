//! Bit flips in the RAM and registers of a Linux guest under QEMU.
//!
//! The library carries out the injection; it knows no command line. A fault is drawn from a space in which
//! every possible one is equally likely, flipped in a stopped machine, and read back:
//!
//! ```
//! use flipsim::fault::{FaultSpace, Pattern, RamSpace, fault_rng, flip};
//! use flipsim::memory::RangeSet;
//! use flipsim::target::FakeTarget;
//!
//! let range = "0x40000000+64K".parse()?;
//! let mut machine = FakeTarget::new(range);
//! let bytes: RangeSet = [range].into_iter().collect();
//! let space = FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE)?);
//! assert_eq!(space.len(), 64 * 1024 * 8);
//!
//! let fault = space.draw(&mut fault_rng(42, 0));
//! let done = flip(&mut machine, &fault)?;
//! assert_eq!(done.old[0] ^ done.new[0], fault.mask()[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`FakeTarget`](target::FakeTarget) stands where [`LiveTarget`](live::LiveTarget), a guest under QEMU, stands in
//! earnest. Many such flips, each in a guest that goes on from the same state, compared with one that had no
//! fault, and judged: that is a [`campaign`].
//!
//! # The modules, as the data flows
//!
//! A guest, and the ways to it:
//!
//! - [`arch`]: what is different between guest architectures: one table
//! - [`machine`]: from a guest's specification to a process that is ready
//! - [`net`]: sockets with time-outs
//! - [`gdb`], [`qmp`]: clients of QEMU's gdb stub and of its monitor
//! - [`target`]: the narrow trait: read, write, stop, run; and its fake
//! - [`live`]: a guest under QEMU as a target
//!
//! A fault:
//!
//! - [`memory`]: which addresses are RAM, and what the guest calls them
//! - [`symbols`]: the addresses of the running kernel's symbols
//! - [`fault`]: fault spaces, draws, and the flip
//! - [`schedule`]: the times between faults
//! - [`record`]: what is written down of a flip
//!
//! The same guest again and again:
//!
//! - [`target`]: what this QEMU can do of all this
//! - [`template`]: a guest saved when it was ready
//! - [`clone`](mod@clone): processes that go on from there, copy-on-write
//! - [`mark`]: a state inside QEMU, to go back to
//! - [`state`]: a stopped guest as digests, and where two differ
//! - [`golden`]: what a guest does without a fault
//!
//! Trials, and what they say:
//!
//! - [`trial`]: one fault, carried out and observed
//! - [`classify`]: what the guest's console says, and which outcome that is
//! - [`campaign`]: specification, plan, store, workers; what came of it in numbers
//! - [`stats`]: rates, intervals, strata, survival, FIT: pure functions
//! - [`report`]: the page, CSV, JSON, two campaigns side by side
//!
//! And for all of them [`units`], values that cannot be mixed up, and [`testing`], scripted QEMUs and made-up
//! campaigns.

pub mod arch;
pub mod campaign;
pub mod console;
pub mod fault;
pub mod files;
pub mod machine;
pub mod memory;
pub mod report;
pub mod stats;
pub mod target;
pub mod testing;
pub mod text;
pub mod trial;
pub mod units;
pub mod wire;
