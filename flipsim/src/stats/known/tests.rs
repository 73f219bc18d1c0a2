//! Tests of `known`.

use proptest::prelude::*;

use super::*;
use crate::stats::proportion::wilson;
use crate::stats::tally::{Method, Rate};

const P95: Confidence = Confidence::P95;

fn known(certain: f64, live: f64, hits: u64, trials: u64) -> PartlyKnown {
    PartlyKnown::new([certain, live], [hits, trials], Some(SpaceSize(1 << 90))).unwrap()
}

/// scipy 1.17.1 and statsmodels 0.15.0: `c + w * beta.ppf(.025, k, m - k + 1)`, `c + w * beta.ppf(.975, k + 1, m - k)`,
/// and `c + w * e for e in proportion_confint(k, m, method='wilson')`.
#[test]
fn intervals_are_those_of_the_live_part_times_its_share() {
    for (certain, live, [hits, trials], value, exact, wilson) in SCIPY {
        let rate = Rate::of(&known(*certain, *live, *hits, *trials), P95);
        let same =
            |found: f64, is: f64| assert!((found - is).abs() < 1e-12, "{hits} of {trials}: {found} {is}");
        same(rate.value, *value);
        same(rate.exact.lower, exact[0]);
        same(rate.exact.upper, exact[1]);
        same(rate.wilson.lower, wilson[0]);
        same(rate.wilson.upper, wilson[1]);
        assert_eq!(rate.exact, rate.clopper_pearson);
    }
}

type Case = (f64, f64, [u64; 2], f64, [f64; 2], [f64; 2]);

const SCIPY: &[Case] = &[
    (
        0.0,
        0.0382,
        [100, 764],
        0.005,
        [0.004_117_234_902_542_15, 0.005_993_203_083_556_982],
        [0.004_156_504_781_362_736, 0.005_984_577_908_949_342],
    ),
    (
        0.033,
        0.0382,
        [6, 764],
        0.0333,
        [0.033_110_296_977_667_42, 0.033_649_960_830_862_21],
        [0.033_137_677_072_194_72, 0.033_650_433_181_554_72],
    ),
    (
        0.92,
        0.0382,
        [5, 750],
        0.920_254_666_666_666_7,
        [0.920_082_820_945_357_3, 0.920_591_668_881_338_3],
        [0.920_108_903_032_837_2, 0.920_592_496_075_375_4],
    ),
    (
        0.25,
        0.5,
        [3, 40],
        0.2875,
        [0.257_871_089_925_520_77, 0.351_932_374_366_449_5],
        [0.262_918_012_887_294_1, 0.349_321_167_621_552_74],
    ),
];

#[test]
fn what_never_came_is_below_the_bound_of_the_live_part() {
    // scipy: .0382 * (1 - .05 ** (1 / 764)).
    let rate = Rate::of(&known(0.0, 0.0382, 0, 764), P95);
    assert!((rate.upper_bound.unwrap() - 0.000_149_493_331_824_215_6).abs() < 1e-15, "{rate:?}");
    // Where a part surely has the outcome it is no matter of a bound, though no trial had it.
    let rate = Rate::of(&known(0.03, 0.0382, 0, 764), P95);
    assert_eq!((rate.upper_bound, rate.value, rate.exact.lower), (None, 0.03, 0.03));
}

#[test]
fn without_a_trial_in_the_live_part_all_of_it_is_open() {
    let rate = Rate::of(&known(0.0, 0.04, 0, 0), P95);
    assert_eq!(
        (rate.value, rate.estimate(Method::default()).interval),
        (0.0, Interval { lower: 0.0, upper: 0.04 })
    );
    let rate = Rate::of(&known(0.9, 0.04, 0, 0), P95);
    assert_eq!((rate.value, rate.exact), (0.9, Interval { lower: 0.9, upper: 0.9 + 0.04 }));
    // And where no fault is live nothing is uncertain.
    let rate = Rate::of(&known(0.3, 0.0, 0, 0), P95);
    assert_eq!((rate.value, rate.exact), (0.3, Interval { lower: 0.3, upper: 0.3 }));
}

#[test]
fn with_nothing_known_it_is_the_plain_interval() {
    let size = Some(SpaceSize(1000));
    for hits in [0, 7, 300] {
        let seen = Observed::new(hits, 300).unwrap();
        let same = PartlyKnown::new([0.0, 1.0], [hits, 300], size).unwrap();
        assert_eq!(Rate::of(&same, P95), Rate::new(seen, P95, size));
        assert!(same.is_plain());
    }
    // As the live part grows to all, so does its interval.
    let plain = Rate::new(Observed::new(20, 1000).unwrap(), P95, Some(SpaceSize(1 << 90)));
    let mut before = 0.0;
    for live in [0.02, 0.05, 0.2, 0.5, 0.9, 0.99, 1.0] {
        let trials = (1000.0 * live) as u64;
        let Interval { lower, upper } = Rate::of(&known(0.0, live, 20, trials), P95).exact;
        assert!(upper - lower > before, "{live}");
        before = upper - lower;
    }
    assert_eq!(before, plain.exact.upper - plain.exact.lower);
}

#[test]
fn a_live_part_that_was_drawn_out_is_known() {
    // 40 of 1,000 faults are live, all were drawn, 10 failed.
    let all = PartlyKnown::new([0.0, 0.04], [10, 40], Some(SpaceSize(1000))).unwrap();
    assert_eq!(all.live_size(), Some(SpaceSize(40)));
    let rate = Rate::of(&all, P95);
    assert_eq!((rate.exact.lower, rate.exact.upper), (0.01, 0.01));
}

#[test]
fn shares_that_are_none_are_refused() {
    let made = |shares, counts| PartlyKnown::new(shares, counts, None);
    for shares in [[-0.1, 0.5], [0.5, 0.6], [f64::NAN, 0.1], [0.1, f64::INFINITY]] {
        assert!(matches!(made(shares, [0, 1]), Err(StatsError::Share(_))), "{shares:?}");
    }
    assert_eq!(made([0.1, 0.2], [2, 1]), Err(StatsError::MoreHitsThanTrials { hits: 2, trials: 1 }));
    assert_eq!(made([0.1, 0.2], [2, 0]), Err(StatsError::NoTrials));
}

#[test]
fn a_number_of_live_trials_that_their_share_does_not_explain_is_seen() {
    let sure = Confidence::new(0.999).unwrap();
    assert!(agree(0.0382, [764, 20_000], 0, sure) && agree(0.0382, [700, 20_000], 0, sure));
    // 300 more were not looked up; or all of them.
    assert!(!agree(0.0382, [1064, 20_000], 0, sure) && !agree(0.0382, [20_000, 20_000], 0, sure));
    // A hundred have no record: they may be live ones.
    assert!(!agree(0.0382, [650, 19_900], 0, sure) && agree(0.0382, [650, 19_900], 100, sure));
    assert!(agree(0.0, [0, 500], 0, sure) && !agree(0.0, [30, 500], 0, sure) && !agree(0.5, [0, 0], 0, sure));
}

proptest! {
    #[test]
    fn intervals_contain_the_estimate_and_lie_in_what_is_open(
        certain in 0.0..1.0f64, part in 0.0..=1.0f64, (hits, trials) in (0u64..3000).prop_flat_map(|n| (0..=n, Just(n)))
    ) {
        let live = (1.0 - certain) * part;
        let rate = Rate::of(&known(certain, live, hits, trials), P95);
        for interval in [rate.exact, rate.wilson, rate.clopper_pearson, rate.estimate(Method::default()).interval] {
            prop_assert!(interval.contains(rate.value), "{rate:?}");
            prop_assert!(interval.lower >= certain.min(rate.value) && interval.upper <= (certain + live).min(1.0));
        }
    }

    /// Of the same trials, as many of them live as the share lets expect.
    #[test]
    fn what_is_known_never_makes_an_interval_wider(
        live in 0.001..0.999f64, (hits, trials) in (1u64..5000).prop_flat_map(|m| (0..=m, Just(m)))
    ) {
        let all = (trials as f64 / live) as u64;
        // A whole number of trials of the whole space, and exactly its share of them in the live part.
        let live = trials as f64 / all as f64;
        let seen = Observed::new(hits, all).unwrap();
        let (here, wide) = (Rate::of(&known(0.0, live, hits, trials), P95), Rate::new(seen, P95, None));
        prop_assert!((here.value - wide.value).abs() < 1e-12);
        let width = |interval: Interval| interval.upper - interval.lower;
        prop_assert!(width(here.exact) <= width(wide.exact) * (1.0 + 1e-9), "{here:?} {wide:?}");
        prop_assert!(width(here.wilson) <= width(wilson(seen, P95)) * (1.0 + 1e-9));
        if let (Some(here), Some(wide)) = (here.upper_bound, wide.upper_bound) {
            prop_assert!(here <= wide * (1.0 + 1e-9));
        }
    }
}
