//! Tests of `power`.

use rand::RngExt;

use super::*;
use crate::fault::fault_rng;
use crate::stats::Observed;
use crate::stats::score::{Against, ratio_p};

fn share(value: f64) -> Share {
    Share::new(value).unwrap()
}

/// statsmodels 0.15.0: the root over n of `power_proportions_2indep(p2 - p1, p1, n, ratio=1, alpha=1 - confidence,
/// return_results=False) - power`, rounded up; it counts rejections on the wrong side as well, which are rare.
#[test]
fn numbers_are_those_of_statsmodels() {
    for (rate, ratio, power, confidence, expected) in [
        (0.01, 0.5, 0.8, 0.95, 4_673),
        (0.03, 0.5, 0.8, 0.95, 1_534),
        (0.01, 2.0, 0.8, 0.95, 2_319),
        (0.1, 0.8, 0.9, 0.99, 6_091),
        (0.5, 0.9, 0.8, 0.95, 1_565),
        (0.001, 0.5, 0.8, 0.95, 47_057),
        (0.03, 1.1, 0.8, 0.9, 41_912),
    ] {
        let confidence = Confidence::new(confidence).unwrap();
        let found = trials_to_detect(ratio, share(rate), share(power), confidence).unwrap();
        let more = found.checked_sub(expected);
        assert!(more.is_some_and(|more| more * 10_000 < expected), "{rate} {ratio}: {found}");
    }
}

#[test]
fn so_many_trials_find_the_difference_as_often_as_was_asked_for() {
    let (rate, ratio) = (0.05, 0.5);
    let trials = trials_to_detect(ratio, share(rate), share(0.8), Confidence::P95).unwrap();
    let mut rng = fault_rng(2003, 0);
    let mut draw = |p: f64| {
        let hits = (0..trials).map(|_| u64::from(rng.random::<f64>() < p)).sum();
        Observed::new(hits, trials).unwrap()
    };
    let rounds = 1_500;
    let found =
        (0..rounds).filter(|_| ratio_p(draw(rate), draw(ratio * rate), 1.0, Against::Both) <= 0.05).count();
    let found = found as f64 / f64::from(rounds);
    assert!((0.77..0.84).contains(&found), "{found}");
}

/// statsmodels 0.15.0 and scipy 1.17.1: `brentq` over r of `power_proportions_2indep(r * p - p, p, n2, ratio=n1 / n2,
/// alpha=1 - confidence, return_results=False) - 0.8`, which counts rejections on the wrong side as well.
#[test]
fn the_ratios_that_two_samples_show_are_those_of_statsmodels() {
    for ((hits, n1), (others, n2), confidence, less, more) in [
        ((50, 1000), (50, 1000), 0.95, 0.521_025_595, 1.619_536_454),
        ((50, 1000), (25, 500), 0.95, 0.419_262_400, 1.763_519_747),
        ((60, 600), (180, 1800), 0.99, 0.580_213_557, 1.548_341_449),
        ((60, 200), (90, 300), 0.95, 0.636_324_161, 1.409_638_718),
    ] {
        let of = |hits, trials| Observed::new(hits, trials).unwrap();
        let confidence = Confidence::new(confidence).unwrap();
        let found = detectable(of(hits, n1), of(others, n2), 1.0, Share::P80, confidence);
        assert!((found.less.unwrap() - less).abs() < 1e-4, "{found:?} {less}");
        assert!((found.more.unwrap() - more).abs() < 1e-4, "{found:?} {more}");
        // A space of twice the size with half the rate is the same question.
        let halved = detectable(of(hits, n1), of(others / 2, n2), 0.5, Share::P80, confidence);
        assert!(halved.more.unwrap() > found.more.unwrap(), "{halved:?}");
    }
    let none = |n| Observed::new(0, n).unwrap();
    assert_eq!(detectable(none(9), none(9), 1.0, Share::P80, Confidence::P95), Detectable::default());
}

#[test]
fn pairs_show_less_than_independent_samples_would() {
    let pairs = Pairs { both: 45, first: 5, second: 5, neither: 945 };
    let found = detectable_in_pairs(&pairs, 1.0, Share::P80, Confidence::P95);
    // 1 % differ, and x of 5 % more: x √1000 = 1.9600 √(0.01 + x) + 0.8416 √(0.01 + x − x²).
    assert!((found.more.unwrap() - 1.270).abs() < 0.003, "{found:?}");
    let of = |hits| Observed::new(hits, 1000).unwrap();
    let apart = detectable(of(50), of(50), 1.0, Share::P80, Confidence::P95);
    assert!(found.more.unwrap() < apart.more.unwrap() && found.less.unwrap() > apart.less.unwrap());
    assert_eq!(
        detectable_in_pairs(&Pairs::default(), 1.0, Share::P80, Confidence::P95),
        Detectable::default()
    );
}

/// The power at the ratios that are said, by drawing pairs.
#[test]
fn what_pairs_would_show_of_a_longer_run_is_shown_as_often() {
    let mut rng = fault_rng(1987, 0);
    let n = 1_000u64;
    // In a run of twice the length nothing has changed per run where the rate has halved.
    let halved = (0.5, Pairs { both: 20, first: 40, second: 10, neither: 930 });
    let same = (1.0, Pairs { both: 20, first: 25, second: 25, neither: 930 });
    let visible = |(equal, pairs): (f64, Pairs)| {
        let found = detectable_in_pairs(&pairs, equal, Share::P80, Confidence::P95);
        [found.more.unwrap(), found.less.unwrap()].map(|ratio| (equal, pairs.both + pairs.first, ratio))
    };
    for (equal, first, ratio) in [halved, same].into_iter().flat_map(visible) {
        let one = float(first) / float(n);
        let other = one * equal * ratio;
        let both = 0.02f64.min(other);
        let rounds = 2_000;
        let shown = (0..rounds).filter(|_| {
            let mut drawn = Pairs::default();
            for _ in 0..n {
                let place: f64 = rng.random();
                drawn.add(place < one, place < both || (one..one + other - both).contains(&place));
            }
            drawn.ratio_p(equal) <= 0.05
        });
        let power = shown.count() as f64 / f64::from(rounds);
        assert!((0.75..0.85).contains(&power), "{equal} × {ratio}: {power}");
    }
}

#[test]
fn what_cannot_be_detected_is_said() {
    let of = |ratio, rate, power| trials_to_detect(ratio, share(rate), share(power), Confidence::P95);
    for (ratio, rate, power, word) in [
        (1.0, 0.1, 0.8, "no difference"),
        (f64::NAN, 0.1, 0.8, "no difference"),
        (-1.0, 0.1, 0.8, "no difference"),
        (3.0, 0.5, 0.8, "inside (0, 1)"),
        (0.5, 0.0, 0.8, "inside (0, 1)"),
        (0.5, 0.1, 0.2, "power"),
        (0.5, 0.1, 1.0, "power"),
    ] {
        let error = of(ratio, rate, power).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
