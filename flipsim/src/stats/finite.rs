//! The exact interval of a rate in a space that was drawn from without replacement, of which a good part was drawn.
//!
//! Invariant: an interval contains k/n, and is that of a binomial count, [`clopper_pearson`], where hardly anything of
//! the space was drawn; where all of it was, it is the rate itself.

use crate::stats::proportion::{clopper_pearson, upper_bound};
use crate::stats::quantity::{Confidence, Interval, Observed, SpaceSize};
use crate::stats::special::{float, stirling_rest};

/// The share of a space below which a draw without replacement is as good as one with: the limits are then those of
/// [`clopper_pearson`], which are wider by at most 1 in 200 there.
const HARDLY: f64 = 0.01;

/// The limits of the share of hits in a space of `size` faults, of which n were drawn without replacement and k hit: the
/// smallest number of hits K with P(X ≥ k) > α/2 and the largest with P(X ≤ k) > α/2, over N, with X hypergeometric.
///
/// It covers the share with at least the confidence (Wright, "Exact Confidence Bounds when Sampling from Small Finite
/// Universes", Springer 1991).
#[must_use]
pub fn exact(observed: Observed, size: Option<SpaceSize>, confidence: Confidence) -> Interval {
    match Space::of(observed, size) {
        None => clopper_pearson(observed, confidence),
        Some(space) => Interval {
            lower: space.lower(observed, confidence.tail()),
            upper: space.upper(observed, confidence.tail()),
        },
    }
}

/// The one-sided bound of [`exact`], for an outcome that never came: P(X ≤ k) ≤ 1 − confidence beyond it.
#[must_use]
pub fn exact_upper_bound(observed: Observed, size: Option<SpaceSize>, confidence: Confidence) -> f64 {
    match Space::of(observed, size) {
        None => upper_bound(observed, confidence),
        Some(space) => space.upper(observed, 1.0 - confidence.level()),
    }
}

/// A space of which a good part was drawn.
#[derive(Clone, Copy)]
struct Space {
    faults: u64,
    drawn: u64,
}

impl Space {
    fn of(observed: Observed, size: Option<SpaceSize>) -> Option<Space> {
        let faults = u64::try_from(size?.0).ok()?;
        let drawn = observed.trials();
        (drawn <= faults && float(drawn) >= HARDLY * float(faults)).then_some(Space { faults, drawn })
    }

    fn share(self, hits: u64) -> f64 {
        float(hits) / float(self.faults)
    }

    /// The smallest number of hits that is not excluded, as a share.
    fn lower(self, observed: Observed, tail: f64) -> f64 {
        let hits = observed.hits();
        // Those that were seen are there.
        let (mut excluded, mut least) = (None, hits + (self.faults - self.drawn));
        let mut low = hits;
        while low < least {
            let middle = low + (least - low) / 2;
            if 1.0 - self.at_most_before(hits, middle) > tail {
                least = middle;
            } else {
                excluded = Some(middle);
                low = middle + 1;
            }
        }
        debug_assert!(excluded.is_none_or(|excluded| excluded < least));
        self.share(least).min(observed.rate())
    }

    /// The largest.
    fn upper(self, observed: Observed, tail: f64) -> f64 {
        let hits = observed.hits();
        let (mut most, mut high) = (hits, hits + (self.faults - self.drawn));
        while most < high {
            let middle = high - (high - most) / 2;
            if self.at_most(hits, middle) > tail {
                most = middle;
            } else {
                high = middle - 1;
            }
        }
        self.share(most).max(observed.rate())
    }

    /// P(X < k) where `all` of the faults are hits.
    fn at_most_before(self, k: u64, all: u64) -> f64 {
        if k == 0 { 0.0 } else { self.at_most(k - 1, all) }
    }

    /// P(X ≤ k) where `all` of the faults are hits.
    fn at_most(self, k: u64, all: u64) -> f64 {
        let Space { faults, drawn } = self;
        let (least, most) = (drawn.saturating_sub(faults - all), drawn.min(all));
        if k >= most {
            return 1.0;
        }
        if k < least {
            return 0.0;
        }
        // From the term nearer to the mode outwards, on the side that has the smaller sum.
        let mode = (float(drawn) + 1.0) * (float(all) + 1.0) / (float(faults) + 2.0);
        let ratio = |x: u64| {
            // P(X = x) / P(X = x + 1).
            float(x + 1) * float(faults + x + 1 - all - drawn) / (float(all - x) * float(drawn - x))
        };
        let below = float(k) < mode;
        let mut term = self.chance(if below { k } else { k + 1 }, all);
        let mut sum = term;
        let mut x = k;
        if below {
            while x > least && term > sum * 1e-17 {
                x -= 1;
                term *= ratio(x);
                sum += term;
            }
            return sum.min(1.0);
        }
        x = k + 1;
        while x < most && term > sum * 1e-17 {
            term /= ratio(x);
            x += 1;
            sum += term;
        }
        (1.0 - sum).clamp(0.0, 1.0)
    }

    /// P(X = x), from three binomial probabilities whose parameter is the share that was drawn (Loader, "Fast and Accurate
    /// Computation of Binomial Probabilities", 2000).
    fn chance(self, x: u64, all: u64) -> f64 {
        let Space { faults, drawn } = self;
        let p = float(drawn) / float(faults);
        (binomial_log(x, all, p) + binomial_log(drawn - x, faults - all, p) - binomial_log(drawn, faults, p))
            .exp()
    }
}

/// ln P(B = x) for B binomial with n trials of probability p.
fn binomial_log(x: u64, n: u64, p: f64) -> f64 {
    let (k, m) = (float(x), float(n - x));
    if x == 0 || x == n {
        let (of, chance) = if x == 0 { (m, (-p).ln_1p()) } else { (k, p.ln()) };
        return if of == 0.0 { 0.0 } else { of * chance };
    }
    let n = float(n);
    // k ln(k/np) + np − k, without loss where both are near.
    let deviance = |k: f64, mean: f64| {
        let away = (k - mean) / mean;
        mean * ((1.0 + away) * away.ln_1p() - away)
    };
    stirling_rest(n) - stirling_rest(k) - stirling_rest(m) - deviance(k, n * p) - deviance(m, n * (1.0 - p))
        + 0.5 * (n / (std::f64::consts::TAU * k * m)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn observed(hits: u64, trials: u64) -> Observed {
        Observed::new(hits, trials).unwrap()
    }

    /// scipy 1.17.1, with `h = scipy.stats.hypergeom`: `min(K for K in range(k, N - n + k + 1) if h.sf(k - 1, N, K, n) >
    /// .025)` and `max(K for … if h.cdf(k, N, K, n) > .025)`.
    #[test]
    fn limits_are_those_of_scipy() {
        for (k, n, faults, lower, upper) in SCIPY {
            let found = exact(observed(*k, *n), Some(SpaceSize((*faults).into())), Confidence::P95);
            let share = |hits: u64| hits as f64 / *faults as f64;
            assert_eq!((found.lower, found.upper), (share(*lower), share(*upper)), "{k} of {n} of {faults}");
        }
    }

    const SCIPY: &[(u64, u64, u64, u64, u64)] = &[
        (0, 10, 20, 0, 4),
        (0, 50, 100, 0, 5),
        (1, 50, 100, 1, 8),
        (5, 50, 100, 5, 18),
        (3, 30, 40, 3, 7),
        (30, 30, 40, 38, 40),
        (0, 300, 1000, 0, 10),
        (7, 300, 1000, 12, 43),
        (150, 300, 1000, 452, 548),
        (299, 300, 1000, 984, 999),
        (2, 100, 9000, 23, 630),
        (12, 500, 512, 12, 14),
        (1, 1, 2, 1, 2),
        (40, 2000, 60000, 865, 1620),
    ];

    #[test]
    fn a_space_that_was_drawn_out_has_its_rate() {
        for k in [0, 3, 50] {
            let found = exact(observed(k, 50), Some(SpaceSize(50)), Confidence::P95);
            assert_eq!((found.lower, found.upper), (k as f64 / 50.0, k as f64 / 50.0));
        }
        assert_eq!(exact_upper_bound(observed(0, 50), Some(SpaceSize(50)), Confidence::P95), 0.0);
    }

    #[test]
    fn a_large_space_has_the_binomial_limits_at_once() {
        let seen = observed(3, 300);
        for size in [None, Some(SpaceSize(1 << 100)), Some(SpaceSize(u128::MAX)), Some(SpaceSize(30_001))] {
            assert_eq!(exact(seen, size, Confidence::P95), clopper_pearson(seen, Confidence::P95));
        }
        // At the share from which on the space is counted they have nearly the same.
        let (near, far) =
            (exact(seen, Some(SpaceSize(30_000)), Confidence::P95), clopper_pearson(seen, Confidence::P95));
        assert!((near.upper / far.upper - 1.0).abs() < 0.006 && near.upper < far.upper, "{near:?} {far:?}");
        // Ten million trials of a hundred million faults are no slower than a table.
        let wide = exact(observed(1_000, 10_000_000), Some(SpaceSize(100_000_000)), Confidence::P95);
        assert!(wide.contains(1e-4) && wide.upper < 1.07e-4, "{wide:?}");
    }

    proptest! {
        #[test]
        fn limits_contain_the_rate_and_are_no_wider_than_with_replacement(
            (faults, drawn, hits) in (1u64..3000).prop_flat_map(|faults| (Just(faults), 1..=faults))
                .prop_flat_map(|(faults, drawn)| (Just(faults), Just(drawn), 0..=drawn))
        ) {
            let seen = observed(hits, drawn);
            let (here, wide) = (exact(seen, Some(SpaceSize(faults.into())), Confidence::P95), clopper_pearson(seen, Confidence::P95));
            prop_assert!(here.contains(seen.rate()), "{here:?}");
            // A limit is a whole number of faults.
            let one = 1.0 / faults as f64;
            prop_assert!(here.lower >= wide.lower - one && here.upper <= wide.upper + one, "{here:?} {wide:?}");
        }
    }
}
