//! Which trials of a campaign need not be run whole, and which of these are run whole all the same, to check the others.
//!
//! Invariant: **which trials are audited follows from the campaign's seed and its plan**, not from who runs them.

use std::collections::HashSet;
use std::io;

use rand::Rng;

use crate::campaign::plan::{PlannedTrial, TrialId};
use crate::campaign::store::error::StoreError;
use crate::campaign::store::open::Store;
use crate::fault::fault_rng;
use crate::trial::{Known, Settling};
use crate::units::VirtualNs;

/// The part of the trials that could be shortcut which is run whole, as one in so many, and the least number.
const ONE_IN: usize = 100;
const LEAST: usize = 20;

/// How a trial gets its record.
#[derive(Debug)]
pub(super) enum Way {
    /// It is run.
    Whole,
    /// As is known of it.
    Known(Known),
    /// It is run whole, and compared with what is known of it.
    Audit(Known),
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
        let mut shortcut = Vec::new();
        for id in (0..store.len()).map(TrialId) {
            if settling.begin_of(&store.planned(id)?.plan).is_some() {
                // Apart from the streams that faults and their order are drawn from.
                shortcut.push((fault_rng(seed, 1 << 62 | id.0).next_u64(), id));
            }
        }
        shortcut.sort_unstable();
        let count = shortcut.len().div_ceil(ONE_IN).max(LEAST);
        let audited = shortcut.into_iter().take(count).map(|(_, id)| id).collect();
        Ok(Shortcuts { settling, audited })
    }

    /// How a trial gets its record.
    pub(super) fn way(&self, planned: &PlannedTrial) -> io::Result<Way> {
        Ok(match self.settling.known(&planned.plan)? {
            Known::Nothing => Way::Whole,
            known if self.audited.contains(&planned.id) => Way::Audit(known),
            known => Way::Known(known),
        })
    }

    /// Where a trial begins that is run, from the quiescent point on.
    pub(super) fn begin(&self, planned: &PlannedTrial) -> VirtualNs {
        let at = self.settling.begin_of(&planned.plan).filter(|_| !self.audited.contains(&planned.id));
        at.flatten().map_or(planned.plan.after, |at| VirtualNs(at.0.saturating_sub(self.settling.origin().0)))
    }
}
