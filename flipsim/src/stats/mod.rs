//! What a campaign's counts say: rates with intervals, extrapolated counts, survival, FIT.
//!
//! Pure functions. [`proportion`] is one rate, [`finite`] one in a space that was nearly drawn out, [`known`] one
//! in a space of which a part is known beforehand, [`simultaneous`] those of
//! several outcomes at once, [`strata`] several weighted over the fault space, [`clusters`] the mean of several golden runs,
//! [`sample`] and [`power`] how many trials it takes, [`compare`], [`score`], [`paired`] and [`equivalence`] two campaigns beside each other, [`gate`] whether the second is worse, [`multiple`] many tests at
//! once, [`tally`] the counts of a report, [`anytime`] rates of campaigns that grow, [`allocation`] trials shared by a pilot's
//! results, [`survival`], [`incidence`], [`quantile`] and [`turnbull`] the times after a flip, [`upsets`], [`fit`],
//! [`flux`], [`raw`] and [`mission`] what a rate means in the field. `docs/statistics.md` says which to use when, and from which paper each is.
//!
//! Invariant: **what cannot be estimated is an error or `None`, never a NaN and never a guess**; an
//! interval contains its estimate.

pub mod allocation;
pub mod anytime;
pub mod clusters;
pub mod compare;
pub mod equivalence;
pub mod finite;
pub mod fit;
pub mod flux;
pub mod gate;
pub mod incidence;
pub mod known;
pub mod mission;
pub mod multiple;
pub mod paired;
pub mod power;
pub mod proportion;
pub mod quantile;
mod quantity;
pub mod raw;
pub mod sample;
pub mod score;
pub mod simultaneous;
mod special;
pub mod strata;
pub mod survival;
pub mod tally;
pub mod turnbull;
pub mod upsets;

pub use quantity::{Confidence, Estimate, Interval, Observed, Share, SpaceSize, StatsError};
