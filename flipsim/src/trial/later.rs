//! What is still done to a guest after the first fault of its trial: further faults, a flip back, the ends and the new
//! beginnings of faults that hold on.
//!
//! Invariant: **each is done at its own instant, in the order of the plan where instants are equal.**

use crate::fault::{Fault, Flip, FlipError, Hold, flip, stuck};
use crate::target::{StuckByte, TargetError};
use crate::text::hex_value;
use crate::trial::record::{Struck, TrialPlan};
use crate::trial::runner::{RunError, Runner};
use crate::units::VirtualNs;

/// What is done, and to which fault: its number in the plan, from 0.
#[derive(Clone, Debug)]
enum What {
    Strike(usize, Fault),
    FlipBack(Fault),
    Release(usize),
    HoldAgain(usize),
}

/// A fault that holds on.
#[derive(Clone, Debug)]
struct Held {
    number: usize,
    began: VirtualNs,
    hold: Hold,
    bits: Vec<StuckByte>,
    /// Whether it is in force now.
    now: bool,
}

/// All that is still to be done.
#[derive(Debug, Default)]
pub(super) struct Later {
    /// The last is the next.
    pending: Vec<(VirtualNs, What)>,
    held: Vec<Held>,
    /// What came of each further fault of the plan.
    pub(super) struck: Vec<Struck>,
    /// Why one did not take that was due with the first.
    pub(super) refused: Option<FlipError>,
    /// Whether this QEMU has stuck bits, and drops what its TLBs hold with them.
    can_flush: bool,
}

impl Later {
    /// Of a plan whose first fault has just struck.
    ///
    /// # Errors
    /// The guest is lost, or refuses to hold it.
    pub(super) fn new(
        plan: &TrialPlan,
        origin: VirtualNs,
        first: &Flip,
        runner: &mut Runner,
    ) -> Result<Later, RunError> {
        let at = |after: VirtualNs| VirtualNs(origin.0.saturating_add(after.0));
        let can_flush = runner.guest.target().capabilities().stuck;
        let mut later = Later { can_flush, ..Later::default() };
        if let Some(back) = plan.back_after {
            later.put(at(back), What::FlipBack(plan.fault.clone()));
        }
        for (number, more) in plan.more.iter().enumerate() {
            later.put(at(more.after), What::Strike(number + 1, more.fault.clone()));
            later.struck.push(Struck { flip_ns: at(more.after).0, ..Struck::default() });
        }
        later.hold(0, first, at(plan.after), runner)?;
        while later.refused.is_none() && later.next_by(at(plan.after)).is_some() {
            later.refused = later.act(runner)?;
        }
        Ok(later)
    }

    /// Behind all that is due at the same instant.
    fn put(&mut self, at: VirtualNs, what: What) {
        let place = self.pending.partition_point(|(other, _)| *other > at);
        self.pending.insert(place, (at, what));
    }

    /// The instant of the next, if it is not behind this one.
    pub(super) fn next_by(&self, at: VirtualNs) -> Option<VirtualNs> {
        self.pending.last().map(|(next, _)| *next).filter(|next| *next <= at)
    }

    /// Whether the guest is left alone from now on, and nothing is in force.
    pub(super) fn is_over(&self) -> bool {
        self.pending.is_empty() && !self.held.iter().any(|held| held.now)
    }

    /// Does the next to the guest, which stands at its instant. What a fault is refused for.
    ///
    /// # Errors
    /// The guest is lost.
    pub(super) fn act(&mut self, runner: &mut Runner) -> Result<Option<FlipError>, RunError> {
        let Some((at, what)) = self.pending.pop() else { return Ok(None) };
        match what {
            What::FlipBack(fault) => {
                flip(runner.guest.target(), &fault)
                    .map_err(|error| RunError::NotRestored(error.to_string()))?;
                self.flush(&fault, runner)?;
            }
            What::Strike(number, fault) => match flip(runner.guest.target(), &fault) {
                Ok(flip) => {
                    if let Some(struck) = self.struck.get_mut(number - 1) {
                        struck.flipped = true;
                        (struck.old, struck.new) = (hex_value(&flip.old), hex_value(&flip.new));
                        struck.instruction.clone_from(&flip.instruction);
                    }
                    self.hold(number, &flip, at, runner)?;
                    self.flush(&fault, runner)?;
                }
                Err(FlipError::Target(error @ TargetError::Lost { .. })) => return Err(error.into()),
                Err(error) => return Ok(Some(error)),
            },
            What::Release(number) => self.set(number, at, false, runner)?,
            What::HoldAgain(number) => self.set(number, at, true, runner)?,
        }
        Ok(None)
    }

    /// Keeps a fault that has just struck in force, if it holds on.
    fn hold(
        &mut self,
        number: usize,
        flip: &Flip,
        began: VirtualNs,
        runner: &mut Runner,
    ) -> Result<(), RunError> {
        let Some(hold) = flip.fault.operation().hold() else { return Ok(()) };
        self.held.push(Held { number, began, hold, bits: stuck(flip), now: false });
        self.set(number, began, true, runner)
    }

    /// Begins or ends a fault that holds on, and plans what follows.
    fn set(&mut self, number: usize, at: VirtualNs, now: bool, runner: &mut Runner) -> Result<(), RunError> {
        let Some(held) = self.held.iter_mut().find(|held| held.number == number) else { return Ok(()) };
        held.now = now;
        if now {
            held.began = at;
        }
        let next = match (now, held.hold.long(), held.hold.every()) {
            (true, Some(long), _) => Some((long, What::Release(number))),
            (false, _, Some(every)) => Some((every, What::HoldAgain(number))),
            _ => None,
        };
        let next = next.map(|(after, what)| (VirtualNs(held.began.0.saturating_add(after.0)), what));
        if let Some((at, what)) = next {
            self.put(at, what);
        }
        self.tell(runner)
    }

    /// Says which bits are stuck now. QEMU drops what its TLBs hold.
    fn tell(&self, runner: &mut Runner) -> Result<(), RunError> {
        let bits = self.held.iter().filter(|held| held.now).flat_map(|held| held.bits.iter().cloned());
        let bits: Vec<StuckByte> = bits.collect();
        Ok(runner.guest.target().set_stuck(&bits)?)
    }

    /// Right after a flip in RAM the TLBs are empty, as they are after the first one: when a flipped page-table entry acts
    /// must not depend on how long QEMU keeps another.
    fn flush(&self, fault: &Fault, runner: &mut Runner) -> Result<(), RunError> {
        // Of one that holds on that was said, and they are empty.
        let due = fault.address().is_some() && !fault.operation().holds_on();
        if self.can_flush && due { self.tell(runner) } else { Ok(()) }
    }
}
