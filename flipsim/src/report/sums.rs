//! ΣF over the strata of one kind, in two campaigns: what shows that failures have moved from one stratum to another.
//!
//! Invariant: what a campaign does not pool is not added up here.

use serde::Serialize;

use super::paired::CLASSES;
use crate::campaign::summary::{SpaceKind, StratumSummary, Summary};
use crate::stats::compare::{Ratio, sums, sums_p};
use crate::stats::equivalence::{Margin, Verdict};
use crate::stats::strata::{Drawing, Strata, StratumCount};
use crate::stats::tally::OutcomeCount;
use crate::stats::{Confidence, Estimate, SpaceSize};
use crate::trial::Outcome;

/// All strata of one kind and pattern, in both.
#[derive(Clone, Debug, Serialize)]
pub struct SumComparison {
    /// What their faults strike.
    pub kind: SpaceKind,
    /// Which bits flip together.
    pub pattern: String,
    /// The strata that are added up, in each.
    pub strata: [Vec<String>; 2],
    /// Why there is no sum.
    pub why_not: Option<String>,
    /// Classes, then outcomes.
    pub rows: Vec<SumRow>,
}

/// One outcome, or class of outcomes, in the sums.
#[derive(Clone, Debug, Serialize)]
pub struct SumRow {
    /// Its name.
    pub outcome: &'static str,
    /// ΣF in each.
    pub failures: [Estimate; 2],
    /// The second over the first.
    pub ratio: Ratio,
    /// The test of whether they are equal: 1 less the confidence at which the interval of the ratio ends at 1.
    pub p: f64,
    /// What was asked about a margin.
    pub verdict: Option<Verdict>,
}

/// The sums of every kind and pattern of which one campaign at least has several strata.
pub(super) fn all(summaries: [&Summary; 2], margin: Option<Margin>) -> Vec<SumComparison> {
    let mut found: Vec<SumComparison> = Vec::new();
    for stratum in &summaries[0].strata {
        let (kind, pattern) = (stratum.kind, &stratum.pattern);
        let of = |summary: &'_ Summary| -> Vec<usize> {
            let members = summary.strata.iter().enumerate();
            members
                .filter(|(_, one)| one.kind == kind && one.pattern == *pattern)
                .map(|(index, _)| index)
                .collect()
        };
        let members = summaries.map(of);
        let several = members.iter().any(|members| members.len() > 1) && !members[1].is_empty();
        if !several || found.iter().any(|sum| sum.kind == kind && sum.pattern == *pattern) {
            continue;
        }
        let strata = [0, 1].map(|side| -> Vec<&StratumSummary> {
            members[side].iter().map(|index| &summaries[side].strata[*index]).collect()
        });
        let why_not = summaries.into_iter().find_map(|summary| {
            let pooled =
                summary.pooled.iter().find(|pooled| pooled.kind == kind && pooled.pattern == *pattern)?;
            Some(format!("{}: {}", summary.name, pooled.why_not.as_ref()?))
        });
        let rows = rows([&strata[0], &strata[1]], summaries[0].confidence, margin);
        let (why_not, rows) = match (why_not, rows) {
            (Some(why), _) => (Some(why), Vec::new()),
            (None, Err(why)) => (Some(why), Vec::new()),
            (None, Ok(rows)) => (None, rows),
        };
        let names = strata.map(|strata| strata.iter().map(|stratum| stratum.name.clone()).collect());
        found.push(SumComparison { kind, pattern: pattern.clone(), strata: names, why_not, rows });
    }
    found
}

fn rows(
    sides: [&[&StratumSummary]; 2],
    confidence: Confidence,
    margin: Option<Margin>,
) -> Result<Vec<SumRow>, String> {
    let classes = CLASSES
        .into_iter()
        .map(|class| row(class.name(), sides, confidence, margin, &|stratum| count(stratum.class(class))));
    let shown =
        |outcome: &Outcome| sides.iter().all(|side| side.iter().any(|of| of.outcome(*outcome).is_some()));
    let outcomes = Outcome::WORST_FIRST.into_iter().filter(shown).map(|outcome| {
        row(outcome.name(), sides, confidence, margin, &|stratum| count(stratum.outcome(outcome)))
    });
    classes.chain(outcomes).collect()
}

fn count<O>(entry: Option<&OutcomeCount<O>>) -> u64 {
    entry.map_or(0, |entry| entry.count)
}

fn row(
    outcome: &'static str,
    sides: [&[&StratumSummary]; 2],
    confidence: Confidence,
    margin: Option<Margin>,
    hits: &dyn Fn(&StratumSummary) -> u64,
) -> Result<SumRow, String> {
    let strata = |side: &[&StratumSummary]| -> Result<Strata, String> {
        let parts = side.iter().map(|stratum| {
            let size = SpaceSize(u128::from(stratum.faults) * u128::from(stratum.times));
            StratumCount::new(stratum.name.clone(), size, hits(stratum), stratum.counted)
        });
        let parts = parts.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Strata::new(parts, Drawing::WithoutReplacement).map_err(|error| error.to_string())
    };
    let (a, b) = (strata(sides[0])?, strata(sides[1])?);
    let failures = [&a, &b].map(|strata| strata.estimate(confidence).failures(strata.space()));
    Ok(SumRow {
        outcome,
        failures,
        ratio: sums(&a, &b, confidence),
        p: sums_p(&a, &b, 1.0),
        verdict: margin.and_then(|margin| margin.verdict_of_sums([&a, &b], confidence)),
    })
}
