//! Tests of `anytime`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::proportion::clopper_pearson;
use crate::stats::strata::{Drawing, StratumCount};

fn seen(hits: u64, trials: u64) -> Observed {
    Observed::new(hits, trials).unwrap()
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.max(1e-6)
}

/// scipy 1.17.1: `brentq` of `k*log(p) + (n-k)*log1p(-p) - (betaln(k+.5, n-k+.5) - log(pi) + log(alpha))` on both sides
/// of k/n.
#[test]
fn the_ends_are_those_of_scipy() {
    for (k, n, alpha, lower, upper) in [
        (0, 300, 0.05, 0.0, 0.021_173_966_497_778_546),
        (3, 200, 0.05, 0.000_825_395_375_930_444_5, 0.065_129_928_174_060_37),
        (6, 200, 0.05, 0.004_936_464_852_756_22, 0.090_563_614_092_323_5),
        (50, 100, 0.05, 0.338_257_552_645_791_66, 0.661_742_447_354_208_4),
        (1, 1, 0.05, 0.025, 1.0),
        (200, 200, 0.05, 0.969_388_901_475_98, 1.0),
        (1_000, 100_000, 0.05, 0.008_724_771_250_594_981, 0.011_392_512_648_029_002),
        (12, 1_000, 0.01, 0.002_805_342_453_177_299_2, 0.031_772_094_420_871_415),
    ] {
        let found = anytime(seen(k, n), Confidence::new(1.0 - alpha).unwrap(), None);
        assert!(near(found.lower, lower) && near(found.upper, upper), "{k} of {n}: {found:?}");
    }
}

/// scipy 1.17.1, by trying every K: `betabinom.logpmf(K, N, .5, .5) - betabinom.logpmf(K-k, N-n, .5+k, .5+n-k)` is below
/// `-log(alpha)`.
#[test]
fn a_small_space_is_counted_down() {
    for (k, n, size, lower, upper) in [
        (3, 20, 40, 0.075, 0.375),
        (0, 30, 100, 0.0, 0.13),
        (5, 100, 100, 0.05, 0.05),
        (10, 500, 1_000, 0.01, 0.042),
        (50, 100, 1_000_000, 0.338_265, 0.661_735),
    ] {
        let found = anytime(seen(k, n), Confidence::P95, Some(SpaceSize(size)));
        assert!(near(found.lower, lower) && near(found.upper, upper), "{k} of {n} of {size}: {found:?}");
    }
    // In a large one nothing is gained.
    let large = anytime(seen(50, 100), Confidence::P95, Some(SpaceSize(1 << 100)));
    assert_eq!(large, anytime(seen(50, 100), Confidence::P95, None));
}

/// The weighted ends of two intervals at 97.5 %, from scipy as above: .1 and .9 of the space, 3 of 50 and 5 of 450.
#[test]
fn strata_together_share_the_chance_of_being_wrong() {
    let part = |name: &str, size, k, n| StratumCount::new(name, SpaceSize(size), k, n).unwrap();
    let parts = vec![part("a", 1 << 40, 3, 50), part("b", 9 << 40, 5, 450)];
    let strata = Strata::new(parts, Drawing::WithoutReplacement).unwrap();
    let found = anytime_pooled(&strata, Confidence::P95);
    assert!(near(found.value, 0.016), "{found:?}");
    assert!(near(found.interval.lower, 0.001_350_095_916_154_298_2), "{found:?}");
    assert!(near(found.interval.upper, 0.060_613_054_291_299_324), "{found:?}");
}

/// The chance that at some of so many looks the truth is outside, for a rate that is looked at after each trial.
#[test]
fn the_truth_is_in_it_at_all_looks_together() {
    let (rounds, longest) = (2_000u32, 400);
    let mut rng = fault_rng(1970, 0);
    let (mut left, mut left_plain) = (0u32, 0u32);
    for _ in 0..rounds {
        let (mut hits, mut out, mut out_plain) = (0, false, false);
        for trials in 1..=longest {
            hits += u64::from(rng.random_bool(0.05));
            let observed = seen(hits, trials);
            out |= !anytime(observed, Confidence::P95, None).contains(0.05);
            out_plain |= trials % 20 == 0 && !clopper_pearson(observed, Confidence::P95).contains(0.05);
        }
        left += u32::from(out);
        left_plain += u32::from(out_plain);
    }
    let share = |count: u32| f64::from(count) / f64::from(rounds);
    assert!(share(left) <= 0.05, "{}", share(left));
    // What the plain interval, which is exact at each single look, does not keep.
    assert!(share(left_plain) > 0.08, "{}", share(left_plain));
}

proptest! {
    #[test]
    fn it_contains_the_rate_and_is_no_narrower_than_the_exact_one(n in 1u64..3_000, part in 0.0..=1.0f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "at most n")]
        let k = ((n as f64 * part) as u64).min(n);
        let found = anytime(seen(k, n), Confidence::P95, None);
        let plain = clopper_pearson(seen(k, n), Confidence::P95);
        prop_assert!(found.contains(seen(k, n).rate()));
        prop_assert!(found.lower <= plain.lower + 1e-12 && found.upper >= plain.upper - 1e-12);
        // The mirror image.
        let mirror = anytime(seen(n - k, n), Confidence::P95, None);
        prop_assert!((mirror.lower - (1.0 - found.upper)).abs() < 1e-9);
        let small = anytime(seen(k, n), Confidence::P95, Some(SpaceSize(u128::from(n) + 5)));
        prop_assert!(small.contains(seen(k, n).rate()));
        prop_assert!(small.upper - small.lower <= found.upper - found.lower + 1e-9);
    }
}
