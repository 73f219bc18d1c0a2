//! Where faults are drawn from: an address range, a region, a symbol, a register; and the fault space of such
//! targets in one guest.
//!
//! Invariant: **what is no RAM is refused**, and a bit that must not be flipped is in no space.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::fault::error::SpaceError;
use crate::fault::listed::Listed;
use crate::fault::model::Pattern;
use crate::fault::names::{GuestNames, NameError};
use crate::fault::profile::Profile;
use crate::fault::registers::FlippableRegister;
use crate::fault::space::{Align, FaultSpace, RamSpace, RegSpace};
use crate::fault::used::{Used, UsedByTrigger};
use crate::kernel::symbols::SymbolError;
use crate::memory::{MemoryError, PhysRange, RangeSet};
use crate::stats::Share;
use crate::text::{glob_matches, near_names};

/// Where faults strike.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultTarget {
    /// All of the RAM: `ram`.
    Ram,
    /// A region of `/proc/iomem`, by name or path: `region:Kernel code`.
    Region(String),
    /// Symbols of the kernel, as a glob: `symbol:tcp_*`.
    Symbol(String),
    /// A section of the kernel's file: `section:.data`.
    Section(String),
    /// The kernel's functions that have this share of the instructions that the golden run executes in it, those with
    /// the most first: `profile:95%`.
    Profile(Share),
    /// Addresses: `range:0x40000000+64K`.
    Range(PhysRange),
    /// Registers by name, as a glob: `reg:x*`.
    Register(String),
    /// Registers by class: `class:core`.
    Class(String),
    /// What is used at the instant of the fault: `operand:read`, `stack:128`.
    Used(Used),
    /// A trial, written out: `at:12ms reg:x5 bit:3`.
    Listed(Listed),
}

/// Text that is not a target of faults.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultTargetTextError {
    /// Of no valid form.
    #[error(
        "`{text}` is no target{hint}; write ram, region:NAME, symbol:GLOB, section:NAME, profile:SHARE, \
         range:FIRST-LAST, range:FIRST+LENGTH, reg:GLOB, class:NAME, operand:read, operand:written, operand:loaded, \
         stack:BYTES or at:TIME PLACE BITS"
    )]
    Form {
        /// The text.
        text: String,
        /// The kinds that are near, as ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// An invalid trial.
    #[error(
        "{0}; a trial is written at:TIME PLACE BITS, as in at:12ms reg:x5 bit:3, with `;` before each further fault"
    )]
    Listed(String),
    /// An invalid range.
    #[error(transparent)]
    Range(#[from] crate::memory::RangeError),
    /// A share that holds nothing.
    #[error("`{0}` has no function; write a share above 0, as in profile:95%")]
    NoShare(String),
    /// An invalid share.
    #[error("`{text}` is no share of a profile: {cause}")]
    Share {
        /// The text.
        text: String,
        /// What is wrong.
        cause: crate::stats::StatsError,
    },
}

impl FaultTarget {
    /// Whether faults are in registers.
    #[must_use]
    pub fn is_register(&self) -> bool {
        match self {
            FaultTarget::Register(_) | FaultTarget::Class(_) => true,
            FaultTarget::Used(used) => used.is_register(),
            FaultTarget::Listed(listed) => listed.is_register(),
            _ => false,
        }
    }

    /// The trial that it is, if it is written out.
    #[must_use]
    pub fn listed(&self) -> Option<&Listed> {
        if let FaultTarget::Listed(listed) = self { Some(listed) } else { None }
    }

    /// What is used at the instant of the fault, if it is that.
    #[must_use]
    pub fn used(&self) -> Option<Used> {
        if let FaultTarget::Used(used) = self { Some(*used) } else { None }
    }

    /// Whether it takes to know what the golden run executes.
    #[must_use]
    pub fn is_profile(&self) -> bool {
        matches!(self, FaultTarget::Profile(_))
    }

    /// Whether a register is meant.
    fn takes(&self, register: &FlippableRegister) -> bool {
        match self {
            FaultTarget::Register(glob) => glob_matches(glob, &register.name),
            FaultTarget::Class(class) => register.class == *class,
            _ => false,
        }
    }

    /// What there is in place of a register that there is not.
    fn other_registers(&self, registers: &[FlippableRegister]) -> String {
        match self {
            FaultTarget::Class(class) => {
                let classes: BTreeSet<&str> =
                    registers.iter().map(|register| register.class.as_str()).collect();
                let near = near_names(class, classes.iter().copied());
                let all: Vec<&str> = classes.into_iter().collect();
                match all.is_empty() {
                    true => "; this guest has none that takes one".to_owned(),
                    false => format!("{near}; the classes there are: {}", all.join(", ")),
                }
            }
            FaultTarget::Register(glob) => {
                let names = registers.iter().map(|register| register.name.as_str());
                format!("{}; `cargo xtask inject list reg` shows them all", near_names(glob, names))
            }
            _ => String::new(),
        }
    }

    /// The parts of it that have names: of several functions or variables each, of anything else the whole.
    ///
    /// # Errors
    /// It names nothing of this guest.
    pub fn named(&self, guest: &TargetGuest<'_>) -> Result<Vec<(String, PhysRange)>, FaultTargetError> {
        let ranges = self.ranges(guest)?;
        let name = |range: &PhysRange| match self {
            FaultTarget::Profile(_) | FaultTarget::Symbol(_) => guest.names.symbol_at(range.first),
            _ => None,
        };
        Ok(ranges
            .into_iter()
            .map(|range| (name(&range).unwrap_or_else(|| self.to_string()), range))
            .collect())
    }

    /// The bytes that are meant, whether they are RAM or not.
    fn ranges(&self, guest: &TargetGuest<'_>) -> Result<Vec<PhysRange>, FaultTargetError> {
        let symbols = || {
            let none = |why: &str| FaultTargetError::NoSymbols { target: self.clone(), why: why.to_owned() };
            guest.names.symbols().map_err(none)
        };
        Ok(match self {
            FaultTarget::Ram => guest.names.map.system_ram().ranges().to_vec(),
            FaultTarget::Region(name) => guest.names.map.region(name)?.ranges().to_vec(),
            FaultTarget::Section(name) => vec![symbols()?.section(name)?],
            FaultTarget::Profile(share) => {
                symbols()?;
                let profile = guest.profile.ok_or_else(|| FaultTargetError::NoProfile(self.clone()))?;
                profile.covering(share.value()).iter().map(|function| function.range).collect()
            }
            FaultTarget::Range(range) => vec![*range],
            FaultTarget::Symbol(glob) => {
                let map = symbols()?;
                // A whole name may be that of a place without a size, or in memory that was given back.
                if map.symbols().get(glob).is_ok() {
                    return Ok(vec![map.resolve(glob)?]);
                }
                let all = map.symbols().all().iter().filter(|symbol| symbol.size > 0);
                let found: Vec<PhysRange> = all
                    .filter(|symbol| glob_matches(glob, &symbol.name))
                    .filter_map(|symbol| map.resolve(&symbol.name).ok())
                    .collect();
                if found.is_empty() {
                    let names = map.symbols().all().iter().map(|symbol| symbol.name.as_str());
                    return Err(FaultTargetError::NoSymbol {
                        glob: glob.clone(),
                        hint: near_names(glob, names),
                    });
                }
                found
            }
            FaultTarget::Register(_)
            | FaultTarget::Class(_)
            | FaultTarget::Used(_)
            | FaultTarget::Listed(_) => Vec::new(),
        })
    }
}

/// The parts of a guest that targets name.
#[derive(Clone, Copy, Debug)]
pub struct TargetGuest<'a> {
    /// Its names for places in RAM.
    pub names: &'a GuestNames,
    /// Its registers; none are needed for targets in RAM.
    pub registers: &'a [FlippableRegister],
    /// What its golden run executes, where that is known.
    pub profile: Option<&'a Profile>,
    /// What is used at the instants of triggers, where that is asked for.
    pub used: Option<&'a UsedByTrigger>,
}

/// What happens to ranges that touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Borders {
    /// They are joined: a pattern may reach from one into the next.
    Joined,
    /// What was chosen apart stays apart; only what overlaps is joined.
    Kept,
}

/// Targets that have no fault space in a guest.
#[derive(Debug, thiserror::Error)]
pub enum FaultTargetError {
    /// The kernel's symbols are not known.
    #[error("{target}: {why}")]
    NoSymbols {
        /// What needs them.
        target: FaultTarget,
        /// Why they are not.
        why: String,
    },
    /// It is not known what the guest executes.
    #[error(
        "{0}: it is not known what the golden run executes: that takes the exact clock, one CPU, golden runs that agree, and \
         a QEMU with the lab's patches (`setup qemu`); name the functions with symbol:GLOB"
    )]
    NoProfile(FaultTarget),
    /// No symbol matches.
    #[error(
        "no symbol in the running kernel is `{glob}`{hint}; the guest's /proc/kallsyms lists them, or `nm vmlinux`"
    )]
    NoSymbol {
        /// What was asked for.
        glob: String,
        /// Names that are close, as ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// No register matches.
    #[error("no register that takes a flip is {target}{hint}")]
    NoRegister {
        /// What was asked for.
        target: FaultTarget,
        /// Names that are close, and where all are.
        hint: String,
    },
    /// A name or a range of memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A section.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
    /// A symbol.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A trial that is written out twice, or that contradicts itself.
    #[error(
        "{0}: the same trial is there twice, or two of its faults change one bit at one time, or one that is stuck; drop one"
    )]
    Clash(String),
    /// A fault that is written out is several.
    #[error("{text}: {count} faults fit this; say which bits, as in bit:3, mask:0x81 or adjacent:2@5")]
    Several {
        /// The fault.
        text: String,
        /// How many there are.
        count: u64,
    },
    /// The pattern does not fit.
    #[error(transparent)]
    Space(#[from] SpaceError),
}

impl FaultTargetError {
    /// Whether the guest has nothing of this name; the others say what is wrong with what was found.
    #[must_use]
    pub fn finds_nothing(&self) -> bool {
        matches!(
            self,
            FaultTargetError::NoSymbols { .. }
                | FaultTargetError::NoProfile(_)
                | FaultTargetError::NoSymbol { .. }
                | FaultTargetError::NoRegister { .. }
                | FaultTargetError::Name(_)
        )
    }
}

impl FaultSpace {
    /// The space of a pattern over targets: RAM, in words of so many bytes, or registers where one of them is in registers.
    /// Registers are in the order of the targets.
    ///
    /// # Errors
    /// A target names nothing of this guest or what is no RAM, or the pattern does not fit.
    pub fn of(
        targets: &[FaultTarget],
        pattern: Pattern,
        align: Align,
        guest: &TargetGuest<'_>,
        borders: Borders,
    ) -> Result<FaultSpace, FaultTargetError> {
        if targets.iter().any(FaultTarget::is_register) {
            let mut chosen: Vec<FlippableRegister> = Vec::new();
            for target in targets {
                let mut found = guest.registers.iter().filter(|register| target.takes(register)).peekable();
                if found.peek().is_none() {
                    let hint = target.other_registers(guest.registers);
                    return Err(FaultTargetError::NoRegister { target: target.clone(), hint });
                }
                for register in found {
                    if !chosen.contains(register) {
                        chosen.push(register.clone());
                    }
                }
            }
            return Ok(FaultSpace::Reg(RegSpace::new(&chosen, pattern)?));
        }
        let mut ranges: Vec<PhysRange> = Vec::new();
        for target in targets {
            ranges.extend(target.ranges(guest)?);
        }
        for range in &ranges {
            guest.names.map.check_ram(*range)?;
        }
        let bytes = match borders {
            Borders::Joined => ranges.into_iter().collect(),
            Borders::Kept => RangeSet::apart(ranges),
        };
        Ok(FaultSpace::Ram(RamSpace::aligned(&bytes, pattern, align)?))
    }
}

impl FromStr for FaultTarget {
    type Err = FaultTargetTextError;

    fn from_str(text: &str) -> Result<Self, FaultTargetTextError> {
        let bad = || {
            let kind = text.split(':').next().unwrap_or_default().trim();
            let kinds = [
                "ram", "region", "symbol", "section", "profile", "range", "reg", "class", "operand", "stack",
                "at",
            ];
            // What is known has no name behind it.
            let hint = if kinds.contains(&kind) { String::new() } else { near_names(kind, kinds) };
            FaultTargetTextError::Form { text: text.to_owned(), hint }
        };
        let text = text.trim();
        if text == "ram" {
            return Ok(FaultTarget::Ram);
        }
        let (kind, what) = text.split_once(':').ok_or_else(bad)?;
        let what = what.trim();
        if what.is_empty() {
            return Err(bad());
        }
        let name = what.to_owned();
        Ok(match kind {
            "region" => FaultTarget::Region(name),
            "symbol" => FaultTarget::Symbol(name),
            "section" => FaultTarget::Section(name),
            "profile" => {
                let share: Share = name
                    .parse()
                    .map_err(|cause| FaultTargetTextError::Share { text: text.to_owned(), cause })?;
                if share.value() <= 0.0 {
                    return Err(FaultTargetTextError::NoShare(text.to_owned()));
                }
                FaultTarget::Profile(share)
            }
            "range" => FaultTarget::Range(what.parse()?),
            "reg" => FaultTarget::Register(name),
            "class" => FaultTarget::Class(name),
            "operand" => FaultTarget::Used(Used::word(what).ok_or_else(bad)?),
            "at" => FaultTarget::Listed(what.parse().map_err(FaultTargetTextError::Listed)?),
            "stack" => FaultTarget::Used(Used::stack(what).ok_or_else(bad)?),
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultTarget::Ram => f.write_str("ram"),
            FaultTarget::Region(name) => write!(f, "region:{name}"),
            FaultTarget::Symbol(name) => write!(f, "symbol:{name}"),
            FaultTarget::Section(name) => write!(f, "section:{name}"),
            FaultTarget::Profile(share) => write!(f, "profile:{share}"),
            FaultTarget::Range(range) => write!(f, "range:{range}"),
            FaultTarget::Register(name) => write!(f, "reg:{name}"),
            FaultTarget::Class(name) => write!(f, "class:{name}"),
            FaultTarget::Used(used) => used.fmt(f),
            FaultTarget::Listed(listed) => listed.fmt(f),
        }
    }
}

impl Serialize for FaultTarget {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FaultTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
