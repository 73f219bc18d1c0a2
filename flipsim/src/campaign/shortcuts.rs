//! Which trials of a campaign need not be run whole, and which of these are run whole all the same, to check the others.
//!
//! Invariant: **which trials are audited follows from the campaign's seed and its plan**, not from who runs them.

use std::collections::{BinaryHeap, HashSet};
use std::io;

use rand::Rng;

use crate::campaign::plan::{PlannedTrial, TrialId};
use crate::campaign::store::error::StoreError;
use crate::campaign::store::open::Store;
use crate::fault::fault_rng;
use crate::trial::{Known, Settling, TrialRecord};
use crate::units::VirtualNs;

/// The part that is run whole, as one in so many, and the least number: of the trials of which something is known
/// beforehand, and of the others, which may be ended early.
pub(super) const ONE_IN: usize = 100;
const LEAST: usize = 20;

/// Those of many trials that come first by a number that was drawn for each, in the room of those alone.
struct Sample {
    count: usize,
    most: usize,
    first: BinaryHeap<(u64, TrialId)>,
}

impl Sample {
    /// Of at most so many.
    fn new(all: u64) -> Self {
        let all = usize::try_from(all).unwrap_or(usize::MAX);
        Sample { count: 0, most: share(all), first: BinaryHeap::new() }
    }

    fn add(&mut self, place: u64, id: TrialId) {
        self.count += 1;
        self.first.push((place, id));
        if self.first.len() > self.most {
            self.first.pop();
        }
    }

    fn taken(self) -> impl Iterator<Item = TrialId> {
        let count = share(self.count);
        self.first.into_sorted_vec().into_iter().take(count).map(|(_, id)| id)
    }
}

/// How many of so many are run whole.
fn share(all: usize) -> usize {
    all.div_ceil(ONE_IN).max(LEAST)
}

/// How a trial gets its record.
#[derive(Debug)]
pub(super) enum Way {
    /// It is run.
    Whole,
    /// As is known of it.
    Known(Known),
    /// It is run whole, and compared with what is known of it. Where that is a later begin, the other half has its turn in the
    /// order of begins: a worker walks forward only.
    Audit(Known),
    /// It is begun late, and compared with its whole run, which is done.
    Half {
        /// Where it begins.
        begin: VirtualNs,
        /// The record of the whole run.
        whole: Box<TrialRecord>,
    },
}

/// What is known of the trials of a campaign before they are run.
#[derive(Debug)]
pub struct Shortcuts<'a> {
    settling: Settling<'a>,
    audited: HashSet<TrialId>,
}

impl<'a> Shortcuts<'a> {
    /// Of all trials of a campaign, whether they have a result or not.
    ///
    /// # Errors
    /// The campaign's file cannot be read.
    pub fn new(store: &Store, settling: Settling<'a>) -> Result<Self, StoreError> {
        let seed = store.spec().seed;
        let [mut known, mut others] = [Sample::new(store.len()), Sample::new(store.len())];
        store.each_planned(&mut |planned| {
            if planned.plan.is_decided() {
                return;
            }
            let some = settling.begin_of(&planned.plan).is_some();
            // Apart from the streams that faults and their order are drawn from.
            let place = fault_rng(seed, 1 << 62 | planned.id.0).next_u64();
            if some { known.add(place, planned.id) } else { others.add(place, planned.id) }
        })?;
        let audited = known.taken().chain(others.taken()).collect();
        Ok(Shortcuts { audited, settling })
    }

    /// What is known.
    #[must_use]
    pub fn settling(&self) -> &Settling<'a> {
        &self.settling
    }

    /// How a trial gets its record; `whole` is that of its whole run, where it was audited so far.
    pub(super) fn way(&self, planned: &PlannedTrial, whole: Option<&TrialRecord>) -> io::Result<Way> {
        let known = self.settling.known(&planned.plan)?;
        if let (Some(whole), Known::Late(begin)) = (whole, &known) {
            return Ok(Way::Half { begin: *begin, whole: Box::new(whole.clone()) });
        }
        Ok(if self.audited.contains(&planned.id) { Way::Audit(known) } else { Way::Known(known) })
    }

    /// Where a trial is begun late, from the quiescent point on; `None` where it is not.
    pub(super) fn late(&self, planned: &PlannedTrial) -> Option<VirtualNs> {
        Some(self.counted(self.settling.begin_of(&planned.plan)??))
    }

    /// A time of the virtual clock, counted from the quiescent point.
    fn counted(&self, at: VirtualNs) -> VirtualNs {
        VirtualNs(at.0.saturating_sub(self.settling.origin().0))
    }

    /// Where a trial begins, from the quiescent point on; `None` for one that need not be run.
    pub(super) fn begin(&self, planned: &PlannedTrial) -> Option<VirtualNs> {
        let drawn = planned.plan.after;
        if self.audited.contains(&planned.id) {
            return Some(drawn);
        }
        match self.settling.begin_of(&planned.plan) {
            None => Some(drawn),
            Some(begin) => begin.map(|at| self.counted(at)),
        }
    }
}
