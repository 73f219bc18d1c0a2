//! What a campaign's counts say: rates with intervals, extrapolated counts, survival, FIT.
//!
//! Pure functions. [`proportion`] is one rate, [`strata`] several weighted over the fault space,
//! [`sample`] and [`power`] how many trials it takes, [`compare`], [`score`] and [`paired`] and [`equivalence`] two campaigns beside each
//! other, [`multiple`] many tests at once, [`tally`] the counts of a report, [`survival`] and [`quantile`] the times after a flip, [`fit`] and [`mission`] what a rate
//! means in the field. `docs/statistics.md` says which to use when, and from which paper each is.
//!
//! Invariant: **what cannot be estimated is an error or `None`, never a NaN and never a guess**; an
//! interval contains its estimate.

pub mod compare;
pub mod equivalence;
pub mod fit;
pub mod mission;
pub mod multiple;
pub mod paired;
pub mod power;
pub mod proportion;
pub mod quantile;
mod quantity;
pub mod sample;
pub mod score;
mod special;
pub mod strata;
pub mod survival;
pub mod tally;

pub use quantity::{Confidence, Estimate, Interval, Observed, Share, SpaceSize, StatsError};
