//! How many trials it takes to see that two campaigns differ.
//!
//! Invariant: a number of trials is rounded up.

use crate::stats::quantity::{Confidence, Share, StatsError};
use crate::stats::special::normal_upper;

/// The trials of each of two campaigns, in spaces of one size, after which a test of equal rates at 1 − `confidence` finds a
/// ratio of `ratio` with probability `power`, where the first has the rate `rate`:
/// (z_(α/2) √(2 p̄ (1 − p̄)) + z_β √(p₁ (1 − p₁) + p₂ (1 − p₂)))² / (p₁ − p₂)², with p₂ = ratio · p₁ and p̄ their mean.
///
/// Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 3rd edition 2003, equation 4.14.
///
/// # Errors
/// The ratio is 1 or not above 0, a rate is not inside (0, 1), or the power is not above 1/2 and below 1.
pub fn trials_to_detect(
    ratio: f64,
    rate: Share,
    power: Share,
    confidence: Confidence,
) -> Result<u64, StatsError> {
    let (one, other) = (rate.value(), ratio * rate.value());
    let refuse = |why: String| Err(StatsError::Detection(why));
    if !(ratio > 0.0 && ratio.is_finite()) || ratio == 1.0 {
        return refuse(format!(
            "a ratio of {ratio} is no difference to detect; write one above 0, as in 0.5 or 1.2"
        ));
    }
    if !(one > 0.0 && one < 1.0 && other < 1.0) {
        return refuse(format!(
            "rates of {one} and {other} are not both inside (0, 1); choose another rate or ratio"
        ));
    }
    if !(0.5..1.0).contains(&power.value()) {
        return refuse(format!("a power of {power} is not in 50% to 100%; write one as in 80%"));
    }
    let spread = |p: f64| p * (1.0 - p);
    let equal = confidence.z() * (2.0 * spread(f64::midpoint(one, other))).sqrt();
    let apart = normal_upper(1.0 - power.value()) * (spread(one) + spread(other)).sqrt();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0, and a cast saturates"
    )]
    let trials = ((equal + apart) / (one - other)).powi(2).ceil() as u64;
    Ok(trials)
}

#[cfg(test)]
mod tests {
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
        let found = (0..rounds)
            .filter(|_| ratio_p(draw(rate), draw(ratio * rate), 1.0, Against::Both) <= 0.05)
            .count();
        let found = found as f64 / f64::from(rounds);
        assert!((0.77..0.84).contains(&found), "{found}");
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
}
