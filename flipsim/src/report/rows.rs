//! A row of a comparison: one outcome, or class of outcomes, in two campaigns, and its numbers as people read them.
//!
//! Invariant: an end of an interval is rounded away from the other.

use serde::Serialize;

use super::paired::PairedRow;
use super::svg::percent;
use crate::stats::Estimate;
use crate::stats::compare::Ratio;
use crate::stats::equivalence::Verdict;
use crate::text::end_text;

/// One outcome, or class of outcomes, in both.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonRow {
    /// Its name.
    pub outcome: &'static str,
    /// How many trials in each.
    pub count: [u64; 2],
    /// The extrapolated absolute number in each.
    pub failures: [Option<Estimate>; 2],
    /// The second of these over the first; of pairs with their interval.
    pub ratio: Option<Ratio>,
    /// The second rate over the first: the same per upset. New in format 3.
    pub ratio_of_rates: Option<Ratio>,
    /// The rate in each.
    pub rate: [Option<Estimate>; 2],
    /// The second rate less the first.
    pub difference: Option<Estimate>,
    /// Fisher's exact test of whether the rates are the same, two-sided; only where both spaces have one size, as it is then
    /// the same as equal F, and where trials are no pairs.
    pub p: Option<f64>,
    /// The test of whether F is the same, two-sided ([`ratio_p`](crate::stats::score::ratio_p)); of pairs only where the spaces
    /// differ in size, so that it is not that of the rates ([`Pairs::ratio_p`](crate::stats::paired::Pairs::ratio_p)). New in
    /// format 2.
    pub p_failures: Option<f64>,
    /// The pairs, where trials are some. New in format 2.
    pub paired: Option<PairedRow>,
    /// What was asked about a margin. New in format 2.
    pub verdict: Option<Verdict>,
    /// The smallest p that its test could have had with as many hits.
    #[serde(skip)]
    pub(super) smallest: Option<f64>,
}

impl ComparisonRow {
    /// The ratio of the counts as people read it: `× 1.20 (0.90 to 1.50)`.
    #[must_use]
    pub fn ratio_text(&self) -> String {
        self.ratio.map_or("–".to_owned(), |ratio| ratio_text(&ratio))
    }

    /// The difference of the rates as people read it, with its sign: of the pairs where there are some.
    #[must_use]
    pub fn difference_text(&self) -> String {
        let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, percent(value));
        estimate_text(self.paired.map(|paired| paired.difference).or(self.difference), &signed)
    }

    /// The test of the counts as people read it.
    #[must_use]
    pub fn p_failures_text(&self) -> String {
        p_text(self.p_failures.or(self.paired.map(|paired| paired.p)))
    }

    /// The test of the rates as people read it; none where the row's test is of the counts.
    #[must_use]
    pub fn p_text(&self) -> String {
        p_text(self.paired.filter(|_| self.p_failures.is_none()).map(|paired| paired.p).or(self.p))
    }

    /// The pairs that differ as people read them.
    #[must_use]
    pub fn pairs_text(&self) -> String {
        self.paired.map_or("–".to_owned(), |PairedRow { pairs, .. }| {
            format!("{} only in A, {} only in B", pairs.first, pairs.second)
        })
    }
}

/// A ratio as people read it: `× 1.20 (0.90 to 1.50)`.
#[must_use]
pub fn ratio_text(ratio: &Ratio) -> String {
    let value = ratio.value.map_or("–".to_owned(), |value| format!("× {value:.2}"));
    let end = |end: f64, is_upper| end_text(end, is_upper, &|end| format!("{end:.2}"));
    let upper = ratio.upper.map_or("no bound".to_owned(), |upper| end(upper, true));
    format!("{value} ({} to {upper})", end(ratio.lower, false))
}

/// A probability as people read it.
#[must_use]
pub fn p_text(p: Option<f64>) -> String {
    match p {
        None => "–".to_owned(),
        Some(p) if p < 1e-4 => "p < 0.0001".to_owned(),
        Some(p) => format!("p = {p:.4}"),
    }
}

/// An estimate with its interval as people read it.
#[must_use]
pub fn estimate_text(estimate: Option<Estimate>, text: &dyn Fn(f64) -> String) -> String {
    estimate.map_or("–".to_owned(), |estimate| {
        let interval = estimate.interval;
        let (lower, upper) = (end_text(interval.lower, false, text), end_text(interval.upper, true, text));
        format!("{} ({lower} to {upper})", text(estimate.value))
    })
}
