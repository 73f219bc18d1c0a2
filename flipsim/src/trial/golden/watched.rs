//! What is asked of the golden run: events, and where the guest is stopped for each.
//!
//! Invariant: what names no place of this guest is refused before anything runs.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::arch::ArchRow;
use crate::fault::{GuestNames, Profile};
use crate::kernel::symbols::{SymbolError, SymbolMap};
use crate::text::{glob_matches, near_names};
use crate::trial::recording::RecordingError;
use crate::trial::runner::RunError;
use crate::trial::template::saved::Template;
use crate::trial::trigger::{Event, Trigger, Within};
use crate::units::{GuestVirt, VirtualNs, parse_number};
use crate::wire::gdb::{Breakpoint, Stops};

/// So many instants of an event are kept at most.
pub const MOST_EVENTS: usize = 20_000;

/// Triggers that stand for no instants.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The clock is not exact.
    #[error(
        "`{0}` asks for instants of the golden run, which takes the exact clock and a QEMU with the lab's patches (`setup qemu`)"
    )]
    NotExact(Trigger),
    /// There are no symbols.
    #[error("`{trigger}` needs the kernel's symbols, and {why}")]
    NoSymbols {
        /// Which.
        trigger: Trigger,
        /// Why there are none.
        why: String,
    },
    /// No such symbol.
    #[error("`{trigger}`: {cause}")]
    Symbol {
        /// Which.
        trigger: Trigger,
        /// What is wrong.
        cause: SymbolError,
    },
    /// No such system call.
    #[error(
        "`{trigger}`: the kernel has no `{name}`{hint}; `inject list symbols '*_sys_*'` shows those that it has"
    )]
    Syscall {
        /// Which.
        trigger: Trigger,
        /// The kernel's name of its function.
        name: String,
        /// Near names.
        hint: String,
    },
    /// The architecture has no such exception.
    #[error("`{trigger}`: there is no exception of that name; write one of {words}")]
    Exception {
        /// Which.
        trigger: Trigger,
        /// Those that there are.
        words: String,
    },
    /// It does not come.
    #[error("`{trigger}` {}{near}", if *comes == 0 {
        "never comes from the beginning of the golden run to its end".to_owned()
    } else {
        format!("asks for more than the golden run has: it comes {comes} times")
    })]
    Never {
        /// Which.
        trigger: Trigger,
        /// How often it comes.
        comes: usize,
        /// What came near.
        near: String,
    },
    /// It comes too often.
    #[error(
        "`{0}` comes more than {MOST_EVENTS} times in the golden run; choose one of the first (`#N`), something rarer, or \
         a shorter run (`--window TIME`)"
    )]
    TooMany(Event),
    /// A line whose time is not kept.
    #[error("`{0}`: QEMU does not say when each of these lines was written; choose another event")]
    NoTimes(Event),
    /// Begins and ends of interrupts that are not pairs.
    #[error(
        "`{0}`: this kernel handles interrupts by other functions than those that are watched, so that it is not known when"
    )]
    NotPaired(Trigger),
    /// The pass was not the golden run.
    #[error(
        "with breakpoints the guest does not run as the golden run does, so that no instant is believed: {0}; please report \
         this"
    )]
    Disturbed(String),
    /// A record of accesses.
    #[error("record {record} of the accesses that QEMU recorded is wrong: {what}")]
    Accesses {
        /// Its number.
        record: usize,
        /// What is wrong.
        what: String,
    },
    /// Recording accesses.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The guest.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What the guest is.
#[derive(Clone, Copy, Debug)]
pub struct EventGuest<'a> {
    /// What it starts from.
    pub template: &'a Template,
    /// What it calls its places.
    pub names: &'a GuestNames,
    /// What its golden run executes, where that is known.
    pub profile: Option<&'a Profile>,
    /// Where its folder is made.
    pub parent: &'a Path,
    /// How long one stretch may take on the host's clock.
    pub wall: Duration,
    /// What moments are drawn from.
    pub seed: u64,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

/// An event that the guest is stopped at, and what is found of it.
pub(super) struct Watched {
    pub(super) event: Event,
    pub(super) breakpoints: Vec<Breakpoint>,
    /// So many are wanted; all without.
    pub(super) wanted: Option<u64>,
    pub(super) found: Vec<VirtualNs>,
}

impl Watched {
    /// Whether it is about data, so that the guest stops at one of them alone.
    pub(super) fn is_access(&self) -> bool {
        matches!(self.event, Event::Read(_) | Event::Write(_))
    }

    /// Whether it comes by this address.
    pub(super) fn has(&self, address: u64) -> bool {
        self.breakpoints.iter().any(|one| one.address == address)
    }

    /// Whether all that are wanted are found.
    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.found.len() as u64 >= wanted)
    }
}

/// Refuses more instants than are kept.
pub(super) fn few(event: &Event, count: usize) -> Result<(), EventError> {
    if count > MOST_EVENTS { Err(EventError::TooMany(event.clone())) } else { Ok(()) }
}

/// The events that the guest is stopped at, each once.
pub(super) fn watched(triggers: &[Trigger], guest: &EventGuest<'_>) -> Result<Vec<Watched>, EventError> {
    let mut found: Vec<Watched> = Vec::new();
    for trigger in triggers {
        let breakpoints = breakpoints_of(trigger, guest)?;
        if breakpoints.is_empty() {
            continue;
        }
        match found.iter_mut().find(|one| one.event == trigger.event) {
            Some(one) => one.wanted = one.wanted.zip(trigger.nth).map(|(one, other)| one.max(other)),
            None => {
                let (event, wanted) = (trigger.event.clone(), trigger.nth);
                found.push(Watched { event, breakpoints, wanted, found: Vec::new() });
            }
        }
    }
    Ok(found)
}

/// Where the guest stops for it; nowhere for one of another kind.
fn breakpoints_of(trigger: &Trigger, guest: &EventGuest<'_>) -> Result<Vec<Breakpoint>, EventError> {
    let (stops, what) = match &trigger.event {
        Event::Read(what) => (Stops::AtRead, what),
        Event::Write(what) => (Stops::AtWrite, what),
        _ => {
            let addresses = addresses_of(trigger, guest)?;
            return Ok(addresses.into_iter().map(Breakpoint::at_instruction).collect());
        }
    };
    let (address, length) = match parse_number(what) {
        Ok(address) => (address, 1),
        Err(_) => symbol(trigger, what, guest)?,
    };
    Ok(vec![Breakpoint { stops, address, length }])
}

/// Where something of the kernel begins, and how many bytes it has; of a place in something 1.
fn symbol(trigger: &Trigger, name: &str, guest: &EventGuest<'_>) -> Result<(u64, u64), EventError> {
    let failed = |cause| EventError::Symbol { trigger: trigger.clone(), cause };
    let symbols = symbols(trigger, guest)?;
    let GuestVirt(first) = symbols.virt(name).map_err(failed)?;
    Ok((first, symbols.resolve(name).map_err(failed)?.len()))
}

fn symbols<'a>(trigger: &Trigger, guest: &EventGuest<'a>) -> Result<&'a SymbolMap, EventError> {
    guest
        .names
        .symbols()
        .map_err(|why| EventError::NoSymbols { trigger: trigger.clone(), why: why.to_owned() })
}

/// Where its instructions are; nowhere of one that has none.
fn addresses_of(trigger: &Trigger, guest: &EventGuest<'_>) -> Result<Vec<u64>, EventError> {
    let arch: &ArchRow = &guest.template.info().plan.spec.arch;
    let symbols = || symbols(trigger, guest);
    let failed = |cause| EventError::Symbol { trigger: trigger.clone(), cause };
    match &trigger.event {
        Event::Pc(address) => Ok(vec![*address]),
        Event::Console(_) | Event::During(_) | Event::Read(_) | Event::Write(_) => Ok(Vec::new()),
        Event::Symbol(name) => symbols()?.virt(name).map(|GuestVirt(at)| vec![at]).map_err(failed),
        Event::Syscall(name) => {
            let symbols = symbols()?;
            let named = |prefix: &&str| symbols.virt(&format!("{prefix}{name}")).ok();
            if let Some(GuestVirt(at)) = arch.syscall_symbols.iter().find_map(named) {
                return Ok(vec![at]);
            }
            let all = symbols.symbols().all().iter();
            let calls = all.filter_map(|symbol| {
                arch.syscall_symbols.iter().find_map(|prefix| symbol.name.strip_prefix(prefix))
            });
            let first = arch.syscall_symbols.first().unwrap_or(&"");
            let hint = near_names(name, calls);
            Err(EventError::Syscall { trigger: trigger.clone(), name: format!("{first}{name}"), hint })
        }
        Event::Exception(name) => {
            let words = arch.exception_symbols.iter().map(|(word, _)| *word);
            let unknown = || EventError::Exception {
                trigger: trigger.clone(),
                words: words.clone().collect::<Vec<_>>().join(", "),
            };
            let row = arch.exception_symbols.iter().find(|(word, _)| word == name);
            let (_, globs) = row.ok_or_else(unknown)?;
            let symbols = symbols()?;
            let names = symbols.symbols().all().iter().map(|symbol| symbol.name.as_str());
            let names = names.filter(|name| globs.iter().any(|glob| glob_matches(glob, name)));
            let found: BTreeSet<u64> =
                names.filter_map(|name| symbols.virt(name).ok()).map(|at| at.0).collect();
            match found.is_empty() {
                false => Ok(found.into_iter().collect()),
                true => Err(EventError::NoSymbols {
                    trigger: trigger.clone(),
                    why: format!("it has none of {}", globs.join(", ")),
                }),
            }
        }
    }
}

/// The places whose instructions triggers name, each once: virtual addresses.
pub(super) fn places(
    triggers: &[Trigger],
    guest: &EventGuest<'_>,
) -> Result<Vec<(Event, Range<u64>)>, EventError> {
    let mut found: Vec<(Event, Range<u64>)> = Vec::new();
    for trigger in triggers {
        let place = match &trigger.event {
            Event::During(Within::User) => 0..UPPER,
            Event::During(Within::Kernel) => UPPER..u64::MAX,
            Event::During(Within::Symbol(name)) => {
                let (first, length) = symbol(trigger, name, guest)?;
                first..first.saturating_add(length)
            }
            _ => continue,
        };
        if !found.iter().any(|(event, _)| *event == trigger.event) {
            found.push((trigger.event.clone(), place));
        }
    }
    Ok(found)
}

/// Where the kernel begins to handle an interrupt, and where it has done so: what each version has.
const INTERRUPT: [[&str; 2]; 2] = [["irq_enter_rcu", "irq_exit_rcu"], ["irq_enter", "irq_exit"]];

/// What the guest is stopped at to know when it handles interrupts: their begins and their ends, by each pair of functions
/// that the kernel has.
pub(super) fn interrupts(trigger: &Trigger, guest: &EventGuest<'_>) -> Result<Vec<[Watched; 2]>, EventError> {
    let symbols = symbols(trigger, guest)?;
    let of = |name: &str| {
        let GuestVirt(at) = symbols.virt(name).ok()?;
        let (event, breakpoints) = (Event::Symbol(name.to_owned()), vec![Breakpoint::at_instruction(at)]);
        Some(Watched { event, breakpoints, wanted: None, found: Vec::new() })
    };
    let pairs: Vec<_> = INTERRUPT.iter().filter_map(|[begin, end]| Some([of(begin)?, of(end)?])).collect();
    if pairs.is_empty() {
        let names = INTERRUPT.map(|[begin, end]| format!("{begin} with {end}")).join(", or ");
        return Err(EventError::NoSymbols { trigger: trigger.clone(), why: format!("it lacks {names}") });
    }
    Ok(pairs)
}

/// Where the upper half of the addresses begins, which is the kernel's.
const UPPER: u64 = 1 << 63;
