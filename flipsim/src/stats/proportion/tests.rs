//! Tests of `proportion`.

use proptest::prelude::*;

use super::*;

fn of(hits: u64, trials: u64) -> Observed {
    Observed::new(hits, trials).unwrap()
}

fn level(level: f64) -> Confidence {
    Confidence::new(level).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
}

/// Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17
/// (1998), table I, methods 3 and 5.
#[test]
fn intervals_are_those_of_newcombes_table() {
    let round = |Interval { lower, upper }: Interval| [lower, upper].map(|end| (end * 1e4).round() / 1e4);
    for (hits, trials, score, exact) in [
        (81, 263, [0.2553, 0.3662], [0.2527, 0.3676]),
        (15, 148, [0.0624, 0.1605], [0.0578, 0.1617]),
        (0, 20, [0.0000, 0.1611], [0.0000, 0.1684]),
        (1, 29, [0.0061, 0.1718], [0.0009, 0.1776]),
    ] {
        assert_eq!(round(wilson(of(hits, trials), Confidence::P95)), score, "{hits}/{trials}");
        assert_eq!(round(clopper_pearson(of(hits, trials), Confidence::P95)), exact, "{hits}/{trials}");
    }
}

/// statsmodels 0.15.0: `proportion_confint(k, n, 1 - c, "wilson")`, then `"beta"`.
#[test]
fn intervals_are_those_of_statsmodels() {
    for (hits, trials, confidence, score, exact) in [
        (29, 29, 0.95, [0.883_030_201_500_259_3, 1.0], [0.880_555_130_930_497_3, 1.0]),
        (
            5,
            10,
            0.99,
            [0.184_225_518_247_235_5, 0.815_774_481_752_764_6],
            [0.128_310_553_935_083_1, 0.871_689_446_064_916_7],
        ),
        (
            37,
            1000,
            0.9,
            [0.028_364_863_423_138_147, 0.048_133_709_816_880_095],
            [0.027_712_066_828_485_957, 0.048_389_926_665_973_39],
        ),
        (
            3,
            1_000_000,
            0.999,
            [5.530_106_998_902_956e-07, 1.627_437_327_115_900_5e-05],
            [1.497_039_884_215_726_8e-07, 1.393_394_702_444_867_2e-05],
        ),
        (
            1,
            10_000_000,
            0.95,
            [1.765_245_571_161_743_4e-08, 5.664_932_019_606_462e-07],
            [2.531_780_795_224_032_4e-09, 5.571_642_116_990_813e-07],
        ),
        (
            2,
            10_000_000,
            0.95,
            [5.484_721_553_914_139_5e-08, 7.292_983_653_039_753e-07],
            [2.422_092_877_211_628_7e-08, 7.224_685_779_926_558e-07],
        ),
        (
            5_000_000,
            10_000_000,
            0.95,
            [0.499_690_102_543_370_65, 0.500_309_897_456_629_3],
            [0.499_690_052_521_371_1, 0.500_309_947_478_628_9],
        ),
        (
            9_999_999,
            10_000_000,
            0.95,
            [0.999_999_433_506_798_2, 0.999_999_982_347_544_4],
            [0.999_999_442_835_788_3, 0.999_999_997_468_219_2],
        ),
    ] {
        let observed = of(hits, trials);
        let found = wilson(observed, level(confidence));
        assert_close(found.lower, score[0], 1e-8);
        assert_close(found.upper, score[1], 1e-8);
        let found = clopper_pearson(observed, level(confidence));
        assert_close(found.lower, exact[0], 1e-8);
        assert_close(found.upper, exact[1], 1e-8);
    }
}

/// scipy 1.17.1: `beta.ppf(c, 1, n)`.
#[test]
fn nothing_in_300_trials_is_at_most_one_in_a_hundred() {
    assert_close(upper_bound(of(0, 300), Confidence::P95), 0.009_936_081_944_457_708, 1e-12);
    assert_close(upper_bound(of(0, 59), Confidence::P95), 0.049_507_609_888_226_93, 1e-12);
    assert_close(upper_bound(of(0, 10_000_000), level(0.99)), 4.605_169_125_608_631_5e-07, 1e-12);
    assert_eq!(upper_bound(of(7, 7), Confidence::P95), 1.0);
}

/// The chance that the interval of a binomial count contains the rate, added up over all counts.
fn coverage(method: fn(Observed, Confidence) -> Interval, trials: u64, rate: f64) -> f64 {
    let mut term = (1.0 - rate).powi(i32::try_from(trials).unwrap());
    let mut covered = 0.0;
    for hits in 0..=trials {
        if method(of(hits, trials), Confidence::P95).contains(rate) {
            covered += term;
        }
        term *= float(trials - hits) / float(hits + 1) * rate / (1.0 - rate);
    }
    covered
}

#[test]
fn clopper_pearson_covers_every_rate_and_wilson_covers_them_on_the_average() {
    for trials in [5, 20, 100] {
        let rates = || (1..200).map(|step| f64::from(step) / 200.0);
        for rate in rates() {
            let covered = coverage(clopper_pearson, trials, rate);
            assert!(covered >= 0.95 - 1e-12, "{trials} trials, rate {rate}: {covered}");
        }
        let mean = rates().map(|rate| coverage(wilson, trials, rate)).sum::<f64>() / 199.0;
        assert!((0.945..0.96).contains(&mean), "{trials} trials: {mean}");
    }
}

#[test]
fn wilson_falls_short_just_below_its_own_lower_end_after_one_hit() {
    for trials in [100, 1000] {
        let rate = wilson(of(1, trials), Confidence::P95).lower * 0.999;
        let covered = coverage(wilson, trials, rate);
        assert!((0.83..0.85).contains(&covered), "{trials}: {covered}");
        assert!(coverage(clopper_pearson, trials, rate) >= 0.95);
    }
}

#[test]
fn the_interval_of_any_number_of_trials_is_found() {
    for (hits, trials) in [(1 << 52, 1 << 53), (1, 1 << 53), ((1 << 53) - 1, 1 << 53), (3, 1 << 40)] {
        let interval = clopper_pearson(of(hits, trials), Confidence::P95);
        assert!(interval.contains(of(hits, trials).rate()), "{hits} of {trials}: {interval:?}");
    }
}

#[test]
fn absolute_failures_are_the_rate_over_the_space() {
    // 16 GiB of RAM at a million points in time: more faults than 64 bits can count.
    let space = SpaceSize((16u128 << 33) * 1_000_000);
    let failures = of(3, 1000).failures(space, Confidence::P95);
    assert_close(failures.value, 0.003 * 137_438_953_472e6, 1e-12);
    assert_close(
        failures.interval.lower,
        wilson(of(3, 1000), Confidence::P95).lower * 1.374_389_534_72e17,
        1e-12,
    );
    // A small program with many failures a fault beats a large one with few: 200 < 1,000.
    let (small, large) = (of(20, 100), of(1, 100));
    assert!(small.rate() > large.rate());
    assert!(
        small.failures(SpaceSize(1_000), Confidence::P95).value
            < large.failures(SpaceSize(100_000), Confidence::P95).value
    );
}

proptest! {
    #[test]
    fn an_interval_contains_its_rate_and_grows_with_confidence_and_hits(
        trials in 1u64..3_000_000, part in 0.0..=1.0f64, few in 0u64..5, confidence in 0.5..0.999f64
    ) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of `trials`")]
        let many = (part * float(trials)) as u64;
        for hits in [few.min(trials), many, trials - few.min(trials)] {
            let observed = of(hits, trials);
            for method in [wilson, clopper_pearson] {
                let interval = method(observed, level(confidence));
                prop_assert!(interval.contains(observed.rate()));
                prop_assert!(interval.lower >= 0.0 && interval.upper <= 1.0);
                let surer = method(observed, level(confidence + 5e-4));
                prop_assert!(surer.lower <= interval.lower && surer.upper >= interval.upper);
                if hits < trials {
                    let more = method(of(hits + 1, trials), level(confidence));
                    prop_assert!(more.lower > interval.lower && more.upper >= interval.upper);
                }
            }
            prop_assert!(upper_bound(observed, level(confidence)) <= clopper_pearson(observed, level(confidence)).upper);
        }
    }

    #[test]
    fn hits_and_misses_are_mirror_images(trials in 1u64..100_000, part in 0u64..100_000) {
        let hits = part % (trials + 1);
        for method in [wilson, clopper_pearson] {
            let (a, b) = (method(of(hits, trials), Confidence::P95), method(of(trials - hits, trials), Confidence::P95));
            prop_assert!((a.lower - (1.0 - b.upper)).abs() < 1e-9);
            prop_assert!((a.upper - (1.0 - b.lower)).abs() < 1e-9);
        }
    }
}
