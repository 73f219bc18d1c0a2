//! Ranges of physical addresses, and sets of them.
//!
//! Invariant: a range holds at least one byte; the ranges of a set are in ascending order and do not overlap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::{GuestPhys, UnitError};

/// Bytes from `first` to `last`, **both included**, so that the last byte of the address space can
/// be named and no bound is one byte past the end.
///
/// What is read from a file is checked: a range that ends before it begins has no length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Ends")]
pub struct PhysRange {
    /// The first byte.
    pub first: GuestPhys,
    /// The last byte, included.
    pub last: GuestPhys,
}

/// A range as it is stored, before it is believed.
#[derive(Deserialize)]
struct Ends {
    first: GuestPhys,
    last: GuestPhys,
}

impl TryFrom<Ends> for PhysRange {
    type Error = RangeError;

    fn try_from(Ends { first, last }: Ends) -> Result<Self, RangeError> {
        PhysRange::new(first, last).ok_or_else(|| RangeError::Backwards(format!("{first}-{last}")))
    }
}

impl PhysRange {
    /// A range from its two ends, or `None` when the last byte lies before the first, or when the
    /// length does not fit 64 bits.
    #[must_use]
    pub fn new(first: GuestPhys, last: GuestPhys) -> Option<Self> {
        (first <= last && last.0 - first.0 < u64::MAX).then_some(PhysRange { first, last })
    }

    /// The number of bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range holds one byte at least")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Whether the byte at `address` belongs to the range.
    #[must_use]
    pub fn contains(&self, address: GuestPhys) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether every byte of `other` belongs to the range.
    #[must_use]
    pub fn covers(&self, other: PhysRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// The bytes in both, if there are any.
    #[must_use]
    pub fn intersection(&self, other: PhysRange) -> Option<PhysRange> {
        PhysRange::new(self.first.max(other.first), self.last.min(other.last))
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PhysRange {
    type Err = RangeError;

    /// Reads `FIRST-LAST` (both included) or `FIRST+LENGTH`.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let form = || RangeError::Form(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let range = PhysRange::new(first.parse()?, last.parse()?);
            range.ok_or_else(|| RangeError::Backwards(text.to_owned()))
        } else if let Some((first, length)) = text.split_once('+') {
            let first: GuestPhys = first.parse()?;
            let length = crate::units::parse_size(length)?;
            let last = length.checked_sub(1).and_then(|n| first.0.checked_add(n)).ok_or_else(form)?;
            PhysRange::new(first, GuestPhys(last)).ok_or_else(form)
        } else {
            Err(form())
        }
    }
}

/// Text that is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// One of the numbers is invalid.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Neither `FIRST-LAST` nor `FIRST+LENGTH`.
    #[error("`{0}` is not a range; write FIRST-LAST (both included) or FIRST+LENGTH, as in 0x40000000+64K")]
    Form(String),
    /// The last byte lies before the first.
    #[error("the range `{0}` ends before it begins; swap its two addresses")]
    Backwards(String),
}

/// A set of bytes: ranges in ascending order, without overlap. Collected from ranges, neighbours that
/// touch become one range; from [`RangeSet::apart`] they stay two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<PhysRange>")]
pub struct RangeSet(Vec<PhysRange>);

impl From<Vec<PhysRange>> for RangeSet {
    /// As [`RangeSet::apart`], so that a stored set is in order whatever its file says.
    fn from(ranges: Vec<PhysRange>) -> Self {
        RangeSet::apart(ranges)
    }
}

impl RangeSet {
    /// A set whose ranges keep their borders: those that touch are not joined, only those that overlap.
    #[must_use]
    pub fn apart(ranges: impl IntoIterator<Item = PhysRange>) -> Self {
        RangeSet::join(ranges, 0)
    }

    /// Joins ranges that overlap or lie closer than `gap` bytes. The whole address space, whose length no 64-bit number
    /// holds, is left in two.
    fn join(ranges: impl IntoIterator<Item = PhysRange>, gap: u64) -> Self {
        let mut sorted: Vec<PhysRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<PhysRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match joined.last_mut() {
                Some(last) if range.first.0 <= last.last.0.saturating_add(gap) => {
                    match PhysRange::new(last.first, last.last.max(range.last)) {
                        Some(both) => *last = both,
                        None => {
                            last.last = GuestPhys(u64::MAX - 1);
                            joined.push(PhysRange { first: GuestPhys(u64::MAX), last: GuestPhys(u64::MAX) });
                        }
                    }
                }
                _ => joined.push(range),
            }
        }
        RangeSet(joined)
    }

    /// The ranges in ascending order.
    #[must_use]
    pub fn ranges(&self) -> &[PhysRange] {
        &self.0
    }

    /// The number of bytes in the set; `None` when it does not fit 64 bits.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.0.iter().try_fold(0u64, |sum, range| sum.checked_add(range.len()))
    }

    /// Whether the set holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every byte of `range` is in the set.
    #[must_use]
    pub fn covers(&self, range: PhysRange) -> bool {
        let mut next = range.first;
        for own in &self.0 {
            if own.contains(next) {
                if own.last >= range.last {
                    return true;
                }
                // It ends before the range does, and so before the last address.
                next = GuestPhys(own.last.0 + 1);
            }
        }
        false
    }

    /// The bytes in both sets.
    #[must_use]
    pub fn intersection(&self, other: &RangeSet) -> RangeSet {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().filter_map(|b| a.intersection(*b)));
        pairs.collect()
    }
}

impl FromIterator<PhysRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = PhysRange>>(ranges: I) -> Self {
        RangeSet::join(ranges, 1)
    }
}
