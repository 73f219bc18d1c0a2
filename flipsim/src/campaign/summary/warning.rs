//! What a reader of a summary must know.
//!
//! Invariant: a warning says what is wrong with the numbers, and what helps.

use std::fmt;

use serde::Serialize;
use serde::ser::SerializeStruct;

/// Something that limits what the numbers say. As JSON `{"kind": …, "text": …}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// Not all trials were run.
    Unfinished {
        /// How many are pending.
        pending: u64,
        /// Of how many.
        planned: u64,
    },
    /// A stratum has no trial that counts.
    NoTrials {
        /// Its name.
        stratum: String,
    },
    /// The interval of a rate can be wider than ±1 %.
    TooFew {
        /// The stratum.
        stratum: String,
        /// Its trials.
        counted: u64,
        /// Their margin, as a share.
        margin: f64,
        /// How many trials of it a margin of 1 % takes.
        needed: u64,
    },
    /// Trials were given up.
    Infra {
        /// How many.
        infra: u64,
        /// Of how many.
        done: u64,
    },
    /// Flips did not take.
    NotFlipped {
        /// How many.
        not_flipped: u64,
        /// Of how many.
        done: u64,
    },
    /// Golden runs differed.
    OutputOnly {
        /// How many trials are judged by their output alone.
        trials: u64,
        /// The first difference between the runs, where it is known.
        difference: Option<String>,
    },
    /// Flips were not at their planned times.
    ApproximateTiming,
    /// It was looked at, and went on.
    Grown {
        /// Its stages, in words.
        stages: String,
    },
    /// Strata of one kind have no rate together.
    NotPooled {
        /// Their names.
        strata: Vec<String>,
        /// Why.
        why: String,
    },
}

impl Warning {
    /// One word for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Warning::Unfinished { .. } => "unfinished",
            Warning::NoTrials { .. } => "no-trials",
            Warning::TooFew { .. } => "too-few",
            Warning::Infra { .. } => "infra",
            Warning::NotFlipped { .. } => "not-flipped",
            Warning::OutputOnly { .. } => "output-only",
            Warning::ApproximateTiming => "approximate-timing",
            Warning::Grown { .. } => "grown",
            Warning::NotPooled { .. } => "not-pooled",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unfinished { pending, planned } => write!(
                f,
                "{pending} of {planned} trials are pending; of every 1,000 of the plan those with the earliest \
                 faults come first, so that rates lean to these until the last are done: `campaign run` runs the \
                 rest"
            ),
            Warning::NoTrials { stratum } => {
                write!(
                    f,
                    "stratum {stratum} has no trial that counts, and so no rate: `campaign run` runs them; where \
                     it has, column `error` of `report --csv` says why none counts"
                )
            }
            Warning::TooFew { stratum, counted, margin, needed } => write!(
                f,
                "stratum {stratum}: {counted} trials know a rate to within ±{:.1} % at worst; ±1 % takes {needed}: \
                 `campaign new --margin 1% --sharing equal` draws so many for each stratum",
                margin * 100.0
            ),
            Warning::Infra { infra, done } => write!(
                f,
                "{infra} of {done} trials were given up and are in no rate; why is in column `error` of `report --csv`: \
                 mend that, and where they are many make the campaign again from its seed"
            ),
            Warning::NotFlipped { not_flipped, done } => write!(
                f,
                "{not_flipped} of {done} flips did not take and are in no rate; why is in column `error` of \
                 `report --csv`: leave such places out of the targets (`inject list` shows what takes a flip)"
            ),
            Warning::OutputOnly { trials, difference } => {
                let why = difference.as_deref().unwrap_or("golden runs differ");
                write!(
                    f,
                    "{trials} trials are judged by their output alone, and a latent one is called masked: {why}; \
                     mend that (`bench determinism` says whether it is, docs/troubleshooting.md what it is as a \
                     rule), and make the campaign again"
                )
            }
            Warning::ApproximateTiming => write!(
                f,
                "times are approximate: flips were not at exactly those that were planned, and no trial can be \
                 repeated; `setup qemu --reset` builds a QEMU that has the exact clock: make the campaign again with it"
            ),
            Warning::Grown { stages } => write!(
                f,
                "{stages}; intervals of rates are valid at any look, and wider than those of a campaign of fixed size; \
                 times, survival, ratios and p values are of a fixed size: take them from a campaign that did not grow"
            ),
            Warning::NotPooled { strata, why } => {
                write!(f, "no rate over {} together: {why}", strata.join(", "))
            }
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Warning", 2)?;
        object.serialize_field("kind", self.kind())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}
