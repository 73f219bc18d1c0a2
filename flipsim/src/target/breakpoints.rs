//! Breakpoints, by the gdb stub.
//!
//! Invariant: a breakpoint changes when the guest stops, and nothing of its state.

use crate::target::error::TargetError;
use crate::target::live::{LiveTarget, gdb_error};

impl LiveTarget {
    /// Has the stopped guest stop right before the instruction at a virtual address, whichever address space is in force; or
    /// no longer. It stops with the word `debug`.
    ///
    /// # Errors
    /// The guest is lost, or the stub refuses.
    pub fn set_breakpoint(&mut self, address: u64, on: bool) -> Result<(), TargetError> {
        if self.breakpoints.contains(&address) == on {
            return Ok(());
        }
        let set = self.stub().set_breakpoint(address, on);
        set.map_err(gdb_error(|| format!("set a breakpoint at {address:#x}")))?;
        if on {
            self.breakpoints.insert(address);
        } else {
            self.breakpoints.remove(&address);
        }
        Ok(())
    }
}
