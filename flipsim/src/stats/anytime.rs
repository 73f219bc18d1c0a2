//! Intervals that hold at any look: for a campaign that is looked at, and goes on if that did not suffice.
//!
//! A plain interval has its confidence where the number of trials was fixed beforehand. Looked at again and again until
//! it pleases, it leaves the truth out more and more often. A *confidence sequence* has the truth in it at all numbers of
//! trials together with its confidence, and so at whichever one stops.
//!
//! Invariant: **an interval contains k/n, and holds whatever the rule by which one stopped**, as long as trials are
//! taken in the order in which they were drawn.

use std::f64::consts::PI;

use super::known::PartlyKnown;
use super::special::ln_beta;
use super::strata::Strata;
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed, SpaceSize};
use crate::stats::special::float;

/// Up to this many faults an interval knows that none is drawn twice. In larger spaces that makes no difference that
/// could be seen, and leaving it out makes an interval wider.
const SMALL: u128 = 10_000_000;

/// The two parameters of the mixing distribution, Beta(½, ½): it gives rare outcomes their weight.
const HALF: f64 = 0.5;

/// The interval of a rate that holds at any look: all p with L(p) > α · ∫ L(q) dB(q), where L(p) = p^k (1−p)^(n−k) and B
/// is Beta(½, ½).
///
/// The quotient of the integral and L(p) is a martingale under p that begins with 1, and by Ville's inequality exceeds
/// 1/α at some n with probability α at most (Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm",
/// Annals of Mathematical Statistics 41, 1970; Lai, Annals of Statistics 4, 1976).
///
/// Of a `population` that is small, from which nothing is drawn twice, the same with the beta-binomial distribution in
/// the place of the beta distribution (Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement",
/// NeurIPS 2020); it closes to k/n when all has been drawn.
#[must_use]
pub fn anytime(observed: Observed, confidence: Confidence, population: Option<SpaceSize>) -> Interval {
    anytime_at(observed, 1.0 - confidence.level(), population)
}

/// The same where a part of the space is known for sure: of the trials in its live part, which are in the order in which
/// they were drawn as well.
#[must_use]
pub fn anytime_of(known: &PartlyKnown, confidence: Confidence) -> Interval {
    known.interval(|seen, size| anytime(seen, confidence, size))
}

/// The interval of a pooled rate that holds at any look: each stratum's at α/H, by the union bound, and the weighted sums
/// of their ends. Strata may grow by whatever is known of all of them.
#[must_use]
pub fn anytime_pooled(strata: &Strata, confidence: Confidence) -> Estimate {
    let each = (1.0 - confidence.level()) / float(strata.parts().len() as u64);
    let (mut lower, mut upper) = (0.0, 0.0);
    for part in strata.parts() {
        let weight = part.size().float() / strata.space().float();
        let ends = part.known().interval(|seen, size| anytime_at(seen, each, size));
        lower += weight * ends.lower;
        upper += weight * ends.upper;
    }
    let value = strata.rate();
    let interval = Interval { lower: f64::min(lower, value), upper: upper.clamp(value, 1.0) };
    Estimate { value, interval }
}

fn anytime_at(observed: Observed, alpha: f64, population: Option<SpaceSize>) -> Interval {
    match population {
        Some(SpaceSize(size)) if size <= SMALL && u128::from(observed.trials()) <= size => {
            without_replacement(observed, alpha, u64::try_from(size).unwrap_or(u64::MAX))
        }
        _ => with_replacement(observed, alpha),
    }
}

/// ln of α times the mixture of the likelihoods.
fn least(observed: Observed, alpha: f64) -> f64 {
    let (k, n) = (float(observed.hits()), float(observed.trials()));
    // ln B(½, ½) is ln π.
    ln_beta(k + HALF, n - k + HALF) - PI.ln() + alpha.ln()
}

fn with_replacement(observed: Observed, alpha: f64) -> Interval {
    let (k, misses) = (float(observed.hits()), float(observed.trials() - observed.hits()));
    let (rate, least) = (observed.rate(), least(observed, alpha));
    // 0 · ln 0 is 0 here.
    let times = |count: f64, ln: f64| if count > 0.0 { count * ln } else { 0.0 };
    let is_in = |p: f64| times(k, p.ln()) + times(misses, (-p).ln_1p()) > least;
    Interval {
        lower: if k > 0.0 { edge(0.0, rate, is_in) } else { 0.0 },
        upper: if misses > 0.0 { edge(1.0, rate, is_in) } else { 1.0 },
    }
}

/// Where an interval ends, between a value outside of it and one inside.
fn edge(mut outside: f64, mut inside: f64, is_in: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(outside, inside);
        if middle == outside || middle == inside {
            return outside;
        }
        if is_in(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
}

/// Of so many faults, of which each is drawn once at most: the numbers K of all hits for which the quotient of prior and
/// posterior stays below 1/α.
fn without_replacement(observed: Observed, alpha: f64, size: u64) -> Interval {
    let (k, n) = (observed.hits(), observed.trials());
    let least = least(observed, alpha);
    // ln of C(N−n, K−k) / C(N, K), which is the likelihood of the draws in their order.
    let is_in = |all: u64| ln_choose(size - n, all - k) - ln_choose(size, all) > least;
    // The likelihood has its top there.
    let top = (u128::from(k) * u128::from(size + 1) / u128::from(n)).min(u128::from(size));
    let (first, last) = (k, size - (n - k));
    let top = u64::try_from(top).unwrap_or(last).clamp(first, last);
    let mut ends = [(first, top), (last, top)];
    for (outside, inside) in &mut ends {
        if is_in(*outside) {
            *inside = *outside;
            continue;
        }
        while outside.abs_diff(*inside) > 1 {
            let middle = u64::midpoint(*outside, *inside);
            if is_in(middle) { *inside = middle } else { *outside = middle }
        }
    }
    let share = |all: u64| float(all) / float(size);
    let [lower, upper] = ends.map(|(_, inside)| share(inside));
    Interval { lower: lower.min(observed.rate()), upper: upper.max(observed.rate()) }
}

/// ln C(n, k).
fn ln_choose(n: u64, k: u64) -> f64 {
    if k == 0 || k == n {
        return 0.0;
    }
    let (n, k) = (float(n), float(k));
    -(n + 1.0).ln() - ln_beta(n - k + 1.0, k + 1.0)
}

#[cfg(test)]
mod tests;
