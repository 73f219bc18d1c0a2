//! What the results of a campaign say: one type for the command line, the report and scripts.
//!
//! One pass over the results, in the order of the plan; [`crate::stats`] does the arithmetic. Rates are
//! shares in [0, 1], `failures` in a [`Rate`](crate::stats::tally::Rate) are numbers of (fault, time) pairs, times
//! are virtual nanoseconds since the flip, costs are the host's time in the unit that the name ends with.
//!
//! Invariants: **`infra` and flips that did not take are in no rate, curve or quantile**; both are counted.
//! Outcomes add up to `counted`, and so does every breakdown. What cannot be estimated is `None`.
//!
//! It hands out [`Summary`] with its parts, and the [`Warning`]s for its readers.

mod costs;
mod discovery;
mod field;
mod gather;
mod model;
mod pool;
#[cfg(test)]
mod tests;
mod warning;

pub use costs::{CostPart, CostSummary};
pub use discovery::Discovery;
pub use field::{FitRow, MissionRow};
pub use model::{
    Breakdown, BreakdownRest, BreakdownRow, Breakdowns, By, FORMAT, Pooled, PooledRate, SpaceKind,
    StratumSummary, Summary, SummaryOptions, SurvivalCurve, TimeQuantile, TimeSummary, Totals,
};
pub use warning::Warning;

pub use crate::trial::Class;
