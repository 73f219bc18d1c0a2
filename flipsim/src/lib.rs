//! Bit flips in the RAM and registers of a Linux guest under QEMU.
//!
//! The library carries out the injection; it knows no command line. The modules in the order of the
//! data flow: a guest is specified and started ([`machine`]), reached ([`net`], [`gdb`], [`qmp`],
//! [`live`]), saved once and started from there again and again ([`template`], [`clone`](mod@clone),
//! [`mark`]), its memory is mapped ([`memory`], [`symbols`]), faults are drawn from a space and
//! carried out on a [`target`] ([`fault`]), and recorded ([`record`]); many of them are planned and kept
//! together ([`campaign`]); what the guest's console says of it is put into classes ([`classify`]). What
//! many such trials say together is computed in [`stats`].
//!
//! A flip, on the fake machine:
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

pub mod ability;
pub mod arch;
pub mod campaign;
pub mod causes;
pub mod classify;
pub mod clone;
pub mod fault;
pub mod gdb;
pub mod golden;
pub mod kconfig;
pub mod live;
pub mod machine;
pub mod mark;
pub mod memory;
pub mod net;
pub mod qmp;
pub mod record;
pub mod report;
pub mod schedule;
pub mod state;
pub mod stats;
pub mod symbols;
pub mod target;
pub mod template;
pub mod testing;
pub mod trial;
pub mod units;
