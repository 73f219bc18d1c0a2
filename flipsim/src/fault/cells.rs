//! Ranges of RAM in cells of equal size, for a sweep: every cell once, or some that are drawn.
//!
//! Invariant: no byte is in two cells, and none of the ranges is left out.

use rand::{Rng, RngExt};

use crate::fault::error::SpaceError;
use crate::fault::model::Fault;
use crate::memory::PhysRange;
use crate::units::{BitIndex, GuestPhys};

/// Ranges cut into units of equal width, numbered; nothing is listed, so a range of gigabytes costs
/// no memory.
#[derive(Clone, Debug)]
pub struct Units {
    /// Each range with the number of its first unit.
    ranges: Vec<(u64, PhysRange)>,
    width: u64,
    len: u64,
}

/// Ranges that cannot be cut into units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitsError {
    /// A width that no unit has.
    #[error("units of {0} bytes are not possible; choose 1 to 4096")]
    Width(u64),
    /// A part would be left over, and its bits would be drawn too often or never.
    #[error("{range} has {bytes} bytes, which is no multiple of {width}; {advice}")]
    Remainder {
        /// The range.
        range: PhysRange,
        /// Its length.
        bytes: u64,
        /// The width.
        width: u64,
        /// Where it could end.
        advice: String,
    },
    /// A byte is in two ranges.
    #[error("{0} and {1} overlap; a bit in both could flip twice, and so not at all")]
    Overlap(PhysRange, PhysRange),
    /// No range.
    #[error("there is nothing to flip: no range is given")]
    Empty,
    /// More units than there are.
    #[error("{wanted} different units are asked for, and the ranges have {len}")]
    TooMany {
        /// What was asked for.
        wanted: u64,
        /// What there is.
        len: u64,
    },
}

impl Units {
    /// Cuts ranges into units of `width` bytes, in the order given.
    ///
    /// # Errors
    /// The width is invalid, a range is no multiple of it, or two ranges overlap.
    pub fn new(ranges: &[PhysRange], width: u64) -> Result<Self, UnitsError> {
        if !(1..=4096).contains(&width) {
            return Err(UnitsError::Width(width));
        }
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[1].first <= pair[0].last) {
            return Err(UnitsError::Overlap(pair[0], pair[1]));
        }
        let mut numbered = Vec::with_capacity(ranges.len());
        let mut len = 0u64;
        for range in ranges {
            let over = range.len() % width;
            if over > 0 {
                let advice = match range.last.0.checked_sub(over).filter(|last| *last >= range.first.0) {
                    Some(last) => format!("end it at {:#x}", last),
                    None => "make it longer".to_owned(),
                };
                return Err(UnitsError::Remainder { range: *range, bytes: range.len(), width, advice });
            }
            numbered.push((len, *range));
            // Only the whole address space in single bytes has one unit more than the number holds.
            len = len.saturating_add(range.len() / width);
        }
        if len == 0 {
            return Err(UnitsError::Empty);
        }
        Ok(Units { ranges: numbered, width, len })
    }

    /// The number of units, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty set cannot be made")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The first byte of the unit with this number, or `None` past the end.
    #[must_use]
    pub fn nth(&self, number: u64) -> Option<GuestPhys> {
        let at = self.ranges.partition_point(|(first, _)| *first <= number).checked_sub(1)?;
        let (first, range) = self.ranges[at];
        (number < self.len).then(|| GuestPhys(range.first.0 + (number - first) * self.width))
    }

    /// A single-bit fault in a unit: the bit with this number of its bytes, or one drawn.
    ///
    /// # Errors
    /// The unit has no such bit.
    pub fn fault<R: Rng + ?Sized>(
        &self,
        number: u64,
        bit: Option<BitIndex>,
        rng: &mut R,
    ) -> Result<Fault, SpaceError> {
        let bits = self.width * 8;
        let bit = match bit {
            Some(bit) if u64::from(bit.0) < bits => u64::from(bit.0),
            Some(bit) => {
                let why = format!("a unit of {} bytes has bits 0 to {}", self.width, bits - 1);
                return Err(SpaceError::BitOfRegister { bit: bit.0, why });
            }
            None => rng.random_range(0..bits),
        };
        let unit = self.nth(number).ok_or_else(|| SpaceError::Empty("no such unit".to_owned()))?;
        Ok(Fault::in_ram(GuestPhys(unit.0 + bit / 8), vec![1 << (bit % 8)]))
    }

    /// Draws the numbers of `count` different units, every choice as likely as every other. Costs
    /// memory for these, whatever the ranges' length.
    ///
    /// # Errors
    /// There are not so many.
    pub fn draw<R: Rng + ?Sized>(&self, count: u64, rng: &mut R) -> Result<Vec<u64>, UnitsError> {
        let too_many = || UnitsError::TooMany { wanted: count, len: self.len };
        if count > self.len {
            return Err(too_many());
        }
        let len = usize::try_from(self.len).map_err(|_| too_many())?;
        let count = usize::try_from(count).map_err(|_| too_many())?;
        Ok(rand::seq::index::sample(rng, len, count).into_iter().map(|number| number as u64).collect())
    }
}
