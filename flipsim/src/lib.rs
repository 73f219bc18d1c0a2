//! Bit flips in the RAM and registers of a Linux guest under QEMU.
//!
//! The library does the injection; it knows no command line. A fault is drawn from a space in which
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
//! [`FakeTarget`](target::FakeTarget) stands where [`LiveTarget`](target::LiveTarget), a guest under QEMU, stands in
//! earnest. Many such flips, each in a guest that goes on from the same state, compared with one that had no
//! fault, and judged: that is a [`campaign`].
//!
//! # The folders, from the top down
//!
//! A folder is a layer. Invariant: **a folder uses only what stands below it.**
//!
//! ```text
//! report   testing          what people read; stand-ins for tests
//!     campaign              specification, plan, store, workers, summary
//!      trial                template, clone, golden run, one fault, its outcome
//!  fault   machine          which bits, how they flip; a guest as a process of the host
//!      target               read, write, stop, run
//! memory   arch   stats   console   files
//!  wire   units   text
//! ```
//!
//! What people read:
//!
//! - [`report`]: the page, CSV, JSON, two campaigns side by side
//!
//! Many trials, and one:
//!
//! - [`campaign`]: specification, plan, store, workers, and what the results say in numbers
//! - [`trial`]: one fault at its time, in a clone of a template, compared with the golden run and judged
//!
//! A fault, and the guest that it strikes:
//!
//! - [`fault`]: fault spaces, draws, the flip and its record; the times between faults; the kernel's symbols
//! - [`machine`]: from a guest's specification to a process that is ready, and to its end
//! - [`target`]: the narrow trait; a guest under QEMU, a fake; the state of a stopped guest, and going back to it
//!
//! What these stand on:
//!
//! - [`memory`]: which addresses are RAM, and what the guest calls them
//! - [`arch`]: what is different between guest architectures: one table
//! - [`stats`]: rates, intervals, strata, survival, FIT: pure functions
//! - [`console`]: lines, markers, and what the guest's kernel reports
//! - [`files`]: whole files, locks, digests
//! - [`wire`]: sockets with time-outs, and clients of QEMU's gdb stub and of its monitor
//! - [`units`] and [`text`]: values that cannot be mixed up, hexadecimal and globs
//!
//! And for tests `testing`: scripted QEMUs and made-up campaigns.

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
