//! Guest-virtual memory, as the current vCPU sees it.
//!
//! Invariant: **behind each access addresses are physical again**, whatever came of it.

use crate::target::error::TargetError;
use crate::target::live::{LiveTarget, gdb_error};
use crate::wire::gdb::{GdbClient, GdbError};

impl LiveTarget {
    /// Does something to memory at a virtual address.
    pub(super) fn virtually(
        &mut self,
        address: u64,
        access: impl FnOnce(&mut GdbClient) -> Result<(), GdbError>,
    ) -> Result<(), TargetError> {
        let stub = self.stub();
        let done = stub.set_physical_memory(false).and_then(|()| access(stub));
        let back = stub.set_physical_memory(true);
        done.and(back).map_err(gdb_error(|| format!("use memory at the virtual address {address:#x}")))
    }
}
