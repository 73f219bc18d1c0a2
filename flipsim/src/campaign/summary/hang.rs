//! What the rates would be with another hang limit, and which guests were late but right.
//!
//! Within the campaign's limit it is known when each guest was done, so that a lower limit needs no trial run again: a guest
//! that was not done by it hangs. Of those that hung it is not known what they would have done by a higher one: any of
//! them may have gone on to the right end, and none.
//!
//! Invariant: **nothing is assumed of a guest that hung**; with the campaign's own limit the counts are those of the campaign.

use serde::Serialize;

use crate::campaign::store::read::ResultRow;
use crate::campaign::summary::basis::Basis;
use crate::campaign::summary::missing::{Bounds, bounds};
use crate::stats::tally::Method;
use crate::stats::turnbull::Lapse;
use crate::trial::golden::{Golden, Window};
use crate::trial::{Class, Outcome};

/// The limits that are shown beside the campaign's, in lengths of the golden run.
const FACTORS: [f64; 3] = [2.0, 3.0, 5.0];

/// What hangs by which limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HangLimits {
    /// One entry a limit, from the lowest on.
    pub limits: Vec<HangLimit>,
    /// How many guests were done after the golden run's end, with the right output.
    pub late_but_right: u64,
    /// When the last of these was done, in lengths of the golden run; at the latest, where that was seen at a checkpoint.
    pub latest: Option<f64>,
}

impl HangLimits {
    /// Whether a limit makes a difference, or a guest was late: else all of this is that nothing hung.
    #[must_use]
    pub fn matter(&self) -> bool {
        self.late_but_right > 0 || self.limits.iter().any(|limit| limit.hung[1] > 0)
    }
}

/// What hangs by one limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HangLimit {
    /// In lengths of the golden run.
    pub factor: f64,
    /// Whether it is the one that the campaign was run with.
    pub is_campaigns: bool,
    /// How many guests hang: at least, and at most.
    pub hung: [u64; 2],
    /// How many fail.
    pub failed: [u64; 2],
    /// The rate of hangs.
    pub hang: Bounds,
    /// The rate of failures.
    pub failure: Bounds,
}

/// The golden run as far as limits are concerned.
pub(super) struct Run {
    begin: u64,
    end: u64,
    /// The limits, as factors and times of the guest's clock, and which is the campaign's.
    limits: Vec<(f64, u64, bool)>,
}

impl Run {
    /// `None` where a run ends at a given time, so that no guest hangs.
    pub(super) fn of(golden: &Golden, own: f64) -> Option<Run> {
        if golden.window != Window::Done {
            return None;
        }
        let begin = golden.begin().0;
        let mut factors: Vec<f64> = FACTORS.into_iter().filter(|factor| *factor != own).collect();
        factors.push(own);
        factors.sort_by(f64::total_cmp);
        let limit = |factor: f64| (factor, begin.saturating_add(golden.limit(factor).0), factor == own);
        Some(Run { begin, end: golden.end().0, limits: factors.into_iter().map(limit).collect() })
    }
}

/// The guests of a stratum that were over after the golden run's end: how, not before when, and by when.
#[derive(Default)]
pub(super) struct Late(Vec<(Outcome, u64, u64)>);

impl Late {
    /// Takes in a guest that was over then: its workload was done, or it crashed.
    pub(super) fn add(&mut self, row: &ResultRow, outcome: Outcome, over: Option<Lapse>, run: &Run) {
        let (Some(flip), Some(over)) = (row.flip_ns, over) else { return };
        let since = |time: u64| flip.saturating_add(time);
        let until = since(over.until.unwrap_or(over.after).0);
        if until > run.end {
            self.0.push((outcome, since(over.after.0), until));
        }
    }

    /// `hung` and `failed` of the trials did so by the campaign's limit.
    pub(super) fn finish(self, run: &Run, [hung, failed]: [u64; 2], basis: &Basis<'_>) -> Option<HangLimits> {
        // A guest that is not the golden one at the end of its run was struck where that run is live.
        let rate = |hits: u64| {
            let rate = basis.live_rate(hits)?;
            Some((rate.value, rate.estimate(Method::default()).interval))
        };
        let (_, own, _) = run.limits.iter().find(|(.., is_campaigns)| *is_campaigns)?;
        let limits = run.limits.iter().map(|(factor, at, is_campaigns)| {
            // At least and at most so many more of those were not over by this limit.
            let count = |which: fn(Outcome) -> bool| {
                let late = self.0.iter().filter(|(outcome, ..)| which(*outcome));
                late.fold([0, 0], |[least, most], (_, from, until)| {
                    [least + u64::from(from > at), most + u64::from(until > at)]
                })
            };
            let (more, wrong) = (count(|_| true), count(|outcome| !Class::Failure.has(outcome)));
            let (hung, failed) = match at.cmp(own) {
                std::cmp::Ordering::Less => (more.map(|more| hung + more), wrong.map(|wrong| failed + wrong)),
                std::cmp::Ordering::Equal => ([hung; 2], [failed; 2]),
                std::cmp::Ordering::Greater => ([0, hung], [failed - hung, failed]),
            };
            let of = |name, [least, most]: [u64; 2]| Some(bounds(name, rate(least)?, rate(most)?));
            let (hang, failure) = (of(Outcome::Hang.name(), hung)?, of(Class::Failure.name(), failed)?);
            Some(HangLimit { factor: *factor, is_campaigns: *is_campaigns, hung, failed, hang, failure })
        });
        let right = self.0.iter().filter(|(outcome, ..)| !Class::Failure.has(*outcome));
        let latest = right.clone().map(|(.., until)| *until).max();
        #[expect(clippy::cast_precision_loss, reason = "a factor of a few")]
        let lengths = |at: u64| (at - run.begin) as f64 / (run.end - run.begin).max(1) as f64;
        Some(HangLimits {
            limits: limits.collect::<Option<_>>()?,
            late_but_right: right.count() as u64,
            latest: latest.map(lengths),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Confidence, Interval, SpaceSize};

    fn run() -> Run {
        Run { begin: 100, end: 1100, limits: vec![(2.0, 2100, false), (3.0, 3100, true), (5.0, 5100, false)] }
    }

    #[test]
    fn a_lower_limit_makes_late_guests_hang_and_a_higher_one_may_free_those_that_hung() {
        let late = [
            (Outcome::Masked, 1300, 1300),
            (Outcome::Latent, 2500, 2500),
            (Outcome::Sdc, 2600, 2600),
            (Outcome::Crash, 3000, 3000),
            // Of an older record: somewhere between two checkpoints.
            (Outcome::Detected, 2050, 2150),
        ];
        // 10 hang, 30 fail of 1,000.
        let counts = [(Outcome::Masked, 970), (Outcome::Hang, 10), (Outcome::Crash, 20)].into();
        let basis = Basis::new(&counts, None, SpaceSize(1 << 40), Confidence::P95);
        let found = Late(late.into()).finish(&run(), [10, 30], &basis).unwrap();
        let counts: Vec<_> = found.limits.iter().map(|one| (one.factor, one.hung, one.failed)).collect();
        assert_eq!(counts, [(2.0, [13, 14], [31, 31]), (3.0, [10, 10], [30, 30]), (5.0, [0, 10], [20, 30])]);
        assert_eq!((found.late_but_right, found.latest), (2, Some(2.4)));
        // scipy 1.17.1: beta.ppf(.025, 10, 991), beta.ppf(.975, 11, 990); the last has no lower end.
        let own = &found.limits[1].hang;
        assert!((own.interval.lower - 0.004_805_510_7).abs() < 1e-9, "{own:?}");
        assert!((own.interval.upper - 0.018_313_243_1).abs() < 1e-9, "{own:?}");
        assert_eq!(found.limits[2].hang.interval, Interval { lower: 0.0, ..own.interval });
    }
}
