//! What the golden run holds, byte by byte and page by page: the content at the begin of the run, and what changed.
//!
//! Invariant: **a content is given only where it is certain**; what was written at an unknown instant of the interval is
//! not.

use std::io;

use super::blocks::{PAGE, Page, PageKey};
use super::error::AccessError;
use super::index::{Accesses, Next, byte_of};
use crate::units::{GuestPhys, VirtualNs};

/// Reads the content that RAM has at the begin of the run: from a block, from an offset in it on, as many bytes as there
/// is room for. All of them lie in one page.
pub type Base<'a> = dyn Fn(u8, u64, &mut [u8]) -> io::Result<()> + 'a;

/// The golden run's accesses, with the content that RAM has at its begin.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    accesses: &'a Accesses,
    base: &'a Base<'a>,
}

impl Accesses {
    /// With the content that RAM has at the begin of the run: the same as it was recorded with.
    #[must_use]
    pub fn contents<'a>(&'a self, base: &'a Base<'a>) -> Contents<'a> {
        Contents { accesses: self, base }
    }
}

impl Contents<'_> {
    /// What a byte holds at an instant; `None` where [`Accesses::next`] says that it is unknown.
    ///
    /// # Errors
    /// The content at the begin of the run cannot be read.
    pub fn value(&self, address: GuestPhys, at: VirtualNs) -> Result<Option<u8>, AccessError> {
        let place = self.accesses.blocks.place(address).zip(self.accesses.interval(at));
        let Some(((block, offset), interval)) = place else { return Ok(None) };
        if self.accesses.next_in(block, offset, interval, at) == Next::Unknown {
            return Ok(None);
        }
        let number = u32::try_from(interval).map_err(|_| AccessError::TooMany)?;
        let page = self.accesses.page_of(block, offset);
        if let Some(byte) = page.and_then(|page| page.deltas.byte(byte_of(offset).into(), number)) {
            return Ok(Some(byte));
        }
        let mut byte = [0];
        self.read(block, offset, &mut byte)?;
        Ok(Some(byte[0]))
    }

    /// What the page that holds a byte of a block holds when the guest stops at an instant: see
    /// [`Accesses::instants`]; 0 is the begin of the run.
    ///
    /// # Errors
    /// The content at the begin of the run cannot be read, or there is no such instant or page.
    pub fn page(&self, block: u8, offset: u64, instant: usize) -> Result<Page, AccessError> {
        let number = u32::try_from(instant).map_err(|_| AccessError::TooMany)?;
        let known = self.accesses.blocks.block(block).is_some_and(|block| offset < block.length);
        if !known || instant >= self.accesses.instants.len() {
            let what = format!("instant {instant} of a page outside of RAM, or of the run");
            let cause = io::Error::new(io::ErrorKind::InvalidInput, what);
            return Err(self.failed(block, offset, cause));
        }
        let mut page = [0; PAGE];
        self.read(block, PageKey::of(block, offset).offset(), &mut page)?;
        if let Some(entry) = self.accesses.page_of(block, offset) {
            entry.deltas.apply(number, &mut page);
        }
        Ok(page)
    }

    /// All contents that the pages of a block have when the guest stops, but for those at the begin of the run: the
    /// page's offset, the first instant of the content (see [`Accesses::instants`]), and the content.
    ///
    /// # Errors
    /// The content at the begin of the run cannot be read.
    pub fn each(&self, block: u8, see: &mut dyn FnMut(u64, usize, &Page)) -> Result<(), AccessError> {
        let of_block = |key: &PageKey| key.block() == block;
        for (key, entry) in self.accesses.pages.iter().filter(|(key, _)| of_block(key)) {
            if entry.deltas.ends().is_empty() {
                continue;
            }
            let mut page = [0; PAGE];
            self.read(block, key.offset(), &mut page)?;
            entry
                .deltas
                .each(&mut page, &mut |interval, page| see(key.offset(), interval as usize + 1, page));
        }
        Ok(())
    }

    fn read(&self, block: u8, offset: u64, to: &mut [u8]) -> Result<(), AccessError> {
        (self.base)(block, offset, to).map_err(|cause| self.failed(block, offset, cause))
    }

    fn failed(&self, block: u8, offset: u64, cause: io::Error) -> AccessError {
        AccessError::Page { block: self.accesses.blocks.name(block), offset, cause }
    }
}
