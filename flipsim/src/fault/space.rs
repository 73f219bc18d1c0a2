//! Fault spaces: every fault that can be drawn from some RAM or some registers, numbered.
//!
//! A [`FaultSpace`] is a numbered list of every fault that can be drawn; a uniform draw is a uniform
//! number below its length, so there is no modulo bias, no favoured edge, and nothing that crosses
//! the end of a region.
//!
//! Invariant: **every fault of a space is equally likely**, and a space is never empty.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::arch::{NOT_STUCK, may_be_stuck, of_program_counter};
use crate::fault::array::Clusters;
use crate::fault::error::SpaceError;
use crate::fault::model::{Fault, Pattern};
use crate::fault::operation::Operations;
use crate::fault::registers::FlippableRegister;
use crate::memory::{PhysRange, RangeSet};
use crate::units::{GuestPhys, VirtualNs};

/// Every fault that can be drawn, numbered.
#[derive(Clone, Debug)]
pub enum FaultSpace {
    /// Faults in RAM.
    Ram(RamSpace),
    /// Faults in registers.
    Reg(RegSpace),
    /// The same faults under other operations than a flip; see [`FaultSpace::under`].
    Under {
        /// The faults.
        space: Box<FaultSpace>,
        /// The operations.
        operations: Operations,
        /// How many of these each fault has.
        each: u64,
    },
    /// Faults that each have a moment; see [`FaultSpace::moment`].
    Paired(PairedSpace),
    /// The same faults, each with others beside it; see [`FaultSpace::others`].
    Clustered {
        /// The faults.
        space: Box<FaultSpace>,
        /// What comes with each.
        clusters: Box<Clusters>,
    },
}

impl FaultSpace {
    /// The number of faults, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty space cannot be made")]
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            FaultSpace::Ram(space) => space.len,
            FaultSpace::Reg(space) => space.faults.len() as u64,
            FaultSpace::Under { space, each, .. } => space.len() * each,
            FaultSpace::Clustered { space, .. } => space.len(),
            FaultSpace::Paired(space) => space.len,
        }
    }

    /// Whether each of its faults has a moment.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        matches!(self, FaultSpace::Paired(_))
    }

    /// When the fault with this number strikes, counted from the quiescent point, of a space that says so.
    #[must_use]
    pub fn moment(&self, number: u64) -> Option<VirtualNs> {
        match self {
            FaultSpace::Paired(space) => space.find(number).map(|(moment, _)| moment.after),
            _ => None,
        }
    }

    /// The latest moment that a fault of it has, of a space that says so.
    #[must_use]
    pub fn latest(&self) -> Option<VirtualNs> {
        let FaultSpace::Paired(space) = self else { return None };
        let of = |moment: &Moment| moment.more.iter().map(|(after, _)| *after).chain([moment.after]).max();
        space.parts.iter().filter_map(|(_, moment)| of(moment)).max()
    }

    /// What strikes in the same trial as the fault with this number, and when, of a space that says so.
    #[must_use]
    pub fn more(&self, number: u64) -> &[(VirtualNs, Fault)] {
        match self {
            FaultSpace::Paired(space) => space.find(number).map_or(&[], |(moment, _)| &moment.more),
            _ => &[],
        }
    }

    /// The number of faults by place and bits alone, whatever is done to them.
    #[must_use]
    pub fn places(&self) -> u64 {
        match self {
            FaultSpace::Under { space, .. } | FaultSpace::Clustered { space, .. } => space.places(),
            _ => self.len(),
        }
    }

    /// The same faults under these operations; of several, each fault is in it under each.
    ///
    /// # Errors
    /// They cannot be numbered.
    pub fn under(self, operations: Operations) -> Result<FaultSpace, SpaceError> {
        if operations.is_flip() {
            return Ok(self);
        }
        let space = match self {
            FaultSpace::Reg(space) if operations.of_instruction() => {
                FaultSpace::Reg(space.of_program_counter()?)
            }
            _ if operations.of_instruction() => return Err(SpaceError::Instruction),
            FaultSpace::Reg(space) if operations.hold_on() => FaultSpace::Reg(space.that_may_be_stuck()?),
            other => other,
        };
        // All faults of one space have as many bits.
        let each = space.nth(0).map_or(1, |fault| {
            let bits = fault.mask().iter().map(|byte| byte.count_ones()).sum();
            operations.len(bits, fault.register())
        });
        space.len().checked_mul(each).ok_or(SpaceError::TooLarge)?;
        Ok(FaultSpace::Under { space: Box::new(space), operations, each })
    }

    /// Whether others come with its faults.
    #[must_use]
    pub fn is_clustered(&self) -> bool {
        match self {
            FaultSpace::Ram(_) | FaultSpace::Reg(_) | FaultSpace::Paired(_) => false,
            FaultSpace::Under { space, .. } => space.is_clustered(),
            FaultSpace::Clustered { .. } => true,
        }
    }

    /// What comes with a fault of it at the same instant, for a number that is drawn from 0 to 1: the same bits of other
    /// bytes, and the same is done to them.
    #[must_use]
    pub fn others(&self, fault: &Fault, drawn: f64) -> Vec<Fault> {
        match (self, fault.address()) {
            (FaultSpace::Under { space, .. }, _) => space.others(fault, drawn),
            (FaultSpace::Clustered { clusters, .. }, Some(address)) => {
                let like = |address| Fault::in_ram(address, fault.mask().to_vec()).with(fault.operation());
                clusters.others(address, drawn).into_iter().map(like).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Its registers, if it is one of registers.
    #[must_use]
    pub fn registers(&self) -> Option<&RegSpace> {
        match self {
            FaultSpace::Ram(_) | FaultSpace::Paired(_) => None,
            FaultSpace::Reg(space) => Some(space),
            FaultSpace::Under { space, .. } | FaultSpace::Clustered { space, .. } => space.registers(),
        }
    }

    /// The fault with this number, or `None` past the end.
    #[must_use]
    pub fn nth(&self, number: u64) -> Option<Fault> {
        match self {
            FaultSpace::Ram(space) => space.nth(number),
            FaultSpace::Reg(space) => {
                let (register, mask) = space.faults.get(usize::try_from(number).ok()?)?;
                Some(Fault::in_register(space.names[*register].clone(), mask.clone()))
            }
            FaultSpace::Under { space, operations, each } => {
                let fault = space.nth(number / each)?;
                let operation = operations.nth(number % each, fault.mask());
                Some(fault.with(operation))
            }
            FaultSpace::Clustered { space, .. } => space.nth(number),
            FaultSpace::Paired(space) => {
                let (moment, number) = space.find(number)?;
                moment.space.nth(number)
            }
        }
    }

    /// What its faults change.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        match self {
            FaultSpace::Ram(space) => extent.bytes = space.ranges.iter().map(|(_, range)| *range).collect(),
            FaultSpace::Reg(space) => {
                let faults = space.faults.iter();
                extent.bits = faults.map(|(name, mask)| (space.names[*name].clone(), mask.clone())).collect();
            }
            FaultSpace::Under { space, .. } | FaultSpace::Clustered { space, .. } => extent = space.extent(),
            FaultSpace::Paired(space) => {
                let all: Vec<Extent> = space.spaces().map(FaultSpace::extent).collect();
                extent.bytes = all.iter().flat_map(|one| one.bytes.ranges().iter().copied()).collect();
                extent.bits = all.into_iter().flat_map(|one| one.bits).collect();
            }
        }
        extent
    }

    /// Draws one fault, every one as likely as every other.
    pub fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Fault {
        let number = rng.random_range(0..self.len());
        self.nth(number).expect("the number is below the length")
    }
}

/// The faults of a moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When, counted from the quiescent point.
    pub after: VirtualNs,
    /// One of these.
    pub space: Arc<FaultSpace>,
    /// What strikes in the same trial, and when.
    pub more: Vec<(VirtualNs, Fault)>,
}

/// Faults that each have a moment.
#[derive(Clone, Debug)]
pub struct PairedSpace {
    /// Of each moment the number of its first fault, and what strikes; in order.
    parts: Vec<(u64, Moment)>,
    len: u64,
}

impl PairedSpace {
    /// Of moments with their faults.
    ///
    /// # Errors
    /// There is none, or they cannot be numbered.
    pub fn new(moments: Vec<Moment>) -> Result<PairedSpace, SpaceError> {
        let mut all = PairedSpace { parts: Vec::with_capacity(moments.len()), len: 0 };
        for moment in moments {
            let len = all.len.checked_add(moment.space.len()).ok_or(SpaceError::TooLarge)?;
            all.parts.push((all.len, moment));
            all.len = len;
        }
        match all.len {
            0 => Err(SpaceError::Empty("there is no instant".to_owned())),
            _ => Ok(all),
        }
    }

    /// The moment of the fault with this number, and its number there.
    fn find(&self, number: u64) -> Option<(&Moment, u64)> {
        let at = self.parts.partition_point(|(first, _)| *first <= number).checked_sub(1)?;
        let (first, moment) = &self.parts[at];
        Some((moment, number - first)).filter(|(moment, number)| *number < moment.space.len())
    }

    /// The spaces of all moments, each once.
    fn spaces(&self) -> impl Iterator<Item = &FaultSpace> {
        let mut known = HashSet::new();
        let all = self.parts.iter().map(|(_, moment)| &moment.space);
        all.filter(move |space| known.insert(Arc::as_ptr(space))).map(|space| &**space)
    }
}

/// What the faults of a space change.
#[derive(Debug, Default)]
pub struct Extent {
    /// These bytes of RAM.
    bytes: RangeSet,
    /// These bits of registers, each as a fault has them.
    bits: BTreeSet<(String, Vec<u8>)>,
}

impl Extent {
    /// Whether they have a fault in common, or a byte of RAM.
    #[must_use]
    pub fn meets(&self, other: &Extent) -> bool {
        !self.bytes.intersection(&other.bytes).is_empty() || !self.bits.is_disjoint(&other.bits)
    }
}

/// The words that a pattern in RAM must lie in: of so many bytes, at a multiple of that. Of single bytes it may cross any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Align(u8);

impl Align {
    /// No word: a pattern may be anywhere.
    pub const BYTE: Align = Align(1);

    /// How many bytes a word has.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.into()
    }
}

impl From<Align> for u64 {
    fn from(align: Align) -> u64 {
        align.bytes()
    }
}

impl TryFrom<u64> for Align {
    type Error = SpaceError;

    fn try_from(bytes: u64) -> Result<Self, SpaceError> {
        match bytes {
            1 | 2 | 4 | 8 => Ok(Align(bytes as u8)),
            _ => Err(SpaceError::Align(bytes)),
        }
    }
}

/// Faults in RAM: every place in the ranges at which the pattern fits without leaving its range.
#[derive(Clone, Debug)]
pub struct RamSpace {
    /// Each range with the number of its first fault.
    ranges: Vec<(u64, PhysRange)>,
    pattern: Pattern,
    align: Align,
    pub(super) len: u64,
}

impl RamSpace {
    /// The space of a pattern over a set of bytes.
    ///
    /// # Errors
    /// The pattern asks for a bit that a byte does not have, or fits nowhere.
    pub fn new(bytes: &RangeSet, pattern: Pattern) -> Result<Self, SpaceError> {
        RamSpace::aligned(bytes, pattern, Align::BYTE)
    }

    /// The same in words: the pattern's bits are those of a word, least significant byte first, and a pattern leaves no word.
    ///
    /// # Errors
    /// The pattern asks for a bit that a word does not have, or fits nowhere.
    pub fn aligned(bytes: &RangeSet, pattern: Pattern, align: Align) -> Result<Self, SpaceError> {
        pattern.check()?;
        // Its other bits are no matter of this space.
        let pattern = if pattern == Pattern::Cluster { Pattern::SINGLE } else { pattern };
        let bits = align.bytes() * 8;
        match (pattern, align) {
            (Pattern::AdjacentAt { bit, .. }, Align::BYTE) if bit.0 > 7 => {
                return Err(SpaceError::BitOfByte { bit: bit.0 });
            }
            // From each byte on it would have each fault several times.
            (Pattern::Field { high, .. }, Align::BYTE) if high.0 > 7 => {
                return Err(SpaceError::BitOfByte { bit: high.0 });
            }
            (_, Align::BYTE) => {}
            (Pattern::Adjacent(count), _) if u64::from(count) > bits => {
                return Err(SpaceError::Word { bits: count.into(), word: bits });
            }
            (Pattern::AdjacentAt { .. } | Pattern::Mask(_) | Pattern::Field { .. }, _)
                if pattern.bytes() > align.bytes() =>
            {
                return Err(SpaceError::Word { bits: pattern.end(), word: bits });
            }
            _ => {}
        }
        let mut all = RamSpace { ranges: Vec::new(), pattern, align, len: 0 };
        for range in bytes.ranges() {
            let Some(range) = all.words(*range) else { continue };
            let places = all.places(range).ok_or(SpaceError::TooLarge)?;
            if places > 0 {
                all.ranges.push((all.len, range));
                all.len = all.len.checked_add(places).ok_or(SpaceError::TooLarge)?;
            }
        }
        if all.len == 0 {
            let why =
                if bytes.is_empty() { "no RAM is selected" } else { "the bits fit into none of the ranges" };
            return Err(SpaceError::Empty(why.to_owned()));
        }
        Ok(all)
    }

    /// The whole words of a range.
    fn words(&self, range: PhysRange) -> Option<PhysRange> {
        let word = self.align.bytes();
        let first = range.first.0.checked_next_multiple_of(word)?;
        let last = match range.last.0 {
            u64::MAX => u64::MAX,
            last => ((last + 1) / word * word).checked_sub(1)?,
        };
        PhysRange::new(GuestPhys(first), GuestPhys(last))
    }

    /// Whether no fault leaves its word, so that each word has as many.
    fn is_by_word(&self) -> bool {
        self.align != Align::BYTE || self.pattern.field().is_some()
    }

    /// How many faults a word has; those of single bytes may cross them.
    fn in_word(&self) -> u64 {
        match self.pattern {
            Pattern::Adjacent(count) => self.align.bytes() * 8 - u64::from(count) + 1,
            pattern => pattern.field().map_or(1, |(_, bits)| bits),
        }
    }

    /// The bytes of its faults, where each fault is in one byte, and each byte has as many.
    #[must_use]
    pub fn single_bytes(&self) -> Option<Vec<PhysRange>> {
        let single = match self.pattern {
            Pattern::Adjacent(count) => count == 1,
            pattern => pattern.bytes() == 1 && self.align == Align::BYTE,
        };
        single.then(|| self.ranges.iter().map(|(_, range)| *range).collect())
    }

    /// How many faults a range has; `None` when that is no 64-bit number.
    fn places(&self, range: PhysRange) -> Option<u64> {
        match self.pattern {
            _ if self.is_by_word() => (range.len() / self.align.bytes()).checked_mul(self.in_word()),
            Pattern::Adjacent(count) => {
                Some(range.len().checked_mul(8)?.saturating_sub(u64::from(count) - 1))
            }
            pattern => Some(range.len().saturating_sub(pattern.bytes() - 1)),
        }
    }

    pub(super) fn nth(&self, number: u64) -> Option<Fault> {
        if number >= self.len {
            return None;
        }
        let at = self.ranges.partition_point(|(first, _)| *first <= number) - 1;
        let (first, range) = self.ranges[at];
        let place = number - first;
        let (byte, bit, bits) = match self.pattern {
            pattern if self.is_by_word() => {
                let (bit, bits) = match pattern {
                    Pattern::Field { low, .. } => (low.0 + (place % self.in_word()) as u32, 1),
                    Pattern::Adjacent(count) => ((place % self.in_word()) as u32, u64::MAX >> (64 - count)),
                    pattern => pattern.fixed()?,
                };
                (place / self.in_word() * self.align.bytes() + u64::from(bit / 8), bit % 8, bits)
            }
            Pattern::Adjacent(count) => (place / 8, (place % 8) as u32, u64::MAX >> (64 - count)),
            pattern => {
                let (bit, bits) = pattern.fixed()?;
                (place, bit, bits)
            }
        };
        let wide = (u128::from(bits) << bit).to_le_bytes();
        let used = (128 - (u128::from(bits) << bit).leading_zeros()).div_ceil(8) as usize;
        Some(Fault::in_ram(GuestPhys(range.first.0 + byte), wide[..used].to_vec()))
    }
}

/// Faults in registers: every run of writable bits that fits the pattern.
#[derive(Clone, Debug)]
pub struct RegSpace {
    names: Vec<String>,
    faults: Vec<(usize, Vec<u8>)>,
}

impl RegSpace {
    /// The one fault of all bits of a program counter.
    fn of_program_counter(self) -> Result<RegSpace, SpaceError> {
        let (Some((_, mask)), [name]) = (self.faults.first(), &self.names[..]) else {
            return Err(SpaceError::Instruction);
        };
        let all = vec![0xff; mask.len()];
        of_program_counter(name).ok_or(SpaceError::Instruction)?;
        Ok(RegSpace { faults: vec![(0, all)], names: self.names })
    }

    /// The faults in registers that can be stuck.
    fn that_may_be_stuck(mut self) -> Result<RegSpace, SpaceError> {
        let names = &self.names;
        self.faults.retain(|(register, _)| may_be_stuck(&names[*register]));
        match self.faults.is_empty() {
            true => Err(SpaceError::Empty(format!("none of these registers can be stuck: {NOT_STUCK}"))),
            false => Ok(self),
        }
    }

    /// How many faults each register has.
    pub fn by_register(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut counts = vec![0u64; self.names.len()];
        self.faults.iter().for_each(|(index, _)| counts[*index] += 1);
        self.names.iter().map(String::as_str).zip(counts)
    }

    /// The space of a pattern over registers.
    ///
    /// # Errors
    /// The pattern asks for bits that none of the registers has or that none takes.
    pub fn new(registers: &[FlippableRegister], pattern: Pattern) -> Result<Self, SpaceError> {
        pattern.check()?;
        if pattern == Pattern::Cluster {
            return Err(SpaceError::Empty("clusters are of RAM; registers have no array".to_owned()));
        }
        let mut faults = Vec::new();
        for (index, register) in registers.iter().enumerate() {
            let starts = match (pattern.fixed(), pattern.field()) {
                (Some((bit, _)), _) => bit..bit.saturating_add(1),
                (None, Some((low, bits))) => low..low.saturating_add(bits as u32),
                (None, None) => 0..register.bits,
            };
            let bits = match pattern {
                Pattern::Adjacent(count) => u64::MAX >> (64 - count),
                _ => pattern.fixed().map_or(1, |(_, bits)| bits),
            };
            for start in starts {
                if let Some(mask) = place_bits(bits, start, register) {
                    faults.push((index, mask));
                }
            }
        }
        if !faults.is_empty() {
            let names = registers.iter().map(|register| register.name.clone()).collect();
            return Ok(RegSpace { names, faults });
        }
        Err(match (pattern.fixed(), registers.iter().max_by_key(|register| register.bits)) {
            (_, None) => SpaceError::Empty("no register is selected".to_owned()),
            (Some((bit, _)), Some(widest)) if bit >= widest.bits => SpaceError::BitOfRegister {
                bit,
                why: format!("`{}` has bits 0 to {}", widest.name, widest.bits - 1),
            },
            (Some((bit, _)), Some(widest)) => SpaceError::BitOfRegister {
                bit,
                why: format!("`{}` does not take a flip of these bits over the gdb stub", widest.name),
            },
            (None, Some(widest)) => {
                SpaceError::Empty(format!("`{}` has no such run of writable bits", widest.name))
            }
        })
    }
}

/// `bits` moved up to `start`, as wide as the register, when all of them can be written there.
fn place_bits(bits: u64, start: u32, register: &FlippableRegister) -> Option<Vec<u8>> {
    let mut mask = vec![0u8; register.writable.len()];
    for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
        let at = start.checked_add(bit).filter(|at| *at < register.bits)?;
        if register.writable.get((at / 8) as usize)? >> (at % 8) & 1 == 0 {
            return None;
        }
        mask[(at / 8) as usize] |= 1 << (at % 8);
    }
    Some(mask)
}
