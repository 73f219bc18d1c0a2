//! Which pages of a privately mapped file a process has written, and which of them differ from the file.
//!
//! Source: Linux, `Documentation/admin-guide/mm/pagemap.rst`. A page of a private mapping that was written
//! is no longer the file's: bit 61 of its entry is clear. A copy may still have the file's content.
//!
//! Invariant: the process is looked at from outside; QEMU's own word on its state is not used.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::files::go_on;
use crate::target::state::{PageDigest, short_digest};

const PAGE: u64 = 4096;

/// So many pages are looked at between two questions whether to go on.
const ASK: usize = 256;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_A_FILE: u64 = 1 << 61;

/// A piece of a process's address space that shows a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Where in the file it starts.
    pub offset: u64,
}

/// A page, by its offset in the file, with the digest of its content in the process.
pub type WrittenPage = (u64, PageDigest);

/// The pages whose content in the process is not that in `file`, in the file's order; `interrupted` is asked often.
pub fn differing(pid: u32, file: &Path, interrupted: fn() -> bool) -> io::Result<Vec<WrittenPage>> {
    let meta = std::fs::metadata(file)?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mappings = mappings_of(&maps, meta.ino());
    if mappings.is_empty() {
        let text = format!("process {pid} does not map {}", file.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let (pagemap, memory) =
        (File::open(format!("/proc/{pid}/pagemap"))?, File::open(format!("/proc/{pid}/mem"))?);
    let base = File::open(file)?;
    let mut found = Vec::new();
    let mut entries = vec![0; 64 * 1024];
    let (mut now, mut before) = (vec![0; 4096], vec![0; 4096]);
    for mapping in mappings {
        let mut at = mapping.start;
        while at < mapping.end {
            let count = ((mapping.end - at) / PAGE).min(entries.len() as u64 / 8);
            let bytes = usize::try_from(count * 8).map_err(io::Error::other)?;
            pagemap.read_exact_at(&mut entries[..bytes], at / PAGE * 8)?;
            for (index, entry) in entries[..bytes].chunks_exact(8).enumerate() {
                if index % ASK == 0 {
                    go_on(interrupted)?;
                }
                let entry = u64::from_le_bytes(entry.try_into().map_err(io::Error::other)?);
                if !is_written(entry) {
                    continue;
                }
                let address = at + index as u64 * PAGE;
                let offset = mapping.offset + (address - mapping.start);
                memory.read_exact_at(&mut now, address)?;
                base.read_exact_at(&mut before, offset)?;
                if now != before {
                    found.push((offset, short_digest(&now)));
                }
            }
            at += count * PAGE;
        }
    }
    Ok(found)
}

fn is_written(entry: u64) -> bool {
    entry & SWAPPED != 0 || (entry & PRESENT != 0 && entry & OF_A_FILE == 0)
}

/// The writable private mappings of the file with this inode in the text of `/proc/PID/maps`.
pub(super) fn mappings_of(maps: &str, inode: u64) -> Vec<Mapping> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, modes, offset) = (words.next()?, words.next()?, words.next()?);
        let number: u64 = words.nth(1)?.parse().ok()?;
        let (start, end) = range.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let mapping = Mapping { start: hex(start)?, end: hex(end)?, offset: hex(offset)? };
        (number == inode && modes.starts_with("rw") && modes.ends_with('p')).then_some(mapping)
    };
    maps.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writable_private_mappings_of_the_file_count() {
        let maps = "7f00-9f00 rw-p 00001000 fe:01 77 /cache/ram\n\
                    a000-b000 r--s 00000000 fe:01 77 /cache/ram\n\
                    c000-d000 rw-p 00000000 fe:01 78 /other\n\
                    e000-f000 rw-p 00000000 00:00 0\n";
        assert_eq!(mappings_of(maps, 77), [Mapping { start: 0x7f00, end: 0x9f00, offset: 0x1000 }]);
        assert!(mappings_of("garbage\n\n-", 77).is_empty());
    }

    #[test]
    fn an_entry_shows_whether_its_page_was_written() {
        assert!(!is_written(0), "never touched");
        assert!(!is_written(PRESENT | OF_A_FILE), "read only");
        assert!(is_written(PRESENT));
        assert!(is_written(SWAPPED | OF_A_FILE));
    }

    #[test]
    fn a_process_that_does_not_map_the_file_is_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = differing(std::process::id(), file.path(), || false).unwrap_err();
        assert!(error.to_string().contains("does not map"), "{error}");
    }
}
