//! The special functions that the intervals need, good for tens of millions of trials.
//!
//! statrs has an incomplete beta function and its inverse as well, but cuts the continued fraction
//! off after 140 terms, which is too few near the mean of a large sample, and its inverse does not
//! always return for a few hits in 10^7 trials.
//!
//! Invariant: every function ends, whatever its arguments, and answers within [0, 1] where the
//! answer is a probability.

use std::f64::consts::{SQRT_2, TAU};

use statrs::function::erf::erfc_inv;
use statrs::function::gamma::ln_gamma;

/// The normal quantile that is exceeded with this probability.
pub(super) fn normal_upper(tail: f64) -> f64 {
    SQRT_2 * erfc_inv(2.0 * tail)
}

/// The regularised incomplete beta function I_x(a, b), for a and b above 0 (DLMF 8.17).
pub(super) fn beta_reg(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges quickly on this side of the mean; the other is its mirror.
    let value = if x < (a + 1.0) / (a + b + 2.0) {
        left_of_the_mean(a, b, x, 1.0 - x)
    } else {
        1.0 - left_of_the_mean(b, a, 1.0 - x, x)
    };
    value.clamp(0.0, 1.0)
}

/// I_x(a, b) for x below the mean, with y = 1 − x.
fn left_of_the_mean(a: f64, b: f64, x: f64, y: f64) -> f64 {
    (log_beta_density(a, b, x, y) + (x * y / a).ln()).exp() / continued_fraction(a, b, x)
}

/// The logarithm of the density of the beta distribution.
fn log_beta_density(a: f64, b: f64, x: f64, y: f64) -> f64 {
    // The smaller of the two is the exact one.
    let (ln_x, ln_y) = if x < y { (x.ln(), (-x).ln_1p()) } else { ((-y).ln_1p(), y.ln()) };
    (a - 1.0) * ln_x + (b - 1.0) * ln_y - ln_beta(a, b)
}

/// The logarithm of B(a, b).
///
/// Put together from Stirling's formula, as the difference of three logarithms of the gamma function
/// near 10^7 would keep only eight digits of B.
pub(super) fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = (a.min(b), a.max(b));
    (small - 0.5) * (small / (small + large)).ln() - large * (small / large).ln_1p()
        + 0.5 * (TAU / large).ln()
        + stirling_rest(small)
        + stirling_rest(large)
        - stirling_rest(small + large)
}

/// What Stirling's formula lacks of ln Γ(x): ln Γ(x) − (x − ½) ln x + x − ½ ln 2π (DLMF 5.11.1).
pub(super) fn stirling_rest(x: f64) -> f64 {
    if x < 10.0 {
        return ln_gamma(x) - (x - 0.5) * x.ln() + x - 0.5 * TAU.ln();
    }
    let square = x * x;
    [1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0, 1.0 / 12.0]
        .into_iter()
        .fold(0.0, |sum, factor| sum / square + factor)
        / x
}

/// 1 + d1/(1 + d2/(1 + …)) of DLMF 8.17.22, from the front (Lentz's method). It takes about
/// √max(a, b) terms.
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const MOST_TERMS: u32 = 1_000_000;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for term in 1..=MOST_TERMS {
        let m = f64::from(term / 2);
        let numerator = if term % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 / away_from_zero(1.0 + numerator * d);
        c = away_from_zero(1.0 + numerator / c);
        value *= c * d;
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    value
}

/// The x with I_x(a, b) = p, for a and b above 0.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    if a > b {
        return 1.0 - beta_quantile(1.0 - p, b, a);
    }
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    // Newton's method in ln x, as the quantiles of a few hits lie many powers of ten below 1; the
    // bracket takes over where a step would leave it.
    let (mut low, mut high) = (f64::MIN_POSITIVE.ln(), 0.0);
    let mut at = (a / (a + b)).ln();
    for _ in 0..200 {
        let x = f64::exp(at);
        let error = beta_reg(a, b, x) - p;
        if error < 0.0 {
            low = at;
        } else {
            high = at;
        }
        let slope = (log_beta_density(a, b, x, 1.0 - x) + at).exp();
        let newton = at - error / slope;
        let next = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        let done = (next - at).abs() <= 1e-15 * at.abs().max(1.0);
        at = next;
        if done {
            break;
        }
    }
    at.exp()
}

/// P(B ≤ k) for B binomial with n trials of probability q.
pub(super) fn binomial_at_most(k: u64, n: u64, q: f64) -> f64 {
    if k >= n { 1.0 } else { beta_reg(float(n - k), float(k) + 1.0, 1.0 - q) }
}

/// The first number from `low` to `high` that holds, which it does from somewhere on; `high` where none before it does.
pub(super) fn first(mut low: u64, mut high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[expect(clippy::cast_precision_loss, reason = "exact up to `MOST_TRIALS`")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// scipy 1.17.1: `[norm.ppf(1 - (1 - c) / 2) for c in (.5, .9, .95, .99, .998, .999, .999999)]`.
    #[test]
    fn normal_quantiles_are_those_of_scipy() {
        for (level, expected) in [
            (0.5, 0.674_489_750_196_081_7),
            (0.9, 1.644_853_626_951_472_2),
            (0.95, 1.959_963_984_540_054),
            (0.99, 2.575_829_303_548_900_4),
            (0.998, 3.090_232_306_167_813),
            (0.999, 3.290_526_731_491_925_5),
            (0.999_999, 4.891_638_475_671_085),
        ] {
            let z = normal_upper((1.0 - level) / 2.0);
            assert!((z - expected).abs() < 1e-9, "{level}: {z}");
        }
    }

    #[test]
    fn the_incomplete_beta_function_is_the_binomial_sum() {
        // P(B <= k) of B(n = 12, q = 0.3), added up term by term.
        let (n, q) = (12u64, 0.3f64);
        let mut term = (1.0 - q).powi(12);
        let mut sum = 0.0;
        for k in 0..=n {
            sum += term;
            let found = binomial_at_most(k, n, q);
            assert!((found - sum).abs() < 1e-13, "{k}: {found} is not {sum}");
            term *= float(n - k) / float(k + 1) * q / (1.0 - q);
        }
    }

    #[test]
    fn the_ends_of_the_binomial_distribution_are_exact() {
        assert_eq!(binomial_at_most(0, 5, 0.0), 1.0);
        assert_eq!(binomial_at_most(4, 5, 1.0), 0.0);
        assert_eq!(binomial_at_most(5, 5, 1.0), 1.0);
    }

    proptest! {
        #[test]
        fn a_quantile_is_where_the_function_has_its_value(
            a in 1u64..20_000, b in 1u64..20_000, p in 1e-6..1.0f64
        ) {
            let (a, b) = (float(a), float(b));
            let x = beta_quantile(p, a, b);
            prop_assert!((beta_reg(a, b, x) - p).abs() < 1e-8, "{x}");
        }
    }
}
