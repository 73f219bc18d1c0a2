//! What changed in a page, interval by interval: runs of bytes that differ from the content before.
//!
//! ```text
//! run   gap of bytes · length, all equal · the bytes, or the one that all are
//! ```
//!
//! Invariant: **a delta holds the content that its bytes have at the end of its interval**, so that the last one before an
//! instant is right for each byte that it has, whatever the others say.

use super::blocks::{PAGE, Page};
use super::numbers::{Reader, put};

/// Runs with so few equal bytes between them are one: a run costs two bytes at least.
const NEAR: usize = 3;

/// Bytes that are compared at once.
const LINE: usize = 64;

/// The deltas of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deltas {
    bytes: Vec<u8>,
    /// For each delta its interval, and where it ends.
    ends: Vec<(u32, usize)>,
}

impl Deltas {
    /// Appends what an interval changed; nothing where it changed nothing. Whether it did.
    pub(super) fn push(&mut self, interval: u32, before: &Page, after: &Page) -> bool {
        let mut at = 0;
        let mut end = 0;
        while let Some(first) = differs(before, after, at) {
            let mut last = first;
            at = first + 1;
            while at < PAGE && at - last <= NEAR {
                if before[at] != after[at] {
                    last = at;
                }
                at += 1;
            }
            let run = &after[first..=last];
            let fill = run.len() > 1 && run.iter().all(|byte| *byte == run[0]);
            put(&mut self.bytes, (first - end) as u64);
            put(&mut self.bytes, (run.len() as u64) << 1 | u64::from(fill));
            self.bytes.extend_from_slice(if fill { &run[..1] } else { run });
            end = last + 1;
            at = end;
        }
        if end > 0 {
            self.ends.push((interval, self.bytes.len()));
        }
        end > 0
    }

    /// Makes the content at the begin of the run that of the begin of an interval.
    pub(super) fn apply(&self, interval: u32, page: &mut Page) {
        let mut begin = 0;
        for (_, end) in self.before(interval) {
            apply(&self.bytes[begin..*end], page);
            begin = *end;
        }
    }

    /// Makes the content at the begin of the run that of the end of each interval that changed it, one after the other.
    pub(super) fn each(&self, page: &mut Page, see: &mut dyn FnMut(u32, &Page)) {
        let mut begin = 0;
        for (interval, end) in &self.ends {
            apply(&self.bytes[begin..*end], page);
            begin = *end;
            see(*interval, page);
        }
    }

    /// What a byte holds at the begin of an interval, if it was written before.
    pub(super) fn byte(&self, byte: usize, interval: u32) -> Option<u8> {
        let count = self.before(interval).len();
        (0..count).rev().find_map(|at| {
            let begin = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
            Runs::new(&self.bytes[begin..self.ends[at].1]).find_map(|(first, run)| {
                let at = byte.checked_sub(first)?;
                match run {
                    Run::Bytes(bytes) => bytes.get(at).copied(),
                    Run::Fill(byte, length) => (at < length).then_some(byte),
                }
            })
        })
    }

    fn before(&self, interval: u32) -> &[(u32, usize)] {
        &self.ends[..self.ends.partition_point(|(of, _)| *of < interval)]
    }

    /// The runs of all deltas; [`Deltas::read`] reads them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For each delta its interval, and where it ends in the bytes.
    pub(super) fn ends(&self) -> &[(u32, usize)] {
        &self.ends
    }

    /// From what may be anything; the run has so many intervals.
    pub(super) fn read(bytes: Vec<u8>, ends: Vec<(u32, usize)>, intervals: usize) -> Option<Deltas> {
        let (mut begin, mut from) = (0, 0);
        for (interval, end) in &ends {
            let mut runs = Runs::new(bytes.get(begin..*end)?);
            if *interval < from || *interval as usize >= intervals || runs.rest.is_empty() {
                return None;
            }
            while !runs.rest.is_empty() {
                runs.next()?;
            }
            (begin, from) = (*end, interval.checked_add(1)?);
        }
        (begin == bytes.len()).then_some(Deltas { bytes, ends })
    }

    /// Gives back what memory it does not need.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The bytes that it takes in memory, beside its own.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(u32, usize)>()
    }
}

/// The first byte that differs, of those from one on.
fn differs(before: &Page, after: &Page, from: usize) -> Option<usize> {
    let mut at = from;
    while at < PAGE {
        // To the end of a line; most lines are equal.
        let end = (at / LINE + 1) * LINE;
        if before[at..end] != after[at..end] {
            return (at..end).find(|byte| before[*byte] != after[*byte]);
        }
        at = end;
    }
    None
}

fn apply(delta: &[u8], page: &mut Page) {
    for (first, run) in Runs::new(delta) {
        match run {
            Run::Bytes(bytes) => page[first..first + bytes.len()].copy_from_slice(bytes),
            Run::Fill(byte, length) => page[first..first + length].fill(byte),
        }
    }
}

/// What a run holds.
enum Run<'a> {
    Bytes(&'a [u8]),
    Fill(u8, usize),
}

/// The runs of a delta: where each begins in the page, and what it holds.
struct Runs<'a> {
    rest: Reader<'a>,
    end: usize,
}

impl<'a> Runs<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Runs { rest: Reader(bytes), end: 0 }
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = (usize, Run<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.end.checked_add(self.rest.small()?)?;
        let head: usize = self.rest.small()?;
        let length = head >> 1;
        self.end = first.checked_add(length).filter(|end| length > 0 && *end <= PAGE)?;
        let run = match head & 1 {
            0 => Run::Bytes(self.rest.bytes(length)?),
            _ => Run::Fill(*self.rest.bytes(1)?.first()?, length),
        };
        Some((first, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_back_for_each_instant() {
        let mut pages = vec![[7u8; PAGE]];
        let mut next = |change: &dyn Fn(&mut Page)| {
            let mut page = pages[pages.len() - 1];
            change(&mut page);
            pages.push(page);
        };
        next(&|page| page.fill(0));
        next(&|page| page[4095] = 1);
        next(&|_| ());
        next(&|page| (0..PAGE).step_by(5).for_each(|at| page[at] = at as u8));
        next(&|page| page[..9].copy_from_slice(b"123456789"));
        let mut deltas = Deltas::default();
        for (at, pair) in pages.windows(2).enumerate() {
            assert_eq!(deltas.push(at as u32, &pair[0], &pair[1]), at != 2);
        }
        // A page that is cleared is few bytes.
        assert!(deltas.ends()[0].1 < 8, "{:?}", deltas.ends());
        for (at, page) in pages.iter().enumerate() {
            let mut found = pages[0];
            deltas.apply(at as u32, &mut found);
            assert!(&found == page, "{at}");
            for (byte, expected) in page.iter().enumerate() {
                assert_eq!(deltas.byte(byte, at as u32).unwrap_or(7), *expected, "{byte} at {at}");
            }
        }
        let again = Deltas::read(deltas.bytes().to_vec(), deltas.ends().to_vec(), pages.len() - 1);
        assert_eq!(again.as_ref(), Some(&deltas));
        assert_eq!(Deltas::read(deltas.bytes().to_vec(), deltas.ends().to_vec(), pages.len() - 2), None);
    }

    #[test]
    fn deltas_that_leave_the_page_are_not_read() {
        let read = |bytes: &[u8], ends: &[(u32, usize)]| Deltas::read(bytes.to_vec(), ends.to_vec(), 9);
        let mut fill = Vec::new();
        put(&mut fill, 4000);
        put(&mut fill, 96 << 1 | 1);
        fill.push(3);
        assert!(read(&fill, &[(0, fill.len())]).is_some());
        let mut long = Vec::new();
        put(&mut long, 4000);
        put(&mut long, 97 << 1 | 1);
        long.push(3);
        assert!(read(&long, &[(0, long.len())]).is_none());
        assert!(read(&[0, 0], &[(0, 2)]).is_none());
        assert!(read(&[0, 2, 9], &[]).is_none());
        assert!(read(&[0, 2, 9], &[(0, 3), (0, 3)]).is_none());
        assert!(read(&[0, 2, 9, 0, 2, 9], &[(1, 3), (1, 6)]).is_none());
        assert!(read(&[0, 2, 9, 0, 2, 9], &[(1, 3), (2, 6)]).is_some());
        assert!(read(&[0, 2, 9], &[(0, 4)]).is_none());
        assert!(read(&[0, 2, 9, 9], &[(0, usize::MAX)]).is_none());
    }
}
