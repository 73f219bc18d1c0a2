//! By what the trials of a stratum are distinguished.
//!
//! Invariant: a key has one meaning in every output; a new one is a variant here and a column of [`super::Breakdowns`].

use serde::Serialize;

/// By what trials are distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The bit that flips: 0 to 7 of the byte in RAM, from 0 of the register. No key: several at once.
    Bit,
    /// The register. No key: in RAM.
    Register,
    /// The innermost region of the guest's memory map. No key: in no region, or a register.
    Region,
    /// The kernel symbol, without the offset. No key: in none, or a register.
    Symbol,
    /// What the console's report is called. No key: there was none.
    Title,
    /// Whether the guest of the golden run was `busy` or `idle` then. No key: that is not known.
    Moment,
    /// Of which part of the kernel the function is that the first report names, or that a program reported. No key: there was no
    /// report, or it names none that is known.
    Subsystem,
}

impl By {
    /// All of them.
    pub const ALL: [By; 7] =
        [By::Bit, By::Register, By::Region, By::Symbol, By::Title, By::Moment, By::Subsystem];

    /// Whether it follows from the outcome, as what was reported does.
    #[must_use]
    pub fn follows(self) -> bool {
        matches!(self, By::Title | By::Subsystem)
    }

    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            By::Bit => "bit",
            By::Register => "register",
            By::Region => "region",
            By::Symbol => "symbol",
            By::Title => "title",
            By::Moment => "moment",
            By::Subsystem => "subsystem",
        }
    }
}
