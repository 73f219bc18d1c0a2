//! Many tests at once: what is left of a small p among others.
//!
//! Invariant: a q is not below its p; a bound is not above the share that was asked for.

/// The false discovery rate at which each test is a discovery, in the order of `p`: the smallest of p·m/rank over this and
/// all larger ones (Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995).
///
/// Of the rows whose q is 5 % or less, 5 % are expected to be chance; for tests that are independent or depend positively.
#[must_use]
pub fn false_discovery(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*other].total_cmp(&p[*one]));
    let mut found = vec![1.0; p.len()];
    let mut least = 1.0_f64;
    for (index, rank) in order.into_iter().zip((1..=p.len()).rev()) {
        least = least.min(p[index] * count(p.len()) / count(rank)).max(p[index].min(1.0));
        found[index] = least;
    }
    found
}

/// The level of all tests together at which each is an error, in the order of `p`: the largest of p·(m + 1 − rank) over this
/// and all smaller ones, at most 1 (Holm, Scandinavian Journal of Statistics 6, 1979).
///
/// Those at or below a level are at most as likely to hold an error as it says, however the tests depend on each other.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let mut found = vec![1.0; p.len()];
    let mut most = 0.0_f64;
    for (index, left) in order.into_iter().zip((1..=p.len()).rev()) {
        most = most.max(p[index] * count(left)).min(1.0);
        found[index] = most;
    }
    found
}

/// How many of some tests count, and the p below which one of them means something at `level`.
///
/// `smallest` is the smallest p that each could have had. One that could not fall below the bound is no chance of an error,
/// and is not counted: the bound is `level`/K with the smallest K for which at most K tests can reach it (Tarone,
/// Biometrics 46, 1990). Without tests that can, K is 1 and nothing means something.
#[must_use]
pub fn bonferroni(smallest: &[f64], level: f64) -> (usize, f64) {
    let able = |tests: usize| smallest.iter().filter(|p| **p <= level / count(tests)).count();
    let tests = (1..=smallest.len().max(1)).find(|tests| able(*tests) <= *tests).unwrap_or(1);
    (tests.min(able(tests)), level / count(tests))
}

fn count(number: usize) -> f64 {
    super::special::float(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// scipy 1.17.1 `scipy.stats.false_discovery_control(p)` and statsmodels 0.15.0 `multipletests(p, method="fdr_bh")[1]`
    /// agree on both.
    #[test]
    fn rates_are_those_of_scipy_and_statsmodels() {
        let some = [0.5, 0.01, 1.0, 0.03, 0.01, 0.02];
        let expected = [0.6, 0.03, 1.0, 0.045, 0.03, 0.04];
        for (found, expected) in false_discovery(&some).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        let many = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216, 0.222, 0.251, 0.269];
        let found = false_discovery(&[&many[..], &[0.9; 12]].concat());
        let expected = [0.025, 0.1, 0.21, 0.21, 0.21, 0.25, 0.264_285_714_285_714_23];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        assert!(false_discovery(&[]).is_empty());
    }

    /// statsmodels 0.15.0 `multipletests(p, method="holm")[1]`.
    #[test]
    fn levels_are_those_of_statsmodels() {
        let found = holm(&[0.5, 0.01, 1.0, 0.03, 0.01, 0.02]);
        for (found, expected) in found.into_iter().zip([1.0, 0.06, 1.0, 0.09, 0.06, 0.08]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        assert!(holm(&[]).is_empty());
    }

    /// Tarone's rule by hand: with 0.05 the second and third can reach 0.025 and 0.0166; at K = 2 two can reach 0.025.
    #[test]
    fn only_tests_that_can_mean_something_are_counted() {
        assert_eq!(bonferroni(&[1.0, 0.001, 0.000_1, 0.2, 0.06, 1.0], 0.05), (2, 0.025));
        assert_eq!(bonferroni(&[0.001; 4], 0.05), (4, 0.0125));
        assert_eq!(bonferroni(&[1.0; 4], 0.05), (0, 0.05));
        assert_eq!(bonferroni(&[], 0.05), (0, 0.05));
    }

    proptest! {
        #[test]
        fn a_q_is_not_below_its_p_and_keeps_the_order(p in proptest::collection::vec(0.0..=1.0f64, 1..40)) {
            let q = false_discovery(&p);
            for (one, of_one) in p.iter().zip(&q) {
                prop_assert!(of_one >= one && *of_one <= 1.0);
                for (other, of_other) in p.iter().zip(&q) {
                    prop_assert!(one > other || of_one <= of_other);
                }
            }
        }
    }
}
