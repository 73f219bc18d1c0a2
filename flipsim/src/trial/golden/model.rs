//! A golden run as it is kept with a campaign: its checkpoints, its console, and where its repetitions differed.
//!
//! Invariant: the keys stay within a [`FORMAT`]; a campaign keeps its golden run for as long as it lives.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::console::signals::Signals;
use crate::target::{Capabilities, SILENCE, StateDigest};
use crate::trial::golden::idle::Idle;
use crate::trial::golden::looks::Looks;
use crate::units::VirtualNs;

/// The version of a stored golden run. Up to version 2 it has no `idle` and no `done`, up to version 3 no `looks`; all
/// are still read.
pub const FORMAT: u32 = 4;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// Until the workload says that it is done.
    Done,
    /// So long from the quiescent point on.
    Time(VirtualNs),
}

/// The state of the golden run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// On the virtual clock.
    pub at: VirtualNs,
    /// RAM, devices, disks; nothing where QEMU cannot report them.
    pub state: Option<StateDigest>,
    /// How many bytes the console had said.
    pub console: usize,
}

impl Checkpoint {
    pub(super) fn is_same(&self, other: &Checkpoint) -> bool {
        let same = match (&self.state, &other.state) {
            (Some(one), Some(other)) => one.is_same(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.at == other.at && self.console == other.console && same
    }
}

/// A look of a trial at its guest.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Where it is made.
    pub checkpoint: &'a Checkpoint,
    /// What is seen there is recorded of this one: the same, or the next at which a trial looks that was begun at its
    /// flip. A state that is equal stays so.
    pub recorded: &'a Checkpoint,
}

/// What a golden run is to be.
#[derive(Clone, Copy, Debug)]
pub struct GoldenOptions {
    /// How long it is.
    pub window: Window,
    /// The time between two checkpoints, of which a trial looks at each. Without, they lie on a fine grid, of which it
    /// looks at some.
    pub spacing: Option<VirtualNs>,
    /// How long a workload may take until it is done, on the virtual clock.
    pub limit: VirtualNs,
    /// How long it may idle and say nothing meanwhile, on the exact clock.
    pub silence: VirtualNs,
    /// How long one stretch between two checkpoints may take on the host's clock.
    pub wall: Duration,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl Default for GoldenOptions {
    fn default() -> Self {
        GoldenOptions {
            window: Window::Done,
            spacing: None,
            limit: VirtualNs(600_000_000_000),
            silence: SILENCE,
            wall: Duration::from_secs(60),
            interrupted: || false,
        }
    }
}

/// How far the measuring of a golden run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoldenProgress {
    /// The run, from 1.
    pub run: u32,
    /// Of so many.
    pub runs: u32,
    /// How far in it, on the virtual clock.
    pub passed: VirtualNs,
    /// Of how much, where that is known before the run is over.
    pub length: Option<VirtualNs>,
}

impl GoldenProgress {
    /// How long all of it will take, by how long it took so far, which includes what else is done at the start;
    /// `None` where the length is not known, or nothing has passed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn estimate(&self, taken: Duration) -> Option<Duration> {
        let length = self.length?.0 as f64;
        let passed = self.passed.0 as f64 + f64::from(self.run.saturating_sub(1)) * length;
        let whole = taken.as_secs_f64() * length * f64::from(self.runs) / passed;
        // Nothing has passed, or it would never end.
        (passed > 0.0 && whole < 1e12).then(|| Duration::from_secs_f64(whole))
    }
}

/// What a guest does without a fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The version of this.
    pub format: u32,
    /// The key of the template.
    pub template: String,
    /// How long it was to be.
    pub window: Window,
    /// The time between two checkpoints.
    pub spacing: VirtualNs,
    /// Which of them a trial looks at; at each without, as in golden runs of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<Looks>,
    /// At the quiescent point, in detail.
    pub start: Checkpoint,
    /// In order; the last is the end, in detail.
    pub checkpoints: Vec<Checkpoint>,
    /// All that the console said.
    #[serde(with = "crate::text::hex_bytes")]
    pub console: Vec<u8>,
    /// The registers at the end, with their values in hex.
    pub registers: Vec<(String, String)>,
    /// The first difference between the runs, if they were not equal, or why that is not known.
    pub difference: Option<String>,
    /// The first pages that differed there, by their offset in RAM, for callers that can name them.
    #[serde(default)]
    pub pages_apart: Vec<u64>,
    /// What the QEMU that it was measured with can do.
    #[serde(rename = "abilities", default, skip_serializing_if = "Capabilities::is_default")]
    pub capabilities: Capabilities,
    /// How the guest speaks.
    #[serde(default, skip_serializing_if = "Signals::are_the_labs")]
    pub signals: Signals,
    /// When the guest idled; nothing where QEMU cannot say, and in golden runs of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// When the line was complete that says that the workload is done, where that is known to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<VirtualNs>,
    /// The instants of the triggers that a campaign asks for, by their texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, Vec<VirtualNs>>,
    /// How long the emulation took, from the quiescent point to the end, in seconds.
    pub run_seconds: f64,
    /// How long one comparison took, in seconds.
    pub compare_seconds: f64,
}

impl Golden {
    /// The virtual time of the quiescent point.
    #[must_use]
    pub fn begin(&self) -> VirtualNs {
        self.start.at
    }

    /// The virtual time of the end.
    #[must_use]
    pub fn end(&self) -> VirtualNs {
        self.checkpoints.last().map_or(self.start.at, |last| last.at)
    }

    /// How far apart the looks at a guest are at most that is not done at the end: it was the spacing, where that was
    /// longer than 50 ms, up to records of version 2.
    #[must_use]
    pub fn late_step(&self) -> VirtualNs {
        VirtualNs(self.spacing.0.max(50_000_000))
    }

    /// When a trial looks at its guest: after its flip, by which these are chosen. One that was begun later looks at
    /// more than the golden run asks for, in steps that grow from there.
    #[must_use]
    pub fn looks(&self, flip: VirtualNs, begun: Option<VirtualNs>) -> Vec<Look<'_>> {
        let all = &self.checkpoints;
        let Some(looks) = &self.looks else {
            let from = all.partition_point(|checkpoint| checkpoint.at <= begun.unwrap_or(flip));
            return all[from..].iter().map(|one| Look { checkpoint: one, recorded: one }).collect();
        };
        let places = |from| looks.places(all, |checkpoint| checkpoint.at, from);
        let begun = begun.filter(|begun| *begun > flip);
        let more: Vec<usize> = begun.into_iter().flat_map(places).collect();
        let mut more = more.into_iter().peekable();
        let mut found = Vec::new();
        for place in places(flip).filter(|place| begun.is_none_or(|begun| all[*place].at > begun)) {
            while let Some(earlier) = more.next_if(|more| *more <= place) {
                if earlier < place {
                    found.push(Look { checkpoint: &all[earlier], recorded: &all[place] });
                }
            }
            found.push(Look { checkpoint: &all[place], recorded: &all[place] });
        }
        found
    }

    /// How many looks a trial makes at most.
    #[must_use]
    pub fn most_looks(&self) -> usize {
        self.looks(self.begin(), None).len()
    }

    /// Whether states can be compared with it, or output only.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.difference.is_none()
    }

    /// How long the workload may take: so many times the length of this run.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a factor of a few; a cast saturates"
    )]
    pub fn limit(&self, factor: f64) -> VirtualNs {
        VirtualNs(((self.end().0 - self.begin().0) as f64 * factor.max(1.0)) as u64)
    }

    /// What the console had said at a checkpoint.
    #[must_use]
    pub fn console_at(&self, checkpoint: &Checkpoint) -> &[u8] {
        &self.console[..checkpoint.console.min(self.console.len())]
    }
}
