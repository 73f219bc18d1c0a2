//! Bit flips in the RAM and registers of a Linux guest under QEMU.

pub mod arch;
pub mod gdb;
pub mod net;
pub mod qmp;
pub mod testing;
pub mod units;
