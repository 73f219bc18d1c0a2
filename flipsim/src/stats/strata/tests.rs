//! Tests of `strata`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;

fn strata(parts: &[(u128, u64, u64)], drawing: Drawing) -> Strata {
    let parts = parts.iter().enumerate().map(|(number, (size, hits, trials))| {
        StratumCount::new(format!("s{number}"), SpaceSize(*size), *hits, *trials).unwrap()
    });
    Strata::new(parts.collect(), drawing).unwrap()
}

#[test]
fn a_stratum_weighs_what_its_faults_weigh() {
    // A tenth of the faults fails in half of the trials, and got half of the trials.
    let both = strata(&[(100, 25, 50), (900, 5, 50)], Drawing::WithoutReplacement);
    assert!((both.rate() - (0.1 * 0.5 + 0.9 * 0.1)).abs() < 1e-15);
    // Cochran's formula by hand: 0.01·(1−1/2)·0.25/49 + 0.81·(1−1/18)·0.09/49.
    let variance: f64 = 0.01 * 0.5 * 0.25 / 49.0 + 0.81 * (17.0 / 18.0) * 0.09 / 49.0;
    assert!((both.standard_error().unwrap() - variance.sqrt()).abs() < 1e-15);
    let again = strata(&[(100, 25, 50), (900, 5, 50)], Drawing::WithReplacement);
    assert!(again.standard_error() > both.standard_error());
    let failures = both.estimate(Confidence::P95).failures(both.space());
    assert!((failures.value - 140.0).abs() < 1e-10);
}

#[test]
fn one_stratum_is_one_rate() {
    let one = strata(&[(1 << 60, 3, 200)], Drawing::WithoutReplacement);
    let observed = one.parts()[0].known().seen().unwrap();
    let same = |a: Interval, b: Interval| {
        assert!((a.lower - b.lower).abs() < 1e-12 && (a.upper - b.upper).abs() < 1e-12, "{a:?} {b:?}");
    };
    same(one.estimate(Confidence::P95).interval, clopper_pearson(observed, Confidence::P95));
    same(one.guaranteed(Confidence::P95).interval, clopper_pearson(observed, Confidence::P95));
}

#[test]
fn a_stratum_tried_to_the_end_adds_no_uncertainty() {
    let all = strata(&[(50, 10, 50), (1, 1, 1)], Drawing::WithoutReplacement);
    assert_eq!(all.standard_error(), Some(0.0));
    assert!((all.normal(Confidence::P95).unwrap().value - 11.0 / 51.0).abs() < 1e-15);
    // A single trial of many shows no spread.
    assert_eq!(strata(&[(50, 1, 1)], Drawing::WithoutReplacement).normal(Confidence::P95), None);
}

#[test]
fn numbers_that_make_no_estimate_name_the_stratum() {
    let text = |error: StatsError| error.to_string();
    let made = |size, hits, trials| StratumCount::new("Kernel code", SpaceSize(size), hits, trials);
    assert_eq!(made(8, 0, 0), Err(StatsError::EmptyStratum("Kernel code".to_owned())));
    assert!(text(made(8, 2, 1).unwrap_err()).contains("`Kernel code`: 2 hits in 1 trials"));
    assert!(text(made(0, 0, 1).unwrap_err()).contains("`Kernel code`: it has no faults"));
    let join = |parts, drawing| text(Strata::new(parts, drawing).unwrap_err());
    assert!(join(vec![], Drawing::WithReplacement).contains("no stratum"));
    let part = made(8, 0, 9).unwrap();
    let drawing = Drawing::WithReplacement;
    assert!(join(vec![part.clone(), part.clone()], drawing).contains("`Kernel code`: it is there twice"));
    assert!(join(vec![part.clone()], Drawing::WithoutReplacement).contains("fewer faults than trials"));
    let huge = StratumCount::new("all", SpaceSize(u128::MAX), 0, 9).unwrap();
    assert!(join(vec![part, huge], drawing).contains("`all`: the fault space exceeds"));
}

/// How often the intervals cover the true rate: the normal, the one to report, the guaranteed one.
fn coverage(parts: &[(u128, f64, u64)], stream: u64) -> [f64; 3] {
    let rounds = 4_000;
    let space: u128 = parts.iter().map(|(size, ..)| size).sum();
    let weight = |size: u128| SpaceSize(size).float() / SpaceSize(space).float();
    let truth: f64 = parts.iter().map(|(size, rate, _)| weight(*size) * rate).sum();
    let mut rng = fault_rng(5, stream);
    let mut covered = [0u32; 3];
    for _ in 0..rounds {
        let drawn: Vec<(u128, u64, u64)> = parts
            .iter()
            .map(|&(size, rate, trials)| {
                (size, (0..trials).map(|_| u64::from(rng.random::<f64>() < rate)).sum(), trials)
            })
            .collect();
        let drawn = strata(&drawn, Drawing::WithReplacement);
        let intervals = [
            drawn.normal(Confidence::P95).unwrap(),
            drawn.estimate(Confidence::P95),
            drawn.guaranteed(Confidence::P95),
        ];
        for (count, estimate) in covered.iter_mut().zip(intervals) {
            *count += u32::from(estimate.interval.contains(truth));
        }
    }
    covered.map(|count| f64::from(count) / f64::from(rounds))
}

#[test]
fn intervals_cover_the_pooled_rate_as_often_as_they_say() {
    // Whether the normal interval is good enough is part of the claim.
    for (stream, (parts, normal_will_do)) in [
        // Like kernel code, kernel data, page cache, free memory.
        (
            vec![(80 << 20, 0.3, 100), (30 << 20, 0.1, 100), (400 << 20, 0.01, 100), (600 << 20, 0.002, 100)],
            false,
        ),
        // Many equal strata with few trials.
        (vec![(1 << 20, 0.05, 20); 20], false),
        (vec![(1 << 20, 0.005, 30); 10], false),
        // Rare failures in nearly all of the space, and few trials there.
        (vec![(1000, 0.002, 500), (10, 0.5, 50)], false),
        (vec![(900, 0.01, 20), (100, 0.3, 200)], false),
        // Nearly all fails in the largest.
        (vec![(500, 0.98, 40), (100, 0.7, 200), (10, 0.1, 50)], false),
        (vec![(10, 0.999, 5), (1, 0.02, 100)], false),
        // Plenty of everything.
        (vec![(3, 0.4, 300), (2, 0.6, 300)], true),
    ]
    .into_iter()
    .enumerate()
    {
        let [normal, reported, guaranteed] = coverage(&parts, stream as u64);
        // Two standard errors of 4,000 campaigns at 0.95 are 0.007.
        assert!(reported >= 0.95 - 0.007, "{stream}: {reported}");
        assert!(guaranteed >= 0.95 - 0.007, "{stream}: {guaranteed}");
        assert_eq!(normal >= 0.95 - 0.007, normal_will_do, "{stream}: {normal}");
    }
}

#[test]
fn the_interval_to_report_is_narrower_than_the_guaranteed_one() {
    let parts =
        strata(&[(80, 30, 100), (30, 10, 100), (400, 1, 100), (600, 0, 100)], Drawing::WithReplacement);
    let width = |estimate: Estimate| estimate.interval.upper - estimate.interval.lower;
    assert!(width(parts.estimate(Confidence::P95)) < 0.6 * width(parts.guaranteed(Confidence::P95)));
    // No hit anywhere is no proof of none: as much as the weakest stratum leaves open.
    let none = strata(&[(900, 0, 100), (100, 0, 10_000)], Drawing::WithReplacement);
    let upper = none.estimate(Confidence::P95).interval.upper;
    let weakest = clopper_pearson(Observed::new(0, 100).unwrap(), Confidence::P95).upper;
    assert!((upper - 0.9 * weakest).abs() < 0.001, "{upper}");
}

proptest! {
    #[test]
    fn intervals_contain_the_rate_and_stay_within_0_and_1(
        parts in proptest::collection::vec((1u128..1 << 60, 0u64..50, 0u64..500), 1..12),
        level in 0.5..0.9999f64
    ) {
        let parts: Vec<_> = parts.into_iter().map(|(size, hits, more)| (size, hits, hits + more + 1)).collect();
        let strata = strata(&parts, Drawing::WithReplacement);
        let confidence = Confidence::new(level).unwrap();
        let all = [
            Some(strata.estimate(confidence)),
            Some(strata.guaranteed(confidence)),
            strata.normal(confidence),
        ];
        for estimate in all.into_iter().flatten() {
            prop_assert!(estimate.interval.contains(estimate.value), "{estimate:?}");
            prop_assert!(estimate.interval.lower >= 0.0 && estimate.interval.upper <= 1.0);
        }
    }
}

/// Of each stratum its faults, what surely hits and what is live of it, and the trials in the live part.
fn partly(parts: &[(u128, [f64; 2], [u64; 2])]) -> Strata {
    let parts = parts.iter().enumerate().map(|(number, (size, shares, counts))| {
        let size = SpaceSize(*size << 60);
        let known = PartlyKnown::new(*shares, *counts, Some(size)).unwrap();
        StratumCount::of(format!("s{number}"), size, known).unwrap()
    });
    Strata::new(parts.collect(), Drawing::WithoutReplacement).unwrap()
}

#[test]
fn a_stratum_of_which_a_part_is_known_enters_with_the_rest() {
    // scipy 1.17.1: `c + W * beta.ppf(p, mean * s, (1 - mean) * s)`, c what is certain, W the live parts together, and s
    // from the mean and the variance of the rate over these, after one more trial.
    let found = partly(&[(1, [0.0, 0.04], [30, 80]), (3, [0.01, 0.1], [5, 150])]).estimate(Confidence::P95);
    for (found, is) in [
        (found.value, 0.013_75),
        (found.interval.lower, 0.011_522_325_002_855_313),
        (found.interval.upper, 0.017_003_404_342_148_757),
    ] {
        assert!((found - is).abs() < 1e-12, "{found} {is}");
    }
    // The same trials without what is known: 2,000 of each, of which the others were masked.
    let plain = strata(&[(1 << 60, 30, 2000), (3 << 60, 20, 1500)], Drawing::WithoutReplacement);
    let plain = plain.estimate(Confidence::P95).interval;
    assert!(found.interval.upper - found.interval.lower < 0.7 * (plain.upper - plain.lower), "{plain:?}");
}

#[test]
fn one_stratum_of_which_a_part_is_known_has_its_own_interval() {
    let one = partly(&[(7, [0.01, 0.04], [30, 80])]);
    let own = one.parts()[0].known().interval(|seen, _| clopper_pearson(seen, Confidence::P95));
    for found in [one.estimate(Confidence::P95).interval, one.guaranteed(Confidence::P95).interval] {
        assert!((found.lower - own.lower).abs() < 1e-12 && (found.upper - own.upper).abs() < 1e-12);
    }
    // Beside a stratum that is known for sure it is the same, with its weight.
    let two = partly(&[(7, [0.01, 0.04], [30, 80]), (21, [0.2, 0.0], [0, 0])]);
    let found = two.estimate(Confidence::P95);
    assert!((found.interval.lower - (0.15 + own.lower / 4.0)).abs() < 1e-12, "{found:?}");
    assert!((found.interval.upper - (0.15 + own.upper / 4.0)).abs() < 1e-12);
    assert_eq!(two.few().count(), 0);
}

#[test]
fn a_live_part_without_a_trial_may_hit_all_the_way_or_not_at_all() {
    let strata = partly(&[(1, [0.0, 0.04], [30, 80]), (1, [0.0, 0.02], [0, 0])]);
    let alone = partly(&[(1, [0.0, 0.04], [30, 80])]).estimate(Confidence::P95).interval;
    let found = strata.estimate(Confidence::P95).interval;
    assert!((found.lower - alone.lower / 2.0).abs() < 1e-12, "{found:?}");
    assert!((found.upper - (alone.upper / 2.0 + 0.01)).abs() < 1e-12);
    assert_eq!(strata.normal(Confidence::P95), None);
    let nothing = partly(&[(1, [0.3, 0.04], [0, 0])]).estimate(Confidence::P95);
    assert_eq!((nothing.interval.lower, nothing.interval.upper), (0.3, 0.3 + 0.04));
}
