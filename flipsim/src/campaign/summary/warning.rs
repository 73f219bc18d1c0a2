//! What a reader of a summary must know.
//!
//! Invariant: a warning says what is wrong with the numbers, and what helps.

use std::fmt;

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::campaign::idle::{IdleTime, percent};

/// Something that limits what the numbers say. As JSON `{"kind": …, "text": …}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// Not all trials were run.
    Unfinished {
        /// How many are pending.
        pending: u64,
        /// Of how many.
        planned: u64,
        /// How many have a result and wait for the rest of their batch.
        waiting: u64,
        /// Whether some batch is whole, so that there are rates.
        rates: bool,
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
        /// Half the width of the interval of the rate of failures, as a share of that rate; `None` without a failure.
        relative: Option<f64>,
        /// Whether a part of it is known without a trial, so that fewer trials do than `--margin` would draw.
        known: bool,
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
    /// Faults struck a guest that idles, among others.
    Idle {
        /// The strata whose faults strike at any time.
        strata: Vec<String>,
        /// How much of that time is idle.
        idle: Box<IdleTime>,
        /// Of the trials that count: failures and trials at idle moments, and the same at all others.
        failed: [(u64, u64); 2],
    },
    /// It was looked at, and went on.
    Grown {
        /// Its stages, in words.
        stages: String,
    },
    /// Trials of a stratum were not looked up, or what is known is of another space.
    NotLookedUp {
        /// Its name.
        stratum: String,
        /// Counted trials that were not settled.
        live: u64,
        /// All that count.
        counted: u64,
        /// The share of the space that is live.
        share: f64,
    },
    /// Most hangs of a stratum are a program that died, and the guest went on without it.
    ProgramDied {
        /// The stratum.
        stratum: String,
        /// How many are.
        died: u64,
        /// Of how many hangs.
        hangs: u64,
        /// What most of the reports are called.
        title: String,
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
            Warning::Idle { .. } => "idle",
            Warning::Grown { .. } => "grown",
            Warning::NotLookedUp { .. } => "not-looked-up",
            Warning::ProgramDied { .. } => "program-died",
            Warning::NotPooled { .. } => "not-pooled",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unfinished { pending, planned, waiting, rates } => {
                write!(f, "{pending} of {planned} trials are pending: `campaign run` runs the rest")?;
                match (rates, waiting) {
                    (true, 0) => Ok(()),
                    (true, _) => write!(
                        f,
                        "; {waiting} that are done are in no rate yet, as they are the earliest faults of their batch: \
                         they count when it is done"
                    ),
                    (false, 0) => write!(f, "; no rate is known yet"),
                    (false, _) => write!(
                        f,
                        "; no rate is known yet, as the {waiting} that are done are the earliest faults of their batch: \
                         they count when it is done"
                    ),
                }
            }
            Warning::NoTrials { stratum } => {
                write!(
                    f,
                    "stratum {stratum} has no trial that counts, and so no rate: `campaign run` runs them; where \
                     it has, column `error` of `report --csv` says why none counts"
                )
            }
            Warning::TooFew { stratum, counted, margin, needed, relative, known } => {
                write!(
                    f,
                    "stratum {stratum}: {counted} trials know a rate to within ±{:.1} % at worst",
                    margin * 100.0
                )?;
                match relative {
                    Some(relative) => {
                        write!(f, ", that of failures to within ±{:.0} % of itself", relative * 100.0)?
                    }
                    None => write!(f, ", and met no failure")?,
                }
                let draw = match known {
                    true => "`campaign grow` draws more",
                    false => "`campaign new --margin 1% --sharing equal` draws so many for each stratum",
                };
                write!(f, "; ±1 % takes {needed}: {draw}, `--relative` those for a share of a rare rate")
            }
            Warning::Infra { infra, done } => write!(
                f,
                "{infra} of {done} trials were given up and are in no rate; which they are is no chance, so that a rate is \
                 only known to lie within its bounds (`with missing`); why is in column `error` of `report --csv`: \
                 mend that, and where they are many make the campaign again from its seed"
            ),
            Warning::NotFlipped { not_flipped, done } => write!(
                f,
                "{not_flipped} of {done} flips did not take and are in no rate, but in the bounds (`with missing`); why is \
                 in column `error` of `report --csv`: leave such places out of the targets (`inject list` shows what takes a flip)"
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
            Warning::Idle { strata, idle, failed: [there, elsewhere] } => {
                write!(
                    f,
                    "the faults of {} strike at any time, and at {} of it the guest idles ({} of {} moments; {}): there a \
                     fault strikes a CPU that waits, and no instruction",
                    strata.join(", "),
                    percent(idle.share_of_moments),
                    idle.idle_moments,
                    idle.moments,
                    idle.place()
                )?;
                if there.1 + elsewhere.1 > 0 {
                    let ((failed, of), (others, all)) = (there, elsewhere);
                    write!(f, "; {failed} of {of} trials failed there, {others} of {all} elsewhere")?;
                }
                f.write_str(
                    ": `when = \"busy\"` draws from the moments at which it executes, and two strata, `busy` and `idle`, \
                     have a rate each and one together",
                )
            }
            Warning::Grown { stages } => write!(
                f,
                "{stages}; intervals of rates are valid at any look, and wider than those of a campaign of fixed size; \
                 times, survival, coverage, bounds with missing trials, ratios and p values are of a fixed size: take them from a campaign that did not grow"
            ),
            Warning::NotLookedUp { stratum, live, counted, share } => write!(
                f,
                "stratum {stratum}: {live} of {counted} trials are not settled, which is not what its live part ({} of its \
                 faults) lets expect: some were run with `--settle off`, it seems; its intervals are the plain ones, of all trials",
                percent(*share)
            ),
            Warning::ProgramDied { stratum, died, hangs, title } => write!(
                f,
                "stratum {stratum}: {died} of {hangs} hangs are a program that died (`{title}`), after which nothing says that \
                 the workload is done: have the guest say so however the program ends, as in `app; echo DONE`, and they \
                 are detected and take no longer than the others (docs/guests.md)"
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
