//! Tests of `schedule`.

use proptest::prelude::*;

use super::*;
use crate::fault::draw::fault_rng;
use crate::stats::mission::{MONTH, Mission, MissionError, UpsetRate, format_field_time, parse_field_time};

const MISSION: Mission =
    Mission { rate: UpsetRate { per_byte_second: 0.0 }, bytes: 16 << 30, accelerate: 1.0 };

#[test]
fn uniform_intervals_reach_both_bounds_and_no_further() {
    let intervals = Intervals::uniform(VirtualNs(20), VirtualNs(23)).unwrap();
    let mut rng = fault_rng(1, 0);
    let mut counts = [0u32; 4];
    for _ in 0..40_000 {
        counts[usize::try_from(intervals.draw(&mut rng).0 - 20).unwrap()] += 1;
    }
    // 10,000 are expected of each; five standard deviations are 433.
    assert!(counts.iter().all(|count| count.abs_diff(10_000) < 433), "{counts:?}");
}

#[test]
fn bounds_are_checked() {
    assert_eq!(Intervals::uniform(VirtualNs(0), VirtualNs(1)), Err(IntervalError::Zero));
    assert!(matches!(Intervals::uniform(VirtualNs(2), VirtualNs(1)), Err(IntervalError::Reversed { .. })));
    assert_eq!(Intervals::geometric(VirtualNs(0)), Err(IntervalError::Zero));
}

#[test]
fn geometric_intervals_have_the_mean_and_the_spread_of_a_poisson_process() {
    for mean in [1u64, 2, 50, 1_000_000] {
        let intervals = Intervals::geometric(VirtualNs(mean)).unwrap();
        let mut rng = fault_rng(7, 1);
        let draws: Vec<f64> = (0..100_000).map(|_| intervals.draw(&mut rng).0 as f64).collect();
        let average = draws.iter().sum::<f64>() / draws.len() as f64;
        let spread = (draws.iter().map(|x| (x - average).powi(2)).sum::<f64>() / draws.len() as f64).sqrt();
        let (mean, p) = (mean as f64, 1.0 / mean as f64);
        let expected_spread = (1.0 - p).sqrt() / p;
        // The mean of 100,000 draws lies within five of its standard errors.
        assert!((average - mean).abs() <= 5.0 * expected_spread / 316.0, "{mean}: {average}");
        assert!((spread - expected_spread).abs() <= 0.03 * expected_spread, "{mean}: {spread}");
    }
}

#[test]
fn the_extremes_of_the_generator_are_survived() {
    assert_eq!(geometric(1_000, 0.0), 1);
    assert_eq!(geometric(1, 0.999), 1);
    // The largest number below 1 that 53 bits give: 36.7 means.
    let longest = geometric(1_000_000, 1.0 - f64::EPSILON / 2.0);
    assert!((36_000_000..38_000_000).contains(&longest), "{longest}");
}

#[test]
fn the_same_seed_gives_the_same_intervals() {
    let draw = |seed| {
        let mut rng = fault_rng(seed, 1);
        let intervals = Intervals::uniform(VirtualNs(20), VirtualNs(100)).unwrap();
        (0..10).map(|_| intervals.draw(&mut rng).0).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    // Pinned: a seed means the same next year.
    assert_eq!(draw(1), [89, 24, 65, 28, 98, 47, 92, 75, 89, 32]);
}

#[test]
fn ten_flips_a_month_and_gib_in_16_gib_and_five_years_are_9600() {
    let mission = Mission { rate: "10/GiB/month".parse().unwrap(), ..MISSION };
    assert!((mission.upsets_in(parse_field_time("5years").unwrap()) - 9600.0).abs() < 1e-6);
    assert!((mission.mean_in_field() - 16_200.0).abs() < 1e-6);
    // One flip every half second of the guest's time stands for one in 16,200 s.
    let faster = Mission { accelerate: 32_400.0, ..mission };
    assert_eq!(faster.mean(), Ok(VirtualNs(500_000_000)));
    assert!((mission.field_seconds(4800) - 2.5 * 12.0 * MONTH).abs() < 1.0);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    for bad in [
        "",
        "10",
        "10/GiB",
        "0/GiB/month",
        "-1/GiB/month",
        "1/GiB/fortnight",
        "x/GiB/s",
        "1/0/s",
        "1/GiB/s/s",
    ] {
        assert!(bad.parse::<UpsetRate>().is_err(), "{bad}");
    }
    assert!("0.5/64MiB/2days".parse::<UpsetRate>().is_ok());
    let rate = "10/GiB/month".parse().unwrap();
    let mission = |accelerate| Mission { rate, accelerate, ..MISSION }.mean();
    assert_eq!(mission(1e30), Err(MissionError::TooFast));
    assert_eq!(mission(0.0), Err(MissionError::NoAcceleration));
    assert_eq!(mission(f64::NAN), Err(MissionError::NoAcceleration));
    assert!(matches!(mission(1e-12), Err(MissionError::TooSlow(_))));
}

#[test]
fn field_times_are_shown_with_a_fitting_unit() {
    assert_eq!(format_field_time(155_520_000.0), "5.00 years");
    assert_eq!(format_field_time(16_200.0), "4.50 hours");
    assert_eq!(format_field_time(2.0), "2 s");
    assert_eq!(format_field_time(0.0015), "1.5 ms");
}

proptest! {
    #[test]
    fn every_draw_is_within_its_bounds(min in 1u64..1 << 40, width in 0u64..1 << 40, seed: u64) {
        let intervals = Intervals::uniform(VirtualNs(min), VirtualNs(min + width)).unwrap();
        let drawn = intervals.draw(&mut fault_rng(seed, 1)).0;
        prop_assert!(drawn >= min && drawn <= min + width);
    }

    #[test]
    fn a_geometric_interval_is_never_zero(mean in 1u64..u64::MAX, uniform in 0.0f64..1.0) {
        prop_assert!(geometric(mean, uniform) >= 1);
    }

    #[test]
    fn no_text_makes_the_rate_parser_panic(text in ".{0,24}") {
        let _ = (text.parse::<UpsetRate>(), parse_field_time(&text));
    }
}
