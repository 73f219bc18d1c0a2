//! Two campaigns side by side.
//!
//! Absolute failure counts come first: rates of different fault spaces compare nothing
//! (`docs/statistics.md`). Strata are compared that have the same name in both.
//!
//! Invariants: the arithmetic is [`crate::stats::compare`]'s. **What makes a comparison unfair is said
//! with it**, and so is every stratum that only one of them has.

use serde::Serialize;

use super::svg::percent;
use crate::campaign::summary::{Class, StratumSummary};
use crate::campaign::{Store, StoreError, Summary, TrialId};
use crate::stats::compare::{Ratio, difference, fisher, ratio};
use crate::stats::tally::{OutcomeCount, Rate};
use crate::stats::{Estimate, Observed};
use crate::text::end_text;
use crate::units::Timing;

/// The version of a comparison's keys.
pub const FORMAT: u32 = 1;

/// So many trials that came out differently are named.
const NAMED: usize = 10;

/// One campaign of two.
#[derive(Debug)]
pub struct Side<'a> {
    /// Its file.
    pub store: &'a Store,
    /// What it says.
    pub summary: &'a Summary,
}

/// Two campaigns side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The version of these keys.
    pub format: u32,
    /// The names of both.
    pub names: [String; 2],
    /// Why the numbers may not be compared as they are.
    pub unfair: Vec<String>,
    /// What else is different: what the comparison is about, as a rule.
    pub differs: Vec<String>,
    /// The strata that both have.
    pub strata: Vec<StratumComparison>,
    /// The strata that only one has.
    pub alone: [Vec<String>; 2],
    /// Where both have the same plan: trial by trial.
    pub trials: Option<TrialComparison>,
}

/// One stratum in both campaigns.
#[derive(Clone, Debug, Serialize)]
pub struct StratumComparison {
    /// Its name.
    pub name: String,
    /// Its fault space in both: faults × moments.
    pub population: [f64; 2],
    /// The trials that count in both.
    pub counted: [u64; 2],
    /// Classes, then outcomes.
    pub rows: Vec<ComparisonRow>,
}

/// One outcome, or class of outcomes, in both.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonRow {
    /// Its name.
    pub outcome: &'static str,
    /// How many trials in each.
    pub count: [u64; 2],
    /// The extrapolated absolute number in each.
    pub failures: [Option<Estimate>; 2],
    /// The second of these over the first.
    pub ratio: Option<Ratio>,
    /// The rate in each.
    pub rate: [Option<Estimate>; 2],
    /// The second rate less the first.
    pub difference: Option<Estimate>,
    /// Fisher's exact test of whether the rates are the same, two-sided.
    pub p: Option<f64>,
}

/// The trials of one plan, run twice.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TrialComparison {
    /// So many have a result in both.
    pub both: u64,
    /// So many of them came out differently: outcome, end, report.
    pub different: u64,
    /// The first of these.
    pub first: Vec<TrialId>,
}

impl Comparison {
    /// What a reader must know before any number.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.unfair.iter().map(|why| format!("not comparable as it is: {why}")).collect();
        for (name, alone) in self.names.iter().zip(&self.alone) {
            if !alone.is_empty() {
                found.push(format!("only {name} has {}", alone.join(", ")));
            }
        }
        if self.strata.is_empty() {
            found.push("no stratum has the same name in both: there is nothing to compare".to_owned());
        }
        found
    }

    /// How the tests are to be read; `None` where there is none.
    #[must_use]
    pub fn about_tests(&self) -> Option<String> {
        let tests =
            self.strata.iter().flat_map(|stratum| &stratum.rows).filter(|row| row.p.is_some()).count();
        let bound = percent(0.05 / f64::from(u32::try_from(tests).ok().filter(|tests| *tests > 0)?));
        Some(format!(
            "p is Fisher's exact test of equal rates, two-sided. Of {tests} tests some fall below 5 % by chance; by \
             Bonferroni's rule one means something below {bound}"
        ))
    }
}

impl ComparisonRow {
    /// The ratio of the counts as people read it: `× 1.20 (0.90 to 1.50)`.
    #[must_use]
    pub fn ratio_text(&self) -> String {
        self.ratio.map_or("–".to_owned(), |ratio| {
            let value = ratio.value.map_or("–".to_owned(), |value| format!("× {value:.2}"));
            let upper = ratio.upper.map_or("no bound".to_owned(), |upper| format!("{upper:.2}"));
            format!("{value} ({:.2} to {upper})", ratio.lower)
        })
    }

    /// The difference of the rates as people read it, with its sign.
    #[must_use]
    pub fn difference_text(&self) -> String {
        let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, percent(value));
        estimate_text(self.difference, &signed)
    }

    /// The test as people read it.
    #[must_use]
    pub fn p_text(&self) -> String {
        match self.p {
            None => "–".to_owned(),
            Some(p) if p < 1e-4 => "p < 0.0001".to_owned(),
            Some(p) => format!("p = {p:.4}"),
        }
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

/// Compares two campaigns.
///
/// # Errors
/// One of them cannot be read.
pub fn compare(a: &Side<'_>, b: &Side<'_>) -> Result<Comparison, StoreError> {
    let strata = a.summary.strata.iter().filter_map(|one| Some(stratum(one, b.summary.stratum(&one.name)?)));
    let alone = |here: &Summary, there: &Summary| {
        let names = here.strata.iter().filter(|stratum| there.stratum(&stratum.name).is_none());
        names.map(|stratum| stratum.name.clone()).collect()
    };
    Ok(Comparison {
        format: FORMAT,
        names: [a.summary.name.clone(), b.summary.name.clone()],
        unfair: unfair(a, b),
        differs: differs(a, b),
        strata: strata.collect(),
        alone: [alone(a.summary, b.summary), alone(b.summary, a.summary)],
        trials: if a.store.plan_digest() == b.store.plan_digest() { Some(trials(a, b)?) } else { None },
    })
}

fn stratum(a: &StratumSummary, b: &StratumSummary) -> StratumComparison {
    let (n, m) = (a.counted, b.counted);
    // That of no effect says what that of failures says.
    let classes = [Class::Failure, Class::Unmasked]
        .into_iter()
        .filter_map(|class| Some(row(class.name(), (a.class(class)?, n), (b.class(class)?, m))));
    let outcomes = a.outcomes.iter().filter_map(|entry| {
        let other = b.outcome(entry.outcome)?;
        Some(row(entry.outcome.name(), (entry, n), (other, m)))
    });
    // What is exceptional comes first, as in all tables.
    let mut outcomes: Vec<ComparisonRow> = outcomes.collect();
    outcomes.reverse();
    StratumComparison {
        name: a.name.clone(),
        population: [a.population, b.population],
        counted: [a.counted, b.counted],
        rows: classes.chain(outcomes).collect(),
    }
}

fn row<O>(
    outcome: &'static str,
    (a, trials): (&OutcomeCount<O>, u64),
    (b, others): (&OutcomeCount<O>, u64),
) -> ComparisonRow {
    let observed = [Observed::new(a.count, trials).ok(), Observed::new(b.count, others).ok()];
    let rate = |rate: &Rate| Estimate { value: rate.value, interval: rate.wilson };
    let rates = [a.rate.as_ref().map(rate), b.rate.as_ref().map(rate)];
    let failures = [a.rate.and_then(|rate| rate.failures), b.rate.and_then(|rate| rate.failures)];
    ComparisonRow {
        outcome,
        count: [a.count, b.count],
        failures,
        ratio: both(failures).map(|(a, b)| ratio(b, a)),
        rate: rates,
        difference: both(rates).map(|(a, b)| difference(b, a)),
        p: both(observed).map(|(a, b)| fisher(a, b)),
    }
}

fn both<T: Copy>(two: [Option<T>; 2]) -> Option<(T, T)> {
    two[0].zip(two[1])
}

/// Something that both have: what it is called, and what it is in each.
struct Pair {
    what: String,
    texts: [String; 2],
}

impl Pair {
    fn new<T>(what: impl Into<String>, a: &T, b: &T, text: impl Fn(&T) -> String) -> Pair {
        Pair { what: what.into(), texts: [text(a), text(b)] }
    }

    fn said(self) -> Option<String> {
        let [a, b] = self.texts;
        (a != b).then(|| format!("{}: {a} in the first, {b} in the second", self.what))
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Why the numbers may not be compared as they are.
fn unfair(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let (one, other) = (a.store.spec(), b.store.spec());
    let mut found: Vec<String> = [
        Pair::new("the window of the workload", &one.window, &other.window, json),
        Pair::new("the times of the faults", &one.times, &other.times, json),
        Pair::new("the workload", &one.guest, &other.guest, |guest| json(&guest["workload"])),
        Pair::new("when a guest counts as hung", &one.trial, &other.trial, |trial| {
            format!("{} times the golden run", trial.hang_factor)
        }),
    ]
    .into_iter()
    .filter_map(Pair::said)
    .collect();
    // Files of before do not say which the default was.
    if let (Some(here), Some(there)) = (one.guest["arch"].as_str(), other.guest["arch"].as_str()) {
        let what = "the architecture".to_owned();
        found.extend(Pair { what, texts: [here.to_owned(), there.to_owned()] }.said());
    }
    for stratum in &a.summary.strata {
        let Some(there) = b.summary.stratum(&stratum.name) else { continue };
        let name = &stratum.name;
        let pairs = [
            Pair::new(format!("the fault model of {name}"), stratum, there, |s| s.pattern.clone()),
            Pair::new(format!("the targets of {name}"), stratum, there, |s| s.targets.clone()),
            Pair::new(format!("the fault space of {name}"), stratum, there, |s| {
                format!("{} faults × {} moments", s.faults, s.times)
            }),
        ];
        found.extend(pairs.into_iter().filter_map(Pair::said));
    }
    for side in [a, b] {
        let totals = &side.summary.totals;
        let name = &side.summary.name;
        if totals.output_only > 0 {
            found.push(format!(
                "{} trials of {name} compared outputs only: what is latent there is called masked",
                totals.output_only
            ));
        }
        if totals.timing == Some(Timing::Approximate) {
            found.push(format!("flips of {name} were not at exactly their planned times"));
        }
        if totals.pending > 0 {
            found.push(format!(
                "{name} is not finished: {} of {} trials are pending",
                totals.pending, totals.planned
            ));
        }
        if totals.infra > 0 {
            found.push(format!("{} trials of {name} were given up and are in no rate", totals.infra));
        }
    }
    found
}

/// What else is different.
fn differs(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let (one, other) = (a.store.manifest(), b.store.manifest());
    let short = |text: &String| text.chars().take(16).collect::<String>();
    let mut pairs = vec![
        Pair::new("seed", &a.store.spec().seed, &b.store.spec().seed, u64::to_string),
        Pair::new("template", &one.template, &other.template, short),
        Pair::new("golden run", &one.golden, &other.golden, short),
    ];
    for (what, here, there) in
        [("version of", &one.versions, &other.versions), ("", &one.inputs, &other.inputs)]
    {
        let names: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        for name in names {
            let text = |map: &std::collections::BTreeMap<String, String>| {
                map.get(name).map_or("nothing".to_owned(), short)
            };
            pairs.push(Pair {
                what: format!("{what} {name}").trim().to_owned(),
                texts: [text(here), text(there)],
            });
        }
    }
    pairs.into_iter().filter_map(Pair::said).collect()
}

/// The results of one plan, trial by trial.
fn trials(a: &Side<'_>, b: &Side<'_>) -> Result<TrialComparison, StoreError> {
    let mut found = TrialComparison::default();
    let mut others = b.store.results().peekable();
    for row in a.store.results() {
        let row = row?;
        let id = row.trial.id;
        while let Some(Ok(_)) = others.next_if(|other| other.as_ref().is_ok_and(|other| other.trial.id < id))
        {
        }
        let Some(other) = others.next_if(|other| other.as_ref().map_or(true, |other| other.trial.id == id))
        else {
            continue;
        };
        let other = other?;
        found.both += 1;
        let key = |row: &crate::campaign::store::ResultRow| {
            // Others end at a checkpoint, and where these lie depends on the host.
            let own = matches!(row.end.as_deref(), Some("panic" | "reset" | "power-off"));
            let end = row.end_ns.filter(|_| own);
            (row.outcome, end, row.end.clone(), row.report.clone(), row.title.clone())
        };
        if key(&row) != key(&other) {
            found.different += 1;
            if found.first.len() < NAMED {
                found.first.push(id);
            }
        }
    }
    Ok(found)
}
