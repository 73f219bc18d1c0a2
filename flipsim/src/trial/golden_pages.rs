//! Which pages of the golden run are not as in the template at each recorded instant, by their digests.
//!
//! Invariant: a digest is QEMU's own of the same content.

use std::collections::BTreeMap;

use crate::target::{ChangedPage, Digest128, page_hash};
use crate::trial::accesses::{AccessError, Contents, PAGE, Page};

/// More pages that differ are not looked at: so much is hardly ever dead.
const PAGES: usize = 16;

/// The pages of the golden run that are not as in the template, by their offset, with their digests at each instant from
/// which they have it.
#[derive(Debug, Default)]
pub(super) struct GoldenPages(BTreeMap<u64, Vec<(usize, Digest128)>>);

impl GoldenPages {
    /// Of the block of this number and name.
    pub fn new(contents: &Contents<'_>, block: u8, name: &str) -> Result<GoldenPages, AccessError> {
        let mut pages: BTreeMap<u64, Vec<(usize, Digest128)>> = BTreeMap::new();
        let space = page_hash::space_of(name);
        let mut base: (Option<u64>, Page) = (None, [0; PAGE]);
        let mut failed = None;
        contents.each(block, &mut |offset, instant, page| {
            if base.0 != Some(offset) {
                match contents.page(block, offset, 0) {
                    Ok(page) => base = (Some(offset), page),
                    Err(error) => failed = Some(error),
                }
            }
            let digest = page_hash::of_page(space, offset / PAGE as u64, page, &base.1);
            pages.entry(offset).or_default().push((instant, digest));
        })?;
        failed.map_or(Ok(GoldenPages(pages)), Err)
    }

    /// The digest of a page at an instant; 0 where it is as in the template.
    fn at(&self, offset: u64, instant: usize) -> Digest128 {
        let digests = self.0.get(&offset).map_or(&[][..], Vec::as_slice);
        let behind = digests.partition_point(|(from, _)| *from <= instant);
        behind.checked_sub(1).map_or(Digest128(0), |last| digests[last].1)
    }

    /// The pages that differ, by their offset; `None` where pages of other blocks are among them, or too many.
    pub fn differing(&self, here: &[ChangedPage], block: &str, instant: usize) -> Option<Vec<u64>> {
        let mut found = Vec::new();
        let mut there = BTreeMap::new();
        for page in here {
            if page.block == block {
                there.insert(page.offset, page.digest);
            }
        }
        for offset in self.0.keys().chain(there.keys()) {
            let digest = there.get(offset).copied().unwrap_or(Digest128(0));
            if digest != self.at(*offset, instant) {
                found.push(*offset);
            }
        }
        found.sort_unstable();
        found.dedup();
        (found.len() <= PAGES).then_some(found)
    }
}
