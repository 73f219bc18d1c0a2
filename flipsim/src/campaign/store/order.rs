//! Which trials are run next, and which of those that were are a fair sample.
//!
//! Invariant: pending trials come in the order of their time, a batch after the other.

use serde::Deserialize;

use crate::campaign::batches::{Batches, Done, Whole};
use crate::campaign::plan::{PlannedTrial, TrialId};
use crate::campaign::shard::Shard;
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::open::Store;
use crate::campaign::store::scan::Snapshot;
use crate::campaign::store::stages::Stage;
use crate::units::VirtualNs;

/// Where a trial begins; `None` where it need not be run.
type Begin<'a> = dyn Fn(&PlannedTrial) -> Option<VirtualNs> + 'a;

/// Batches are joined until they have about so many trials that are run.
const RUN: u64 = 300;

impl Store {
    /// The trials of a part of the plan that have no result: a batch of the plan after the other, and within
    /// each by the time of their fault. Batches are as random as the plan is, so that what is known of a
    /// campaign that is half done is not only known of early faults.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn pending(&self, shard: Shard) -> Result<Vec<TrialId>, StoreError> {
        Ok(self.pending_groups(shard, None)?.into_iter().flatten().collect())
    }

    /// As [`Store::pending`], group by group: without `begin` a group is a batch. With it trials of a group come by where
    /// they begin, `None` where they need not be run, and so many batches are one group as have some hundred trials that are
    /// run, as each group begins with new processes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn pending_groups(
        &self,
        shard: Shard,
        begin: Option<&Begin<'_>>,
    ) -> Result<Vec<Vec<TrialId>>, StoreError> {
        let error = sqlite("read", &self.path);
        let _view = Snapshot::new(&self.conn).map_err(&error)?;
        // What is damaged is not done.
        self.scan(&mut |_| Ok(()))?;
        let (with, from) = self.trials_of(shard);
        let sql = format!(
            "{with} SELECT at_ns, t.id FROM {from} LEFT JOIN result r ON r.trial = t.id WHERE r.trial IS NULL"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(&error)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .map_err(&error)?;
        let mut pending = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(&error)?;
        let mut run = pending.len() as u64;
        if let Some(begin) = begin {
            for (at, id) in &mut pending {
                match begin(&self.planned(TrialId(id.cast_unsigned()))?) {
                    Some(begin) => *at = begin.0.cast_signed(),
                    None => run -= 1,
                }
            }
        }
        let batches = self.batches()?;
        let of = |id: i64| batches.of(TrialId(id.cast_unsigned()), shard.count);
        let count = pending.iter().map(|(_, id)| of(*id)).max().map_or(1, |last| last + 1);
        let joined = if begin.is_some() { (RUN * count).div_ceil(run.max(1)).max(1) } else { 1 };
        pending.sort_unstable_by_key(|(at, id)| (of(*id) / joined, *at, *id));
        let groups = pending.chunk_by(|(_, one), (_, other)| of(*one) / joined == of(*other) / joined);
        let ids = |group: &[(i64, i64)]| group.iter().map(|(_, id)| TrialId(id.cast_unsigned())).collect();
        Ok(groups.map(ids).collect())
    }

    /// The batches of which all trials have a result.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn whole_batches(&self) -> Result<Whole, StoreError> {
        let batches = self.batches()?;
        if self.tally()?.is_some_and(|tally| tally.results == self.len()) {
            return Ok(Whole::all(batches));
        }
        let mut done = Done::none_of(self.len());
        let error = sqlite("read", &self.path);
        // Who counts these reads them, and sees what is damaged.
        let mut statement = self.conn.prepare_cached("SELECT trial FROM result").map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        while let Some(row) = rows.next().map_err(&error)? {
            done.add(TrialId(row.get::<_, i64>(0).map_err(&error)?.cast_unsigned()));
        }
        Ok(match &self.part {
            Some(part) => Whole::among(batches, part.shard.count, &done),
            None => Whole::new(batches, &done),
        })
    }

    /// The trials of a part as `t`, for SQL: what a query begins with, and what it is from. Of one of many parts each is looked
    /// up by its number, as the others are not to be read.
    pub(super) fn trials_of(&self, shard: Shard) -> (String, &'static str) {
        let Shard { index, count } = shard;
        if shard == Shard::WHOLE {
            return (String::new(), "trial t");
        }
        let numbers = format!(
            "WITH RECURSIVE part(number) AS (SELECT {index} WHERE {index} < {all} \
             UNION ALL SELECT number + {count} FROM part WHERE number + {count} < {all})",
            all = self.trials
        );
        (numbers, "part CROSS JOIN trial t ON t.id = number")
    }

    fn batches(&self) -> Result<Batches, StoreError> {
        let golden = self.attachment("golden")?.and_then(|json| serde_json::from_slice::<Length>(&json).ok());
        Ok(Batches::new(self.stages.iter().map(Stage::len), golden.and_then(|golden| golden.ns())))
    }
}

/// What of a golden run says how long it is.
#[derive(Deserialize)]
struct Length {
    start: Point,
    checkpoints: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    at: VirtualNs,
}

impl Length {
    fn ns(&self) -> Option<VirtualNs> {
        Some(VirtualNs(self.checkpoints.last()?.at.0.saturating_sub(self.start.at.0)))
    }
}
