//! Whether two rates stand in a given ratio: what a comparison of absolute failure counts asks.
//!
//! F₂/F₁ = φ in fault spaces of N₁ and N₂ is p₂/p₁ = φ·N₁/N₂, so that equal F is the ratio N₁/N₂ of the rates. The
//! statistic is the score (Koopman, Biometrics 40, 1984; Miettinen and Nurminen, Statistics in Medicine 4, 1985), and its
//! probability is added up over all pairs of binomial counts, at the rates that are the most likely ones where the ratio
//! holds ("E": Lloyd, Australian and New Zealand Journal of Statistics 50, 2008; of Poisson counts Krishnamoorthy and
//! Thomson, Journal of Statistical Planning and Inference 119, 2004). The conditional test of Przyborowski and Wilenski (1940) is of Poisson counts, and rejects too
//! seldom where rates are large.
//!
//! Invariant: a probability is in [0, 1]; the pairs are added up over all that have a share above 10^-30 of the likeliest.

use super::proportion::clopper_pearson;
use super::special::float;
use crate::stats::quantity::{Confidence, Observed};

/// The most likely rates of two counts where the second is `phi` times the first.
pub(super) fn likeliest(a: Observed, b: Observed, phi: f64) -> [f64; 2] {
    fit(a, b, phi).rates
}

/// Which pairs of counts speak against the ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Those that are as far from it or farther, on either side.
    Both,
    /// Those with a ratio as large or larger: that the ratio is not larger than φ is tested.
    Larger,
    /// Those with a ratio as small or smaller: that the ratio is not smaller than φ is tested.
    Smaller,
}

/// A pair of counts that is as likely as another one differs from it by rounding.
const ROUNDING: f64 = 1e-9;
/// The share of the likeliest count below which a count is not looked at.
const SMALLEST: f64 = 1e-30;

/// The p of the ratio `phi` of the second rate over the first, which must be above 0.
///
/// Below 10^-25 it is 0.
#[must_use]
pub fn ratio_p(a: Observed, b: Observed, phi: f64, against: Against) -> f64 {
    let Fit { z: seen, rates } = fit(a, b, phi);
    at_rates([a, b], phi, seen, rates, against)
}

/// The chance that the confidence set of [`ratio_p_exact`] misses the rate, which is added to its p.
const MISSED: f64 = 1e-6;
/// So many rates are tried there, and then so many between the neighbours of the worst.
const TRIED: (u32, u32) = (48, 8);

/// A p of the ratio `phi` that rejects a true one at most as often as it says, at any rates: where [`ratio_p`] takes the
/// likeliest rates, the most that any has in a set that holds the true ones but for a chance of 10^-6, which is added.
///
/// Berger and Boos, JASA 89, 1994; with the whole of [0, 1] as the set it is Barnard's test (Biometrika 34, 1947). The most
/// is looked for on a grid.
#[must_use]
pub fn ratio_p_exact(a: Observed, b: Observed, phi: f64, against: Against) -> f64 {
    let seen = fit(a, b, phi).z;
    let Ok(confidence) = Confidence::new(1.0 - MISSED / 2.0) else { return 1.0 };
    let (one, other) = (clopper_pearson(a, confidence), clopper_pearson(b, confidence));
    let (least, most) =
        (one.lower.max(other.lower / phi), one.upper.min(other.upper / phi).min(1.0_f64.min(1.0 / phi)));
    // No rates fit both.
    if least > most {
        return MISSED;
    }
    let p = |rate: f64| at_rates([a, b], phi, seen, [rate, (phi * rate).min(1.0)], against);
    // Rates near 0 change much by little: the grid is even in the root.
    let worst = |(from, to): (f64, f64), tried: u32| {
        let rates = (0..=tried).map(|at| from + (to - from) * f64::from(at) / f64::from(tried));
        rates.map(|root| (p(root * root), root)).fold((0.0, from), |a, b| if b.0 > a.0 { b } else { a })
    };
    let ends = (least.sqrt(), most.sqrt());
    let (found, root) = worst(ends, TRIED.0);
    let step = (ends.1 - ends.0) / f64::from(TRIED.0);
    let (nearer, _) = worst(((root - step).max(ends.0), (root + step).min(ends.1)), TRIED.1);
    (found.max(nearer) + MISSED).min(1.0)
}

/// The probability of what speaks as much against the ratio as `seen`, at these rates.
fn at_rates([a, b]: [Observed; 2], phi: f64, seen: f64, [one, other]: [f64; 2], against: Against) -> f64 {
    let (first, second) = (Binomial::new(a.trials, one), Binomial::new(b.trials, other));
    let rounding = ROUNDING * seen.abs().max(1.0);
    let (low, high) = match against {
        Against::Both => (Some(rounding - seen.abs()), Some(seen.abs() - rounding)),
        Against::Larger => (None, Some(seen - rounding)),
        Against::Smaller => (Some(seen + rounding), None),
    };
    // The statistic rises with the second count and falls with the first: of the second counts those below `least` have
    // z ≤ low, and those from `most` on z ≥ high, and both move upwards with the first count.
    let (end, mut least, mut most) = (second.last() + 1, second.first, second.first);
    let at = |hits: u64, others: u64| {
        fit(Observed { hits, trials: a.trials }, Observed { hits: others, trials: b.trials }, phi).z
    };
    let mut sum = 0.0;
    for (hits, weight) in (first.first..).zip(&first.weights) {
        while low.is_some_and(|low| least < end && at(hits, least) <= low) {
            least += 1;
        }
        while high.is_some_and(|high| most < end && at(hits, most) < high) {
            most += 1;
        }
        let below = if low.is_some() { second.below(least) } else { 0.0 };
        let above =
            if high.is_some() { second.from(most.max(if low.is_some() { least } else { 0 })) } else { 0.0 };
        sum += weight * (below + above);
    }
    sum.min(1.0)
}

/// The interval of the ratio of the second rate over the first: each end is where [`ratio_p`] says so much against it.
/// `None` where there is no upper end.
///
/// `landmarks` are ratios that an end is compared with: it lies on that side of each which the test there says.
#[must_use]
pub fn ratio_interval(a: Observed, b: Observed, tail: f64, landmarks: &[f64]) -> (f64, Option<f64>) {
    // The p of a tail falls with the distance from the estimate; sums of jumping counts do so nearly.
    let (least, most) = (1e-12, 1e12);
    let end = |against: Against, rejected_at: f64, kept_at: f64| {
        let (mut out, mut inside) = (rejected_at.ln(), kept_at.ln());
        for landmark in landmarks.iter().map(|ratio| ratio.ln()) {
            if (landmark - out) * (landmark - inside) < 0.0 {
                if ratio_p(a, b, landmark.exp(), against) <= tail {
                    out = landmark
                } else {
                    inside = landmark
                }
            }
        }
        for _ in 0..60 {
            let middle = f64::midpoint(out, inside);
            if ratio_p(a, b, middle.exp(), against) <= tail {
                out = middle
            } else {
                inside = middle
            }
            if (out - inside).abs() < 1e-9 {
                break;
            }
        }
        f64::midpoint(out, inside).exp()
    };
    let value = b.rate() / a.rate();
    let inside = if value.is_finite() && value > 0.0 { value.clamp(least, most) } else { 1.0 };
    let lower = match b.hits {
        0 => 0.0,
        _ if a.hits == 0 => end(Against::Larger, least, most),
        _ => end(Against::Larger, least, inside),
    };
    let upper = match a.hits {
        0 => None,
        _ if b.hits == 0 => Some(end(Against::Smaller, most, least)),
        _ => Some(end(Against::Smaller, most, inside)),
    };
    (lower, upper)
}

/// The score at a ratio.
struct Fit {
    /// Its standardised distance: above 0 where the second rate is too large for the ratio.
    z: f64,
    /// The likeliest rates that have the ratio.
    rates: [f64; 2],
}

/// Miettinen and Nurminen 1985, equations 10 and 13 (without their factor N/(N − 1), as Koopman).
fn fit(a: Observed, b: Observed, phi: f64) -> Fit {
    let (k1, n1, k2, n2) = (float(a.hits), float(a.trials), float(b.hits), float(b.trials));
    let (square, linear) = ((n1 + n2) * phi, phi * n2 + k2 + n1 + phi * k1);
    let sum = k1 + k2;
    // The smaller root, so written that nothing cancels.
    let root = (linear * linear - 4.0 * square * sum).max(0.0).sqrt();
    let one = (2.0 * sum / (linear + root)).clamp(0.0, 1.0_f64.min(1.0 / phi));
    let other = (phi * one).clamp(0.0, 1.0);
    let variance = other * (1.0 - other) / n2 + phi * phi * one * (1.0 - one) / n1;
    let distance = b.rate() - phi * a.rate();
    let z = if distance.abs() <= 1e-14 * phi.max(1.0) {
        0.0
    } else if variance > 0.0 {
        distance / variance.sqrt()
    } else {
        f64::INFINITY.copysign(distance)
    };
    Fit { z, rates: [one, other] }
}

/// The probabilities of a binomial count, where they are not negligible.
struct Binomial {
    first: u64,
    weights: Vec<f64>,
    /// Sums from the first weight on, and up to the last: `below[i]` is of the weights before i.
    below: Vec<f64>,
    from: Vec<f64>,
}

impl Binomial {
    fn new(trials: u64, rate: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `trials`")]
        let mode = (((float(trials) + 1.0) * rate) as u64).min(trials);
        let odds = rate / (1.0 - rate);
        // Relative to the likeliest count, until their sum is known.
        let (mut up, mut down) = (vec![1.0f64], Vec::new());
        let mut weight = 1.0;
        for count in mode..trials {
            weight *= float(trials - count) / float(count + 1) * odds;
            // A rate of 1 has odds without bound, and its mode is the last count.
            if weight.is_nan() || weight <= SMALLEST {
                break;
            }
            up.push(weight);
        }
        weight = 1.0;
        for count in (1..=mode).rev() {
            weight *= float(count) / (float(trials - count + 1) * odds);
            if weight.is_nan() || weight <= SMALLEST {
                break;
            }
            down.push(weight);
        }
        let first = mode - down.len() as u64;
        let mut weights: Vec<f64> = down.into_iter().rev().chain(up).collect();
        let all: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= all);
        let sums = |weights: &mut dyn Iterator<Item = &f64>| {
            let mut sum = 0.0;
            let sums = weights.map(|weight| {
                sum += weight;
                sum
            });
            std::iter::once(0.0).chain(sums).collect::<Vec<f64>>()
        };
        let below = sums(&mut weights.iter());
        let mut from = sums(&mut weights.iter().rev());
        from.reverse();
        Binomial { first, weights, below, from }
    }

    fn last(&self) -> u64 {
        self.first + self.weights.len() as u64 - 1
    }

    fn index(&self, count: u64) -> usize {
        usize::try_from(count.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.weights.len())
    }

    /// P(count < `count`).
    fn below(&self, count: u64) -> f64 {
        self.below[self.index(count)]
    }

    /// P(count ≥ `count`).
    fn from(&self, count: u64) -> f64 {
        self.from[self.index(count)]
    }
}

#[cfg(test)]
mod tests;
