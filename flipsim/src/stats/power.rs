//! How many trials it takes to see that two campaigns differ.
//!
//! Invariant: a number of trials is rounded up.

use serde::Serialize;

use crate::stats::paired::{Pairs, spread_of_ratio};
use crate::stats::quantity::{Confidence, Observed, Share, StatsError};
use crate::stats::score::likeliest;
use crate::stats::special::{float, normal_upper};

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

/// The ratios nearest to 1 that a comparison would have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Detectable {
    /// This one, and any lower one; `None` where none below 1 would have been shown.
    pub less: Option<f64>,
    /// This one, and any higher one; `None` where none that can be would have been.
    pub more: Option<f64>,
}

impl Detectable {
    /// By bisection, of ratios up to `most`; `beyond` is above 0 where one is far enough from 1.
    fn search(most: f64, beyond: &dyn Fn(f64) -> f64) -> Self {
        let nearest = |far: f64| {
            let (mut out, mut inside) = (far, 1.0);
            let out_of_reach = beyond(far);
            if out_of_reach.is_nan() || out_of_reach < 0.0 {
                return None;
            }
            for _ in 0..60 {
                let middle = f64::midpoint(out, inside);
                if beyond(middle) >= 0.0 { out = middle } else { inside = middle }
            }
            Some(out)
        };
        Detectable { less: nearest(0.0), more: (most > 1.0).then(|| nearest(most)).flatten() }
    }
}

/// What two independent samples show with this power at 1 − `confidence`: ratios of the second rate over `equal` times the
/// first, where the rates are the likeliest ones without a difference.
///
/// |p₂ − p₂₀| = z_(α/2) √V₀ + z_β √V₁, with the variances of p₂ − φ p₁ without and with the difference: the formula of
/// [`trials_to_detect`] for any two numbers of trials (Fleiss, Levin and Paik, equation 4.19).
#[must_use]
pub fn detectable(a: Observed, b: Observed, equal: f64, power: Share, confidence: Confidence) -> Detectable {
    let (n1, n2, [one, other]) = (float(a.trials()), float(b.trials()), likeliest(a, b, equal));
    if other <= 0.0 {
        return Detectable::default();
    }
    let (surely, likely) = (confidence.z(), normal_upper(1.0 - power.value()));
    let spread = |p: f64| p * (1.0 - p).max(0.0);
    let error = |one: f64, other: f64| (equal * equal * spread(one) / n1 + spread(other) / n2).sqrt();
    let beyond = |ratio: f64| {
        let changed = ratio * other;
        let pooled = (n1 * one + n2 * changed) / (n1 + n2 * equal);
        (changed - other).abs()
            - surely * error(pooled.min(1.0), (equal * pooled).min(1.0))
            - likely * error(one, changed)
    };
    Detectable::search(1.0 / other, &beyond)
}

/// What pairs show with this power at 1 − `confidence`: ratios of the second rate over `equal` times the first, with the share
/// of pairs that are hits in both as it is (Connor, Biometrics 43, 1987, for rates that would be equal; with the variance of
/// [`Pairs::ratio`]'s score for others).
#[must_use]
pub fn detectable_in_pairs(pairs: &Pairs, equal: f64, power: Share, confidence: Confidence) -> Detectable {
    let n = float(pairs.all());
    let hits = float(2 * pairs.both + pairs.first + pairs.second);
    if hits < 1.0 {
        return Detectable::default();
    }
    // Without a difference the rates are these two.
    let first = hits / (n * (1.0 + equal));
    let rate = equal * first;
    let both = (float(pairs.both) / n).min(first);
    let (surely, likely) = (confidence.z(), normal_upper(1.0 - power.value()));
    let beyond = |ratio: f64| {
        let other = ratio * rate;
        let (change, both) = ((other - rate).abs(), both.min(other));
        let asked = spread_of_ratio([both, first - both, other - both], equal);
        let spread = equal * equal * first + other - 2.0 * equal * both - change * change;
        change * n.sqrt() - surely * asked.sqrt() - likely * spread.max(0.0).sqrt()
    };
    Detectable::search(1.0 / rate, &beyond)
}

#[cfg(test)]
mod tests;
