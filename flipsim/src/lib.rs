//! Bit flips in the RAM and registers of a Linux guest under QEMU.

pub mod arch;
pub mod kconfig;
pub mod units;
