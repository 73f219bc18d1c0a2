//! Times that are known to lie between two looks: Turnbull's estimate, and quantiles as ranges.
//!
//! What is seen at checkpoints happened after the checkpoint before: a time is then an interval (after, until], and
//! not the checkpoint. A time that is known exactly is an interval without width, and both may stand together.
//!
//! Invariant: nothing is said about where in an interval the time lies: a quantile is a range where the times are
//! intervals, and the interval around it holds wherever in them the times lie.

use serde::Serialize;

use crate::stats::quantile::{Sorted, nearest_rank, ranks};
use crate::stats::quantity::{Confidence, Share};
use crate::stats::special::float;
use crate::units::VirtualNs;

/// A time that lies in (after, until]; exactly at `until` where the two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lapse {
    /// It is later than this.
    pub after: VirtualNs,
    /// It is not later than this; `None` where it had not come when the guest was last looked at.
    pub until: Option<VirtualNs>,
}

impl Lapse {
    /// A time that is known.
    #[must_use]
    pub fn exactly(time: VirtualNs) -> Self {
        Lapse { after: time, until: Some(time) }
    }

    /// A time between two looks; the earlier one is at most the later one.
    #[must_use]
    pub fn between(after: VirtualNs, until: VirtualNs) -> Self {
        Lapse { after: after.min(until), until: Some(until) }
    }

    /// Whether it is known exactly.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.until == Some(self.after)
    }

    /// Its ends on a grid of twice as many points, where (a, b] is from right after a to b.
    fn grid(self) -> (u64, u64) {
        let from = self.after.0.saturating_mul(2).saturating_add(u64::from(!self.is_exact()));
        (from, self.until.map_or(u64::MAX, |until| until.0.saturating_mul(2)))
    }
}

/// A part of the distribution: so much of it lies somewhere in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mass {
    /// Where.
    pub within: Lapse,
    /// How much, in [0, 1].
    pub share: f64,
}

/// The distribution that makes such intervals most likely.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Turnbull {
    /// The innermost intervals that have any share, the earliest first. How the share of one is spread in it is unknown.
    pub masses: Vec<Mass>,
    /// How far the logarithm of the likelihood can be from its maximum, for each of the times.
    pub gap: f64,
}

/// A quantile of times that are intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RangeQuantile {
    /// Where the quantile of these times lies for certain: the time of its rank, whatever the times are.
    pub within: Lapse,
    /// Where [`Turnbull::quantile`] has it: the likeliest place, within the other where the times are few.
    pub likeliest: Lapse,
    /// The lower end of its interval; `None` where the times are too few to have one.
    pub lower: Option<VirtualNs>,
    /// The upper end.
    pub upper: Option<VirtualNs>,
}

/// An estimate is good enough when the likelihood cannot rise by more, for each of the times.
const TOLERANCE: f64 = 1e-9;
const MOST_ROUNDS: u32 = 5_000;

impl Turnbull {
    /// Turnbull's nonparametric maximum-likelihood estimate; `None` of no times.
    ///
    /// Turnbull, Journal of the Royal Statistical Society B 38, 1976: all of the distribution lies in the innermost
    /// intervals, from the left end of one of the times to the next right end of one, and their shares are found by
    /// self-consistency, here in turns with the iterative convex minorant (Wellner and Zhan, JASA 92, 1997), which
    /// settles where self-consistency creeps. It ends when no share's derivative promises more than 10⁻⁹ (Gentleman
    /// and Geyer, Biometrika 81, 1994).
    #[must_use]
    pub fn new(times: &[Lapse]) -> Option<Self> {
        let innermost = innermost(times);
        if innermost.is_empty() {
            return None;
        }
        // Each time covers innermost intervals that follow one another.
        let covers: Vec<(usize, usize)> = times
            .iter()
            .map(|time| {
                let (from, to) = time.grid();
                (
                    innermost.partition_point(|(left, _)| *left < from),
                    innermost.partition_point(|(_, right)| *right <= to),
                )
            })
            .collect();
        let mut fit = Fit::new(&covers, innermost.len());
        let mut gap = fit.consistent();
        for _ in 0..MOST_ROUNDS {
            if gap <= TOLERANCE {
                break;
            }
            fit.minorant();
            gap = fit.consistent();
        }
        let of = |grid: u64| VirtualNs(grid / 2);
        let masses = innermost.iter().zip(&fit.shares).filter(|(_, share)| **share > 1e-12).map(
            |((left, right), share)| Mass {
                within: Lapse { after: of(*left), until: (*right != u64::MAX).then(|| of(*right)) },
                share: *share,
            },
        );
        Some(Turnbull { masses: masses.collect(), gap })
    }

    /// Where the quantile of a share lies: in the first interval up to whose end so much of the distribution lies.
    #[must_use]
    pub fn quantile(&self, share: Share) -> Option<Lapse> {
        let mut sum = 0.0;
        let wanted = share.value() - 1e-9;
        let reached = self.masses.iter().find(|mass| {
            sum += mass.share;
            sum >= wanted
        });
        reached.or(self.masses.last()).map(|mass| mass.within)
    }
}

/// The quantile of a share of these times, with an interval that contains the true one with at least the confidence,
/// wherever in their intervals the times lie; `None` of no times.
///
/// The ends are the order statistics of [`Sorted::quantile`], the lower one of the times' lower ends and the upper one
/// of their upper ends: whatever the times are, the l-th of them is not below the l-th lower end, nor the u-th above
/// the u-th upper end. The same holds for the rank of the quantile itself, which is the range to report. Turnbull's
/// estimate is narrower, and with few times says too much: where all begin at 0 all of it lies in the shortest.
#[must_use]
pub fn quantile(times: &[Lapse], share: Share, confidence: Confidence) -> Option<RangeQuantile> {
    quantiles(times, &[share], confidence).pop().map(|(_, found)| found)
}

/// The ends of the interval of [`quantile`]; `None` where the times are too few to have one.
#[must_use]
pub fn ends(times: &[Lapse], share: Share, confidence: Confidence) -> (Option<VirtualNs>, Option<VirtualNs>) {
    let (low, high) = ranks(times.len() as u64, share, confidence);
    between(times, low, high)
}

/// The lowest that the time of one rank can be, and the highest that the time of another can.
fn between(times: &[Lapse], low: u64, high: u64) -> (Option<VirtualNs>, Option<VirtualNs>) {
    let afters = Sorted::new(times.iter().map(|time| time.after).collect());
    // One that had not come lies above all others.
    let untils = Sorted::new(times.iter().map(|time| time.until.unwrap_or(VirtualNs(u64::MAX))).collect());
    let upper = untils.at_rank(high).copied().filter(|upper| upper.0 != u64::MAX);
    (afters.at_rank(low).copied(), upper)
}

/// The quantiles of several shares at once, with one estimate.
#[must_use]
pub fn quantiles(times: &[Lapse], shares: &[Share], confidence: Confidence) -> Vec<(Share, RangeQuantile)> {
    let Some(estimate) = Turnbull::new(times) else { return Vec::new() };
    let one = |share: &Share| {
        let (lower, upper) = ends(times, *share, confidence);
        let rank = nearest_rank(share.value(), times.len() as u64).max(1);
        let (after, until) = between(times, rank, rank);
        let within = Lapse { after: after?, until };
        Some((*share, RangeQuantile { within, likeliest: estimate.quantile(*share)?, lower, upper }))
    };
    shares.iter().filter_map(one).collect()
}

/// The intervals from a left end to the next end, where that is a right one; on the grid.
fn innermost(times: &[Lapse]) -> Vec<(u64, u64)> {
    let mut ends: Vec<(u64, bool)> = times
        .iter()
        .flat_map(|time| {
            let (from, to) = time.grid();
            // At one point what begins comes first, as both ends belong to the interval.
            [(from, false), (to, true)]
        })
        .collect();
    ends.sort_unstable();
    ends.windows(2).filter(|pair| !pair[0].1 && pair[1].1).map(|pair| (pair[0].0, pair[1].0)).collect()
}

/// The shares of the innermost intervals, as they are improved.
struct Fit<'a> {
    covers: &'a [(usize, usize)],
    shares: Vec<f64>,
}

impl<'a> Fit<'a> {
    #[expect(clippy::cast_precision_loss, reason = "a number of times")]
    fn new(covers: &'a [(usize, usize)], innermost: usize) -> Self {
        Fit { covers, shares: vec![1.0 / innermost as f64; innermost] }
    }

    /// F at the end of each innermost interval, with F = 0 before the first.
    fn cumulated(shares: &[f64]) -> Vec<f64> {
        let mut sum = 0.0;
        std::iter::once(0.0)
            .chain(shares.iter().map(|share| {
                sum += share;
                sum
            }))
            .collect()
    }

    /// The chance of each time's interval.
    fn chances(&self, shares: &[f64]) -> Vec<f64> {
        let f = Self::cumulated(shares);
        self.covers.iter().map(|(from, to)| f[*to] - f[*from]).collect()
    }

    /// The mean logarithm of the likelihood.
    fn likelihood(&self, shares: &[f64]) -> f64 {
        let sum: f64 = self.chances(shares).iter().map(|chance| chance.max(f64::MIN_POSITIVE).ln()).sum();
        sum / float(self.covers.len() as u64)
    }

    /// A step of self-consistency; how far the mean logarithm of the likelihood was from its maximum at most.
    fn consistent(&mut self) -> f64 {
        let mut steps = vec![0.0; self.shares.len() + 1];
        for ((from, to), chance) in self.covers.iter().zip(self.chances(&self.shares)) {
            let part = 1.0 / (float(self.covers.len() as u64) * chance.max(f64::MIN_POSITIVE));
            steps[*from] += part;
            steps[*to] -= part;
        }
        let (mut derivative, mut most) = (0.0f64, 0.0f64);
        for (share, step) in self.shares.iter_mut().zip(steps) {
            derivative += step;
            most = most.max(derivative);
            *share *= derivative.max(0.0);
        }
        let sum: f64 = self.shares.iter().sum();
        self.shares.iter_mut().for_each(|share| *share /= sum);
        most - 1.0
    }

    /// A step of the iterative convex minorant: Newton's with the diagonal of the second derivative, made monotone,
    /// and shortened until the likelihood rises.
    fn minorant(&mut self) {
        let last = self.shares.len();
        let (mut gradient, mut weight) = (vec![0.0; last + 1], vec![0.0; last + 1]);
        for ((from, to), chance) in self.covers.iter().zip(self.chances(&self.shares)) {
            let inverse = 1.0 / chance.max(1e-150);
            for (at, sign) in [(*to, 1.0), (*from, -1.0)] {
                gradient[at] += sign * inverse;
                weight[at] += inverse * inverse;
            }
        }
        let f = Self::cumulated(&self.shares);
        // F is 0 before the first and 1 after the last: between them it is free, where some time ends.
        let aims = (1..last).map(|at| {
            if weight[at] > 0.0 { (f[at] + gradient[at] / weight[at], weight[at]) } else { (f[at], 1e-12) }
        });
        let mut aimed = isotonic(aims);
        aimed.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        aimed.push(1.0);
        let before = self.likelihood(&self.shares);
        let mut step = 1.0;
        for _ in 0..20 {
            let mut left = 0.0;
            let shares: Vec<f64> = (0..last)
                .map(|at| {
                    let to = f[at + 1] + step * (aimed[at] - f[at + 1]);
                    let share = (to - left).max(0.0);
                    left = to;
                    share
                })
                .collect();
            if self.likelihood(&shares) > before {
                // Self-consistency cannot bring back a share that is 0.
                self.shares = shares.iter().map(|share| share.max(1e-14)).collect();
                return;
            }
            step /= 2.0;
        }
    }
}

/// The nearest values that do not fall, by weighted squares: neighbours that fall are put together.
fn isotonic(values: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (value, weight) in values {
        let mut block = (value, weight, 1);
        while let Some((before, heavy, count)) = blocks.pop_if(|(before, ..)| *before >= block.0) {
            let together = heavy + block.1;
            block = ((before * heavy + block.0 * block.1) / together, together, count + block.2);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

#[cfg(test)]
mod tests;
