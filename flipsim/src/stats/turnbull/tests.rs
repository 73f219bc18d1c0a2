//! Tests of `turnbull`.

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;

fn lapse(after: u64, until: u64) -> Lapse {
    let until = (until > 0).then_some(VirtualNs(until));
    Lapse { after: VirtualNs(after), until }
}

fn masses(times: &[Lapse]) -> Vec<(u64, u64, f64)> {
    let found = Turnbull::new(times).unwrap();
    assert!(found.gap <= TOLERANCE, "{}", found.gap);
    let row = |mass: &Mass| (mass.within.after.0, mass.within.until.map_or(0, |until| until.0), mass.share);
    found.masses.iter().map(row).collect()
}

#[track_caller]
fn check(found: &[(u64, u64, f64)], expected: &[(u64, u64, f64)], near: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (one, other) in found.iter().zip(expected) {
        assert_eq!((one.0, one.1), (other.0, other.1), "{found:?}");
        assert!((one.2 - other.2).abs() < near, "{one:?} is not {other:?}");
    }
}

/// Months to cosmetic deterioration after radiotherapy alone, of 46 women (Finkelstein and Wolfe, Biometrics 41,
/// 1985); 0 for no end.
const RADIOTHERAPY: [(u64, u64); 46] = [
    (45, 0),
    (6, 10),
    (0, 7),
    (46, 0),
    (46, 0),
    (7, 16),
    (17, 0),
    (7, 14),
    (37, 44),
    (0, 8),
    (4, 11),
    (15, 0),
    (11, 15),
    (22, 0),
    (46, 0),
    (46, 0),
    (25, 37),
    (46, 0),
    (26, 40),
    (46, 0),
    (27, 34),
    (36, 44),
    (46, 0),
    (36, 48),
    (37, 0),
    (40, 0),
    (17, 25),
    (46, 0),
    (11, 18),
    (38, 0),
    (5, 12),
    (37, 0),
    (0, 5),
    (18, 0),
    (24, 0),
    (36, 0),
    (5, 11),
    (19, 35),
    (17, 25),
    (24, 0),
    (32, 0),
    (33, 0),
    (19, 26),
    (37, 0),
    (34, 0),
    (36, 0),
];

/// The published estimate, to four digits in Fay and Shaw, Journal of Statistical Software 36, 2010 (`icfit`); here
/// those of lifelines 0.30.3, `KaplanMeierFitter().fit_interval_censoring(l + 0.25, r, tol=1e-13)`, as it takes both
/// ends to belong to the interval. The last lies from 46 on: (46, 48] is where it ends first.
#[test]
fn the_women_of_finkelstein_and_wolfe_have_their_published_estimate() {
    let expected = [
        (4, 5, 0.046_346_773_992_894_11),
        (6, 7, 0.033_363_370_934_642_034),
        (7, 8, 0.088_667_368_062_710_82),
        (11, 12, 0.070_752_921_792_364_14),
        (24, 25, 0.092_645_836_585_012_69),
        (33, 34, 0.081_785_764_902_552_07),
        (38, 40, 0.120_879_827_353_570_33),
        (46, 48, 0.465_558_136_375_977_3),
    ];
    let times = RADIOTHERAPY.map(|(after, until)| lapse(after, until));
    check(&masses(&times), &expected, 1e-6);
    let median = quantile(&times, Share::HALF, Confidence::P95).unwrap();
    assert_eq!(median.likeliest, lapse(38, 40));
}

/// Exact times among the intervals: lifelines 0.30.3, as above.
#[test]
fn exact_times_and_intervals_stand_together() {
    let times =
        [(2, 2), (2, 6), (3, 7), (5, 5), (0, 4), (6, 9), (4, 8), (7, 7), (1, 3), (8, 12), (3, 3), (9, 0)];
    let times = times.map(|(after, until)| lapse(after, until));
    let expected = [
        (2, 2, 0.148_797_751_849_251_15),
        (3, 3, 0.230_028_271_056_284_65),
        (5, 5, 0.191_336_628_849_232_86),
        (7, 7, 0.263_170_681_578_538),
        (9, 12, 0.166_666_666_666_617),
    ];
    check(&masses(&times), &expected, 1e-6);
}

/// What was known exactly has the quantiles of the values themselves.
#[test]
fn of_exact_times_it_is_their_own_distribution() {
    let times: Vec<Lapse> = (1..=100).map(|time| Lapse::exactly(VirtualNs(time * 7))).collect();
    let values = Sorted::new(times.iter().map(|time| time.after).collect());
    for share in [0.07, 0.5, 0.9, 0.99] {
        let share = Share::new(share).unwrap();
        let (found, plain) = (
            quantile(&times, share, Confidence::P95).unwrap(),
            values.quantile(share, Confidence::P95).unwrap(),
        );
        assert_eq!(
            (found.within, found.likeliest),
            (Lapse::exactly(plain.value), Lapse::exactly(plain.value))
        );
        assert_eq!((found.lower, found.upper), (plain.lower, plain.upper));
    }
    assert_eq!(quantile(&[], Share::HALF, Confidence::P95), None);
}

/// The same times, looked at every 27 and every 1: the finer look lies within what the coarser one says.
#[test]
fn what_a_coarse_look_says_contains_what_a_fine_one_says() {
    let mut rng = fault_rng(1976, 0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let times: Vec<(u64, u64)> = (0..400)
        .map(|_| (rng.random_range(0..27_000), (-(1.0 - rng.random::<f64>()).ln() * 900.0) as u64 + 1))
        .collect();
    let looks = |every: u64| -> Vec<Lapse> {
        let look = |(flip, time): &(u64, u64)| {
            // Checkpoints lie on a grid of the run, and times count from the flip.
            let seen = (flip + time).div_ceil(every) * every;
            Lapse::between(VirtualNs((seen - every).saturating_sub(*flip)), VirtualNs(seen - flip))
        };
        times.iter().map(look).collect()
    };
    let exact = Sorted::new(times.iter().map(|(_, time)| VirtualNs(*time)).collect());
    for share in [0.5, 0.9].map(|share| Share::new(share).unwrap()) {
        let truth = exact.quantile(share, Confidence::P95).unwrap();
        for every in [1, 1_000, 27_000] {
            let found = quantile(&looks(every), share, Confidence::P95).unwrap();
            let (lower, upper) = (found.lower.unwrap(), found.upper.unwrap());
            assert!(
                found.within.after <= truth.value && truth.value <= found.within.until.unwrap(),
                "{every}"
            );
            assert!(lower <= truth.lower.unwrap() && truth.upper.unwrap() <= upper, "{every}: {found:?}");
            assert!(
                lower <= found.within.after && found.within.until.unwrap() <= upper,
                "{every}: {found:?}"
            );
        }
    }
}

/// Twenty times that may all have come at once: the likeliest estimate is that they did, and no range to report.
#[test]
fn times_that_all_begin_at_0_are_not_said_to_be_the_shortest() {
    let times: Vec<Lapse> = (1..=20).map(|time| lapse(0, time * 1000)).collect();
    let found = quantile(&times, Share::new(0.9).unwrap(), Confidence::P95).unwrap();
    assert_eq!((found.within, found.likeliest), (lapse(0, 18_000), lapse(0, 1000)));
}

#[test]
fn ten_thousand_times_are_estimated_in_a_moment() {
    let mut rng = fault_rng(1997, 0);
    let times: Vec<Lapse> = (0..10_000)
        .map(|_| {
            let after = rng.random_range(0..20_000_000u64);
            Lapse::between(VirtualNs(after), VirtualNs(after + 27_000_000))
        })
        .collect();
    let found = Turnbull::new(&times).unwrap();
    assert!(found.gap <= 1e-6, "{}", found.gap);
}

proptest! {
    #[test]
    fn the_shares_add_up_and_a_quantile_lies_in_its_interval(
        times in proptest::collection::vec((0u64..40, 0u64..20), 1..60), q in 0.01..0.99f64
    ) {
        let times: Vec<Lapse> =
            times.into_iter().map(|(a, width)| Lapse::between(VirtualNs(a), VirtualNs(a + width))).collect();
        let found = Turnbull::new(&times).unwrap();
        prop_assert!((found.masses.iter().map(|mass| mass.share).sum::<f64>() - 1.0).abs() < 1e-9);
        prop_assert!(found.gap <= TOLERANCE, "{}", found.gap);
        let quantile = quantile(&times, Share::new(q).unwrap(), Confidence::P95).unwrap();
        prop_assert!(quantile.lower.is_none_or(|lower| lower <= quantile.within.after));
        prop_assert!(quantile.upper.is_none_or(|upper| quantile.within.until.unwrap() <= upper));
    }
}
