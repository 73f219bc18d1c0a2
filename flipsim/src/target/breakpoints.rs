//! Breakpoints and watchpoints, by the gdb stub.
//!
//! Invariant: they change when the guest stops, and nothing of its state.

use crate::target::error::TargetError;
use crate::target::live::{LiveTarget, gdb_error};
use crate::wire::gdb::{RunState, StopPoint, StopReason};

impl LiveTarget {
    /// Has the stopped guest stop at something, or no longer. It stops with the word `debug`.
    ///
    /// # Errors
    /// The guest is lost, or the stub refuses.
    pub fn set_stop_point(&mut self, point: StopPoint, on: bool) -> Result<(), TargetError> {
        if self.stop_points.contains(&point) == on {
            return Ok(());
        }
        let set = self.stub().set_stop_point(point, on);
        set.map_err(gdb_error(|| format!("stop at {point:x?}")))?;
        if on {
            self.stop_points.insert(point);
        } else {
            self.stop_points.remove(&point);
        }
        Ok(())
    }

    /// Whether it was a watchpoint that stopped the guest.
    pub fn is_at_watchpoint(&mut self) -> bool {
        matches!(self.stub().run_state(), Ok(RunState::Stopped(StopReason::Watchpoint(_))))
    }
}
