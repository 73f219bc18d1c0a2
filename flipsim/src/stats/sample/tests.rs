//! Tests of `sample`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::proportion::wilson;

fn share(value: f64) -> Share {
    Share::new(value).unwrap()
}

fn level(level: f64) -> Confidence {
    Confidence::new(level).unwrap()
}

/// Leveugle et al., DATE 2009: p = 0.5.
#[test]
fn sample_sizes_are_those_of_leveugle() {
    let trials = |margin, confidence, population: Option<u128>| {
        trials_for_margin(share(margin), level(confidence), Share::HALF, population.map(SpaceSize)).unwrap()
    };
    assert_eq!(trials(0.01, 0.95, None), 9_604);
    assert_eq!(trials(0.05, 0.95, None), 385);
    assert_eq!(trials(0.01, 0.99, None), 16_588);
    assert_eq!(trials(0.01, 0.998, None), 23_874);
    // A population of a million: the textbooks' 9,513 of the finite population correction.
    assert_eq!(trials(0.01, 0.95, Some(1_000_000)), 9_513);
    // 2^60 faults are as good as without end, and no population is tried more than once.
    assert_eq!(trials(0.01, 0.95, Some(1 << 60)), 9_604);
    assert_eq!(trials(0.000_001, 0.95, Some(1_000)), 1_000);
    assert_eq!(trials(0.01, 0.95, Some(1)), 1);
}

#[test]
fn a_margin_of_nothing_is_refused() {
    for (margin, rate) in [(0.0, 0.5), (1.0, 0.5), (0.01, 0.0), (0.01, 1.0)] {
        let refused = trials_for_margin(share(margin), Confidence::P95, share(rate), None);
        assert_eq!(refused, Err(StatsError::Precision { margin, rate }));
    }
    assert_eq!(margin_of(0, Confidence::P95, Share::HALF, None), None);
    assert_eq!(margin_of(10, Confidence::P95, Share::HALF, Some(SpaceSize(10))), Some(0.0));
}

#[test]
fn rare_outcomes_take_trials_by_their_rate() {
    let (relative, rate) = (share(0.2), share(0.001));
    // 1.96² · 0.999 / (0.2² · 0.001) = 95,940.
    assert_eq!(trials_for_relative(relative, Confidence::P95, rate, None), Ok(95_941));
    // 97 hits of so many trials: half the width of their interval is that part of the rate.
    let observed = Observed::new(97, 97_000).unwrap();
    let interval = wilson(observed, Confidence::P95);
    let reached = (interval.upper - interval.lower) / 2.0 / observed.rate();
    assert!((reached - 0.2).abs() < 0.003, "{reached}");
}

/// scipy 1.17.1: `beta.ppf(a, k, n - k + 1)`, `beta.ppf(1 - a, k, n - k)`.
#[test]
fn stopping_at_a_number_of_hits_has_its_own_interval() {
    for (hits, trials, confidence, lower, upper) in [
        (10, 1000, 0.95, 0.004_805_510_691_049_309, 0.017_032_746_770_250_96),
        (97, 12_345, 0.95, 0.006_376_334_220_886_676, 0.009_488_939_964_826_64),
        (5, 5, 0.9, 0.549_280_271_653_058_8, 1.0),
    ] {
        let observed = Observed::new(hits, trials).unwrap();
        let Estimate { value, interval } = after_fixed_hits(observed, level(confidence)).unwrap();
        assert!((interval.lower - lower).abs() < 1e-10 && (interval.upper - upper).abs() < 1e-10);
        assert!(interval.contains(value));
    }
    let one = Observed::new(1, 5).unwrap();
    assert_eq!(after_fixed_hits(one, Confidence::P95), Err(StatsError::TooFewHits(1)));
}

#[test]
fn stopping_at_a_number_of_hits_biases_the_plain_rate_and_not_haldanes() {
    let (rate, hits, campaigns) = (0.05, 5, 20_000);
    let mut rng = fault_rng(2009, 0);
    let (mut plain, mut haldane, mut covered) = (0.0, 0.0, 0.0);
    for _ in 0..campaigns {
        let (mut k, mut n) = (0, 0);
        while k < hits {
            n += 1;
            k += u64::from(rng.random::<f64>() < rate);
        }
        let estimate = after_fixed_hits(Observed::new(k, n).unwrap(), Confidence::P95).unwrap();
        plain += float(k) / float(n);
        haldane += estimate.value;
        covered += f64::from(u8::from(estimate.interval.contains(rate)));
    }
    let per = f64::from(campaigns);
    // The plain rate is a fifth too high after five hits; the other is right within 1.5 %, which is
    // four standard errors.
    assert!(plain / per > 1.15 * rate, "{}", plain / per);
    assert!((haldane / per / rate - 1.0).abs() < 0.015, "{}", haldane / per);
    assert!(covered / per >= 0.945, "{}", covered / per);
}

#[test]
fn a_convergence_curve_ends_with_the_last_trial() {
    let rows = convergence((0..12_345).map(|trial| trial % 5 == 0), Confidence::P95, 3);
    let trials: Vec<u64> = rows.iter().map(|row| row.observed.trials()).collect();
    assert_eq!(trials, [1, 3, 5, 10, 22, 47, 100, 216, 465, 1000, 2155, 4642, 10_000, 12_345]);
    let last = rows.last().unwrap();
    assert_eq!((last.observed.hits(), last.rate.value), (2469, 0.2));
    assert_eq!(last.rate, last.observed.estimate(Confidence::P95));
    assert!(convergence([], Confidence::P95, 3).is_empty());
    assert_eq!(convergence([true], Confidence::P95, 0).len(), 1);
    let json = serde_json::to_value(rows[0]).unwrap();
    assert_eq!((&json["trials"], &json["value"]), (&1.into(), &1.0.into()), "{json}");
}

proptest! {
    #[test]
    fn the_trials_asked_for_reach_the_margin_and_one_less_does_not(
        margin in 1e-4..0.2f64, rate in 0.01..0.99f64, confidence in 0.5..0.9999f64,
        population in prop_oneof![Just(None), (1_000u128..100_000).prop_map(Some), Just(Some(1 << 60))]
    ) {
        let (rate, confidence, population) = (share(rate), level(confidence), population.map(SpaceSize));
        let trials = trials_for_margin(share(margin), confidence, rate, population).unwrap();
        let reached = |trials| margin_of(trials, confidence, rate, population);
        prop_assert!(reached(trials).unwrap() <= margin * (1.0 + 1e-9));
        if let Some(before) = reached(trials - 1) {
            prop_assert!(before >= margin * (1.0 - 1e-9));
        }
    }

    #[test]
    fn convergence_rows_never_repeat_a_number_of_trials(trials in 0usize..3_000, per_decade in 0u32..200) {
        let rows = convergence(std::iter::repeat_n(false, trials), Confidence::P95, per_decade);
        prop_assert!(rows.windows(2).all(|pair| pair[0].observed.trials() < pair[1].observed.trials()));
        prop_assert_eq!(rows.last().map_or(0, |row| row.observed.trials()), trials as u64);
    }
}

/// scipy 1.17.1: the least n with `binom.sf(hits - 1, n, p) >= a`, where `hits` is the least number whose Wilson interval
/// is narrow enough, by trying one n after the other.
#[test]
fn trials_for_an_assured_precision_are_those_of_the_binomial_sum() {
    for (relative, rate, assurance, trials) in [
        (0.2, 0.01, 0.8, 10_514),
        (0.2, 0.01, 0.95, 11_366),
        (0.5, 0.05, 0.8, 383),
        (0.1, 0.3, 0.8, 948),
        (0.2, 0.001_25, 0.8, 84_137),
        (0.2, 0.5, 0.8, 108),
        (0.3, 0.9, 0.8, 7),
        (0.2, 0.01, 0.1, 8_374),
    ] {
        let share = |value| Share::new(value).unwrap();
        let found = trials_for_assured(share(relative), Confidence::P95, share(rate), share(assurance), None);
        assert_eq!(found, Ok(trials), "{relative} of {rate}, {assurance}");
    }
    let share = |value| Share::new(value).unwrap();
    let of = |population| {
        trials_for_assured(share(0.2), Confidence::P95, share(0.01), share(0.8), Some(SpaceSize(population)))
    };
    assert_eq!((of(5_000), of(1 << 100)), (Ok(5_000), Ok(10_514)));
    // So rare that it takes a long time, but not for the computer.
    let rare = trials_for_assured(share(0.2), Confidence::P95, share(1e-9), share(0.8), None).unwrap();
    assert!((105_000_000_000..105_500_000_000).contains(&rare), "{rare}");
    let never = trials_for_assured(share(0.2), Confidence::P95, share(0.01), share(1.0), None);
    assert_eq!(never, Err(StatsError::Assurance(1.0)));
}

/// The worst that `--margin` can meet is a rate of one half, and Wilson's interval is within the margin there: z/(2√n) is
/// more than z/(2√(n + z²)). So the precision is reached always, where `--relative` needs an assurance.
#[test]
fn a_margin_is_reached_whatever_is_found() {
    for percent in [0.5, 1.0, 5.0, 10.0] {
        let margin = percent / 100.0;
        let trials =
            trials_for_margin(Share::new(margin).unwrap(), Confidence::P95, Share::HALF, None).unwrap();
        for hits in (0..=trials).step_by(usize::try_from(trials / 50).unwrap().max(1)).chain([trials / 2]) {
            let found = wilson(Observed::new(hits, trials).unwrap(), Confidence::P95);
            assert!((found.upper - found.lower) / 2.0 <= margin, "{hits} of {trials}: {found:?}");
        }
    }
}
