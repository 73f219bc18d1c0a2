//! Triggers: an event of the golden run that stands for instants.
//!
//! ```text
//! read:jiffies_64   write:init_task+0x18
//! symbol:vfs_read+0x10   syscall:read   exception:irq   pc:0xffff800008012340   console:result      each with #N: the N-th alone
//! during:user   during:kernel   during:irq   during:symbol:schedule                 moments that are drawn there
//! ```
//!
//! Invariant: a trigger is resolved once, in the golden run ([`Golden::events`](crate::trial::golden::Golden::events)); a
//! trial is run to the instant, and never asks for the event.

use std::fmt;
use std::str::FromStr;

use crate::text::{near_names, stored_as_text};
use crate::units::parse_number;

/// An event, and which time that it comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trigger {
    /// What happens.
    pub event: Event,
    /// Its number among all of them, from 1; each of them without.
    pub nth: Option<u64>,
}

/// What happens in the golden run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The instruction at `NAME` or `NAME+OFFSET` of the kernel is about to be executed.
    Symbol(String),
    /// The kernel's function for this system call is entered.
    Syscall(String),
    /// The kernel's code for this exception has been entered, by one instruction.
    Exception(String),
    /// The instruction at this virtual address is about to be executed, in whatever program has one there.
    Pc(u64),
    /// An instruction is about to read a byte of `NAME`, or the one at `NAME+OFFSET` or at an address; addresses are virtual.
    Read(String),
    /// An instruction is about to write one.
    Write(String),
    /// A line that has this text was printed.
    Console(String),
    /// The instruction that is about to be executed lies there: each is as likely as every other.
    During(Within),
}

/// Where an instruction lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Within {
    /// In a program: in the lower half of the addresses.
    User,
    /// In the kernel: in the upper half.
    Kernel,
    /// In the kernel's handling of an interrupt, from its begin to its end.
    Interrupt,
    /// In this function of the kernel.
    Symbol(String),
}

/// The kinds of events by their words.
const KINDS: [&str; 8] = ["symbol", "syscall", "exception", "pc", "read", "write", "console", "during"];

/// The places of `during` that have a word, as `symbol:NAME` does.
const PLACES: [(&str, Within); 3] =
    [("user", Within::User), ("kernel", Within::Kernel), ("irq", Within::Interrupt)];

impl Trigger {
    /// Whether a text is meant to be one.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains(':')
    }

    /// The instants of a trigger among all of its event, which are in order; what there is instead where it does not come
    /// so often.
    ///
    /// # Errors
    /// How often it comes.
    pub fn among<T: Copy>(&self, all: &[T]) -> Result<Vec<T>, usize> {
        match self.nth {
            None if all.is_empty() => Err(0),
            None => Ok(all.to_vec()),
            Some(nth) => {
                let at = nth.checked_sub(1).and_then(|at| all.get(usize::try_from(at).ok()?));
                at.map(|at| vec![*at]).ok_or(all.len())
            }
        }
    }
}

/// Text that is no trigger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no trigger{hint}; write symbol:NAME, symbol:NAME+OFFSET, syscall:NAME, exception:NAME, pc:ADDRESS, \
     read:NAME, write:NAME or console:TEXT, and #N behind it for the N-th time alone; or during:user, during:kernel, \
     during:irq, during:symbol:NAME"
)]
pub struct TriggerError {
    text: String,
    hint: String,
}

impl FromStr for Trigger {
    type Err = TriggerError;

    fn from_str(text: &str) -> Result<Self, TriggerError> {
        let wrong = |hint: String| TriggerError { text: text.to_owned(), hint };
        let bad = || wrong(String::new());
        let (kind, what) = text.split_once(':').ok_or_else(bad)?;
        let (what, nth) = match what.rsplit_once('#') {
            Some((what, nth)) if nth.bytes().all(|digit| digit.is_ascii_digit()) && !nth.is_empty() => {
                (what, Some(nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(bad)?))
            }
            _ => (what, None),
        };
        let named = Some(what.trim()).filter(|what| !what.is_empty()).ok_or_else(bad)?;
        let event = match kind.trim() {
            "symbol" => Event::Symbol(named.to_owned()),
            "syscall" => Event::Syscall(named.to_owned()),
            "exception" => Event::Exception(named.to_owned()),
            "pc" => Event::Pc(parse_number(named).map_err(|_| bad())?),
            "read" => Event::Read(named.to_owned()),
            "write" => Event::Write(named.to_owned()),
            "console" => Event::Console(what.to_owned()),
            "during" if nth.is_some() => return Err(bad()),
            "during" => Event::During(match named.split_once(':') {
                Some(("symbol", name)) if !name.trim().is_empty() => Within::Symbol(name.trim().to_owned()),
                _ => match PLACES.into_iter().find(|(word, _)| *word == named) {
                    Some((_, place)) => place,
                    None => return Err(wrong(near_names(named, PLACES.map(|(word, _)| word)))),
                },
            }),
            other => return Err(wrong(near_names(other, KINDS))),
        };
        Ok(Trigger { event, nth })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Symbol(name) => write!(f, "symbol:{name}"),
            Event::Syscall(name) => write!(f, "syscall:{name}"),
            Event::Exception(name) => write!(f, "exception:{name}"),
            Event::Pc(address) => write!(f, "pc:{address:#x}"),
            Event::Console(text) => write!(f, "console:{text}"),
            Event::Read(what) => write!(f, "read:{what}"),
            Event::Write(what) => write!(f, "write:{what}"),
            Event::During(Within::Symbol(name)) => write!(f, "during:symbol:{name}"),
            Event::During(place) => {
                let word = PLACES.iter().find(|(_, one)| one == place).map_or("", |(word, _)| word);
                write!(f, "during:{word}")
            }
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)?;
        self.nth.map_or(Ok(()), |nth| write!(f, "#{nth}"))
    }
}

stored_as_text!(Trigger);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_read_as_it_is_written() {
        for (text, event, nth) in [
            ("symbol:vfs_read+0x10", Event::Symbol("vfs_read+0x10".into()), None),
            ("write:jiffies_64#2", Event::Write("jiffies_64".into()), Some(2)),
            ("read:0xffff800008010000", Event::Read("0xffff800008010000".into()), None),
            ("during:irq", Event::During(Within::Interrupt), None),
            ("during:user", Event::During(Within::User), None),
            ("during:symbol:schedule", Event::During(Within::Symbol("schedule".into())), None),
            ("syscall:openat#3", Event::Syscall("openat".into()), Some(3)),
            ("exception:irq#2", Event::Exception("irq".into()), Some(2)),
            ("pc:0xffff800008010000#12", Event::Pc(0xffff_8000_0801_0000), Some(12)),
            ("console:round #7", Event::Console("round ".into()), Some(7)),
            ("console:say: #x", Event::Console("say: #x".into()), None),
        ] {
            let trigger: Trigger = text.parse().unwrap();
            assert_eq!(trigger, Trigger { event, nth }, "{text}");
            assert_eq!(trigger.to_string(), text);
            let json = serde_json::to_string(&trigger).unwrap();
            assert_eq!(serde_json::from_str::<Trigger>(&json).unwrap(), trigger);
        }
        for text in
            ["", "vfs_read", "symbol:", "pc:x", "symbol:a#0", "syscall: #1", "symbol:a#99999999999999999999"]
        {
            let error = text.parse::<Trigger>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no trigger; write symbol:NAME")), "{error}");
        }
        let near = "symbl:x".parse::<Trigger>().unwrap_err().to_string();
        assert!(near.starts_with("`symbl:x` is no trigger (did you mean `symbol`?); write"), "{near}");
    }

    #[test]
    fn the_nth_is_one_of_all_and_one_too_many_says_how_many_there_are() {
        let of = |nth| Trigger { event: Event::Pc(1), nth };
        assert_eq!(of(None).among(&[5, 7]), Ok(vec![5, 7]));
        assert_eq!(of(Some(2)).among(&[5, 7]), Ok(vec![7]));
        assert_eq!((of(Some(3)).among(&[5, 7]), of(None).among::<u64>(&[])), (Err(2), Err(0)));
    }
}
