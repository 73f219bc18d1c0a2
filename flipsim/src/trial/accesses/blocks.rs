//! The blocks of RAM that QEMU has, and where the guest sees them; and one with a byte for each register.
//!
//! Invariant: **each address of the guest is a byte of one block at most, and a part never leaves its block**.

use super::error::AccessError;
use crate::memory::PhysRange;
use crate::units::GuestPhys;

/// The bytes of a page. RAM blocks have whole pages.
pub const PAGE: usize = 4096;

/// The content of a page.
pub type Page = [u8; PAGE];

/// The largest block: an offset and the number of its block share 64 bits.
const LONGEST: u64 = 1 << 52;

/// The name of the block with a byte for each register.
pub(super) const REGISTERS: &str = "registers";

/// A block of RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number in the records.
    pub number: u8,
    /// QEMU's name for it.
    pub name: String,
    /// Its bytes, a multiple of [`PAGE`].
    pub length: u64,
}

/// A part of a block, where the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// What the guest sees of it.
    pub range: PhysRange,
    /// The number of the block.
    pub block: u8,
    /// Where in the block that starts.
    pub offset: u64,
}

/// All blocks, and all parts that the guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamBlocks {
    blocks: Vec<Block>,
    parts: Vec<Part>,
    registers: Vec<String>,
}

impl RamBlocks {
    /// Of what QEMU says, in any order. A block may be seen in several places, or in none.
    ///
    /// # Errors
    /// Two blocks have the same number, a length is not a number of whole pages, a part leaves its block, or two parts
    /// share an address.
    pub fn new(
        blocks: impl IntoIterator<Item = Block>,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Self, AccessError> {
        let wrong = |what: String| Err(AccessError::Blocks(what));
        let mut blocks: Vec<Block> = blocks.into_iter().collect();
        let mut parts: Vec<Part> = parts.into_iter().collect();
        blocks.sort_by_key(|block| block.number);
        parts.sort_unstable();
        if let Some(pair) = blocks.windows(2).find(|pair| pair[0].number == pair[1].number) {
            return wrong(format!("{} and {} have one number", pair[0].name, pair[1].name));
        }
        for Block { name, length, .. } in &blocks {
            if !length.is_multiple_of(PAGE as u64) || *length > LONGEST {
                return wrong(format!("{name} has {length} bytes, which are not whole pages, or too many"));
            }
        }
        if let Some(pair) = parts.windows(2).find(|pair| pair[1].range.first <= pair[0].range.last) {
            return wrong(format!("{} and {} share addresses", pair[0].range, pair[1].range));
        }
        let table = RamBlocks { blocks, parts, registers: Vec::new() };
        for Part { range, block, offset } in &table.parts {
            let Some(of) = table.block(*block) else {
                return wrong(format!("{range} belongs to block {block}, which is not there"));
            };
            if offset.checked_add(range.len()).is_none_or(|end| end > of.length) {
                return wrong(format!("{range} at {offset:#x} leaves block {}", of.name));
            }
        }
        Ok(table)
    }

    /// With registers, which have a byte each in a block behind the last one.
    ///
    /// # Errors
    /// There are more than a page has bytes, or too many blocks.
    pub fn with_registers(mut self, registers: Vec<String>) -> Result<Self, AccessError> {
        let number = match self.blocks.last() {
            Some(last) => last.number.checked_add(1),
            None => Some(0),
        };
        let Some(number) = number.filter(|_| registers.len() <= PAGE && self.registers.is_empty()) else {
            return Err(AccessError::Blocks(format!("{} registers are too many", registers.len())));
        };
        if !registers.is_empty() {
            self.blocks.push(Block { number, name: REGISTERS.to_owned(), length: PAGE as u64 });
            self.registers = registers;
        }
        Ok(self)
    }

    /// The registers.
    #[must_use]
    pub fn registers(&self) -> &[String] {
        &self.registers
    }

    /// The block and the offset in it that stand for a register; `None` of one whose use is not recorded.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<(u8, u64)> {
        let at = self.registers.iter().position(|register| register == name)?;
        Some((self.blocks.last()?.number, at as u64))
    }

    /// The blocks without that of the registers.
    pub(super) fn of_ram(&self) -> &[Block] {
        &self.blocks[..self.blocks.len() - usize::from(!self.registers.is_empty())]
    }

    /// The blocks by their numbers.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The parts by their addresses.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The block of a number.
    #[must_use]
    pub fn block(&self, number: u8) -> Option<&Block> {
        let at = self.blocks.binary_search_by_key(&number, |block| block.number).ok()?;
        self.blocks.get(at)
    }

    /// The block and the offset in it that the guest sees at an address; `None` where it sees no RAM.
    #[must_use]
    pub fn place(&self, address: GuestPhys) -> Option<(u8, u64)> {
        let behind = self.parts.partition_point(|part| part.range.first <= address);
        let part = self.parts[..behind].last().filter(|part| part.range.contains(address))?;
        Some((part.block, part.offset + (address.0 - part.range.first.0)))
    }

    /// Where the guest sees a byte of a block: of several places the first.
    #[must_use]
    pub fn address(&self, block: u8, offset: u64) -> Option<GuestPhys> {
        let shows = |part: &&Part| {
            part.block == block && offset.checked_sub(part.offset).is_some_and(|from| from < part.range.len())
        };
        let part = self.parts.iter().find(shows)?;
        Some(GuestPhys(part.range.first.0 + (offset - part.offset)))
    }

    /// The block's name, or its number where it has none.
    pub(super) fn name(&self, number: u8) -> String {
        self.block(number).map_or_else(|| format!("{number}"), |block| block.name.clone())
    }
}

/// A page of a block: the block's number above the page's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PageKey(pub(super) u64);

/// The bits of the number of a page: those of [`LONGEST`], without those of the offset in a page.
const NUMBER: u32 = 40;

impl PageKey {
    /// The page that holds a byte of a block.
    pub(super) fn of(block: u8, offset: u64) -> PageKey {
        PageKey((u64::from(block) << NUMBER) | (offset / PAGE as u64))
    }

    /// The number of the block.
    pub(super) fn block(self) -> u8 {
        (self.0 >> NUMBER) as u8
    }

    /// Where the page begins in its block.
    pub(super) fn offset(self) -> u64 {
        (self.0 & ((1 << NUMBER) - 1)) * PAGE as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u8, length: u64) -> Block {
        Block { number, name: format!("ram{number}"), length }
    }

    fn part(first: u64, last: u64, block: u8, offset: u64) -> Part {
        Part { range: PhysRange::new(GuestPhys(first), GuestPhys(last)).unwrap(), block, offset }
    }

    #[test]
    fn an_address_is_a_byte_of_a_block_or_nothing() {
        let blocks = [block(3, 0x4000), block(0, 0x1000)];
        let parts =
            [part(0x1000_0000, 0x1000_0fff, 3, 0x2000), part(0, 0x1fff, 3, 0), part(0x5001, 0x5002, 0, 1)];
        let table = RamBlocks::new(blocks, parts).unwrap();
        let place = |at| table.place(GuestPhys(at));
        assert_eq!(place(0), Some((3, 0)));
        assert_eq!((place(0x1fff), place(0x2000)), (Some((3, 0x1fff)), None));
        assert_eq!((place(0x1000_0001), place(0x1000_1000)), (Some((3, 0x2001)), None));
        assert_eq!((place(0x5000), place(0x5001), place(0x5003)), (None, Some((0, 1)), None));
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let wrong = |blocks: &[Block], parts: &[Part]| {
            RamBlocks::new(blocks.to_vec(), parts.to_vec()).unwrap_err().to_string()
        };
        assert!(wrong(&[block(1, 4096), block(1, 4096)], &[]).contains("one number"));
        assert!(wrong(&[block(1, 4095)], &[]).contains("whole pages"));
        assert!(wrong(&[block(1, 1 << 53)], &[]).contains("whole pages"));
        assert!(wrong(&[block(1, 4096)], &[part(0, 9, 2, 0)]).contains("not there"));
        assert!(wrong(&[block(1, 4096)], &[part(0, 4095, 1, 1)]).contains("leaves block ram1"));
        assert!(wrong(&[block(1, 4096)], &[part(0, 9, 1, u64::MAX)]).contains("leaves block ram1"));
        assert!(wrong(&[block(1, 4096)], &[part(9, 12, 1, 0), part(0, 9, 1, 0)]).contains("share addresses"));
    }

    #[test]
    fn the_key_of_a_page_says_where_it_is() {
        let key = PageKey::of(255, LONGEST - 1);
        assert_eq!((key.block(), key.offset()), (255, LONGEST - 4096));
        assert!(PageKey::of(1, LONGEST - 1) < PageKey::of(2, 0));
    }
}
