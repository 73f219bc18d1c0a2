//! Whether something became more frequent: a one-sided test for each of several parts, and a finding for each.
//!
//! A rise is of the second's failures less the first's, over the space of the first: the difference of the rates where both
//! spaces have one size. A part is *worse* where a rise is shown and it is not shown to be smaller than the one that counts;
//! *not worse* where it is shown to be smaller, or where none is shown although one that counts would have been, as likely
//! as was asked for; else nothing can be said.
//!
//! Invariant: **over all parts together, the chance of a false `worse` is at most `alpha`**, however they depend on each
//! other: p are Holm's (Scandinavian Journal of Statistics 6, 1979), and bounds are those of `alpha` over the number of parts.

use serde::Serialize;

use super::compare::difference;
use super::multiple::holm;
use super::paired::Pairs;
use super::score::{Against, ratio_p_exact};
use super::special::{float, normal_upper};
use crate::stats::quantity::{Confidence, Estimate, Interval, Observed, Share};

/// What is asked of every part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// The chance of a false `worse` over all parts; inside (0, 1/2).
    pub alpha: Share,
    /// The smallest rise that counts, above 0.
    pub by_at_least: Share,
    /// How likely a rise that counts must have been to be shown, for `not worse` without one.
    pub power: Share,
}

impl Rule {
    /// The chance of an error in one of so many parts; `None` where alpha is not inside (0, 1/2).
    fn level(&self, parts: usize) -> Option<f64> {
        let alpha = self.alpha.value();
        (alpha > 0.0 && alpha < 0.5).then(|| alpha / float(parts.max(1) as u64))
    }
}

/// What was seen of one part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// In two independent samples; the second's space is so many times the first's.
    Apart([Observed; 2], f64),
    /// In pairs, of spaces of one size.
    Pairs(Pairs),
}

/// What that says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// No rise that counts.
    NotWorse,
    /// A rise.
    Worse,
    /// Nothing can be said.
    Open,
}

/// The finding of one part, with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The finding.
    pub change: Change,
    /// The p of the test that there is no rise: the exact score test of equal failures (Berger and Boos), or McNemar's exact one of pairs.
    pub p: f64,
    /// The same among the other parts (Holm).
    pub p_of_all: f64,
    /// The rise, with its least and its most at `alpha` over the number of parts on each side.
    pub rise: Estimate,
    /// The smallest rise that would have been shown as likely as was asked for; `None` where no rise would have been.
    pub visible: Option<f64>,
}

/// Judges parts; `None` for one without a trial in both, and for all where alpha is not inside (0, 1/2).
#[must_use]
pub fn judge(parts: &[Option<Seen>], rule: &Rule) -> Vec<Option<Judged>> {
    let count = parts.iter().flatten().count();
    let Some((level, bounds)) =
        rule.level(count).and_then(|level| Some((level, Confidence::new(1.0 - 2.0 * level).ok()?)))
    else {
        return vec![None; parts.len()];
    };
    let p: Vec<f64> = parts.iter().flatten().map(Seen::p).collect();
    let mut tests = p.iter().copied().zip(holm(&p));
    let one = |seen: &Seen| {
        let (p, p_of_all) = tests.next()?;
        let (rise, visible) = (seen.rise(bounds)?, seen.visible(level, rule.power.value()));
        let least = rule.by_at_least.value();
        let is_small = rise.interval.upper < least;
        let change = match p_of_all <= rule.alpha.value() {
            _ if is_small => Change::NotWorse,
            true => Change::Worse,
            false if visible.is_some_and(|visible| visible <= least) => Change::NotWorse,
            false => Change::Open,
        };
        Some(Judged { change, p, p_of_all, rise, visible })
    };
    let mut one = one;
    parts.iter().map(|seen| seen.as_ref().and_then(&mut one)).collect()
}

impl Seen {
    /// The p of there being no rise.
    fn p(&self) -> f64 {
        match self {
            Seen::Apart([a, b], sizes) => ratio_p_exact(*a, *b, 1.0 / sizes, Against::Larger),
            Seen::Pairs(pairs) => pairs.more_in_second(),
        }
    }

    fn rise(&self, bounds: Confidence) -> Option<Estimate> {
        match self {
            Seen::Apart([a, b], sizes) => {
                let Estimate { value, interval: Interval { lower, upper } } = b.estimate(bounds);
                let interval = Interval { lower: lower * sizes, upper: upper * sizes };
                Some(difference(Estimate { value: value * sizes, interval }, a.estimate(bounds)))
            }
            Seen::Pairs(pairs) => pairs.difference(bounds),
        }
    }

    /// The smallest rise that a test at `level` shows with this power, by the normal formulas: of independent samples that of
    /// Fleiss, Levin and Paik ([`crate::stats::power`]) with the rate of the first, of pairs Connor's (Biometrics 43, 1987)
    /// with the pairs that differ.
    fn visible(&self, level: f64, power: f64) -> Option<f64> {
        let (surely, likely) = (normal_upper(level), normal_upper(1.0 - power));
        // Above 0 where a rise is far enough from none.
        let (most, beyond): (f64, Box<dyn Fn(f64) -> f64>) = match *self {
            Seen::Apart([a, b], sizes) => {
                let (n1, n2, one) = (float(a.trials()), float(b.trials()), a.rate());
                let spread = |p: f64| p * (1.0 - p).max(0.0);
                let beyond = move |rise: f64| {
                    let other = (one + rise) / sizes;
                    let equal = (n1 * one + n2 * other) / (n1 + n2 / sizes);
                    let error =
                        |one: f64, other: f64| (spread(one) / n1 + sizes * sizes * spread(other) / n2).sqrt();
                    rise - surely * error(equal.min(1.0), (equal / sizes).min(1.0))
                        - likely * error(one, other)
                };
                (sizes - one, Box::new(beyond))
            }
            Seen::Pairs(pairs) => {
                let n = float(pairs.all());
                let differ = float(pairs.first + pairs.second) / n;
                let beyond = move |rise: f64| {
                    let differ = differ.max(rise);
                    rise * n.sqrt() - surely * differ.sqrt() - likely * (differ - rise * rise).max(0.0).sqrt()
                };
                (1.0, Box::new(beyond))
            }
        };
        if most <= 0.0 || most.is_nan() || beyond(most) < 0.0 {
            return None;
        }
        let (mut short, mut enough) = (0.0, most);
        for _ in 0..60 {
            let middle = f64::midpoint(short, enough);
            if beyond(middle) >= 0.0 { enough = middle } else { short = middle }
        }
        Some(enough)
    }
}

#[cfg(test)]
mod tests;
