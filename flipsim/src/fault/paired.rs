//! The faults in what is used at instants of the golden run: each strikes at an instant of its own.
//!
//! Invariant: **each pair of fault and moment is as likely as every other.**

use std::collections::HashMap;
use std::sync::Arc;

use crate::arch::RegisterPart;
use crate::fault::error::SpaceError;
use crate::fault::model::Pattern;
use crate::fault::operation::Operations;
use crate::fault::registers::FlippableRegister;
use crate::fault::space::{Align, FaultSpace, Moment, PairedSpace, RamSpace, RegSpace};
use crate::fault::used::{Used, UsedHere};
use crate::memory::{PhysRange, RangeSet};

/// What the faults of a space are like.
#[derive(Clone, Copy, Debug)]
pub struct Like {
    /// Which bits.
    pub pattern: Pattern,
    /// In which words.
    pub align: Align,
    /// What is done to them.
    pub operations: Operations,
}

/// What is used at a moment: many of them use the same.
type Places = (Vec<RegisterPart>, Vec<PhysRange>);

/// The faults in what is used at each of these instants. An instant at which nothing is used that takes such a fault has none.
///
/// # Errors
/// There is no fault at all, or one kind of them cannot be.
pub fn used_space(
    used: Used,
    here: &[UsedHere],
    like: Like,
    registers: &[FlippableRegister],
    ram: &RangeSet,
) -> Result<FaultSpace, SpaceError> {
    let mut known: HashMap<Places, Option<Arc<FaultSpace>>> = HashMap::new();
    let (mut parts, mut why) = (Vec::new(), None);
    for one in here {
        let key = (one.registers(used).to_vec(), one.bytes(used));
        let space = known.entry(key).or_insert_with_key(|(parts, bytes)| {
            let space = match used.is_register() {
                true => in_registers(parts, like.pattern, registers),
                false => in_ram(bytes, like, ram),
            };
            let space = space.and_then(|space| space.under(like.operations));
            space.map(Arc::new).map_err(|error| why = Some(error)).ok()
        });
        if let Some(space) = space {
            parts.push(Moment { after: one.struck(used), space: Arc::clone(space), more: Vec::new() });
        }
    }
    match why.filter(|_| parts.is_empty()) {
        Some(why) => Err(why),
        None => PairedSpace::new(parts).map(FaultSpace::Paired),
    }
}

fn in_registers(
    parts: &[RegisterPart],
    pattern: Pattern,
    registers: &[FlippableRegister],
) -> Result<FaultSpace, SpaceError> {
    let chosen = parts.iter().filter_map(|part| {
        let register = registers.iter().find(|register| register.name == part.register)?;
        let inside = part.low..part.low.saturating_add(part.bits);
        let bits = (0u32..).zip(&register.writable);
        let byte = |(place, byte): (u32, &u8)| {
            (0..8)
                .filter(|bit| inside.contains(&(place * 8 + bit)))
                .fold(0, |kept, bit| kept | byte & 1 << bit)
        };
        Some(FlippableRegister { writable: bits.map(byte).collect(), ..register.clone() })
    });
    RegSpace::new(&chosen.collect::<Vec<_>>(), pattern).map(FaultSpace::Reg)
}

fn in_ram(bytes: &[PhysRange], like: Like, ram: &RangeSet) -> Result<FaultSpace, SpaceError> {
    let bytes: RangeSet = bytes.iter().copied().collect();
    RamSpace::aligned(&bytes.intersection(ram), like.pattern, like.align).map(FaultSpace::Ram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::RegisterPart;
    use crate::units::{GuestPhys, VirtualNs};

    fn part(register: &str, low: u32, bits: u32) -> RegisterPart {
        RegisterPart { register: register.to_owned(), low, bits }
    }

    fn at(after: u64) -> UsedHere {
        let (read, written, loaded, stack) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        UsedHere { after: VirtualNs(after), read, written, loaded, stack }
    }

    fn like(pattern: Pattern) -> Like {
        Like { pattern, align: Align::BYTE, operations: Operations::default() }
    }

    fn all(space: &FaultSpace) -> Vec<(u64, String, Vec<u8>)> {
        let one = |number| {
            let (after, fault) = (space.moment(number).unwrap(), space.nth(number).unwrap());
            (after.0, fault.place(), fault.mask().to_vec())
        };
        (0..space.len()).map(one).collect()
    }

    #[test]
    fn each_bit_that_is_used_is_struck_at_its_own_instant_and_once() {
        let registers = [FlippableRegister {
            name: "rax".into(),
            bits: 64,
            class: "core".into(),
            writable: vec![0xff, 0x0f, 0, 0, 0, 0, 0, 0],
        }];
        let here = [
            UsedHere { read: vec![part("rax", 8, 8)], ..at(5) },
            // Of a register that takes no flip, and of no register, there is none.
            UsedHere { read: vec![part("cr3", 0, 64)], ..at(6) },
            UsedHere { written: vec![part("rax", 0, 2)], ..at(7) },
        ];
        let of = |used| used_space(used, &here, like(Pattern::SINGLE), &registers, &RangeSet::default());
        let read = of(Used::Read).unwrap();
        let bit = |bit: u8| (5, "rax".to_owned(), vec![0, 1 << bit, 0, 0, 0, 0, 0, 0]);
        assert_eq!(all(&read), [bit(0), bit(1), bit(2), bit(3)]);
        assert_eq!(read.nth(4), None);
        // What an instruction writes is struck behind it.
        let written = of(Used::Written).unwrap();
        assert_eq!(all(&written).iter().map(|(after, ..)| *after).collect::<Vec<_>>(), [8, 8]);
        assert!(matches!(of(Used::Loaded), Err(SpaceError::Empty(_))));
    }

    #[test]
    fn the_bytes_of_a_stack_are_those_nearest_to_its_pointer() {
        let range = |first, last| PhysRange::new(GuestPhys(first), GuestPhys(last)).unwrap();
        // It goes on in another page.
        let stack = vec![range(0x1ffe, 0x1fff), range(0x8000, 0x8fff)];
        let here = [UsedHere { stack, ..at(3) }];
        let ram: RangeSet = [range(0, 0xffff)].into_iter().collect();
        let space = used_space(Used::Stack(3), &here, like(Pattern::SINGLE), &[], &ram).unwrap();
        let mut places: Vec<String> = all(&space).into_iter().map(|(_, place, _)| place).collect();
        places.dedup();
        assert_eq!((space.len(), places), (24, ["0x1ffe", "0x1fff", "0x8000"].map(str::to_owned).to_vec()));
    }
}
