//! Control trials: at the instant of a trial, all that a trial does, without a fault. The guest must go on as the golden
//! run does; where it does not, no trial beside it is to be believed.
//!
//! Invariant: **which trials have one follows from the campaign's seed and its plan**, not from who runs them: those that
//! are audited; and where all are run whole, one in [`ONE_IN`], [`LEAST`] at least.

use crate::campaign::permutation::Permutation;
use crate::campaign::plan::TrialId;
use crate::campaign::shortcuts::ONE_IN;
use crate::campaign::store::Store;
use crate::target::TargetError;
use crate::trial::{Outcome, RunError, Short, TrialPlan, TrialRecord, Worker};

/// How many there are at least.
const LEAST: u64 = 5;

/// Apart from the permutations of strata and of stages.
const NUMBER: u64 = 1 << 62;

/// Which trials of a campaign have a control trial beside them, where all are run whole.
#[derive(Debug)]
pub(super) struct Controls {
    order: Option<Permutation>,
    trials: u64,
    count: u64,
}

impl Controls {
    /// Of a campaign.
    pub(super) fn new(store: &Store) -> Self {
        Controls::of(store.spec().seed, store.len())
    }

    fn of(seed: u64, trials: u64) -> Self {
        let count = trials.div_ceil(ONE_IN as u64).max(LEAST);
        Controls { order: Permutation::new(seed, NUMBER, trials.into()), trials, count }
    }

    /// Whether this one has.
    pub(super) fn has(&self, id: TrialId) -> bool {
        let place = |order: &Permutation| order.nth(id.0.into()) < self.count.into();
        id.0 < self.trials && self.order.as_ref().is_some_and(place)
    }
}

/// Runs a control trial at the instant of a trial: what is there is read, written as it is, and read back. What was not as
/// it must be, where something was not.
pub(super) fn control(worker: &mut Worker<'_>, plan: &TrialPlan) -> Result<Option<String>, RunError> {
    let record = worker.trial_in(&plan.without_fault(), Short::default(), None, &mut |_, _| Ok(()))?;
    if record.outcome == Some(Outcome::Infra) {
        // That says nothing of the guest: the trial is run again, and its control with it.
        let (doing, cause) = ("run a control trial".to_owned(), record.lost_because());
        return Err(TargetError::Lost { doing, cause }.into());
    }
    Ok(fault_of(&record))
}

/// What a control trial's record says that it must not.
fn fault_of(record: &TrialRecord) -> Option<String> {
    match (&record.error, record.outcome) {
        (Some(error), _) => Some(error.clone()),
        _ if record.old != record.new => Some(format!("{} became {}", record.old, record.new)),
        (None, Some(Outcome::Masked)) => None,
        (None, outcome) => {
            let outcome = outcome.map_or("none", Outcome::name);
            let because = record.because.as_ref().map(|because| format!(": {because}")).unwrap_or_default();
            Some(format!("its outcome is {outcome}{because}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake_campaign as fake;
    use crate::trial::Because;

    #[test]
    fn one_in_a_hundred_has_one_and_five_at_least() {
        for (trials, expected) in [(1, 1), (4, 4), (5, 5), (499, 5), (501, 6), (100_000, 1000)] {
            let controls = Controls::of(7, trials);
            let found: Vec<u64> = (0..trials + 10).filter(|id| controls.has(TrialId(*id))).collect();
            assert_eq!(found.len(), expected, "{trials}");
            // They lie anywhere.
            if expected == 1000 {
                assert!(found[0] < 2_000 && found[999] > 98_000 && found[499].abs_diff(50_000) < 5_000);
                assert_ne!(
                    found,
                    (0..trials).filter(|id| Controls::of(8, trials).has(TrialId(*id))).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn a_control_must_be_masked_and_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            fake::create(&folder.path().join("c.sqlite"), &fake::spec(10, &["range:0x1000+4K"])).unwrap();
        let record = fake::record(&store.planned(TrialId(0)).unwrap());
        let because = Because::Converged { checkpoint_ns: 5 };
        let good = TrialRecord {
            error: None,
            outcome: Some(Outcome::Masked),
            because: Some(because),
            old: "0x07".to_owned(),
            new: "0x07".to_owned(),
            ..record
        };
        assert_eq!(fault_of(&good), None);
        let latent = TrialRecord {
            outcome: Some(Outcome::Latent),
            because: Some(Because::StateDiffers),
            ..good.clone()
        };
        let said = fault_of(&latent).unwrap();
        assert!(said.starts_with("its outcome is latent: "), "{said}");
        let changed = TrialRecord { new: "0x06".to_owned(), ..good.clone() };
        assert_eq!(fault_of(&changed).unwrap(), "0x07 became 0x06");
        let refused = TrialRecord { error: Some("no".to_owned()), outcome: None, ..good };
        assert_eq!(fault_of(&refused).unwrap(), "no");
    }
}
