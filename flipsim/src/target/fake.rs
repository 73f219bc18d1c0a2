//! A machine made of memory and registers, for tests and examples.
//!
//! Invariant: it refuses access while it runs, and access where nothing is, as a guest under QEMU is to.

use std::collections::BTreeMap;

use crate::memory::PhysRange;
use crate::target::error::TargetError;
use crate::target::interface::{Arrival, Register, Target};
use crate::units::{GuestPhys, Timing, VirtualNs};

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

    fn read_virtual(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.read_memory(GuestPhys(address), buffer)
    }

    fn write_virtual(&mut self, address: u64, bytes: &[u8]) -> Result<(), TargetError> {
        self.write_memory(GuestPhys(address), bytes)
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
