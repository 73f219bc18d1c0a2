//! The content of a clone's RAM, read from outside while its guest is stopped.
//!
//! Invariant: nothing of the guest changes, and QEMU need not be asked.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::kernel::Ram;
use crate::memory::MemoryMap;
use crate::trial::clone::written::{Mapping, mappings_of};
use crate::units::GuestPhys;

/// The memory of a process that maps a file privately.
#[derive(Debug)]
pub struct ProcessRam {
    memory: File,
    mappings: Vec<Mapping>,
}

impl ProcessRam {
    /// Of the process that maps this file.
    ///
    /// # Errors
    /// It does not, or this system does not show another process's memory.
    pub fn open(pid: u32, file: &Path) -> io::Result<ProcessRam> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let mappings = mappings_of(&maps, std::fs::metadata(file)?.ino());
        Ok(ProcessRam { memory: File::open(format!("/proc/{pid}/mem"))?, mappings })
    }

    /// The bytes that the process has from this offset of the file on.
    ///
    /// # Errors
    /// It does not map all of them, or has ended.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(into.len() as u64);
        let has = |mapping: &&Mapping| {
            mapping.offset <= offset && end <= mapping.offset + (mapping.end - mapping.start)
        };
        let mapping = self.mappings.iter().find(has).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("bytes at {offset:#x} are not mapped"))
        })?;
        self.memory.read_exact_at(into, mapping.start + (offset - mapping.offset))
    }
}

/// A clone's RAM by the guest's addresses: a page takes a microsecond or two, where the gdb stub takes fifty.
#[derive(Debug)]
pub struct GuestRam<'a> {
    /// The process.
    pub ram: &'a ProcessRam,
    /// Where the guest has its RAM.
    pub map: &'a MemoryMap,
}

impl Ram for GuestRam<'_> {
    fn read(&mut self, at: GuestPhys, into: &mut [u8]) -> io::Result<bool> {
        let Some(offset) = self.map.offset_of(at) else { return Ok(false) };
        match self.ram.read(offset, into) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mapped_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 8192]).unwrap();
        let ram = ProcessRam::open(std::process::id(), file.path()).unwrap();
        assert_eq!(ram.read(0, &mut [0; 16]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
