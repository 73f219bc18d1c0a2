//! Tests of `compare`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::quantity::{Confidence, SpaceSize};
use crate::stats::strata::{Drawing, StratumCount};

fn of(hits: u64, trials: u64) -> Observed {
    Observed::new(hits, trials).unwrap()
}

fn rate(hits: u64, trials: u64) -> Estimate {
    of(hits, trials).estimate(Confidence::P95)
}

/// Newcombe 1998, table II, method 10, rows a to h; the same from statsmodels 0.15.0:
/// `confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", correction=False)`.
#[test]
fn differences_are_those_of_newcombes_table() {
    for ((k1, n1), (k2, n2), lower, upper) in [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ] {
        let Interval { lower: l, upper: u } = difference(rate(k1, n1), rate(k2, n2)).interval;
        assert!((l - lower).abs() <= 5.1e-5 && (u - upper).abs() <= 5.1e-5, "{k1}/{n1}: {l} to {u}");
    }
}

/// Fagerland, Lydersen and Laake, "Statistical Analysis of Contingency Tables", 2017, chapter 4
/// (Perondi's trial, 7 of 34 and 1 of 34): the values of the authors' R package contingencytables
/// are 1.1537 to 41.9763. The others: the formula of the paper, evaluated in Python 3.11 on the
/// Wilson intervals of statsmodels 0.15.0.
#[test]
fn ratios_are_those_of_the_paper() {
    for ((k1, n1), (k2, n2), lower, upper) in [
        ((7, 34), (1, 34), 1.153_668_689_233_680_3, 41.976_261_672_517_545),
        ((0, 16), (15, 72), 0.0, 1.001_818_867_035_139_8),
        ((40, 1000), (20, 1000), 1.179_807_862_839_480_1, 3.375_997_129_176_397_5),
        ((3, 10_000), (9, 10_000), 0.096_766_529_830_876_8, 1.191_542_063_564_809_7),
    ] {
        let found = ratio(rate(k1, n1), rate(k2, n2));
        assert!((found.lower - lower).abs() < 1e-8, "{k1}/{n1}: {found:?}");
        assert!((found.upper.unwrap() / upper - 1.0).abs() < 1e-8, "{k1}/{n1}: {found:?}");
    }
}

#[test]
fn a_ratio_to_nothing_has_no_upper_end() {
    let some_to_none = ratio(rate(10, 100), rate(0, 100));
    assert_eq!((some_to_none.value, some_to_none.upper), (None, None));
    assert!(some_to_none.lower > 1.0, "{some_to_none:?}");
    assert_eq!(ratio(rate(0, 9), rate(0, 9)), Ratio { value: None, lower: 0.0, upper: None });
    let none_to_some = ratio(rate(0, 100), rate(10, 100));
    assert_eq!((none_to_some.value, none_to_some.lower), (Some(0.0), 0.0));
    assert!(none_to_some.upper.unwrap() < 1.0);
}

#[test]
fn a_hardened_program_can_have_a_lower_rate_and_more_failures() {
    // Twice the run time and four times the memory, and a third of the rate.
    let plain = of(300, 10_000).failures(SpaceSize(1_000_000_000), Confidence::P95);
    let hardened = of(100, 10_000).failures(SpaceSize(8_000_000_000), Confidence::P95);
    assert!(ratio(rate(100, 10_000), rate(300, 10_000)).upper.unwrap() < 0.5);
    let failures = ratio(hardened, plain);
    assert!((failures.value.unwrap() - 8.0 / 3.0).abs() < 1e-12);
    assert!(failures.lower > 2.0, "{failures:?}");
}

/// scipy 1.17.1: `fisher_exact([[k1, n1 - k1], [k2, n2 - k2]])[1]`. The first is Perondi's trial
/// again, the fourth the lady tasting tea.
#[test]
fn fishers_test_is_that_of_scipy() {
    for ((k1, n1), (k2, n2), expected) in [
        ((7, 34), (1, 34), 0.054_400_130_495_065_674),
        ((0, 16), (15, 72), 0.062_866_664_630_109_33),
        ((8, 10), (1, 6), 0.034_965_034_965_034_975),
        ((3, 4), (1, 4), 0.485_714_285_714_285_65),
        ((0, 10), (0, 10), 1.0),
        ((10, 10), (10, 10), 1.0),
        ((120, 10_000), (80, 10_000), 0.005_448_049_131_079_595),
        ((5, 10_000_000), (0, 10_000_000), 0.062_499_968_729_221_034),
        ((30_000, 1_000_000), (29_000, 1_000_000), 2.980_524_252_157_934_4e-05),
    ] {
        let found = fisher(of(k1, n1), of(k2, n2));
        assert!((found / expected - 1.0).abs() < 1e-6, "{k1}/{n1} {k2}/{n2}: {found}");
    }
    assert_eq!(fisher(of(10_000, 10_000), of(0, 10_000)), 0.0);
}

#[test]
fn the_intervals_cover_what_they_compare_as_often_as_they_say() {
    let (p1, p2, trials, rounds) = (0.03, 0.015, 400, 4_000);
    let mut rng = fault_rng(1998, 0);
    let mut draw = |p: f64| (0..trials).map(|_| u64::from(rng.random::<f64>() < p)).sum::<u64>();
    let (mut by_difference, mut by_ratio, mut by_chance) = (0, 0, 0);
    for _ in 0..rounds {
        let (a, b, again) = (draw(p1), draw(p2), draw(p1));
        let (a, b, again) = (of(a, trials), of(b, trials), of(again, trials));
        let (one, other) = (a.estimate(Confidence::P95), b.estimate(Confidence::P95));
        by_difference += u32::from(difference(one, other).interval.contains(p1 - p2));
        let Ratio { lower, upper, .. } = ratio(one, other);
        by_ratio += u32::from(lower <= p1 / p2 && upper.is_none_or(|upper| upper >= p1 / p2));
        by_chance += u32::from(fisher(a, again) <= 0.05);
    }
    let share = |count: u32| f64::from(count) / f64::from(rounds);
    // Two standard errors are 0.007; Fisher's test errs on the side of no difference.
    assert!((0.943..0.97).contains(&share(by_difference)), "{}", share(by_difference));
    assert!((0.943..0.97).contains(&share(by_ratio)), "{}", share(by_ratio));
    assert!(share(by_chance) < 0.05, "{}", share(by_chance));
}

/// scipy 1.17.1: MOVER-R on Clopper and Pearson's intervals (`beta.ppf`), which one stratum has; p by `brentq` over the
/// confidence at which the nearer end is 1.
#[test]
fn sums_and_their_p_are_those_of_scipy() {
    let strata = |(hits, trials, size)| {
        let part = StratumCount::new("one".to_owned(), SpaceSize(size), hits, trials).unwrap();
        Strata::new(vec![part], Drawing::WithoutReplacement).unwrap()
    };
    for (a, b, expected, p) in [
        (
            (60, 1_000, 1_000_000),
            (20, 1_000, 2_000_000),
            [0.666_666_666_666_666_6, 0.387_340_092_224_315_54, 1.106_488_490_583_620_8],
            0.125_478_574_191_138_25,
        ),
        (
            (40, 500, 5_000_000),
            (70, 600, 5_000_000),
            [1.458_333_333_333_333_5, 0.998_973_431_848_795_4, 2.154_645_714_341_443],
            0.050_661_351_737_057_79,
        ),
    ] {
        let (a, b) = (strata(a), strata(b));
        let Ratio { value, lower, upper } = sums(&a, &b, Confidence::P95);
        for (found, expected) in [value.unwrap(), lower, upper.unwrap()].into_iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
        assert!((sums_p(&a, &b, 1.0) / p - 1.0).abs() < 1e-6, "{}", sums_p(&a, &b, 1.0));
        // Which is the first is no matter.
        assert!((sums_p(&b, &a, 1.0) / p - 1.0).abs() < 1e-6);
    }
    // What never came in the first has no bound above.
    let (none, some) = (strata((0, 300, 1_000_000)), strata((9, 300, 1_000_000)));
    assert_eq!(
        (sums(&none, &some, Confidence::P95).value, sums(&none, &some, Confidence::P95).upper),
        (None, None)
    );
    assert!(sums_p(&none, &some, 1.0) < 0.01 && sums_p(&none, &none, 1.0) > 0.99);
}

proptest! {
    #[test]
    fn comparisons_are_symmetric_and_contain_their_value(
        n1 in 1u64..5_000, n2 in 1u64..5_000, part1 in 0u64..5_000, part2 in 0u64..5_000
    ) {
        let (a, b) = (of(part1 % (n1 + 1), n1), of(part2 % (n2 + 1), n2));
        let p = fisher(a, b);
        prop_assert!((0.0..=1.0).contains(&p));
        prop_assert!((p - fisher(b, a)).abs() < 1e-9);
        let (one, other) = (a.estimate(Confidence::P95), b.estimate(Confidence::P95));
        let d = difference(one, other);
        prop_assert!(d.interval.contains(d.value));
        prop_assert!(d.interval.lower >= -1.0 - 1e-12 && d.interval.upper <= 1.0 + 1e-12);
        let r = ratio(one, other);
        prop_assert!(r.lower.is_finite() && r.lower >= 0.0);
        if let (Some(value), Some(upper)) = (r.value, r.upper) {
            prop_assert!(r.lower <= value * (1.0 + 1e-12) && value <= upper * (1.0 + 1e-12), "{r:?}");
        }
    }
}
