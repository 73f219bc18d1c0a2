//! When the events come that triggers ask for: a pass of the golden run with breakpoints.
//!
//! An instant is that right before the instruction: the guest stands there in a trial with the same clock. A breakpoint makes
//! QEMU execute the code around it instruction by instruction, and the guest is none the wiser.
//!
//! Invariant: **what is found is the golden run's**: the pass ends in a checkpoint whose state must be that of the golden run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rand::RngExt;

use crate::arch::ArchRow;
use crate::fault::symbols::SymbolError;
use crate::fault::{GuestNames, Profile, fault_rng};
use crate::target::{Target, TargetError, describe};
use crate::text::{glob_matches, near_names, near_words, shown};
use crate::trial::clone::guest::CloneDisk;
use crate::trial::golden::idle::Idle;
use crate::trial::golden::model::{Checkpoint, Golden};
use crate::trial::runner::{RunError, Runner};
use crate::trial::template::saved::Template;
use crate::trial::trigger::{Event, Trigger, Within};
use crate::units::{GuestVirt, VirtualNs, little_endian};

/// So many instants of an event are kept at most.
pub const MOST_EVENTS: usize = 20_000;

/// How far the guest is let run at a time.
const STRIDE: u64 = 100_000_000;

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
        "never comes in the golden run, from READY to its end".to_owned()
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
    /// The pass was not the golden run.
    #[error(
        "with breakpoints the guest does not run as the golden run does, so that no instant is believed: {0}; please report \
         this"
    )]
    Disturbed(String),
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

/// An event with an address, or several, and what is found of it.
struct Watched {
    event: Event,
    addresses: Vec<u64>,
    /// So many are wanted; all without.
    wanted: Option<u64>,
    found: Vec<VirtualNs>,
}

impl Watched {
    fn is_done(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.found.len() as u64 >= wanted)
    }
}

impl Golden {
    /// The instants of each trigger, by its text, on the virtual clock; each has one at least.
    ///
    /// # Errors
    /// One never comes, or so often that they cannot be kept; or the guest is lost.
    pub fn resolve(
        &self,
        triggers: &[Trigger],
        guest: EventGuest<'_>,
    ) -> Result<BTreeMap<String, Vec<VirtualNs>>, EventError> {
        let Some(first) = triggers.first() else { return Ok(BTreeMap::new()) };
        if !(self.agrees() && self.capabilities.stop_at) {
            return Err(EventError::NotExact(first.clone()));
        }
        let watched = watched(triggers, &guest)?;
        let places = places(triggers, &guest)?;
        let on_console: Vec<&Trigger> =
            triggers.iter().filter(|trigger| matches!(trigger.event, Event::Console(_))).collect();
        let start =
            || Runner::start_persistently(guest.template, guest.parent, CloneDisk::Memory, guest.interrupted);
        let mut found =
            if places.is_empty() { BTreeMap::new() } else { self.within(&mut start()?, places, &guest)? };
        if watched.is_empty() && on_console.is_empty() {
            return self.chosen(triggers, &found, &guest);
        }
        let mut runner = start()?;
        found.extend(self.watch(&mut runner, watched, &guest, on_console.is_empty())?);
        for trigger in on_console {
            if let Event::Console(text) = &trigger.event {
                let times = self.said(&mut runner, &trigger.event, text)?;
                found.insert(trigger.event.clone(), times);
            }
        }
        self.chosen(triggers, &found, &guest)
    }

    /// The instants of each trigger, of those of its event.
    fn chosen(
        &self,
        triggers: &[Trigger],
        found: &BTreeMap<Event, Vec<VirtualNs>>,
        guest: &EventGuest<'_>,
    ) -> Result<BTreeMap<String, Vec<VirtualNs>>, EventError> {
        let of = |trigger: &Trigger| {
            let all = found.get(&trigger.event).map_or(&[][..], Vec::as_slice);
            let never = |comes| EventError::Never {
                trigger: trigger.clone(),
                comes,
                near: if comes == 0 { self.near(&trigger.event, guest) } else { String::new() },
            };
            Ok((trigger.to_string(), trigger.among(all).map_err(never)?))
        };
        triggers.iter().map(of).collect()
    }

    /// Runs the golden run with a breakpoint at each address; up to its end, or where all are found up to the next
    /// checkpoint.
    fn watch(
        &self,
        runner: &mut Runner,
        mut watched: Vec<Watched>,
        guest: &EventGuest<'_>,
        may_end: bool,
    ) -> Result<BTreeMap<Event, Vec<VirtualNs>>, EventError> {
        let counter = program_counter(runner, guest)?;
        let wall = guest.wall;
        let mut at = self.begin();
        let last = loop {
            let next = self.checkpoints.iter().find(|checkpoint| checkpoint.at >= at);
            if may_end && watched.iter().all(Watched::is_done) {
                break next;
            }
            let until = VirtualNs(at.0.saturating_add(STRIDE).min(self.end().0));
            let target = runner.guest.target();
            // Two events may have one address.
            let wanted =
                |address| watched.iter().any(|one| one.addresses.contains(address) && !one.is_done());
            let all = watched.iter().flat_map(|one| &one.addresses);
            let mut set = all.map(|address| target.set_breakpoint(*address, wanted(address)));
            set.try_for_each(|set| set).map_err(RunError::from)?;
            let arrival = target.run_until_within(until, wall).map_err(RunError::from)?;
            at = arrival.at.unwrap_or(until);
            if let Some(why) = arrival.early {
                if why != "debug" {
                    return Err(runner.ended(format!("{why} at {at}")).into());
                }
                let pc = target.read_register(counter).map_err(RunError::from)?;
                let pc = little_endian(&pc);
                let past = VirtualNs(at.0 + 1);
                for one in watched.iter_mut().filter(|one| one.addresses.contains(&pc) && !one.is_done()) {
                    // A guest that is run to this instant has not taken the exception yet: no time passes as it does.
                    let is_exception = matches!(one.event, Event::Exception(_));
                    let instant = if is_exception { past } else { at };
                    if instant < self.end() {
                        one.found.push(instant);
                    }
                    few(&one.event, one.found.len())?;
                }
                // Past it, with nothing in the way.
                target.set_breakpoint(pc, false).map_err(RunError::from)?;
                if past <= self.end() {
                    at = target.run_until_within(past, wall).map_err(RunError::from)?.at.unwrap_or(past);
                }
            }
            if at >= self.end() {
                break self.checkpoints.last();
            }
        };
        let target = runner.guest.target();
        watched
            .iter()
            .flat_map(|one| &one.addresses)
            .try_for_each(|address| target.set_breakpoint(*address, false))
            .map_err(RunError::from)?;
        if let Some(checkpoint) = last {
            if checkpoint.at > at {
                target.run_until_within(checkpoint.at, wall).map_err(RunError::from)?;
            }
            is_golden(checkpoint, runner)?;
        }
        runner.console.poll()?;
        Ok(watched.into_iter().map(|one| (one.event, one.found)).collect())
    }

    /// Draws moments at which the golden run executes, and goes from one to the next: those whose instruction lies in each
    /// of these places.
    fn within(
        &self,
        runner: &mut Runner,
        places: Vec<(Event, Range<u64>)>,
        guest: &EventGuest<'_>,
    ) -> Result<BTreeMap<Event, Vec<VirtualNs>>, EventError> {
        let counter = program_counter(runner, guest)?;
        let mut found: Vec<(Event, Range<u64>, Vec<VirtualNs>)> =
            places.into_iter().map(|(event, place)| (event, place, Vec::new())).collect();
        for moment in self.drawn(guest.seed) {
            let target = runner.guest.target();
            let arrival = target.run_until_within(moment, guest.wall).map_err(RunError::from)?;
            if let Some(why) = arrival.early {
                return Err(runner.ended(format!("{why} before {moment}")).into());
            }
            let pc = target.read_register(counter).map_err(RunError::from)?;
            let pc = little_endian(&pc);
            let here = found.iter_mut().filter(|(_, place, _)| place.contains(&pc));
            here.for_each(|(.., moments)| moments.push(moment));
        }
        if let Some(last) = self.checkpoints.last() {
            runner.guest.target().run_until_within(last.at, guest.wall).map_err(RunError::from)?;
            is_golden(last, runner)?;
        }
        Ok(found.into_iter().map(|(event, _, moments)| (event, moments)).collect())
    }

    /// Different moments at which the guest executes, in order: each as likely as every other.
    fn drawn(&self, seed: u64) -> Vec<VirtualNs> {
        let all = || Idle::new(self.begin(), self.end(), []);
        // Busy stretches, and how many moments lie before each.
        let (mut stretches, mut before) = (Vec::new(), 0);
        for span in self.idle.clone().unwrap_or_else(all).busy() {
            stretches.push((before, span.from.0));
            before += span.length;
        }
        let mut rng = fault_rng(seed, MOMENTS);
        let mut moments = BTreeSet::new();
        while (moments.len() as u64) < before.min(LOOKED_AT) {
            let number = rng.random_range(0..before);
            let (before, from) = stretches[stretches.partition_point(|(before, _)| *before <= number) - 1];
            moments.insert(VirtualNs(from + (number - before)));
        }
        moments.into_iter().collect()
    }

    /// When lines that have a text were complete.
    fn said(&self, runner: &mut Runner, event: &Event, text: &str) -> Result<Vec<VirtualNs>, EventError> {
        let mut ends = Vec::new();
        let mut end = 0;
        for line in self.console.split_inclusive(|byte| *byte == b'\n') {
            end += line.len();
            if line.ends_with(b"\n") && String::from_utf8_lossy(line).contains(text) {
                ends.push(end - 1);
            }
        }
        few(event, ends.len())?;
        let times: Option<Vec<VirtualNs>> = runner.times_of(&ends)?.into_iter().collect();
        let mut times = times.ok_or_else(|| EventError::NoTimes(event.clone()))?;
        times.retain(|at| *at < self.end());
        // Of lines that one instruction completed there is one instant.
        times.dedup();
        Ok(times)
    }

    /// What comes near an event that does not come.
    fn near(&self, event: &Event, guest: &EventGuest<'_>) -> String {
        let hint = match event {
            Event::During(_) => format!("; {LOOKED_AT} moments at which it executes were looked at"),
            Event::Symbol(name) => {
                let name = name.split('+').next().unwrap_or(name);
                let Some(profile) = guest.profile else { return String::new() };
                near_words(name, profile.functions().iter().map(|function| function.name.as_str()))
            }
            Event::Syscall(name) => {
                let Some(profile) = guest.profile else { return String::new() };
                let functions = profile.functions().iter();
                let prefixes = guest.template.info().plan.spec.arch.syscall_symbols;
                let called = functions
                    .filter_map(|one| prefixes.iter().find_map(|prefix| one.name.strip_prefix(prefix)));
                let called: Vec<&str> = called.collect();
                let list = shown(&called.join(", "), 200);
                format!("{}; it makes the calls {list}", near_names(name, called.iter().copied()))
            }
            Event::Console(text) => {
                let console = String::from_utf8_lossy(&self.console);
                near_words(text, console.lines().map(str::trim))
            }
            Event::Exception(_) | Event::Pc(_) => String::new(),
        };
        shown(&hint, 400)
    }
}

/// Refuses a pass that is not in the golden run's state at a checkpoint.
fn is_golden(checkpoint: &Checkpoint, runner: &mut Runner) -> Result<(), EventError> {
    let here = runner.state(false)?;
    match (&checkpoint.state, &here) {
        (Some(golden), Some(here)) if !golden.is_same(here) => {
            Err(EventError::Disturbed(describe(golden, here)))
        }
        _ => Ok(()),
    }
}

/// Refuses more instants than are kept.
fn few(event: &Event, count: usize) -> Result<(), EventError> {
    if count > MOST_EVENTS { Err(EventError::TooMany(event.clone())) } else { Ok(()) }
}

/// The events that have an address, each once.
fn watched(triggers: &[Trigger], guest: &EventGuest<'_>) -> Result<Vec<Watched>, EventError> {
    let mut found: Vec<Watched> = Vec::new();
    for trigger in triggers {
        let addresses = addresses_of(trigger, guest)?;
        if addresses.is_empty() {
            continue;
        }
        match found.iter_mut().find(|one| one.event == trigger.event) {
            Some(one) => one.wanted = one.wanted.zip(trigger.nth).map(|(one, other)| one.max(other)),
            None => {
                let (event, wanted) = (trigger.event.clone(), trigger.nth);
                found.push(Watched { event, addresses, wanted, found: Vec::new() });
            }
        }
    }
    Ok(found)
}

/// Where its instructions are; nowhere of one that has none.
fn addresses_of(trigger: &Trigger, guest: &EventGuest<'_>) -> Result<Vec<u64>, EventError> {
    let arch: &ArchRow = &guest.template.info().plan.spec.arch;
    let symbols = || {
        let none = |why: &str| EventError::NoSymbols { trigger: trigger.clone(), why: why.to_owned() };
        guest.names.symbols().map_err(none)
    };
    let failed = |cause| EventError::Symbol { trigger: trigger.clone(), cause };
    match &trigger.event {
        Event::Pc(address) => Ok(vec![*address]),
        Event::Console(_) | Event::During(_) => Ok(Vec::new()),
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

/// The places that triggers name, each once: virtual addresses.
fn places(triggers: &[Trigger], guest: &EventGuest<'_>) -> Result<Vec<(Event, Range<u64>)>, EventError> {
    let mut found: Vec<(Event, Range<u64>)> = Vec::new();
    for trigger in triggers {
        let place = match &trigger.event {
            Event::During(Within::User) => 0..UPPER,
            Event::During(Within::Kernel) => UPPER..u64::MAX,
            Event::During(Within::Symbol(name)) => {
                let none =
                    |why: &str| EventError::NoSymbols { trigger: trigger.clone(), why: why.to_owned() };
                let failed = |cause| EventError::Symbol { trigger: trigger.clone(), cause };
                let symbols = guest.names.symbols().map_err(none)?;
                let GuestVirt(first) = symbols.virt(name).map_err(failed)?;
                first..first.saturating_add(symbols.resolve(name).map_err(failed)?.len())
            }
            _ => continue,
        };
        if !found.iter().any(|(event, _)| *event == trigger.event) {
            found.push((trigger.event.clone(), place));
        }
    }
    Ok(found)
}

/// Where the upper half of the addresses begins, which is the kernel's.
const UPPER: u64 = 1 << 63;

/// How many moments are looked at for what happens during something.
const LOOKED_AT: u64 = 10_000;

/// Apart from the other draws of a seed.
const MOMENTS: u64 = 1 << 59;

/// The place of the program counter among the registers.
fn program_counter(runner: &mut Runner, guest: &EventGuest<'_>) -> Result<usize, RunError> {
    let name = guest.template.info().plan.spec.arch.program_counter;
    let registers = runner.guest.target().registers();
    let place = registers.iter().position(|register| register.name == name);
    place.ok_or_else(|| {
        let cause = format!("the gdb stub has no register `{name}`");
        TargetError::Refused { doing: "read its program counter".to_owned(), cause }.into()
    })
}
