//! What comes next for a byte at an instant.
//!
//! Invariant: **where it is not certain what comes next, the answer is [`Next::Unknown`]**: for bytes outside of RAM,
//! instants outside of the run, bytes that a page-table walk reads, and a first access in the instant's own interval
//! that may lie before it.

use super::blocks::{PAGE, Page, PageKey, RamBlocks};
use super::code::{self, CodeBlock};
use super::deltas::Deltas;
use super::error::AccessError;
use super::events::Log;
use super::vcpu::Vcpu;
use crate::fault::Executed;
use crate::units::{GuestPhys, VirtualNs};

/// The next access of a byte from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// None until the end of the run.
    Never,
    /// It is overwritten before it is read.
    Overwritten {
        /// No later than that.
        from: VirtualNs,
        /// Behind that: the end of its interval.
        by: VirtualNs,
    },
    /// It is read.
    Read {
        /// No later than that.
        from: VirtualNs,
    },
    /// Not certain.
    Unknown,
}

/// The next accesses of several bytes that change at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextOfAll {
    /// None is read, and these are not overwritten until the end of the run.
    Never {
        /// In the order in which they were asked for; one at least.
        bytes: Vec<GuestPhys>,
    },
    /// All are overwritten before they are read.
    Overwritten {
        /// No later than the first of that.
        from: VirtualNs,
        /// Behind the last of that: the end of its interval.
        by: VirtualNs,
    },
    /// One at least is read.
    Read {
        /// No later than the first access of any, be it a read or an overwriting.
        from: VirtualNs,
    },
    /// Not certain for one at least.
    Unknown,
}

/// How much was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Intervals.
    pub intervals: usize,
    /// QEMU's records of accesses: kinds 0 and 1.
    pub records: u64,
    /// What is kept of them: those that adjoin and are equal in all else are one.
    pub events: u64,
    /// Pages of which anything was recorded.
    pub pages: usize,
    /// Pages that hold page tables, or some bytes of such.
    pub walked: usize,
    /// What changed in a page in an interval.
    pub deltas: u64,
    /// Bytes that changed in an interval though no record says that they were accessed. They are unknown for the whole
    /// run; one at all means that a writer is not recorded, and that readers may be missing as well.
    pub unseen: u64,
    /// Bytes in memory.
    pub bytes: usize,
}

/// Bytes of a page that are unknown for the whole run, as a page-table walk reads them, a bit each.
pub(super) type Walked = [u64; PAGE / 64];

/// What was recorded of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageEntry {
    pub(super) log: Log,
    pub(super) walked: Option<Box<Walked>>,
    pub(super) deltas: Deltas,
}

impl PageEntry {
    /// Marks bytes as those that a page-table walk reads.
    pub(super) fn walk(&mut self, first: u16, length: u16) {
        let walked = self.walked.get_or_insert_with(|| Box::new([0; PAGE / 64]));
        for byte in usize::from(first)..usize::from(first) + usize::from(length) {
            walked[byte / 64] |= 1 << (byte % 64);
        }
    }

    /// Whether a page-table walk reads the byte.
    pub(super) fn is_walked(&self, byte: u16) -> bool {
        let byte = usize::from(byte);
        self.walked.as_ref().is_some_and(|walked| walked[byte / 64] >> (byte % 64) & 1 != 0)
    }
}

/// The golden run's accesses, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accesses {
    pub(super) blocks: RamBlocks,
    /// Where intervals begin, and the end of the last one.
    pub(super) instants: Vec<VirtualNs>,
    /// In ascending order.
    pub(super) pages: Vec<(PageKey, PageEntry)>,
    pub(super) records: u64,
    pub(super) events: u64,
    pub(super) unseen: u64,
    /// At the end; with no register where that is not known.
    pub(super) vcpu: Vcpu,
    /// What was executed, in ascending order; nothing where that is not known.
    pub(super) code: Vec<CodeBlock>,
}

impl Accesses {
    /// The vCPU's part of the state at the end.
    #[must_use]
    pub fn vcpu(&self) -> &Vcpu {
        &self.vcpu
    }

    /// With the vCPU's part of the state at the end, whose registers are those of the blocks, in the same order.
    #[must_use]
    pub fn with_vcpu(self, vcpu: Vcpu) -> Self {
        Accesses { vcpu, ..self }
    }

    /// With what QEMU wrote of the code that the run executed.
    ///
    /// # Errors
    /// It is cut, or a record lies in no block of RAM.
    pub fn with_code(self, stream: &[u8]) -> Result<Self, AccessError> {
        Ok(Accesses { code: code::read(stream, &self.blocks)?, ..self })
    }

    /// The code that the run executed, where the guest sees it; nothing where QEMU does not count it.
    pub fn executed(&self) -> impl Iterator<Item = Executed> + '_ {
        self.code.iter().filter_map(|code| {
            Some(Executed {
                first: self.blocks.address(code.block, code.offset)?,
                instructions: code.instructions.into(),
                runs: code.runs,
            })
        })
    }

    /// The blocks of RAM, and where the guest sees them.
    #[must_use]
    pub fn blocks(&self) -> &RamBlocks {
        &self.blocks
    }

    /// The instants at which the guest was stopped, in order: where intervals begin, and where the last one ends.
    #[must_use]
    pub fn instants(&self) -> &[VirtualNs] {
        &self.instants
    }

    /// The interval that an instant lies in; `None` outside of the run.
    #[must_use]
    pub fn interval(&self, at: VirtualNs) -> Option<usize> {
        let behind = self.instants.partition_point(|begin| *begin <= at);
        (behind < self.instants.len()).then(|| behind.checked_sub(1)).flatten()
    }

    /// What comes next for a byte that changes at an instant.
    #[must_use]
    pub fn next(&self, address: GuestPhys, at: VirtualNs) -> Next {
        let place = self.blocks.place(address).zip(self.interval(at));
        place.map_or(Next::Unknown, |((block, offset), interval)| self.next_in(block, offset, interval, at))
    }

    /// What comes next for a byte of a block that changes at an instant.
    #[must_use]
    pub fn next_of(&self, block: u8, offset: u64, at: VirtualNs) -> Next {
        self.interval(at).map_or(Next::Unknown, |interval| self.next_in(block, offset, interval, at))
    }

    /// The same of a byte of a block, in the interval that the instant lies in.
    pub(super) fn next_in(&self, block: u8, offset: u64, interval: usize, at: VirtualNs) -> Next {
        let Some(page) = self.page_of(block, offset) else { return Next::Never };
        let byte = byte_of(offset);
        if page.is_walked(byte) {
            return Next::Unknown;
        }
        let Ok(from) = u32::try_from(interval) else { return Next::Unknown };
        let Some((interval, event)) = page.log.first(byte, from) else { return Next::Never };
        let interval = interval as usize;
        let (Some(begin), Some(by)) = (self.instants.get(interval), self.instants.get(interval + 1)) else {
            return Next::Unknown;
        };
        let from = VirtualNs(begin.0 + u64::from(event.dt));
        match event.overwrites {
            _ if from < at => Next::Unknown,
            true => Next::Overwritten { from, by: *by },
            false => Next::Read { from },
        }
    }

    /// What comes next for bytes that change together at an instant. Of no bytes nothing is certain.
    #[must_use]
    pub fn of(&self, bytes: &[GuestPhys], at: VirtualNs) -> NextOfAll {
        let (mut never, mut read) = (Vec::new(), false);
        let (mut first, mut last): (Option<VirtualNs>, Option<VirtualNs>) = (None, None);
        for byte in bytes {
            match self.next(*byte, at) {
                Next::Unknown => return NextOfAll::Unknown,
                Next::Never => never.push(*byte),
                Next::Read { from } => {
                    read = true;
                    first = Some(first.map_or(from, |first| first.min(from)));
                }
                Next::Overwritten { from, by } => {
                    first = Some(first.map_or(from, |first| first.min(from)));
                    last = last.max(Some(by));
                }
            }
        }
        match (first, last) {
            (Some(from), _) if read => NextOfAll::Read { from },
            _ if !never.is_empty() => NextOfAll::Never { bytes: never },
            (Some(from), Some(by)) => NextOfAll::Overwritten { from, by },
            _ => NextOfAll::Unknown,
        }
    }

    /// How much was recorded, and what it takes.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let own = self.pages.capacity() * size_of::<(PageKey, PageEntry)>();
        let pages = self.pages.iter().map(|(_, page)| {
            let walked = page.walked.as_ref().map_or(0, |_| size_of::<Walked>());
            page.log.size() + page.deltas.size() + walked
        });
        Figures {
            intervals: self.instants.len().saturating_sub(1),
            records: self.records,
            events: self.events,
            pages: self.pages.len(),
            walked: self.pages.iter().filter(|(_, page)| page.walked.is_some()).count(),
            unseen: self.unseen,
            deltas: self.pages.iter().map(|(_, page)| page.deltas.ends().len() as u64).sum(),
            bytes: own + self.instants.capacity() * size_of::<VirtualNs>() + pages.sum::<usize>(),
        }
    }

    /// What was recorded of the page that holds a byte of a block.
    pub(super) fn page_of(&self, block: u8, offset: u64) -> Option<&PageEntry> {
        let key = PageKey::of(block, offset);
        let at = self.pages.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(&self.pages[at].1)
    }
}

/// The number of a byte in its page.
pub(super) fn byte_of(offset: u64) -> u16 {
    (offset % size_of::<Page>() as u64) as u16
}
