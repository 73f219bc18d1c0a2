//! The share of an outcome in a space of which a part is known beforehand.
//!
//! What the golden run does with a byte says of most faults for sure what they lead to; only the *live* part of the space
//! takes trials. Of n trials that were drawn from the whole, m lie in the live part, and k of these hit: then the share of
//! hits is c + w·q, where c is the share that surely hits, w that of the live part, both exact, and k of m is what is known
//! of q. m depends on w alone, and w is known, so that m says nothing of q: with m taken as fixed, k is binomial, and an
//! interval of q keeps its confidence (poststratification with known weights: Holt and Smith, JRSS A 142, 1979; Cochran,
//! "Sampling Techniques", 3rd edition 1977, section 5A.9).
//!
//! Invariant: **an interval lies between c and c + w**, and is the plain one where nothing is known (c = 0, w = 1).

use serde::Serialize;

use super::proportion::clopper_pearson;
use crate::stats::quantity::{Confidence, Interval, Observed, SpaceSize, StatsError};

/// What is known of the share of an outcome, for sure and by trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PartlyKnown {
    /// The share of the space that surely has the outcome.
    certain: f64,
    /// The share that is only known by trials; what is left of both surely has another outcome.
    live: f64,
    /// The trials in the live part; `None` where there is none.
    seen: Option<Observed>,
    /// The faults of the whole space.
    size: Option<SpaceSize>,
}

impl PartlyKnown {
    /// Nothing is known but trials that were drawn from the whole space.
    #[must_use]
    pub fn plain(observed: Observed, size: Option<SpaceSize>) -> Self {
        PartlyKnown { certain: 0.0, live: 1.0, seen: Some(observed), size }
    }

    /// The shares that surely have the outcome and that are live, and `hits` of `trials` in the live part.
    ///
    /// # Errors
    /// These are no shares of one space, or no hits of such trials.
    pub fn new(
        [certain, live]: [f64; 2],
        [hits, trials]: [u64; 2],
        size: Option<SpaceSize>,
    ) -> Result<Self, StatsError> {
        for share in [certain, live, certain + live] {
            // Exact shares add up to 1 but for rounding.
            if !(0.0..=1.0 + 1e-9).contains(&share) {
                return Err(StatsError::Share(share.to_string()));
            }
        }
        let seen = match Observed::new(hits, trials) {
            Err(StatsError::NoTrials) if hits == 0 => None,
            observed => Some(observed?),
        };
        Ok(PartlyKnown { certain, live, seen, size })
    }

    /// The share of the space that surely has the outcome.
    #[must_use]
    pub fn certain(&self) -> f64 {
        self.certain
    }

    /// The share of the space that is only known by trials.
    #[must_use]
    pub fn live(&self) -> f64 {
        self.live
    }

    /// The trials in the live part.
    #[must_use]
    pub fn seen(&self) -> Option<Observed> {
        self.seen
    }

    /// Whether nothing is known but by trials.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.certain == 0.0 && self.live == 1.0
    }

    /// How many faults the whole space has.
    #[must_use]
    pub fn size(&self) -> Option<SpaceSize> {
        self.size
    }

    /// How many faults the live part has.
    #[must_use]
    pub fn live_size(&self) -> Option<SpaceSize> {
        if self.live == 1.0 {
            return self.size;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 0, and a cast saturates"
        )]
        self.size.map(|size| SpaceSize((size.float() * self.live).round() as u128))
    }

    /// The share of the whole, if `share` of the live part has the outcome.
    #[must_use]
    pub fn whole(&self, share: f64) -> f64 {
        (self.certain + self.live * share).min(1.0)
    }

    /// The estimate, c + w·k/m. Without a trial in the live part it is c, the least that the share can be.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.whole(self.seen.map_or(0.0, Observed::rate))
    }

    /// The interval that `of` makes of the trials in the live part and its number of faults; without such a trial all of
    /// that part.
    #[must_use]
    pub fn interval(&self, of: impl FnOnce(Observed, Option<SpaceSize>) -> Interval) -> Interval {
        let Interval { lower, upper } = match self.seen {
            Some(seen) => of(seen, self.live_size()),
            None => Interval { lower: 0.0, upper: 1.0 },
        };
        Interval { lower: self.whole(lower), upper: self.whole(upper) }
    }

    /// The upper bound of an outcome that never came and of which nothing is certain: `None` of any other.
    #[must_use]
    pub fn bound(&self, of: impl FnOnce(Observed, Option<SpaceSize>) -> f64) -> Option<f64> {
        let never = self.certain == 0.0 && self.seen.is_none_or(|seen| seen.hits() == 0);
        never.then(|| self.whole(self.seen.map_or(1.0, |seen| of(seen, self.live_size()))))
    }
}

/// Whether so many trials of all in the live part are what its share lets expect: it lies in the Clopper–Pearson interval
/// at this confidence. Of `unknown` more it is not known where they lie.
///
/// Where not, some trials were not looked up, or the shares are of another space: then only the plain interval holds.
#[must_use]
pub fn agree(live: f64, [trials, all]: [u64; 2], unknown: u64, confidence: Confidence) -> bool {
    let ends =
        |trials: u64| Observed::new(trials, all + unknown).map(|seen| clopper_pearson(seen, confidence));
    match (ends(trials), ends(trials + unknown)) {
        (Ok(least), Ok(most)) => least.lower <= live && live <= most.upper,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
