//! What a plan draws of a stratum: the faults of each of its trials.
//!
//! Invariant: **the faults of a trial follow from the seed and its number.** Its first is drawn without replacement over all
//! trials; of those that are drawn with it none is there already, nor of bits that another one holds.

use rand::RngExt;

use crate::campaign::moments::Moments;
use crate::campaign::permutation::Permutation;
use crate::campaign::when::When;
use crate::fault::{Count, Ecc, Fault, FaultSpace, Verdict, fault_rng, filter};
use crate::trial::LaterFault;

/// What is drawn of a stratum.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) space: FaultSpace,
    pub(super) when: When,
    pub(super) moments: Moments,
    /// Into how many times the run is divided that are drawn from: its moments, or fractions.
    pub(super) times: u64,
    /// Which of its pairs come.
    pub(super) permutation: Permutation,
    /// How many faults a trial has.
    pub(super) count: Count,
    /// What is between its memory and whoever reads it.
    pub(super) ecc: Ecc,
}

/// Apart from the other draws of a seed.
const FURTHER: u64 = 1 << 61;
const SHAPES: u64 = 1 << 60;

/// How often a further fault is drawn until one fits.
const TRIES: u32 = 1000;

impl Part {
    /// Whether a trial may have several faults.
    pub(super) fn is_several(&self) -> bool {
        !self.count.is_one() || self.space.is_clustered()
    }

    /// What is left of the faults of a trial whose first pair of fault and time this is, in no order.
    pub(super) fn faults(
        &self,
        first: u128,
        seed: u64,
        id: u64,
    ) -> Option<(Vec<LaterFault>, Option<Verdict>)> {
        let faults = self.upsets(first, seed, id)?;
        let Some(LaterFault { after, .. }) = faults.first().filter(|_| self.ecc == Ecc::Secded) else {
            return Some((faults, None));
        };
        // All are of one upset, at one time: a specification that says otherwise is refused.
        let upset: Vec<Fault> = faults.iter().map(|fault| fault.fault.clone()).collect();
        let (verdict, left) = filter(&upset);
        let left = left.into_iter().map(|fault| LaterFault { after: *after, fault });
        Some((left.collect(), Some(verdict)))
    }

    fn upsets(&self, first: u128, seed: u64, id: u64) -> Option<Vec<LaterFault>> {
        let mut faults = vec![self.at(first)?];
        let listed = u64::try_from(first).map_or(&[][..], |number| self.space.more(number));
        faults.extend(listed.iter().map(|(after, fault)| LaterFault { after: *after, fault: fault.clone() }));
        if !self.count.is_one() {
            let mut rng = fault_rng(seed, FURTHER | id);
            let all = u128::from(self.space.len()) * u128::from(self.times);
            for _ in 1..self.count.draw(&mut rng) {
                let mut tries = (0..TRIES).map(|_| self.at(rng.random_range(0..all)));
                let fits =
                    |fault: &Option<LaterFault>| fault.as_ref().is_some_and(|fault| fits(fault, &faults));
                if let Some(fault) = tries.find(fits).flatten() {
                    faults.push(fault);
                }
            }
        }
        if self.space.is_clustered() {
            let mut rng = fault_rng(seed, SHAPES | id);
            for LaterFault { after, fault } in faults.clone() {
                for fault in self.space.others(&fault, rng.random()) {
                    let other = LaterFault { after, fault };
                    if fits(&other, &faults) {
                        faults.push(other);
                    }
                }
            }
        }
        Some(faults)
    }

    /// The fault and the time of a pair.
    fn at(&self, pair: u128) -> Option<LaterFault> {
        let faults = u128::from(self.space.len());
        let number = u64::try_from(pair % faults).ok()?;
        let fault = self.space.nth(number)?;
        if let Some(after) = self.space.moment(number) {
            return Some(LaterFault { after, fault });
        }
        let time = (pair / faults) * u128::from(self.moments.len()) / u128::from(self.times);
        Some(LaterFault { after: self.moments.nth(u64::try_from(time).ok()?)?, fault })
    }
}

/// Whether a fault can be in a trial with others: it is not there, and none of its bits is held by two.
pub(super) fn fits(fault: &LaterFault, others: &[LaterFault]) -> bool {
    let holds = |one: &LaterFault| one.fault.operation().holds_on();
    let clash = |other: &LaterFault| {
        other.fault.shares_bits(&fault.fault) && (holds(fault) || holds(other) || other.after == fault.after)
    };
    !others.iter().any(clash)
}
