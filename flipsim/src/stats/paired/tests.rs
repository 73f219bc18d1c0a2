//! Tests of `paired`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::compare::fisher;
use crate::stats::quantity::Observed;

fn pairs(second: u64, first: u64, all: u64) -> Pairs {
    Pairs { both: 0, first, second, neither: all - first - second }
}

/// The interval: Tango's score with the likeliest share found by `scipy.optimize.brentq` on the likelihood's slope, and its
/// ends by the same (scipy 1.17.1); the first is the example of Fagerland, Lydersen and Laake (BMC Medical Research
/// Methodology 13, 2013; airway hyper-responsiveness). The test: statsmodels 0.15.0, `mcnemar(table, exact=True)`.
#[test]
fn pairs_are_those_of_the_papers_and_of_statsmodels() {
    for ((second, first, all), lower, upper, p) in [
        ((7, 1, 21), 0.026_003_032_480_868_524, 0.517_232_276_421_377_4, 0.070_312_5),
        ((1, 7, 21), -0.517_232_276_421_377_4, -0.026_003_032_480_868_556, 0.070_312_5),
        ((0, 0, 100), -0.036_993_498_207_185_69, 0.036_993_498_207_185_67, 1.0),
        ((5, 0, 300), 0.003_812_979_255_044_510_4, 0.038_415_394_833_175_354, 0.062_5),
        ((30, 12, 1000), 0.005_553_982_315_498_432, 0.031_776_228_545_484_946, 0.007_915_897_334_896_727),
        ((3, 9, 10_000), -0.001_443_913_805_429_491_6, 9.341_702_139_389_678e-5, 0.145_996_093_75),
        (
            (400, 350, 5_000),
            -0.000_736_748_775_260_000_6,
            0.020_764_705_590_720_845,
            0.073_507_774_058_434_74,
        ),
    ] {
        let found = pairs(second, first, all);
        let Interval { lower: l, upper: u } = found.difference(Confidence::P95).unwrap().interval;
        assert!((l - lower).abs() < 1e-8 && (u - upper).abs() < 1e-8, "{found:?}: {l} to {u}");
        assert!((found.mcnemar() / p - 1.0).abs() < 1e-9, "{found:?}: {}", found.mcnemar());
    }
    assert_eq!(pairs(0, 0, 0).difference(Confidence::P95), None);
}

/// The interval: the score with the likeliest share found by `scipy.optimize.minimize_scalar` on the likelihood, and its ends
/// by `brentq` (scipy 1.17.1).
#[test]
fn a_ratio_of_pairs_is_that_of_the_likelihood() {
    for ((both, first, second, neither), value, lower, upper) in [
        ((20, 12, 3, 965), 0.718_75, 0.523_015_123_9, 0.944_586_933_7),
        ((5, 10, 20, 165), 1.666_666_666_6, 0.963_428_603_2, 2.917_477_523_1),
        ((43, 0, 7, 150), 1.162_790_697_6, 1.067_430_464_0, 1.354_760_105_5),
        ((0, 9, 2, 989), 0.222_222_222_2, 0.054_149_226_7, 0.911_974_812_6),
        ((30, 1, 1, 68), 1.0, 0.864_563_283_9, 1.156_653_329_5),
    ] {
        let pairs = Pairs { both, first, second, neither };
        let found = pairs.ratio(Confidence::P95);
        assert!((found.value.unwrap() - value).abs() < 1e-9, "{found:?}");
        assert!(
            (found.lower - lower).abs() < 1e-5 && (found.upper.unwrap() - upper).abs() < 1e-5,
            "{found:?}"
        );
        // It ends at 1 where the difference ends at 0.
        let difference = pairs.difference(Confidence::P95).unwrap().interval;
        assert_eq!(found.contains(1.0), difference.contains(0.0));
        let turned = Pairs { first: second, second: first, ..pairs }.ratio(Confidence::P95);
        assert!((turned.lower * found.upper.unwrap() - 1.0).abs() < 1e-6);
    }
    let never = Pairs { both: 0, first: 8, second: 0, neither: 92 }.ratio(Confidence::P95);
    assert!(never.value == Some(0.0) && never.lower == 0.0 && never.upper.unwrap() < 0.6, "{never:?}");
    let new = Pairs { both: 0, first: 0, second: 8, neither: 92 }.ratio(Confidence::P95);
    assert!(new.value.is_none() && new.upper.is_none() && new.lower > 1.6, "{new:?}");
    let nothing = Pairs { neither: 100, ..Pairs::default() }.ratio(Confidence::P95);
    assert_eq!((nothing.value, nothing.lower, nothing.upper), (None, 0.0, None));
}

/// 3,000 samples each; a rate that is met twice in a sample has none that says much.
#[test]
fn a_ratio_of_pairs_is_in_its_interval_as_often_as_it_should() {
    let mut rng = fault_rng(2002, 0);
    for (both, first, second, all) in [
        (0.03, 0.02, 0.005, 1_000),
        (0.0, 0.02, 0.01, 1_000),
        (0.2, 0.1, 0.1, 200),
        (0.01, 0.001, 0.004, 2_000),
    ] {
        let ratio = (both + second) / (both + first);
        let rounds = 3_000;
        let held = (0..rounds).filter(|_| {
            let mut pairs = Pairs::default();
            for _ in 0..all {
                let place: f64 = rng.random();
                let in_first = place < both + first;
                let in_second = place < both || (both + first..both + first + second).contains(&place);
                pairs.add(in_first, in_second);
            }
            pairs.ratio(Confidence::P95).contains(ratio)
        });
        let held = held.count() as f64 / f64::from(rounds);
        assert!((0.94..0.975).contains(&held), "{both} {first} {second} {all}: {held}");
    }
}

#[test]
fn a_ratio_is_refuted_where_it_is_not_in_the_interval() {
    let pairs = Pairs { both: 20, first: 12, second: 3, neither: 965 };
    assert_eq!(pairs.ratio_p(1.0).total_cmp(&pairs.mcnemar()), std::cmp::Ordering::Equal);
    let found = pairs.ratio(Confidence::P95);
    for (ratio, is_in) in [(0.51, false), (0.53, true), (0.9, true), (0.95, false)] {
        assert_eq!((pairs.ratio_p(ratio) > 0.05, found.contains(ratio)), (is_in, is_in), "{ratio}");
    }
    assert!((pairs.ratio_p(found.lower) - 0.05).abs() < 1e-6);
    let never = Pairs { both: 0, first: 8, second: 0, neither: 92 };
    assert!(never.ratio_p(0.9) < 0.01 && never.ratio_p(0.1) > 0.3, "{}", never.ratio_p(0.1));
}

#[test]
fn a_plan_on_two_builds_shows_what_independent_tests_do_not() {
    // Of 1,000 trials 10 % fail, and a build mends a tenth of these.
    let mut rng = fault_rng(1947, 0);
    let rounds = 1_000;
    let (mut by_pairs, mut by_fisher) = (0, 0);
    for _ in 0..rounds {
        let mut found = Pairs::default();
        for _ in 0..1_000 {
            let fails = rng.random::<f64>() < 0.1;
            found.add(fails, fails && rng.random::<f64>() > 0.1);
        }
        let of = |hits| Observed::new(hits, found.all()).unwrap();
        by_pairs += u32::from(found.mcnemar() <= 0.05);
        by_fisher += u32::from(fisher(of(found.both + found.first), of(found.both + found.second)) <= 0.05);
    }
    assert!(by_pairs > 900 && by_fisher < 100, "{by_pairs} {by_fisher} of {rounds}");
}

proptest! {
    #[test]
    fn the_difference_is_in_its_interval(first in 0u64..500, second in 0u64..500, both in 0u64..500, neither in 0u64..500) {
        let pairs = Pairs { both, first, second, neither };
        prop_assert!((0.0..=1.0).contains(&pairs.mcnemar()));
        if let Some(Estimate { value, interval }) = pairs.difference(Confidence::P95) {
            prop_assert!(interval.contains(value));
            prop_assert!(interval.lower >= -1.0 && interval.upper <= 1.0);
        }
    }
}
