//! What QEMU writes in an interval: records of 16 bytes, in the order of the events.
//!
//! ```text
//!  0        8        12   14  15
//!  ┌────────┬────────┬────┬───┬───┐
//!  │ offset │ dt     │ len│blk│kin│      little endian
//!  └────────┴────────┴────┴───┴───┘
//!  offset  of the first byte in its block of RAM
//!  dt      nanoseconds from the interval's begin, no later than the access
//!  len     bytes, 1 to 4096, all of one page
//!  blk     number of the block
//!  kin     0 read, 1 overwritten, 2 read by a page-table walk, 3 of a page that was or may have been written
//! ```
//!
//! Kinds 0 and 1 are the first access of these bytes in the interval. Kind 2 counts for the whole run: a guest that was
//! marked walks again where the golden run's had the entry in its TLB.
//!
//! Invariant: **what is handed out lies in a page of a known block**; a stream with anything else is refused.

use super::blocks::{PAGE, RamBlocks};

/// The bytes of a record.
pub const RECORD: usize = 16;

/// What a record says of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first access is a read.
    Read,
    /// The first access is an overwriting.
    Overwritten,
    /// A page-table walk read them.
    Walked,
    /// Their page was or may have been written.
    PageWritten,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of the first byte, in its block.
    pub offset: u64,
    /// Nanoseconds from the interval's begin.
    pub dt: u32,
    /// How many bytes, 1 to [`PAGE`].
    pub length: u16,
    /// The number of the block.
    pub block: u8,
    /// What it says.
    pub kind: Kind,
}

impl Record {
    /// As QEMU writes it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.dt.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.length.to_le_bytes());
        bytes[14] = self.block;
        bytes[15] = self.kind as u8;
        bytes
    }

    /// Reads one; what is wrong with it, in words.
    fn read(bytes: [u8; RECORD], blocks: &RamBlocks, interval_ns: u64) -> Result<Record, String> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, t0, t1, t2, t3, l0, l1, block, kind] = bytes;
        let kind = match kind {
            0 => Kind::Read,
            1 => Kind::Overwritten,
            2 => Kind::Walked,
            3 => Kind::PageWritten,
            _ => return Err(format!("{kind} is no kind of record")),
        };
        let record = Record {
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            dt: u32::from_le_bytes([t0, t1, t2, t3]),
            length: u16::from_le_bytes([l0, l1]),
            block,
            kind,
        };
        let Record { offset, dt, length, .. } = record;
        let Some(of) = blocks.block(block) else {
            return Err(format!("there is no RAM block {block}"));
        };
        let end = offset % PAGE as u64 + u64::from(length);
        if length == 0 || end > PAGE as u64 {
            return Err(format!("{length} bytes at {offset:#x} are not within a page"));
        }
        if offset >= of.length {
            return Err(format!("{offset:#x} lies outside of RAM block {}", of.name));
        }
        if matches!(kind, Kind::Read | Kind::Overwritten) && u64::from(dt) >= interval_ns {
            return Err(format!("an access {dt} ns behind the begin of {interval_ns} ns lies outside"));
        }
        Ok(record)
    }
}

/// The records of an interval of that many nanoseconds; or the number of the first that is wrong, and what is.
pub(in crate::trial) fn records<'a>(
    stream: &'a [u8],
    blocks: &'a RamBlocks,
    interval_ns: u64,
) -> impl Iterator<Item = Result<Record, (usize, String)>> + 'a {
    let (whole, rest) = stream.as_chunks::<RECORD>();
    let count = whole.len();
    let partial = (!rest.is_empty()).then(|| Err((count, format!("it ends after {} bytes", rest.len()))));
    let whole = whole.iter().enumerate();
    whole
        .map(move |(at, bytes)| Record::read(*bytes, blocks, interval_ns).map_err(|what| (at, what)))
        .chain(partial)
}
