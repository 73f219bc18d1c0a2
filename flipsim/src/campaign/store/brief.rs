//! What counting takes from a record, without reading all of it.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::Deserialize;

use crate::campaign::store::row::RECORD;
use crate::campaign::ways::Way;
use crate::console::signals::Reached;
use crate::trial::{Costs, FirstUse, Heard, Outcome, Settled, Struck};

/// A part of a record.
#[derive(Deserialize)]
pub(super) struct Brief {
    pub(super) costs: Costs,
    old: String,
    new: String,
    #[serde(default)]
    more: Vec<Struck>,
    #[serde(default)]
    pub(super) heard: Heard,
    pub(super) done_ns: Option<u64>,
    settled: Option<Settled>,
    begun_ns: Option<u64>,
    cut_ns: Option<u64>,
    #[serde(default)]
    audited: bool,
    #[serde(default)]
    looked_up: bool,
    #[serde(default)]
    control: bool,
    pub(super) first_use: Option<FirstUse>,
    pub(super) reached: Option<Reached>,
    #[serde(default)]
    reports: Vec<BriefReport>,
    #[serde(default)]
    pub(super) counts: BTreeMap<String, u64>,
}

/// A part of a report.
#[derive(Deserialize)]
struct BriefReport {
    subsystem: Option<String>,
}

impl Brief {
    /// Of a row of the columns [`RESULT`](super::row::RESULT); `None` where a trial was given up.
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Option<Brief>> {
        let ValueRef::Text(text) = row.get_ref(RECORD)? else { return Ok(None) };
        let brief = serde_json::from_slice(text);
        brief.map(Some).map_err(|cause| unreadable(RECORD, format!("the record is not understood: {cause}")))
    }

    /// Of which part of the kernel the function is that its first report names.
    pub(super) fn subsystem(&self) -> Option<String> {
        self.reports.first()?.subsystem.clone()
    }

    /// How many reports are listed.
    pub(super) fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Whether one of its faults changed anything.
    pub(super) fn changed(&self) -> bool {
        self.old != self.new || self.more.iter().any(|struck| struck.old != struck.new)
    }

    /// How much of the trial was run, which had this outcome.
    pub(super) fn way(&self, outcome: Option<Outcome>) -> Way {
        let Brief { settled, begun_ns, cut_ns, audited, looked_up, control, .. } = *self;
        let decided = matches!(outcome, Some(Outcome::EccCorrected | Outcome::EccDetected));
        Way { settled, begun_ns, cut_ns, decided, audited, looked_up, control }
    }
}

pub(super) fn unreadable(index: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, what.into())
}

/// The outcome in a column.
pub(super) fn outcome(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Outcome>> {
    let Some(name) = row.get::<_, Option<String>>(index)? else { return Ok(None) };
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
    known.map(Some).ok_or_else(|| unreadable(index, format!("there is no outcome `{name}`")))
}
