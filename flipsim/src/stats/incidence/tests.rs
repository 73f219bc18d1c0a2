//! Tests of `incidence`.

use proptest::prelude::*;

use super::*;
use crate::stats::proportion::clopper_pearson;
use crate::stats::survival::{Lifetime, Survival};

fn of(lives: &[(u64, u8)]) -> Vec<Incidence<u8>> {
    let lives = lives.iter().map(|(time, end)| (VirtualNs(*time), (*end > 0).then_some(*end)));
    incidences(lives.collect(), &[1, 2, 3], usize::MAX, Confidence::P95).unwrap()
}

/// The steps of one end: time, incidence, variance.
#[track_caller]
fn check(found: &Incidence<u8>, expected: &[(u64, f64, f64)]) {
    assert_eq!(found.steps.len(), expected.len());
    for (step, (time, incidence, variance)) in found.steps.iter().zip(expected) {
        assert_eq!(step.time.0, *time);
        assert!((step.incidence - incidence).abs() < 1e-12, "{step:?}");
        assert!(variance.is_nan() || (step.standard_error.powi(2) - variance).abs() < 1e-12, "{step:?}");
    }
}

/// lifelines 0.30.3: `AalenJohansenFitter(calculate_variance=True).fit(t, e, event_of_interest=j)`, its
/// `cumulative_density_` and `variance_`, which has no number where no one is left.
#[test]
fn incidences_and_variances_are_those_of_lifelines() {
    let times = [2, 3, 5, 6, 7, 8, 10, 11, 13, 14, 17, 19, 20, 22, 25];
    let ends = [1, 0, 2, 1, 3, 0, 1, 2, 1, 0, 3, 1, 2, 0, 1];
    let found = of(&times.into_iter().zip(ends).collect::<Vec<_>>());
    let crash = [
        (2, 0.066_666_666_666_666_67, 0.004_148_148_148_148_148),
        (6, 0.138_461_538_461_538_44, 0.008_292_520_103_170_99),
        (10, 0.218_233_618_233_618_2, 0.012_590_542_714_681_317),
        (13, 0.298_005_698_005_697_9, 0.015_828_744_868_801_36),
        (19, 0.393_732_193_732_193_65, 0.019_537_432_714_533_55),
        (25, 0.585_185_185_185_185, f64::NAN),
    ];
    check(&found[0], &crash);
    let hang = [
        (5, 0.071_794_871_794_871_79, 0.004_782_548_593_199_478_4),
        (11, 0.151_566_951_566_951_55, 0.009_789_656_358_239_4),
        (20, 0.247_293_447_293_447_27, 0.015_621_030_937_075_443),
    ];
    check(&found[1], &hang);
    let finished = [
        (7, 0.071_794_871_794_871_79, 0.004_782_548_593_199_48),
        (17, 0.167_521_367_521_367_5, 0.011_885_707_720_903_856),
    ];
    check(&found[2], &finished);
    assert_eq!(found.iter().map(|found| found.events).collect::<Vec<_>>(), [6, 3, 2]);
}

/// Several at one time: statsmodels 0.15.0, `CumIncidenceRight(t, e)`, its `cinc` and `cinc_se`.
#[test]
fn ends_at_one_time_are_those_of_statsmodels() {
    let times = [1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6];
    let ends = [1, 2, 0, 1, 1, 2, 0, 3, 1, 2, 2, 0, 1, 3, 0];
    let found = of(&times.into_iter().zip(ends).collect::<Vec<_>>());
    let square = |error: f64| error * error;
    let crash = [
        (1, 0.066_666_666_666_666_67, square(0.064_406_118_871_953_06)),
        (2, 0.211_111_111_111_111_14, square(0.108_497_027_324_584_37)),
        (3, 0.292_361_111_111_111_1, square(0.123_941_749_201_857_1)),
        (5, 0.400_694_444_444_444_46, square(0.142_541_425_441_241_54)),
    ];
    check(&found[0], &crash);
    let hang = [
        (1, 0.066_666_666_666_666_67, square(0.064_406_118_871_953_06)),
        (2, 0.138_888_888_888_888_9, square(0.091_329_345_682_075_54)),
        (4, 0.301_388_888_888_888_93, square(0.126_838_524_070_061_63)),
    ];
    check(&found[1], &hang);
}

#[test]
fn where_all_were_watched_to_an_end_the_share_is_the_plain_one_with_the_exact_interval() {
    let lives: Vec<(u64, u8)> =
        (0..200).map(|n| (n + 1, if n % 25 == 7 { 1 } else { 3 })).collect::<Vec<_>>();
    let found = of(&lives);
    let exact = clopper_pearson(Observed::new(8, 200).unwrap(), Confidence::P95);
    assert!((found[0].share - 0.04).abs() < 1e-12);
    assert!((found[0].interval.lower - exact.lower).abs() < 1e-9, "{:?}", found[0].interval);
    assert!((found[0].interval.upper - exact.upper).abs() < 1e-9);
    // Nobody came to the second end: 1 − 0.05^(1/200).
    assert_eq!((found[1].share, found[1].events, found[1].interval.lower), (0.0, 0, 0.0));
    assert!((found[1].interval.upper - (1.0 - 0.05f64.powf(1.0 / 200.0))).abs() < 1e-12);
    // All came to the third, one after the other: 0.025^(1/n), in spite of what rounding leaves of a variance.
    for n in [1, 7, 8, 100, 1000] {
        let found = of(&(1..=n).map(|time| (time, 3)).collect::<Vec<_>>());
        let exact = clopper_pearson(Observed::new(n, n).unwrap(), Confidence::P95);
        assert!((found[2].interval.lower - exact.lower).abs() < 1e-9, "{n}: {:?}", found[2].interval);
        assert_eq!((found[2].share > 1.0 - 1e-12, found[2].interval.upper), (true, 1.0));
    }
    assert_eq!(incidences::<u8>(vec![], &[1], 9, Confidence::P95), None);
}

/// 1 − S counts those that finished as if they went on: it is more than the share that crashed.
#[test]
fn what_survival_leaves_is_more_than_the_share_that_crashed() {
    let lives = [(1, 1), (2, 3), (3, 3), (4, 1), (5, 3)];
    let crash = of(&lives)[0].share;
    let lifetimes = lives.map(|(time, end)| match end {
        1 => Lifetime::Failed(VirtualNs(time)),
        _ => Lifetime::Censored(VirtualNs(time)),
    });
    let survival = Survival::new(lifetimes, Confidence::P95).unwrap();
    assert!((crash - 0.4).abs() < 1e-12);
    assert!((1.0 - survival.at(VirtualNs(5)).unwrap() - 0.6).abs() < 1e-12);
}

proptest! {
    #[test]
    fn the_ends_and_those_still_watched_add_up_to_one(
        lives in proptest::collection::vec((0u64..30, 0u8..4), 1..200)
    ) {
        let found = of(&lives);
        let alive = lives.iter().map(|(time, end)| match end {
            0 => Lifetime::Censored(VirtualNs(*time)),
            _ => Lifetime::Failed(VirtualNs(*time)),
        });
        let survival = Survival::new(alive, Confidence::P95).unwrap();
        let left = survival.steps.last().map_or(1.0, |step| step.survival);
        prop_assert!((found.iter().map(|one| one.share).sum::<f64>() + left - 1.0).abs() < 1e-9);
        for step in found.iter().flat_map(|one| &one.steps) {
            prop_assert!(step.interval.contains(step.incidence) && step.standard_error.is_finite(), "{step:?}");
            prop_assert!(step.interval.lower >= 0.0 && step.interval.upper <= 1.0);
        }
    }
}
