//! The one narrow view of a machine that faults need: read, write, stop, run.
//!
//! Implementations: [`LiveTarget`](crate::target::LiveTarget), a QEMU guest, and
//! [`FakeTarget`](crate::target::FakeTarget), a few kilobytes of memory for tests and examples.
//!
//! Invariant: memory and registers are only touched while the machine is stopped; an
//! implementation refuses otherwise.

use crate::target::error::TargetError;
use crate::units::{GuestPhys, Timing, VirtualNs};

/// A register as the machine names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The name, as in `x19` or `cpsr`.
    pub name: String,
    /// The width in bits.
    pub bits: u32,
    /// What it belongs to: `core`, `fpu`, `system`, … .
    pub class: String,
}

impl Register {
    /// The width in whole bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }
}

/// Where a machine stopped that was to run until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where its clock stood then; `None` where it cannot be asked.
    pub at: Option<VirtualNs>,
    /// How exactly that was the time asked for.
    pub timing: Timing,
    /// It stopped for its own reason before that time (a panic, a power-off): QEMU's word for it.
    pub early: Option<String>,
}

/// A machine whose memory and registers can be read and written while it is stopped.
pub trait Target {
    /// Reads `buffer.len()` bytes of physical memory.
    ///
    /// # Errors
    /// The machine is lost, runs, or has nothing at the address.
    fn read_memory(&mut self, address: GuestPhys, buffer: &mut [u8]) -> Result<(), TargetError>;

    /// Writes physical memory. Translated code made from it is dropped.
    ///
    /// # Errors
    /// As [`Target::read_memory`].
    fn write_memory(&mut self, address: GuestPhys, bytes: &[u8]) -> Result<(), TargetError>;

    /// Writes physical memory and reads the same bytes back, in one exchange where the machine can.
    ///
    /// # Errors
    /// As [`Target::read_memory`]. That `back` differs from `bytes` is no error here.
    fn write_memory_read_back(
        &mut self,
        address: GuestPhys,
        bytes: &[u8],
        back: &mut [u8],
    ) -> Result<(), TargetError> {
        self.write_memory(address, bytes)?;
        self.read_memory(address, back)
    }

    /// Reads guest-virtual memory as the current vCPU sees it.
    ///
    /// # Errors
    /// As [`Target::read_memory`]; [`TargetError::Refused`] where nothing is mapped.
    fn read_virtual(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), TargetError>;

    /// Writes guest-virtual memory as the current vCPU sees it, what may only be read included.
    ///
    /// # Errors
    /// As [`Target::read_virtual`].
    fn write_virtual(&mut self, address: u64, bytes: &[u8]) -> Result<(), TargetError>;

    /// The registers of the current vCPU, in the machine's order.
    fn registers(&self) -> &[Register];

    /// Reads the register with this place in [`Target::registers`], least significant byte first.
    ///
    /// # Errors
    /// As [`Target::read_memory`].
    fn read_register(&mut self, index: usize) -> Result<Vec<u8>, TargetError>;

    /// Writes a register, least significant byte first.
    ///
    /// # Errors
    /// As [`Target::read_memory`]. A write that the machine drops in silence is no error here: read back.
    fn write_register(&mut self, index: usize, bytes: &[u8]) -> Result<(), TargetError>;

    /// Stops the machine; nothing happens when it is stopped already.
    ///
    /// # Errors
    /// The machine is lost or does not stop in time.
    fn stop(&mut self) -> Result<(), TargetError>;

    /// Lets the machine run; nothing happens when it runs already.
    ///
    /// # Errors
    /// The machine is lost.
    fn resume(&mut self) -> Result<(), TargetError>;

    /// The machine's virtual clock, or `None` where it cannot be asked.
    ///
    /// # Errors
    /// The machine is lost.
    fn virtual_time(&mut self) -> Result<Option<VirtualNs>, TargetError>;

    /// Lets the machine run for this long on its virtual clock, and stops it there. With an exact
    /// clock it stops at that very nanosecond; otherwise the answer says where it stopped, as far as
    /// that is known.
    ///
    /// # Errors
    /// The machine is lost; [`TargetError::Missed`] when an exact clock was not.
    fn run_for(&mut self, time: VirtualNs) -> Result<Arrival, TargetError>;

    /// Lets the machine run until its virtual clock shows `time`, and stops it there. A machine that
    /// is there already does not run.
    ///
    /// # Errors
    /// As [`Target::run_for`]; [`TargetError::Refused`] when the time has passed, or the machine's clock
    /// cannot be asked.
    fn run_until(&mut self, time: VirtualNs) -> Result<Arrival, TargetError> {
        let doing = || format!("run until {time}");
        let Some(now) = self.virtual_time()? else {
            let cause = "its clock cannot be asked".to_owned();
            return Err(TargetError::Refused { doing: doing(), cause });
        };
        match time.0.checked_sub(now.0) {
            None => {
                Err(TargetError::Refused { doing: doing(), cause: format!("its clock is at {now} already") })
            }
            Some(0) => Ok(Arrival { at: Some(now), timing: self.timing(), early: None }),
            Some(left) => self.run_for(VirtualNs(left)),
        }
    }

    /// How exactly this machine keeps a time.
    fn timing(&self) -> Timing;
}
