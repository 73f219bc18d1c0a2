//! A trial from the flip on: it runs from look to look, at checkpoints of the golden run, and is compared with it at each.
//!
//! Invariants: a trial that still runs is ended early only where its state is equal to the golden run's. **A trial that
//! was begun later than its flip has the record of the whole run**: what it looks at beyond that leaves no trace.

use std::time::{Duration, Instant};

use crate::console::classify;
use crate::fault::{Flip, FlipError, Operation};
use crate::machine::End;
use crate::target::{StateDigest, devices_between, pages_between};
use crate::text::unhex_value;
use crate::trial::golden::model::{Checkpoint, Golden, Look, Window};
use crate::trial::heard::Console;
use crate::trial::judge;
use crate::trial::judge::{news, notices};
use crate::trial::later::Later;
use crate::trial::options::TrialOptions;
use crate::trial::record::{Costs, EndState, LISTED, RegisterDifference, TrialRecord};
use crate::trial::reports::reports;
use crate::trial::runner::{Got, RunError, Runner, registers};
use crate::trial::settle::Settling;
use crate::units::VirtualNs;

/// What QEMU calls the state of a vCPU.
const VCPU: &str = "cpu";

/// How far a guest that is late runs at a time. Where such a trial ends must not depend on the host, as the distance
/// of checkpoints does.
const LATE_STEP: u64 = 50_000_000;

/// What happens in a trial, for callers that watch it.
#[derive(Debug)]
pub enum Step<'a> {
    /// The guest stands where it is to be flipped.
    Arrived(VirtualNs),
    /// The flip took, or did not.
    Flipped(&'a Result<Flip, FlipError>),
    /// A checkpoint was reached that the trial looks at.
    Checkpoint {
        /// The golden run's.
        golden: &'a Checkpoint,
        /// Here.
        state: Option<&'a StateDigest>,
        /// Whether the console has said the same.
        console: bool,
    },
    /// Past the golden run's end, and not done yet.
    Late(VirtualNs),
}

/// A trial after its flip.
pub(super) struct Observation<'a> {
    golden: &'a Golden,
    options: &'a TrialOptions,
    later: Later,
    record: TrialRecord,
    costs: Costs,
    /// The state is the golden run's from here on, which has said so much by then.
    converged: Option<usize>,
    /// At the golden run's end, where it was reached.
    at_end: Option<StateDigest>,
    /// What is known of the golden run's accesses, if it may be used.
    settling: Option<&'a Settling<'a>>,
    /// The state at the end, where it follows from those.
    ahead: Option<EndState>,
}

impl<'a> Observation<'a> {
    pub(super) fn new(
        golden: &'a Golden,
        options: &'a TrialOptions,
        later: Later,
        record: TrialRecord,
        settling: Option<&'a Settling<'a>>,
    ) -> Self {
        let costs = record.costs;
        let (converged, at_end, ahead) = (None, None, None);
        // What is known of accesses holds for bits that are changed once.
        let settling = settling.filter(|_| later.is_over());
        Observation { golden, options, later, record, costs, converged, at_end, settling, ahead }
    }

    /// Runs on; whether the guest is still there.
    fn run_to(&mut self, runner: &mut Runner, at: VirtualNs) -> Result<bool, RunError> {
        let began = Instant::now();
        let mut got = Got::There;
        while got == Got::There
            && let Some(next) = self.later.next_by(at)
        {
            got = runner.run_to(next, self.options.wall)?;
            if got == Got::There
                && let Some(refused) = self.later.act(runner)?
            {
                self.record.end_ns = next.0;
                self.record.error.get_or_insert(refused.to_string());
                return Ok(false);
            }
        }
        if got == Got::There {
            got = runner.run_to(at, self.options.wall)?;
        }
        self.costs.run_us += micros(began.elapsed());
        match got {
            Got::There => {
                self.record.end_ns = at.0;
                Ok(true)
            }
            Got::Ended(end, at) => {
                self.record.end_ns = at.0;
                self.record.end = Some(end);
                Ok(false)
            }
        }
    }

    /// Takes in what the console has said so far, beside what it had said in the golden run.
    fn listen(&mut self, said: &[u8], golden: &[u8]) -> bool {
        // A guest that has said less than the golden run has not said something else yet.
        let same = self.golden.same_so_far(said, golden);
        // A guest that is late has not said anything else yet.
        if !same && !self.golden.is_late(said) && self.record.console_differs_ns.is_none() {
            self.record.console_differs_ns = Some(self.record.end_ns);
        }
        // Where some lines are the output, a report is in none of them.
        let heard = self.record.console_differs_ns.is_some()
            || !self.golden.signals.all_is_output() && !self.golden.console.starts_with(said);
        if self.record.detected_ns.is_none() && heard {
            let (found, golden) = (classify::classify(said), classify::classify(golden));
            if news(&found, &golden).any(|finding| notices(finding.kind)) {
                self.record.detected_ns = Some(self.record.end_ns);
            }
        }
        same
    }

    /// What the console has said; where the state is the golden run's, all that this had said as well when it had said
    /// so much.
    fn whole(&self, runner: &Runner, until: usize) -> Vec<u8> {
        let mut said = runner.console.said().to_vec();
        if let Some(from) = self.converged {
            said.extend_from_slice(&self.golden.console[from.min(until)..until]);
        }
        said
    }

    /// The state at a checkpoint. The cheaper part first: where RAM differs, the rest is of no interest before the end.
    fn state_at(
        &self,
        runner: &mut Runner,
        checkpoint: &Checkpoint,
    ) -> Result<Option<StateDigest>, RunError> {
        let last = checkpoint.at == self.golden.end();
        let Some(golden) = checkpoint.state.as_ref() else { return runner.state(last) };
        match runner.state_if(golden.ram, last)? {
            Some(here) if last && here.ram != golden.ram => runner.state(true),
            // Where RAM is equal there is no page to be listed.
            state => Ok(state),
        }
    }

    /// Whether a state is the golden run's at a checkpoint, and will stay so.
    fn is_same(&self, state: Option<&StateDigest>, checkpoint: &Checkpoint) -> bool {
        let states = state.zip(checkpoint.state.as_ref());
        self.golden.agrees()
            && (self.later.is_over() || checkpoint.at == self.golden.end())
            && states.is_some_and(|(here, golden)| self.options.restore.is_same(here, golden))
    }

    pub(super) fn observe(
        &mut self,
        runner: &mut Runner,
        watch: &mut dyn FnMut(Step<'_>, &mut Runner) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        if let Some(refused) = self.later.refused.take() {
            self.record.error = Some(refused.to_string());
            return Ok(());
        }
        let golden = self.golden;
        let flip_ns = self.record.flip_ns;
        for Look { checkpoint, recorded } in
            golden.looks(VirtualNs(flip_ns), self.record.begun_ns.map(VirtualNs))
        {
            self.converged = None;
            if !self.run_to(runner, checkpoint.at)? {
                return Ok(());
            }
            let began = Instant::now();
            // What is no look of the whole run leaves no trace in the record, unless the state is equal.
            let counts = checkpoint.at == recorded.at;
            let console = counts && self.listen(runner.console.said(), golden.console_at(checkpoint));
            let state = self.state_at(runner, checkpoint)?;
            self.costs.compare_us += micros(began.elapsed());
            if counts {
                watch(Step::Checkpoint { golden: checkpoint, state: state.as_ref(), console }, runner)?;
            }
            let same = self.is_same(state.as_ref(), checkpoint);
            let last = recorded.at == golden.end();
            if same && self.record.converged_ns.is_none() && !last {
                self.record.converged_ns = Some(recorded.at.0);
            }
            self.converged = same.then_some(checkpoint.console.min(golden.console.len()));
            if same && self.options.early_stop {
                self.record.end_ns = recorded.at.0;
                if !counts {
                    let said = self.whole(runner, golden.console_at(recorded).len());
                    self.listen(&said, golden.console_at(recorded));
                }
                return Ok(());
            }
            if counts && last && !same {
                self.at_end = state;
            } else if !same && self.is_dead(runner, checkpoint)? {
                return Ok(());
            }
        }
        // The golden run is over. A workload that is not done by now is given some more time.
        if golden.window != Window::Done || runner.console.is_done() {
            return Ok(());
        }
        let limit = judge::hang_limit(golden, self.options.hang_factor).0;
        let mut at = golden.end().0.max(flip_ns);
        while at < limit && !runner.console.is_done() {
            at = at.saturating_add(LATE_STEP).min(limit);
            if !self.run_to(runner, VirtualNs(at))? {
                return Ok(());
            }
            self.listen(runner.console.said(), &golden.console);
            watch(Step::Late(VirtualNs(at)), runner)?;
        }
        Ok(())
    }

    /// Whether what differs at a checkpoint is never read again; the rest of the trial is known then.
    fn is_dead(&mut self, runner: &mut Runner, checkpoint: &Checkpoint) -> Result<bool, RunError> {
        // Without the times of bytes, those of what was said are known by looks that would be left out.
        let usable = self.golden.capabilities.times;
        let Some(settling) = self.settling.filter(|_| usable) else { return Ok(false) };
        let began = Instant::now();
        // The flip that did the same undoes it, and does it again.
        let bits = unhex_value(&self.record.old).zip(unhex_value(&self.record.new));
        let Some((old, new)) = bits else { return Ok(false) };
        let flip = self.record.plan.fault.clone().flipping(Operation::Flip.apply(&old, &new));
        let dead = settling.dead(runner, checkpoint, &flip)?;
        self.costs.compare_us += micros(began.elapsed());
        let Some(dead) = dead else { return Ok(false) };
        self.converged = Some(checkpoint.console.min(self.golden.console.len()));
        let said = self.whole(runner, self.golden.console.len());
        let end = match dead.over {
            // By this look all is the golden run's again.
            Some(over) if dead.is_gone() => settling.look_behind(VirtualNs(self.record.flip_ns), over),
            _ => Some(self.golden.end()),
        };
        // One that is not done by the golden run's end is watched for longer.
        let done = self.golden.window != Window::Done || self.golden.signals.is_done_in(&said);
        let Some(end) = end.filter(|_| done) else {
            self.converged = None;
            return Ok(false);
        };
        if dead.is_gone() {
            self.record.converged_ns = (end != self.golden.end()).then_some(end.0);
        } else {
            let failed = |cause| RunError::Console { path: runner.guest.folder().to_owned(), cause };
            let register = dead.register.then_some(&flip);
            self.ahead = Some(settling.end_state(&dead.left, register).map_err(failed)?);
        }
        self.record.end_ns = end.0;
        self.record.cut_ns = Some(checkpoint.at.0);
        Ok(true)
    }

    /// The outcome, and what speaks for it.
    pub(super) fn judge(mut self, runner: &mut Runner) -> Result<TrialRecord, RunError> {
        let golden = self.golden;
        self.record.more = std::mem::take(&mut self.later.struck);
        if self.record.error.is_some() {
            // A fault of several did not take: the trial says nothing of the others either.
            self.record.flipped = false;
            self.record.costs = self.costs;
            return Ok(self.record);
        }
        let began = Instant::now();
        let said = self.whole(runner, golden.console.len());
        if self.converged.is_none() {
            self.listen(&said, &golden.console);
        }
        let same_output = golden.same_output(&said);
        let found = classify::classify(&said);
        let expected = classify::classify(&golden.console);
        let begun = self.record.clone();
        let evidence = judge::Compared {
            record: &begun,
            golden,
            said: &said,
            found: &found,
            expected: &expected,
            converged: self.converged.is_some() && self.ahead.is_none(),
            limit: judge::hang_limit(golden, self.options.hang_factor),
            wall: self.options.wall,
        };
        let evidence = evidence.evidence(same_output);
        let noticed = evidence.noticed.map(|finding| finding.line);
        if same_output {
            // It said the same after all, a little sooner or later than at a checkpoint.
            self.record.console_differs_ns = None;
            self.record.detected_ns = self.record.detected_ns.filter(|_| noticed.is_some());
        } else {
            // Late to the end.
            self.record.console_differs_ns.get_or_insert(self.record.end_ns);
        }
        evidence.record(&mut self.record, &said);
        self.record.counts = golden.signals.count.of(&said);
        self.record.reached = golden.signals.reached(&said);
        let console = Console { golden, said: &said, same_output, noticed };
        console.hear(runner, &mut self.record)?;
        let new = news(&found, &expected).filter(|finding| notices(finding.kind));
        self.record.reports = console.reports(runner, reports(new, &said))?;
        // A guest that the host's clock stopped stands at another place each time.
        let exact = !matches!(self.record.end, Some(End::WallTime | End::Other));
        if self.ahead.is_some() {
            self.record.state = self.ahead.take();
        } else if self.converged.is_none() && exact && golden.agrees() {
            self.record.state = self.end_state(runner)?;
        }
        self.costs.compare_us += micros(began.elapsed());
        self.record.costs = self.costs;
        debug_assert_eq!(self.record.lacks(), Vec::<&str>::new(), "{:?}", self.record.because);
        Ok(self.record)
    }

    fn end_state(&mut self, runner: &mut Runner) -> Result<Option<EndState>, RunError> {
        let golden = self.golden;
        let Some(here) = self.at_end.take() else {
            return Ok(runner.state(false)?.map(|state| EndState::of(&state)));
        };
        let mut end = EndState::of(&here);
        let last = golden.checkpoints.last();
        let Some((at, last)) = last.and_then(|last| Some((last.at, last.state.as_ref()?))) else {
            return Ok(Some(end));
        };
        let pages = pages_between(&here, last);
        end.pages_differ = Some(pages.len() as u64);
        end.pages = pages.iter().take(LISTED).map(|(block, offset)| format!("{block}+{offset:#x}")).collect();
        end.devices = devices_between(last, &here);
        // Its registers are part of a vCPU's state, and to read them all takes longer than all of the above.
        let registers_differ = end.devices.iter().any(|device| device == VCPU);
        end.devices.truncate(LISTED);
        end.disk = self.options.restore.knows_disk().then(|| here.disks != last.disks);
        // A late guest is past that moment, and its registers are those of another one.
        if registers_differ && self.record.end_ns == at.0 {
            let here = registers(runner)?;
            let differing = golden.registers.iter().zip(here).filter(|(golden, here)| **golden != *here);
            end.registers = differing
                .map(|((name, golden), (_, here))| RegisterDifference {
                    name: name.clone(),
                    golden: golden.clone(),
                    here,
                })
                .take(LISTED)
                .collect();
        }
        Ok(Some(end))
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
