//! The decision: which tests there are, what each found, and what that is together.
//!
//! Invariant: the arithmetic is [`crate::stats::gate`]'s, on the counts and pairs of the comparison. A stratum that only one
//! campaign has, or that has another fault model in the other, is in no test, and that is said.

use std::str::FromStr;

use serde::Serialize;

use super::super::compare::{Comparison, StratumComparison, estimate_text, p_text};
use super::super::paired::CLASSES;
use super::super::svg::{count, percent};
use crate::campaign::Summary;
use crate::stats::Observed;
use crate::stats::gate::{Change, Judged, Rule, Seen, judge};
use crate::trial::Outcome;

/// The version of a gate's keys.
pub const FORMAT: u32 = 1;

/// What must not become more frequent: an outcome, or a class of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Condition(&'static str);

impl Condition {
    /// `failure worse`.
    pub const FAILURE: Condition = Condition("failure");

    /// What has a rate of which more is worse: all but what had no effect.
    fn names() -> impl Iterator<Item = &'static str> {
        let outcomes = Outcome::WORST_FIRST.into_iter().filter(|outcome| outcome.is_counted());
        let harmful = outcomes.filter(|outcome| !matches!(outcome, Outcome::Masked | Outcome::EccCorrected));
        CLASSES.into_iter().map(crate::trial::Class::name).chain(harmful.map(Outcome::name))
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let known = |word: &str| Condition::names().find(|name| *name == word);
        match (words.next().and_then(known), words.next(), words.next()) {
            (Some(name), Some("worse"), None) => Ok(Condition(name)),
            _ => Err(format!(
                "`{}` is no condition; write `OUTCOME worse`, where OUTCOME is {}",
                crate::text::shown(text, 60),
                Condition::names().collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// When the campaign is worse: when one of these holds in a stratum.
    pub conditions: Vec<Condition>,
    /// How sure it must be.
    pub rule: Rule,
    /// Whether of an unfinished campaign the batches that are done are a sample, as its size did not depend on results.
    pub unfinished: bool,
}

/// The decision, with all that it rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Gate {
    /// The version of these keys.
    pub format: u32,
    /// The baseline and the campaign.
    pub names: [String; 2],
    /// The decision.
    pub change: Change,
    /// Why nothing can be said of the campaigns as a whole; empty where tests decide.
    pub why: Vec<String>,
    /// What was asked.
    pub rule: Rule,
    /// One row a stratum and condition.
    pub rows: Vec<GateRow>,
    /// Strata that are in no test, and why.
    pub left_out: Vec<String>,
    /// What a reader must know besides.
    pub warnings: Vec<String>,
}

/// One condition in one stratum.
#[derive(Clone, Debug, Serialize)]
pub struct GateRow {
    /// The stratum.
    pub stratum: String,
    /// The outcome or class that must not become more frequent.
    pub outcome: &'static str,
    /// How many trials had it, in each campaign.
    pub count: [u64; 2],
    /// The trials that count.
    pub counted: [u64; 2],
    /// The second's fault space over the first's.
    pub sizes: f64,
    /// The pairs that were compared, where trials are pairs.
    pub pairs: Option<u64>,
    /// The finding; `None` where a campaign has no trial here that counts.
    #[serde(flatten)]
    pub judged: Option<Judged>,
}

impl GateRow {
    /// The finding.
    #[must_use]
    pub fn change(&self) -> Change {
        self.judged.map_or(Change::Open, |judged| judged.change)
    }

    /// The rate in one campaign.
    #[must_use]
    pub fn rate(&self, side: usize) -> Option<f64> {
        Observed::new(self.count[side], self.counted[side]).ok().map(Observed::rate)
    }
}

impl Gate {
    /// The one line that a log is searched for.
    #[must_use]
    pub fn line(&self) -> String {
        let alpha = percent(self.rule.alpha.value());
        let of = |change: Change| self.rows.iter().filter(move |row| row.change() == change);
        let joined = |texts: Vec<String>| texts.join("; ");
        match self.change {
            Change::Worse => {
                let texts = of(Change::Worse).map(|row| row_text(row, &self.rule)).collect();
                format!("gate: worse: {} (alpha {alpha} over {})", joined(texts), self.tests())
            }
            Change::NotWorse => {
                format!(
                    "gate: not worse: no rise of {} or more in {} (alpha {alpha} over {})",
                    points(self.rule.by_at_least.value()),
                    joined(
                        self.rows.iter().map(|row| format!("{} in {}", row.outcome, row.stratum)).collect()
                    ),
                    self.tests()
                )
            }
            Change::Open => {
                let open = of(Change::Open).map(|row| row_text(row, &self.rule));
                format!(
                    "gate: nothing can be said: {}",
                    joined(self.why.iter().cloned().chain(open).collect())
                )
            }
        }
    }

    fn tests(&self) -> String {
        match self.rows.iter().filter(|row| row.judged.is_some()).count() {
            1 => "1 test".to_owned(),
            tests => format!("{tests} tests"),
        }
    }

    /// How the tests are to be read.
    #[must_use]
    pub fn about(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let Rule { alpha, by_at_least, power } = self.rule;
        let mut said = vec![
            "p is of a one-sided test that there is no rise: an exact score test of equal extrapolated counts (Berger and Boos), of pairs McNemar's exact \
             one; it is Holm's over all tests, so that the chance of a false alarm is that of alpha, however many there are"
                .to_owned(),
            format!(
                "worse: a rise is shown at alpha {}, and not that it is smaller than {}",
                percent(alpha.value()),
                points(by_at_least.value())
            ),
            format!(
                "not worse: a rise of {} is refuted at that alpha, or none is shown where one of it would have been with {}",
                points(by_at_least.value()),
                percent(power.value())
            ),
        ];
        if self.rows.iter().any(|row| row.sizes.total_cmp(&1.0).is_ne()) {
            said.push(
                "a rise is of the second's extrapolated count over the first's fault space, as the spaces differ in size"
                    .to_owned(),
            );
        }
        said
    }
}

/// A part of all trials as percentage points.
fn points(share: f64) -> String {
    percent(share).replace('%', "points")
}

/// The rates of both, as people read them.
#[must_use]
pub fn rate_texts(row: &GateRow) -> [String; 2] {
    [0, 1].map(|side| {
        let (hits, trials) = (count(row.count[side]), count(row.counted[side]));
        row.rate(side).map_or("–".to_owned(), |rate| format!("{} ({hits} of {trials})", percent(rate)))
    })
}

/// What a row found, in words.
#[must_use]
pub fn row_text(row: &GateRow, rule: &Rule) -> String {
    let what = format!("{} in {}", row.outcome, row.stratum);
    let least = rule.by_at_least.value();
    let Some(judged) = row.judged else {
        return format!("{what}: a campaign has no trial there that counts");
    };
    let Judged { change, rise, visible, p_of_all, .. } = judged;
    let rates = match [0, 1].map(|side| row.rate(side).map(percent)) {
        // A rise is counted in the baseline's fault space, of which the campaign's has so many.
        [Some(a), Some(b)] if (row.sizes - 1.0).abs() > 0.005 => {
            format!("{a} → {b} of a fault space {:.2} times as large", row.sizes)
        }
        [Some(a), Some(b)] => format!("{a} → {b}"),
        _ => String::new(),
    };
    let bound = |share: f64| points(share.max(0.0));
    match change {
        Change::Worse => {
            format!(
                "{what}: {rates}, by {} ({} at least), {}",
                points(rise.value),
                bound(rise.interval.lower),
                p_text(Some(p_of_all))
            )
        }
        Change::NotWorse => format!("{what}: {rates}, a rise of {} at most", bound(rise.interval.upper)),
        Change::Open => {
            let seen = match visible {
                Some(visible) => format!("a rise of {} could have been seen", points(visible)),
                None => "no rise could have been seen".to_owned(),
            };
            let remedy = remedy(row, least).map_or(String::new(), |detect| {
                format!(" (`campaign new --detect '{detect}' --power 90%` draws enough, for both)")
            });
            format!(
                "{what}: {rates}, too little power: with these trials {seen}, {} is asked for{remedy}",
                points(least)
            )
        }
    }
}

/// The rise and the p of a row, as people read them.
pub(super) fn cells(row: &GateRow) -> (String, String) {
    let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, percent(value));
    let rise = estimate_text(row.judged.map(|judged| judged.rise), &signed);
    (rise, p_text(row.judged.map(|judged| judged.p_of_all)))
}

/// The word for a finding.
#[must_use]
pub fn word(change: Change) -> &'static str {
    match change {
        Change::NotWorse => "not worse",
        Change::Worse => "worse",
        Change::Open => "nothing can be said",
    }
}

/// What `--detect` takes for a rise of as much as counts.
fn remedy(row: &GateRow, least: f64) -> Option<String> {
    let from = row.rate(0)?;
    let to = from + least;
    (from > 0.0 && to < 1.0).then(|| format!("{:.1}% -> {:.1}%", from * 100.0, to * 100.0))
}

/// Decides whether the second campaign of a comparison is worse than the first.
#[must_use]
pub fn gate(found: &Comparison, summaries: [&Summary; 2], asked: &GateOptions) -> Gate {
    let mut why = Vec::new();
    let is_finished = summaries.iter().all(|summary| summary.totals.pending == 0);
    for summary in summaries.iter().filter(|summary| summary.totals.pending > 0 && !asked.unfinished) {
        why.push(format!(
            "{} is not finished: {} of {} trials are pending",
            summary.name,
            count(summary.totals.pending),
            count(summary.totals.planned)
        ));
    }
    let mut left_out = Vec::new();
    for (name, alone) in found.names.iter().zip(&found.alone) {
        left_out.extend(alone.iter().map(|stratum| format!("{stratum}: only {name} has it")));
    }
    let mut tests = Vec::new();
    for stratum in &found.strata {
        match another_model(&stratum.name, summaries) {
            Some(reason) => left_out.push(format!("{}: {reason}", stratum.name)),
            None => tests.extend(
                asked.conditions.iter().filter_map(|condition| test(stratum, *condition, is_finished)),
            ),
        }
    }
    if tests.is_empty() {
        why.push(match left_out.is_empty() {
            true => "there is no stratum".to_owned(),
            false => {
                format!("no stratum is in both campaigns with one fault model ({})", left_out.join("; "))
            }
        });
    }
    let (mut rows, seen): (Vec<GateRow>, Vec<Option<Seen>>) = tests.into_iter().unzip();
    let judged = if why.is_empty() { judge(&seen, &asked.rule) } else { vec![None; rows.len()] };
    for (row, judged) in rows.iter_mut().zip(judged) {
        row.judged = judged;
    }
    let any = |change: Change| rows.iter().any(|row| row.change() == change);
    let change = match why.is_empty() {
        true if any(Change::Worse) => Change::Worse,
        true if !any(Change::Open) => Change::NotWorse,
        _ => Change::Open,
    };
    // Without a decision of the tests they are none.
    if !why.is_empty() {
        rows.clear();
    }
    Gate {
        format: FORMAT,
        names: found.names.clone(),
        change,
        why,
        rule: asked.rule,
        rows,
        left_out,
        warnings: found.warnings(),
    }
}

/// Why the stratum of this name is another one in the second campaign.
fn another_model(name: &str, [a, b]: [&Summary; 2]) -> Option<String> {
    let (one, other) = (a.stratum(name)?, b.stratum(name)?);
    if one.pattern != other.pattern {
        return Some(format!("the fault models are {} and {}", one.pattern, other.pattern));
    }
    (one.when != other.when).then(|| format!("the moments of faults are {} and {}", one.when, other.when))
}

fn test(
    stratum: &StratumComparison,
    condition: Condition,
    is_finished: bool,
) -> Option<(GateRow, Option<Seen>)> {
    let Condition(name) = condition;
    let row = stratum.rows.iter().find(|row| row.outcome == name)?;
    let sizes = stratum.population[1] / stratum.population[0];
    // Of an unfinished campaign trials count that are none of the pairs' alone; McNemar's test is of rates, which are those
    // of failures only in spaces of one size.
    let pairs = row.paired.filter(|_| is_finished && !stratum.is_unequal()).map(|paired| paired.pairs);
    let each = [0, 1].map(|side| Observed::new(row.count[side], stratum.counted[side]).ok());
    let seen = match (pairs, each) {
        (Some(pairs), _) => Some(Seen::Pairs(pairs)),
        (None, [Some(a), Some(b)]) => Some(Seen::Apart([a, b], sizes)),
        _ => None,
    };
    let row = GateRow {
        stratum: stratum.name.clone(),
        outcome: name,
        count: row.count,
        counted: stratum.counted,
        sizes,
        pairs: pairs.map(|pairs| pairs.all()),
        judged: None,
    };
    Some((row, seen))
}

#[cfg(test)]
mod tests;
