//! One rate from several strata, each with its share of the fault space.
//!
//! Trials are rarely spread over the strata as the faults are: a small stratum gets more than its
//! share, lest it gets none. The plain k/n of all trials would then be the rate of nothing; the pooled
//! rate weights each stratum by its part of the space, Σ N_h/N · k_h/n_h.
//!
//! Invariant: every stratum has faults and trials; the interval of a pooled rate lies in [0, 1].

use std::collections::BTreeSet;

use serde::Serialize;

use super::known::PartlyKnown;
use super::proportion::clopper_pearson;
use super::special::beta_quantile;
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed, SpaceSize, StatsError};
use crate::stats::special::float;

/// One part of the fault space, and the results of its trials.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StratumCount {
    name: String,
    size: SpaceSize,
    known: PartlyKnown,
}

impl StratumCount {
    /// `hits` of `trials` that were drawn from the `size` faults of a stratum.
    ///
    /// # Errors
    /// No trial, more hits than trials, no faults; each says which stratum.
    pub fn new(name: impl Into<String>, size: SpaceSize, hits: u64, trials: u64) -> Result<Self, StatsError> {
        let name = name.into();
        match Observed::new(hits, trials) {
            Ok(observed) => StratumCount::of(name, size, PartlyKnown::plain(observed, Some(size))),
            Err(StatsError::NoTrials) if size.0 > 0 => Err(StatsError::EmptyStratum(name)),
            Err(error) => Err(StatsError::Stratum { name, why: error.to_string() }),
        }
    }

    /// What is known of a stratum of so many faults, for sure and by trials.
    ///
    /// # Errors
    /// It has no faults.
    pub fn of(name: impl Into<String>, size: SpaceSize, known: PartlyKnown) -> Result<Self, StatsError> {
        let name = name.into();
        if size.0 == 0 {
            let why = "it has no faults; leave it out".to_owned();
            return Err(StatsError::Stratum { name, why });
        }
        Ok(StratumCount { name, size, known })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many faults it has.
    #[must_use]
    pub fn size(&self) -> SpaceSize {
        self.size
    }

    /// What is known of it.
    #[must_use]
    pub fn known(&self) -> &PartlyKnown {
        &self.known
    }

    fn live_size(&self) -> SpaceSize {
        self.known.live_size().unwrap_or(self.size)
    }

    fn trials(&self) -> u64 {
        self.known.seen().map_or(0, Observed::trials)
    }
}

/// Whether a fault can be drawn twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// Each draw is from the whole stratum: nothing is gained by a small one.
    WithReplacement,
    /// No fault comes twice: the variance falls with the part of the stratum that is left, to 0.
    WithoutReplacement,
}

/// The strata that make up a fault space.
#[derive(Clone, Debug, PartialEq)]
pub struct Strata {
    parts: Vec<StratumCount>,
    drawing: Drawing,
    space: SpaceSize,
}

impl Strata {
    /// A fault space of these strata, which do not overlap.
    ///
    /// # Errors
    /// There is no stratum, two have the same name, or more was drawn without replacement than there is.
    pub fn new(parts: Vec<StratumCount>, drawing: Drawing) -> Result<Self, StatsError> {
        if parts.is_empty() {
            return Err(StatsError::NoStrata);
        }
        let mut names = BTreeSet::new();
        let mut space = 0u128;
        for part in &parts {
            let StratumCount { name, size, .. } = part;
            let refuse = |why: &str| StatsError::Stratum { name: name.clone(), why: why.to_owned() };
            if !names.insert(name) {
                return Err(refuse("it is there twice"));
            }
            if drawing == Drawing::WithoutReplacement && u128::from(part.trials()) > size.0 {
                return Err(refuse("it has fewer faults than trials, which needs draws with replacement"));
            }
            space = space.checked_add(size.0).ok_or_else(|| refuse("the fault space exceeds 2^128"))?;
        }
        Ok(Strata { parts, drawing, space: SpaceSize(space) })
    }

    /// The strata.
    #[must_use]
    pub fn parts(&self) -> &[StratumCount] {
        &self.parts
    }

    /// The size of the whole fault space, for [`Estimate::failures`].
    #[must_use]
    pub fn space(&self) -> SpaceSize {
        self.space
    }

    /// The weight of each stratum, N_h/N, with what was seen there.
    fn weighted(&self) -> impl Iterator<Item = (f64, &StratumCount)> {
        self.parts.iter().map(|part| (part.size.float() / self.space.float(), part))
    }

    /// Of each stratum with trials in its live part the weight of that part and what was seen there.
    fn live(&self) -> impl Iterator<Item = (f64, &StratumCount, Observed)> {
        self.weighted()
            .filter_map(|(weight, part)| Some((weight * part.known.live(), part, part.known.seen()?)))
    }

    /// The share of the whole that surely hits, and the one that is live and has no trial.
    fn certain_and_unseen(&self) -> (f64, f64) {
        self.weighted().fold((0.0, 0.0), |(certain, unseen), (weight, part)| {
            let open = if part.known.seen().is_none() { weight * part.known.live() } else { 0.0 };
            (certain + weight * part.known.certain(), unseen + open)
        })
    }

    /// The pooled rate, Σ N_h/N · k_h/n_h; it has no bias (Cochran, "Sampling Techniques", 3rd edition
    /// 1977, chapter 5). Of a stratum of which a part is known for sure, [`PartlyKnown::value`] in the place of k_h/n_h.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.weighted().map(|(weight, part)| weight * part.known.value()).sum::<f64>().min(1.0)
    }

    /// The standard error of the pooled rate, √(Σ (N_h/N)² (1 − f_h) p_h (1 − p_h)/(n_h − 1)), where
    /// f_h is n_h/N_h for draws without replacement, and 0 with (Cochran, chapter 5); `None` when a
    /// stratum has a single trial of several faults, which shows no spread. A part that is known for sure adds nothing.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        if self.certain_and_unseen().1 > 0.0 {
            return None;
        }
        let mut variance = 0.0;
        for (weight, part, observed) in self.live() {
            let (p, n) = (observed.rate(), float(observed.trials()));
            let left = match self.drawing {
                Drawing::WithReplacement => 1.0,
                Drawing::WithoutReplacement => 1.0 - n / part.live_size().float(),
            };
            if left <= 0.0 {
                continue;
            }
            if observed.trials() < 2 {
                return None;
            }
            variance += weight * weight * left * p * (1.0 - p) / (n - 1.0);
        }
        Some(variance.sqrt())
    }

    /// The normal interval, rate ± z · [standard error](Strata::standard_error).
    ///
    /// For strata with many hits and many misses each (some tens). With few it is too narrow, and with
    /// none it has no width at all: use [`Strata::estimate`].
    #[must_use]
    pub fn normal(&self, confidence: Confidence) -> Option<Estimate> {
        let half = confidence.z() * self.standard_error()?;
        let value = self.rate();
        let interval = Interval { lower: (value - half).max(0.0), upper: (value + half).min(1.0) };
        Some(Estimate { value, interval })
    }

    /// The pooled rate with the interval to report, right for few hits and for none, and for few trials a stratum.
    ///
    /// Each end is the quantile of a beta distribution with the mean and the variance of the pooled
    /// rate, after one more trial in the stratum where it moves the rate furthest: a hit for the upper
    /// end, a miss for the lower. The variance of a stratum is p(1−p)/(n−1) (Cochran, chapter 5). **Strata of fewer than
    /// [`Strata::FEW`] trials show too little of their spread, and count as one stratum**: the one with as many trials as
    /// none of them has more weight a trial than, so that its variance is at least theirs (collapsed strata, Cochran,
    /// section 5A.12; where each has its share of the trials, [`clopper_pearson`] of their sum is conservative, as
    /// Hoeffding shows, Annals of Mathematical Statistics 27, 1956).
    ///
    /// A stratum of which a part is known for sure enters with its live part: with its weight, and the trials in it. What is
    /// certain is added to both ends, and a live part without a trial to the upper one.
    ///
    /// With one stratum the interval is [`clopper_pearson`]. It is the binomial
    /// counterpart of the gamma interval for weighted sums of Poisson counts (Fay and Feuer, Statistics
    /// in Medicine 16, 1997), and like that one shown to be conservative by simulation, not proven: see
    /// `docs/coverage.md`. [`Strata::guaranteed`] is proven. A small population does not make it narrower, but for a
    /// stratum that was drawn out: of that nothing is uncertain.
    #[must_use]
    pub fn estimate(&self, confidence: Confidence) -> Estimate {
        let value = self.rate();
        let (certain, unseen) = self.certain_and_unseen();
        let mut parts = self.joined();
        // Together the live parts are one space.
        let live = if self.parts.iter().all(|part| part.known.is_plain()) {
            1.0
        } else {
            parts.iter().map(|part| part.weight).sum()
        };
        if live > 0.0 {
            parts.iter_mut().for_each(|part| part.weight /= live);
        }
        let lower = certain + live * end_after_one_more(&parts, false, confidence.tail());
        let upper = certain + live * end_after_one_more(&parts, true, 1.0 - confidence.tail()) + unseen;
        Estimate { value, interval: Interval { lower: lower.min(value), upper: upper.clamp(value, 1.0) } }
    }

    /// A stratum of fewer trials does not show its spread; see [`Strata::estimate`]. From simulations with 2 to 100
    /// strata of 1 to 50 trials: with 4 in place of 6 some intervals are at 93.7 %, with 2 at 85 %.
    pub const FEW: u64 = 6;

    /// The strata that [`Strata::estimate`] counts as one, as each has fewer than [`Strata::FEW`] trials; none where it
    /// is a single one.
    pub fn few(&self) -> impl Iterator<Item = &StratumCount> {
        let several = self.parts.iter().filter(|part| self.is_few(part)).count() > 1;
        self.parts.iter().filter(move |part| several && self.is_few(part))
    }

    fn is_few(&self, part: &StratumCount) -> bool {
        (1..Self::FEW).contains(&part.trials()) && !self.is_drawn_out(part)
    }

    fn is_drawn_out(&self, part: &StratumCount) -> bool {
        self.drawing == Drawing::WithoutReplacement && u128::from(part.trials()) >= part.live_size().0
    }

    /// The strata as [`Strata::estimate`] takes them.
    fn joined(&self) -> Vec<Seen> {
        let mut parts = Vec::with_capacity(self.parts.len());
        // The weight, the hits' share of it, and the most weight that one trial stands for.
        let (mut few, mut hits, mut most) = (0.0, 0.0, 0.0f64);
        for (weight, part, observed) in self.live() {
            let (rate, trials) = (observed.rate(), float(observed.trials()));
            if self.is_drawn_out(part) {
                parts.push(Seen { weight, rate, trials: f64::INFINITY });
            } else if self.is_few(part) {
                few += weight;
                hits += weight * rate;
                most = most.max(weight / trials);
            } else {
                parts.push(Seen { weight, rate, trials });
            }
        }
        if few > 0.0 {
            parts.push(Seen { weight: few, rate: (hits / few).min(1.0), trials: few / most });
        }
        parts
    }

    /// The interval that covers the pooled rate with at least the confidence, whatever the rates and
    /// however few the trials: each stratum's [`clopper_pearson`] interval at the confidence to the
    /// power 1/H, so that all H hold at once, and the weighted sums of their ends.
    ///
    /// Šidák, JASA 62, 1967, for the confidence of independent intervals. It is wide, the wider the more
    /// strata there are: the ends of all intervals are not met at the same time.
    #[must_use]
    pub fn guaranteed(&self, confidence: Confidence) -> Estimate {
        // The H-th root of a number in (0, 1), kept below 1 also for very many strata.
        let each = confidence.level().powf(1.0 / float(self.parts.len() as u64)).min(1.0 - f64::EPSILON);
        let each = Confidence(each);
        let (mut lower, mut upper) = (0.0, 0.0);
        for (weight, part) in self.weighted() {
            let ends = part.known.interval(|seen, _| clopper_pearson(seen, each));
            lower += weight * ends.lower;
            upper += weight * ends.upper;
        }
        let value = self.rate();
        Estimate {
            value,
            interval: Interval { lower: f64::min(lower, value), upper: upper.clamp(value, 1.0) },
        }
    }
}

/// What was seen of a part of the fault space.
struct Seen {
    weight: f64,
    rate: f64,
    /// How many trials; infinitely many where nothing is left to draw.
    trials: f64,
}

impl Seen {
    /// What it adds to the mean and the variance of the pooled rate.
    fn now(&self) -> (f64, f64) {
        let spread = self.rate * (1.0 - self.rate);
        // No spread is shown by one trial, whose rate is 0 or 1.
        let variance = if spread > 0.0 { spread / (self.trials - 1.0) } else { 0.0 };
        (self.weight * self.rate, self.weight * self.weight * variance)
    }

    /// The same after one more trial.
    fn then(&self, hit: bool) -> (f64, f64) {
        if self.trials.is_infinite() {
            return self.now();
        }
        let rate = (self.rate * self.trials + f64::from(u8::from(hit))) / (self.trials + 1.0);
        (self.weight * rate, self.weight * self.weight * rate * (1.0 - rate) / (self.trials + 2.0))
    }
}

fn end_after_one_more(parts: &[Seen], hit: bool, p: f64) -> f64 {
    let rows: Vec<_> = parts.iter().map(|part| (part.now(), part.then(hit))).collect();
    let shift = |((now, _), (then, _)): &((f64, f64), (f64, f64))| (then - now).abs();
    let furthest = (0..rows.len()).max_by(|a, b| shift(&rows[*a]).total_cmp(&shift(&rows[*b])));
    let (mut mean, mut variance) = (0.0, 0.0);
    for (number, (now, then)) in rows.iter().enumerate() {
        let (part, spread) = if Some(number) == furthest { then } else { now };
        mean += part;
        variance += spread;
    }
    if variance <= 0.0 || mean <= 0.0 || mean >= 1.0 {
        return mean.clamp(0.0, 1.0);
    }
    // a + b of the beta distribution with this mean and variance.
    let sum = mean * (1.0 - mean) / variance - 1.0;
    // Less than a trial's worth: nothing is known.
    if sum < 0.1 {
        return if hit { 1.0 } else { 0.0 };
    }
    beta_quantile(p, mean * sum, (1.0 - mean) * sum)
}

#[cfg(test)]
mod tests;
