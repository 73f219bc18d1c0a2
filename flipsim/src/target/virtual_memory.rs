//! Guest-virtual memory, as the current vCPU sees it.
//!
//! Invariant: **behind each access addresses are physical again**, whatever came of it.

use crate::target::error::TargetError;
use crate::target::live::{LiveTarget, gdb_error};
use crate::units::{GuestPhys, parse_number};
use crate::wire::gdb::{GdbClient, GdbError};

impl LiveTarget {
    /// Where a virtual address is in physical memory, of one that is mapped.
    ///
    /// # Errors
    /// The guest is lost.
    pub fn physical(&mut self, address: u64) -> Result<Option<GuestPhys>, TargetError> {
        let said = self.stub().monitor(&format!("gva2gpa {address:#x}"));
        let said = said.map_err(gdb_error(|| format!("find the virtual address {address:#x}")))?;
        let place = said.trim().strip_prefix("gpa:").map(str::trim);
        Ok(place.and_then(|place| parse_number(place).ok()).map(GuestPhys))
    }

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
