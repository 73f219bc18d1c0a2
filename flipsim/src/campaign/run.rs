//! Running a campaign: workers side by side, one coordinator.
//!
//! ```text
//! coordinator (store, order, signals) ──trial──→ worker: walk to t, mark, flip, observe, rewind
//!                                     ←─record──
//! ```
//!
//! Invariants: **a trial is in the store before its worker is given the next one**. The coordinator alone
//! touches the store. A worker is a QEMU process that may die at any moment; what it was doing is begun
//! again. Trials are handed out in the order of their time, a batch after the other, so that every worker
//! walks forward. **A worker ends with its way back checked**: what it did since the check before is taken
//! back where that fails.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::campaign::controls::{Controls, control};
pub use crate::campaign::failure::CampaignError;
use crate::campaign::plan::{PlannedTrial, TrialId};
use crate::campaign::queue::{Queue, TimeLimit};
use crate::campaign::shard::Shard;
use crate::campaign::shortcuts::{Shortcuts, Way};
use crate::campaign::store::open::Store;
use crate::campaign::store::write::Recorded;
use crate::fault::GuestNames;
use crate::trial::golden::Golden;
use crate::trial::template::Template;
use crate::trial::{
    Known, Outcome, RunError, STARTS, Settled, Settling, Short, TrialOptions, TrialRecord, Worker,
};

/// How a campaign is run.
#[derive(Clone, Debug)]
pub struct RunOptions<'a> {
    /// What the guest calls its places.
    pub names: Option<&'a GuestNames>,
    /// How many workers.
    pub workers: usize,
    /// Which part of the plan.
    pub shard: Shard,
    /// How trials are run.
    pub trial: TrialOptions,
    /// Asked often; when it says yes, no new trial is begun.
    pub stop: fn() -> bool,
    /// When it is over in any case. What is run by then is a fair sample: a group of trials is only begun where it is
    /// expected to be finished.
    pub limit: Option<TimeLimit>,
}

/// What happens, for callers that watch.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A trial has its result.
    Done(&'a PlannedTrial, &'a TrialRecord),
    /// The laboratory lost a trial; it is begun again, or was given up.
    Lost(TrialId, &'a str, Recorded),
    /// Results of a worker that could not go back rightly were taken back.
    TakenBack(usize, &'a str),
    /// A worker whose guest did not start three times in a row is given up; the others go on.
    GivenUp(usize, &'a str),
    /// The last check of a worker could not be made; so many of its trials were not checked.
    Unchecked(usize, &'a str),
    /// Nothing happened for a while.
    Tick,
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Results of this run.
    pub done: u64,
    /// Trials of this part that have none yet.
    pub left: u64,
    /// It was asked to stop.
    pub stopped: bool,
    /// It ended as its time was over, or did not suffice for more.
    pub out_of_time: bool,
    /// How long the coordinator took to store results and to read the plan.
    pub storing: Duration,
}

/// How often a watcher hears that nothing happened.
const TICK: Duration = Duration::from_millis(250);

/// After how many such mismatches the campaign is given up.
const MISMATCHES: u32 = 3;

/// So many trials that need no run are stored at once.
const SETTLED: usize = 1000;

/// What a worker is to do.
enum Order {
    /// A trial, and whether a control trial is run beside it.
    Trial(PlannedTrial, Way, bool),
    /// Nothing is left for it: it checks its way back once more.
    LastCheck,
}

/// What a worker did.
enum Finished {
    /// It is there.
    Start,
    Trial(Box<(PlannedTrial, Result<Ran, RunError>)>),
    LastCheck(Result<(), RunError>),
}

/// The result of a trial.
enum Ran {
    /// All of it; of one that is audited, with the keys of its record that are not as was known before.
    Done(TrialRecord, Vec<String>),
    /// The whole run of one that is to be begun late as well.
    Half(TrialRecord),
    /// Nothing to be believed: the control trial beside it says this.
    OutOfControl(String),
}

impl Ran {
    /// With what the control trial beside it says.
    fn beside(self, failed: Option<String>) -> Ran {
        match (failed, self) {
            (Some(what), _) => Ran::OutOfControl(what),
            (None, Ran::Done(record, apart)) => Ran::Done(TrialRecord { control: true, ..record }, apart),
            (None, Ran::Half(record)) => Ran::Half(TrialRecord { control: true, ..record }),
            (None, out) => out,
        }
    }
}

/// What a worker says when it is free.
struct Report {
    worker: usize,
    finished: Finished,
    /// Whether the state it goes back to was just checked.
    checked: bool,
}

/// Runs what is pending.
///
/// # Errors
/// The store cannot be written. What was finished is kept.
pub fn run(
    store: &mut Store,
    template: &Template,
    golden: &Golden,
    shortcuts: Option<&Shortcuts<'_>>,
    parent: &Path,
    options: &RunOptions<'_>,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<RunSummary, CampaignError> {
    let groups = match shortcuts {
        None => store.pending_groups(options.shard, None)?,
        Some(shortcuts) => store.pending_groups(options.shard, Some(&|planned| shortcuts.begin(planned)))?,
    };
    let mut queue = Queue::new(groups, options.limit);
    let count = options.workers.clamp(1, queue.len().max(1));
    std::thread::scope(|scope| {
        let (reports, inbox) = channel::<Report>();
        let mut orders = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let (order, orders_of_it) = channel::<Order>();
            orders.push(Some(order));
            let (reports, trial) = (reports.clone(), options.trial.clone());
            threads.push(scope.spawn(move || {
                let worker = Worker::new(template, golden, parent, trial);
                let settling = shortcuts.map(Shortcuts::settling);
                work(number, worker, settling, options.names, &reports, &orders_of_it);
            }));
        }
        drop(reports);
        let mut coordinator = Coordinator {
            controls: golden.agrees().then(|| Controls::new(store)),
            store,
            shortcuts,
            queue: &mut queue,
            halves: HashMap::new(),
            stop: options.stop,
            unchecked: vec![Vec::new(); count],
            mismatches: 0,
            not_started: vec![0; count],
            last_start: None,
            summary: RunSummary::default(),
            watch,
        };
        let result = coordinator.coordinate(&inbox, &mut orders);
        // Without orders the workers end; their guests end with them.
        orders.clear();
        drop(inbox);
        let lost = threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count();
        let mut summary = coordinator.summary;
        result?;
        if lost > 0 {
            return Err(CampaignError::WorkerLost);
        }
        summary.left = queue.len() as u64;
        Ok(summary)
    })
}

/// The life of a worker.
fn work<'a>(
    number: usize,
    mut worker: Worker<'a>,
    settling: Option<&'a Settling<'a>>,
    names: Option<&GuestNames>,
    reports: &Sender<Report>,
    orders: &Receiver<Order>,
) {
    let mut finished = Finished::Start;
    let mut checks = 0;
    loop {
        let checked = worker.checks() != checks;
        checks = worker.checks();
        // A coordinator that is gone wants nothing more.
        if reports.send(Report { worker: number, finished, checked }).is_err() {
            return;
        }
        let Ok(order) = orders.recv() else { return };
        finished = match order {
            Order::Trial(planned, way, is_control) => {
                let mut result = trial(&mut worker, &planned, way, settling, names);
                if is_control {
                    result = result.and_then(|ran| Ok(ran.beside(control(&mut worker, &planned.plan)?)));
                }
                if result.is_err() {
                    worker.restart();
                }
                Finished::Trial(Box::new((planned, result)))
            }
            Order::LastCheck => Finished::LastCheck(worker.last_check().map(|_| ())),
        };
    }
}

/// Runs a trial in its way.
fn trial<'a>(
    worker: &mut Worker<'a>,
    planned: &PlannedTrial,
    way: Way,
    settling: Option<&'a Settling<'a>>,
    names: Option<&GuestNames>,
) -> Result<Ran, RunError> {
    let (known, audit) = match way {
        Way::Whole => {
            let short = Short { begin: None, settling: None };
            return Ok(Ran::Done(
                worker.trial_in(&planned.plan, short, names, &mut |_, _| Ok(()))?,
                Vec::new(),
            ));
        }
        Way::Half { begin, whole } => {
            let short = Short { begin: Some(begin), settling };
            let short = worker.trial_in(&planned.plan, short, names, &mut |_, _| Ok(()))?;
            return Ok(compared(*whole, &short));
        }
        Way::Known(known) => (known, false),
        Way::Audit(known) => (known, true),
    };
    let (first_use, agrees) = match settling {
        Some(settling) => worker.first_use(&planned.plan, settling, audit)?,
        None => (None, true),
    };
    let mut run = |begin, settling| {
        let record = worker.trial_in(&planned.plan, Short { begin, settling }, names, &mut |_, _| Ok(()))?;
        Ok::<_, RunError>(TrialRecord { first_use, ..record })
    };
    let begin = if let Known::Late(begin) = known { Some(begin) } else { None };
    if !audit && matches!(known, Known::Nothing | Known::Late(_)) {
        return Ok(Ran::Done(TrialRecord { looked_up: true, ..run(begin, settling)? }, Vec::new()));
    }
    let whole = run(None, None)?;
    if !agrees {
        return Ok(Ran::Done(whole, vec!["first_use".to_owned()]));
    }
    let short = match known {
        Known::Late(_) => return Ok(Ran::Half(whole)),
        Known::Settled(record) => *record,
        Known::Nothing => run(None, settling)?,
        // What is known is the outcome alone.
        Known::Masked => {
            let (settled, outcome) = (Some(Settled::Overwritten), Some(Outcome::Masked));
            TrialRecord { settled, outcome, ..whole.clone() }
        }
    };
    Ok(compared(whole, &short))
}

/// The record of an audited trial.
fn compared(whole: TrialRecord, short: &TrialRecord) -> Ran {
    let apart = if whole.is_same(short) { Vec::new() } else { whole.differing_keys(short) };
    let audited = short.settled.is_some() || short.begun_ns.is_some() || short.cut_ns.is_some();
    Ran::Done(TrialRecord { audited, settled: short.settled, looked_up: true, ..whole }, apart)
}

struct Coordinator<'a, 'w> {
    store: &'a mut Store,
    shortcuts: Option<&'a Shortcuts<'a>>,
    /// Where trials are compared by their state.
    controls: Option<Controls>,
    queue: &'a mut Queue,
    /// Of audited trials that wait to be begun late, the record of the whole run.
    halves: HashMap<TrialId, TrialRecord>,
    stop: fn() -> bool,
    /// Of each worker, what it has done since its way back was last checked.
    unchecked: Vec<Vec<TrialId>>,
    mismatches: u32,
    /// How many guests of each worker did not start, in a row.
    not_started: Vec<usize>,
    /// Why the last of a worker did not that was given up.
    last_start: Option<String>,
    summary: RunSummary,
    watch: &'w mut dyn FnMut(Progress<'_>),
}

impl Coordinator<'_, '_> {
    fn coordinate(
        &mut self,
        inbox: &Receiver<Report>,
        orders: &mut [Option<Sender<Order>>],
    ) -> Result<(), CampaignError> {
        let mut busy = orders.len();
        // Workers that are done, as long as another may leave something to do.
        let mut resting = Vec::new();
        let mut ticked = Instant::now();
        while busy > 0 {
            let report = inbox.recv_timeout(TICK);
            if ticked.elapsed() >= TICK {
                (self.watch)(Progress::Tick);
                ticked = Instant::now();
            }
            let report = match report {
                Ok(report) => report,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => continue,
                // Every worker has ended, and not because it was asked to.
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(CampaignError::WorkerLost);
                }
            };
            let worker = report.worker;
            let began = Instant::now();
            let is_done = matches!(report.finished, Finished::LastCheck(_));
            self.take_in(report)?;
            self.summary.storing += began.elapsed();
            self.summary.stopped |= (self.stop)();
            if self.not_started[worker] >= STARTS {
                // A worker without orders ends.
                orders[worker] = None;
            } else {
                resting.push((worker, is_done));
            }
            busy -= 1;
            // A check that failed, or another worker, may have left something to do after all.
            while let Some((worker, is_done)) = resting.pop() {
                let next = match self.next()? {
                    Some(id) => {
                        let planned = self.store.planned(id)?;
                        let whole = self.halves.get(&id);
                        let way = self
                            .shortcuts
                            .map_or(Ok(Way::Whole), |shortcuts| shortcuts.way(&planned, whole))?;
                        let is_control = self.controls.as_ref().is_some_and(|controls| match way {
                            Way::Whole => controls.has(id),
                            Way::Audit(_) => true,
                            Way::Known(_) | Way::Half { .. } => false,
                        });
                        Order::Trial(planned, way, is_control)
                    }
                    None if is_done => {
                        resting.push((worker, true));
                        break;
                    }
                    None => Order::LastCheck,
                };
                if let Some(order) = &orders[worker]
                    && order.send(next).is_err()
                {
                    return Err(CampaignError::WorkerLost);
                }
                busy += 1;
            }
        }
        // What a worker that was given up has left is no one's once the others have ended.
        let is_left = self.queue.len() > 0;
        self.summary.out_of_time = is_left && !self.summary.stopped && self.queue.is_out_of_time();
        let is_cut = self.summary.stopped || self.summary.out_of_time;
        match self.last_start.take().filter(|_| is_left && !is_cut) {
            Some(why) => Err(CampaignError::NoGuest(why)),
            None => Ok(()),
        }
    }

    /// Has a trial that was run whole for the audit wait for the turn of its other half.
    fn wait(&mut self, id: TrialId, whole: TrialRecord) {
        self.halves.insert(id, whole);
        let (shortcuts, store, halves) = (self.shortcuts, &*self.store, &self.halves);
        let begin = |id: TrialId| {
            let (shortcuts, planned) = (shortcuts?, store.planned(id).ok()?);
            if halves.contains_key(&id) { shortcuts.late(&planned) } else { shortcuts.begin(&planned) }
        };
        let own = begin(id);
        self.queue.insert(id, |other| begin(*other) > own);
    }

    /// The next trial that is to be run. Where a group of trials is done, the next one is begun.
    fn next(&mut self) -> Result<Option<TrialId>, CampaignError> {
        while !self.summary.stopped {
            // A group that is begun may be cut by the time, too: the guests may have become slower.
            if self.queue.is_out_of_time() {
                return Ok(None);
            }
            if let Some(id) = self.queue.next_of_group() {
                return Ok(Some(id));
            }
            let Some(group) = self.queue.ahead() else { return Ok(None) };
            let mut to_run = group.len() as u64;
            if let Some(shortcuts) = self.shortcuts.filter(|_| self.queue.is_limited()) {
                for id in group {
                    to_run -= u64::from(shortcuts.begin(&self.store.planned(*id)?).is_none());
                }
            }
            let Some(group) = self.queue.take(to_run) else { return Ok(None) };
            let left = self.settle(group.into())?;
            self.queue.begin(left);
        }
        Ok(None)
    }

    /// Stores the records of those of some trials that need no run, and hands the others back. So it is done group by
    /// group: a batch in which nothing need be run is otherwise done before its turn, and those that are done are then no
    /// fair sample.
    fn settle(&mut self, mut group: VecDeque<TrialId>) -> Result<VecDeque<TrialId>, CampaignError> {
        let Some(shortcuts) = self.shortcuts else { return Ok(group) };
        let began = Instant::now();
        let (mut left, mut settled) = (VecDeque::with_capacity(group.len()), Vec::new());
        while let Some(id) = group.pop_front() {
            let planned = self.store.planned(id)?;
            match shortcuts.way(&planned, None)? {
                Way::Known(Known::Settled(record)) => settled.push((planned, *record)),
                _ => left.push_back(id),
            }
            if settled.len() == SETTLED || (group.is_empty() && !settled.is_empty()) {
                self.store.record_settled(&settled)?;
                for (planned, record) in settled.drain(..) {
                    self.summary.done += 1;
                    (self.watch)(Progress::Done(&planned, &record));
                }
                self.summary.stopped |= (self.stop)();
                if self.summary.stopped {
                    break;
                }
            }
        }
        left.append(&mut group);
        self.summary.storing += began.elapsed();
        Ok(left)
    }

    fn take_in(&mut self, report: Report) -> Result<(), CampaignError> {
        if report.checked {
            self.unchecked[report.worker].clear();
        }
        let (planned, result) = match report.finished {
            Finished::Start | Finished::LastCheck(Ok(())) => return Ok(()),
            Finished::LastCheck(Err(RunError::NotRestored(why))) => {
                return self.not_restored(report.worker, &why);
            }
            Finished::LastCheck(Err(error)) => {
                self.never_checked(report.worker, &error.to_string());
                return Ok(());
            }
            Finished::Trial(finished) => *finished,
        };
        match result {
            Ok(Ran::Half(whole)) => {
                self.unchecked[report.worker].push(planned.id);
                self.wait(planned.id, whole);
            }
            Ok(Ran::OutOfControl(what)) => {
                let doubtful = self.doubtful(report.worker);
                self.store.take_back(&doubtful)?;
                return Err(CampaignError::Control { id: planned.id, what, taken_back: doubtful.len() });
            }
            Ok(Ran::Done(_, apart)) if !apart.is_empty() => {
                let taken_back = self.store.take_back_shortcuts()?;
                return Err(CampaignError::Audit { id: planned.id, what: apart.join(", "), taken_back });
            }
            Ok(Ran::Done(record, _)) => {
                self.halves.remove(&planned.id);
                let recorded = self.store.record(planned.id, &record)?;
                if recorded == Recorded::Done {
                    self.summary.done += 1;
                    self.queue.ran();
                    self.not_started[report.worker] = 0;
                    self.unchecked[report.worker].push(planned.id);
                    (self.watch)(Progress::Done(&planned, &record));
                } else {
                    self.lost(planned.id, &record.lost_because(), recorded);
                }
            }
            Err(RunError::NotRestored(why)) => {
                self.queue.again(planned.id);
                self.not_restored(report.worker, &why)?;
            }
            // Nothing is wrong; the trial is run when the campaign is.
            Err(error) if error.is_interrupted() => self.queue.again(planned.id),
            // That has nothing to do with the trial, and is no attempt at it.
            Err(error @ RunError::Template(_)) => {
                let why = error.to_string();
                self.never_checked(report.worker, &why);
                self.not_started[report.worker] += 1;
                let left = STARTS.saturating_sub(self.not_started[report.worker]);
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                self.lost(planned.id, &why, Recorded::Again(left));
                if left == 0 {
                    (self.watch)(Progress::GivenUp(report.worker, &why));
                    self.last_start = Some(why);
                }
            }
            Err(error) => {
                // A worker that is lost has a new process, and what it did before was committed.
                let why = error.to_string();
                self.never_checked(report.worker, &why);
                let recorded = self.store.fail(planned.id, &why)?;
                self.lost(planned.id, &why, recorded);
            }
        }
        Ok(())
    }

    /// What a worker has recorded since its way back was last checked.
    fn doubtful(&mut self, worker: usize) -> Vec<TrialId> {
        let mut doubtful = std::mem::take(&mut self.unchecked[worker]);
        // An audited trial is in it by both of its halves. One that still waits for the other starts over when its turn comes.
        let mut seen = HashSet::new();
        doubtful.retain(|id| self.halves.remove(id).is_none() && seen.insert(*id));
        doubtful
    }

    /// Takes back what a worker has done since its way back was last checked, and has it done again.
    fn not_restored(&mut self, worker: usize, why: &str) -> Result<(), CampaignError> {
        let doubtful = self.doubtful(worker);
        self.store.take_back(&doubtful)?;
        self.summary.done = self.summary.done.saturating_sub(doubtful.len() as u64);
        (self.watch)(Progress::TakenBack(doubtful.len(), why));
        self.mismatches += 1;
        if self.mismatches >= MISMATCHES {
            return Err(CampaignError::NotRestored(why.to_owned()));
        }
        doubtful.into_iter().rev().for_each(|id| self.queue.again(id));
        Ok(())
    }

    /// Says how many trials of a process that is gone were run since its way back was last checked.
    fn never_checked(&mut self, worker: usize, why: &str) {
        let unchecked = std::mem::take(&mut self.unchecked[worker]).len();
        if unchecked > 0 {
            (self.watch)(Progress::Unchecked(unchecked, why));
        }
    }

    fn lost(&mut self, id: TrialId, why: &str, recorded: Recorded) {
        if matches!(recorded, Recorded::Again(_)) {
            self.queue.again(id);
        }
        (self.watch)(Progress::Lost(id, why, recorded));
    }
}

#[cfg(test)]
mod tests;
