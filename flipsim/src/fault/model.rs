//! What a fault is: where, which bits, and what is done to them.
//!
//! Invariant: **only this folder looks at the kinds of places**; all others ask [`Fault`].

use serde::{Deserialize, Serialize};

use crate::fault::error::SpaceError;
use crate::fault::operation::Operation;
use crate::units::{BitIndex, GuestPhys, parse_number};

/// Which bits of a place flip together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// This many neighbouring bits, 1 to 64, anywhere.
    Adjacent(u32),
    /// This many neighbouring bits, the lowest at this bit of the byte or register.
    AdjacentAt {
        /// How many bits, 1 to 64.
        count: u32,
        /// The lowest of them.
        bit: BitIndex,
    },
    /// These bits; bit 0 of the mask is bit 0 of the byte (in RAM the mask runs on into the
    /// following bytes, lowest first) or of the register.
    Mask(u64),
    /// One of these bits, from the lowest to the highest, both included: a field of a word, such as an instruction's.
    Field {
        /// The lowest.
        low: BitIndex,
        /// The highest, 63 at most.
        high: BitIndex,
    },
    /// One bit, anywhere in RAM, and those that a cluster has beside it in the memory's array.
    Cluster,
}

impl Pattern {
    /// One bit, anywhere.
    pub const SINGLE: Pattern = Pattern::Adjacent(1);

    pub(super) fn check(self) -> Result<(), SpaceError> {
        match self {
            Pattern::Adjacent(count) | Pattern::AdjacentAt { count, .. } if !(1..=64).contains(&count) => {
                Err(SpaceError::Count(count))
            }
            Pattern::Mask(0) => Err(SpaceError::EmptyMask),
            Pattern::Field { low, high } if low > high || high.0 > 63 => {
                Err(SpaceError::Field { low: low.0, high: high.0 })
            }
            _ => Ok(()),
        }
    }

    /// How many bytes it spans at most when the lowest of its bits is in the first, at least 1; an invalid one no
    /// more than 16.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Pattern::Cluster => 1,
            Pattern::Adjacent(bits) => u64::from(bits.clamp(1, 64)).div_ceil(8),
            Pattern::AdjacentAt { count, bit } => {
                (u64::from(bit.0) + u64::from(count.clamp(1, 64))).div_ceil(8).min(16)
            }
            Pattern::Mask(mask) => u64::from(64 - mask.leading_zeros()).div_ceil(8).max(1),
            Pattern::Field { high, .. } => u64::from(high.0.min(63)) / 8 + 1,
        }
    }

    /// The bits that it takes from the lowest of its first byte on.
    pub(super) fn end(self) -> u64 {
        match self {
            Pattern::Cluster => 1,
            Pattern::Adjacent(count) => count.into(),
            Pattern::AdjacentAt { count, bit } => u64::from(bit.0) + u64::from(count),
            Pattern::Mask(mask) => u64::from(64 - mask.leading_zeros()),
            Pattern::Field { high, .. } => u64::from(high.0) + 1,
        }
    }

    /// The single bits that are drawn from, of a field.
    pub(super) fn field(self) -> Option<(u32, u64)> {
        match self {
            Pattern::Field { low, high } => Some((low.0, u64::from(high.0 - low.0) + 1)),
            _ => None,
        }
    }

    /// The lowest bit that is asked for, and the bits from there on.
    pub(super) fn fixed(self) -> Option<(u32, u64)> {
        match self {
            Pattern::Adjacent(_) | Pattern::Field { .. } | Pattern::Cluster => None,
            Pattern::AdjacentAt { count, bit } => Some((bit.0, u64::MAX >> (64 - count))),
            Pattern::Mask(mask) => Some((mask.trailing_zeros(), mask >> mask.trailing_zeros())),
        }
    }
}

/// One fault: a place, bits there, and what is done to them. It does not say when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub(super) place: Place,
    mask: Vec<u8>,
    #[serde(default)]
    operation: Operation,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Place {
    /// Bytes of physical memory, from this one on.
    Ram { address: GuestPhys },
    /// A register of the current vCPU.
    Reg { register: String },
}

impl Fault {
    /// A flip in RAM: a byte of mask for each byte of memory, from the address on.
    #[must_use]
    pub fn in_ram(address: GuestPhys, mask: Vec<u8>) -> Fault {
        Fault { place: Place::Ram { address }, mask, operation: Operation::Flip }
    }

    /// A flip in a register; the mask is as wide as the register, its least significant byte first.
    #[must_use]
    pub fn in_register(register: String, mask: Vec<u8>) -> Fault {
        Fault { place: Place::Reg { register }, mask, operation: Operation::Flip }
    }

    /// The same place and bits under another operation.
    #[must_use]
    pub fn with(self, operation: Operation) -> Fault {
        Fault { operation, ..self }
    }

    /// A flip of these bits in the same place; the mask is as wide as its own.
    #[must_use]
    pub fn flipping(self, mask: Vec<u8>) -> Fault {
        Fault { mask, operation: Operation::Flip, ..self }
    }

    /// Whether it is of no bit at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.mask.iter().all(|bits| *bits == 0)
    }

    /// `ram` or `reg`, as every stored form says it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.place {
            Place::Ram { .. } => "ram",
            Place::Reg { .. } => "reg",
        }
    }

    /// The first byte, of a fault in RAM.
    #[must_use]
    pub fn address(&self) -> Option<GuestPhys> {
        match self.place {
            Place::Ram { address } => Some(address),
            Place::Reg { .. } => None,
        }
    }

    /// The register's name, of a fault in a register.
    #[must_use]
    pub fn register(&self) -> Option<&str> {
        match &self.place {
            Place::Ram { .. } => None,
            Place::Reg { register } => Some(register),
        }
    }

    /// Where it is, as people write it: the address or the register's name.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.place {
            Place::Ram { address } => address.to_string(),
            Place::Reg { register } => register.clone(),
        }
    }

    /// The mask, least significant byte first.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        &self.mask
    }

    /// What is done to the bits of the mask.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether a bit is of both.
    #[must_use]
    pub fn shares_bits(&self, other: &Fault) -> bool {
        let apart = match (&self.place, &other.place) {
            (Place::Ram { address: one }, Place::Ram { address: other }) => {
                other.0.checked_signed_diff(one.0)
            }
            (Place::Reg { register: one }, Place::Reg { register: other }) => (one == other).then_some(0),
            _ => None,
        };
        let Some(apart) = apart.and_then(|apart| isize::try_from(apart).ok()) else { return false };
        let (mine, theirs) = match apart >= 0 {
            true => (self.mask.get(apart.unsigned_abs()..), Some(&other.mask[..])),
            false => (Some(&self.mask[..]), other.mask.get(apart.unsigned_abs()..)),
        };
        mine.zip(theirs)
            .is_some_and(|(mine, theirs)| mine.iter().zip(theirs).any(|(one, other)| one & other != 0))
    }

    /// The bit, when the fault is a single one.
    #[must_use]
    pub fn single_bit(&self) -> Option<BitIndex> {
        let ones: u32 = self.mask.iter().map(|byte| byte.count_ones()).sum();
        let index = self.mask.iter().position(|byte| *byte != 0)?;
        let bit = u32::try_from(index).ok()? * 8 + self.mask[index].trailing_zeros();
        (ones == 1).then_some(BitIndex(bit))
    }
}

/// Reads a pattern: `single`, `bit:3`, `adjacent:2`, `adjacent:2@5` (two bits, the lower of them bit 5), `mask:0x81` or
/// `field:25-28` (one of these bits).
///
/// # Errors
/// The text is none of these.
pub fn parse_pattern(text: &str) -> Result<Pattern, PatternError> {
    let bad = || PatternError(text.to_owned());
    let small = |text: &str| parse_number(text).ok().and_then(|number| u32::try_from(number).ok());
    let text = text.trim();
    match text {
        "single" => return Ok(Pattern::SINGLE),
        "cluster" => return Ok(Pattern::Cluster),
        _ => {}
    }
    let (kind, what) = text.split_once(':').ok_or_else(bad)?;
    match kind {
        "bit" => small(what).map(|bit| Pattern::AdjacentAt { count: 1, bit: BitIndex(bit) }),
        "adjacent" => match what.split_once('@') {
            None => small(what).map(Pattern::Adjacent),
            Some((count, bit)) => small(count)
                .zip(small(bit))
                .map(|(count, bit)| Pattern::AdjacentAt { count, bit: BitIndex(bit) }),
        },
        "mask" => parse_number(what).ok().map(Pattern::Mask),
        "field" => what.split_once('-').and_then(|(low, high)| {
            Some(Pattern::Field { low: BitIndex(small(low)?), high: BitIndex(small(high)?) })
        }),
        _ => None,
    }
    .ok_or_else(bad)
}

/// A pattern as [`parse_pattern`] reads it.
#[must_use]
pub fn format_pattern(pattern: Pattern) -> String {
    match pattern {
        Pattern::SINGLE => "single".to_owned(),
        Pattern::Cluster => "cluster".to_owned(),
        Pattern::Adjacent(count) => format!("adjacent:{count}"),
        Pattern::AdjacentAt { count: 1, bit } => format!("bit:{bit}"),
        Pattern::AdjacentAt { count, bit } => format!("adjacent:{count}@{bit}"),
        Pattern::Mask(mask) => format!("mask:{mask:#x}"),
        Pattern::Field { low, high } => format!("field:{low}-{high}"),
    }
}

/// Text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no pattern; write single, bit:N, adjacent:COUNT, adjacent:COUNT@BIT, mask:0xHEX, field:LOW-HIGH or cluster"
)]
pub struct PatternError(String);
