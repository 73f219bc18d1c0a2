//! The worker: one process of QEMU after the other, in which trials are run one by one.
//!
//! ```text
//! restore ─→ run to t ─→ flip, read back ─→ checkpoint ─→ checkpoint ─→ … ─→ end, or hang limit
//!                                            equal: masked, stop here
//! ```
//!
//! Invariants: **a trial's outcome depends on the template, the fault and the QEMU build alone**, not on
//! the way in which the guest was restored. **Every flip is read back**; one that did not take has no
//! outcome.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::fault::{FlipError, GuestNames, flip};
use crate::target::{TargetError, describe};
use crate::text::hex_value;
use crate::trial::clone::guest::CloneDisk;
use crate::trial::golden::model::Golden;
use crate::trial::later::Later;
use crate::trial::observe::{Observation, Step, micros};
use crate::trial::options::TrialOptions;
use crate::trial::outcome::Outcome;
use crate::trial::record::{Costs, LISTED, TrialPlan, TrialRecord};
use crate::trial::restore::{RestoreMethod, WentBack, save_snapshot};
use crate::trial::runner::{Got, RunError, Runner};
use crate::trial::settle::Settling;
use crate::trial::template::error::TemplateError;
use crate::trial::template::saved::Template;
use crate::trial::used::{FirstUse, Used};
use crate::units::VirtualNs;

/// The tag of the snapshot that is saved right before a fault where no mark is.
const FLIP_TAG: &str = "flipsim-flip";

/// A process, or one after the other, that runs trials.
///
/// It walks forward: the state right before each fault is marked, and the next trial goes on from there.
/// Trials in the order of their time therefore have what is common run once; one that lies before the mark
/// starts in a new process.
#[derive(Debug)]
pub struct Worker<'a> {
    template: &'a Template,
    golden: &'a Golden,
    parent: PathBuf,
    options: TrialOptions,
    process: Option<Process>,
    checks: u64,
}

/// How a trial is shortened; not at all by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Short<'a> {
    /// It begins here, up to which the golden run does not access what the fault changes.
    pub begin: Option<VirtualNs>,
    /// It ends where all that differs is known to be dead by this.
    pub settling: Option<&'a Settling<'a>>,
}

/// A guest, and how it can be restored.
#[derive(Debug)]
struct Process {
    runner: Runner,
    /// To when it can be restored: the quiescent point, or the last mark.
    at: VirtualNs,
    /// What its console had said there.
    said: Vec<u8>,
    /// Whether that is a mark of QEMU's.
    marked: bool,
    /// Whether it is somewhere else now.
    away: bool,
    /// Rewinds since the state was last checked; `None` before the first.
    unchecked: Option<u32>,
}

impl<'a> Worker<'a> {
    /// A worker whose processes have their folders below `parent`.
    ///
    /// Where QEMU cannot go back to a mark, guests are restored by [`RestoreMethod::Clone`] in its place.
    #[must_use]
    pub fn new(template: &'a Template, golden: &'a Golden, parent: &Path, mut options: TrialOptions) -> Self {
        options.restore = options.restore.possible(template.info().capabilities);
        Worker { template, golden, parent: parent.to_owned(), options, process: None, checks: 0 }
    }

    /// What its guests start from.
    #[must_use]
    pub fn template(&self) -> &'a Template {
        self.template
    }

    /// The golden run that trials are compared with.
    #[must_use]
    pub fn golden(&self) -> &'a Golden {
        self.golden
    }

    /// How often its way back was checked and found right.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// The guest, started if there is none.
    ///
    /// # Errors
    /// It does not start.
    pub fn stand_by(&mut self) -> Result<&mut Runner, RunError> {
        let process = match self.process.take() {
            Some(process) => process,
            None => self.start()?,
        };
        Ok(&mut self.process.insert(process).runner)
    }

    /// Ends the process. The next trial starts another one.
    pub fn restart(&mut self) {
        self.process = None;
    }

    fn start(&self) -> Result<Process, RunError> {
        let restore = self.options.restore;
        let mut runner =
            Runner::start(self.template, &self.parent, restore.disk(), self.options.interrupted)?;
        restore.save_start(&mut runner).map_err(|error| match error {
            // A QEMU that is lost here has not started.
            RunError::Qmp(lost) => TemplateError::from(lost).into(),
            other => other,
        })?;
        let at = self.golden.begin();
        Ok(Process { runner, at, said: Vec::new(), marked: false, away: false, unchecked: None })
    }

    /// Checks the way back once more, for a worker that has nothing more to do; nothing happens where it has not
    /// gone back since it was last checked. Whether it was checked.
    ///
    /// # Errors
    /// [`RunError::NotRestored`] where what it goes back to is not what was marked: none of its trials since
    /// the last check is to be believed. Or the guest is lost. The process has ended then.
    pub fn last_check(&mut self) -> Result<bool, RunError> {
        // The check after its first rewind leaves none unchecked.
        let Some(mut process) =
            self.process.take_if(|process| process.unchecked.is_some_and(|count| count > 0))
        else {
            return Ok(false);
        };
        process.runner.guest.target().rewind()?;
        self.check(&mut process)?;
        self.checks += 1;
        Ok(true)
    }

    /// A guest that is where it can be restored to, not later than `time`.
    fn restored(&mut self, time: VirtualNs) -> Result<Process, RunError> {
        if self.process.as_ref().is_some_and(|process| process.marked && process.at > time) {
            self.last_check()?;
            self.process = None;
        }
        let Some(mut process) = self.process.take() else { return self.start() };
        if !process.away {
            return Ok(process);
        }
        let restore = self.options.restore;
        // One that ran without ever being marked cannot be restored.
        if restore == RestoreMethod::Rewind && !process.marked {
            return self.start();
        }
        match restore.go_back(&mut process.runner)? {
            WentBack::NotAtAll => return self.start(),
            WentBack::ToSnapshot => {}
            WentBack::ToMark(_) => {
                if process.unchecked.is_none_or(|count| count + 1 >= self.options.check_every) {
                    self.check(&mut process)?;
                    self.checks += 1;
                    process.unchecked = Some(0);
                } else {
                    process.unchecked = process.unchecked.map(|count| count + 1);
                }
            }
        }
        process.runner.put_back_to(process.at);
        process.runner.console.restart(&process.said)?;
        // What happened before is not this trial's.
        process.runner.guest.events()?;
        process.away = false;
        Ok(process)
    }

    /// Compares a guest that was restored with a fresh clone that is let run there: RAM by the pages of both
    /// processes as the host's kernel has them, and all else by the digests.
    fn check(&self, process: &mut Process) -> Result<(), RunError> {
        let mut fresh =
            Runner::start(self.template, &self.parent, CloneDisk::Memory, self.options.interrupted)?;
        if let Got::Ended(end, at) = fresh.walk_to(process.at, self.options.wall)? {
            return Err(fresh.ended(format!("{end:?} at {at}, before any fault")));
        }
        let here = process.runner.guest.target().state_digest(true)?;
        let there = fresh.guest.target().state_digest(true)?;
        let pages = |runner: &Runner| {
            let pages = runner.guest.written_pages(self.template);
            pages.map_err(|cause| RunError::unread(runner.guest.folder(), cause))
        };
        let (mine, theirs) = (pages(&process.runner)?, pages(&fresh)?);
        if mine == theirs && here.is_same(&there) {
            return Ok(());
        }
        let theirs: std::collections::BTreeSet<_> = theirs.into_iter().collect();
        let mine: std::collections::BTreeSet<_> = mine.into_iter().collect();
        let apart: Vec<String> = mine
            .symmetric_difference(&theirs)
            .take(LISTED)
            .map(|(offset, _)| format!("{offset:#x}"))
            .collect();
        let seen = if apart.is_empty() { String::new() } else { format!("pages at {}; ", apart.join(", ")) };
        Err(RunError::NotRestored(format!("{seen}{}", describe(&there, &here))))
    }

    /// Brings the guest to right before a fault, and marks it there.
    fn go_to(&mut self, time: VirtualNs, costs: &mut Costs) -> Result<Process, RunError> {
        let began = Instant::now();
        let mut process = self.restored(time)?;
        costs.restore_us = micros(began.elapsed());
        if process.marked && process.at == time {
            return Ok(process);
        }
        let began = Instant::now();
        process.away = true;
        if let Got::Ended(end, at) = process.runner.walk_to(time, self.options.wall)? {
            return Err(process.runner.ended(format!("{end:?} at {at}, before any fault")));
        }
        costs.walk_us = micros(began.elapsed());
        let began = Instant::now();
        // By every restore method: a mark empties the TLBs, and loading a snapshot does. When a flipped
        // page-table entry acts must not depend on the way.
        if !self.options.restore.marks(self.template.info().capabilities) {
            save_snapshot(&mut process.runner, FLIP_TAG)?;
            process.runner.guest.target().load_snapshot(FLIP_TAG)?;
        } else {
            process.runner.guest.target().mark()?;
            process.marked = true;
            process.at = time;
            process.said = process.runner.console.said().to_vec();
            process.away = false;
        }
        costs.mark_us = micros(began.elapsed());
        Ok(process)
    }

    /// What is first done with what a fault in RAM changes: as it is known from recorded accesses, or measured where these
    /// leave it open and the options ask for it. For an `audit` what is known is measured as well. Whether both agree.
    ///
    /// # Errors
    /// The guest is lost, or cannot be restored.
    pub fn first_use(
        &mut self,
        plan: &TrialPlan,
        settling: &Settling<'_>,
        audit: bool,
    ) -> Result<(Option<FirstUse>, bool), RunError> {
        let Some(known) = settling.first_use(plan) else { return Ok((None, true)) };
        let marks = self.options.restore.marks(self.template.info().capabilities);
        let open = known.used == Used::Unknown || audit;
        if !(open && self.options.first_use && marks) {
            return Ok((Some(known), true));
        }
        let process = self.go_to(settling.at(plan), &mut Costs::default())?;
        let process = self.process.insert(process);
        process.away = true;
        let measured = settling.measure_first_use(plan, &mut process.runner, self.options.wall)?;
        let found = if known.used == Used::Unknown { measured } else { known };
        Ok((Some(found), known.agrees(measured)))
    }

    /// Runs one trial. A guest that is lost on the way is reported as an error; callers that want the trial
    /// repeated call [`Worker::restart`] and this again.
    ///
    /// # Errors
    /// The guest is lost, or cannot be restored.
    pub fn trial(
        &mut self,
        plan: &TrialPlan,
        names: Option<&GuestNames>,
        watch: &mut dyn FnMut(Step<'_>, &mut Runner) -> Result<(), RunError>,
    ) -> Result<TrialRecord, RunError> {
        self.trial_in(plan, Short::default(), names, watch)
    }

    /// As [`Worker::trial`], shortened by what is known of the golden run's accesses.
    ///
    /// # Errors
    /// As [`Worker::trial`].
    pub fn trial_in(
        &mut self,
        plan: &TrialPlan,
        short: Short<'a>,
        names: Option<&GuestNames>,
        watch: &mut dyn FnMut(Step<'_>, &mut Runner) -> Result<(), RunError>,
    ) -> Result<TrialRecord, RunError> {
        let began = Instant::now();
        let (golden, options) = (self.golden, self.options.clone());
        let mut record = TrialRecord::of(golden, plan, options.restore, names);
        let flip_at = short.begin.unwrap_or(VirtualNs(record.flip_ns));
        record.begun_ns = (flip_at.0 > record.flip_ns).then_some(flip_at.0);
        let mut costs = Costs::default();
        if let Err(why) = plan.check(golden) {
            // A campaign's file may come from anywhere.
            return Ok(TrialRecord { error: Some(why), ..record });
        }
        if plan.is_decided() {
            let mut record = record.decided();
            // What is corrected is as it was; when memory reports what it cannot correct is not known.
            let is_golden = record.outcome == Some(Outcome::EccCorrected);
            record.reached = golden.signals.reached(&golden.console).filter(|_| is_golden);
            return Ok(record);
        }
        let process = self.go_to(flip_at, &mut costs)?;
        let process = self.process.insert(process);
        process.away = true;
        let runner = &mut process.runner;
        watch(Step::Arrived(flip_at), runner)?;
        let flipped = flip(runner.guest.target(), &plan.fault);
        // Whoever looks at the guest now finds all that is due at this instant.
        let later = match &flipped {
            Ok(flip) => Later::new(plan, golden.begin(), flip, runner)?,
            Err(_) => Later::default(),
        };
        watch(Step::Flipped(&flipped), runner)?;
        match flipped {
            Ok(flip) => {
                record.flipped = true;
                (record.old, record.new) = (hex_value(&flip.old), hex_value(&flip.new));
                record.instruction.clone_from(&flip.instruction);
                // What a register holds at a fault's own time is only seen here.
                if let (Some(settling), true) =
                    (short.settling, flip.old == flip.new && record.begun_ns.is_some())
                {
                    let failed = |cause| RunError::Console { path: runner.guest.folder().to_owned(), cause };
                    if let Some(known) = settling.found_unchanged(plan, &flip.old).map_err(failed)? {
                        costs.total_us = micros(began.elapsed());
                        let TrialRecord { begun_ns, restore, .. } = record;
                        return Ok(TrialRecord { begun_ns, restore, costs, ..known });
                    }
                }
            }
            Err(FlipError::Target(error @ TargetError::Lost { .. })) => return Err(error.into()),
            Err(error) => {
                if let FlipError::NotFlipped { old, read, .. } = &error {
                    (record.old, record.new) = (old.clone(), read.clone());
                }
                record.error = Some(error.to_string());
                costs.total_us = micros(began.elapsed());
                record.costs = costs;
                return Ok(record);
            }
        }
        record.costs = costs;
        let mut run = Observation::new(golden, &options, later, record, short.settling);
        run.observe(runner, watch)?;
        let mut record = run.judge(runner)?;
        record.reports.iter_mut().for_each(|report| report.name(names));
        record.costs.total_us = micros(began.elapsed());
        Ok(record)
    }
}
