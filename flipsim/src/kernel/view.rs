//! What a stopped guest has in its RAM, by physical addresses and by those of its kernel.
//!
//! Invariant: **nothing is written, and nothing that RAM holds is believed**: a pointer that leads nowhere gives nothing, and no
//! list is followed without an end. What was read once is not read again: the guest stands still.

use std::collections::HashMap;
use std::io;

use crate::arch::PageTables;
use crate::kernel::types::Field;
use crate::target::Target;
use crate::units::GuestPhys;

/// Where the bytes of a stopped guest's RAM are read.
pub trait Ram {
    /// Reads physical memory; whether there is RAM at all of these addresses.
    ///
    /// # Errors
    /// The guest is lost.
    fn read(&mut self, at: GuestPhys, into: &mut [u8]) -> io::Result<bool>;
}

/// A stopped machine, some 50 µs a page by a gdb stub.
impl Ram for &mut dyn Target {
    fn read(&mut self, at: GuestPhys, into: &mut [u8]) -> io::Result<bool> {
        match self.read_memory(at, into) {
            Ok(()) => Ok(true),
            Err(crate::target::TargetError::Refused { .. }) => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// The bytes of a page frame.
pub const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

/// Where a kernel's page tables begin.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The first table.
    pub at: GuestPhys,
    /// How many levels of them there are.
    pub levels: u32,
    /// What their entries mean.
    pub tables: &'static PageTables,
}

/// Where an entry of a page table leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// To the next table.
    Table(u64),
    /// To memory.
    Memory(u64),
}

impl Root {
    /// How many bits of an address are below a level, of which the last is 1.
    fn shift(level: u32) -> u32 {
        3 + 9 * level
    }

    /// Where an entry of a table leads; `None` of one that leads nowhere.
    #[must_use]
    pub fn entry(&self, entry: u64, level: u32) -> Option<Entry> {
        let tables = self.tables;
        if entry & tables.present == 0 {
            return None;
        }
        let at = entry & tables.address;
        let is_block = entry & tables.block.0 == tables.block.1;
        match level {
            1 => Some(Entry::Memory(at)),
            // No architecture has larger blocks.
            2 | 3 if is_block => Some(Entry::Memory(at & !((1 << Root::shift(level)) - 1))),
            _ if is_block => None,
            _ => Some(Entry::Table(at)),
        }
    }
}

/// A stopped guest's RAM, and its kernel's addresses.
pub struct View<'a> {
    ram: &'a mut dyn Ram,
    root: Root,
    pages: HashMap<u64, Option<Box<Page>>>,
    known: HashMap<u64, Option<u64>>,
    lost: Option<io::Error>,
    /// How many pages were read.
    reads: usize,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("root", &self.root).field("reads", &self.reads).finish_non_exhaustive()
    }
}

impl<'a> View<'a> {
    /// A guest that stands still as long as this lives.
    pub fn new(ram: &'a mut dyn Ram, root: Root) -> Self {
        View { ram, root, pages: HashMap::new(), known: HashMap::new(), lost: None, reads: 0 }
    }

    /// Where its kernel's page tables begin.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root
    }

    /// How many pages were read of it.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads
    }

    /// Whether all was read that was asked for: what is found otherwise is worth nothing.
    ///
    /// # Errors
    /// The guest is lost.
    pub fn check(&mut self) -> io::Result<()> {
        self.lost.take().map_or(Ok(()), Err)
    }

    fn page(&mut self, at: u64) -> Option<&Page> {
        let View { ram, pages, lost, reads, .. } = self;
        let page = pages.entry(at / PAGE).or_insert_with(|| {
            let mut page = Box::new([0; PAGE as usize]);
            *reads += 1;
            match ram.read(GuestPhys(at / PAGE * PAGE), &mut page[..]) {
                Ok(true) => Some(page),
                Ok(false) => None,
                Err(error) => {
                    *lost = Some(error);
                    None
                }
            }
        });
        page.as_deref()
    }

    /// Reads at a physical address.
    pub fn physical(&mut self, mut at: u64, mut into: &mut [u8]) -> Option<()> {
        while !into.is_empty() {
            let inside = usize::try_from(at % PAGE).ok()?;
            let length = into.len().min(PAGE as usize - inside);
            let page = self.page(at)?;
            into[..length].copy_from_slice(&page[inside..inside + length]);
            into = &mut into[length..];
            at = at.checked_add(length as u64)?;
        }
        Some(())
    }

    /// The number of eight bytes at a physical address.
    pub fn physical_word(&mut self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.physical(at, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Where one of the kernel's addresses is; `None` of one that is not mapped.
    pub fn phys(&mut self, at: u64) -> Option<u64> {
        let page = at / PAGE;
        if let Some(known) = self.known.get(&page) {
            return Some((*known)? + at % PAGE);
        }
        let found = self.walk(self.root.at.0, at);
        self.known.insert(page, found);
        Some(found? + at % PAGE)
    }

    /// The page frame of an address by these tables.
    pub fn walk(&mut self, table: u64, at: u64) -> Option<u64> {
        let mut table = table;
        for level in (1..=self.root.levels).rev() {
            let index = at >> Root::shift(level) & 0x1ff;
            let entry = self.physical_word(table + index * 8)?;
            match self.root.entry(entry, level)? {
                Entry::Table(next) => table = next,
                Entry::Memory(first) => {
                    let inside = at & ((1 << Root::shift(level)) - 1);
                    return Some(first + inside / PAGE * PAGE);
                }
            }
        }
        None
    }

    /// All entries of a table that lead somewhere: the first address of each, and where it leads.
    pub fn entries(&mut self, table: u64, level: u32, first: u64) -> Vec<(u64, Entry)> {
        let Some(page) = self.page(table) else { return Vec::new() };
        let words: Vec<u64> = page.chunks_exact(8).map(crate::units::little_endian).collect();
        let at = |index: u64| first.wrapping_add(index << Root::shift(level));
        (0..)
            .zip(words)
            .filter_map(|(index, word)| Some((at(index), self.root.entry(word, level)?)))
            .collect()
    }

    /// Reads at one of the kernel's addresses.
    pub fn read(&mut self, mut at: u64, mut into: &mut [u8]) -> Option<()> {
        while !into.is_empty() {
            let length = into.len().min(usize::try_from(PAGE - at % PAGE).ok()?);
            let place = self.phys(at)?;
            self.physical(place, &mut into[..length])?;
            into = &mut into[length..];
            at = at.checked_add(length as u64)?;
        }
        Some(())
    }

    /// The number of eight bytes there.
    pub fn word(&mut self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The number that a member has, of a structure there.
    pub fn get(&mut self, of: u64, field: Field) -> Option<u64> {
        let mut bytes = [0; 8];
        let size = usize::try_from(field.size).ok()?.min(8);
        self.read(of.checked_add(field.offset)?, &mut bytes[..size])?;
        let all = u64::from_le_bytes(bytes);
        Some(match field.bits {
            Some((low, width)) => all >> low & (u64::MAX >> (64 - width.clamp(1, 64))),
            None => all,
        })
    }

    /// The text there, which ends with a zero or after so many bytes.
    pub fn text(&mut self, at: u64, most: usize) -> Option<String> {
        let mut bytes = Vec::new();
        while bytes.len() < most {
            let here = at.checked_add(bytes.len() as u64)?;
            let length = (most - bytes.len()).min(usize::try_from(PAGE - here % PAGE).ok()?).min(64);
            let mut piece = vec![0; length];
            self.read(here, &mut piece)?;
            let end = piece.iter().position(|byte| *byte == 0);
            bytes.extend_from_slice(&piece[..end.unwrap_or(length)]);
            if end.is_some() {
                break;
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The members of a list of the kernel's with this head, the head itself left out; those up to where it breaks.
    pub fn list(&mut self, head: u64) -> Vec<u64> {
        let (mut found, mut seen) = (Vec::new(), std::collections::HashSet::from([head]));
        let mut next = self.word(head);
        while let Some(at) = next.filter(|at| *at != 0 && seen.insert(*at) && found.len() < MOST) {
            found.push(at);
            next = self.word(at);
        }
        found
    }
}

/// A longer list is broken.
pub const MOST: usize = 1 << 20;

#[cfg(test)]
mod tests;
