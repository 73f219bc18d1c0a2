//! Several campaigns that differ in their golden run alone: their mean, and how much runs differ.
//!
//! Invariants: the arithmetic is [`crate::stats::clusters`]'s. **What else differs between runs is said with the numbers.**
//! Strata count that all of them have.

use serde::Serialize;
use serde_json::Value;

use super::compare::estimate_text;
use super::paired::CLASSES;
use super::svg::percent;
use super::unfair::{Side, lacks, made_from, of_runs, unlike};
use crate::campaign::summary::StratumSummary;
use crate::stats::anytime::anytime;
use crate::stats::clusters::{Clustered, clustered};
use crate::stats::tally::{Method, Rate};
use crate::stats::{Confidence, Estimate, Observed, SpaceSize, StatsError};

/// The version of these keys.
pub const FORMAT: u32 = 1;

/// Where the interval does not keep its 95 %, by simulated coverage.
pub const SKEWED: &str = "where few runs have nearly all failures, an interval of 95 % covers 87 to 95 %";

/// So few runs say little of how much runs differ.
const FEW: usize = 5;

/// Several runs and what they say together.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// The version of these keys.
    pub format: u32,
    /// The names of the campaigns, each a run.
    pub names: Vec<String>,
    /// The confidence of all intervals.
    pub confidence: Confidence,
    /// Why these are no runs of one campaign.
    pub unfair: Vec<String>,
    /// What else is different, as a rule what makes them several runs.
    pub differs: Vec<String>,
    /// Strata that not all of them have.
    pub alone: Vec<String>,
    /// The strata that all have.
    pub strata: Vec<StratumRuns>,
}

/// One stratum in all runs.
#[derive(Clone, Debug, Serialize)]
pub struct StratumRuns {
    /// Its name.
    pub name: String,
    /// The trials that count in each.
    pub counted: Vec<u64>,
    /// Classes, then outcomes; failure first.
    pub rows: Vec<RunsRow>,
}

/// One outcome, or class of outcomes, in all runs.
#[derive(Clone, Debug, Serialize)]
pub struct RunsRow {
    /// Its name.
    pub outcome: &'static str,
    /// How many trials in each.
    pub count: Vec<u64>,
    /// The rate of each, with its interval; `None` where no trial counts.
    pub rate: Vec<Option<Estimate>>,
    /// What they say together; `None` where a run has no trial that counts.
    pub together: Option<Clustered>,
}

impl Runs {
    /// What a reader must know before any number.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.unfair.iter().map(|why| format!("not runs of one campaign: {why}")).collect();
        if !self.alone.is_empty() {
            found.push(format!("not all runs have {}", self.alone.join(", ")));
        }
        if self.strata.is_empty() {
            found.push("no stratum has the same name in all runs: there is nothing to estimate".to_owned());
        }
        if self.names.len() < FEW {
            found.push(format!(
                "{} runs say little of how much runs differ: their intervals are wide, and the standard deviation is a guess",
                self.names.len()
            ));
        }
        found
    }
}

impl RunsRow {
    /// The mean as people read it.
    #[must_use]
    pub fn mean_text(&self) -> String {
        estimate_text(self.together.map(|found| found.mean), &percent)
    }

    /// The estimate that ignores runs as people read it.
    #[must_use]
    pub fn ignoring_text(&self) -> String {
        estimate_text(self.together.map(|found| found.ignoring_runs), &percent)
    }
}

/// Estimates over runs.
///
/// # Errors
/// There are fewer than two.
pub fn runs(sides: &[Side<'_>]) -> Result<Runs, StatsError> {
    let [first, others @ ..] = sides else { return Err(StatsError::TooFewRuns(0)) };
    if others.is_empty() {
        return Err(StatsError::TooFewRuns(1));
    }
    let mut found = Runs {
        format: FORMAT,
        names: sides.iter().map(|side| side.summary.name.clone()).collect(),
        confidence: first.summary.confidence,
        unfair: Vec::new(),
        differs: Vec::new(),
        alone: Vec::new(),
        strata: Vec::new(),
    };
    for (at, side) in sides.iter().enumerate().skip(1) {
        let beside = |what: String| format!("{}: {what}", side.summary.name);
        let wrong =
            unlike(first, side).into_iter().chain(other_guest(first, side)).chain(made_from(first, side));
        found.unfair.extend(wrong.map(beside));
        found.differs.extend(of_runs(first, side).into_iter().map(beside));
        let same = sides[..at].iter().find(|other| {
            other.store.manifest().golden == side.store.manifest().golden
                || other.store.plan_digest() == side.store.plan_digest()
        });
        if let Some(other) = same {
            found.unfair.push(format!(
                "{} and {} have the same golden run or the same plan: they are one run",
                other.summary.name, side.summary.name
            ));
        }
    }
    found.unfair.extend(sides.iter().flat_map(lacks));
    for side in sides {
        for stratum in &side.summary.strata {
            let all: Option<Vec<_>> = sides.iter().map(|side| side.summary.stratum(&stratum.name)).collect();
            match all {
                Some(all) if std::ptr::eq(side, first) => {
                    found.strata.push(of_stratum(&all, found.confidence)?)
                }
                None if !found.alone.contains(&stratum.name) => found.alone.push(stratum.name.clone()),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// What else of the guest differs than the kernel's command line, which makes another run, and what is looked at elsewhere.
fn other_guest(a: &Side<'_>, b: &Side<'_>) -> Option<String> {
    let rest = |side: &Side<'_>| {
        let mut guest = side.store.spec().guest.clone();
        if let Value::Object(keys) = &mut guest {
            for key in ["append", "workload", "arch", "memory", "cpus"] {
                keys.remove(key);
            }
        }
        guest
    };
    let (here, there) = (rest(a), rest(b));
    (here != there).then(|| format!("the guest: {here} in the first, {there} in the second"))
}

fn of_stratum(runs: &[&StratumSummary], confidence: Confidence) -> Result<StratumRuns, StatsError> {
    let mut rows = Vec::new();
    for class in CLASSES {
        let of = |run: &StratumSummary| run.class(class).map(|entry| (entry.count, entry.rate));
        rows.extend(row(class.name(), runs, &of, confidence)?);
    }
    // What is exceptional comes first, as in all tables.
    for entry in runs.iter().take(1).flat_map(|run| run.outcomes.iter().rev()) {
        let of = |run: &StratumSummary| run.outcome(entry.outcome).map(|entry| (entry.count, entry.rate));
        rows.extend(row(entry.outcome.name(), runs, &of, confidence)?);
    }
    let name = runs.first().map(|run| run.name.clone()).unwrap_or_default();
    Ok(StratumRuns { name, counted: runs.iter().map(|run| run.counted).collect(), rows })
}

type Seen = (u64, Option<Rate>);

fn row(
    outcome: &'static str,
    runs: &[&StratumSummary],
    of: &dyn Fn(&StratumSummary) -> Option<Seen>,
    confidence: Confidence,
) -> Result<Option<RunsRow>, StatsError> {
    let Some(seen) = runs.iter().map(|run| of(run)).collect::<Option<Vec<Seen>>>() else { return Ok(None) };
    let observed: Result<Vec<Observed>, _> =
        seen.iter().zip(runs).map(|((count, _), run)| Observed::new(*count, run.counted)).collect();
    let together = match &observed {
        Ok(observed) => Some(clustered(observed, confidence)?),
        Err(StatsError::NoTrials) => None,
        Err(error) => return Err(error.clone()),
    };
    // Of the counts, as the mean is.
    let plain = |((count, rate), run): (&Seen, &&StratumSummary)| {
        let observed = Observed::new(*count, run.counted).ok()?;
        let size = Some(SpaceSize(u128::from(run.faults) * u128::from(run.times)));
        let plain = Rate::new(observed, confidence, size);
        let plain = match rate.as_ref().and_then(|rate| rate.anytime) {
            Some(_) => plain.at_any_look(anytime(observed, confidence, size), size),
            None => plain,
        };
        Some(plain.estimate(Method::default()))
    };
    Ok(Some(RunsRow {
        outcome,
        count: seen.iter().map(|(count, _)| *count).collect(),
        rate: seen.iter().zip(runs).map(plain).collect(),
        together,
    }))
}

#[cfg(test)]
mod tests;
