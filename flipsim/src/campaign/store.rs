//! The store: plan, results and manifest of one campaign in one SQLite file.
//!
//! Invariants: **a file with the campaign's name holds the whole plan**, or is not there. **A trial has one
//! result at most**, and what [`Store::record`] returned from is there after a SIGKILL.
use std::collections::BTreeMap;
use std::path::Path;
use serde::{Deserialize, Serialize};
use super::plan::{Plan, PlannedTrial, Stratum, TrialId};
use super::spec::CampaignSpec;
use crate::trial::{Outcome, TrialRecord};

/// What a campaign was made of and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// When it was made, UTC.
    pub created: jiff::Timestamp,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub host: BTreeMap<String, String>,
    /// Versions, by what they are of.
    pub versions: BTreeMap<String, String>,
    /// The key of the template.
    pub template: String,
    /// [`golden_digest`].
    pub golden: String,
    /// The digests of the files, by what they are for: `qemu`, `patches`, `kernel`, `image`.
    pub inputs: BTreeMap<String, String>,
}

/// Why a store will not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {}

/// A fixed part of a plan, `I/N` with I from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub index: u64,
    /// How many parts.
    pub count: u64,
}

impl Shard {
    /// The whole plan.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };
}

/// What came of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The trial has its result.
    Done,
    /// It was lost by us, and may be begun so many times more.
    Again(u32),
    /// It was lost by us too often, and is `infra` now.
    GivenUp,
}

/// A result, without console and state; [`Store::record_of`] has them.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    /// Trial and fault.
    pub trial: PlannedTrial,
    /// `None` for a flip that did not take.
    pub outcome: Option<Outcome>,
    /// See [`TrialRecord`]; absent for a trial that was given up.
    pub region: Option<String>,
    /// See [`TrialRecord`].
    pub symbol: Option<String>,
    /// See [`TrialRecord`].
    pub flip_ns: Option<u64>,
    /// See [`TrialRecord`].
    pub end_ns: Option<u64>,
    /// See [`TrialRecord`].
    pub converged_ns: Option<u64>,
    /// See [`TrialRecord`].
    pub detected_ns: Option<u64>,
    /// See [`TrialRecord`].
    pub console_differs_ns: Option<u64>,
    /// See [`TrialRecord`].
    pub kind: Option<String>,
    /// See [`TrialRecord`].
    pub title: Option<String>,
    /// How often it was begun.
    pub attempts: u32,
    /// Microseconds of the host's clock.
    pub total_us: Option<u64>,
}

/// Counts of a stratum, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// By outcome, `infra` among them.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Flips that did not take.
    pub not_flipped: u64,
    /// Trials without a result.
    pub pending: u64,
}

/// A campaign's file.
#[derive(Debug)]
pub struct Store {}

/* The API to come; the bodies follow.
impl Store {
    // complete or not there; stays open for work
    pub fn create(path: &Path, manifest: &Manifest, spec: &CampaignSpec, plan: &Plan, attachments: &[(&str, &[u8])]) -> Result<Store, StoreError>;
    pub fn open(path: &Path) -> Result<Store, StoreError>;            // one at a time (lock), migrates
    pub fn open_readonly(path: &Path) -> Result<Store, StoreError>;   // any number, while another works on it
    pub fn manifest(&self) -> &Manifest; pub fn spec(&self) -> &CampaignSpec; pub fn strata(&self) -> &[Stratum];
    pub fn plan_digest(&self) -> &str; pub fn len(&self) -> u64;
    pub fn check_unchanged(&self, now: &Manifest) -> Result<(), StoreError>;   // lists what changed
    pub fn attachment(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;  // e.g. the golden run
    pub fn pending(&self, shard: Shard) -> Result<Vec<TrialId>, StoreError>;   // by time, then number
    pub fn planned(&self, id: TrialId) -> Result<PlannedTrial, StoreError>;
    pub fn record(&mut self, id: TrialId, record: &TrialRecord) -> Result<Recorded, StoreError>;
    pub fn fail(&mut self, id: TrialId, error: &str) -> Result<Recorded, StoreError>;  // infra: retried, then given up
    pub fn record_of(&self, id: TrialId) -> Result<Option<TrialRecord>, StoreError>;   // with console
    pub fn results(&self) -> Results<'_>;                             // Iterator<Item = Result<ResultRow, StoreError>>
    pub fn summary(&self) -> Result<Vec<Counts>, StoreError>;         // by stratum
    pub fn status(&self) -> Result<Status, StoreError>;               // Serialize, for --json
    pub fn merge(&mut self, from: &[PathBuf]) -> Result<Merged, StoreError>;
    pub fn copy(&self, to: &Path) -> Result<(), StoreError>;
}
pub fn golden_digest(golden: &Golden) -> String;
*/
