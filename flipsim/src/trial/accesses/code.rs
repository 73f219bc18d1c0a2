//! Which code a recorded run executed, and how often: QEMU's records of blocks of code.
//!
//! ```text
//!  0        8        16   18   20  21
//!  ┌────────┬────────┬────┬────┬───┬─────┐
//!  │ offset │ runs   │ins │ len│blk│  0  │      little endian
//!  └────────┴────────┴────┴────┴───┴─────┘
//!  offset  of the first instruction in its block of RAM
//!  runs    how often it was begun
//!  ins     instructions
//!  len     bytes
//!  blk     number of the block of RAM
//! ```
//!
//! A block may begin in the middle of another one. One that an exception leaves early was begun, and counts as a whole.
//!
//! Invariant: **what is kept lies in a known block of RAM**; anything else is refused.

use super::blocks::RamBlocks;
use super::error::AccessError;

/// The bytes of a record.
const RECORD: usize = 24;

/// The most records that are believed: a byte of each of 4 GiB.
const MOST: usize = 1 << 24;

/// A block of code that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CodeBlock {
    pub(super) block: u8,
    pub(super) offset: u64,
    pub(super) instructions: u16,
    pub(super) bytes: u16,
    pub(super) runs: u64,
}

impl CodeBlock {
    /// Whether it lies in a block of RAM, and can have been executed.
    pub(super) fn is_possible(&self, blocks: &RamBlocks) -> bool {
        let fits = |length: u64| self.offset.checked_add(self.bytes.into()).is_some_and(|end| end <= length);
        blocks.block(self.block).is_some_and(|block| fits(block.length))
            && self.instructions > 0
            && self.bytes > 0
    }

    fn read(bytes: &[u8; RECORD]) -> CodeBlock {
        let [o0, o1, o2, o3, o4, o5, o6, o7, r0, r1, r2, r3, r4, r5, r6, r7, i0, i1, b0, b1, block, ..] =
            *bytes;
        CodeBlock {
            block,
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            instructions: u16::from_le_bytes([i0, i1]),
            bytes: u16::from_le_bytes([b0, b1]),
            runs: u64::from_le_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
        }
    }
}

/// The blocks of code in what QEMU wrote, in ascending order.
///
/// # Errors
/// It is cut, or a record lies in no block of RAM.
pub(super) fn read(stream: &[u8], blocks: &RamBlocks) -> Result<Vec<CodeBlock>, AccessError> {
    let wrong = |record: usize, what: &str| AccessError::Code { record, what: what.to_owned() };
    let (whole, rest) = stream.as_chunks::<RECORD>();
    if !rest.is_empty() || whole.len() > MOST {
        return Err(wrong(whole.len(), "it is cut, or there are too many"));
    }
    let mut code: Vec<CodeBlock> = whole.iter().map(CodeBlock::read).collect();
    if let Some(record) = code.iter().position(|block| !block.is_possible(blocks)) {
        return Err(wrong(record, "it lies outside of RAM, or has no instruction"));
    }
    code.sort_unstable();
    Ok(code)
}
