//! What the golden run's recorded accesses say of the fault space: how much of each stratum is settled without a trial, and
//! where the live bytes are.
//!
//! It is counted when a campaign is made, and kept with it: [`KnownParts`] as the attachment [`KNOWN`], [`LiveMap`] as
//! [`LIVE_MAP`], both as JSON.
//!
//! Invariant: **shares are exact**: whole numbers of (byte, moment) pairs, counted and not drawn; of (bit, moment) pairs in
//! registers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::campaign::moments::{Moments, Run};
use crate::campaign::shortcuts::ONE_IN;
use crate::campaign::spec::{CampaignSpec, StratumSpec};
use crate::campaign::store::{Store, StoreError};
use crate::fault::FaultSpace;
use crate::memory::PhysRange;
use crate::trial::accesses::{Accesses, PAGE, Shares};
use crate::trial::golden::Golden;
use crate::units::{GuestPhys, VirtualNs};

/// The name of the attachment with the [`KnownParts`].
pub const KNOWN: &str = "known";

/// The name of the attachment with the [`LiveMap`].
pub const LIVE_MAP: &str = "live-map";

/// The version of both.
pub const KNOWN_FORMAT: u32 = 1;

/// How much of each stratum is known without a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownParts {
    /// [`KNOWN_FORMAT`].
    pub format: u32,
    /// What was recorded, and at which price.
    pub recording: Recording,
    /// By the names of the strata; `None` of one of which nothing is known.
    pub strata: BTreeMap<String, Option<Known>>,
}

/// The pass of the golden run that recorded the accesses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Into how many intervals of virtual time it is divided.
    pub intervals: u64,
    /// How long each is, in nanoseconds; the last may be shorter.
    pub interval_ns: u64,
    /// How many first accesses were recorded.
    pub events: u64,
    /// How many bytes of disk they take.
    pub bytes: u64,
    /// How long the pass took, in seconds of the host's clock.
    pub seconds: f64,
}

/// A fault space by what the golden run does next with the byte: numbers of (byte, moment) pairs, which add up to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// It never accesses it again.
    pub never: u128,
    /// It overwrites it first.
    pub overwritten: u128,
    /// It reads it first, or that is not known.
    pub live: u128,
}

/// Cells of the map are so large that there are no more.
const CELLS: usize = 2_000;

impl KnownParts {
    /// Of the strata of a specification with their spaces, and the map of their live bytes, over the whole run.
    #[must_use]
    pub fn of(
        spec: &CampaignSpec,
        spaces: &[FaultSpace],
        golden: &Golden,
        accesses: &Accesses,
        recording: Recording,
    ) -> (KnownParts, LiveMap) {
        let run = Run::from(golden);
        let begin = golden.begin().0;
        let on_the_clock =
            |(from, to): (VirtualNs, VirtualNs)| (VirtualNs(begin + from.0), VirtualNs(begin + to.0));
        let known = |stratum: &StratumSpec, space: &FaultSpace| {
            // A block of code begins there, and what it accesses has the time of its begin: the fault's own.
            let when = spec.when_of(stratum);
            if when.trigger().is_some() || !spec.count_of(stratum).is_one() || !spec.ecc_of(stratum).is_none()
            {
                return None;
            }
            let moments = Moments::new(&spec.times, &when, &run).ok()?;
            let times: Vec<_> = moments.stretches().into_iter().map(on_the_clock).collect();
            let shares = match space {
                FaultSpace::Ram(space) => vec![(accesses.shares_within(&space.single_bytes()?, &times), 1)],
                FaultSpace::Reg(space) => space
                    .by_register()
                    .map(|(name, faults)| (accesses.register_shares(name, &times), u128::from(faults)))
                    .collect(),
                // What another operation leaves as it is follows from values, too, and these are not in it.
                FaultSpace::Under { .. } | FaultSpace::Clustered { .. } | FaultSpace::Paired(_) => {
                    return None;
                }
            };
            let sum =
                |of: fn(&Shares) -> u128| shares.iter().map(|(shares, faults)| of(shares) * faults).sum();
            let never = sum(|shares| shares.never);
            let overwritten = sum(|shares| shares.overwritten);
            Some(Known { never, overwritten, live: sum(|shares| shares.live) })
        };
        let strata = spec.strata.iter().zip(spaces);
        let strata = strata.map(|(stratum, space)| (stratum.name.clone(), known(stratum, space))).collect();
        let ram: Vec<PhysRange> = accesses.blocks().parts().iter().map(|part| part.range).collect();
        let pages = accesses.live_by_page(&ram, &[(golden.begin(), golden.end())]);
        let format = KNOWN_FORMAT;
        let cells = cells(&pages, u128::from(golden.end().0 - begin));
        (KnownParts { format, recording, strata }, LiveMap { format, cells })
    }
}

/// Cells of some pages each.
#[expect(clippy::cast_precision_loss, reason = "a share for a picture")]
fn cells(pages: &[(GuestPhys, u128)], length: u128) -> Vec<LiveCell> {
    let page = PAGE as u64;
    let bytes = page * (pages.len().div_ceil(CELLS).next_power_of_two() as u64);
    let mut cells: Vec<LiveCell> = Vec::new();
    for (address, live) in pages {
        let from = address.0 - address.0 % bytes;
        let share = *live as f64 / (length * u128::from(bytes)) as f64;
        match cells.last_mut() {
            Some(last) if last.from == from => last.live += share,
            _ => cells.push(LiveCell { from, bytes, live: share }),
        }
    }
    cells
}

impl Known {
    /// The shares of [`Known::never`], [`Known::overwritten`] and [`Known::live`]; `None` of a space without a fault.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "16 digits are more than a rate has")]
    pub fn shares(&self) -> Option<[f64; 3]> {
        let Known { never, overwritten, live } = *self;
        let all = never.checked_add(overwritten)?.checked_add(live)?;
        (all > 0).then(|| [never, overwritten, live].map(|part| part as f64 / all as f64))
    }
}

impl KnownParts {
    /// The share of a stratum's trials that are run: in the live part, or to check the others.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn run_share(&self, stratum: &str) -> f64 {
        let shares = self.strata.get(stratum).and_then(|known| known.as_ref()?.shares());
        shares.map_or(1.0, |[_, _, live]| (live + 1.0 / ONE_IN as f64).min(1.0))
    }
}

/// How much of the time bytes are live, by their address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveMap {
    /// [`KNOWN_FORMAT`].
    pub format: u32,
    /// Cells of a page or more, from the lowest address on; what lies in none has no live byte.
    pub cells: Vec<LiveCell>,
}

/// Some bytes one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveCell {
    /// The physical address of the first.
    pub from: u64,
    /// How many.
    pub bytes: u64,
    /// The live share of its (byte, moment) pairs.
    pub live: f64,
}

impl Store {
    /// How much of each stratum is known without a trial; `None` where nothing was recorded, or by another version of the
    /// lab.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn known_parts(&self) -> Result<Option<KnownParts>, StoreError> {
        let json = self.attachment(KNOWN)?;
        let found: Option<KnownParts> = json.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(found.filter(|found| found.format == KNOWN_FORMAT))
    }

    /// Where the live bytes are; empty where that is not known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn live_cells(&self) -> Result<Vec<LiveCell>, StoreError> {
        let json = self.attachment(LIVE_MAP)?;
        let found: Option<LiveMap> = json.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(found.filter(|found| found.format == KNOWN_FORMAT).map_or_else(Vec::new, |found| found.cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_back_as_they_are_and_give_the_shares() {
        // 64 GiB over an hour: more than 64 bits hold.
        let all = (64u128 << 30) * 3_600_000_000_000;
        let known = Known { never: all / 2, overwritten: all / 4, live: all - all / 2 - all / 4 };
        let recording =
            Recording { intervals: 370, interval_ns: 1_000_000, events: 9, bytes: 7, seconds: 2.1 };
        let strata = [("ram".to_owned(), Some(known)), ("core".to_owned(), None)].into();
        let parts = KnownParts { format: KNOWN_FORMAT, recording, strata };
        let json = serde_json::to_vec(&parts).unwrap();
        assert_eq!(serde_json::from_slice::<KnownParts>(&json).unwrap(), parts);
        assert_eq!(known.shares(), Some([0.5, 0.25, 0.25]));
        assert_eq!(["ram", "core", "other"].map(|stratum| parts.run_share(stratum)), [0.26, 1.0, 1.0]);
        assert_eq!(Known { never: 0, overwritten: 0, live: 0 }.shares(), None);
    }
}
