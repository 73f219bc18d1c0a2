//! Campaigns on a real guest without a lab: made from a golden run, run by two workers, and read back.
//!
//! Invariant: what cannot be made or read fails the test.

#![expect(clippy::unwrap_used, reason = "tests stand on this, and a test fails by a panic")]

use std::path::Path;

use crate::campaign::run::{CampaignError, RunOptions, run};
use crate::campaign::{CampaignSpec, Manifest, Plan, Shard, Shortcuts, Store};
use crate::fault::FaultSpace;
use crate::trial::accesses::Accesses;
use crate::trial::golden::Golden;
use crate::trial::template::Template;
use crate::trial::{Settling, TrialOptions, TrialRecord};
use crate::units::VirtualNs;

/// A guest at its quiescent point, with what it does when nothing is flipped.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// The quiescent point.
    pub template: &'a Template,
    /// The golden run.
    pub golden: &'a Golden,
    /// A folder for the files of clones.
    pub clones: &'a Path,
}

impl Guest<'_> {
    /// Draws a campaign over the whole golden run; a space for each stratum.
    #[must_use]
    pub fn campaign(&self, file: &Path, spec: &CampaignSpec, spaces: Vec<FaultSpace>) -> Store {
        let length = VirtualNs(self.golden.end().0 - self.golden.begin().0);
        let plan = Plan::new(spec, length, spaces).unwrap();
        Store::create(file, &Manifest::of(self.golden), spec, &plan, &[], &mut |_| {}).unwrap()
    }

    /// Runs all of it, with what is known beforehand or every trial whole; the records in the order of the plan.
    ///
    /// # Errors
    /// As [`run`].
    pub fn records(
        &self,
        store: &mut Store,
        accesses: Option<&Accesses>,
        trial: &TrialOptions,
    ) -> Result<Vec<TrialRecord>, CampaignError> {
        let Guest { template, golden, clones } = *self;
        let settling =
            accesses.map(|accesses| Settling::new(template, golden, accesses, trial, None).unwrap().unwrap());
        let shortcuts = settling.map(|settling| Shortcuts::new(store, settling).unwrap());
        let options = RunOptions {
            names: None,
            workers: 2,
            shard: Shard::WHOLE,
            trial: trial.clone(),
            stop: || false,
            limit: None,
        };
        run(store, template, golden, shortcuts.as_ref(), clones, &options, &mut |_| {})?;
        let ids: Vec<_> = store.results().map(|row| row.unwrap().trial.id).collect();
        Ok(ids.into_iter().map(|id| store.record_of(id).unwrap().unwrap()).collect())
    }
}
