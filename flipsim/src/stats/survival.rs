//! Survival after a flip over virtual time: Kaplan and Meier's estimate.
//!
//! A trial that was watched no longer has only said that the guest lived until then: it is censored, and counts as at
//! risk up to that time. Times are counted from the flip.
//!
//! 1 − S(t) is no share of the guests where something else than a failure ends runs: [`super::incidence`] is.
//!
//! Invariant: S(t) starts at 1, never rises, and changes only where something failed.

use serde::Serialize;

use crate::stats::proportion::upper_bound;
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed};
use crate::stats::special::float;
use crate::units::VirtualNs;

/// How long one guest lived after its flip, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// It failed at this time.
    Failed(VirtualNs),
    /// It was last seen alive at this time.
    Censored(VirtualNs),
}

/// A time at which something failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SurvivalStep {
    /// The time since the flip.
    pub time: VirtualNs,
    /// Guests that were alive and watched just before.
    pub at_risk: u64,
    /// Failures at this time.
    pub failures: u64,
    /// S(t) from this time on.
    pub survival: f64,
    /// Its standard error (Greenwood).
    pub standard_error: f64,
    /// Its interval; `None` once no guest is left.
    pub interval: Option<Interval>,
}

/// The survival function of some guests after a flip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survival {
    /// One entry a time with failures, the earliest first.
    pub steps: Vec<SurvivalStep>,
    /// All guests.
    pub guests: u64,
    /// The last time at which a guest was seen.
    pub last_seen: VirtualNs,
    /// The confidence of the intervals.
    pub confidence: Confidence,
}

/// A time with its interval; an end is `None` where S(t) does not come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimeEstimate {
    /// The time.
    pub value: VirtualNs,
    /// The lower end.
    pub lower: Option<VirtualNs>,
    /// The upper end.
    pub upper: Option<VirtualNs>,
}

/// Half, when the rounding of a product is allowed for.
const HALF: f64 = 0.5 + 1e-12;

impl Survival {
    /// S(t) = Π (1 − d/n) over the times with d failures among n at risk; `None` without a guest.
    ///
    /// Kaplan and Meier, JASA 53, 1958. A guest that is censored at the time of a failure was at risk then. The
    /// standard error is Greenwood's, S √(Σ d/(n (n − d))); the interval is that of ln(−ln S),
    /// S^exp(± z √(Σ …) / ln S), which stays inside (0, 1) (Kalbfleisch and Prentice, "The Statistical
    /// Analysis of Failure Time Data", 1980).
    #[must_use]
    pub fn new(lifetimes: impl IntoIterator<Item = Lifetime>, confidence: Confidence) -> Option<Self> {
        let mut ends: Vec<(VirtualNs, bool)> = lifetimes
            .into_iter()
            .map(|lifetime| match lifetime {
                Lifetime::Failed(at) => (at, true),
                Lifetime::Censored(at) => (at, false),
            })
            .collect();
        ends.sort_unstable();
        let last_seen = ends.last()?.0;
        let z = confidence.z();
        let (mut survival, mut greenwood) = (1.0, 0.0);
        let mut at_risk = ends.len() as u64;
        let mut steps = Vec::new();
        for same in ends.chunk_by(|(one, _), (other, _)| one == other) {
            let failures = same.iter().filter(|(_, failed)| *failed).count() as u64;
            if failures > 0 {
                let (n, d) = (float(at_risk), float(failures));
                let left = at_risk > failures;
                survival *= (n - d) / n;
                // With no guest left S is 0, and so is what it is multiplied with.
                greenwood += if left { d / (n * (n - d)) } else { 0.0 };
                let spread = (z * f64::sqrt(greenwood) / f64::ln(survival)).abs();
                steps.push(SurvivalStep {
                    time: same[0].0,
                    at_risk,
                    failures,
                    survival,
                    standard_error: survival * greenwood.sqrt(),
                    interval: left.then(|| Interval {
                        lower: survival.powf(spread.exp()),
                        upper: survival.powf((-spread).exp()),
                    }),
                });
            }
            at_risk -= same.len() as u64;
        }
        let guests = ends.len() as u64;
        Some(Survival { steps, guests, last_seen, confidence })
    }

    /// S(t); `None` after the last guest was seen, unless all have failed by then.
    #[must_use]
    pub fn at(&self, time: VirtualNs) -> Option<f64> {
        let past = self.steps.partition_point(|step| step.time <= time);
        let survival = self.steps[..past].last().map_or(1.0, |step| step.survival);
        (time <= self.last_seen || survival == 0.0).then_some(survival)
    }

    /// The interval of S(t); before the first failure from one minus the exact one-sided bound of as many guests as were
    /// watched until then. `None` after the last guest was seen, and once none is left.
    #[must_use]
    pub fn interval_at(&self, time: VirtualNs) -> Option<Interval> {
        self.at(time)?;
        match self.steps[..self.steps.partition_point(|step| step.time <= time)].last() {
            Some(step) => step.interval,
            None => {
                let watched = Observed::new(0, self.guests).ok()?;
                Some(Interval { lower: 1.0 - upper_bound(watched, self.confidence), upper: 1.0 })
            }
        }
    }

    /// The median survival time: the first with S(t) ≤ ½, with the times at which the ends of the
    /// interval of S get there; `None` when more than half survive.
    ///
    /// Brookmeyer and Crowley, Biometrics 38, 1982, on the interval of [`Survival::new`].
    #[must_use]
    pub fn median(&self) -> Option<TimeEstimate> {
        let first = |is_below: fn(&SurvivalStep) -> bool| {
            self.steps.iter().find(|step| is_below(step)).map(|step| step.time)
        };
        Some(TimeEstimate {
            value: first(|step| step.survival <= HALF)?,
            lower: first(|step| step.interval.map_or(0.0, |interval| interval.lower) <= HALF),
            // Where no guest is left, the upper end is not known to be anywhere.
            upper: first(|step| step.interval.is_some_and(|interval| interval.upper <= HALF)),
        })
    }

    /// The mean survival time in nanoseconds, restricted to the time up to a horizon: the area below S,
    /// with its interval; `None` when the horizon lies after the last guest was seen.
    ///
    /// The variance is Σ (area from t_i to the horizon)² d_i/(n_i (n_i − d_i)) (Klein and Moeschberger,
    /// "Survival Analysis", 2nd edition 2003, section 4.5). The interval is normal in the logarithm of the time that is
    /// lost, horizon − mean: with the plain one 1,000 trials of which ten crash are covered in 90 %.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a nanosecond in 104 days")]
    pub fn restricted_mean(&self, horizon: VirtualNs) -> Option<Estimate> {
        self.at(horizon)?;
        let steps: Vec<&SurvivalStep> = self.steps.iter().take_while(|step| step.time < horizon).collect();
        // From the last step back, as the variance asks for the area that is still to come.
        let (mut area, mut variance, mut until) = (0.0, 0.0, horizon);
        for step in steps.into_iter().rev() {
            area += step.survival * (until.0 - step.time.0) as f64;
            let (n, d) = (float(step.at_risk), float(step.failures));
            if n > d {
                variance += area * area * d / (n * (n - d));
            }
            until = step.time;
        }
        area += until.0 as f64;
        // Few failures leave the time that is lost skewed, and never below 0: its logarithm is nearer to normal.
        let whole = horizon.0 as f64;
        let lost = (whole - area).max(0.0);
        let factor = if lost > 0.0 { (self.confidence.z() * variance.sqrt() / lost).exp() } else { 1.0 };
        let interval = Interval {
            lower: (whole - lost * factor).clamp(0.0, area),
            upper: (whole - lost / factor).max(area),
        };
        Some(Estimate { value: area, interval })
    }
}

#[cfg(test)]
mod tests;
