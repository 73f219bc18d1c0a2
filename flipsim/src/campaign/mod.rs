//! Campaigns: many trials, drawn beforehand, run in any order on any machine, and kept.
//!
//! ```text
//! TOML or flags ─→ spec ─→ plan (every fault explicit) ─→ store ─→ pending trials ─→ run ─→ records ─→ summary
//! ```
//!
//! [`spec`] says what a campaign is to be, [`size`] how many trials a wanted precision takes, [`plan`]
//! draws every one of them from the seed, [`store`] keeps plan and results in one SQLite file, and
//! joins the parts that several machines ran. [`run`] gives the pending trials to workers, [`manifest`] says what
//! the campaign was made from, and [`summary`] what its results say.
//!
//! Invariants: **the plan is in the store before the first trial**, and depends on nothing but the
//! specification, the fault spaces, and the length and the idle times of the golden run. **What was recorded is never
//! recorded again, and never lost by a killed process.**

mod at;
mod batches;
mod contradictions;
mod controls;
mod corrected;
mod failure;
mod grade;
mod idle;
mod known;
pub mod manifest;
mod mapping;
mod mission;
mod moments;
mod part;
mod permutation;
mod pilot;
pub mod plan;
mod queue;
pub mod run;
mod shard;
mod shortcuts;
pub mod size;
mod spaces;
pub mod spec;
pub mod store;
pub mod summary;
mod templates;
mod text;
mod toml;
mod ways;
mod when;
mod words;

pub use batches::Batches;
pub use corrected::is_corrected;
pub use grade::{Grade, grade_of};
pub use idle::{IdleTime, LIMIT as IDLE_LIMIT};
pub use known::{KNOWN, KNOWN_FORMAT, Known, KnownParts, LIVE_MAP, LiveCell, LiveMap, Recording};
pub use manifest::Manifest;
pub use mission::{MissionCells, MissionFile, MissionFileError};
pub use moments::{Moments, MomentsError, Run};
pub use pilot::{PilotError, PilotRow, PilotShares};
pub use plan::{Plan, PlannedTrial, TrialId};
pub use queue::TimeLimit;
pub use shard::{Part, Shard, ShardError};
pub use shortcuts::Shortcuts;
pub use spaces::{StratumError, leading_class, per_symbol, spaces};
pub use spec::CampaignSpec;
pub use store::{Stage, Store, StoreError};
pub use summary::Summary;
pub use toml::{RawSpec, SpecFlags, remedy};
pub use ways::{Audit, Way, Ways};
pub use when::{When, WhenError};
pub use words::Words;
