//! Bit flips in the RAM and registers of a Linux guest under QEMU.

pub mod arch;
pub mod fault;
pub mod gdb;
pub mod live;
pub mod machine;
pub mod memory;
pub mod net;
pub mod qmp;
pub mod record;
pub mod symbols;
pub mod target;
pub mod testing;
pub mod units;
