//! Where faults are drawn from: an address range, a region, a symbol, a register.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::memory::PhysRange;

/// Where faults strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
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
pub enum FaultTargetError {
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

impl FaultTarget {
    /// Whether faults are in registers.
    #[must_use]
    pub fn is_register(&self) -> bool {
        matches!(self, FaultTarget::Register(_) | FaultTarget::Class(_))
    }
}

impl FromStr for FaultTarget {
    type Err = FaultTargetError;

    fn from_str(text: &str) -> Result<Self, FaultTargetError> {
        let bad = || FaultTargetError::Form(text.to_owned());
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
            "range" => FaultTarget::Range(what.parse()?),
            "reg" => FaultTarget::Register(name),
            "class" => FaultTarget::Class(name),
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
            FaultTarget::Range(range) => write!(f, "range:{range}"),
            FaultTarget::Register(name) => write!(f, "reg:{name}"),
            FaultTarget::Class(name) => write!(f, "class:{name}"),
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
