//! A trial: one fault, carried out at its time, compared with the golden run, and judged by evidence.
//!
//! ```text
//! restore ─→ run to t ─→ flip, read back ─→ checkpoint ─→ checkpoint ─→ … ─→ end, or hang limit
//!                                            equal: masked, stop here
//! ```
//!
//! Invariants: **a trial's outcome depends on the template, the fault and the QEMU build alone**, not on
//! the way in which the guest was put back. **Every flip is read back**; one that did not take has no
//! outcome.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::console::classify::{self, Classification, Kind};
use crate::fault::symbols::SymbolMap;
use crate::fault::{Fault, Flip, FlipError, flip};
use crate::memory::MemoryMap;
use crate::target::TargetError;
use crate::target::marks::{Digest128, StateDigest};
use crate::text::hex_value;
use crate::trial::clone::CloneDisk;
use crate::trial::golden::{
    Checkpoint, End, Golden, Got, RunError, Runner, describe, devices_between, pages_between, registers,
};
use crate::trial::template::Template;

use crate::units::Timing;
use crate::units::VirtualNs;

/// The version of a trial's record.
pub const FORMAT: u32 = 1;

/// What QEMU calls the state of a vCPU.
const VCPU: &str = "cpu";

/// How many differing pages, registers and devices a record lists.
const LISTED: usize = 32;

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The end state is the golden run's.
    Masked,
    /// The output is the golden run's, the state is not.
    Latent,
    /// The output is wrong, and nothing was noticed.
    Sdc,
    /// The guest noticed, and went on.
    Detected,
    /// Panic, reset, power-off, exception storm.
    Crash,
    /// It is not done long after the golden run was.
    Hang,
    /// Ours: QEMU died, a socket was lost. No rate counts it.
    Infra,
}

impl Outcome {
    /// All of them, from the best to the worst.
    pub const ALL: [Outcome; 7] = [
        Outcome::Masked,
        Outcome::Latent,
        Outcome::Sdc,
        Outcome::Detected,
        Outcome::Crash,
        Outcome::Hang,
        Outcome::Infra,
    ];

    /// The word in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Masked => "masked",
            Outcome::Latent => "latent",
            Outcome::Sdc => "sdc",
            Outcome::Detected => "detected",
            Outcome::Crash => "crash",
            Outcome::Hang => "hang",
            Outcome::Infra => "infra",
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialPlan {
    /// When, from the quiescent point on.
    pub after: VirtualNs,
    /// What flips.
    pub fault: Fault,
    /// When it flips back, from the quiescent point on; a check of the lab itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_after: Option<VirtualNs>,
}

/// How the guest is put back before a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restore {
    /// In the same process, to a mark.
    #[default]
    Rewind,
    /// A new process a trial.
    Clone,
    /// In the same process, by QEMU's own snapshots.
    Loadvm,
}

/// How trials are carried out.
#[derive(Clone, Debug)]
pub struct TrialOptions {
    /// How the guest is put back.
    pub restore: Restore,
    /// A guest hangs that is not done after so many times the golden run's length.
    pub hang_factor: f64,
    /// How long a stretch between two checkpoints may take on the host's clock.
    pub wall: Duration,
    /// After how many rewinds the state is checked anew; the first one of a process always is.
    pub check_every: u32,
    /// Whether a state that is the golden run's ends the trial.
    pub early_stop: bool,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl Default for TrialOptions {
    fn default() -> Self {
        TrialOptions {
            restore: Restore::Rewind,
            hang_factor: 3.0,
            wall: Duration::from_secs(60),
            check_every: 1000,
            early_stop: true,
            interrupted: || false,
        }
    }
}

/// Where the time of a trial went, in microseconds of the host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Putting the guest back.
    pub restore_us: u64,
    /// Running up to the flip.
    pub walk_us: u64,
    /// Marking the state there.
    pub mark_us: u64,
    /// Running after it.
    pub run_us: u64,
    /// Comparing at checkpoints.
    pub compare_us: u64,
    /// All of it.
    pub total_us: u64,
}

/// A register that is not as in the golden run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterDifference {
    /// Its name.
    pub name: String,
    /// In the golden run, in hex.
    pub golden: String,
    /// Here, in hex.
    pub here: String,
}

/// How the state at the end differs from the golden run's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndState {
    /// The digest of RAM.
    pub ram: Digest128,
    /// The digest of devices, vCPUs among them.
    pub device_state: Digest128,
    /// How many pages of RAM differ; absent where the golden run was at another time.
    pub pages_differ: Option<u64>,
    /// The first of them, as `BLOCK+OFFSET`.
    pub pages: Vec<String>,
    /// Registers that differ.
    pub registers: Vec<RegisterDifference>,
    /// Devices that differ, vCPUs among them.
    pub devices: Vec<String>,
    /// Whether the disk differs; absent where that is not known.
    pub disk: Option<bool>,
}

impl EndState {
    fn of(state: &StateDigest) -> Self {
        let device_state = state.devices.unwrap_or_default();
        EndState { ram: state.ram, device_state, ..EndState::default() }
    }
}

/// What came of a trial, with the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The version of these keys.
    pub format: u32,
    /// The key of the template.
    pub template: String,
    /// What was to be done.
    pub plan: TrialPlan,
    /// The virtual time of the flip.
    pub flip_ns: u64,
    /// Whether it took. One that did not has no outcome.
    pub flipped: bool,
    /// Why not.
    pub error: Option<String>,
    /// The value before, in hex.
    pub old: String,
    /// The value after, as read back.
    pub new: String,
    /// The innermost region of the guest's memory map.
    pub region: Option<String>,
    /// The kernel symbol, with the offset in it.
    pub symbol: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// The checkpoint at which the state was the golden run's again.
    pub converged_ns: Option<u64>,
    /// The checkpoint at which the console first said something else.
    pub console_differs_ns: Option<u64>,
    /// The checkpoint at which the guest had noticed something.
    pub detected_ns: Option<u64>,
    /// Where the trial ended.
    pub end_ns: u64,
    /// How the guest ended, if it did.
    pub end: Option<End>,
    /// What the console's report is.
    pub kind: Option<Kind>,
    /// Its title, with the function.
    pub title: Option<String>,
    /// Only the outputs were compared, because the golden runs were not one, or nobody can tell.
    pub output_only: bool,
    /// Why; the first difference of the golden runs, or what this QEMU lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_only_because: Option<String>,
    /// How exactly the times are known.
    #[serde(default)]
    pub timing: Timing,
    /// The state at the end.
    pub state: Option<EndState>,
    /// What the console said, where it is not what it said in the golden run.
    pub console: Option<String>,
    /// How the guest was put back.
    pub restore: Restore,
    /// How often it was begun.
    pub attempts: u32,
    /// Where the time went.
    pub costs: Costs,
}

impl TrialPlan {
    /// Refuses a plan that does not fit a golden run; the text says why.
    ///
    /// # Errors
    /// A time is outside of the run, or they are in the wrong order.
    pub fn check(&self, golden: &Golden) -> Result<(), String> {
        let length = golden.end().0.saturating_sub(golden.begin().0);
        if self.after.0 >= length {
            return Err(format!(
                "the fault's time, {}, is not within the run, which is {} long",
                self.after,
                VirtualNs(length)
            ));
        }
        match self.back_after {
            Some(back) if back <= self.after || back.0 > length => Err(format!(
                "the time at which it flips back, {back}, is not between the fault and the end of the run"
            )),
            _ => Ok(()),
        }
    }
}

impl TrialRecord {
    /// Whether two records say the same of the guest: all but how it was put back, how often it took, and
    /// how long; and the disk, where one of them knows nothing of it.
    #[must_use]
    pub fn is_same(&self, other: &TrialRecord) -> bool {
        let (restore, attempts, costs) = (self.restore, self.attempts, self.costs);
        let mut other = TrialRecord { restore, attempts, costs, ..other.clone() };
        let disk = self.state.as_ref().and_then(|state| state.disk);
        if let Some(state) = other.state.as_mut()
            && (disk.is_none() || state.disk.is_none())
        {
            state.disk = disk;
        }
        *self == other
    }

    /// Why a trial with the outcome `infra` says nothing of the guest.
    #[must_use]
    pub fn lost_because(&self) -> String {
        match self.end {
            Some(End::WallTime) => {
                "the guest did not get on for a long time on the host's clock; is the host \
                                    overloaded, or was it paused?"
                    .to_owned()
            }
            end => format!("QEMU stopped the guest for a reason of its own ({end:?})"),
        }
    }

    /// Whether the state was the golden run's before the end.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        self.converged_ns.is_some()
    }
}

/// What happens in a trial, for who watches.
#[derive(Debug)]
pub enum Step<'a> {
    /// The guest stands where it is to be flipped.
    Arrived(VirtualNs),
    /// The flip took, or did not.
    Flipped(&'a Result<Flip, FlipError>),
    /// A checkpoint was reached.
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

/// What the names in a record are taken from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// The guest's memory map.
    pub map: Option<&'a MemoryMap>,
    /// The kernel's symbols.
    pub symbols: Option<&'a SymbolMap>,
}

/// The tag of the snapshot that [`Restore::Loadvm`] goes back to.
const TAG: &str = "flipsim-trial";

/// The tag of the snapshot that [`Restore::Loadvm`] takes right before a fault.
const FLIP_TAG: &str = "flipsim-flip";

/// A process, or one after the other, that carries out trials.
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

/// A guest, and how it can be put back.
#[derive(Debug)]
struct Process {
    runner: Runner,
    /// Where it can be put back to: the quiescent point, or the last mark.
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
    /// Where QEMU cannot go back to a mark, guests are put back by [`Restore::Clone`] in its place.
    #[must_use]
    pub fn new(template: &'a Template, golden: &'a Golden, parent: &Path, mut options: TrialOptions) -> Self {
        options.restore = template.info().abilities.restore(options.restore);
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
        let disk = match self.options.restore {
            Restore::Loadvm => CloneDisk::Layer,
            Restore::Rewind | Restore::Clone => CloneDisk::Memory,
        };
        let mut runner = Runner::start(self.template, &self.parent, disk, self.options.interrupted)?;
        if self.options.restore == Restore::Loadvm {
            monitor(&mut runner, &format!("savevm {TAG}"))?;
        }
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

    /// A guest that is where it can be put back to, not later than `time`.
    fn put_back(&mut self, time: VirtualNs) -> Result<Process, RunError> {
        if self.process.as_ref().is_some_and(|process| process.marked && process.at > time) {
            self.last_check()?;
            self.process = None;
        }
        let Some(mut process) = self.process.take() else { return self.start() };
        if !process.away {
            return Ok(process);
        }
        match self.options.restore {
            Restore::Clone => return self.start(),
            // One that ran without ever being marked cannot be put back.
            Restore::Rewind if !process.marked => return self.start(),
            Restore::Rewind => {
                process.runner.guest.target().rewind()?;
                if process.unchecked.is_none_or(|count| count + 1 >= self.options.check_every) {
                    self.check(&mut process)?;
                    self.checks += 1;
                    process.unchecked = Some(0);
                } else {
                    process.unchecked = process.unchecked.map(|count| count + 1);
                }
            }
            Restore::Loadvm => process.runner.guest.target().load_snapshot(TAG)?,
        }
        process.runner.put_back_to(process.at);
        process.runner.console.restart(&process.said)?;
        // What happened before is not this trial's.
        process.runner.guest.events()?;
        process.away = false;
        Ok(process)
    }

    /// Compares a guest that was put back with a fresh clone that is let run there: RAM by the pages of both
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
            runner
                .guest
                .written_pages(self.template)
                .map_err(|cause| RunError::Console { path: runner.guest.folder().to_owned(), cause })
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
        let mut process = self.put_back(time)?;
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
        // By every way of putting back: a mark empties the TLBs, and loading a snapshot does. When a flipped
        // page-table entry acts must not depend on the way.
        if self.options.restore == Restore::Loadvm || !self.template.info().abilities.mark {
            monitor(&mut process.runner, &format!("savevm {FLIP_TAG}"))?;
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

    /// Carries out one trial. A guest that is lost on the way is told as an error; whoever wants the trial
    /// repeated calls [`Worker::restart`] and this again.
    ///
    /// # Errors
    /// The guest is lost, or cannot be put back.
    pub fn trial(
        &mut self,
        plan: &TrialPlan,
        names: Names<'_>,
        watch: &mut dyn FnMut(Step<'_>, &mut Runner) -> Result<(), RunError>,
    ) -> Result<TrialRecord, RunError> {
        let began = Instant::now();
        let (golden, options) = (self.golden, self.options.clone());
        let flip_at = VirtualNs(golden.begin().0.saturating_add(plan.after.0));
        let mut costs = Costs::default();
        let process = self.go_to(flip_at, &mut costs)?;
        let process = self.process.insert(process);
        process.away = true;
        let runner = &mut process.runner;
        let mut record = TrialRecord {
            format: FORMAT,
            template: golden.template.clone(),
            plan: plan.clone(),
            flip_ns: flip_at.0,
            flipped: false,
            error: None,
            old: String::new(),
            new: String::new(),
            region: None,
            symbol: None,
            outcome: None,
            converged_ns: None,
            console_differs_ns: None,
            detected_ns: None,
            end_ns: flip_at.0,
            end: None,
            kind: None,
            title: None,
            output_only: !golden.agrees(),
            output_only_because: golden.difference.clone(),
            timing: golden.abilities.timing(),
            state: None,
            console: None,
            restore: options.restore,
            attempts: 1,
            costs,
        };
        if let Fault::Ram { address, .. } = &plan.fault {
            record.region =
                names.map.and_then(|map| map.region_at(*address)).map(|region| region.name.clone());
            record.symbol = names.symbols.and_then(|symbols| symbols.name_at(*address));
        }
        watch(Step::Arrived(flip_at), runner)?;
        let flipped = flip(runner.guest.target(), &plan.fault);
        watch(Step::Flipped(&flipped), runner)?;
        match flipped {
            Ok(flip) => {
                record.flipped = true;
                (record.old, record.new) = (hex_value(&flip.old), hex_value(&flip.new));
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
        let mut run = Observation::new(golden, &options, plan, record, costs);
        run.observe(runner, watch)?;
        let mut record = run.judge(runner)?;
        record.costs.total_us = micros(began.elapsed());
        Ok(record)
    }
}

/// A trial after its flip.
struct Observation<'a> {
    golden: &'a Golden,
    options: &'a TrialOptions,
    back_at: Option<(VirtualNs, Fault)>,
    record: TrialRecord,
    costs: Costs,
    /// The state is the golden run's from here on.
    converged: bool,
    /// At the golden run's end, where it was reached.
    at_end: Option<StateDigest>,
}

impl<'a> Observation<'a> {
    fn new(
        golden: &'a Golden,
        options: &'a TrialOptions,
        plan: &TrialPlan,
        record: TrialRecord,
        costs: Costs,
    ) -> Self {
        let back = plan.back_after.map(|after| VirtualNs(golden.begin().0.saturating_add(after.0)));
        let back_at = back.map(|at| (at, plan.fault.clone()));
        Observation { golden, options, back_at, record, costs, converged: false, at_end: None }
    }

    /// Runs on; whether the guest is still there.
    fn run_to(&mut self, runner: &mut Runner, at: VirtualNs) -> Result<bool, RunError> {
        let began = Instant::now();
        let mut got = Got::There;
        if let Some((back, fault)) = self.back_at.take_if(|(back, _)| *back <= at) {
            got = runner.run_to(back, self.options.wall)?;
            if got == Got::There {
                flip(runner.guest.target(), &fault)
                    .map_err(|error| RunError::NotRestored(error.to_string()))?;
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

    fn listen(&mut self, runner: &Runner, golden: &[u8]) -> bool {
        let said = runner.console.said();
        // A guest that has said less than the golden run has not said something else yet.
        let same = self.golden.same_so_far(said, golden);
        // A guest that is late has not said anything else yet.
        if !same && !self.golden.is_late(said) && self.record.console_differs_ns.is_none() {
            self.record.console_differs_ns = Some(self.record.end_ns);
        }
        if self.record.detected_ns.is_none() && self.record.console_differs_ns.is_some() {
            let (found, golden) = (classify::classify(said), classify::classify(golden));
            if news(&found, &golden).any(|finding| notices(finding.kind)) {
                self.record.detected_ns = Some(self.record.end_ns);
            }
        }
        same
    }

    fn observe(
        &mut self,
        runner: &mut Runner,
        watch: &mut dyn FnMut(Step<'_>, &mut Runner) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let golden = self.golden;
        let flip_ns = self.record.flip_ns;
        for checkpoint in golden.checkpoints.iter().filter(|checkpoint| checkpoint.at.0 > flip_ns) {
            if !self.run_to(runner, checkpoint.at)? {
                return Ok(());
            }
            let began = Instant::now();
            let console = self.listen(runner, golden.console_at(checkpoint));
            let last = checkpoint.at == golden.end();
            // The cheaper part first: where RAM differs, the rest is of no interest before the end.
            let state = match checkpoint.state.as_ref().filter(|_| !last) {
                Some(golden) => runner.state_if(golden.ram)?,
                None => runner.state(true)?,
            };
            self.costs.compare_us += micros(began.elapsed());
            watch(Step::Checkpoint { golden: checkpoint, state: state.as_ref(), console }, runner)?;
            let same = golden.agrees()
                && self.back_at.is_none()
                && state
                    .as_ref()
                    .zip(checkpoint.state.as_ref())
                    .is_some_and(|(here, golden)| is_same(here, golden, self.options));
            if same && self.record.converged_ns.is_none() && !last {
                self.record.converged_ns = Some(checkpoint.at.0);
            }
            if same && self.options.early_stop {
                self.converged = true;
                return Ok(());
            }
            self.converged = same;
            if last && !same {
                self.at_end = state;
            }
        }
        // The golden run is over. A workload that is not done by now is given some more time.
        if golden.window != crate::trial::golden::Window::Done || runner.console.is_done() {
            return Ok(());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a factor of a few; a cast saturates"
        )]
        let length = ((golden.end().0 - golden.begin().0) as f64 * self.options.hang_factor.max(1.0)) as u64;
        let limit = golden.begin().0.saturating_add(length);
        // In larger steps than the checkpoints: there is nothing to compare with.
        let step = golden.spacing.0.max(50_000_000);
        let mut at = golden.end().0.max(flip_ns);
        while at < limit && !runner.console.is_done() {
            at = at.saturating_add(step).min(limit);
            if !self.run_to(runner, VirtualNs(at))? {
                return Ok(());
            }
            self.listen(runner, &golden.console);
            watch(Step::Late(VirtualNs(at)), runner)?;
        }
        Ok(())
    }

    /// The outcome, and what speaks for it.
    fn judge(mut self, runner: &mut Runner) -> Result<TrialRecord, RunError> {
        let golden = self.golden;
        let began = Instant::now();
        let mut said = runner.console.said().to_vec();
        if self.converged {
            // From here on it says what the golden run says.
            let at = golden.checkpoints.iter().find(|checkpoint| checkpoint.at.0 == self.record.end_ns);
            let heard =
                at.map_or(golden.console.len(), |checkpoint| checkpoint.console.min(golden.console.len()));
            said.extend_from_slice(&golden.console[heard..]);
        } else {
            self.listen(runner, &golden.console);
        }
        let same_output = golden.same_output(&said);
        let found = classify::classify(&said);
        let expected = classify::classify(&golden.console);
        self.record.outcome =
            Some(outcome(&self.record, &said, [&found, &expected], same_output, self.converged, golden));
        let deciding =
            found.deciding().filter(|deciding| news(&found, &expected).any(|new| new == *deciding));
        if let Some(finding) = deciding {
            self.record.kind = Some(finding.kind);
            self.record.title = Some(finding.title.clone());
        }
        if !same_output {
            self.record.console = Some(String::from_utf8_lossy(&said).into_owned());
            // Late to the end.
            self.record.console_differs_ns.get_or_insert(self.record.end_ns);
        } else {
            // It said the same after all, a little sooner or later than at a checkpoint.
            self.record.console_differs_ns = None;
            self.record.detected_ns = None;
        }
        // A guest that the host's clock stopped stands at another place each time.
        let exact = !matches!(self.record.end, Some(End::WallTime | End::Other));
        if !self.converged && exact && golden.agrees() {
            self.record.state = self.end_state(runner)?;
        }
        self.costs.compare_us += micros(began.elapsed());
        self.record.costs = self.costs;
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
        // Below QEMU's snapshots the disk is a file, which the digest knows nothing of.
        end.disk = (self.options.restore != Restore::Loadvm).then(|| here.disks != last.disks);
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

/// The reports that the golden run does not have, by kind and title: when they came, and in which line,
/// does not count.
fn news<'a>(
    found: &'a Classification,
    golden: &Classification,
) -> impl Iterator<Item = &'a classify::Finding> {
    let mut known: Vec<(Kind, String)> =
        golden.findings.iter().map(|finding| (finding.kind, finding.title.clone())).collect();
    found.findings.iter().filter(move |finding| {
        let at = known.iter().position(|(kind, title)| *kind == finding.kind && *title == finding.title);
        at.map(|at| known.swap_remove(at)).is_none()
    })
}

/// Whether a report says that the guest noticed something; a wrong result is found by others.
fn notices(kind: Kind) -> bool {
    kind != Kind::WrongResult
}

/// Whether two states are one, as far as this way of putting back lets us tell.
fn is_same(here: &StateDigest, golden: &StateDigest, options: &TrialOptions) -> bool {
    match options.restore {
        Restore::Rewind | Restore::Clone => here.is_same(golden),
        // The disk is a file below QEMU's snapshots, which the digest knows nothing of.
        Restore::Loadvm => {
            (here.ram, here.devices, here.virtual_ns, here.instructions)
                == (golden.ram, golden.devices, golden.virtual_ns, golden.instructions)
        }
    }
}

/// The outcome by the classes of the design.
fn outcome(
    record: &TrialRecord,
    said: &[u8],
    [found, expected]: [&Classification; 2],
    same_output: bool,
    converged: bool,
    golden: &Golden,
) -> Outcome {
    match record.end {
        Some(End::Panic | End::Reset | End::PowerOff | End::ExceptionStorm) => return Outcome::Crash,
        // With the exact clock a guest's time passes as it executes: one for which it does not is held up by
        // the host, and that must be no outcome of the fault's.
        Some(End::WallTime) if record.timing == Timing::Approximate => return Outcome::Hang,
        Some(End::WallTime | End::Other) => return Outcome::Infra,
        None => {}
    }
    if found.outcome == classify::Outcome::Crash && expected.outcome != classify::Outcome::Crash {
        return Outcome::Crash;
    }
    let noticed = news(found, expected).any(|finding| notices(finding.kind));
    let waits = golden.window == crate::trial::golden::Window::Done && !golden.signals.is_done_in(said);
    match (same_output, noticed, waits) {
        // Noticed or not: it has not gone on.
        (_, _, true) => Outcome::Hang,
        // Where only some lines are the output, others may say that something was noticed.
        (_, true, false) => Outcome::Detected,
        // Where the golden runs are not one, nothing is known of the state.
        (true, false, false) if converged || record.output_only => Outcome::Masked,
        (true, false, false) => Outcome::Latent,
        (false, false, false) => Outcome::Sdc,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A command of the human monitor that says nothing when it worked.
fn monitor(runner: &mut Runner, line: &str) -> Result<(), RunError> {
    let target = runner.guest.target();
    let said = target.qmp().map_or_else(|| Ok(String::new()), |qmp| qmp.hmp(line))?;
    if said.trim().is_empty() {
        Ok(())
    } else {
        Err(RunError::NotRestored(format!("`{line}`: {}", said.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::ability::Abilities;
    use crate::trial::golden::{FORMAT as GOLDEN, Window};
    use crate::units::GuestPhys;

    const DONE: &str = "FLIPSIM DONE workload=sha256 digest=0123456789abcdef status=ok\n";

    fn state(at: u64) -> StateDigest {
        StateDigest {
            digest: Some(Digest128(at.into())),
            ram: Digest128(at.into()),
            devices: Some(Digest128(1)),
            disks: Some(Digest128(0)),
            virtual_ns: at,
            instructions: Some(at),
            pages_differing: 1,
            pages_hashed: 1,
            sections: None,
            pages: None,
        }
    }

    fn golden() -> Golden {
        let checkpoint = |at| Checkpoint { at: VirtualNs(at), state: Some(state(at)), console: 0 };
        let console = format!("[    0.100000] kernel: hello\n{DONE}").into_bytes();
        let end = Checkpoint { console: console.len(), ..checkpoint(300) };
        Golden {
            format: GOLDEN,
            template: "t".into(),
            window: Window::Done,
            spacing: VirtualNs(100),
            start: checkpoint(100),
            checkpoints: vec![checkpoint(200), end],
            console,
            registers: Vec::new(),
            difference: None,
            pages_apart: Vec::new(),
            abilities: Abilities::ALL,
            signals: crate::console::signals::Signals::default(),
            run_seconds: 1.0,
            compare_seconds: 0.0,
        }
    }

    fn record(end: Option<End>) -> TrialRecord {
        let fault = Fault::Ram { address: GuestPhys(0x4000_0000), mask: vec![1] };
        TrialRecord {
            format: FORMAT,
            template: "t".into(),
            plan: TrialPlan { after: VirtualNs(10), fault, back_after: None },
            flip_ns: 110,
            flipped: true,
            error: None,
            old: "0x00".into(),
            new: "0x01".into(),
            region: None,
            symbol: None,
            outcome: None,
            converged_ns: None,
            console_differs_ns: None,
            detected_ns: None,
            end_ns: 300,
            end,
            kind: None,
            title: None,
            output_only: false,
            output_only_because: None,
            timing: Timing::Exact,
            state: None,
            console: None,
            restore: Restore::Rewind,
            attempts: 1,
            costs: Costs::default(),
        }
    }

    fn judged(said: &str, end: Option<End>, converged: bool) -> Outcome {
        judged_by(&golden(), said, end, converged)
    }

    fn judged_by(golden: &Golden, said: &str, end: Option<End>, converged: bool) -> Outcome {
        let same = golden.same_output(said.as_bytes());
        let (found, expected) = (classify::classify(said.as_bytes()), classify::classify(&golden.console));
        outcome(&record(end), said.as_bytes(), [&found, &expected], same, converged, golden)
    }

    #[test]
    fn each_outcome_follows_from_its_evidence() {
        let right = format!("[    0.100000] kernel: hello\n{DONE}");
        assert_eq!(judged(&right, None, true), Outcome::Masked);
        assert_eq!(judged(&right, None, false), Outcome::Latent);
        // A message a little later is no other output.
        let later = right.replace("0.100000", "0.100007");
        assert_eq!(judged(&later, None, false), Outcome::Latent);
        let wrong = right.replace("status=ok", "status=wrong").replace("0123", "9999");
        assert_eq!(judged(&wrong, None, false), Outcome::Sdc);
        let oops =
            format!("[    0.2] x\n[    0.200000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\n{right}");
        assert_eq!(judged(&oops, None, false), Outcome::Detected);
        // Without its WARNING the golden run's state is of no use either.
        assert_eq!(judged(&oops, None, true), Outcome::Detected);
        assert_eq!(judged("[    0.100000] kernel: hello\n", None, false), Outcome::Hang);
        // Noticed, and then never done: it has not gone on.
        let stuck = "[    0.100000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\n";
        assert_eq!(judged(stuck, None, false), Outcome::Hang);
        for end in [End::Panic, End::Reset, End::PowerOff, End::ExceptionStorm] {
            assert_eq!(
                judged("", Some(end), false),
                Outcome::Crash,
                "{end:?}: without a word on the console"
            );
        }
        assert_eq!(judged("", Some(End::WallTime), false), Outcome::Infra);
        assert_eq!(judged("", Some(End::Other), false), Outcome::Infra);
    }

    #[test]
    fn where_some_lines_are_the_output_the_others_only_tell_that_something_was_noticed() {
        let signals = crate::console::signals::Signals {
            done: Some("^BYE$".parse().unwrap()),
            output: Some("^sum ([0-9]+)".parse().unwrap()),
            ..Default::default()
        };
        let golden = Golden { console: b"noise\nsum 12 after 3 s\nBYE\n".to_vec(), signals, ..golden() };
        let judged = |said| judged_by(&golden, said, None, false);
        assert_eq!(judged("other noise\nsum 12 after 4 s\nBYE\n"), Outcome::Latent);
        assert_eq!(judged("noise\nsum 13 after 3 s\nBYE\n"), Outcome::Sdc);
        assert_eq!(judged("noise\nsum 12 after 3 s\n"), Outcome::Hang);
        let warned = "[    0.200000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\nsum 12\nBYE\n";
        assert_eq!(judged(warned), Outcome::Detected);
        // What the lab's own guests print means nothing here.
        assert_eq!(judged(&format!("sum 12\n{DONE}")), Outcome::Hang);
    }

    #[test]
    fn records_are_the_same_whatever_the_way_back_cost() {
        let one =
            TrialRecord { state: Some(EndState { disk: Some(true), ..EndState::default() }), ..record(None) };
        let mut other = TrialRecord {
            restore: Restore::Loadvm,
            attempts: 3,
            costs: Costs { total_us: 7, ..Costs::default() },
            state: Some(EndState { disk: None, ..EndState::default() }),
            ..one.clone()
        };
        assert!(one.is_same(&other) && other.is_same(&one), "a way that does not know the disk");
        other.state = Some(EndState { disk: Some(false), ..EndState::default() });
        assert!(!one.is_same(&other));
        other.state.clone_from(&one.state);
        other.end_ns += 1;
        assert!(!one.is_same(&other));
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let record =
            TrialRecord { outcome: Some(Outcome::Crash), end: Some(End::ExceptionStorm), ..record(None) };
        let text = serde_json::to_string(&record).unwrap();
        assert!(
            text.contains(r#""outcome":"crash""#) && text.contains(r#""end":"exception-storm""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<TrialRecord>(&text).unwrap(), record);
    }

    #[test]
    fn stamps_are_taken_out_and_nothing_else() {
        let text = b"[    0.084445] a[0] [12.345678] b [x\n[1.5] c";
        assert_eq!(classify::without_stamps(text), b" a[0]  b [x\n[1.5] c");
    }
}
