//! When the events come that triggers ask for: a pass of the golden run with breakpoints.
//!
//! An instant is that right before the instruction: the guest stands there in a trial with the same clock. A breakpoint makes
//! QEMU execute the code around it instruction by instruction, and the guest is none the wiser.
//!
//! Invariant: **what is found is the golden run's**: the pass ends in a checkpoint whose state must be that of the golden run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rand::RngExt;

use crate::fault::fault_rng;
use crate::target::{Target, TargetError, describe};
use crate::text::{near_names, near_words, shown};
use crate::trial::clone::guest::CloneDisk;
use crate::trial::golden::idle::{Idle, Span};
use crate::trial::golden::model::{Checkpoint, Golden};
use crate::trial::golden::watched::{EventError, EventGuest, Watched, few, interrupts, places, watched};
use crate::trial::runner::{RunError, Runner};
use crate::trial::trigger::{Event, Trigger, Within};
use crate::units::{VirtualNs, little_endian};
use crate::wire::gdb::Breakpoint;

/// How far the guest is let run at a time.
const STRIDE: u64 = 100_000_000;

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
        let in_interrupts = triggers.iter().find(|one| one.event == Event::During(Within::Interrupt));
        if let Some(trigger) = in_interrupts {
            let mut spans = Some(Vec::new());
            for pair in interrupts(trigger, &guest)? {
                let found = self.in_interrupts(&mut start()?, pair, &guest)?;
                let is_it = found.as_ref().is_some_and(|found| !found.is_empty());
                spans = if is_it { found } else { spans.and(found) };
                if is_it {
                    break;
                }
            }
            let spans = spans.ok_or_else(|| EventError::NotPaired(trigger.clone()))?;
            found.insert(trigger.event.clone(), drawn(&spans, guest.seed));
        }
        // QEMU reports one access of an instruction alone: each event about data has its own pass.
        let (accesses, watched): (Vec<_>, Vec<_>) = watched.into_iter().partition(Watched::is_access);
        for one in accesses {
            found.extend(self.watch(&mut start()?, vec![one], &guest, true)?);
        }
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
            let wanted = |breakpoint: &Breakpoint| {
                watched.iter().any(|one| one.breakpoints.contains(breakpoint) && !one.is_done())
            };
            let all = watched.iter().flat_map(|one| &one.breakpoints);
            let mut set = all.map(|breakpoint| target.set_breakpoint(*breakpoint, wanted(breakpoint)));
            set.try_for_each(|set| set).map_err(RunError::from)?;
            let arrival = target.run_until_within(until, wall).map_err(RunError::from)?;
            at = arrival.at.unwrap_or(until);
            if let Some(why) = arrival.early {
                if why != "debug" {
                    return Err(runner.ended(format!("{why} at {at}")).into());
                }
                let accessed = target.accessed();
                let pc = target.read_register(counter).map_err(RunError::from)?;
                let address = accessed.unwrap_or_else(|| little_endian(&pc));
                if !watched.iter().any(|one| one.has(address)) {
                    let why = format!(
                        "a stop at {at} with its program counter at {address:#x}, where nothing is watched"
                    );
                    return Err(runner.ended(why).into());
                }
                // Some architectures stop behind an access.
                let behind = accessed.is_some() && guest.template.info().plan.spec.arch.stops_behind_access;
                let before = VirtualNs(at.0 - u64::from(behind));
                let past = VirtualNs(before.0 + 1);
                for one in watched.iter_mut().filter(|one| one.has(address) && !one.is_done()) {
                    // A guest that is run to this instant has not taken the exception yet: no time passes as it does.
                    let is_exception = matches!(one.event, Event::Exception(_));
                    let instant = if is_exception { past } else { before };
                    if instant < self.end() {
                        one.found.push(instant);
                    }
                    few(&one.event, one.found.len())?;
                }
                // Past it, with nothing in the way.
                if at < past {
                    let here =
                        watched.iter().flat_map(|one| &one.breakpoints).filter(|one| one.address == address);
                    let mut cleared = here.map(|one| target.set_breakpoint(*one, false));
                    cleared.try_for_each(|set| set).map_err(RunError::from)?;
                    if past <= self.end() {
                        at = target.run_until_within(past, wall).map_err(RunError::from)?.at.unwrap_or(past);
                    }
                }
            }
            if at >= self.end() {
                break self.checkpoints.last();
            }
        };
        let target = runner.guest.target();
        watched
            .iter()
            .flat_map(|one| &one.breakpoints)
            .try_for_each(|breakpoint| target.set_breakpoint(*breakpoint, false))
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
        let all = || Idle::new(self.begin(), self.end(), []);
        let executed = self.idle.clone().unwrap_or_else(all).busy();
        for moment in drawn(&executed, guest.seed) {
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

    /// When the golden run handles an interrupt, from where the kernel begins to where it has done so; `None` where these
    /// are not pairs.
    fn in_interrupts(
        &self,
        runner: &mut Runner,
        pair: [Watched; 2],
        guest: &EventGuest<'_>,
    ) -> Result<Option<Vec<Span>>, EventError> {
        let events = [pair[0].event.clone(), pair[1].event.clone()];
        let mut found = self.watch(runner, pair.into(), guest, false)?;
        let [begins, ends] = events.map(|event| found.remove(&event).unwrap_or_default());
        Ok(between(&begins, &ends, self.begin()..self.end()))
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
            Event::During(Within::Interrupt) => "; it handles no interrupt".to_owned(),
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
            Event::Exception(_) | Event::Pc(_) | Event::Read(_) | Event::Write(_) => String::new(),
        };
        shown(&hint, 400)
    }
}

/// The spans from each begin to the end that follows, in a run; `None` where they do not come by turns. One span may be under
/// way at either end of the run.
fn between(begins: &[VirtualNs], ends: &[VirtualNs], run: Range<VirtualNs>) -> Option<Vec<Span>> {
    let begins = begins.iter().map(|at| (*at, true));
    let mut all: Vec<_> = begins.chain(ends.iter().map(|at| (*at, false))).collect();
    all.sort_unstable();
    // Where only ends, or only begins, are seen, the others are made somewhere else.
    let by_turns = all.windows(2).all(|two| two[0].1 != two[1].1);
    if all.first().is_some_and(|(_, begins)| !begins) {
        all.insert(0, (run.start, true));
    }
    if all.last().is_some_and(|(_, begins)| *begins) {
        all.push((run.end, false));
    }
    let span = |two: &[(VirtualNs, bool)]| Span { from: two[0].0, length: two[1].0.0 - two[0].0.0 };
    by_turns.then(|| all.chunks_exact(2).map(span).collect())
}

/// Different moments of some spans, in order: each as likely as every other.
fn drawn(spans: &[Span], seed: u64) -> Vec<VirtualNs> {
    // The spans, and how many moments lie before each.
    let (mut numbered, mut before) = (Vec::new(), 0);
    for span in spans {
        numbered.push((before, span.from.0));
        before += span.length;
    }
    let mut rng = fault_rng(seed, MOMENTS);
    let mut moments = BTreeSet::new();
    while (moments.len() as u64) < before.min(LOOKED_AT) {
        let number = rng.random_range(0..before);
        let (before, from) = numbered[numbered.partition_point(|(before, _)| *before <= number) - 1];
        moments.insert(VirtualNs(from + (number - before)));
    }
    moments.into_iter().collect()
}

/// Refuses a pass that is not in the golden run's state at a checkpoint.
pub(super) fn is_golden(checkpoint: &Checkpoint, runner: &mut Runner) -> Result<(), EventError> {
    let here = runner.state(false)?;
    match (&checkpoint.state, &here) {
        (Some(golden), Some(here)) if !golden.is_same(here) => {
            Err(EventError::Disturbed(describe(golden, here)))
        }
        _ => Ok(()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_last_from_their_begins_to_the_ends_that_follow_and_others_are_not_believed() {
        let between = |begins: &[u64], ends: &[u64]| {
            let at = |times: &[u64]| times.iter().copied().map(VirtualNs).collect::<Vec<_>>();
            let found = between(&at(begins), &at(ends), VirtualNs(10)..VirtualNs(100))?;
            Some(found.iter().map(|span| (span.from.0, span.length)).collect::<Vec<_>>())
        };
        assert_eq!(between(&[20, 40], &[25, 50]), Some(vec![(20, 5), (40, 10)]));
        // Under way when the run begins, and when it ends.
        assert_eq!(between(&[20, 90], &[15, 30]), Some(vec![(10, 5), (20, 10), (90, 10)]));
        assert_eq!(between(&[], &[]), Some(Vec::new()));
        // It ends elsewhere, or begins elsewhere.
        assert_eq!((between(&[20, 40, 60], &[]), between(&[], &[20, 40])), (None, None));
        assert_eq!(between(&[20, 40, 60], &[70]), None);
    }
}
