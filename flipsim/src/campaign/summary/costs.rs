//! What trials cost, and how fast they were.
//!
//! Invariant: time in which no trial was run, between two runs of the campaign say, is no work.

use serde::Serialize;

use crate::stats::quantile::Sorted;
use crate::stats::{Confidence, Share};
use crate::trial::Costs;

/// Where the time of the trials went, on the host's clock. Trials that were given up are not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostSummary {
    /// So many trials were run.
    pub trials: u64,
    /// `restore`, `walk`, `mark`, `run`, `compare`, and `other`, which is what they leave of the whole.
    pub parts: Vec<CostPart>,
    /// The whole.
    pub total: CostPart,
    /// For how long at least one trial was running, in seconds: each was from its total before it
    /// was recorded until then, and these spans are joined where they overlap. Pauses between runs are not
    /// in it, nor is the start of a worker.
    pub working_seconds: f64,
    /// Trials a second of that time.
    pub trials_per_second: f64,
    /// How many ran at once, on the average.
    pub at_once: f64,
}

/// One part of the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostPart {
    /// Which.
    pub name: &'static str,
    /// Of all trials together, in seconds.
    pub total_seconds: f64,
    /// A trial's mean, in microseconds.
    pub mean_us: f64,
    /// Its median, in microseconds.
    pub median_us: u64,
    /// Its share of the whole time, from 0 to 1.
    pub share: f64,
}

const PARTS: [&str; 6] = ["restore", "walk", "mark", "run", "compare", "other"];

/// Medians are of so many trials at most, the first by their numbers, which are in random order.
const KEPT: usize = 1 << 19;

/// A time of each trial, one after the other.
#[derive(Debug, Default)]
struct Times {
    sum: f64,
    first: Vec<u64>,
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of centuries")]
    fn push(&mut self, us: u64) {
        self.sum += us as f64;
        if self.first.len() < KEPT {
            self.first.push(us);
        }
    }
}

/// The costs of trials, one after the other.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    trials: u64,
    parts: [Times; 6],
    totals: Times,
    /// Trials that were settled without a run: they are in the pace, and in no time of a trial.
    settled: u64,
    /// From when to when, in microseconds since 1970.
    spans: Vec<(i64, i64)>,
    /// How many spans there were when they were joined last.
    joined: usize,
}

impl Gathered {
    pub(super) fn add(&mut self, costs: &Costs, recorded_ms: i64) {
        let Costs { restore_us, walk_us, mark_us, run_us, compare_us, total_us } = *costs;
        if total_us == 0 {
            self.settled += 1;
            return;
        }
        let named = [restore_us, walk_us, mark_us, run_us, compare_us];
        let other = total_us.saturating_sub(named.iter().fold(0, |sum, part| sum.saturating_add(*part)));
        for (all, part) in self.parts.iter_mut().zip(named.into_iter().chain([other])) {
            all.push(part);
        }
        self.totals.push(total_us);
        self.trials += 1;
        let end = recorded_ms.saturating_mul(1000);
        self.spans.push((end.saturating_sub_unsigned(total_us), end));
        if self.spans.len() >= 2 * self.joined.max(KEPT) {
            join(&mut self.spans);
            self.joined = self.spans.len();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of centuries")]
    pub(super) fn finish(self) -> Option<CostSummary> {
        let trials = self.trials;
        if trials == 0 {
            return None;
        }
        let whole = self.totals.sum;
        let part = |name: &'static str, times: Times| {
            let median = Sorted::new(times.first).quantile(Share::HALF, Confidence::P95);
            CostPart {
                name,
                total_seconds: times.sum / 1e6,
                mean_us: times.sum / trials as f64,
                median_us: median.map_or(0, |median| median.value),
                share: if whole > 0.0 { times.sum / whole } else { 0.0 },
            }
        };
        let working_seconds = covered(self.spans) as f64 / 1e6;
        // A clock of milliseconds may see no time at all.
        let per = |value: f64| if working_seconds > 0.0 { value / working_seconds } else { 0.0 };
        Some(CostSummary {
            trials,
            trials_per_second: per((trials + self.settled) as f64),
            at_once: per(whole / 1e6),
            working_seconds,
            total: part("total", self.totals),
            parts: PARTS.into_iter().zip(self.parts).map(|(name, values)| part(name, values)).collect(),
        })
    }
}

/// Makes one of spans that overlap or meet; they are in their order then.
fn join(spans: &mut Vec<(i64, i64)>) {
    spans.sort_unstable();
    spans.dedup_by(|next, kept| {
        let meets = next.0 <= kept.1;
        if meets {
            kept.1 = kept.1.max(next.1);
        }
        meets
    });
}

/// How much time lies in at least one of these spans.
fn covered(mut spans: Vec<(i64, i64)>) -> i64 {
    join(&mut spans);
    spans.iter().fold(0i64, |sum, (from, to)| sum.saturating_add(to.saturating_sub(*from).max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(run_us: u64, total_us: u64) -> Costs {
        Costs { run_us, total_us, ..Costs::default() }
    }

    #[test]
    fn a_pause_is_no_work_and_two_workers_are_two_at_once() {
        let mut gathered = Gathered::default();
        // Two at once for 10 s, an hour of nothing, one for 10 s.
        gathered.add(&costs(8_000_000, 10_000_000), 10_000);
        gathered.add(&costs(6_000_000, 10_000_000), 10_000);
        gathered.add(&costs(4_000_000, 10_000_000), 3_620_000);
        let summary = gathered.finish().unwrap();
        assert_eq!((summary.working_seconds, summary.at_once), (20.0, 1.5));
        assert!((summary.trials_per_second - 0.15).abs() < 1e-12);
        let run = &summary.parts[3];
        assert_eq!((run.name, run.median_us, run.mean_us), ("run", 6_000_000, 6_000_000.0));
        assert!((run.share - 0.6).abs() < 1e-12);
        // The parts are the whole.
        assert!((summary.parts.iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(summary.parts[5].total_seconds, 12.0);
    }

    #[test]
    fn a_trial_that_was_settled_is_in_the_pace_and_takes_no_time() {
        let mut gathered = Gathered::default();
        gathered.add(&costs(8_000_000, 10_000_000), 10_000);
        (0..9).for_each(|_| gathered.add(&Costs::default(), 10_000));
        let summary = gathered.finish().unwrap();
        assert_eq!(
            (summary.trials, summary.total.median_us, summary.trials_per_second),
            (1, 10_000_000, 1.0)
        );
    }

    #[test]
    fn of_many_trials_the_sums_are_of_all_and_the_room_is_that_of_some() {
        let mut gathered = Gathered::default();
        let all = 2 * KEPT as i64 + 5;
        (0..all).for_each(|at| gathered.add(&costs(3, 4_000), at * 3));
        assert!(gathered.spans.len() < KEPT && gathered.totals.first.len() == KEPT);
        let summary = gathered.finish().unwrap();
        assert_eq!((summary.trials, summary.total.median_us), (all as u64, 4_000));
        assert_eq!(summary.working_seconds, (all * 3 + 1) as f64 / 1e3);
    }

    #[test]
    fn spans_are_counted_once_where_they_overlap() {
        assert_eq!(covered(vec![(5, 9), (0, 10), (8, 12), (20, 21)]), 13);
        // A damaged file may say anything.
        assert_eq!(covered(vec![(i64::MIN, -1), (0, i64::MAX)]), i64::MAX);
        assert_eq!(covered(Vec::new()), 0);
        assert!(Gathered::default().finish().is_none());
    }
}
