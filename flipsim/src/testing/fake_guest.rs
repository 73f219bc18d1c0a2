//! A guest made of memory and registers, behind the fakes.
//!
//! Invariant: as in QEMU, a read where nothing is gives zeroes, and a write to a read-only register is dropped
//! in silence.

use std::ops::Range;

/// A register of the fake guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRegister {
    /// Its name in the description.
    pub name: String,
    /// Its number; written as `regnum` when it does not follow the register before it.
    pub number: u32,
    /// The file of the description that it stands in, without `.xml`, which is its feature as well.
    pub file: String,
    /// Its content in the guest's order; the length is its width.
    pub bytes: Vec<u8>,
    /// Writes are answered with "OK" and dropped, as with the system registers of AArch64.
    pub read_only: bool,
}

/// The machine behind the stub.
#[derive(Debug, Clone, Default)]
pub struct FakeGuest {
    /// RAM, as pieces with the guest physical address that each starts at.
    pub ram: Vec<(u64, Vec<u8>)>,
    /// Guest physical addresses at which a device listens.
    pub mmio: Vec<Range<u64>>,
    /// What was written to devices: address and bytes.
    pub mmio_writes: Vec<(u64, Vec<u8>)>,
    /// The register file.
    pub registers: Vec<FakeRegister>,
    /// Guest virtual address = guest physical address + this.
    pub virtual_offset: u64,
    /// How often the guest was resumed.
    pub resumes: u64,
}

impl FakeGuest {
    /// Reads guest physical memory; zeroes where nothing is, as from QEMU's unassigned memory.
    #[must_use]
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        (0..length as u64).map(|at| self.byte(address.wrapping_add(at)).unwrap_or(0)).collect()
    }

    /// Writes guest physical memory: to RAM, or to the device that listens there, or nowhere.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        if self.mmio.iter().any(|range| range.contains(&address)) {
            self.mmio_writes.push((address, bytes.to_vec()));
            return;
        }
        for (at, byte) in (0..).zip(bytes) {
            let address = address.wrapping_add(at);
            for (start, piece) in &mut self.ram {
                let place = address.checked_sub(*start).and_then(|at| usize::try_from(at).ok());
                if let Some(cell) = place.and_then(|place| piece.get_mut(place)) {
                    *cell = *byte;
                }
            }
        }
    }

    /// The register of this name.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<&FakeRegister> {
        self.registers.iter().find(|register| register.name == name)
    }

    /// Sets a register from inside the guest, where read-only ones change too.
    pub fn set_register(&mut self, name: &str, bytes: &[u8]) {
        if let Some(register) = self.registers.iter_mut().find(|register| register.name == name) {
            register.bytes = bytes.to_vec();
        }
    }

    fn byte(&self, address: u64) -> Option<u8> {
        self.ram.iter().find_map(|(start, piece)| {
            let at = usize::try_from(address.checked_sub(*start)?).ok()?;
            piece.get(at).copied()
        })
    }

    pub(super) fn is_memory(&self, address: u64, length: u64) -> bool {
        (0..length).all(|at| {
            let address = address.wrapping_add(at);
            self.byte(address).is_some() || self.mmio.iter().any(|range| range.contains(&address))
        })
    }

    pub(super) fn file(&self, name: &str) -> Option<String> {
        let mut files: Vec<&str> = Vec::new();
        for register in &self.registers {
            if !files.contains(&register.file.as_str()) {
                files.push(&register.file);
            }
        }
        if name == "target.xml" {
            // As QEMU writes it: the prefix xi is declared nowhere.
            let includes: String =
                files.iter().map(|file| format!("<xi:include href=\"{file}.xml\"/>")).collect();
            return Some(format!(
                "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>\
                 <architecture>aarch64</architecture>{includes}</target>"
            ));
        }
        let file = name.strip_suffix(".xml").filter(|file| files.contains(file))?;
        let mut text = format!(
            "<?xml version=\"1.0\"?>\n<!-- Written by the fake. -->\n\
             <!DOCTYPE feature SYSTEM \"gdb-target.dtd\">\n<feature name=\"org.gnu.gdb.{file}\">\n"
        );
        let mut expected = None;
        for register in &self.registers {
            if register.file == file {
                let bits = register.bytes.len() * 8;
                text += &format!("  <reg name=\"{}\" bitsize=\"{bits}\"", register.name);
                if expected != Some(register.number) {
                    text += &format!(" regnum=\"{}\"", register.number);
                }
                text += "/>\n";
                expected = Some(register.number + 1);
            }
        }
        Some(text + "</feature>\n")
    }
}
