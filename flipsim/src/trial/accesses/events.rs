//! The first accesses of a page's bytes, interval by interval, in few bytes.
//!
//! ```text
//! entry   gap of intervals · length of what follows · events by their offset
//! event   length - 1, adjoins, overwrites · [gap of bytes] · difference of dt      some 4 bytes of QEMU's 16
//! ```
//!
//! Invariant: **entries ascend by interval, the events of an entry ascend by offset and are apart**, so that for a byte and
//! an interval there is one event at most.

use super::blocks::PAGE;
use super::numbers::{Reader, folded, put, unfolded};

/// How many bytes a stretch of the log has, at least, that can be passed over at once.
const STRETCH: usize = 1024;

/// The first access of some bytes of a page in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Where they begin in the page.
    pub(super) first: u16,
    /// How many they are.
    pub(super) length: u16,
    /// Whether it is an overwriting; else it is a read.
    pub(super) overwrites: bool,
    /// No later than the access: nanoseconds from the interval's begin.
    pub(super) dt: u32,
}

impl Event {
    /// The first byte behind it.
    pub(super) fn end(&self) -> u16 {
        self.first + self.length
    }

    /// The lines of 64 bytes that it touches, a bit each.
    fn lines(&self) -> u64 {
        let (first, last) = (self.first / 64, (self.end() - 1) / 64);
        (u64::MAX << first) & (u64::MAX >> (63 - last))
    }
}

/// A stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// Where in the log it begins.
    at: usize,
    /// The lowest interval that its first entry may have.
    from: u32,
    /// The lines of 64 bytes that its events touch.
    lines: u64,
}

/// All events of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    bytes: Vec<u8>,
    stretches: Vec<Stretch>,
    /// The lowest interval that the next entry may have.
    from: u32,
}

impl Log {
    /// Appends the events of an interval behind those before it; they ascend by offset and are apart.
    pub(super) fn push(&mut self, interval: u32, events: &[Event], scratch: &mut Vec<u8>) {
        scratch.clear();
        let (mut end, mut dt, mut lines) = (0, 0, 0);
        for event in events {
            let gap = event.first - end;
            let head =
                u64::from(event.length - 1) << 2 | u64::from(gap == 0) << 1 | u64::from(event.overwrites);
            put(scratch, head);
            if gap != 0 {
                put(scratch, u64::from(gap));
            }
            put(scratch, folded(i64::from(event.dt) - i64::from(dt)));
            (end, dt, lines) = (event.end(), event.dt, lines | event.lines());
        }
        self.note(self.bytes.len(), lines);
        put(&mut self.bytes, u64::from(interval - self.from));
        put(&mut self.bytes, scratch.len() as u64);
        self.bytes.extend_from_slice(scratch);
        self.from = interval + 1;
    }

    /// Notes an entry at a place of the log, so that it is found.
    fn note(&mut self, at: usize, lines: u64) {
        match self.stretches.last_mut() {
            Some(last) if at - last.at < STRETCH => last.lines |= lines,
            _ => self.stretches.push(Stretch { at, from: self.from, lines }),
        }
    }

    /// The log as bytes; [`Log::read`] reads them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// From bytes that may say anything; each interval has its length in nanoseconds. Returns how many events it has,
    /// too.
    pub(super) fn read(bytes: Vec<u8>, length_of: impl Fn(u32) -> Option<u64>) -> Option<(Log, u64)> {
        let mut log = Log::default();
        let mut reader = Reader(&bytes);
        let mut count = 0;
        while !reader.is_empty() {
            let at = bytes.len() - reader.0.len();
            let interval = log.from.checked_add(reader.small()?)?;
            let length = length_of(interval)?;
            let size = reader.small()?;
            let mut events = Events::new(reader.bytes(size)?);
            let mut lines = 0;
            while !events.rest.is_empty() {
                let event = events.next()?;
                if u64::from(event.dt) >= length {
                    return None;
                }
                lines |= event.lines();
                count += 1;
            }
            if lines == 0 {
                return None;
            }
            log.note(at, lines);
            log.from = interval.checked_add(1)?;
        }
        log.bytes = bytes;
        Some((log, count))
    }

    /// The first access of a byte in this interval or a later one: in which, and what.
    pub(super) fn first(&self, byte: u16, from: u32) -> Option<(u32, Event)> {
        let line = 1u64 << (byte / 64);
        let begin = self.stretches.partition_point(|stretch| stretch.from <= from).saturating_sub(1);
        for (at, stretch) in self.stretches.iter().enumerate().skip(begin) {
            if stretch.lines & line == 0 {
                continue;
            }
            let end = self.stretches.get(at + 1).map_or(self.bytes.len(), |next| next.at);
            let entries = Entries { rest: Reader(&self.bytes[stretch.at..end]), from: stretch.from };
            for (interval, mut events) in entries.filter(|(interval, _)| *interval >= from) {
                let found = events.find(|event| byte < event.end());
                if let Some(event) = found.filter(|event| event.first <= byte) {
                    return Some((interval, event));
                }
            }
        }
        None
    }

    /// The entries in order: the interval, and its events.
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries { rest: Reader(&self.bytes), from: 0 }
    }

    /// Gives back what memory it does not need.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.stretches.shrink_to_fit();
    }

    /// The bytes that it takes in memory, beside its own.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.stretches.capacity() * size_of::<Stretch>()
    }
}

/// Entries of a log.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a> {
    rest: Reader<'a>,
    from: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (u32, Events<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let interval = self.from.checked_add(self.rest.small()?)?;
        let size = self.rest.small()?;
        let events = Events::new(self.rest.bytes(size)?);
        self.from = interval.checked_add(1)?;
        Some((interval, events))
    }
}

/// Events of an entry.
#[derive(Clone, Debug)]
pub(super) struct Events<'a> {
    rest: Reader<'a>,
    end: u16,
    dt: u32,
}

impl<'a> Events<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Events { rest: Reader(bytes), end: 0, dt: 0 }
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let head = self.rest.number()?;
        let gap = if head & 2 == 0 { self.rest.small::<u16>()? } else { 0 };
        let length = u16::try_from(head >> 2).ok()?.checked_add(1)?;
        let first = self.end.checked_add(gap)?;
        let end = first.checked_add(length).filter(|end| usize::from(*end) <= PAGE)?;
        let dt = i64::from(self.dt).checked_add(unfolded(self.rest.number()?))?;
        (self.end, self.dt) = (end, u32::try_from(dt).ok()?);
        Some(Event { first, length, overwrites: head & 1 != 0, dt: self.dt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(first: u16, length: u16, overwrites: bool, dt: u32) -> Event {
        Event { first, length, overwrites, dt }
    }

    #[test]
    fn a_byte_is_found_in_the_first_interval_that_has_it() {
        let mut log = Log::default();
        let mut scratch = Vec::new();
        log.push(3, &[event(0, 8, false, 900), event(8, 4088, true, 5)], &mut scratch);
        // Enough for several stretches.
        for interval in 4..2000 {
            log.push(interval, &[event(64, 4, false, interval)], &mut scratch);
        }
        log.push(2000, &[event(4095, 1, true, 7)], &mut scratch);
        assert!(log.stretches.len() > 4);
        assert_eq!(log.first(7, 0), Some((3, event(0, 8, false, 900))));
        assert_eq!(log.first(8, 3), Some((3, event(8, 4088, true, 5))));
        assert_eq!(log.first(8, 4), None);
        assert_eq!(log.first(4095, 4), Some((2000, event(4095, 1, true, 7))));
        assert_eq!((log.first(4095, 2001), log.first(63, 4), log.first(68, 4)), (None, None, None));
        for interval in 4..2000 {
            assert_eq!(log.first(66, interval), Some((interval, event(64, 4, false, interval))));
        }
        let again = Log::read(log.bytes().to_vec(), |_| Some(10_000));
        assert_eq!(again, Some((log, 1999)));
    }

    #[test]
    fn a_log_that_leaves_its_page_or_its_interval_is_not_read() {
        let read = |bytes: &[u8]| Log::read(bytes.to_vec(), |interval| (interval < 4).then_some(100));
        let mut entry = Vec::new();
        let mut log = Log::default();
        log.push(3, &[event(9, 8, false, 99)], &mut entry);
        assert_eq!(read(log.bytes()), Some((log.clone(), 1)));
        // An entry without events, an event behind the page, an interval too many, and an access behind its interval.
        assert_eq!(read(&[0, 0]), None);
        let at = |first: u64| {
            let mut bytes = vec![3, if first > 0x3fff { 5 } else { 4 }, 7 << 2];
            put(&mut bytes, first);
            put(&mut bytes, folded(9));
            read(&bytes)
        };
        assert!(at(4088).is_some() && at(4089).is_none() && at(0xffff).is_none());
        let mut wrong = |interval, what| {
            let mut log = Log::default();
            log.push(interval, &[what], &mut entry);
            assert_eq!(read(log.bytes()), None);
        };
        wrong(4, event(9, 8, false, 9));
        wrong(3, event(9, 8, false, 100));
        for cut in 1..log.bytes().len() {
            assert_eq!(read(&log.bytes()[..cut]), None);
        }
    }
}
