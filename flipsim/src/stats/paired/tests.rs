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
