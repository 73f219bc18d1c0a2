//! What is done to the bits of a fault.
//!
//! Invariant: **an operation is one row of [`ROWS`]**: its name in every stored form, what it does to a byte, and
//! whether it holds on. A new one is a variant and its row.

use std::fmt;
use std::str::FromStr;

use crate::arch::of_program_counter;
use crate::fault::hold::{Hold, HoldError};
use crate::text::stored_as_text;
use crate::units::{VirtualNs, parse_number};

/// What is done to the bits of a mask. Stored forms that name none are flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Each bit becomes its opposite.
    #[default]
    Flip,
    /// Each bit becomes 0. One that is 0 stays as it is.
    Set0,
    /// Each bit becomes 1. One that is 1 stays as it is.
    Set1,
    /// The bits become those of a number, whose bit 0 goes to the lowest bit of the mask. Bits outside of the mask stay.
    Overwrite(u64),
    /// The bits are written as they are: no fault at all, by the way of one.
    Nothing,
    /// Of a program counter: the instruction that is about to be executed is not, and the next one is.
    Skip,
    /// Of a program counter: a bit of the instruction that is about to be executed becomes its opposite, in memory. Which one
    /// is the remainder of this number by that of its bits.
    Opcode(u64),
    /// Each bit becomes 0, and stays it whatever is written there.
    Stuck0(Hold),
    /// Each bit becomes 1, and stays it whatever is written there.
    Stuck1(Hold),
    /// Each bit becomes its opposite, and stays that whatever is written there.
    Stuck(Hold),
}

/// All that there is to know of an operation.
struct Row {
    name: &'static str,
    /// One of its kind.
    operation: Operation,
    /// The byte after, of the byte before, the bits of its mask, and those of the number.
    apply: fn(u8, u8, u8) -> u8,
    /// Whether it stays in force after its instant.
    holds_on: bool,
}

/// In the order of the variants.
static ROWS: &[Row] = &[
    Row { name: "flip", operation: Operation::Flip, apply: |old, mask, _| old ^ mask, holds_on: false },
    Row { name: "set0", operation: Operation::Set0, apply: |old, mask, _| old & !mask, holds_on: false },
    Row { name: "set1", operation: Operation::Set1, apply: |old, mask, _| old | mask, holds_on: false },
    Row {
        name: "overwrite",
        operation: Operation::Overwrite(0),
        apply: |old, mask, number| (old & !mask) | (number & mask),
        holds_on: false,
    },
    Row { name: "nothing", operation: Operation::Nothing, apply: |old, _, _| old, holds_on: false },
    // What it becomes depends on the instruction: the flip asks the machine.
    Row { name: "skip", operation: Operation::Skip, apply: |old, _, _| old, holds_on: false },
    Row { name: "opcode", operation: Operation::Opcode(0), apply: |old, _, _| old, holds_on: false },
    Row {
        name: "stuck0",
        operation: Operation::Stuck0(Hold::TO_THE_END),
        apply: |old, mask, _| old & !mask,
        holds_on: true,
    },
    Row {
        name: "stuck1",
        operation: Operation::Stuck1(Hold::TO_THE_END),
        apply: |old, mask, _| old | mask,
        holds_on: true,
    },
    Row {
        name: "stuck",
        operation: Operation::Stuck(Hold::TO_THE_END),
        apply: |old, mask, _| old ^ mask,
        holds_on: true,
    },
];

impl Operation {
    fn row(self) -> &'static Row {
        let place = match self {
            Operation::Flip => 0,
            Operation::Set0 => 1,
            Operation::Set1 => 2,
            Operation::Overwrite(_) => 3,
            Operation::Nothing => 4,
            Operation::Skip => 5,
            Operation::Opcode(_) => 6,
            Operation::Stuck0(_) => 7,
            Operation::Stuck1(_) => 8,
            Operation::Stuck(_) => 9,
        };
        &ROWS[place]
    }

    fn number(self) -> Option<u64> {
        match self {
            Operation::Overwrite(number) | Operation::Opcode(number) => Some(number),
            _ => None,
        }
    }

    /// The bytes after, of the bytes before and the mask; both least significant (lowest address) first.
    #[must_use]
    pub fn apply(self, old: &[u8], mask: &[u8]) -> Vec<u8> {
        let apply = self.row().apply;
        let lowest = mask.iter().position(|bits| *bits != 0).unwrap_or(0);
        let bit = mask.get(lowest).map_or(0, |bits| bits.trailing_zeros() % 8);
        let number = u128::from(self.number().unwrap_or(0)) << bit;
        let number = std::iter::repeat_n(0, lowest).chain(number.to_le_bytes()).chain(std::iter::repeat(0));
        old.iter().zip(mask).zip(number).map(|((byte, bits), number)| apply(*byte, *bits, number)).collect()
    }

    /// Whether it is about the instruction that is executed next, so that its register is the program counter.
    #[must_use]
    pub fn is_of_instruction(self) -> bool {
        matches!(self, Operation::Skip | Operation::Opcode(_))
    }

    /// Whether it stays in force after its instant: what the guest writes there later does not take.
    #[must_use]
    pub fn holds_on(self) -> bool {
        self.row().holds_on
    }

    /// When it is in force, of one that holds on.
    #[must_use]
    pub fn hold(self) -> Option<Hold> {
        match self {
            Operation::Stuck0(hold) | Operation::Stuck1(hold) | Operation::Stuck(hold) => Some(hold),
            _ => None,
        }
    }

    /// The same for as long as this; `None` of one that does not hold on.
    fn held(self, hold: Hold) -> Option<Operation> {
        match self {
            Operation::Stuck0(_) => Some(Operation::Stuck0(hold)),
            Operation::Stuck1(_) => Some(Operation::Stuck1(hold)),
            Operation::Stuck(_) => Some(Operation::Stuck(hold)),
            _ => None,
        }
    }
}

/// Text that names no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// No name of one.
    #[error(
        "there is no operation `{0}`; write flip, set0, set1, overwrite:NUMBER, overwrite:random, skip, \
         opcode, stuck0, stuck1, stuck or nothing"
    )]
    Unknown(String),
    /// Times at which it cannot be in force.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// Several where one is asked for.
    #[error("a single fault has one number; write {0}:NUMBER")]
    Several(&'static str),
}

impl FromStr for Operation {
    type Err = OperationError;

    fn from_str(text: &str) -> Result<Self, OperationError> {
        let whole = text;
        let unknown = || OperationError::Unknown(whole.to_owned());
        if let Some((_, operation)) = DRAWN.iter().find(|(name, _)| *name == text) {
            return Err(OperationError::Several(operation));
        }
        let (text, hold) = match text.split_once(char::is_whitespace) {
            Some((name, hold)) => (name, Some(Hold::parse(text, hold)?)),
            None => (text, None),
        };
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(parse_number(number).map_err(|_| unknown())?)),
            None => (text, None),
        };
        let row = ROWS.iter().find(|row| row.name == name).ok_or_else(unknown)?;
        let operation = match (row.operation, number) {
            (Operation::Overwrite(_), Some(number)) => Operation::Overwrite(number),
            (Operation::Opcode(_), Some(number)) => Operation::Opcode(number),
            (Operation::Overwrite(_), None) | (_, Some(_)) => return Err(unknown()),
            (operation, None) => operation,
        };
        let Some(hold) = hold else { return Ok(operation) };
        let why = || format!("{operation} is over at once, and has no length");
        operation.held(hold).ok_or_else(|| HoldError { text: whole.to_owned(), why: why() }.into())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.row().name;
        match (self.number(), self.hold()) {
            (Some(number), _) => write!(f, "{name}:{number:#x}"),
            (None, Some(hold)) => write!(f, "{name}{hold}"),
            (None, None) => f.write_str(name),
        }
    }
}

stored_as_text!(Operation);
stored_as_text!(Operations);

/// Which operations faults are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operations {
    /// This one alone.
    One(Operation),
    /// Overwritten with a number that is drawn: one of all that the bits can hold, or of [`NUMBERS`] that lie evenly
    /// among these.
    Random,
    /// A bit of an instruction: each of it is as likely.
    Opcode,
}

/// What is written of those of which each fault has its own number, and the operation that it has then.
const DRAWN: [(&str, &str); 2] = [("overwrite:random", "overwrite"), ("opcode", "opcode")];

/// How many numbers an overwriting is drawn from at most: of more than 24 bits, not all of them.
pub const NUMBERS: u64 = 1 << 24;

impl Default for Operations {
    fn default() -> Self {
        Operations::One(Operation::Flip)
    }
}

impl Operations {
    /// Whether it is a flip, as ever.
    #[must_use]
    pub fn is_flip(&self) -> bool {
        *self == Operations::default()
    }

    /// Whether they are about the instruction that is executed next.
    #[must_use]
    pub fn of_instruction(self) -> bool {
        match self {
            Operations::One(operation) => operation.is_of_instruction(),
            Operations::Opcode => true,
            Operations::Random => false,
        }
    }

    /// Whether they stay in force after their instant.
    #[must_use]
    pub fn hold_on(self) -> bool {
        matches!(self, Operations::One(operation) if operation.holds_on())
    }

    /// The same at these times, which a file has in keys beside it.
    ///
    /// # Errors
    /// They do not hold on, or have times already; or they cannot be in force at these.
    pub fn during(
        self,
        long: Option<VirtualNs>,
        every: Option<VirtualNs>,
    ) -> Result<Operations, OperationError> {
        if long.is_none() && every.is_none() {
            return Ok(self);
        }
        let wrong =
            |why: &str| OperationError::from(HoldError { text: self.to_string(), why: why.to_owned() });
        let Operations::One(operation) = self else {
            return Err(wrong("it is over at once, and has no length"));
        };
        match operation.hold() {
            None => Err(wrong("it is over at once, and has no length")),
            Some(Hold::TO_THE_END) => {
                let hold = Hold::new(long, every).map_err(wrong)?;
                operation.held(hold).map(Operations::One).ok_or_else(|| wrong("it has no length"))
            }
            Some(_) => Err(wrong("it has a length in itself, and `for` or `every` beside it; drop one")),
        }
    }

    /// How many there are, of a mask of so many bits, in this register if it is in one.
    #[must_use]
    pub fn len(self, bits: u32, register: Option<&str>) -> u64 {
        match self {
            Operations::One(_) => 1,
            Operations::Opcode => {
                let arch = register.and_then(of_program_counter);
                arch.map_or(1, |arch| arch.instruction_bits)
            }
            Operations::Random => 1u64.checked_shl(bits).map_or(NUMBERS, |all| all.min(NUMBERS)),
        }
    }

    /// The one with this number, which is below [`len`](Self::len), for a mask.
    #[must_use]
    pub fn nth(self, number: u64, mask: &[u8]) -> Operation {
        match self {
            Operations::One(operation) => operation,
            Operations::Random => Operation::Overwrite(spread(number, mask)),
            Operations::Opcode => Operation::Opcode(number),
        }
    }
}

/// The number of an overwriting that gives the ones of a mask the bits of `number`, or those and others.
fn spread(number: u64, mask: &[u8]) -> u64 {
    let ones: u32 = mask.iter().map(|bits| bits.count_ones()).sum();
    // Of more bits, the highest are those of the number.
    let number = match ones.saturating_sub(NUMBERS.ilog2()) {
        0 => number,
        more => number << more | mixed(number) >> (64 - more),
    };
    let mut bits = (0..mask.len() * 8).filter(|bit| mask[bit / 8] >> (bit % 8) & 1 == 1);
    let Some(lowest) = bits.next() else { return 0 };
    let places = std::iter::once(0).chain(bits.map(|bit| bit - lowest));
    places.take_while(|place| *place < 64).zip(0..64).map(|(place, bit)| (number >> bit & 1) << place).sum()
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014): a
/// permutation of all 64-bit numbers.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl FromStr for Operations {
    type Err = OperationError;

    fn from_str(text: &str) -> Result<Self, OperationError> {
        match text {
            "overwrite:random" => Ok(Operations::Random),
            "opcode" => Ok(Operations::Opcode),
            one => one.parse().map(Operations::One),
        }
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operations::One(operation) => operation.fmt(f),
            Operations::Random => f.write_str("overwrite:random"),
            Operations::Opcode => f.write_str("opcode"),
        }
    }
}

#[cfg(test)]
mod tests;
