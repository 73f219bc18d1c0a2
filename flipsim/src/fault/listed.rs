//! A trial that is written out: its faults, each with its time, as in `at:12ms reg:x5 bit:3; 12.5ms 0x40201000 mask:0x81 set1`.
//!
//! Invariant: what is read is written as a text that is read as the same.

use std::fmt;
use std::str::FromStr;

use crate::fault::model::{Pattern, format_pattern, parse_pattern};
use crate::fault::operation::Operation;
use crate::units::{GuestPhys, VirtualNs, in_one_unit, parse_number, parse_virtual};

/// A trial, written out.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its faults, one at least, in the order in which they are written.
    pub faults: Vec<ListedFault>,
}

/// One of its faults.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedFault {
    /// When, counted from the quiescent point.
    pub after: VirtualNs,
    /// Where.
    pub place: ListedPlace,
    /// Which bits.
    pub pattern: Pattern,
    /// What is done to them.
    pub operation: Operation,
}

/// Where one strikes.
#[derive(Clone, Debug, PartialEq)]
pub enum ListedPlace {
    /// A register: `reg:NAME`.
    Register(String),
    /// A symbol of the kernel, from its first byte on, or from one within: `symbol:NAME+OFFSET`.
    Symbol(String),
    /// A physical address.
    Address(GuestPhys),
}

impl Listed {
    /// Whether a fault of it is in a register.
    #[must_use]
    pub fn is_register(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.place, ListedPlace::Register(_)))
    }

    /// Whether a fault of it stays in force after its instant.
    #[must_use]
    pub fn holds_on(&self) -> bool {
        self.faults.iter().any(|fault| fault.operation.holds_on())
    }
}

impl FromStr for Listed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let faults: Vec<ListedFault> = text.split(';').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Listed { faults })
    }
}

impl FromStr for ListedFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut next = |what: &str| words.next().ok_or(format!("`{}` has no {what}", text.trim()));
        let after = parse_virtual(next("time")?).map_err(|error| error.to_string())?;
        let place = next("place")?;
        let pattern = parse_pattern(next("bits")?).map_err(|error| error.to_string())?;
        let place = match place.split_once(':') {
            Some(("reg", name)) if !name.is_empty() => ListedPlace::Register(name.to_owned()),
            Some(("symbol", name)) if !name.is_empty() => ListedPlace::Symbol(name.to_owned()),
            _ => match parse_number(place) {
                Ok(address) => ListedPlace::Address(GuestPhys(address)),
                Err(_) => {
                    return Err(format!("`{place}` is no place; write reg:NAME, symbol:NAME or an address"));
                }
            },
        };
        let operation = words.collect::<Vec<_>>().join(" ");
        let operation = match operation.is_empty() {
            true => Operation::Flip,
            false => operation.parse::<Operation>().map_err(|error| error.to_string())?,
        };
        Ok(ListedFault { after, place, pattern, operation })
    }
}

impl fmt::Display for ListedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", in_one_unit(self.after.0.into()))?;
        match &self.place {
            ListedPlace::Register(name) => write!(f, "reg:{name}"),
            ListedPlace::Symbol(name) => write!(f, "symbol:{name}"),
            ListedPlace::Address(address) => address.fmt(f),
        }?;
        write!(f, " {}", format_pattern(self.pattern))?;
        match self.operation {
            Operation::Flip => Ok(()),
            other => write!(f, " {other}"),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            f.write_str(if number == 0 { "at:" } else { "; " })?;
            fault.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_is_written_out_is_read_as_it_is_written() {
        for text in [
            "at:12ms reg:x5 bit:3",
            "at:1500ns 0x40201000 mask:0x81 set1; 2s symbol:jiffies_64+2 adjacent:2@5 stuck0 for 5us",
        ] {
            let listed: Listed = text.strip_prefix("at:").unwrap().parse().unwrap();
            let again = listed.to_string();
            assert_eq!(again.strip_prefix("at:").unwrap().parse::<Listed>().unwrap(), listed, "{again}");
        }
        let listed: Listed = "1500 0x40201000 mask:0x81 set1; 2s reg:x1 bit:0".parse().unwrap();
        assert_eq!(
            (listed.faults[0].after, listed.faults[1].after),
            (VirtualNs(1500), VirtualNs(2_000_000_000))
        );
        assert_eq!((listed.faults[0].operation, listed.is_register()), (Operation::Set1, true));
        for (text, says) in [
            ("", "`` has no time"),
            ("12ms", "`12ms` has no place"),
            ("12ms reg:x5", "`12ms reg:x5` has no bits"),
            ("12ms x5 bit:1", "`x5` is no place; write reg:NAME, symbol:NAME or an address"),
            ("12ms reg:x5 bit:1 flop", "there is no operation `flop`"),
            ("12ms reg:x5 bit:1; ", "`` has no time"),
        ] {
            let error = text.parse::<Listed>().unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
