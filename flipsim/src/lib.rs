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
//! # The layers
//!
//! A folder is a layer, and uses only what stands below it; files that lie beside the folders are layers of one file.
//! From the top:
//!
//! - [`report`]: the page, CSV, JSON, two campaigns side by side; `testing` (behind the feature of that name): scripted
//!   QEMUs and made-up campaigns
//! - [`pack`]: a campaign in one file, to be run on machines that have nothing of the lab
//! - [`campaign`]: specification, plan, store, workers, and what the results say in numbers
//! - [`trial`]: one fault in one guest, from the template to the outcome
//! - [`fault`]: what a fault is, where it is drawn from, how it is made; [`machine`]: a guest as a process of the host
//! - [`kernel`]: what the guest's own kernel says of its memory
//! - [`target`]: a machine that can be read, written, stopped and run; a guest under QEMU as one
//! - [`memory`]: which addresses are RAM; [`mod@arch`]: the table of architectures; [`stats`]: rates, intervals, survival,
//!   FIT; [`console`]: what a guest says; [`files`]: files that are whole or not there
//! - [`wire`]: sockets with time-outs, clients of the gdb stub and of the monitor; [`units`]: values that cannot be
//!   mixed up; [`text`]: how values are written
//!
//! `ARCHITECTURE.md` has the picture, and the walks of a fault, a guest and a byte through it.

pub mod arch;
pub mod campaign;
pub mod console;
pub mod fault;
pub mod files;
pub mod kernel;
pub mod machine;
pub mod memory;
pub mod pack;
pub mod report;
pub mod stats;
pub mod target;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod trial;
pub mod units;
pub mod wire;
