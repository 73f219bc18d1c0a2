//! Quantiles of measured times, such as those from a flip to its detection.
//!
//! Only of trials that were detected: what was not detected until the trial's end is no time, and
//! leaving it out makes detection look quick. Give the share of detected trials beside the quantiles, or
//! use [`super::survival`], which takes such trials as censored.
//!
//! Invariant: a quantile, and each end of its interval, is one of the measured values.

use serde::Serialize;

use super::special::binomial_at_most;
use crate::stats::quantity::{Confidence, Share};
use crate::stats::special::{first, float};

/// Measured values, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted<T>(Vec<T>);

/// A quantile; an end of the interval is `None` where the sample is too small to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantile<T> {
    /// The quantile, by nearest rank: the smallest value that at least this share is not above.
    pub value: T,
    /// The lower end.
    pub lower: Option<T>,
    /// The upper end.
    pub upper: Option<T>,
}

impl<T: Ord + Copy> Sorted<T> {
    /// Sorts the values.
    #[must_use]
    pub fn new(mut values: Vec<T>) -> Self {
        values.sort_unstable();
        Sorted(values)
    }

    /// The values, smallest first.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.0
    }

    /// The quantile of a share, with the interval between two of the values that contains the true one
    /// with at least the confidence, whatever the distribution; `None` of no values.
    ///
    /// The number of values below the true quantile is binomial: the interval goes from rank l, the
    /// largest with P(B < l) ≤ α/2, to rank u, the smallest with P(B ≥ u) ≤ α/2 (David and Nagaraja,
    /// "Order Statistics", 3rd edition 2003, section 7.1).
    #[must_use]
    pub fn quantile(&self, share: Share, confidence: Confidence) -> Option<Quantile<T>> {
        let n = self.0.len() as u64;
        let (lower, upper) = ranks(n, share, confidence);
        Some(Quantile {
            value: *self.at_rank(nearest_rank(share.value(), n).max(1))?,
            lower: self.at_rank(lower).copied(),
            upper: self.at_rank(upper).copied(),
        })
    }

    /// The value of a rank, counted from 1.
    pub(super) fn at_rank(&self, rank: u64) -> Option<&T> {
        self.0.get(usize::try_from(rank).ok()?.checked_sub(1)?)
    }
}

/// The ranks that the interval of a quantile goes from and to, of n values; 0 and above n are of none.
pub(super) fn ranks(n: u64, share: Share, confidence: Confidence) -> (u64, u64) {
    let (q, tail) = (share.value(), confidence.tail());
    // P(B < l) ≤ α/2 holds up to a rank, P(B ≥ u) ≤ α/2 from a rank on.
    let lower = first(0, n, |rank| binomial_at_most(rank, n, q) > tail);
    let upper = first(0, n, |rank| 1.0 - binomial_at_most(rank, n, q) <= tail) + 1;
    (lower, upper)
}

/// ⌈q n⌉, where a product that rounding has put just above a whole number is that number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and n")]
pub(super) fn nearest_rank(q: f64, n: u64) -> u64 {
    let exact = q * float(n);
    ((exact - exact * 1e-15).ceil() as u64).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::fault_rng;
    use proptest::prelude::*;
    use rand::RngExt;

    fn of(n: u64, q: f64) -> Quantile<u64> {
        let values = Sorted::new((1..=n).rev().collect());
        values.quantile(Share::new(q).unwrap(), Confidence::P95).unwrap()
    }

    /// The median's ranks of 10 and 100 values are in every table of order statistics; all with scipy
    /// 1.17.1, from `binom.cdf(l - 1, n, q) <= 0.025` and `binom.sf(u - 1, n, q) <= 0.025`.
    #[test]
    fn ranks_are_those_of_the_tables() {
        for (n, q, value, lower, upper) in [
            (100, 0.5, 50, Some(40), Some(61)),
            (10, 0.5, 5, Some(2), Some(9)),
            (6, 0.5, 3, Some(1), Some(6)),
            (5, 0.5, 3, None, None),
            (1000, 0.9, 900, Some(881), Some(919)),
            (100, 0.99, 99, Some(97), None),
            (1000, 0.99, 990, Some(983), Some(997)),
        ] {
            assert_eq!(of(n, q), Quantile { value, lower, upper }, "{n} {q}");
        }
    }

    #[test]
    fn the_ends_of_the_range_are_the_extremes() {
        assert_eq!((of(9, 0.0).value, of(9, 1.0).value), (1, 9));
        assert_eq!(Sorted::<u64>::new(vec![]).quantile(Share::HALF, Confidence::P95), None);
        assert_eq!(of(1, 0.5), Quantile { value: 1, lower: None, upper: None });
        // 0.07 · 100 is 7.000000000000001 in binary fractions.
        assert_eq!(of(100, 0.07).value, 7);
    }

    #[test]
    fn the_interval_covers_the_quantile_of_any_distribution() {
        let (rounds, n) = (2_000, 60);
        let mut rng = fault_rng(2003, 0);
        let mut covered = 0u32;
        // Squares of uniform numbers: the 0.8 quantile is 0.64.
        for _ in 0..rounds {
            let draw = |_| {
                let x: f64 = rng.random();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 10^12")]
                let scaled = (x * x * 1e12) as u64;
                scaled
            };
            let sample = Sorted::new((0..n).map(draw).collect());
            let found = sample.quantile(Share::new(0.8).unwrap(), Confidence::P95).unwrap();
            let within = found.lower.is_none_or(|lower| lower <= 640_000_000_000)
                && found.upper.is_none_or(|upper| upper >= 640_000_000_000);
            covered += u32::from(within);
        }
        assert!(f64::from(covered) / f64::from(rounds) >= 0.945, "{covered}");
    }

    proptest! {
        #[test]
        fn the_interval_contains_the_quantile(
            values in proptest::collection::vec(0u64..50, 1..300), q in 0.0..=1.0f64
        ) {
            let found = Sorted::new(values).quantile(Share::new(q).unwrap(), Confidence::P95).unwrap();
            prop_assert!(found.lower.is_none_or(|lower| lower <= found.value));
            prop_assert!(found.upper.is_none_or(|upper| upper >= found.value));
        }
    }
}
