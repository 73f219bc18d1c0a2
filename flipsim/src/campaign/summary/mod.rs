//! What the results of a campaign say: one type for the command line, the report and scripts.
//!
//! One pass over the results, in the order of the plan; [`crate::stats`] does the arithmetic. Rates are
//! shares in [0, 1], `failures` in a [`Rate`](crate::stats::tally::Rate) are numbers of (fault, time) pairs, times
//! are virtual nanoseconds since the flip, costs are the host's time in the unit that the name ends with.
//!
//! Invariants: **`infra` and flips that did not take are in no rate, curve or quantile**; both are counted. Nor is what
//! [waits for its batch](StratumSummary::waiting) in an unfinished campaign.
//! Outcomes of a stratum add up to `counted`, and so does every breakdown. What cannot be estimated is `None`.
//!
//! It hands out [`Summary`] with its parts, and the [`Warning`]s for its readers.

mod activation;
mod activations;
mod basis;
mod by;
mod corrected;
mod costs;
mod coverage;
mod discovery;
mod field;
mod gather;
mod grown;
mod hang;
mod idle;
mod latency;
mod missing;
mod model;
mod outlook;
mod pool;
mod reached;
#[cfg(test)]
mod tests;
mod times;
mod unchanged;
mod warning;
mod wrong;

pub use activation::{ActivationSummary, UseRow};
pub use basis::{KnownPart, Together};
pub use by::By;
pub use corrected::{CorrectedSummary, CountRow};
pub use costs::{CostPart, CostSummary};
pub use coverage::Coverage;
pub use discovery::Discovery;
pub use field::{Cells, Expected, Field, FitRow, FitTogether, MissionRow, YEAR_HOURS};
pub use hang::{HangLimit, HangLimits};
pub use latency::{TimeQuantile, TimeSummary, with_ends};
pub use missing::{Bounds, Missing};
pub(crate) use model::pattern_text;
pub use model::{
    Breakdown, BreakdownRest, BreakdownRow, Breakdowns, CompetingEnd, FORMAT, IncidenceCurve, Pooled,
    PooledRate, SpaceKind, StratumSummary, Summary, SummaryOptions, SurvivalCurve, Totals,
};
pub use outlook::{FieldPart, Outlook, PerYear};
pub use reached::ReachedSummary;
pub use unchanged::Unchanged;
pub use warning::Warning;
pub use wrong::{GradeCount, Spread, SpreadQuantile, WrongSummary};

pub use crate::trial::Class;
