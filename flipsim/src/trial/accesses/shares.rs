//! How much of a space is settled: exactly, over each byte and each nanosecond, as [`Accesses::next`] answers there.
//!
//! A byte's first accesses cut the run into stretches. From the end of an interval with one, up to and with the instant of
//! the next one, the answer is what that is; behind that, to the end of its interval, it is unknown; behind the last, the
//! byte is never accessed again.
//!
//! Invariant: **never + overwritten + live is the number of bytes times the number of nanoseconds**.

use super::blocks::{PAGE, PageKey};
use super::index::{Accesses, PageEntry};
use crate::memory::{PhysRange, RangeSet};
use crate::units::{GuestPhys, VirtualNs};

/// Bytes times nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Not accessed again until the end of the run.
    pub never: u128,
    /// Overwritten before they are read.
    pub overwritten: u128,
    /// Read first, or unknown.
    pub live: u128,
    /// The part of `live` that is read first, as far as is known.
    pub read: u128,
}

impl Shares {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.never + self.overwritten + self.live
    }

    fn add(&mut self, other: Shares) {
        self.never += other.never;
        self.overwritten += other.overwritten;
        self.live += other.live;
        self.read += other.read;
    }
}

/// Instants that are counted: stretches in order and apart, each with how many come before it.
struct Counted {
    stretches: Vec<(u64, u64, u64)>,
    total: u64,
}

impl Counted {
    /// Those of [`begin`, `end`) in stretches given as their first nanosecond and the first behind them.
    fn new(begin: VirtualNs, end: VirtualNs, times: &[(VirtualNs, VirtualNs)]) -> Self {
        let mut sorted: Vec<(u64, u64)> = times
            .iter()
            .map(|(from, to)| (from.max(&begin).0, to.min(&end).0))
            .filter(|(from, to)| from < to)
            .collect();
        sorted.sort_unstable();
        let mut counted = Counted { stretches: Vec::new(), total: 0 };
        for (from, to) in sorted {
            let from = counted.stretches.last().map_or(from, |(_, end, _)| from.max(*end));
            if from < to {
                counted.stretches.push((from, to, counted.total));
                counted.total += to - from;
            }
        }
        counted
    }

    /// How many lie before an instant.
    fn before(&self, at: u64) -> u64 {
        // Most often it is the whole run.
        if let [(from, to, _)] = self.stretches[..] {
            return at.clamp(from, to) - from;
        }
        let behind = self.stretches.partition_point(|(from, _, _)| *from <= at);
        self.stretches[..behind].last().map_or(0, |(from, to, before)| before + (at.min(*to) - from))
    }
}

/// Bytes of a page that are asked for: where the guest sees the first, and which they are in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    address: GuestPhys,
    key: PageKey,
    first: usize,
    length: usize,
}

impl Piece {
    /// The guest's page.
    fn page(&self) -> GuestPhys {
        GuestPhys(self.address.0 & !(PAGE as u64 - 1))
    }
}

impl Accesses {
    /// Over these bytes and the whole run. Bytes that are named twice count once.
    #[must_use]
    pub fn shares(&self, ranges: &[PhysRange]) -> Shares {
        self.shares_within(ranges, &[(VirtualNs(0), VirtualNs(u64::MAX))])
    }

    /// Over these bytes and these stretches of the run, each given by its first nanosecond and the first behind it. What
    /// lies outside of the run does not count.
    #[must_use]
    pub fn shares_within(&self, ranges: &[PhysRange], times: &[(VirtualNs, VirtualNs)]) -> Shares {
        let counted = self.counted(times);
        let ranges: RangeSet = ranges.iter().copied().collect();
        let mut shares = Shares::default();
        let mut inside = 0u128;
        self.each_page(&ranges, &counted, &mut |_, of_page| {
            inside += of_page.total();
            shares.add(of_page);
        });
        // What is no RAM is unknown.
        let bytes: u128 = ranges.ranges().iter().map(|range| u128::from(range.len())).sum();
        shares.live += bytes * u128::from(counted.total) - inside;
        shares
    }

    /// Of a register, as of one byte. One whose use is not recorded is live, and so is one of which it is not known what the
    /// state at the end is with another value.
    #[must_use]
    pub fn register_shares(&self, name: &str, times: &[(VirtualNs, VirtualNs)]) -> Shares {
        let counted = self.counted(times);
        let all = u128::from(counted.total);
        let place = self.blocks.register(name).filter(|(_, number)| self.vcpu.knows(*number));
        let Some((block, offset)) = place else {
            return Shares { live: all, ..Shares::default() };
        };
        let key = PageKey::of(block, offset);
        let piece = Piece { address: GuestPhys(offset), key, first: offset as usize, length: 1 };
        let never = Shares { never: all, ..Shares::default() };
        self.page_of(block, offset).map_or(never, |entry| self.shares_of(entry, &[piece], &counted))
    }

    /// The live bytes times nanoseconds of each of the guest's pages that has any, in ascending order. Of these bytes and
    /// stretches of the run, as [`Accesses::shares_within`]; without what is no RAM.
    #[must_use]
    pub fn live_by_page(
        &self,
        ranges: &[PhysRange],
        times: &[(VirtualNs, VirtualNs)],
    ) -> Vec<(GuestPhys, u128)> {
        let mut found: Vec<(GuestPhys, u128)> = Vec::new();
        self.each_page(&ranges.iter().copied().collect(), &self.counted(times), &mut |page, shares| {
            match found.last_mut() {
                Some((last, live)) if *last == page => *live += shares.live,
                _ => found.push((page, shares.live)),
            }
        });
        found.retain(|(_, live)| *live > 0);
        found
    }

    fn counted(&self, times: &[(VirtualNs, VirtualNs)]) -> Counted {
        match (self.instants.first(), self.instants.last()) {
            (Some(begin), Some(end)) => Counted::new(*begin, *end, times),
            _ => Counted { stretches: Vec::new(), total: 0 },
        }
    }

    /// Hands out the shares of each page of the guest that is RAM, in ascending order; of one that is made of several
    /// blocks' pages in as many parts.
    fn each_page(&self, ranges: &RangeSet, counted: &Counted, take: &mut dyn FnMut(GuestPhys, Shares)) {
        let mut waiting: Vec<Piece> = Vec::new();
        for range in ranges.ranges() {
            let begin = self.blocks.parts().partition_point(|part| part.range.last < range.first);
            for part in &self.blocks.parts()[begin..] {
                let Some(both) = part.range.intersection(*range) else { break };
                let mut address = both.first;
                let mut left = both.len();
                while left > 0 {
                    let offset = part.offset + (address.0 - part.range.first.0);
                    let first = offset % PAGE as u64;
                    // To the end of the page, be it the block's or the guest's.
                    let length = left.min(PAGE as u64 - first.max(address.0 % PAGE as u64));
                    let key = PageKey::of(part.block, offset);
                    let piece = Piece { address, key, first: first as usize, length: length as usize };
                    if waiting.last().is_some_and(|last| (last.page(), last.key) != (piece.page(), piece.key))
                    {
                        self.take_page(&mut waiting, counted, take);
                    }
                    waiting.push(piece);
                    left -= length;
                    address = GuestPhys(address.0.wrapping_add(length));
                }
            }
        }
        self.take_page(&mut waiting, counted, take);
    }

    fn take_page(&self, pieces: &mut Vec<Piece>, counted: &Counted, take: &mut dyn FnMut(GuestPhys, Shares)) {
        let Some(Piece { key, .. }) = pieces.first() else { return };
        let page = pieces[0].page();
        let entry = self.page_of(key.block(), key.offset());
        let bytes: usize = pieces.iter().map(|piece| piece.length).sum();
        let shares = match entry {
            Some(entry) => self.shares_of(entry, pieces, counted),
            None => Shares { never: bytes as u128 * u128::from(counted.total), ..Shares::default() },
        };
        pieces.clear();
        take(page, shares);
    }

    fn shares_of(&self, page: &PageEntry, pieces: &[Piece], counted: &Counted) -> Shares {
        let mut shares = Shares::default();
        // A guest may see a byte of a block at two addresses of one of its pages.
        let mut asked = [0u16; PAGE];
        // How many of the counted instants lie before the byte's present stretch.
        let mut since = [0u64; PAGE];
        for piece in pieces {
            for (byte, times) in asked.iter_mut().enumerate().skip(piece.first).take(piece.length) {
                if page.is_walked(byte as u16) {
                    shares.live += u128::from(counted.total);
                } else {
                    *times += 1;
                }
            }
        }
        for (interval, events) in page.log.entries() {
            let interval = interval as usize;
            let (Some(begin), Some(end)) = (self.instants.get(interval), self.instants.get(interval + 1))
            else {
                break;
            };
            let behind = counted.before(end.0);
            for event in events {
                // A fault at the very instant of the access comes before it.
                let known = counted.before(begin.0 + u64::from(event.dt) + 1);
                let (mut sum, mut bytes) = (0u128, 0u64);
                for byte in usize::from(event.first)..usize::from(event.end()) {
                    let times = u64::from(asked[byte]);
                    if times > 0 {
                        sum += u128::from(known - since[byte]) * u128::from(times);
                        bytes += times;
                        since[byte] = behind;
                    }
                }
                let unknown = u128::from(behind - known) * u128::from(bytes);
                shares.live += unknown;
                if event.overwrites {
                    shares.overwritten += sum;
                } else {
                    shares.live += sum;
                    shares.read += sum;
                }
            }
        }
        let left = asked.iter().zip(&since);
        shares.never =
            left.map(|(times, since)| u128::from(counted.total - since) * u128::from(*times)).sum();
        shares
    }
}
