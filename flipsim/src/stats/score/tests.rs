//! Tests of `score`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::compare::fisher;

fn of(hits: u64, trials: u64) -> Observed {
    Observed::new(hits, trials).unwrap()
}

/// Python 3.13, numpy and scipy 1.17.1: the sum of `binom.pmf(k1, n1, p) * binom.pmf(k2, n2, phi * p)` over all pairs,
/// without the bounds and sums of the code, at the root that `numpy.roots` finds.
#[test]
fn the_probability_is_the_sum_over_all_pairs() {
    for ((k1, n1), (k2, n2), phi, both, larger, smaller) in [
        (
            (7, 34),
            (1, 34),
            1.0,
            0.027_795_934_152_079_517,
            0.989_778_401_527_682_2,
            0.013_897_967_076_039_762,
        ),
        ((30, 1000), (15, 1000), 0.5, 1.0, 0.514_235_998_952_216_5, 0.528_308_238_790_667),
        (
            (30, 1000),
            (30, 1000),
            0.5,
            0.005_217_687_760_677_704,
            0.003_547_195_249_850_61,
            0.996_596_128_867_320_7,
        ),
        ((0, 300), (4, 300), 2.0, 0.145_439_241_916_962_2, 0.075_314_792_013_618_42, 0.963_305_000_714_423_3),
        (
            (450, 900),
            (600, 800),
            1.25,
            1.867_045_902_094_089_8e-6,
            8.765_197_960_390_595e-7,
            0.999_999_123_401_8,
        ),
        (
            (3, 2000),
            (12, 1000),
            1.5,
            0.002_632_062_537_483_285,
            0.001_961_284_313_499_109_3,
            0.998_367_112_303_719_6,
        ),
        ((0, 50), (0, 60), 1.0, 1.0, 1.0, 1.0),
        (
            (40, 50),
            (10, 60),
            0.3,
            0.211_617_261_237_557_42,
            0.900_687_138_488_909_8,
            0.107_279_126_627_871_95,
        ),
    ] {
        for (against, expected) in
            [(Against::Both, both), (Against::Larger, larger), (Against::Smaller, smaller)]
        {
            let found = ratio_p(of(k1, n1), of(k2, n2), phi, against);
            assert!((found / expected - 1.0).abs() < 1e-8, "{k1}/{n1} {k2}/{n2} {against:?}: {found}");
        }
    }
}

/// statsmodels 0.15.0: `test_proportions_2indep(k2, n2, k1, n1, value=phi, compare="ratio", method="score",
/// correction=False).statistic`.
#[test]
fn the_score_is_that_of_statsmodels() {
    for ((k1, n1), (k2, n2), phi, expected) in [
        ((30, 1000), (15, 1000), 1.0, -2.261_656_365_159_503),
        ((450, 900), (600, 800), 1.25, 4.763_705_703_225_176),
    ] {
        let found = fit(of(k1, n1), of(k2, n2), phi).z;
        assert!((found / expected - 1.0).abs() < 1e-10, "{found}");
    }
}

#[test]
fn counts_of_any_size_have_a_probability() {
    let found = ratio_p(of(5_000_000, 10_000_000), of(2_500_000, 10_000_000), 0.5, Against::Both);
    assert!(found > 0.99, "{found}");
    let found = ratio_p(of(5_000_000, 10_000_000), of(2_504_000, 10_000_000), 0.5, Against::Both);
    // z is 2.2864: 4,000 hits, of a standard deviation of √(10^7 (¼·¾ + ¼·¼)) where the ratio holds.
    assert!((found - 0.011_4).abs() < 5e-3, "{found}");
    assert_eq!(ratio_p(of(10_000, 10_000), of(0, 10_000), 1.0, Against::Both), 0.0);
    assert_eq!(ratio_p(of(9, 9), of(9, 9), 1.0, Against::Both), 1.0);
}

/// The issue of a rate in a space of twice the size: F is equal, and the rate is half as large.
#[test]
fn equal_failures_in_spaces_of_different_size_are_called_different_in_a_twentieth() {
    let mut rng = fault_rng(1940, 0);
    let (trials, rounds) = (1_000, 3_000);
    let mut draw = |p: f64| of((0..trials).map(|_| u64::from(rng.random::<f64>() < p)).sum(), trials);
    let (mut of_rates, mut of_failures) = (0, 0);
    for _ in 0..rounds {
        let (a, b) = (draw(0.03), draw(0.015));
        of_rates += u32::from(fisher(a, b) <= 0.05);
        of_failures += u32::from(ratio_p(a, b, 0.5, Against::Both) <= 0.05);
    }
    let share = |count: u32| f64::from(count) / f64::from(rounds);
    assert!((0.53..0.61).contains(&share(of_rates)), "{}", share(of_rates));
    assert!((0.035..0.06).contains(&share(of_failures)), "{}", share(of_failures));
}

#[test]
fn an_interval_ends_where_its_test_does() {
    let (a, b) = (of(40, 1_000), of(20, 1_000));
    let (lower, upper) = ratio_interval(a, b, 0.05, &[]);
    let upper = upper.unwrap();
    // Koopman's interval, by statsmodels 0.15.0: `confint_proportions_2indep(20, 1000, 40, 1000, compare="ratio",
    // method="score", correction=False, alpha=0.1)` is 0.3218 to 0.7783.
    assert!((lower - 0.321_8).abs() < 0.01 && (upper - 0.778_3).abs() < 0.01, "{lower} to {upper}");
    assert!((ratio_p(a, b, lower, Against::Larger) - 0.05).abs() < 0.002);
    assert!((ratio_p(a, b, upper, Against::Smaller) - 0.05).abs() < 0.002);
    assert_eq!(ratio_interval(of(0, 100), of(0, 100), 0.05, &[]), (0.0, None));
    let (lower, upper) = ratio_interval(of(0, 100), of(10, 100), 0.05, &[]);
    assert!(lower > 1.0 && upper.is_none(), "{lower}");
    let (lower, upper) = ratio_interval(of(10, 100), of(0, 100), 0.05, &[]);
    assert!(lower == 0.0 && upper.unwrap() < 1.0, "{upper:?}");
}

proptest! {
    #[test]
    fn bounds_that_only_move_upwards_find_every_pair(
        n1 in 1u64..40, n2 in 1u64..40, part1 in 0u64..40, part2 in 0u64..40, phi in 0.1..10.0f64, side in 0..3usize
    ) {
        let (a, b) = (of(part1 % (n1 + 1), n1), of(part2 % (n2 + 1), n2));
        let against = [Against::Both, Against::Larger, Against::Smaller][side];
        let found = ratio_p(a, b, phi, against);
        let Fit { z: seen, rates: [one, other] } = fit(a, b, phi);
        let (first, second) = (Binomial::new(n1, one), Binomial::new(n2, other));
        let rounding = ROUNDING * seen.abs().max(1.0);
        let mut all = 0.0;
        for (k1, weight) in (first.first..).zip(&first.weights) {
            for (k2, and) in (second.first..).zip(&second.weights) {
                let z = fit(of(k1, n1), of(k2, n2), phi).z;
                let as_far = match against {
                    Against::Both => z.abs() >= seen.abs() - rounding,
                    Against::Larger => z >= seen - rounding,
                    Against::Smaller => z <= seen + rounding,
                };
                all += if as_far { weight * and } else { 0.0 };
            }
        }
        prop_assert!((found - all).abs() < 1e-9, "{found} {all}");
    }

    #[test]
    fn which_campaign_is_the_first_is_no_matter(
        n1 in 1u64..3_000, n2 in 1u64..3_000, part1 in 0u64..3_000, part2 in 0u64..3_000, phi in 0.2..5.0f64
    ) {
        let (a, b) = (of(part1 % (n1 + 1), n1), of(part2 % (n2 + 1), n2));
        let (here, there) = (ratio_p(a, b, phi, Against::Both), ratio_p(b, a, 1.0 / phi, Against::Both));
        prop_assert!((0.0..=1.0).contains(&here) && (here - there).abs() < 1e-6, "{here} {there}");
    }
}

/// numpy and scipy 1.17.1: the sum of `outer(binom.pmf(i, n1, p), binom.pmf(j, n2, p))` over all counts whose pooled z is as large,
/// the most over 4,001 p between the ends that `beta.ppf` gives at 2.5e-7. Of the third and the last it is also the p of
/// `barnard_exact(…, alternative="greater", n=256)`, which is the most over all p.
#[test]
fn exact_p_are_those_of_barnards_test() {
    for ([k1, n1], [k2, n2], expected) in EXACT {
        let of = |hits, trials| Observed::new(hits, trials).unwrap();
        let found = ratio_p_exact(of(k1, n1), of(k2, n2), 1.0, Against::Larger);
        assert!(
            (found - expected - MISSED).abs() < 1e-4 * expected,
            "{k1}/{n1} {k2}/{n2}: {found} {expected}"
        );
        assert!(found >= ratio_p(of(k1, n1), of(k2, n2), 1.0, Against::Larger));
    }
    // Twice the rate in half the space is no rise, and nothing is ever below what was missed.
    let of = |hits, trials| Observed::new(hits, trials).unwrap();
    assert!(ratio_p_exact(of(10, 100), of(20, 100), 2.0, Against::Larger) > 0.4);
    assert_eq!(ratio_p_exact(of(0, 1_000), of(900, 1_000), 1.0, Against::Larger), MISSED);
    assert_eq!(ratio_p_exact(of(0, 100), of(0, 100), 1.0, Against::Larger), 1.0);
}

const EXACT: [([u64; 2], [u64; 2], f64); 5] = [
    ([3, 60], [10, 60], 0.020_881_149),
    ([3, 120], [12, 120], 0.008_428_653),
    ([12, 100], [24, 100], 0.014_306_894),
    ([5, 40], [19, 90], 0.125_923_821),
    ([40, 80], [55, 80], 0.008_341_749),
];
