//! Breakpoints, by the gdb stub.
//!
//! Invariant: a breakpoint changes when the guest stops, and nothing of its state.

use crate::target::error::TargetError;
use crate::target::live::{LiveTarget, gdb_error};
use crate::wire::gdb::{Breakpoint, GdbClient, RunState, StopReason};

impl LiveTarget {
    /// Has the stopped guest stop at a breakpoint, or no longer. It stops with the word `debug`.
    ///
    /// # Errors
    /// The guest is lost, or the stub refuses.
    pub fn set_breakpoint(&mut self, breakpoint: Breakpoint, on: bool) -> Result<(), TargetError> {
        if self.breakpoints.contains(&breakpoint) == on {
            return Ok(());
        }
        let set = self.stub().set_breakpoint(breakpoint, on);
        set.map_err(gdb_error(|| format!("set a breakpoint at {:#x}", breakpoint.address)))?;
        if on {
            self.breakpoints.insert(breakpoint);
        } else {
            self.breakpoints.remove(&breakpoint);
        }
        Ok(())
    }

    /// The address of the breakpoint for reads or writes that it stands at.
    pub fn accessed(&mut self) -> Option<u64> {
        match self.gdb.as_mut().map(GdbClient::run_state) {
            Some(Ok(RunState::Stopped(StopReason::Watchpoint(address)))) => Some(address),
            _ => None,
        }
    }
}
