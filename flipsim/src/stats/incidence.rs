//! Cumulative incidence: which share has come to which end by a time, where several ends compete.
//!
//! 1 − S(t) of [`super::survival`] is what the share of one end would be if no other end came before it. Where
//! runs end in several ways, the share that does come to one end is its incidence (Aalen and Johansen).
//!
//! Invariant: the incidences of all ends and the share that is still watched add up to 1 at every time.

use serde::Serialize;

use crate::stats::proportion;
use crate::stats::quantity::{Confidence, Interval, Observed};
use crate::stats::special::{beta_quantile, float};
use crate::units::VirtualNs;

/// A time at which one end came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IncidenceStep {
    /// The time.
    pub time: VirtualNs,
    /// How many were watched just before.
    pub at_risk: u64,
    /// How many came to this end at this time.
    pub events: u64,
    /// The share that has come to this end, from this time on.
    pub incidence: f64,
    /// Its standard error (delta method).
    pub standard_error: f64,
    /// Its interval.
    pub interval: Interval,
}

/// The incidence of one end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incidence<E> {
    /// Which end.
    pub end: E,
    /// How many came to it.
    pub events: u64,
    /// One entry a time at which it came, the earliest first; at most so many as were asked for, evenly, with the last.
    pub steps: Vec<IncidenceStep>,
    /// The share that had come to it when the last one was watched; 0 where none did.
    pub share: f64,
    /// Its interval; where none came to this end, up to the exact one-sided bound.
    pub interval: Interval,
}

/// What the variance of an incidence is made of: sums over the times until now, of which d/(n (n − d)) is Greenwood's
/// term, and S d_j/n the step of this incidence.
#[derive(Clone, Copy, Default)]
struct Sums {
    incidence: f64,
    green: f64,
    green_f: f64,
    green_ff: f64,
    own: f64,
    mixed: f64,
    mixed_f: f64,
}

impl Sums {
    /// Takes in a time: S just before it, how many were watched, how many ended at all and in this way.
    fn add(&mut self, before: f64, at_risk: f64, all: f64, own: f64) {
        self.incidence += before * own / at_risk;
        let f = self.incidence;
        if at_risk > all {
            let green = all / (at_risk * (at_risk - all));
            self.green += green;
            self.green_f += green * f;
            self.green_ff += green * f * f;
        }
        self.own += before * before * (at_risk - own) * own / at_risk.powi(3);
        let mixed = before * own / at_risk.powi(2);
        self.mixed += mixed;
        self.mixed_f += mixed * f;
    }

    /// Σ (F(t) − F_i)² d/(n (n − d)) + Σ S² (n − d_j) d_j/n³ − 2 Σ (F(t) − F_i) S d_j/n².
    fn variance(&self) -> f64 {
        let f = self.incidence;
        let shifted = f * f * self.green - 2.0 * f * self.green_f + self.green_ff;
        (shifted + self.own - 2.0 * (f * self.mixed - self.mixed_f)).max(0.0)
    }
}

/// The incidence of each of these ends; `None` without a guest. An entry of `lives` is the last time at which a guest
/// was watched, and the end that it came to then; `None` where it came to none, and was watched no longer. Ends that
/// are not among `ends` compete as well. Each end has `most` steps at most.
///
/// F_j(t) = Σ S(t_i−) d_ij/n_i (Aalen and Johansen, Scandinavian Journal of Statistics 5, 1978), its variance by the
/// delta method (Marubini and Valsecchi, "Analysing Survival Data from Clinical Trials and Observational Studies",
/// 1995, section 10.2). The interval is Clopper and Pearson's with F (1 − F)/variance trials in place of n (Korn and
/// Graubard, Survey Methodology 24, 1998): where all were watched to an end, it is that of the plain share.
#[must_use]
pub fn incidences<E: Copy + PartialEq>(
    mut lives: Vec<(VirtualNs, Option<E>)>,
    ends: &[E],
    most: usize,
    confidence: Confidence,
) -> Option<Vec<Incidence<E>>> {
    lives.sort_by_key(|(time, _)| *time);
    let guests = lives.len() as u64;
    let mut at_risk = guests;
    let mut survival = 1.0;
    let mut sums = vec![Sums::default(); ends.len()];
    let mut found: Vec<Vec<Point>> = ends.iter().map(|_| Vec::new()).collect();
    for same in lives.chunk_by(|(one, _), (other, _)| one == other) {
        let all = same.iter().filter(|(_, end)| end.is_some()).count() as u64;
        if all > 0 {
            for ((end, sums), points) in ends.iter().zip(&mut sums).zip(&mut found) {
                let own = same.iter().filter(|(_, one)| one.as_ref() == Some(end)).count() as u64;
                sums.add(survival, float(at_risk), float(all), float(own));
                if own > 0 {
                    points.push(Point {
                        time: same[0].0,
                        at_risk,
                        events: own,
                        share: sums.incidence.min(1.0),
                        variance: sums.variance(),
                    });
                }
            }
            survival *= float(at_risk - all) / float(at_risk);
        }
        at_risk -= same.len() as u64;
    }
    let interval = |sums: &Sums, points: &[Point]| match points {
        [] => none_of(guests, confidence),
        _ => Some(effective(sums.incidence.min(1.0), sums.variance(), guests, confidence)),
    };
    let rows = ends.iter().zip(&sums).zip(found).map(|((end, sums), points)| {
        Some(Incidence {
            end: *end,
            events: points.iter().map(|point| point.events).sum(),
            share: sums.incidence.min(1.0),
            interval: interval(sums, &points)?,
            steps: thinned(points, most).into_iter().map(|point| point.step(guests, confidence)).collect(),
        })
    });
    rows.collect()
}

/// A step before its interval is known: that takes time, and most steps of a long curve are not shown.
#[derive(Clone, Copy)]
struct Point {
    time: VirtualNs,
    at_risk: u64,
    events: u64,
    share: f64,
    variance: f64,
}

impl Point {
    fn step(self, guests: u64, confidence: Confidence) -> IncidenceStep {
        IncidenceStep {
            time: self.time,
            at_risk: self.at_risk,
            events: self.events,
            incidence: self.share,
            standard_error: self.variance.sqrt(),
            interval: effective(self.share, self.variance, guests, confidence),
        }
    }
}

/// At most so many of them, evenly, with the last one.
#[must_use]
pub fn thinned<T: Copy>(all: Vec<T>, most: usize) -> Vec<T> {
    let (len, most) = (all.len(), most.max(1));
    if len <= most {
        return all;
    }
    (1..=most).map(|number| all[number * len / most - 1]).collect()
}

/// The interval of a share that was estimated with this variance, from so many guests at most: Clopper and Pearson's
/// of as many trials as have that variance. It contains the share.
pub(super) fn effective(share: f64, variance: f64, guests: u64, confidence: Confidence) -> Interval {
    let n = float(guests);
    // Where all came to one end there is no variance to go by, but what rounding has left.
    let all = 1.0 - share < 1e-9;
    let trials = if variance > 0.0 && !all { (share * (1.0 - share) / variance).clamp(1.0, n) } else { n };
    let (hits, tail) = (if all { trials } else { share * trials }, confidence.tail());
    let lower = if hits <= 0.0 { 0.0 } else { beta_quantile(tail, hits, (trials - hits).max(0.0) + 1.0) };
    let upper = if hits >= trials { 1.0 } else { beta_quantile(1.0 - tail, hits + 1.0, trials - hits) };
    Interval { lower: lower.min(share), upper: upper.max(share) }
}

/// The interval of a share of which nothing was seen: up to the exact one-sided bound. `None` without a guest.
fn none_of(guests: u64, confidence: Confidence) -> Option<Interval> {
    let none = Observed::new(0, guests).ok()?;
    Some(Interval { lower: 0.0, upper: proportion::upper_bound(none, confidence) })
}

#[cfg(test)]
mod tests;
