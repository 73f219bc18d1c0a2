//! Where faults are drawn from: an address range, a region, a symbol, a register.
//!
//! Invariant: the text of a target, as a specification has it, reads back as the same target.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::memory::PhysRange;

/// Where faults strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of the RAM: `ram`.
    Ram,
    /// A region of `/proc/iomem`, by name or path: `region:Kernel code`.
    Region(String),
    /// Symbols of the kernel, as a glob: `symbol:tcp_*`.
    Symbol(String),
    /// A section of the kernel's file: `section:.data`.
    Section(String),
    /// Addresses: `range:0x40000000+64K`.
    Range(PhysRange),
    /// Registers by name, as a glob: `reg:x*`.
    Register(String),
    /// Registers by class: `class:core`.
    Class(String),
}

/// Text that is no target of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Of no form.
    #[error(
        "`{0}` is no target; write ram, region:NAME, symbol:GLOB, section:NAME, range:FIRST-LAST, \
         range:FIRST+LENGTH, reg:GLOB or class:NAME"
    )]
    Form(String),
    /// A range that is none.
    #[error(transparent)]
    Range(#[from] crate::memory::RangeError),
}

impl Place {
    /// Whether faults are in registers.
    #[must_use]
    pub fn is_register(&self) -> bool {
        matches!(self, Place::Register(_) | Place::Class(_))
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let bad = || PlaceError::Form(text.to_owned());
        let text = text.trim();
        if text == "ram" {
            return Ok(Place::Ram);
        }
        let (kind, what) = text.split_once(':').ok_or_else(bad)?;
        let what = what.trim();
        if what.is_empty() {
            return Err(bad());
        }
        let name = what.to_owned();
        Ok(match kind {
            "region" => Place::Region(name),
            "symbol" => Place::Symbol(name),
            "section" => Place::Section(name),
            "range" => Place::Range(what.parse()?),
            "reg" => Place::Register(name),
            "class" => Place::Class(name),
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Ram => f.write_str("ram"),
            Place::Region(name) => write!(f, "region:{name}"),
            Place::Symbol(name) => write!(f, "symbol:{name}"),
            Place::Section(name) => write!(f, "section:{name}"),
            Place::Range(range) => write!(f, "range:{range}"),
            Place::Register(name) => write!(f, "reg:{name}"),
            Place::Class(name) => write!(f, "class:{name}"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
