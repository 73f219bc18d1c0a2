//! Tests of `survival`.

use Lifetime::{Censored, Failed};
use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::fault::fault_rng;

/// Weeks in remission of Freireich et al., Blood 21, 1963: 6-MP, + censored.
const TREATED: [(u64, bool); 21] = [
    (6, true),
    (6, true),
    (6, true),
    (6, false),
    (7, true),
    (9, false),
    (10, true),
    (10, false),
    (11, false),
    (13, true),
    (16, true),
    (17, false),
    (19, false),
    (20, false),
    (22, true),
    (23, true),
    (25, false),
    (32, false),
    (32, false),
    (34, false),
    (35, false),
];
const PLACEBO: [u64; 21] = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23];

fn treated() -> Survival {
    let lifetimes = TREATED.map(|(time, failed)| match failed {
        true => Failed(VirtualNs(time)),
        false => Censored(VirtualNs(time)),
    });
    Survival::new(lifetimes, Confidence::P95).unwrap()
}

fn placebo() -> Survival {
    Survival::new(PLACEBO.map(|time| Failed(VirtualNs(time))), Confidence::P95).unwrap()
}

/// S and its standard error: Klein and Moeschberger, table 4.1B. The intervals: lifelines 0.30.3,
/// `KaplanMeierFitter().fit(t, e).confidence_interval_`.
#[test]
fn freireichs_treated_children_survive_as_published() {
    let expected = [
        (6, 21, 3, 0.857, 0.0764, 0.619_717_955_265_983_8, 0.951_551_747_646_997),
        (7, 17, 1, 0.807, 0.0869, 0.563_146_564_622_233_3, 0.922_809_019_202_880_2),
        (10, 15, 1, 0.753, 0.0963, 0.503_199_510_799_956_4, 0.889_361_835_169_265_1),
        (13, 12, 1, 0.690, 0.1068, 0.431_610_222_486_183_9, 0.849_065_963_349_450_5),
        (16, 11, 1, 0.627, 0.1141, 0.367_510_855_987_501_94, 0.804_912_189_471_841_1),
        (22, 7, 1, 0.538, 0.1282, 0.267_778_936_767_134_93, 0.746_790_717_635_394_3),
        (23, 6, 1, 0.448, 0.1346, 0.188_052_005_959_232_33, 0.680_142_628_495_241_2),
    ];
    let found = treated();
    assert_eq!((found.steps.len(), found.guests, found.last_seen), (7, 21, VirtualNs(35)));
    for (step, (time, at_risk, failures, survival, error, lower, upper)) in found.steps.iter().zip(expected) {
        assert_eq!((step.time.0, step.at_risk, step.failures), (time, at_risk, failures));
        assert!((step.survival - survival).abs() <= 5e-4, "{step:?}");
        assert!((step.standard_error - error).abs() <= 6e-5, "{step:?}");
        let interval = step.interval.unwrap();
        assert!((interval.lower - lower).abs() < 1e-9 && (interval.upper - upper).abs() < 1e-9, "{step:?}");
    }
}

/// lifelines 0.30.3: `median_survival_times(k.confidence_interval_)`, and
/// `restricted_mean_survival_time(k, t)` for the means. It has no standard error of these: they are
/// the double integral of S(s) S(t) Σ d/(n (n − d)) up to min(s, t), added up week by week in Python.
#[test]
fn medians_and_means_are_those_of_lifelines() {
    let time = |time| Some(VirtualNs(time));
    assert_eq!(treated().median(), Some(TimeEstimate { value: VirtualNs(23), lower: time(13), upper: None }));
    assert_eq!(
        placebo().median(),
        Some(TimeEstimate { value: VirtualNs(8), lower: time(4), upper: time(11) })
    );
    for (survival, horizon, mean, error) in [
        (treated(), 35, 23.287_394_957_983_185, 2.827_467_623),
        (treated(), 20, 16.116_526_610_644_254, 1.251_560_196),
        (placebo(), 23, 8.666_666_666_666_666, 1.377_390_041),
        // All have failed by then.
        (placebo(), 100, 8.666_666_666_666_666, 1.377_390_041),
    ] {
        let found = survival.restricted_mean(VirtualNs(horizon)).unwrap();
        assert!((found.value - mean).abs() < 1e-9, "{found:?}");
        // The interval is one of ln(horizon − mean).
        let lost = horizon as f64 - mean;
        let spread = ((horizon as f64 - found.interval.lower) / lost).ln() / Confidence::P95.z();
        assert!((spread * lost - error).abs() < 1e-8, "{horizon}: {found:?}");
    }
    assert_eq!(treated().restricted_mean(VirtualNs(36)), None);
}

#[test]
fn without_censoring_survival_is_the_share_that_is_left() {
    let survival = placebo();
    for step in &survival.steps {
        let left = PLACEBO.iter().filter(|time| **time > step.time.0).count() as f64;
        assert!((step.survival - left / 21.0).abs() < 1e-12);
        // Greenwood's error is the binomial one.
        let binomial = (step.survival * (1.0 - step.survival) / 21.0).sqrt();
        assert!((step.standard_error - binomial).abs() < 1e-12);
    }
    let last = survival.steps.last().unwrap();
    assert_eq!((last.survival, last.standard_error, last.interval), (0.0, 0.0, None));
    assert_eq!(survival.at(VirtualNs(0)), Some(1.0));
    assert_eq!(survival.at(VirtualNs(1)), Some(survival.steps[0].survival));
    assert_eq!(survival.at(VirtualNs(u64::MAX)), Some(0.0));
}

#[test]
fn where_all_are_censored_all_survive_as_long_as_they_were_seen() {
    let survival = Survival::new([3, 9, 9].map(|t| Censored(VirtualNs(t))), Confidence::P95).unwrap();
    assert_eq!((survival.steps.len(), survival.median()), (0, None));
    assert_eq!((survival.at(VirtualNs(9)), survival.at(VirtualNs(10))), (Some(1.0), None));
    let mean = survival.restricted_mean(VirtualNs(9)).unwrap();
    assert_eq!((mean.value, mean.interval), (9.0, Interval { lower: 9.0, upper: 9.0 }));
    assert_eq!(Survival::new([], Confidence::P95), None);
}

#[test]
fn a_median_of_exactly_half_is_found_in_spite_of_rounding() {
    // 23/24 · 22/23 · … · 12/13 is a little above a half in floating point.
    let survival = Survival::new((1..=24).map(|time| Failed(VirtualNs(time))), Confidence::P95).unwrap();
    assert!(survival.steps[11].survival > 0.5);
    assert_eq!(survival.median().unwrap().value, VirtualNs(12));
}

#[test]
fn the_interval_covers_the_true_survival() {
    // Exponential lifetimes of mean 1 s, censored uniformly up to 2 s; S(0.7 s) = exp(-0.7).
    let (rounds, mut covered) = (2_000, 0u32);
    let mut rng = fault_rng(1958, 0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds in nanoseconds")]
    let mut time = |scale: fn(f64) -> f64| (scale(rng.random::<f64>()) * 1e9) as u64;
    for _ in 0..rounds {
        let lifetimes = (0..60).map(|_| {
            let (life, watched) = (time(|x| -(1.0 - x).ln()), time(|x| 2.0 * x));
            if life <= watched { Failed(VirtualNs(life)) } else { Censored(VirtualNs(watched)) }
        });
        let survival = Survival::new(lifetimes.collect::<Vec<_>>(), Confidence::P95).unwrap();
        let step = survival.steps.iter().rfind(|step| step.time.0 <= 700_000_000).unwrap();
        covered += u32::from(step.interval.unwrap().contains((-0.7f64).exp()));
    }
    let share = f64::from(covered) / f64::from(rounds);
    assert!((0.94..0.965).contains(&share), "{share}");
}

proptest! {
    #[test]
    fn survival_never_rises_and_its_interval_contains_it(
        lifetimes in proptest::collection::vec((0u64..40, any::<bool>()), 1..200)
    ) {
        let survival = Survival::new(
            lifetimes.into_iter().map(|(t, f)| if f { Failed(VirtualNs(t)) } else { Censored(VirtualNs(t)) }),
            Confidence::P95,
        ).unwrap();
        let mut before = 1.0;
        for step in &survival.steps {
            prop_assert!(step.survival < before && step.survival >= 0.0 && step.standard_error.is_finite());
            if let Some(interval) = step.interval {
                prop_assert!(interval.contains(step.survival), "{step:?}");
                prop_assert!(interval.lower >= 0.0 && interval.upper <= 1.0);
            }
            before = step.survival;
        }
        let mean = survival.restricted_mean(survival.last_seen).unwrap();
        prop_assert!(mean.interval.contains(mean.value), "{mean:?}");
    }
}
