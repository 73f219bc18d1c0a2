//! What the golden run uses at instants: a pass that looks at one instruction at each.
//!
//! Invariant: **what is found is the golden run's**: the pass ends in a checkpoint whose state must be that of the golden run.

use std::fs;
use std::io::{Read, Seek};

use crate::fault::{MOST_STACK, UsedByTrigger, UsedHere, code_at};
use crate::files::open_to_empty;
use crate::memory::PhysRange;
use crate::target::{AccessHook, LiveTarget, Target, TargetError};
use crate::trial::accesses::RamBlocks;
use crate::trial::accesses::stream::{Kind, records};
use crate::trial::clone::guest::CloneDisk;
use crate::trial::golden::events::is_golden;
use crate::trial::golden::model::Golden;
use crate::trial::golden::watched::{EventError, EventGuest};
use crate::trial::recording::{RecordingError, blocks_of};
use crate::trial::runner::{RunError, Runner};
use crate::units::{GuestPhys, VirtualNs, little_endian};

/// The file in QEMU's folder that it writes accesses to.
const FILE: &str = "used";

/// What is no operand of the instruction.
const WITHOUT: [AccessHook; 4] =
    [AccessHook::Walks, AccessHook::Code, AccessHook::DeviceReads, AccessHook::DeviceWrites];

const PAGE: u64 = 4096;

impl Golden {
    /// What is used at the instants of these triggers, which are resolved; `stack` says whether the stack is asked for.
    ///
    /// # Errors
    /// The guest is lost, or the pass was not the golden run.
    pub fn used_at(
        &self,
        triggers: &[String],
        stack: bool,
        guest: EventGuest<'_>,
    ) -> Result<UsedByTrigger, EventError> {
        let instants = |trigger: &String| self.events.get(trigger).map_or(&[][..], Vec::as_slice);
        // What an instruction writes is struck behind it, before the end.
        let inside = |at: &VirtualNs| at.0 + 1 < self.end().0;
        let mut all: Vec<VirtualNs> = triggers.iter().flat_map(instants).copied().filter(inside).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Ok(UsedByTrigger::new());
        }
        let found = self.look(&all, stack, &guest)?;
        let here = |at: &VirtualNs| all.binary_search(at).ok().and_then(|at| found.get(at)).cloned();
        let of = |trigger: &String| (trigger.clone(), instants(trigger).iter().filter_map(here).collect());
        Ok(triggers.iter().map(of).collect())
    }

    /// Goes from one instant to the next, which are in order, and looks at the instruction there.
    fn look(
        &self,
        instants: &[VirtualNs],
        stack: bool,
        guest: &EventGuest<'_>,
    ) -> Result<Vec<UsedHere>, EventError> {
        let arch = &guest.template.info().plan.spec.arch;
        let mut runner =
            Runner::start_persistently(guest.template, guest.parent, CloneDisk::Memory, guest.interrupted)?;
        let target = runner.guest.target();
        target.mark().map_err(RunError::from)?;
        let recorded = target.record_accesses(FILE, &WITHOUT).map_err(RunError::from)?;
        let blocks = blocks_of(&recorded).map_err(RecordingError::from)?;
        let path = runner.guest.folder().join(FILE);
        let failed = |cause| RecordingError::Read { path: path.clone(), cause };
        let mut file = open_to_empty(&path).map_err(failed)?;
        let mut stream = Vec::new();
        let mut found = Vec::with_capacity(instants.len());
        let mut at = self.begin();
        for instant in instants {
            if *instant > at {
                to(&mut runner, *instant, guest)?;
                // What was done before is not asked for.
                runner.guest.target().next_accesses().map_err(RunError::from)?;
            }
            let target = runner.guest.target();
            let pc = value(target, arch.program_counter)?;
            let code = code_at(target, arch, pc).map_err(RunError::from)?;
            let operands = (arch.operands)(&code).unwrap_or_default();
            let stack = match stack {
                true => above(target, arch.stack_pointer)?,
                false => Vec::new(),
            };
            at = VirtualNs(instant.0 + 1);
            file.set_len(0).map_err(failed)?;
            to(&mut runner, at, guest)?;
            runner.guest.target().next_accesses().map_err(RunError::from)?;
            stream.clear();
            file.rewind().and_then(|()| file.read_to_end(&mut stream)).map_err(failed)?;
            found.push(UsedHere {
                after: VirtualNs(instant.0 - self.begin().0),
                read: operands.read,
                written: operands.written,
                loaded: loaded(&stream, &blocks)?,
                stack,
            });
        }
        runner.guest.target().stop_recording().map_err(RunError::from)?;
        fs::remove_file(&path).map_err(failed)?;
        if let Some(last) = self.checkpoints.iter().find(|checkpoint| checkpoint.at >= at) {
            to(&mut runner, last.at, guest)?;
            is_golden(last, &mut runner)?;
        }
        Ok(found)
    }
}

/// Runs to an instant.
fn to(runner: &mut Runner, at: VirtualNs, guest: &EventGuest<'_>) -> Result<(), EventError> {
    let arrival = runner.guest.target().run_until_within(at, guest.wall).map_err(RunError::from)?;
    match arrival.early {
        Some(why) => Err(runner.ended(format!("{why} before {at}")).into()),
        None => Ok(()),
    }
}

/// What a register of up to 64 bits holds.
fn value(target: &mut LiveTarget, name: &str) -> Result<u64, RunError> {
    let place = target.registers().iter().position(|register| register.name == name);
    let no = || TargetError::Refused {
        doing: format!("read its register {name}"),
        cause: "the gdb stub has none of that name".to_owned(),
    };
    Ok(little_endian(&target.read_register(place.ok_or_else(no)?)?))
}

/// Where the stack is in physical memory, from its pointer up.
fn above(target: &mut LiveTarget, pointer: &str) -> Result<Vec<PhysRange>, RunError> {
    let first = value(target, pointer)?;
    let mut found = Vec::new();
    let mut at = first;
    while let Some(left) = first.checked_add(MOST_STACK).map(|end| end - at).filter(|left| *left > 0) {
        let length = left.min(PAGE - at % PAGE);
        let Some(GuestPhys(place)) = target.physical(at)? else { break };
        found.extend(PhysRange::new(GuestPhys(place), GuestPhys(place.saturating_add(length - 1))));
        at += length;
    }
    Ok(found)
}

/// The bytes of RAM that were read.
fn loaded(stream: &[u8], blocks: &RamBlocks) -> Result<Vec<PhysRange>, EventError> {
    let mut found = Vec::new();
    for record in records(stream, blocks, 1) {
        let wrong = |(record, what): (usize, String)| EventError::Accesses { record, what };
        let record = record.map_err(wrong)?;
        // Registers are in a block that the guest does not see.
        if let (Kind::Read, Some(GuestPhys(first))) =
            (record.kind, blocks.address(record.block, record.offset))
        {
            let last = first.saturating_add(u64::from(record.length).saturating_sub(1));
            found.extend(PhysRange::new(GuestPhys(first), GuestPhys(last)));
        }
    }
    found.sort_unstable();
    Ok(found)
}
