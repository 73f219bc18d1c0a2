//! What is asked of a store: results, counts.
//!
//! Invariant: results come in the order of the plan.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::campaign::idle::IdleTime;
use crate::campaign::plan::{PlanDigest, PlannedTrial, TrialId};
use crate::campaign::store::brief::{Brief, outcome};
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::lock::Lock;
use crate::campaign::store::open::Store;
use crate::campaign::store::planned::{PLANNED, plan_line, planned};
use crate::campaign::store::row::{CONSOLE, RECORD, RESULT};
use crate::campaign::store::scan::{Passed, Snapshot};
use crate::campaign::store::stages::StageStatus;
use crate::campaign::store::sums::Sum;
use crate::campaign::store::tally::Tally;
use crate::campaign::ways::{Way, Ways};
use crate::campaign::when::When;
use crate::console::signals::Reached;
use crate::target::Capabilities;
use crate::trial::{Costs, FirstUse, Heard, Outcome, TrialRecord};
use crate::units::Timing;

/// How many results are read at once.
const PAGE: usize = 1000;

/// How many columns of a result come before those.
const OF_RESULT: usize = 22;

/// A result as it is counted and listed; [`Store::record_of`] has all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    /// The trial, with its stratum and its fault.
    pub trial: PlannedTrial,
    /// `None` for a flip that did not take.
    pub outcome: Option<Outcome>,
    /// The innermost region of the guest's memory map.
    pub region: Option<String>,
    /// The kernel symbol, with the offset in it.
    pub symbol: Option<String>,
    /// The virtual time of the flip; absent, as the times below, where the trial was given up.
    pub flip_ns: Option<u64>,
    /// Where the trial ended.
    pub end_ns: Option<u64>,
    /// How the guest ended, if it did.
    pub end: Option<String>,
    /// The checkpoint at which the state was the golden run's again.
    pub converged_ns: Option<u64>,
    /// How closely the next three times are known.
    pub heard: Heard,
    /// When the guest reported something that the golden run does not.
    pub detected_ns: Option<u64>,
    /// When its output first was not the golden run's.
    pub console_differs_ns: Option<u64>,
    /// When its workload was done.
    pub done_ns: Option<u64>,
    /// What the console's report is.
    pub report: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// Why the flip did not take, or why the trial was given up.
    pub error: Option<String>,
    /// How often it was begun.
    pub attempts: u32,
    /// Whether only outputs were compared; absent where the trial was given up.
    pub output_only: Option<bool>,
    /// When it was recorded, in milliseconds since 1970.
    pub recorded_ms: i64,
    /// How much of it was run; absent where the trial was given up.
    pub way: Option<Way>,
    /// Whether the fault changed anything; absent where the trial was given up.
    pub changed: Option<bool>,
    /// What was first done with what the fault changed.
    pub first_use: Option<FirstUse>,
    /// What the workload counted, by name.
    pub counts: BTreeMap<String, u64>,
    /// How far its guest got, if that was followed from power-on.
    pub reached: Option<Reached>,
    /// Of which part of the kernel the function is that the guest's first report names.
    pub subsystem: Option<String>,
    /// How many of its reports are listed.
    pub reports: usize,
    /// What it cost; absent where the trial was given up.
    pub costs: Option<Costs>,
}

/// The results of a store, by number, read a page at a time, of one moment of it. Each is checked; an error at the
/// end says that some were missing.
#[derive(Debug)]
pub struct Results<'a> {
    store: &'a Store,
    after: i64,
    page: VecDeque<ResultRow>,
    over: bool,
    passed: Passed,
    /// From the first page on.
    view: Option<(Snapshot<'a>, Option<Tally>)>,
}

impl Results<'_> {
    fn next_page(&mut self) -> Result<(), StoreError> {
        if self.view.is_none() {
            let view = Snapshot::new(&self.store.conn).map_err(sqlite("read", &self.store.path))?;
            self.view = Some((view, self.store.tally()?));
        }
        self.page = self.store.page(self.after, &mut self.passed)?;
        self.after = self.page.back().map_or(self.after, |row| row.trial.id.0.cast_signed());
        if self.page.len() < PAGE {
            self.over = true;
            let tally = self.view.take().and_then(|(_, tally)| tally);
            self.store.all_results(&self.passed, tally.as_ref())?;
        }
        Ok(())
    }
}

impl Iterator for Results<'_> {
    type Item = Result<ResultRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.over
            && let Err(error) = self.next_page()
        {
            (self.over, self.view) = (true, None);
            self.page.clear();
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

/// The counts of a stratum, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// By outcome; `infra` among them, which no rate counts.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Flips that did not take; no rate counts them either.
    pub not_flipped: u64,
    /// Trials without a result.
    pub pending: u64,
    /// What the trials cost together, in microseconds of the host's clock.
    pub total_us: u64,
    /// How much of them was run.
    pub ways: Ways,
    /// Of those that hung, how many after a report; the others hung without a word.
    pub hang_reported: u64,
    #[serde(skip)]
    recorded: Option<(i64, i64)>,
}

impl Counts {
    /// How many trials had this outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// How many trials a rate is a part of: all that have an outcome, without `infra`.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.outcomes.iter().filter(|(outcome, _)| outcome.is_counted()).map(|(_, count)| count).sum()
    }

    /// How many trials have a result of any kind.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.outcomes.values().sum::<u64>() + self.not_flipped
    }

    fn add(&mut self, other: &Counts) {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
        self.not_flipped += other.not_flipped;
        self.pending += other.pending;
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.ways.join(&other.ways);
        self.hang_reported += other.hang_reported;
        self.recorded = match (self.recorded, other.recorded) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }
}

/// How a stratum stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StratumStatus {
    /// Its name.
    pub name: String,
    /// Where its faults strike.
    pub targets: String,
    /// How many different faults it has.
    pub faults: u64,
    /// At how many different times each can strike.
    pub times: u64,
    /// Which these are.
    pub when: When,
    /// How many trials are planned.
    pub trials: u64,
    /// Their outcomes.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How a campaign stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The version of its file.
    pub format: i64,
    /// The SHA-256 of its plan.
    pub plan: String,
    /// The key of its template.
    pub template: String,
    /// The seed of its draws.
    pub seed: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When its first result was recorded.
    pub first: Option<Timestamp>,
    /// When its last result was recorded.
    pub last: Option<Timestamp>,
    /// The process that works on it now.
    pub running: Option<u32>,
    /// How many trials are planned.
    pub trials: u64,
    /// How many have a result.
    pub done: u64,
    /// How many trials were drawn at first, and each time that it grew.
    pub stages: Vec<StageStatus>,
    /// How often the laboratory lost a trial.
    pub lost: u64,
    /// Why only outputs are compared, where that is so.
    pub output_only: Option<String>,
    /// How exactly the times of the trials are known.
    pub timing: Timing,
    /// How much of the run the guest idles; nothing where that is not known.
    pub idle: Option<IdleTime>,
    /// The outcomes of all of them.
    #[serde(flatten)]
    pub counts: Counts,
    /// The same by stratum.
    pub strata: Vec<StratumStatus>,
}

/// What a status takes from the golden run that is kept with the campaign.
#[derive(Default, Deserialize)]
struct GoldenHead {
    difference: Option<String>,
    #[serde(rename = "abilities", default)]
    capabilities: Capabilities,
}

impl Store {
    /// Has all that is read from here on see the file as it is now, whatever is recorded meanwhile. For a store
    /// that is only read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hold(&self) -> Result<(), StoreError> {
        let error = sqlite("read", &self.path);
        self.conn.execute_batch("BEGIN DEFERRED").map_err(&error)?;
        // What is seen is what is there at the first read.
        self.conn.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).map_err(&error)
    }

    /// A trial of the plan.
    ///
    /// # Errors
    /// There is no such trial.
    pub fn planned(&self, id: TrialId) -> Result<PlannedTrial, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!("SELECT {PLANNED} FROM trial t WHERE id = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let found =
            statement.query_row([id.0.cast_signed()], |row| planned(row, 0)).optional().map_err(&error)?;
        match found {
            Some(found) => Ok(found),
            None if id.0 < self.trials => Err(self.damaged(format!("trial {id} of its plan"))),
            None => Err(StoreError::UnknownTrial(id)),
        }
    }

    /// Each trial of the plan, by number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_planned(&self, each: &mut dyn FnMut(PlannedTrial)) -> Result<(), StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!("SELECT {PLANNED} FROM trial t ORDER BY id");
        let mut statement = self.conn.prepare(&sql).map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        while let Some(row) = rows.next().map_err(&error)? {
            each(planned(row, 0).map_err(&error)?);
        }
        Ok(())
    }

    /// Everything that is known of a trial that has a result, with its console; `None` for one that has
    /// none, or was given up.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn record_of(&self, id: TrialId) -> Result<Option<TrialRecord>, StoreError> {
        let error = sqlite("read", &self.path);
        let _view = Snapshot::new(&self.conn).map_err(&error)?;
        let sql = format!("SELECT {RESULT} FROM result r WHERE r.trial = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let mut rows = statement.query([id.0.cast_signed()]).map_err(&error)?;
        let Some(row) = rows.next().map_err(&error)? else {
            // That there is none is only known when all the others are there.
            self.scan(&mut |_| Ok(()))?;
            return Ok(None);
        };
        self.check_row(row)?;
        let Some(text) = row.get::<_, Option<String>>(RECORD).map_err(&error)? else { return Ok(None) };
        let mut record: TrialRecord = serde_json::from_str(&text)
            .map_err(|cause| self.damaged(format!("the record of trial {id}: {cause}")))?;
        let console: Option<Sum> = row.get(CONSOLE).map_err(&error)?;
        record.console = self.console_of(id.0.cast_signed(), console)?;
        Ok(Some(record))
    }

    /// The console of a trial whose result has this checksum of it; of a file without checksums, what is there.
    pub(super) fn console_of(&self, trial: i64, sum: Option<Sum>) -> Result<Option<String>, StoreError> {
        if self.has_checksums() && sum.is_none() {
            return Ok(None);
        }
        let error = sqlite("read", &self.path);
        let what = format!("the console of trial {trial}");
        let sql = "SELECT bytes, zlib FROM console WHERE trial = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(&error)?;
        let found =
            statement.query_row([trial], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let Some((bytes, zlib)) = found.optional().map_err(&error)? else {
            return if sum.is_some() { Err(self.damaged(what)) } else { Ok(None) };
        };
        if sum.is_some_and(|sum| self.sums.console(trial, bytes, &zlib) != sum) {
            return Err(self.damaged(what));
        }
        let text = self.unpack(&zlib, &what)?;
        let text = String::from_utf8(text).map_err(|cause| self.damaged(format!("{what}: {cause}")))?;
        if text.len() as u64 != bytes.cast_unsigned() {
            return Err(self.damaged(format!("{what}: it has another length")));
        }
        Ok(Some(text))
    }

    /// Of how many trials the console is kept: it was not what it was in the golden run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn consoles(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM console";
        let count = self.conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        count.map(i64::cast_unsigned).map_err(sqlite("read", &self.path))
    }

    /// All results, by number.
    #[must_use]
    pub fn results(&self) -> Results<'_> {
        let (page, passed) = (VecDeque::new(), Passed::new());
        Results { store: self, after: i64::MIN, page, over: false, passed, view: None }
    }

    fn page(&self, after: i64, passed: &mut Passed) -> Result<VecDeque<ResultRow>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!(
            "SELECT {RESULT}, {PLANNED} FROM result r LEFT JOIN trial t ON t.id = r.trial \
             WHERE r.trial > ?1 ORDER BY r.trial LIMIT {PAGE}"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let mut rows = statement.query([after]).map_err(&error)?;
        let mut page = VecDeque::with_capacity(PAGE);
        while let Some(row) = rows.next().map_err(&error)? {
            let sum = self.check_row(row)?;
            let trial: i64 = row.get(0).map_err(&error)?;
            passed.take(trial, sum).map_err(|why| self.damaged(why))?;
            if row.get::<_, Option<i64>>(OF_RESULT).map_err(&error)? != Some(trial) {
                return Err(self.damaged(format!("its plan has no trial {trial}, which has a result")));
            }
            page.push_back(result_row(row).map_err(&error)?);
        }
        Ok(page)
    }

    /// The counts of each stratum.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn summary(&self) -> Result<Vec<Counts>, StoreError> {
        let error = sqlite("read", &self.path);
        let mut counts: Vec<Counts> = vec![Counts::default(); self.strata.len()];
        self.scan(&mut |row| {
            let at: u32 = row.get(1).map_err(&error)?;
            let own = counts.get_mut(at as usize);
            let own = own.ok_or_else(|| self.damaged(format!("there is no stratum {at}")))?;
            let recorded: i64 = row.get(3).map_err(&error)?;
            let (first, last) = own.recorded.unwrap_or((recorded, recorded));
            own.recorded = Some((first.min(recorded), last.max(recorded)));
            let taken = row.get::<_, Option<i64>>(18).map_err(&error)?.unwrap_or(0);
            own.total_us = own.total_us.saturating_add(u64::try_from(taken).unwrap_or(0));
            let outcome = outcome(row, 2).map_err(&error)?;
            if let Some(brief) = Brief::of(row).map_err(&error)? {
                own.ways.add(&brief.way(outcome));
            }
            match outcome {
                Some(outcome) => {
                    *own.outcomes.entry(outcome).or_default() += 1;
                    let reported = row.get::<_, Option<String>>(10).map_err(&error)?.is_some();
                    own.hang_reported += u64::from(outcome == Outcome::Hang && reported);
                }
                None => own.not_flipped += 1,
            }
            Ok(())
        })?;
        for (own, stratum) in counts.iter_mut().zip(&self.strata) {
            own.pending = stratum.trials.saturating_sub(own.done());
        }
        Ok(counts)
    }

    /// How often the laboratory lost a trial.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lost(&self) -> Result<u64, StoreError> {
        let mut lost = 0;
        self.scan_attempts(&mut |_| lost += 1)?;
        Ok(lost)
    }

    /// The process that works on the campaign now.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        Lock::holder(&self.path)
    }

    /// How the campaign stands.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn status(&self) -> Result<Status, StoreError> {
        let _view = Snapshot::new(&self.conn).map_err(sqlite("read", &self.path))?;
        let summary = self.summary()?;
        let lost = self.lost()?;
        let mut counts = Counts::default();
        summary.iter().for_each(|own| counts.add(own));
        let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
        let kept = self.attachment("golden")?.unwrap_or_default();
        let golden: GoldenHead = serde_json::from_slice(&kept).unwrap_or_default();
        let whens = self.spec.strata.iter().map(|stratum| self.spec.when_of(stratum));
        let strata =
            self.strata.iter().zip(whens).zip(summary).map(|((stratum, when), counts)| StratumStatus {
                name: stratum.name.clone(),
                targets: stratum.targets.clone(),
                faults: stratum.faults,
                times: stratum.times,
                when,
                trials: stratum.trials,
                counts,
            });
        Ok(Status {
            name: self.spec.name.clone(),
            format: self.format,
            plan: self.digest.clone(),
            template: self.manifest.template.clone(),
            seed: self.spec.seed,
            created: self.manifest.created,
            first: counts.recorded.and_then(|(first, _)| time(first)),
            last: counts.recorded.and_then(|(_, last)| time(last)),
            running: self.running(),
            trials: self.trials,
            done: counts.done(),
            stages: self.stage_statuses(),
            lost,
            output_only: golden.difference,
            timing: golden.capabilities.timing(),
            idle: IdleTime::in_golden(&kept, &self.spec.times),
            strata: strata.collect(),
            counts,
        })
    }

    /// Whether the plan in the file is the one that was drawn: every trial is read and its digest compared.
    pub(super) fn check_plan(&self) -> Result<(), StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!("SELECT {PLANNED} FROM trial t ORDER BY id");
        let mut statement = self.conn.prepare(&sql).map_err(&error)?;
        let mut digest = PlanDigest::new(&self.strata, &self.stages);
        let mut rows = statement.query([]).map_err(&error)?;
        let mut line = String::new();
        while let Some(row) = rows.next().map_err(&error)? {
            line.clear();
            plan_line(row, &mut line).map_err(|why| self.damaged(format!("its plan: {why}")))?;
            digest.add_line(&line);
            let id = row.get::<_, i64>(0).map_err(&error)?.cast_unsigned();
            if self.part.as_ref().is_some_and(|part| !part.shard.has_number(id)) {
                return Err(self.damaged(format!("trial {id} is not of its part of the plan")));
            }
        }
        if digest.finish() == *self.part.as_ref().map_or(&self.digest, |part| &part.plan) {
            return Ok(());
        }
        Err(self.damaged("its plan is not the one that was drawn"))
    }
}

/// A result of the columns [`RESULT`], with those of its trial behind them.
fn result_row(row: &Row<'_>) -> rusqlite::Result<ResultRow> {
    let number = |index| row.get::<_, Option<i64>>(index).map(|value| value.map(i64::cast_unsigned));
    let mut brief = Brief::of(row)?;
    let (trial, outcome) = (planned(row, OF_RESULT)?, outcome(row, 2)?);
    // What holds on changes what is written there later.
    let later = trial.plan.holds_on();
    Ok(ResultRow {
        changed: brief.as_ref().map(|brief| brief.changed() || later).filter(|_| !trial.plan.is_decided()),
        first_use: brief.as_ref().and_then(|brief| brief.first_use),
        reached: brief.as_ref().and_then(|brief| brief.reached),
        subsystem: brief.as_ref().and_then(Brief::subsystem),
        reports: brief.as_ref().map_or(0, Brief::reports),
        counts: brief.as_mut().map(|brief| std::mem::take(&mut brief.counts)).unwrap_or_default(),
        trial,
        outcome,
        recorded_ms: row.get(3)?,
        flip_ns: number(4)?,
        end_ns: number(5)?,
        end: row.get(6)?,
        converged_ns: number(7)?,
        heard: brief.as_ref().map_or(Heard::Checkpoint, |brief| brief.heard),
        done_ns: brief.as_ref().and_then(|brief| brief.done_ns),
        detected_ns: number(8)?,
        console_differs_ns: number(9)?,
        report: row.get(10)?,
        title: row.get(11)?,
        region: row.get(12)?,
        symbol: row.get(13)?,
        error: row.get(14)?,
        output_only: row.get(15)?,
        attempts: row.get(17)?,
        way: brief.as_ref().map(|brief| brief.way(outcome)),
        costs: brief.map(|brief| brief.costs),
    })
}
