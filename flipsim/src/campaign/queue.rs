//! What is left to run, a group of batches after the other, and whether the next one fits into the time that is given.
//!
//! Within a group the earliest faults come first, so that what is run of a group that is cut is no fair sample. A run that
//! must end by a time therefore begins a group only where it is expected to be finished by then. That depends on how long
//! the groups before took and on nothing of the group itself, so that the number of groups is a stopping time: on average
//! an outcome has its share of what was run (Wald, Annals of Mathematical Statistics 15, 1944), however much longer its trials
//! take. To count whichever groups are done at a time would count fewer of the slow ones.
//!
//! Invariant: **whether a group is begun depends on the time that those before took alone**; the first is always begun, and
//! after the first refusal there is no other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::campaign::plan::TrialId;

/// When a run is to be over.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// From here on.
    pub from: Instant,
    /// For so long at most, but for the trials that are under way then.
    pub longest: Duration,
}

/// A group is expected to take this much more than the trials before it, as its trials may be slower ones. A group of a
/// hundred trials of which a twentieth hang takes as much more in one of a thousand cases.
const RESERVE: f64 = 1.25;

/// Trials that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Of the group that is begun.
    now: VecDeque<TrialId>,
    later: VecDeque<Vec<TrialId>>,
    limit: Option<TimeLimit>,
    /// A group was not begun as it would not have been finished in time.
    closed: bool,
    /// Trials that were run, and not settled.
    run: u64,
}

impl Queue {
    pub(super) fn new(groups: Vec<Vec<TrialId>>, limit: Option<TimeLimit>) -> Queue {
        Queue { later: groups.into(), limit, ..Queue::default() }
    }

    /// Whether the run ends by some time.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// How many are left, of all groups.
    pub(super) fn len(&self) -> usize {
        self.now.len() + self.later.iter().map(Vec::len).sum::<usize>()
    }

    /// The next trial of the group that is begun.
    pub(super) fn next_of_group(&mut self) -> Option<TrialId> {
        self.now.pop_front()
    }

    /// Puts a trial in front of the first one of the group that comes later than it by this order.
    pub(super) fn insert(&mut self, id: TrialId, mut is_later: impl FnMut(&TrialId) -> bool) {
        let at = self.now.partition_point(|other| !is_later(other));
        self.now.insert(at, id);
    }

    /// Puts a trial in front that is to be run again.
    pub(super) fn again(&mut self, id: TrialId) {
        self.now.push_front(id);
    }

    /// Counts a trial that was run.
    pub(super) fn ran(&mut self) {
        self.run += 1;
    }

    /// The next group.
    pub(super) fn ahead(&self) -> Option<&[TrialId]> {
        self.later.front().filter(|_| !self.closed).map(Vec::as_slice)
    }

    /// Takes the next group out, of which so many trials are to be run; `None` where they would not be done in time. What
    /// is to be run is then given to [`Queue::begin`].
    pub(super) fn take(&mut self, trials: u64) -> Option<Vec<TrialId>> {
        let spent = self.limit.map_or(Duration::ZERO, |limit| limit.from.elapsed());
        self.take_after(trials, spent)
    }

    fn take_after(&mut self, trials: u64, spent: Duration) -> Option<Vec<TrialId>> {
        self.closed |= !self.fits(trials, spent);
        if self.closed { None } else { self.later.pop_front() }
    }

    /// Begins a group with what is to be run of it.
    pub(super) fn begin(&mut self, trials: impl IntoIterator<Item = TrialId>) {
        self.now.extend(trials);
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn fits(&self, trials: u64, spent: Duration) -> bool {
        let Some(limit) = self.limit.filter(|_| self.run > 0 && trials > 0) else { return true };
        let each = spent.as_secs_f64() / self.run as f64;
        spent.as_secs_f64() + RESERVE * each * trials as f64 <= limit.longest.as_secs_f64()
    }

    /// Whether the run ends although trials are left: the time is over, or does not suffice for another group.
    pub(super) fn is_out_of_time(&self) -> bool {
        self.closed || self.limit.is_some_and(|limit| limit.from.elapsed() >= limit.longest)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::fault::fault_rng;

    /// What of a run is taken for the sample.
    #[derive(Clone, Copy, PartialEq)]
    enum Taken {
        /// Groups that are done, where the next one is only begun if it fits.
        Fitting,
        /// Groups that happen to be done when the time is over.
        Done,
        /// All trials that are done when it is.
        All,
    }

    /// The rate of hangs in what is taken of many runs; one trial in five hangs and takes ten times as long, and groups have
    /// eight trials. In a group those that hang come at the end, as with faults of which the late ones hang.
    fn rate(taken: Taken) -> f64 {
        let (mut hangs, mut all) = (0u64, 0u64);
        for seed in 0..20_000 {
            let mut rng = fault_rng(seed, 1);
            let limit = Duration::from_secs(rng.random_range(100..200));
            let mut queue = Queue::new(
                vec![(0..8).map(TrialId).collect(); 60],
                Some(TimeLimit { from: Instant::now(), longest: limit }),
            );
            let mut spent = Duration::ZERO;
            let whole = |queue: &mut Queue| queue.later.pop_front();
            while let Some(group) =
                if taken == Taken::Fitting { queue.take_after(8, spent) } else { whole(&mut queue) }
            {
                queue.begin(group);
                let mut hung: Vec<bool> = (0..queue.now.len()).map(|_| rng.random_range(0..5) == 0).collect();
                hung.sort_unstable();
                let before = (hangs, all);
                let mut is_whole = true;
                for hung in hung {
                    _ = queue.next_of_group();
                    spent += Duration::from_secs(if hung { 10 } else { 1 });
                    is_whole &= spent <= limit;
                    if is_whole || taken == Taken::Fitting {
                        queue.ran();
                        (hangs, all) = (hangs + u64::from(hung), all + 1);
                    }
                }
                if taken == Taken::Done && !is_whole {
                    (hangs, all) = before;
                }
                if spent > limit {
                    break;
                }
            }
        }
        hangs as f64 / all as f64
    }

    #[test]
    fn what_is_run_in_a_given_time_is_a_fair_sample_and_what_happens_to_be_done_is_none() {
        let of = [Taken::Fitting, Taken::Done, Taken::All].map(rate);
        // About 600,000 trials: three standard deviations are 0.0016.
        assert!((of[0] - 0.2).abs() < 0.0016, "{of:?}");
        assert!(of[1] < 0.19 && of[2] < 0.19, "{of:?}");
    }

    #[test]
    fn a_trial_that_waits_comes_in_its_order() {
        let mut queue = Queue::default();
        queue.begin([1, 3, 5, 7].map(TrialId));
        for (id, expected) in
            [(4, [1, 3, 4, 5, 7].as_slice()), (9, &[1, 3, 4, 5, 7, 9]), (0, &[0, 1, 3, 4, 5, 7, 9])]
        {
            queue.insert(TrialId(id), |other| other.0 > id);
            assert_eq!(queue.now, expected.iter().copied().map(TrialId).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_group_is_begun_where_it_fits_and_none_after_one_that_does_not() {
        let group = |trials: u64| (0..trials).map(TrialId).collect::<Vec<_>>();
        let limit = TimeLimit { from: Instant::now(), longest: Duration::from_secs(100) };
        let mut queue = Queue::new(vec![group(20), group(40), group(30), group(5)], Some(limit));
        let mut begin = |seconds| {
            let trials = queue.ahead()?.len() as u64;
            let group = queue.take_after(trials, Duration::from_secs(seconds)).unwrap_or_default();
            queue.begin(group);
            let mut run = 0;
            while queue.next_of_group().is_some() {
                queue.ran();
                run += 1;
            }
            Some(run)
        };
        // 20 take 20 s, and 40 more 40 s: with the reserve 70 s in all. 30 more do not fit behind these.
        assert_eq!([begin(0), begin(20), begin(65), begin(65)], [Some(20), Some(40), Some(0), None]);
        assert!(queue.is_out_of_time() && queue.len() == 35);
        let mut queue = Queue::new(vec![group(3), group(2)], None);
        for left in [2, 0] {
            let next = queue.take(3).unwrap();
            queue.begin(next);
            while queue.next_of_group().is_some() {}
            assert!(queue.len() == left && !queue.is_out_of_time());
        }
    }
}
