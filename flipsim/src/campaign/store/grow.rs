//! A campaign that grows: more trials behind those of its plan.
//!
//! What grew is kept by stage, as the intervals of a campaign that was looked at before it grew are others than those of
//! one whose size was fixed ([`crate::stats::anytime`]).
//!
//! Invariants: **trials that are there stay as they are, results and all**; a campaign grows wholly, or not at all; the
//! same campaign that grows to the same numbers has the same plan on any machine.

use jiff::Timestamp;
use rusqlite::params;

use crate::campaign::plan::{Plan, TrialId};
use crate::campaign::store::encode::{json, signed};
use crate::campaign::store::error::{StoreError, sqlite};
use crate::campaign::store::make::insert_trial;
use crate::campaign::store::open::Store;
use crate::campaign::store::seal::Made;
use crate::campaign::store::stages::{STAGES, Stage, StageStatus};

impl Store {
    /// The stages of its plan: one, and one more for each time that it grew.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Adds a stage of so many trials of each stratum to the plan, which was drawn again from the same specification.
    /// `progress` says whether to go on.
    ///
    /// # Errors
    /// The plan that was drawn is another one; it cannot grow so; the file cannot be written. Nothing is changed then.
    pub fn grow(
        &mut self,
        plan: Plan,
        added: &[u64],
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), StoreError> {
        if plan.digest() != self.digest {
            return Err(StoreError::DrawnOtherwise(self.path.clone()));
        }
        let (error, first) = (sqlite("write", &self.path), plan.len());
        let plan = plan.grown(added).map_err(|cause| StoreError::Growth(Box::new(cause)))?;
        let digest = plan.digest();
        let mut stages = self.stages.clone();
        let grown = Some(Timestamp::now());
        stages.push(Stage { trials: added.to_vec(), plan: digest.clone(), grown });
        let change = self.begin(None)?;
        let conn = change.connection();
        for number in first..plan.len() {
            if let Some(trial) = plan.nth(TrialId(number)) {
                insert_trial(conn, &trial, &error)?;
            }
            if number % 10_000 == 0 && !progress(number - first) {
                return Err(StoreError::Stopped);
            }
        }
        for (id, stratum) in plan.strata().iter().enumerate() {
            let row = params![id as i64, signed("the number of trials", stratum.trials)?];
            conn.execute("UPDATE stratum SET trials = ?2 WHERE id = ?1", row).map_err(&error)?;
        }
        for (key, value) in [("plan", digest.as_str()), (STAGES, &json(&stages))] {
            conn.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value]).map_err(&error)?;
        }
        let made = Made::read(conn).map_err(&error)?;
        made.write(conn).map_err(&error)?;
        change.commit()?;
        (self.strata, self.trials) = (plan.strata().to_vec(), plan.len());
        (self.digest, self.stages, self.seal) = (digest, stages, made.seal);
        Ok(())
    }

    /// Whether a part is of this campaign before it grew, or after it grew further: how many trials it has then.
    pub(super) fn check_stage(&self, part: &Store) -> Result<(), StoreError> {
        let is_stage_of = |other: &Store, plan: &str| other.stages.iter().any(|stage| stage.plan == plan);
        let (path, has, needs) = (part.path.clone(), part.trials, self.trials);
        if self.digest == part.digest {
            return Ok(());
        }
        if is_stage_of(self, &part.digest) {
            return Err(StoreError::NotGrown { path, to: self.path.clone(), has, needs });
        }
        if is_stage_of(part, &self.digest) {
            let (path, to) = (self.path.clone(), part.path.clone());
            return Err(StoreError::NotGrown { path, to, has: needs, needs: has });
        }
        Ok(())
    }

    /// How many trials were drawn together, and when.
    pub(in crate::campaign) fn stage_statuses(&self) -> Vec<StageStatus> {
        let stages = self.stages.iter();
        stages.map(|stage| StageStatus { trials: stage.len(), grown: stage.grown }).collect()
    }
}

#[cfg(test)]
mod tests;
