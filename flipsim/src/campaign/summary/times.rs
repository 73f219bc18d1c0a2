//! When a guest crashed, reported something or was watched no longer, as far as a result knows it.
//!
//! Invariants: **a time that was seen at a checkpoint is the interval since the look before**; nothing that came after
//! the golden run's end is part of a curve, as only late and hung guests are watched then.

use crate::campaign::store::read::ResultRow;
use crate::campaign::summary::latency::{TimeQuantile, TimeSummary};
use crate::campaign::summary::model::{CompetingEnd, IncidenceCurve, SummaryOptions, SurvivalCurve};
use crate::stats::incidence::{incidences, thinned};
use crate::stats::quantile::Quantile;
use crate::stats::survival::{Lifetime, Survival};
use crate::stats::turnbull::{Lapse, quantiles};
use crate::stats::{Confidence, Observed, Share, proportion};
use crate::trial::golden::{self, Golden};
use crate::trial::{Heard, Outcome};
use crate::units::VirtualNs;

/// When a guest is looked at, by the golden run.
pub(super) struct Looks {
    checkpoints: Vec<VirtualNs>,
    chosen: Option<golden::Looks>,
    step: u64,
}

impl Looks {
    pub(super) fn of(golden: &Golden) -> Self {
        Looks {
            checkpoints: golden.checkpoints.iter().map(|checkpoint| checkpoint.at).collect(),
            chosen: golden.looks.clone(),
            step: golden.late_step().0.max(1),
        }
    }

    /// The golden run's end.
    fn end(&self) -> Option<u64> {
        self.checkpoints.last().map(|last| last.0)
    }

    /// The look before one, of a guest that was flipped then; `None` where it was the first.
    pub(super) fn before(&self, flip: u64, seen: u64) -> Option<u64> {
        let end = self.end()?;
        if seen > end {
            // Past the golden run's end there are no checkpoints, but steps.
            return Some(end.max(seen.saturating_sub(self.step)));
        }
        let earlier = match &self.chosen {
            Some(looks) => looks
                .places(&self.checkpoints, |at| *at, VirtualNs(flip))
                .take_while(|place| self.checkpoints[*place].0 < seen)
                .last(),
            None => self.checkpoints.partition_point(|checkpoint| checkpoint.0 < seen).checked_sub(1),
        };
        Some(self.checkpoints.get(earlier?)?.0)
    }
}

/// What a result says of the times after its flip.
pub(super) struct Times {
    /// From the flip to the report, where there was one.
    pub(super) detected: Option<Lapse>,
    /// From the flip to the crash, where there was one.
    pub(super) crashed: Option<Lapse>,
    /// Whether it crashed after the golden run's end.
    pub(super) after_end: bool,
    /// From the flip to when its workload was done or it crashed; `None` of a guest that hung, and of one whose state was
    /// the golden run's again.
    pub(super) over: Option<Lapse>,
    /// How long it was watched within the run, and how that ended.
    pub(super) life: (VirtualNs, CompetingEnd),
}

impl Times {
    /// `None` where there was no flip, or no end, or nothing to run.
    pub(super) fn of(row: &ResultRow, outcome: Outcome, looks: Option<&Looks>) -> Option<Self> {
        let (flip, end) = row.flip_ns.zip(row.end_ns).filter(|_| !row.trial.plan.is_decided())?;
        let since = |time: u64| VirtualNs(time.saturating_sub(flip));
        let seen = |at: u64| {
            let before = looks.and_then(|looks| looks.before(flip, at));
            Lapse::between(since(before.unwrap_or(flip)), since(at))
        };
        let heard = |at: u64| match row.heard {
            Heard::Byte => Lapse::exactly(since(at)),
            Heard::Checkpoint => seen(at),
        };
        let detected = row.detected_ns.map(heard);
        // The end of a guest that QEMU reports is exact; of another only what its console said is known.
        let crashed = (outcome == Outcome::Crash).then(|| match (row.end.is_some(), row.detected_ns) {
            (false, Some(detected)) => heard(detected),
            _ => Lapse::exactly(since(end)),
        });
        let over = match outcome {
            Outcome::Crash => crashed,
            Outcome::Hang => None,
            _ if row.converged_ns.is_some() => None,
            _ => Some(row.done_ns.map_or_else(|| seen(end), heard)),
        };
        let run_end = looks.and_then(Looks::end).map(since);
        let within = |time: VirtualNs| run_end.is_none_or(|end| time <= end);
        let until = |time: VirtualNs| run_end.map_or(time, |end| time.min(end));
        let crash = crashed.and_then(|at| at.until);
        let life = match crash {
            Some(at) if within(at) => (at, CompetingEnd::Crash),
            Some(at) => (until(at), CompetingEnd::Late),
            None if outcome == Outcome::Hang => (until(since(end)), CompetingEnd::Hang),
            None => match row.done_ns.map(since) {
                Some(done) if within(done) => (done, CompetingEnd::Finished),
                Some(done) => (until(done), CompetingEnd::Late),
                // Its state was the golden run's, and so is its future.
                None if row.converged_ns.is_some() => {
                    (run_end.unwrap_or(since(end)).max(until(since(end))), CompetingEnd::Finished)
                }
                None if within(since(end)) => (since(end), CompetingEnd::Finished),
                None => (until(since(end)), CompetingEnd::Late),
            },
        };
        let after_end = crash.is_some_and(|at| !within(at));
        Some(Times { detected, crashed, after_end, over, life })
    }
}

/// Survival and the competing ends of the guests of a stratum.
pub(super) fn survival(
    lives: Vec<(VirtualNs, CompetingEnd)>,
    crashes_after_end: u64,
    options: &SummaryOptions,
) -> Option<SurvivalCurve> {
    let lifetimes = lives.iter().map(|(time, end)| match end {
        CompetingEnd::Crash => Lifetime::Failed(*time),
        _ => Lifetime::Censored(*time),
    });
    let curve = Survival::new(lifetimes, options.confidence)?;
    let lives = lives.into_iter().map(|(time, end)| (time, Some(end))).collect();
    let ends = incidences(lives, &CompetingEnd::ALL, options.points, options.confidence)?;
    let events = |end: CompetingEnd| ends.iter().find(|one| one.end == end).map_or(0, |one| one.events);
    let (crashes, hangs) = (events(CompetingEnd::Crash), events(CompetingEnd::Hang));
    let bound = Observed::new(0, curve.guests)
        .ok()
        .filter(|_| crashes == 0)
        .map(|none| proportion::upper_bound(none, options.confidence));
    Some(SurvivalCurve {
        guests: curve.guests,
        crashes,
        crashes_after_end,
        crash_bound: bound,
        hangs,
        last_seen: curve.last_seen,
        median: curve.median(),
        // Without a crash its interval would have no width.
        restricted_mean: curve.restricted_mean(curve.last_seen).filter(|_| crashes > 0),
        steps: thinned(curve.steps, options.points),
        ends: ends
            .into_iter()
            .map(|one| IncidenceCurve {
                end: one.end,
                guests: one.events,
                share: one.share,
                interval: one.interval,
                steps: one.steps,
            })
            .collect(),
    })
}

/// The quantiles of times, as ranges where they are known only to lie between two looks.
pub(super) fn times(values: &[Lapse], of: u64, confidence: Confidence) -> Option<TimeSummary> {
    let until = |time: &Lapse| time.until.unwrap_or(time.after);
    let shares: Vec<Share> =
        [0.5, 0.9, 0.99].into_iter().filter_map(|share| Share::new(share).ok()).collect();
    let quantiles = quantiles(values, &shares, confidence).into_iter().map(|(share, found)| TimeQuantile {
        share,
        time: Quantile { value: until(&found.within), lower: found.lower, upper: found.upper },
        after: (!found.within.is_exact()).then_some(found.within.after),
        likeliest: (!found.within.is_exact()).then_some(found.likeliest),
    });
    Some(TimeSummary {
        trials: values.len() as u64,
        of,
        between: values.iter().filter(|time| !time.is_exact()).count() as u64,
        shortest: values.iter().map(|time| time.after).min()?,
        longest: values.iter().map(until).max()?,
        quantiles: quantiles.collect(),
    })
}
