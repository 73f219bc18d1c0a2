//! What is asked of a store: trials that are pending, results, counts.
//!
//! Invariant: pending trials come in the order of their time, a batch after the other; results come in the order
//! of the plan.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::campaign::plan::{PlanDigest, PlannedTrial, TrialId};
use crate::campaign::shard::Shard;
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::lock::Lock;
use crate::campaign::store::open::Store;
use crate::fault::{Fault, OperationError};
use crate::target::Capabilities;
use crate::text::unhex_value;
use crate::trial::{Costs, Outcome, TrialPlan, TrialRecord};
use crate::units::{GuestPhys, Timing, VirtualNs};

/// How many trials of the plan are run in the order of their time before the next ones: so many that
/// walking the golden run again costs little, and so few that a long campaign soon has whole batches.
const BATCH: i64 = 1000;

/// How many results are read at once.
const PAGE: usize = 1000;

/// The columns of a planned trial, for [`planned`].
const PLANNED: &str = "t.id, t.stratum, t.at_ns, t.address, t.register, t.mask, t.back_ns, t.operation";

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
    /// The checkpoint at which the guest had noticed something.
    pub detected_ns: Option<u64>,
    /// The checkpoint at which the console first said something else.
    pub console_differs_ns: Option<u64>,
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
    /// What it cost; absent where the trial was given up.
    pub costs: Option<Costs>,
}

/// The results of a store, by number, read a page at a time; those that are recorded meanwhile may be
/// among them.
#[derive(Debug)]
pub struct Results<'a> {
    store: &'a Store,
    after: i64,
    page: VecDeque<ResultRow>,
    over: bool,
}

impl Iterator for Results<'_> {
    type Item = Result<ResultRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.over {
            match self.store.page(self.after) {
                Ok(page) => {
                    self.over = page.len() < PAGE;
                    self.after = page.back().map_or(self.after, |row| row.trial.id.0.cast_signed());
                    self.page = page;
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
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
    /// How many trials are planned.
    pub trials: u64,
    /// Their outcomes.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How a campaign stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// How often the laboratory lost a trial.
    pub lost: u64,
    /// Why only outputs are compared, where that is so.
    pub output_only: Option<String>,
    /// How exactly the times of the trials are known.
    pub timing: Timing,
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
    /// The trials of a part of the plan that have no result: a batch of the plan after the other, and within
    /// each by the time of their fault. Batches are as random as the plan is, so that what is known of a
    /// campaign that is half done is not only known of early faults.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn pending(&self, shard: Shard) -> Result<Vec<TrialId>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = "SELECT at_ns, id FROM trial t WHERE id % ?1 = ?2 \
                   AND NOT EXISTS (SELECT 1 FROM result WHERE trial = t.id)";
        let mut statement = self.conn.prepare_cached(sql).map_err(&error)?;
        let rows = statement
            .query_map([shard.count.cast_signed(), shard.index.cast_signed()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .map_err(&error)?;
        let mut pending = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(&error)?;
        pending.sort_unstable_by_key(|(at, id)| (id / BATCH, *at, *id));
        Ok(pending.into_iter().map(|(_, id)| TrialId(id.cast_unsigned())).collect())
    }

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
        let found = statement.query_row([id.0.cast_signed()], planned).optional().map_err(&error)?;
        found.ok_or(StoreError::UnknownTrial(id))
    }

    /// Everything that is known of a trial that has a result, with its console; `None` for one that has
    /// none, or was given up.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn record_of(&self, id: TrialId) -> Result<Option<TrialRecord>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = "SELECT record, zlib FROM result LEFT JOIN console USING (trial) WHERE trial = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(&error)?;
        let row = statement.query_row([id.0.cast_signed()], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        });
        let Some((Some(record), zlib)) = row.optional().map_err(&error)? else { return Ok(None) };
        let damaged = |what: String| StoreError::Damaged { path: self.path.clone(), what };
        let mut record: TrialRecord = serde_json::from_str(&record)
            .map_err(|cause| damaged(format!("the record of trial {id}: {cause}")))?;
        if let Some(zlib) = zlib {
            let text = self.unpack(&zlib, &format!("the console of trial {id}"))?;
            let text = String::from_utf8(text);
            record.console =
                Some(text.map_err(|cause| damaged(format!("the console of trial {id}: {cause}")))?);
        }
        Ok(Some(record))
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
        Results { store: self, after: -1, page: VecDeque::new(), over: false }
    }

    fn page(&self, after: i64) -> Result<VecDeque<ResultRow>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!(
            "SELECT {PLANNED}, r.outcome, r.region, r.symbol, r.flip_ns, r.end_ns, r.end, r.converged_ns, \
             r.detected_ns, r.console_differs_ns, r.report, r.title, r.error, r.attempts, \
             r.output_only, r.recorded_ms, json_extract(r.record, '$.costs') \
             FROM result r JOIN trial t ON t.id = r.trial WHERE r.trial > ?1 ORDER BY r.trial LIMIT {PAGE}"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let rows = statement.query_map([after], result_row).map_err(&error)?;
        rows.collect::<rusqlite::Result<_>>().map_err(&error)
    }

    /// The counts of each stratum.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn summary(&self) -> Result<Vec<Counts>, StoreError> {
        let error = sqlite("read", &self.path);
        let sql = "SELECT stratum, outcome, count(*), min(recorded_ms), max(recorded_ms), total(total_us) \
                   FROM result GROUP BY stratum, outcome";
        let mut counts: Vec<Counts> = vec![Counts::default(); self.strata.len()];
        let mut statement = self.conn.prepare_cached(sql).map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        let mut take = |row: &Row<'_>| -> rusqlite::Result<()> {
            let Some(own) = counts.get_mut(row.get::<_, u32>(0)? as usize) else { return Ok(()) };
            let count = row.get::<_, i64>(2)?.cast_unsigned();
            let mut found = Counts { recorded: Some((row.get(3)?, row.get(4)?)), ..Counts::default() };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a sum of microseconds, which may be rounded above 2^53"
            )]
            {
                found.total_us = row.get::<_, f64>(5)? as u64;
            }
            match outcome(row, 1)? {
                Some(outcome) => _ = found.outcomes.insert(outcome, count),
                None => found.not_flipped = count,
            }
            own.add(&found);
            Ok(())
        };
        while let Some(row) = rows.next().map_err(&error)? {
            take(row).map_err(&error)?;
        }
        for (own, stratum) in counts.iter_mut().zip(&self.strata) {
            own.pending = stratum.trials.saturating_sub(own.done());
        }
        Ok(counts)
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
        let summary = self.summary()?;
        let lost: i64 = self
            .conn
            .query_row("SELECT count(*) FROM attempt", [], |row| row.get(0))
            .map_err(sqlite("read", &self.path))?;
        let mut counts = Counts::default();
        summary.iter().for_each(|own| counts.add(own));
        let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
        let golden = self.attachment("golden")?.and_then(|text| serde_json::from_slice(&text).ok());
        let golden: GoldenHead = golden.unwrap_or_default();
        let strata = self.strata.iter().zip(summary).map(|(stratum, counts)| StratumStatus {
            name: stratum.name.clone(),
            targets: stratum.targets.clone(),
            faults: stratum.faults,
            times: stratum.times,
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
            lost: lost.cast_unsigned(),
            output_only: golden.difference,
            timing: golden.capabilities.timing(),
            strata: strata.collect(),
            counts,
        })
    }

    /// Whether the plan in the file is the one that was drawn: every trial is read and its digest compared.
    ///
    /// # Errors
    /// It is not, or the file cannot be read.
    pub fn verify(&self) -> Result<(), StoreError> {
        let error = sqlite("read", &self.path);
        let sql = format!("SELECT {PLANNED} FROM trial t ORDER BY id");
        let mut statement = self.conn.prepare(&sql).map_err(&error)?;
        let mut digest = PlanDigest::new(&self.strata);
        for trial in statement.query_map([], planned).map_err(&error)? {
            digest.add(&trial.map_err(&error)?);
        }
        if digest.finish() == self.digest {
            return Ok(());
        }
        let what = "its plan is not the one that was drawn".to_owned();
        Err(StoreError::Damaged { path: self.path.clone(), what })
    }
}

fn outcome(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Outcome>> {
    let Some(name) = row.get::<_, Option<String>>(index)? else { return Ok(None) };
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
    known.map(Some).ok_or_else(|| unreadable(index, format!("there is no outcome `{name}`")))
}

fn unreadable(index: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, what.into())
}

/// A trial of the columns [`PLANNED`].
fn planned(row: &Row<'_>) -> rusqlite::Result<PlannedTrial> {
    let number = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let text: String = row.get(5)?;
    let mask = unhex_value(&text).ok_or_else(|| unreadable(5, format!("`{text}` is no mask")))?;
    let fault = match row.get::<_, Option<String>>(4)? {
        Some(register) => Fault::in_register(register, mask),
        None => Fault::in_ram(GuestPhys(number(3)?), mask),
    };
    let text: String = row.get(7)?;
    let operation = text.parse().map_err(|error: OperationError| unreadable(7, error.to_string()))?;
    let fault = fault.with(operation);
    let back_after = row.get::<_, Option<i64>>(6)?.map(|back| VirtualNs(back.cast_unsigned()));
    let plan = TrialPlan { after: VirtualNs(number(2)?), fault, back_after };
    Ok(PlannedTrial { id: TrialId(number(0)?), stratum: row.get(1)?, plan })
}

fn result_row(row: &Row<'_>) -> rusqlite::Result<ResultRow> {
    let number = |index| row.get::<_, Option<i64>>(index).map(|value| value.map(i64::cast_unsigned));
    let costs: Option<String> = row.get(23)?;
    Ok(ResultRow {
        trial: planned(row)?,
        outcome: outcome(row, 8)?,
        region: row.get(9)?,
        symbol: row.get(10)?,
        flip_ns: number(11)?,
        end_ns: number(12)?,
        end: row.get(13)?,
        converged_ns: number(14)?,
        detected_ns: number(15)?,
        console_differs_ns: number(16)?,
        report: row.get(17)?,
        title: row.get(18)?,
        error: row.get(19)?,
        attempts: row.get(20)?,
        output_only: row.get(21)?,
        recorded_ms: row.get(22)?,
        costs: costs
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|cause| unreadable(23, format!("the costs are not understood: {cause}")))?,
    })
}
