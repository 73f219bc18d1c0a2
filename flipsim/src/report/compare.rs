//! Two campaigns side by side.
//!
//! What is shown comes first, in sentences; then absolute failure counts, with a test of whether they are equal, and rates, which
//! are per upset (`docs/statistics.md`). Strata are compared that have the same name in both. Where trials are pairs, these
//! are what is tested.
//!
//! Invariants: the arithmetic is [`crate::stats`]'s. **What makes a comparison unfair is said with it**, and so is every
//! stratum that only one of them has. A row has one test, of the hypothesis that its p is said to be of.

use serde::Serialize;

pub use super::answers::{Answer, Per, PerRatio, Shown};
use super::answers::{Question, Stratum, answers};
pub use super::field::{FieldComparison, FieldRow, PartComparison, year_text};
use super::paired::CLASSES;
pub use super::paired::{PairedRow, PairedTotal, Same, TrialComparison};
pub use super::rows::{ComparisonRow, estimate_text, p_text, ratio_text};
pub use super::sums::{SumComparison, SumRow};
use super::svg::{percent, times};
pub use super::unfair::Side;
use super::unfair::{COMPARED, differs, lacks, unfair};
use super::{paired, sums};
use crate::campaign::Summary;
use crate::campaign::summary::StratumSummary;
use crate::campaign::{MissionFile, StoreError};
use crate::stats::compare::{difference, fisher, ratio};
use crate::stats::equivalence::{Finding, Margin, Verdict};
use crate::stats::multiple::bonferroni;
use crate::stats::paired::Pairs;
use crate::stats::score::{Against, ratio_p};
use crate::stats::tally::{Method, OutcomeCount, Rate};
use crate::stats::{Confidence, Estimate, Observed, SpaceSize};

/// The version of a comparison's keys.
pub const FORMAT: u32 = 3;

/// What must be known of the rates of spaces that are not equal.
pub const UNEQUAL: &str = "the fault spaces differ in size: these rates are per upset, and say nothing of how many upsets each catches; \
                           extrapolated counts have that in them";

/// What must be known of answers about what is not comparable.
pub const NOT_OF_ONE: &str = "What follows compares what is not comparable, for the reasons above";

/// A p below which a single test means something.
const LEVEL: f64 = 0.05;

/// Two campaigns side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The version of these keys.
    pub format: u32,
    /// The names of both.
    pub names: [String; 2],
    /// Why the numbers may not be compared.
    pub unfair: Vec<String>,
    /// What spoils the numbers of one. New in format 3; before, these stood in `unfair`.
    pub doubts: Vec<String>,
    /// How the sizes of both differ, so that rates and counts say different things. New in format 3.
    pub notes: Vec<String>,
    /// What answers are per. New in format 3.
    pub per: Per,
    /// What else is different: what the comparison is about, as a rule.
    pub differs: Vec<String>,
    /// The strata that both have.
    pub strata: Vec<StratumComparison>,
    /// The strata that only one has.
    pub alone: [Vec<String>; 2],
    /// ΣF over the strata of one kind; new in format 2.
    pub sums: Vec<SumComparison>,
    /// How many tests there are; `None` where there is none. New in format 2.
    pub tests: Option<Tests>,
    /// Where both have the same plan, or the same draws: trial by trial.
    pub trials: Option<TrialComparison>,
    /// Both in a mission, where one was given. New in format 3.
    pub field: Option<FieldComparison>,
}

/// What is asked of a comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompareOptions<'a> {
    /// What answers are per; of a mission a year, else a run, where it is not said.
    pub per: Option<Per>,
    /// What is asked about the ratio of their failures.
    pub margin: Option<Margin>,
    /// The field that both are to be in.
    pub mission: Option<&'a MissionFile>,
}

/// How the p of many rows are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tests {
    /// The rows that have a p.
    pub rows: usize,
    /// Those whose counts could have one that means something among so many.
    pub able: usize,
    /// By Bonferroni's rule over these, one means something below this.
    pub bound: f64,
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
    /// The pairs of trials with a result that counts in both, where trials are pairs. New in format 2.
    pub pairs: Option<u64>,
    /// Classes, then outcomes.
    pub rows: Vec<ComparisonRow>,
    /// What these come to, in a sentence each: sdc, what is noticed, all failures. New in format 3.
    pub answers: Vec<Answer>,
}

impl Comparison {
    /// What a reader must know before any number.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut found: Vec<String> = self.unfair.iter().map(|why| format!("not comparable: {why}")).collect();
        found.extend(self.doubts.iter().cloned());
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

    /// The answers, stratum by stratum.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.strata.iter().flat_map(|stratum| &stratum.answers)
    }

    /// The sentences to read: of a stratum without a failure in either that one alone, and none twice.
    #[must_use]
    pub fn said(&self) -> Vec<&Answer> {
        let mut found: Vec<&Answer> = Vec::new();
        for stratum in &self.strata {
            let failed = stratum.rows.iter().any(|row| row.outcome == "failure" && row.count != [0, 0]);
            let skipped = if failed { 0 } else { stratum.answers.len().saturating_sub(1) };
            for answer in stratum.answers.iter().skip(skipped) {
                if found.last().is_none_or(|last| last.sentence != answer.sentence) {
                    found.push(answer);
                }
            }
        }
        found
    }

    /// What both are called in a sentence: by their names, where these differ.
    #[must_use]
    pub fn sentence_names(&self) -> [&str; 2] {
        let [a, b] = &self.names;
        if a == b { COMPARED } else { [a, b] }
    }

    /// Whether anything was compared: a stratum has trials that count in both.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        self.strata.iter().any(|stratum| stratum.counted.iter().all(|trials| *trials > 0))
    }

    /// How the tests are to be read; empty where there is none.
    #[must_use]
    pub fn about_tests(&self) -> Vec<String> {
        let Some(Tests { rows, able, bound }) = self.tests else { return Vec::new() };
        let mut said = vec![match &self.trials {
            Some(_) if self.strata.iter().any(StratumComparison::is_unequal) => {
                "p of an extrapolated count is the score test of the pairs (Nam and Blackwelder): whether it is the same in both; \
                 p over all strata is McNemar's: whether an outcome is as frequent in both per upset"
                    .to_owned()
            }
            Some(_) => "p is McNemar's exact test of the pairs: whether an outcome is as frequent in both".to_owned(),
            None => "p of an extrapolated count is a score test of equal counts; p of a rate, only where both fault spaces \
                     have one size, is Fisher's exact test: there both ask the same"
                .to_owned(),
        }];
        if !self.sums.iter().all(|sum| sum.rows.is_empty()) {
            said.push(
                "p of a sum is 1 less the confidence at which the ratio's interval ends at 1".to_owned(),
            );
        }
        said.push(format!(
            "Of {rows} tests some fall below 5 % by chance. {able} of them have enough hits to mean anything among so many: by \
             Bonferroni's rule over these (Tarone) one means something below {}",
            percent(bound)
        ));
        said.push(format!(
            "Rows overlap and are not independent: {}",
            CLASSES.map(|class| format!("{} is {}", class.name(), class.members())).join("; ")
        ));
        said
    }
}

impl StratumComparison {
    /// Whether the fault spaces of both differ in size, so that rates compare nothing.
    #[must_use]
    pub fn is_unequal(&self) -> bool {
        self.population[0].total_cmp(&self.population[1]).is_ne()
    }
}

/// A verdict in words, about the failures of two campaigns by these names.
#[must_use]
pub fn verdict_text(verdict: &Verdict, outcome: &str, [a, b]: [&str; 2], confidence: Confidence) -> String {
    let Verdict { margin, finding, p, ratio } = verdict;
    let upper = margin.upper;
    let found = match (finding, margin.lower) {
        (Finding::Shown, Some(_)) => format!("{b} is equivalent to {a}"),
        (Finding::Refuted, Some(_)) => format!("{b} is not equivalent to {a}"),
        (Finding::Open, Some(_)) => format!("neither shown nor refuted that {b} is equivalent to {a}"),
        (Finding::Shown, None) => format!("{b} is not worse than {a}"),
        (Finding::Refuted, None) => format!("{b} is worse than {a}"),
        (Finding::Open, None) => format!("neither shown nor refuted that {b} is not worse than {a}"),
    };
    let asked = match margin.lower {
        Some(lower) => format!("a ratio of F from {lower:.2} to {upper:.2}"),
        None => format!("a ratio of F up to {upper:.2}"),
    };
    let level = 2.0 * confidence.level() - 1.0;
    let level = format!("{:.4}", level * 100.0);
    let level = level.trim_end_matches('0').trim_end_matches('.');
    format!(
        "{outcome}: {found} ({asked}): it is {} ({level} % interval), {}",
        ratio_text(ratio),
        p_text(Some(*p))
    )
}

/// Compares two campaigns.
///
/// # Errors
/// One of them cannot be read.
pub fn compare(a: &Side<'_>, b: &Side<'_>, options: &CompareOptions<'_>) -> Result<Comparison, StoreError> {
    let margin = options.margin;
    let per = options.per.unwrap_or(if options.mission.is_some() { Per::Year } else { Per::Run });
    let (trials, pairs) = paired::pairs(a, b)?.unzip();
    let asked = Asked { confidence: a.summary.confidence, margin };
    let strata = a.summary.strata.iter().enumerate().filter_map(|(index, one)| {
        let own = pairs.as_ref().and_then(|pairs| pairs.get(index));
        Some(stratum(one, b.summary.stratum(&one.name)?, own, &asked))
    });
    let strata: Vec<StratumComparison> = strata.collect();
    let alone = |here: &Summary, there: &Summary| {
        let names = here.strata.iter().filter(|stratum| there.stratum(&stratum.name).is_none());
        names.map(|stratum| stratum.name.clone()).collect()
    };
    let sums = sums::all([a.summary, b.summary], margin);
    let mut found = Comparison {
        format: FORMAT,
        names: [a.summary.name.clone(), b.summary.name.clone()],
        unfair: unfair(a, b),
        doubts: [a, b].into_iter().flat_map(lacks).collect(),
        notes: notes(a.summary, b.summary, options.mission.is_some()),
        per,
        field: options.mission.map(|mission| FieldComparison::new([a.summary, b.summary], mission)),
        differs: differs(a, b),
        tests: tests(&strata, &sums, trials.as_ref()),
        strata,
        alone: [alone(a.summary, b.summary), alone(b.summary, a.summary)],
        sums,
        trials,
    };
    let names = found.sentence_names().map(str::to_owned);
    let question = Question {
        per,
        names: [&names[0], &names[1]],
        confidence: a.summary.confidence,
        field: found.field.as_ref(),
    };
    for stratum in &mut found.strata {
        let StratumComparison { name, population, counted, rows, .. } = &*stratum;
        let of = Stratum { name, population: *population, counted: *counted, rows };
        stratum.answers = answers(&of, &question);
    }
    Ok(found)
}

/// How many times as long and as large B's fault spaces are, where they are not equal.
fn notes(a: &Summary, b: &Summary, in_field: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let times_as = |one: u64, other: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a ratio of two digits")]
        let ratio = other as f64 / one.max(1) as f64;
        let is_other = (ratio - 1.0).abs() >= 0.005;
        is_other.then(|| if ratio < 1.0 { format!("{ratio:.2}") } else { times(ratio) })
    };
    for one in &a.strata {
        let Some(other) = b.stratum(&one.name) else { continue };
        if let Some(ratio) = times_as(one.times, other.times) {
            let note = match one.when.is_time() {
                true => format!("B runs {ratio} times as long as A"),
                false => format!("{}: B has {ratio} times as many {} as A", one.name, one.when.unit()),
            };
            if !found.contains(&note) {
                found.push(note);
            }
        }
        if let Some(ratio) = times_as(one.faults, other.faults) {
            found.push(format!("{}: B has {ratio} times as many places to be hit as A", one.name));
        }
    }
    if let Some(first) = found.first_mut() {
        first.push_str(": rates are per upset, counts per run");
    }
    let is_known = |summary: &Summary| summary.strata.iter().any(|stratum| stratum.known_part().is_some());
    if in_field && (is_known(a) || is_known(b)) {
        found.push(
            "per year what is known without a trial counts as well (live); per upset and per run trials alone do".to_owned(),
        );
    }
    found
}

/// What is asked of every row.
struct Asked {
    confidence: Confidence,
    margin: Option<Margin>,
}

/// Every row with a p is one test; a sum or the pairs of all strata could always have a small one.
fn tests(
    strata: &[StratumComparison],
    sums: &[SumComparison],
    trials: Option<&TrialComparison>,
) -> Option<Tests> {
    let rows = strata.iter().flat_map(|stratum| &stratum.rows).filter_map(|row| row.smallest);
    let whole = trials.iter().flat_map(|trials| &trials.whole);
    let whole = whole.map(|total| smallest_of_pairs(total.pairs, 1.0));
    let smallest: Vec<f64> =
        rows.chain(whole).chain(sums.iter().flat_map(|sum| &sum.rows).map(|_| 0.0)).collect();
    let (able, bound) = bonferroni(&smallest, LEVEL);
    (!smallest.is_empty()).then_some(Tests { rows: smallest.len(), able, bound })
}

fn stratum(
    a: &StratumSummary,
    b: &StratumSummary,
    pairs: Option<&paired::StratumPairs>,
    asked: &Asked,
) -> StratumComparison {
    let sides = [a, b].map(|stratum| {
        let size = SpaceSize(u128::from(stratum.faults) * u128::from(stratum.times));
        (stratum.counted, size)
    });
    let of = |name: &str| pairs?.iter().find(|(other, _)| *other == name).map(|(_, pairs)| *pairs);
    let paired = |name| PairedRow::new(of(name)?, asked.confidence);
    let classes = CLASSES.into_iter().filter_map(|class| {
        Some(row(class.name(), [a.class(class)?, b.class(class)?], sides, paired(class.name()), asked))
    });
    let outcomes = a.outcomes.iter().filter_map(|entry| {
        let (name, other) = (entry.outcome.name(), b.outcome(entry.outcome)?);
        Some(row(name, [entry, other], sides, paired(name), asked))
    });
    // What is exceptional comes first, as in all tables.
    let mut outcomes: Vec<ComparisonRow> = outcomes.collect();
    outcomes.reverse();
    StratumComparison {
        name: a.name.clone(),
        population: [a.population, b.population],
        counted: [a.counted, b.counted],
        pairs: pairs.and_then(|pairs| pairs.first()).map(|(_, pairs)| pairs.all()),
        rows: classes.chain(outcomes).collect(),
        answers: Vec::new(),
    }
}

fn row<O>(
    outcome: &'static str,
    [a, b]: [&OutcomeCount<O>; 2],
    sides: [(u64, SpaceSize); 2],
    paired: Option<PairedRow>,
    asked: &Asked,
) -> ComparisonRow {
    let [(trials, size), (others, other_size)] = sides;
    let each = [Observed::new(a.count, trials).ok(), Observed::new(b.count, others).ok()];
    let observed = both(each);
    // Tests are of the counts, and so is all that stands beside them: nothing that is known without a trial is in it.
    let plain = |side: usize, size| Some(Rate::new(each[side]?, asked.confidence, Some(size)));
    let plain = [plain(0, size), plain(1, other_size)];
    // Differences and ratios are made of Wilson's intervals.
    let of_difference =
        plain.map(|rate| rate.map(|rate| Estimate { value: rate.value, interval: rate.wilson }));
    let of_ratio = plain.map(|rate| rate.and_then(|rate| rate.failures));
    // The exact interval, or the bound of what never came.
    let rates = plain.map(|rate| rate.map(|rate| rate.estimate(Method::default())));
    let failures = [rates[0].map(|rate| rate.failures(size)), rates[1].map(|rate| rate.failures(other_size))];
    // Equal F is this ratio of the rates.
    let equal = size.float() / other_size.float();
    let independent = observed.filter(|_| paired.is_none());
    let p_of = |(a, b)| ratio_p(a, b, equal, Against::Both);
    let smallest = match paired {
        Some(PairedRow { pairs, .. }) => Some(smallest_of_pairs(pairs, equal)),
        None => observed.map(|(a, b)| {
            // As many hits, all of them in one as far as they fit.
            let hits = a.hits() + b.hits();
            let splits = [hits.min(a.trials()), hits - hits.min(b.trials())];
            let split = |first| {
                Some((Observed::new(first, a.trials()).ok()?, Observed::new(hits - first, b.trials()).ok()?))
            };
            splits.into_iter().filter_map(split).map(p_of).fold(1.0, f64::min)
        }),
    };
    // Of pairs it is that of the rates.
    let ratio = match paired {
        Some(PairedRow { ratio, .. }) => Some(ratio.scaled(1.0 / equal)),
        None => both(of_ratio).map(|(a, b)| ratio(b, a)),
    };
    ComparisonRow {
        outcome,
        count: [a.count, b.count],
        failures,
        ratio,
        ratio_of_rates: ratio.map(|ratio| ratio.scaled(equal)),
        rate: rates,
        difference: both(of_difference).map(|(a, b)| difference(b, a)),
        p: independent.filter(|_| size == other_size).map(|(a, b)| fisher(a, b)),
        p_failures: match paired {
            Some(PairedRow { pairs, .. }) => (size != other_size).then(|| pairs.ratio_p(equal)),
            None => independent.map(p_of),
        },
        paired,
        verdict: observed
            .and_then(|(a, b)| Some(asked.margin?.verdict([(a, size), (b, other_size)], asked.confidence))),
        smallest,
    }
}

/// The smallest p where as many pairs differ, in a test of the second rate being so many times the first.
fn smallest_of_pairs(pairs: Pairs, equal: f64) -> f64 {
    let differ = pairs.first + pairs.second;
    let of = |first, second| Pairs { first, second, ..pairs }.ratio_p(equal);
    of(differ, 0).min(of(0, differ))
}

fn both<T: Copy>(two: [Option<T>; 2]) -> Option<(T, T)> {
    two[0].zip(two[1])
}

#[cfg(test)]
mod tests;
