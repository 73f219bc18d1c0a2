//! Takes what QEMU writes in each interval of the golden run, and keeps it in few bytes.
//!
//! Invariant: **all that QEMU has written of an interval is kept, or nothing is known of the whole run**: after an error
//! each answer is unknown.

use std::collections::HashMap;
use std::io;

use super::blocks::{PAGE, Page, PageKey, RamBlocks};
use super::contents::Base;
use super::error::AccessError;
use super::events::Event;
use super::index::{Accesses, PageEntry, byte_of};
use super::recent::Recent;
use super::stream::{Kind, Record, records};
use super::vcpu::Vcpu;
use crate::units::VirtualNs;

/// How many contents of pages are kept while recording, and at most as many again: 64 MiB each time.
const CONTENTS: usize = 1 << 14;

/// Reads the content that a page of a block has now.
pub type Now<'a> = dyn FnMut(u8, u64, &mut Page) -> io::Result<()> + 'a;

/// The recording of a golden run.
pub struct Recorder<'a> {
    accesses: Accesses,
    base: Box<Base<'a>>,
    pages: HashMap<PageKey, PageEntry>,
    contents: Recent,
    /// Whether something of an interval is missing.
    failed: bool,
    // What is used again for each interval.
    touched: Vec<Record>,
    written: Vec<PageKey>,
    events: Vec<Event>,
    scratch: Vec<u8>,
}

impl<'a> Recorder<'a> {
    /// Of a run that begins now. `base` reads the content that RAM has at its begin: from a block, from an offset in it
    /// on, a whole page.
    pub fn new(
        begin: VirtualNs,
        blocks: RamBlocks,
        base: impl Fn(u8, u64, &mut [u8]) -> io::Result<()> + 'a,
    ) -> Self {
        Recorder {
            accesses: Accesses {
                blocks,
                instants: vec![begin],
                pages: Vec::new(),
                records: 0,
                events: 0,
                unseen: 0,
                vcpu: Vcpu::default(),
                code: Vec::new(),
            },
            base: Box::new(base),
            pages: HashMap::new(),
            contents: Recent::new(CONTENTS),
            failed: false,
            touched: Vec::new(),
            written: Vec::new(),
            events: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// With so many contents of pages kept while recording, and at most as many again. What is not kept is made from the
    /// content at the begin of the run when it is written again: the result is the same.
    #[must_use]
    pub fn with_contents(mut self, pages: usize) -> Self {
        self.contents = Recent::new(pages);
        self
    }

    /// Takes what QEMU wrote in the interval that ends now, while the guest stands still at its end. `page` reads the
    /// content that a page of a block has now; it is asked for the pages that were or may have been written, by block and
    /// offset in ascending order.
    ///
    /// # Errors
    /// The interval has no length, a record is wrong, a byte has two first accesses, or a page cannot be read.
    pub fn interval(&mut self, end: VirtualNs, stream: &[u8], page: &mut Now<'_>) -> Result<(), AccessError> {
        let failed = std::mem::replace(&mut self.failed, true);
        let interval = self.accesses.instants.len() - 1;
        let number = u32::try_from(interval).map_err(|_| AccessError::TooMany)?;
        let begin = self.accesses.instants[interval];
        let Some(length) = end.0.checked_sub(begin.0).filter(|length| *length > 0) else {
            return Err(AccessError::Backwards { begin, end });
        };
        self.touched.clear();
        self.written.clear();
        for record in records(stream, &self.accesses.blocks, length) {
            let record = record.map_err(|(record, what)| AccessError::Stream { interval, record, what })?;
            let key = PageKey::of(record.block, record.offset);
            match record.kind {
                Kind::Read => self.touched.push(record),
                Kind::Overwritten => {
                    self.touched.push(record);
                    self.written.push(key);
                }
                Kind::Walked => {
                    self.pages.entry(key).or_default().walk(byte_of(record.offset), record.length);
                }
                Kind::PageWritten => self.written.push(key),
            }
        }
        self.note(interval, number)?;
        self.look(number, page)?;
        self.accesses.instants.push(end);
        self.failed = failed;
        Ok(())
    }

    /// Notes the accesses of the interval, page by page.
    fn note(&mut self, interval: usize, number: u32) -> Result<(), AccessError> {
        self.touched.sort_unstable_by_key(|record| (record.block, record.offset));
        let again = |pair: &&[Record]| {
            let [one, other] = pair else { return false };
            one.block == other.block && other.offset < one.offset + u64::from(one.length)
        };
        if let Some([_, twice, ..]) = self.touched.windows(2).find(again) {
            let block = self.accesses.blocks.name(twice.block);
            return Err(AccessError::Twice { interval, block, offset: twice.offset });
        }
        let key = |record: &Record| PageKey::of(record.block, record.offset);
        for of_page in self.touched.chunk_by(|one, other| key(one) == key(other)) {
            self.events.clear();
            for record in of_page {
                let event = Event {
                    first: byte_of(record.offset),
                    length: record.length,
                    overwrites: record.kind == Kind::Overwritten,
                    dt: record.dt,
                };
                match self.events.last_mut() {
                    Some(last)
                        if last.end() == event.first
                            && (last.overwrites, last.dt) == (event.overwrites, event.dt) =>
                    {
                        last.length += event.length;
                    }
                    _ => self.events.push(event),
                }
            }
            self.accesses.records += of_page.len() as u64;
            self.accesses.events += self.events.len() as u64;
            let page = self.pages.entry(key(&of_page[0])).or_default();
            page.log.push(number, &self.events, &mut self.scratch);
        }
        Ok(())
    }

    /// Looks at the pages that were written. What changed in them has been accessed; where no record says so, the writer
    /// was not seen, and the byte is unknown for the whole run.
    fn look(&mut self, number: u32, page: &mut Now<'_>) -> Result<(), AccessError> {
        self.written.sort_unstable();
        self.written.dedup();
        for key in &self.written {
            let (block, offset) = (key.block(), key.offset());
            let failed = |cause| AccessError::Page { block: self.accesses.blocks.name(block), offset, cause };
            let mut before = match self.contents.take(*key) {
                Some(content) => content,
                None => {
                    let mut content = Box::new([0; PAGE]);
                    (self.base)(block, offset, &mut *content).map_err(failed)?;
                    if let Some(entry) = self.pages.get(key) {
                        entry.deltas.apply(number, &mut content);
                    }
                    content
                }
            };
            let mut after = [0; PAGE];
            page(block, offset, &mut after).map_err(failed)?;
            if *before != after {
                let entry = self.pages.entry(*key).or_default();
                let seen = of_page(&self.touched, *key);
                for byte in
                    unseen(&before, &after, seen).filter(|byte| !entry.is_walked(*byte)).collect::<Vec<_>>()
                {
                    entry.walk(byte, 1);
                    self.accesses.unseen += 1;
                }
                entry.deltas.push(number, &before, &after);
                *before = after;
            }
            self.contents.keep(*key, before);
        }
        Ok(())
    }

    /// Ends the recording. Of one that failed nothing is known.
    #[must_use]
    pub fn finish(self) -> Accesses {
        let mut accesses = self.accesses;
        if self.failed {
            accesses.instants.truncate(1);
            (accesses.records, accesses.events, accesses.unseen) = (0, 0, 0);
            return accesses;
        }
        accesses.pages = self.pages.into_iter().collect();
        accesses.pages.sort_unstable_by_key(|(key, _)| *key);
        for (_, page) in &mut accesses.pages {
            page.log.shrink();
            page.deltas.shrink();
        }
        accesses
    }
}

/// The records of a page, of those of all pages in their order.
fn of_page(touched: &[Record], key: PageKey) -> &[Record] {
    let of = |record: &Record| PageKey::of(record.block, record.offset);
    let begin = touched.partition_point(|record| of(record) < key);
    let end = touched.partition_point(|record| of(record) <= key);
    &touched[begin..end]
}

/// The bytes of a page that changed though none of its records has them.
fn unseen<'a>(before: &'a Page, after: &'a Page, records: &[Record]) -> impl Iterator<Item = u16> + use<'a> {
    let mut seen = [false; PAGE];
    for record in records {
        let first = usize::from(byte_of(record.offset));
        seen[first..first + usize::from(record.length)].fill(true);
    }
    let bytes = (0u16..).zip(before.iter().zip(after)).zip(seen);
    bytes.filter(|((_, (before, after)), seen)| before != after && !seen).map(|((byte, _), _)| byte)
}
