//! What a trial is to be, and its record.
//!
//! Invariant: the keys stay. A key may be added (then [`FORMAT`] rises); none is renamed or changes its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch;
use crate::console::classify::Kind;
use crate::console::signals::Reached;
use crate::fault::{Fault, GuestNames, Operation, Verdict};
use crate::machine::End;
use crate::target::{Digest128, MOST_STUCK, StateDigest};
use crate::trial::because::Because;
use crate::trial::golden::model::Golden;
use crate::trial::outcome::Outcome;
use crate::trial::reports::Report;
use crate::trial::restore::RestoreMethod;
use crate::trial::used::FirstUse;
use crate::units::{Timing, VirtualNs};

/// The version of a trial's record. Version 1 has no `because` and no `operation`, up to version 2 the times of
/// what the console said are those of checkpoints, up to version 3 every trial was run whole, up to version 4 it is not
/// known when a fault was first used, up to version 5 there are flips alone and no control trials, and up to version 6 no
/// `reports`; all are still read.
pub const FORMAT: u32 = 7;

/// How many differing pages, registers and devices a record lists.
pub(super) const LISTED: usize = 32;

/// How a trial was settled without a run: what the golden run does with the bytes of its fault afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settled {
    /// None of them is read, and one at least is never written.
    NeverRead,
    /// All are overwritten before they are read.
    Overwritten,
    /// It is of no matter: they hold what the fault sets them to.
    Unchanged,
}

/// How closely it is known when the console said something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heard {
    /// To the byte: the instruction that wrote it.
    Byte,
    /// To the checkpoint at which it was seen: it was said after the previous one.
    #[default]
    Checkpoint,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialPlan {
    /// When, from the quiescent point on.
    pub after: VirtualNs,
    /// What happens, and where.
    pub fault: Fault,
    /// When it flips back, from the quiescent point on; a check of the lab itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_after: Option<VirtualNs>,
    /// What happens after that, or at the same instant; in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<LaterFault>,
    /// What error-correcting memory makes of the upset, where the guest has such; the faults are what is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc: Option<Verdict>,
}

/// A further fault of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaterFault {
    /// When, from the quiescent point on.
    pub after: VirtualNs,
    /// What happens, and where.
    pub fault: Fault,
}

/// What came of a further fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Struck {
    /// The virtual time of it.
    pub flip_ns: u64,
    /// Whether it took. It does not where the guest had ended before.
    pub flipped: bool,
    /// The value before, in hex.
    pub old: String,
    /// The value after, as read back.
    pub new: String,
    /// The instruction that was skipped, or what it was and became, of a fault that is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
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
    pub(super) fn of(state: &StateDigest) -> Self {
        let device_state = state.devices.unwrap_or_default();
        EndState { ram: state.ram, device_state, ..EndState::default() }
    }
}

/// The result of a trial, with the evidence.
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
    /// The instruction that was skipped, or what it was and has become, of a fault that is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// What came of each further fault of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Struck>,
    /// The innermost region of the guest's memory map.
    pub region: Option<String>,
    /// The kernel symbol, with the offset in it.
    pub symbol: Option<String>,
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// Why; absent in records of version 1, and where there is no outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Because>,
    /// The checkpoint at which the state was the golden run's again.
    pub converged_ns: Option<u64>,
    /// How closely the next three times are known.
    #[serde(default)]
    pub heard: Heard,
    /// When the first line of the output was complete that is not the golden run's; the end of the trial where
    /// the output lacks lines.
    pub console_differs_ns: Option<u64>,
    /// When the line was complete that first reports what the golden run does not.
    pub detected_ns: Option<u64>,
    /// When the line was complete that says that the workload is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_ns: Option<u64>,
    /// Where the trial ended.
    pub end_ns: u64,
    /// How the guest ended, if it did.
    pub end: Option<End>,
    /// What the console's report is.
    pub kind: Option<Kind>,
    /// Its title, with the function.
    pub title: Option<String>,
    /// All reports that the golden run does not have, in order; the first of them, where there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
    /// Only the outputs were compared, because the golden runs were not equal, or that cannot be known.
    pub output_only: bool,
    /// Why; the first difference of the golden runs, or what this QEMU lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_only_because: Option<String>,
    /// How exactly the times are known.
    #[serde(default)]
    pub timing: Timing,
    /// How far a guest got that was followed from power-on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    /// The state at the end.
    pub state: Option<EndState>,
    /// What the workload counted, by name; nothing where nothing is counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// What the console said, where it is not what it said in the golden run.
    pub console: Option<String>,
    /// How the guest was restored.
    pub restore: RestoreMethod,
    /// How its result follows from the golden run's recorded accesses, where it was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// Where it was begun, if later than its fault: right before the first access of what the fault changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_ns: Option<u64>,
    /// Where it was ended, if earlier than without recorded accesses: nothing that differed was to be read any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_ns: Option<u64>,
    /// Whether it is one of those that were run whole to check the others: it could have been settled, begun late or
    /// ended early, and its record was the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audited: bool,
    /// Whether it was asked what is known of it before it was run: not where all trials are run whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looked_up: bool,
    /// Whether a control trial, without a fault, was run beside it at the same instant, and was masked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
    /// What is first done with what the fault changed, of one in RAM, where it was asked what is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_use: Option<FirstUse>,
    /// How often it was begun.
    pub attempts: u32,
    /// Where the time went.
    pub costs: Costs,
}

impl TrialPlan {
    /// One fault at its time, from the quiescent point on.
    #[must_use]
    pub fn one(after: VirtualNs, fault: Fault) -> TrialPlan {
        TrialPlan { after, fault, back_after: None, more: Vec::new(), ecc: None }
    }

    /// Whether some bits are changed at one instant, and nothing is done later.
    #[must_use]
    pub fn is_one_change(&self) -> bool {
        self.back_after.is_none() && self.more.is_empty() && !self.holds_on() && !self.is_decided()
    }

    /// Whether error-correcting memory lets nothing of it through, so that there is nothing to run.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.ecc.is_some_and(|verdict| !verdict.goes_through())
    }

    /// Whether a fault of it stays in force after its instant.
    #[must_use]
    pub fn holds_on(&self) -> bool {
        self.faults().any(|fault| fault.operation().holds_on())
    }

    /// Its faults, in the order of time.
    fn faults(&self) -> impl Iterator<Item = &Fault> {
        std::iter::once(&self.fault).chain(self.more.iter().map(|more| &more.fault))
    }

    /// The same trial without a fault: what is there is written as it is, at the same instants.
    #[must_use]
    pub fn without_fault(&self) -> TrialPlan {
        let nothing = |fault: &Fault| fault.clone().with(Operation::Nothing);
        let more = self.more.iter().map(|more| LaterFault { fault: nothing(&more.fault), after: more.after });
        TrialPlan { more: more.collect(), ..TrialPlan::one(self.after, nothing(&self.fault)) }
    }

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
        let of_instruction = |fault: &Fault| fault.operation().is_of_instruction();
        let counter = |fault: &Fault| fault.register().and_then(arch::of_program_counter).is_some();
        if self.faults().any(|fault| of_instruction(fault) && !counter(fault)) {
            return Err("skip and opcode are of the program counter: pc, on x86_64 rip".to_owned());
        }
        if let Some(held) = self.faults().find(|fault| fault.operation().holds_on()) {
            if !golden.capabilities.stuck {
                return Err(format!(
                    "the QEMU of this template cannot do {}; build this lab's with `cargo xtask setup`",
                    held.operation()
                ));
            }
            if let Some(register) = held.register().filter(|register| !arch::may_be_stuck(register)) {
                return Err(format!("{register} cannot be stuck: {}", arch::NOT_STUCK));
            }
        }
        let held = |fault: &&Fault| fault.operation().holds_on();
        let bytes = |fault: &Fault| fault.mask().iter().filter(|bits| **bits != 0).count();
        if self.faults().filter(held).map(bytes).sum::<usize>() > MOST_STUCK {
            return Err(format!(
                "more than {MOST_STUCK} bytes would be stuck at once; choose fewer faults, or smaller ones"
            ));
        }
        let times: Vec<VirtualNs> =
            std::iter::once(self.after).chain(self.more.iter().map(|more| more.after)).collect();
        if !times.is_sorted() || times.last().is_some_and(|last| last.0 >= length) {
            return Err("its further faults are not in the order of time, or not within the run".to_owned());
        }
        match self.back_after {
            Some(_) if !self.more.is_empty() => Err("only one fault can be flipped back".to_owned()),
            Some(_) if self.fault.operation() != Operation::Flip => {
                Err(format!("only a flip can be flipped back, and this is {}", self.fault.operation()))
            }
            Some(back) if back <= self.after || back.0 > length => Err(format!(
                "the time at which it flips back, {back}, is not between the fault and the end of the run"
            )),
            _ => Ok(()),
        }
    }
}

impl TrialRecord {
    /// The record of a trial that is compared with this golden run, up to its flip.
    #[must_use]
    pub fn of(golden: &Golden, plan: &TrialPlan, restore: RestoreMethod, names: Option<&GuestNames>) -> Self {
        let flip_at = VirtualNs(golden.begin().0.saturating_add(plan.after.0));
        let place = plan.fault.address().zip(names);
        TrialRecord {
            output_only: !golden.agrees(),
            output_only_because: golden.difference.clone(),
            timing: golden.capabilities.timing(),
            region: place.and_then(|(address, names)| names.region_at(address)),
            symbol: place.and_then(|(address, names)| names.symbol_at(address)),
            ..TrialRecord::begun(&golden.template, plan, flip_at, restore)
        }
    }

    /// The record of a trial that has come to its flip: what is not known yet is absent.
    #[must_use]
    pub fn begun(template: &str, plan: &TrialPlan, flip_at: VirtualNs, restore: RestoreMethod) -> Self {
        TrialRecord {
            format: FORMAT,
            template: template.to_owned(),
            plan: plan.clone(),
            flip_ns: flip_at.0,
            flipped: false,
            error: None,
            old: String::new(),
            new: String::new(),
            instruction: None,
            more: Vec::new(),
            region: None,
            symbol: None,
            outcome: None,
            because: None,
            converged_ns: None,
            heard: Heard::Checkpoint,
            console_differs_ns: None,
            detected_ns: None,
            done_ns: None,
            end_ns: flip_at.0,
            end: None,
            kind: None,
            title: None,
            output_only: false,
            output_only_because: None,
            timing: Timing::Exact,
            reached: None,
            state: None,
            reports: Vec::new(),
            counts: BTreeMap::new(),
            console: None,
            restore,
            settled: None,
            begun_ns: None,
            cut_ns: None,
            audited: false,
            looked_up: false,
            control: false,
            first_use: None,
            attempts: 1,
            costs: Costs::default(),
        }
    }

    /// Whether two records say the same of the guest: all but how it was restored, how much of it was run, how often it
    /// was tried, and how long it took; the disk and the reason, where one of them knows nothing of it; and not the version.
    #[must_use]
    pub fn is_same(&self, other: &TrialRecord) -> bool {
        *self == self.beside(other)
    }

    /// The keys of the two records that say different things of the guest, where [`is_same`](Self::is_same) says so.
    #[must_use]
    pub fn differing_keys(&self, other: &TrialRecord) -> Vec<String> {
        let keys = |record: &TrialRecord| match serde_json::to_value(record) {
            Ok(serde_json::Value::Object(keys)) => keys,
            _ => serde_json::Map::new(),
        };
        let (mine, theirs) = (keys(self), keys(&self.beside(other)));
        let differs = |key: &&String| mine.get(*key) != theirs.get(*key);
        let names: std::collections::BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
        names.into_iter().filter(differs).cloned().collect()
    }

    /// Another record, with this one's where it does not say something of the guest, or one of them does not say it.
    fn beside(&self, other: &TrialRecord) -> TrialRecord {
        let same_format = self.format == other.format;
        let TrialRecord {
            format,
            restore,
            settled,
            begun_ns,
            cut_ns,
            audited,
            looked_up,
            control,
            first_use,
            attempts,
            costs,
            ..
        } = *self;
        let mut other = TrialRecord {
            format,
            restore,
            settled,
            begun_ns,
            cut_ns,
            audited,
            looked_up,
            control,
            first_use,
            attempts,
            costs,
            ..other.clone()
        };
        let disk = self.state.as_ref().and_then(|state| state.disk);
        if let Some(state) = other.state.as_mut()
            && (disk.is_none() || state.disk.is_none())
        {
            state.disk = disk;
        }
        // Which source a function is of, only one of them may know.
        for (theirs, mine) in other.reports.iter_mut().zip(&self.reports) {
            if mine.source.is_none() || theirs.source.is_none() {
                (theirs.source, theirs.subsystem) = (mine.source.clone(), mine.subsystem.clone());
            }
        }
        if !same_format {
            other.reports.clone_from(&self.reports);
        }
        // These are words, and not the same in every version; the fact is in `output_only`.
        if !same_format {
            other.output_only_because.clone_from(&self.output_only_because);
        }
        if self.because.is_none() || other.because.is_none() {
            other.because.clone_from(&self.because);
        }
        other
    }

    /// The record of a trial of which error-correcting memory lets nothing through.
    pub(crate) fn decided(self) -> Self {
        let mut record = TrialRecord { flipped: true, ..self };
        record.decide(match record.plan.ecc {
            Some(Verdict::Corrected) => Because::EccCorrected,
            _ => Because::EccDetected,
        });
        record
    }

    /// Sets the outcome, and why it is that.
    pub(super) fn decide(&mut self, because: Because) {
        self.outcome = Some(because.outcome());
        self.because = Some(because);
    }

    /// Why a trial with the outcome `infra` says nothing of the guest.
    #[must_use]
    pub fn lost_because(&self) -> String {
        let unknown = || "the laboratory lost the guest".to_owned();
        self.because.as_ref().map_or_else(unknown, ToString::to_string)
    }

    /// Whether the state was the golden run's before the end.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        self.converged_ns.is_some()
    }
}
