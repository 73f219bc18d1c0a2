//! The one narrow view of a machine that faults need: read, write, stop, run.
//!
//! Implementations: [`crate::target::live::LiveTarget`], a QEMU guest, and [`FakeTarget`], a few kilobytes
//! of memory for tests and examples.
//!
//! Invariant: memory and registers are only touched while the machine is stopped; an
//! implementation refuses otherwise.

use std::collections::BTreeMap;

use crate::memory::PhysRange;

use crate::units::Timing;
use crate::units::{GuestPhys, VirtualNs};

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

/// What can go wrong between us and the machine.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The machine, or the way to it, is gone.
    #[error("lost the guest while trying to {doing}: {cause}")]
    Lost {
        /// What was under way.
        doing: String,
        /// What the protocol client said.
        cause: String,
    },
    /// The machine answered that it will not.
    #[error("the guest refused to {doing}: {cause}")]
    Refused {
        /// What was under way.
        doing: String,
        /// What the protocol client said.
        cause: String,
    },
    /// The machine runs; memory and registers are out of reach.
    #[error("cannot {doing} while the guest runs; stop it first")]
    Running {
        /// What was asked for.
        doing: String,
    },
    /// The machine did not stop at the time asked for, although its clock is exact.
    #[error(
        "the guest stopped at {at} where {wanted} was asked for: this QEMU's clock is not exact after all"
    )]
    Missed {
        /// The time asked for.
        wanted: VirtualNs,
        /// Where it stopped.
        at: VirtualNs,
    },
    /// The caller wants no more.
    #[error("interrupted while the guest ran")]
    Interrupted,
}

/// Where a machine stopped that was to run until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where its clock stood then; `None` where it cannot be asked.
    pub at: Option<VirtualNs>,
    /// How exactly that was the time asked for.
    pub timing: Timing,
    /// It stopped for a reason of its own before that time (a panic, a power-off): QEMU's word for it.
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

/// A machine of a few kilobytes, for tests and examples. It starts stopped.
#[derive(Debug, Clone)]
pub struct FakeTarget {
    first: GuestPhys,
    ram: Vec<u8>,
    registers: Vec<Register>,
    values: Vec<Vec<u8>>,
    writable: Vec<Vec<u8>>,
    stuck: BTreeMap<u64, u8>,
    running: bool,
    clock: u64,
    /// How often the machine was stopped.
    pub stops: usize,
}

impl FakeTarget {
    /// A machine with zeroed RAM over `range` and no register.
    ///
    /// # Panics
    /// The range is larger than this host's memory can be.
    #[must_use]
    pub fn new(range: PhysRange) -> Self {
        let size = usize::try_from(range.len()).expect("a fake guest fits the host's memory");
        FakeTarget {
            first: range.first,
            ram: vec![0; size],
            registers: Vec::new(),
            values: Vec::new(),
            writable: Vec::new(),
            stuck: BTreeMap::new(),
            running: false,
            clock: 0,
            stops: 0,
        }
    }

    /// Adds a zeroed register; only the bits set in `writable` (least significant byte first) take a write.
    #[must_use]
    pub fn with_register(mut self, name: &str, bits: u32, class: &str, writable: &[u8]) -> Self {
        let register = Register { name: name.to_owned(), bits, class: class.to_owned() };
        let mut mask = writable.to_vec();
        mask.resize(register.bytes(), 0);
        self.values.push(vec![0; register.bytes()]);
        self.writable.push(mask);
        self.registers.push(register);
        self
    }

    /// Makes the bits of one byte of RAM refuse every write.
    #[must_use]
    pub fn with_stuck_bits(mut self, address: GuestPhys, bits: u8) -> Self {
        self.stuck.insert(address.0, bits);
        self
    }

    /// All of RAM.
    #[must_use]
    pub fn ram(&self) -> &[u8] {
        &self.ram
    }

    fn stopped(&self, doing: &str) -> Result<(), TargetError> {
        if self.running { Err(TargetError::Running { doing: doing.to_owned() }) } else { Ok(()) }
    }

    fn offset(&self, address: GuestPhys, len: usize, doing: &str) -> Result<usize, TargetError> {
        let offset = address.0.checked_sub(self.first.0).and_then(|o| usize::try_from(o).ok());
        offset.filter(|o| o.checked_add(len).is_some_and(|end| end <= self.ram.len())).ok_or_else(|| {
            TargetError::Refused { doing: doing.to_owned(), cause: format!("nothing at {address}") }
        })
    }
}

impl Target for FakeTarget {
    fn read_memory(&mut self, address: GuestPhys, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.stopped("read memory")?;
        let offset = self.offset(address, buffer.len(), "read memory")?;
        buffer.copy_from_slice(&self.ram[offset..offset + buffer.len()]);
        Ok(())
    }

    fn write_memory(&mut self, address: GuestPhys, bytes: &[u8]) -> Result<(), TargetError> {
        self.stopped("write memory")?;
        let offset = self.offset(address, bytes.len(), "write memory")?;
        for (index, byte) in bytes.iter().enumerate() {
            let stuck = self.stuck.get(&(address.0 + index as u64)).copied().unwrap_or(0);
            let cell = &mut self.ram[offset + index];
            *cell = (*cell & stuck) | (byte & !stuck);
        }
        Ok(())
    }

    fn registers(&self) -> &[Register] {
        &self.registers
    }

    fn read_register(&mut self, index: usize) -> Result<Vec<u8>, TargetError> {
        self.stopped("read a register")?;
        Ok(self.values[index].clone())
    }

    fn write_register(&mut self, index: usize, bytes: &[u8]) -> Result<(), TargetError> {
        self.stopped("write a register")?;
        for ((cell, mask), byte) in self.values[index].iter_mut().zip(&self.writable[index]).zip(bytes) {
            *cell = (*cell & !mask) | (byte & mask);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), TargetError> {
        if self.running {
            self.running = false;
            self.stops += 1;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), TargetError> {
        if !self.running {
            self.running = true;
            self.clock += 1_000;
        }
        Ok(())
    }

    fn virtual_time(&mut self) -> Result<Option<VirtualNs>, TargetError> {
        Ok(Some(VirtualNs(self.clock)))
    }

    fn run_for(&mut self, time: VirtualNs) -> Result<Arrival, TargetError> {
        self.running = false;
        self.clock += time.0;
        self.stops += 1;
        Ok(Arrival { at: Some(VirtualNs(self.clock)), timing: Timing::Exact, early: None })
    }

    fn timing(&self) -> Timing {
        Timing::Exact
    }
}
