//! How trials are shared over strata when a pilot has shown how much their outcomes spread.
//!
//! Invariant: the shares add up to the total, none is below the least or above what its stratum has.

use super::quantity::{Confidence, Observed, SpaceSize};
use super::special::float;

/// A stratum of which a pilot has seen something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piloted {
    /// How many different trials it has.
    pub size: SpaceSize,
    /// What the pilot saw there.
    pub seen: Observed,
}

impl Piloted {
    /// √(p̃ (1 − p̃)) with the shrunken rate p̃ = (k + 1)/(n + 2): a stratum in which the pilot saw nothing may have
    /// something all the same.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let p = (float(self.seen.hits()) + 1.0) / (float(self.seen.trials()) + 2.0);
        (p * (1.0 - p)).sqrt()
    }
}

/// Neyman's allocation: each stratum has trials in proportion to N_h √(p̃_h (1 − p̃_h)), which makes the variance of the
/// pooled rate least (Neyman, Journal of the Royal Statistical Society 97, 1934; Cochran, "Sampling Techniques", 3rd edition
/// 1977, section 5.5), but at least `least`, and no more than there are. `None` where the total is too small for that, or
/// larger than the space.
#[must_use]
pub fn neyman(total: u64, strata: &[Piloted], least: u64) -> Option<Vec<u64>> {
    let most = |stratum: &Piloted| u64::try_from(stratum.size.0).unwrap_or(u64::MAX);
    let bounds: Vec<(u64, u64)> = strata.iter().map(|one| (least.min(most(one)), most(one))).collect();
    let sum = |end: fn(&(u64, u64)) -> u64| bounds.iter().map(|pair| u128::from(end(pair))).sum::<u128>();
    if u128::from(total) < sum(|pair| pair.0) || u128::from(total) > sum(|pair| pair.1) {
        return None;
    }
    let scores: Vec<f64> = strata.iter().map(|one| one.size.float() * one.spread()).collect();
    let at = |factor: f64| -> Vec<f64> {
        let clamped = scores.iter().zip(&bounds);
        clamped.map(|(score, (low, high))| (score * factor).clamp(float(*low), float(*high))).collect()
    };
    // The factor with which they add up: their sum grows with it.
    let (mut low, mut high) = (0.0, 1.0);
    while at(high).iter().sum::<f64>() < float(total) && high < 1e300 {
        high *= 2.0;
    }
    for _ in 0..2000 {
        let middle = f64::midpoint(low, high);
        if middle == low || middle == high {
            break;
        }
        if at(middle).iter().sum::<f64>() < float(total) { low = middle } else { high = middle }
    }
    Some(rounded(total, &at(high), &bounds))
}

/// Whole numbers with this sum, as near as may be: the largest remainders are rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between the bounds, which are u64"
)]
fn rounded(total: u64, exact: &[f64], bounds: &[(u64, u64)]) -> Vec<u64> {
    let mut shares: Vec<u64> = exact
        .iter()
        .zip(bounds)
        .map(|(exact, (low, high))| (exact.floor() as u64).clamp(*low, *high))
        .collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let rest = |at: &usize| exact[*at] - exact[*at].floor();
    order.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
    // Rounding leaves some of the total over, or has taken a little too much.
    for up in order.iter().cycle().take(2 * shares.len() + 1) {
        if shares.iter().sum::<u64>() < total && shares[*up] < bounds[*up].1 {
            shares[*up] += 1;
        }
    }
    for down in order.iter().rev().cycle().take(2 * shares.len() + 1) {
        if shares.iter().sum::<u64>() > total && shares[*down] > bounds[*down].0 {
            shares[*down] -= 1;
        }
    }
    shares
}

/// Half the width of the normal interval that the pooled rate of so many trials each can be expected to have,
/// z √(Σ (N_h/N)² p̃_h (1 − p̃_h)/n_h); `None` where a stratum has none.
#[must_use]
pub fn expected_margin(strata: &[Piloted], trials: &[u64], confidence: Confidence) -> Option<f64> {
    let whole: f64 = strata.iter().map(|one| one.size.float()).sum();
    let variance = strata.iter().zip(trials).map(|(one, trials)| {
        let spread = one.size.float() / whole * one.spread();
        (*trials > 0).then(|| spread * spread / float(*trials))
    });
    Some(confidence.z() * variance.sum::<Option<f64>>()?.sqrt())
}

#[cfg(test)]
mod tests;
