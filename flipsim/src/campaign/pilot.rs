//! Shares of the trials by the results of a pilot: a campaign of the same strata that was run before.
//!
//! Invariant: what is shared depends on the pilot, the result on the new trials alone: **a pilot's trials are in no rate
//! of the campaign that it shares out**, and each stratum keeps the weight of its faults.

use super::plan::{Stratum, shares};
use super::spec::{CampaignSpec, Sharing};
use crate::campaign::size::Size;
use crate::campaign::summary::{Class, Summary, pattern_text};
use crate::stats::allocation::{Piloted, expected_margin, neyman};
use crate::stats::{Confidence, Observed, SpaceSize};

/// So many trials each stratum has at least, if there are enough.
const LEAST: u64 = 10;

/// A pilot that shares out nothing.
#[derive(Debug, thiserror::Error)]
pub enum PilotError {
    /// It is not finished.
    #[error(
        "{pending} trials of the pilot are pending, so that its rates lean to early faults; run them first"
    )]
    Unfinished {
        /// How many.
        pending: u64,
    },
    /// It is of other strata.
    #[error("the pilot's strata are others: {0}; a pilot has the same strata, targets, times and patterns")]
    OtherStrata(String),
    /// Strata that have a number of their own.
    #[error(
        "stratum `{0}` says how many trials it has; with a pilot none does: drop its `trials` or `share`"
    )]
    OwnNumber(String),
    /// Strata that are never pooled.
    #[error(
        "a pilot shares trials so that the rate over all strata together is known best, and there is no such rate: {0}"
    )]
    NotPooled(String),
    /// Too few, or more than there are.
    #[error(
        "{total} trials cannot be shared over {strata} strata with 2 each at least, and no more than each has"
    )]
    Total {
        /// How many.
        total: u64,
        /// Over how many.
        strata: usize,
    },
}

/// A stratum with what its pilot saw, and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct PilotRow {
    /// Its name.
    pub name: String,
    /// Its failures in the pilot.
    pub seen: Observed,
    /// Its trials.
    pub trials: u64,
    /// How many it would have in proportion to its faults.
    pub by_size: u64,
}

/// How trials are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct PilotShares {
    /// One row a stratum.
    pub rows: Vec<PilotRow>,
    /// Half the width that the interval of the pooled rate of failures can be expected to have.
    pub margin: Option<f64>,
    /// The same of shares in proportion to faults; `None` where a stratum would have no trial.
    pub margin_by_size: Option<f64>,
}

impl PilotShares {
    /// Shares `total` trials over strata, of which faults and times are known.
    ///
    /// # Errors
    /// The pilot is of other strata or not finished, or the trials are too few.
    pub fn new(
        spec: &CampaignSpec,
        strata: &[Stratum],
        total: u64,
        pilot: &Summary,
    ) -> Result<PilotShares, PilotError> {
        if pilot.totals.pending > 0 {
            return Err(PilotError::Unfinished { pending: pilot.totals.pending });
        }
        if let Some(own) = spec.strata.iter().find(|one| one.trials.is_some() || one.share.is_some()) {
            return Err(PilotError::OwnNumber(own.name.clone()));
        }
        if pilot.strata.len() != strata.len() {
            let text = format!("it has {}, and this campaign {}", pilot.strata.len(), strata.len());
            return Err(PilotError::OtherStrata(text));
        }
        let one_pool = pilot.pooled.iter().any(|pooled| pooled.strata.len() == strata.len());
        if !one_pool && strata.len() > 1 {
            let why = "RAM and registers, or several patterns, are never pooled".to_owned();
            return Err(PilotError::NotPooled(why));
        }
        if let Some(why) = pilot.pooled.iter().find_map(|pooled| pooled.why_not.clone()) {
            return Err(PilotError::NotPooled(why));
        }
        let mut piloted = Vec::with_capacity(strata.len());
        for (stratum, of_spec) in strata.iter().zip(&spec.strata) {
            let Stratum { name, targets, faults, times, .. } = stratum;
            let pattern = pattern_text(spec, of_spec);
            let seen = pilot.stratum(name).filter(|seen| {
                (&seen.targets, seen.faults, seen.times, &seen.pattern)
                    == (targets, *faults, *times, &pattern)
            });
            let failures = seen.and_then(|seen| Some((seen.class(Class::Failure)?.count, seen.counted)));
            let observed = failures.and_then(|(hits, trials)| Observed::new(hits, trials).ok());
            let seen = observed.ok_or_else(|| {
                let text = format!(
                    "`{name}` ({targets}, {faults} faults at {times} times) is not in it, or without results"
                );
                PilotError::OtherStrata(text)
            })?;
            piloted.push(Piloted { size: SpaceSize(stratum.population()), seen });
        }
        let least = LEAST.min(total / strata.len().max(1) as u64);
        let refused = || PilotError::Total { total, strata: strata.len() };
        let trials = neyman(total, &piloted, least).filter(|_| least >= 2).ok_or_else(refused)?;
        let weights: Vec<u128> = strata.iter().map(|stratum| stratum.faults.into()).collect();
        let by_size = shares(total, &weights);
        let margin = |trials: &[u64]| expected_margin(&piloted, trials, Confidence::P95);
        let (margin, margin_by_size) = (margin(&trials), margin(&by_size));
        let rows = strata.iter().zip(&piloted).zip(trials.into_iter().zip(by_size));
        let rows = rows.map(|((stratum, piloted), (trials, by_size))| PilotRow {
            name: stratum.name.clone(),
            seen: piloted.seen,
            trials,
            by_size,
        });
        Ok(PilotShares { rows: rows.collect(), margin, margin_by_size })
    }

    /// Writes the numbers into a specification, so that it draws the same plan without the pilot.
    pub fn write(&self, spec: &mut CampaignSpec) {
        spec.sharing = Sharing::Pilot;
        spec.size = Some(Size::Trials(self.rows.iter().map(|row| row.trials).sum()));
        for (stratum, row) in spec.strata.iter_mut().zip(&self.rows) {
            stratum.trials = Some(row.trials);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Store;
    use crate::campaign::summary::SummaryOptions;
    use crate::testing::fake_campaign as fake;
    use crate::trial::{Outcome, TrialRecord};

    const STRATA: [&str; 2] = ["range:0x40000000+1M", "range:0x50000000+3M"];

    /// A finished pilot of 100 trials each: 50 sdc in the first stratum, none in the second.
    fn pilot(folder: &std::path::Path, targets: &[&str]) -> Store {
        let mut store = fake::create(&folder.join("p.sqlite"), &fake::spec(200, targets)).unwrap();
        let mut hits = 50;
        for id in store.pending(crate::campaign::Shard::WHOLE).unwrap() {
            let planned = store.planned(id).unwrap();
            let hit = planned.stratum == 0 && hits > 0;
            hits -= i32::from(hit);
            let outcome = Some(if hit { Outcome::Sdc } else { Outcome::Masked });
            store.record(id, &TrialRecord { outcome, flipped: true, ..fake::record(&planned) }).unwrap();
        }
        store
    }

    fn shared(store: &Store, spec: &CampaignSpec, total: u64) -> Result<PilotShares, PilotError> {
        let summary = Summary::new(store, &SummaryOptions::default()).unwrap();
        PilotShares::new(spec, store.strata(), total, &summary)
    }

    #[test]
    fn trials_are_shared_by_faults_and_spread_and_the_numbers_stand_with_the_strata() {
        let folder = tempfile::tempdir().unwrap();
        let store = pilot(folder.path(), &STRATA);
        let mut spec = fake::spec(400, &STRATA);
        let found = shared(&store, &spec, 400).unwrap();
        // √(p̃(1−p̃)) is 0.5 with 51/102 and 0.0985 with 1/102; times 1 and 3 that is 62.9 % and 37.1 %.
        let trials: Vec<(u64, u64)> = found.rows.iter().map(|row| (row.trials, row.by_size)).collect();
        assert_eq!(trials, [(251, 100), (149, 300)]);
        assert!(found.margin.unwrap() < 0.85 * found.margin_by_size.unwrap(), "{found:?}");
        found.write(&mut spec);
        assert_eq!((spec.size, spec.sharing), (Some(Size::Trials(400)), Sharing::Pilot));
        // Read again it draws the same plan, without the pilot.
        let again = CampaignSpec::from_toml(&spec.to_toml()).unwrap();
        let path = folder.path().join("c.sqlite");
        let made = fake::create(&path, &again).unwrap();
        assert_eq!(made.strata().iter().map(|one| one.trials).collect::<Vec<_>>(), [251, 149]);
        assert_eq!(again, spec);
    }

    #[test]
    fn a_pilot_that_does_not_fit_is_refused_with_why() {
        let folder = tempfile::tempdir().unwrap();
        let store = pilot(folder.path(), &STRATA);
        let error = |spec: &CampaignSpec, total| shared(&store, spec, total).unwrap_err().to_string();
        let spec = fake::spec(400, &STRATA);
        assert!(error(&spec, 3).contains("3 trials cannot be shared over 2 strata"));
        let mut other = spec.clone();
        other.strata[0].trials = Some(5);
        assert!(error(&other, 400).contains("drop its `trials`"));
        let other = CampaignSpec { pattern: crate::fault::Pattern::Adjacent(2), ..spec.clone() };
        assert!(error(&other, 400).contains("strata are others"));
        // Of another fault model, however many faults it has.
        let mut other = CampaignSpec { operation: "set1".parse().unwrap(), ..spec.clone() };
        assert!(error(&other, 400).contains("is not in it"));
        other.name = "set".to_owned();
        let set = tempfile::tempdir().unwrap();
        let mut of_sets = fake::create(&set.path().join("s.sqlite"), &other).unwrap();
        for id in of_sets.pending(crate::campaign::Shard::WHOLE).unwrap() {
            let planned = of_sets.planned(id).unwrap();
            of_sets.record(id, &fake::record(&planned)).unwrap();
        }
        shared(&of_sets, &other, 400).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mixed = pilot(folder.path(), &[STRATA[0], "class:core"]);
        let error = shared(&mixed, mixed.spec(), 400).unwrap_err().to_string();
        assert!(error.contains("never pooled") || error.contains("trials"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let unfinished = fake::create(&folder.path().join("p.sqlite"), &spec).unwrap();
        let error = shared(&unfinished, &spec, 400).unwrap_err().to_string();
        assert!(error.starts_with("400 trials of the pilot are pending"), "{error}");
    }
}
