//! Why there is no such fault space, and what can be chosen instead.

use crate::fault::array::MappingError;

/// A fault space that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// An invalid number of adjacent bits.
    #[error("{0} adjacent bits cannot flip together; choose 1 to 64")]
    Count(u32),
    /// A mask that flips nothing.
    #[error("the mask is 0: it would flip nothing")]
    EmptyMask,
    /// A field that cannot be.
    #[error("bits {low} to {high} are no field; the lowest comes first, and 63 is the highest")]
    Field {
        /// The first.
        low: u32,
        /// The last.
        high: u32,
    },
    /// A bit that a byte does not have.
    #[error("bit {bit} is out of range: a byte of RAM has bits 0 to 7")]
    BitOfByte {
        /// What was asked for.
        bit: u32,
    },
    /// A word that cannot be.
    #[error("words of {0} bytes are not possible; choose 1, 2, 4 or 8")]
    Align(u64),
    /// A pattern that does not fit into a word.
    #[error(
        "the pattern reaches to bit {bits}, and a word has {word} bits; choose a larger `align`, or fewer bits"
    )]
    Word {
        /// How many bits it takes.
        bits: u64,
        /// How many a word has.
        word: u64,
    },
    /// No register is wide enough, or the bit cannot be written in any.
    #[error("bit {bit} is out of range: {why}")]
    BitOfRegister {
        /// What was asked for.
        bit: u32,
        /// The widest register, or what cannot be written.
        why: String,
    },
    /// What is about an instruction is done elsewhere than at the program counter.
    #[error(
        "`skip` and `opcode` are of the program counter alone: targets = [\"reg:pc\"], and on x86_64 [\"reg:rip\"]"
    )]
    Instruction,
    /// Clusters that cannot be.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// No place is left.
    #[error("there is nothing to flip: {0}")]
    Empty(String),
    /// More faults than a 64-bit number counts.
    #[error("the ranges hold more faults than can be numbered; choose smaller ranges")]
    TooLarge,
}
