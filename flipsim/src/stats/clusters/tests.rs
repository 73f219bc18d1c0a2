//! Values of scipy 1.17.1 from the formulas of the docs: `t.ppf`, `beta.ppf`, numpy's `var(ddof=1)`.

use super::*;
use proptest::prelude::*;

fn of(runs: &[(u64, u64)]) -> Clustered {
    let runs: Vec<Observed> =
        runs.iter().map(|(hits, trials)| Observed::new(*hits, *trials).unwrap()).collect();
    clustered(&runs, Confidence::P95).unwrap()
}

fn width(interval: Interval) -> f64 {
    interval.upper - interval.lower
}

/// scipy 1.17.1: `t.ppf(.5 + c / 2, d)`.
#[test]
fn quantiles_of_student_are_those_of_scipy() {
    for (level, degrees, expected) in [
        (0.95, 1.0, 12.706_204_736_174_694),
        (0.95, 2.0, 4.302_652_729_749_462),
        (0.95, 4.0, 2.776_445_105_197_793_4),
        (0.95, 9.0, 2.262_157_162_798_205),
        (0.99, 4.0, 4.604_094_871_349_992),
        (0.95, 999.0, 1.962_341_461_133_449_3),
        (0.95, 1e6, 1.959_966_356_814_107),
    ] {
        let found = t_quantile(Confidence::new(level).unwrap(), degrees);
        assert!((found / expected - 1.0).abs() < 1e-9, "{level} {degrees}: {found}");
    }
}

/// scipy 1.17.1: with p, n of the runs as arrays and v = p.var(ddof=1) / k: `beta.ppf(.025, m*e, (1-m)*e + 1)` and
/// `beta.ppf(.975, m*e + 1, (1-m)*e)` for m = p.mean() and
/// e = `min(m*(1-m)/v * (t.ppf(.975, N-1) / t.ppf(.975, k-1))**2, k*k / sum(1/n))`.
#[test]
fn the_estimate_is_that_of_scipy() {
    type Case = (&'static [(u64, u64)], [f64; 8]);
    let cases: [Case; 4] = [
        (
            &[(10, 200), (30, 200), (4, 200)],
            [
                0.073_333_333_333_333_33,
                0.000_382_170_145_777_379_57,
                0.432_613_811_337_579_3,
                0.065_630_558_311_312_63,
                13.613_636_363_636_363,
                9.167_123_644_619_81,
                0.053_786_654_166_921_15,
                0.097_198_578_870_139_93,
            ],
        ),
        (
            &[(20, 200), (60, 200), (5, 200), (41, 200), (2, 200)],
            [
                0.128,
                0.020_129_384_447_860_964,
                0.365_294_136_648_227_5,
                0.121_275_517_959_237_79,
                27.222_427_788_132_31,
                18.331_989_979_927_894,
                0.107_912_241_331_197_46,
                0.150_305_928_574_870_82,
            ],
        ),
        (
            &[(20, 200), (21, 200), (19, 200)],
            [
                0.1,
                0.077_180_211_151_530_26,
                0.126_843_072_364_832_64,
                0.0,
                0.055_462_962_962_962_895,
                600.0,
                0.077_180_211_151_530_22,
                0.126_843_072_364_832_58,
            ],
        ),
        (
            &[(20, 200), (33, 300), (1, 50), (160, 1000)],
            [
                0.0975,
                0.026_510_304_108_204_63,
                0.233_845_523_924_112_62,
                0.055_043_420_912_726_38,
                14.779_624_499_846_108,
                39.814_474_497_366_01,
                0.121_266_327_030_356_67,
                0.156_246_424_351_406_65,
            ],
        ),
    ];
    for (runs, expected) in cases {
        let Clustered { mean, between_sd, design_effect, effective_trials, ignoring_runs } = of(runs);
        let found = [
            mean.value,
            mean.interval.lower,
            mean.interval.upper,
            between_sd,
            design_effect.unwrap(),
            effective_trials,
            ignoring_runs.interval.lower,
            ignoring_runs.interval.upper,
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-9 * expected.max(1.0),
                "{runs:?}: {found} is not {expected}"
            );
        }
    }
}

#[test]
fn runs_that_differ_widen_the_interval_and_equal_ones_do_not() {
    let differ = of(&[(20, 1000), (60, 1000), (100, 1000), (10, 1000), (110, 1000)]);
    assert!(width(differ.mean.interval) > 5.0 * width(differ.ignoring_runs.interval), "{differ:?}");
    assert!((differ.mean.value - differ.ignoring_runs.value).abs() < 1e-12);
    let equal = of(&[(60, 1000); 5]);
    let ratio = width(equal.mean.interval) / width(equal.ignoring_runs.interval);
    assert!((ratio - 1.0).abs() < 1e-9 && equal.between_sd == 0.0, "{equal:?}");
}

#[test]
fn each_run_counts_once() {
    let found = of(&[(1, 10), (300, 1000)]);
    assert!((found.mean.value - 0.2).abs() < 1e-12, "{found:?}");
    assert!((found.ignoring_runs.value - 301.0 / 1010.0).abs() < 1e-12);
}

#[test]
fn what_never_or_always_came_is_as_of_one_run() {
    let never = of(&[(0, 100), (0, 200)]);
    assert_eq!((never.mean.value, never.mean.interval.lower, never.design_effect), (0.0, 0.0, None));
    // 4/(1/100 + 1/200) trials of no hit: 1 − 0.05^(3/800).
    assert!((never.mean.interval.upper - (1.0 - 0.05f64.powf(3.0 / 800.0))).abs() < 1e-12);
    let always = of(&[(100, 100), (200, 200)]);
    assert_eq!((always.mean.value, always.mean.interval.upper, always.between_sd), (1.0, 1.0, 0.0));
}

#[test]
fn one_run_says_nothing_of_others() {
    let one = [Observed::new(3, 100).unwrap()];
    assert_eq!(clustered(&one, Confidence::P95), Err(StatsError::TooFewRuns(1)));
    assert_eq!(clustered(&[], Confidence::P95), Err(StatsError::TooFewRuns(0)));
}

proptest! {
    #[test]
    fn the_interval_contains_the_mean(
        runs in proptest::collection::vec((1u64..500).prop_flat_map(|n| (0..=n, Just(n))), 2..12)
    ) {
        let found = of(&runs);
        let Interval { lower, upper } = found.mean.interval;
        prop_assert!((0.0..=1.0).contains(&lower) && (0.0..=1.0).contains(&upper), "{found:?}");
        prop_assert!(found.mean.interval.contains(found.mean.value) && found.between_sd.is_finite(), "{found:?}");
    }
}
