//! Tests of `allocation`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::strata::{Drawing, Strata, StratumCount};

fn piloted(size: u128, hits: u64, trials: u64) -> Piloted {
    Piloted { size: SpaceSize(size), seen: Observed::new(hits, trials).unwrap() }
}

/// By hand: p̃ is 51/102, 10/100 and 1/100; N √(p̃(1−p̃)) is 1000 · 0.5, 3000 · 0.3 and 10000 · 0.0994987; of 2,394.987
/// together these are 20.877 %, 37.578 % and 41.545 %.
#[test]
fn shares_are_neymans() {
    let strata = [piloted(1_000, 50, 100), piloted(3_000, 9, 98), piloted(10_000, 0, 98)];
    let found = neyman(600, &strata, 2).unwrap();
    assert_eq!(found, [125, 226, 249]);
    // In proportion to their size they would have 43, 129 and 428.
    let by_size = expected_margin(&strata, &[43, 129, 428], Confidence::P95).unwrap();
    let neymans = expected_margin(&strata, &found, Confidence::P95).unwrap();
    // z · Σ W_h s_h / √n, where the shares are exact.
    let least = Confidence::P95.z() * (2_394.987_4 / 14_000.0) / 600f64.sqrt();
    assert!((neymans / least - 1.0).abs() < 1e-4, "{neymans} {least}");
    assert!(neymans < 0.83 * by_size, "{neymans} {by_size}");
}

#[test]
fn each_stratum_has_the_least_and_none_more_than_there_are() {
    let strata = [piloted(10, 5, 10), piloted(1 << 60, 0, 1_000), piloted(1 << 40, 0, 10)];
    let found = neyman(1_000, &strata, 20).unwrap();
    // Of a stratum with fewer than the least all are taken.
    assert_eq!((found[0], found[2], found.iter().sum::<u64>()), (10, 20, 1_000));
    assert_eq!(neyman(49, &strata, 20), None);
    assert_eq!(neyman(11, &strata[..1], 2), None);
    assert_eq!(neyman(10, &strata[..1], 2), Some(vec![10]));
    assert_eq!(expected_margin(&strata, &[1, 0, 1], Confidence::P95), None);
}

/// The variance of the pooled rate over simulated campaigns: Neyman's is about what the formula says of it, and below the
/// one of shares by size.
#[test]
fn the_variance_of_the_pooled_rate_is_smaller() {
    let sizes = [1u128 << 20, 15 << 20];
    let rates = [0.4, 0.002];
    let mut rng = fault_rng(1934, 0);
    let mut spread = |trials: &[u64]| {
        let rounds = 4_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..rounds {
            let parts = (0..2).map(|at| {
                let hits = (0..trials[at]).filter(|_| rng.random_bool(rates[at])).count() as u64;
                StratumCount::new(at.to_string(), SpaceSize(sizes[at]), hits, trials[at]).unwrap()
            });
            let strata = Strata::new(parts.collect(), Drawing::WithReplacement).unwrap();
            sum += strata.rate();
            squares += strata.rate() * strata.rate();
        }
        let n = f64::from(rounds);
        squares / n - (sum / n).powi(2)
    };
    let pilot = [piloted(sizes[0], 40, 100), piloted(sizes[1], 0, 400)];
    let trials = neyman(400, &pilot, 2).unwrap();
    let (neymans, by_size) = (spread(&trials), spread(&[25, 375]));
    // By the formula: Σ W² p(1−p)/n.
    let exact = |trials: &[u64]| -> f64 {
        let weights = [1.0 / 16.0, 15.0 / 16.0f64];
        (0..2).map(|at| weights[at].powi(2) * rates[at] * (1.0 - rates[at]) / float(trials[at])).sum()
    };
    assert!((neymans / exact(&trials) - 1.0).abs() < 0.1, "{neymans} {}", exact(&trials));
    assert!(neymans < 0.6 * by_size, "{neymans} {by_size} {trials:?}");
}

proptest! {
    #[test]
    fn shares_add_up(
        parts in proptest::collection::vec((1u128..1 << 50, 0u64..100), 1..40), total in 1u64..100_000, least in 0u64..5
    ) {
        let strata: Vec<Piloted> = parts.iter().map(|(size, hits)| piloted(*size, *hits, 100)).collect();
        if let Some(found) = neyman(total, &strata, least) {
            prop_assert_eq!(found.iter().sum::<u64>(), total);
            for (share, one) in found.iter().zip(&strata) {
                let most = u64::try_from(one.size.0).unwrap();
                prop_assert!(*share <= most && *share >= least.min(most));
            }
        } else {
            let all: u128 = strata.iter().map(|one| one.size.0).sum();
            prop_assert!(u128::from(total) > all || total < least * strata.len() as u64);
        }
    }
}
