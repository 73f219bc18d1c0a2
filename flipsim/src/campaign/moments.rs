//! The moments at which faults strike: which of a run's nanoseconds are meant, and each by its number.
//!
//! Invariant: **each moment of a kind has one number, and each number below the length one moment**, so that a uniform
//! number is a uniform moment, and none comes twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::campaign::spec::{CampaignSpec, Times};
use crate::campaign::when::When;
use crate::trial::Trigger;
use crate::trial::golden::{Golden, Idle, Span};
use crate::units::VirtualNs;

/// What a plan must know of the golden run; all times are counted from the quiescent point.
#[derive(Clone, Debug)]
pub struct Run {
    /// How long it is.
    pub length: VirtualNs,
    /// When the guest idles, where that is known.
    pub idle: Option<Idle>,
    /// The instants of triggers, by their texts.
    pub events: BTreeMap<String, Vec<VirtualNs>>,
}

impl From<VirtualNs> for Run {
    /// A run of which only the length is known.
    fn from(length: VirtualNs) -> Self {
        Run { length, idle: None, events: BTreeMap::new() }
    }
}

impl From<&Golden> for Run {
    fn from(golden: &Golden) -> Self {
        let (begin, end) = (golden.begin(), golden.end());
        let idle = golden.idle.as_ref().map(|idle| idle.within(begin, end).counted_from(begin));
        let counted =
            |all: &Vec<VirtualNs>| all.iter().map(|at| VirtualNs(at.0.saturating_sub(begin.0))).collect();
        let events = golden.events.iter().map(|(trigger, all)| (trigger.clone(), counted(all))).collect();
        Run { length: VirtualNs(end.0.saturating_sub(begin.0)), idle, events }
    }
}

/// Moments that cannot be drawn from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentsError {
    /// A time past the golden run.
    #[error(
        "faults would strike up to {to} after the quiescent point, and the golden run ends after {length}"
    )]
    Late {
        /// The last time.
        to: VirtualNs,
        /// The golden run's length.
        length: VirtualNs,
    },
    /// No time is left.
    #[error("faults would strike from {from} on, and the golden run ends after {length}")]
    NoTime {
        /// The first time.
        from: VirtualNs,
        /// The golden run's length.
        length: VirtualNs,
    },
    /// It is not known when the guest idles.
    #[error(
        "`when = \"{0}\"` asks when the guest idles, and its golden run does not say: that takes the exact clock, and a \
         QEMU with the lab's patches (`setup qemu`); leave `when` out to draw from all times"
    )]
    NotKnown(When),
    /// It was not looked for.
    #[error("it is not known when `{0}` comes; make the campaign again")]
    NotResolved(Trigger),
    /// The event comes at other times.
    #[error(
        "`{trigger}` does not come between {from} and {to} after the quiescent point; choose other times"
    )]
    NotThen {
        /// The event.
        trigger: Trigger,
        /// The first time.
        from: VirtualNs,
        /// The first that is too late.
        to: VirtualNs,
    },
    /// There is no such moment.
    #[error("the guest {} between {from} and {to} after the quiescent point; {}",
        if *when == When::Idle { "never idles" } else { "only idles" },
        if *when == When::Idle { "leave that stratum out" } else { "choose other times" })]
    None {
        /// The kind.
        when: When,
        /// The first time.
        from: VirtualNs,
        /// The first that is too late.
        to: VirtualNs,
    },
}

/// The moments of one kind, numbered; all are counted from the quiescent point.
#[derive(Clone, Debug)]
pub enum Moments {
    /// So many from one on.
    From(u64, u64),
    /// These.
    At(Vec<VirtualNs>),
    /// Those of some spans: of each the number of its first moment and that moment, in order; and how many they are.
    Of(Arc<[(u64, u64)]>, u64),
}

impl Moments {
    /// The moments of a run that the times allow and that are of a kind.
    ///
    /// # Errors
    /// There is none, the times lie past the run, or it is not known which are of the kind.
    pub fn new(times: &Times, when: &When, run: &Run) -> Result<Self, MomentsError> {
        let length = run.length;
        let (from, to) = match times {
            Times::At(at) => {
                return match at.iter().find(|at| **at >= length) {
                    Some(late) => Err(MomentsError::Late { to: *late, length }),
                    None => Ok(Moments::At(at.clone())),
                };
            }
            Times::Within { from, to } => (*from, to.unwrap_or(length)),
        };
        if to > length {
            return Err(MomentsError::Late { to, length });
        }
        let count = to.0.checked_sub(from.0).filter(|count| *count > 0);
        let count = count.ok_or(MomentsError::NoTime { from, length })?;
        if when.is_time() {
            return Ok(Moments::From(from.0, count));
        }
        if let When::At(trigger) = when {
            let all = run.events.get(&trigger.to_string());
            let all = all.ok_or_else(|| MomentsError::NotResolved(trigger.clone()))?;
            let at: Vec<VirtualNs> = all.iter().copied().filter(|at| (from..to).contains(at)).collect();
            return match at.is_empty() {
                true => Err(MomentsError::NotThen { trigger: trigger.clone(), from, to }),
                false => Ok(Moments::At(at)),
            };
        }
        let idle = run.idle.as_ref().ok_or_else(|| MomentsError::NotKnown(when.clone()))?;
        let drawn = idle.within(from, to);
        let found = Moments::of(&if *when == When::Idle { drawn.spans().to_vec() } else { drawn.busy() });
        if found.len() == 0 {
            return Err(MomentsError::None { when: when.clone(), from, to });
        }
        Ok(found)
    }

    fn of(spans: &[Span]) -> Moments {
        let mut count = 0;
        let numbered = spans.iter().map(|span| {
            let first = count;
            count += span.length;
            (first, span.from.0)
        });
        let numbered: Arc<[(u64, u64)]> = numbered.collect();
        Moments::Of(numbered, count)
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty set cannot be made")]
    pub fn len(&self) -> u64 {
        match self {
            Moments::From(_, count) | Moments::Of(_, count) => *count,
            Moments::At(at) => at.len() as u64,
        }
    }

    /// The moments as stretches, each by its first and the first behind it.
    #[must_use]
    pub fn stretches(&self) -> Vec<(VirtualNs, VirtualNs)> {
        let stretch = |from: u64, length: u64| (VirtualNs(from), VirtualNs(from + length));
        match self {
            Moments::From(from, count) => vec![stretch(*from, *count)],
            Moments::At(at) => at.iter().map(|at| stretch(at.0, 1)).collect(),
            Moments::Of(spans, count) => {
                let ends = spans.iter().skip(1).map(|(number, _)| *number).chain([*count]);
                spans.iter().zip(ends).map(|((number, from), end)| stretch(*from, end - number)).collect()
            }
        }
    }

    /// The moment with this number, or `None` past the end.
    #[must_use]
    pub fn nth(&self, number: u64) -> Option<VirtualNs> {
        if number >= self.len() {
            return None;
        }
        match self {
            Moments::From(from, _) => Some(VirtualNs(from + number)),
            Moments::At(at) => at.get(usize::try_from(number).ok()?).copied(),
            Moments::Of(spans, _) => {
                let at = spans.partition_point(|(first, _)| *first <= number) - 1;
                let (first, from) = spans[at];
                Some(VirtualNs(from + (number - first)))
            }
        }
    }
}

impl CampaignSpec {
    /// The moments of each stratum, in their order.
    ///
    /// # Errors
    /// As [`Moments::new`], with the stratum's name.
    pub(super) fn moments(&self, run: &Run) -> Result<Vec<Moments>, (String, MomentsError)> {
        let mut known: Vec<(When, Moments)> = Vec::new();
        let mut found = Vec::with_capacity(self.strata.len());
        for stratum in &self.strata {
            let when = self.when_of(stratum);
            // Strata of one kind share its spans, which may be many.
            let moments = match known.iter().find(|(of, _)| *of == when) {
                Some((_, moments)) => moments.clone(),
                None => {
                    let moments = Moments::new(&self.times, &when, run);
                    let moments = moments.map_err(|error| (stratum.name.clone(), error))?;
                    known.push((when, moments.clone()));
                    moments
                }
            };
            found.push(moments);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
