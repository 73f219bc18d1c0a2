//! The one pass over the results.
//!
//! Invariant: what is held grows by some bytes a result, and by what is different of names.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::campaign::plan::Stratum;
use crate::campaign::spec::StratumSpec;
use crate::campaign::store::error::StoreError;
use crate::campaign::store::open::Store;
use crate::campaign::store::read::{Counts, ResultRow};
use crate::campaign::summary::costs::Gathered;
use crate::campaign::summary::discovery::{Discovery, discoveries};
use crate::campaign::summary::model::{
    Breakdown, BreakdownRest, BreakdownRow, Breakdowns, By, FORMAT, StratumSummary, Summary, SummaryOptions,
    SurvivalCurve, TimeQuantile, TimeSummary, Totals, is_single_bit, kind_of, of_class, pattern_text,
    space_of,
};
use crate::campaign::summary::pool::pooled;
use crate::campaign::summary::warning::Warning;
use crate::stats::quantile::Sorted;
use crate::stats::sample::{convergence, margin_of, trials_for_margin};
use crate::stats::survival::{Lifetime, Survival};
use crate::stats::tally::{OutcomeCount, Rate, Tally};
use crate::stats::{Confidence, Observed, Share};
use crate::trial::golden::Golden;
use crate::trial::{Class, Outcome};
use crate::units::{Timing, VirtualNs};

/// Points of a convergence curve in a power of ten of trials.
const PER_DECADE: u32 = 30;

/// What is gathered of one stratum.
struct Part {
    /// By the keys of [`By::ALL`].
    by: [Tally<Option<String>, Outcome>; 5],
    failed: Vec<bool>,
    lifetimes: Vec<Lifetime>,
    hangs: u64,
    detection: Vec<VirtualNs>,
    crash: Vec<VirtualNs>,
}

impl Part {
    fn new() -> Self {
        Part {
            by: std::array::from_fn(|_| Tally::of([])),
            failed: Vec::new(),
            lifetimes: Vec::new(),
            hangs: 0,
            detection: Vec::new(),
            crash: Vec::new(),
        }
    }

    /// Takes in a trial that counts; `golden_end` is the end of the golden run, where it is known.
    fn add(&mut self, row: &ResultRow, outcome: Outcome, golden_end: Option<u64>, short: bool) {
        if !short {
            self.add_names(row, outcome);
            self.failed.push(Class::Failure.has(outcome));
        }
        self.hangs += u64::from(outcome == Outcome::Hang);
        let Some((flip, end)) = row.flip_ns.zip(row.end_ns) else { return };
        let since = |time: u64| VirtualNs(time.saturating_sub(flip));
        if let Some(detected) = row.detected_ns {
            self.detection.push(since(detected));
        }
        let lifetime = match outcome {
            Outcome::Crash => {
                // A guest that crashed and was not stopped by that was seen to have at a checkpoint.
                let at = since(if row.end.is_some() { end } else { row.detected_ns.unwrap_or(end) });
                self.crash.push(at);
                Lifetime::Failed(at)
            }
            // Its state was the golden run's, and so is its future.
            _ if row.converged_ns.is_some() => Lifetime::Censored(since(golden_end.unwrap_or(end).max(end))),
            _ => Lifetime::Censored(since(end)),
        };
        if !short {
            self.lifetimes.push(lifetime);
        }
    }

    /// Takes in what a trial that counts has struck.
    fn add_names(&mut self, row: &ResultRow, outcome: Outcome) {
        let bit = row.trial.plan.fault.single_bit().map(|bit| bit.0.to_string());
        let symbol =
            row.symbol.as_deref().map(|symbol| symbol.split_once('+').map_or(symbol, |(name, _)| name));
        let keys = [
            bit.as_deref(),
            row.trial.plan.fault.register(),
            row.region.as_deref(),
            symbol,
            row.title.as_deref(),
        ];
        for (tally, key) in self.by.iter_mut().zip(keys) {
            tally.add(&key.map(str::to_owned), outcome);
        }
    }

    fn finish(
        self,
        stratum: &Stratum,
        spec: &StratumSpec,
        store: &Store,
        counts: &Counts,
        outcomes: Vec<OutcomeCount<Outcome>>,
        options: &SummaryOptions,
    ) -> StratumSummary {
        let (space, counted, confidence) = (space_of(stratum), counts.counted(), options.confidence);
        let class = |class: Class| {
            let count = of_class(&counts.outcomes, class);
            let rate = Observed::new(count, counted).ok();
            let rate = rate.map(|observed| Rate::new(observed, confidence, Some(space)));
            OutcomeCount { outcome: class, count, rate }
        };
        let mut tables =
            By::ALL.into_iter().zip(self.by).map(|(by, tally)| breakdown(by, &tally, counted, options));
        let mut next = || tables.next().unwrap_or_default();
        let by = Breakdowns { bit: next(), register: next(), region: next(), symbol: next(), title: next() };
        StratumSummary {
            name: stratum.name.clone(),
            targets: stratum.targets.clone(),
            kind: kind_of(spec),
            pattern: pattern_text(store.spec(), spec),
            faults: stratum.faults,
            times: stratum.times,
            population: space.float(),
            bits: is_single_bit(store.spec().pattern_of(spec)).then_some(stratum.faults),
            planned: stratum.trials,
            done: counts.done(),
            counted,
            infra: counts.of(Outcome::Infra),
            not_flipped: counts.not_flipped,
            outcomes,
            classes: Class::ALL.map(class).into(),
            margin: margin_of(counted, confidence, Share::HALF, Some(space)),
            by,
            survival: survival(self.lifetimes, self.hangs, self.crash.len() as u64, options),
            detection: times(self.detection, counted, confidence),
            crash: times(self.crash, counted, confidence),
            convergence: thinned(convergence(self.failed, confidence, PER_DECADE), options.points),
        }
    }
}

pub(super) fn summarise(store: &Store, options: &SummaryOptions) -> Result<Summary, StoreError> {
    let golden = store.attachment("golden")?.and_then(|json| serde_json::from_slice::<Golden>(&json).ok());
    let golden_end = golden.as_ref().map(|golden| golden.end().0);
    let lost = store.lost()?;
    let mut tally: Tally<String, Outcome> =
        Tally::of(Outcome::ALL).excluding(Outcome::ALL.into_iter().filter(|outcome| !outcome.is_counted()));
    let mut parts: Vec<Part> = store.strata().iter().map(|_| Part::new()).collect();
    let mut counts: Vec<Counts> = vec![Counts::default(); parts.len()];
    let mut costs = Gathered::default();
    let mut totals = Totals { planned: store.len(), lost, ..Totals::default() };
    let mut recorded: Option<(i64, i64)> = None;
    let mut begin = None;
    // All that is counted is of these rows, so that it adds up while others are recorded.
    for row in store.results() {
        let row = row?;
        let index = row.trial.stratum as usize;
        let (Some(part), Some(own), Some(stratum)) =
            (parts.get_mut(index), counts.get_mut(index), store.strata().get(index))
        else {
            continue;
        };
        let (first, last) = recorded.unwrap_or((row.recorded_ms, row.recorded_ms));
        recorded = Some((first.min(row.recorded_ms), last.max(row.recorded_ms)));
        if let Some(own) = &row.costs {
            costs.add(own, row.recorded_ms);
        }
        totals.output_only += u64::from(row.output_only == Some(true));
        if let Some(flip) = row.flip_ns {
            // All trials begin at one quiescent point.
            let from = flip.wrapping_sub(row.trial.plan.after.0);
            let exact = *begin.get_or_insert(from) == from && totals.timing != Some(Timing::Approximate);
            totals.timing = Some(if exact { Timing::Exact } else { Timing::Approximate });
        }
        match row.outcome {
            None => own.not_flipped += 1,
            Some(outcome) => {
                *own.outcomes.entry(outcome).or_default() += 1;
                tally.add(stratum.name.as_str(), outcome);
                if outcome.is_counted() {
                    part.add(&row, outcome, golden_end, options.short);
                }
            }
        }
    }
    for own in &counts {
        totals.done += own.done();
        totals.counted += own.counted();
        totals.infra += own.of(Outcome::Infra);
        totals.not_flipped += own.not_flipped;
        for (outcome, count) in own.outcomes.iter().filter(|(outcome, _)| outcome.is_counted()) {
            *totals.outcomes.entry(*outcome).or_default() += count;
        }
    }
    if golden.as_ref().is_some_and(|golden| golden.capabilities.timing() == Timing::Approximate) {
        totals.timing = totals.timing.map(|_| Timing::Approximate);
    }
    totals.pending = totals.planned.saturating_sub(totals.done);
    let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
    totals.first = recorded.and_then(|(first, _)| time(first));
    totals.last = recorded.and_then(|(_, last)| time(last));

    let size = |name: &String| store.strata().iter().find(|stratum| stratum.name == *name).map(space_of);
    let mut rows: BTreeMap<String, Vec<OutcomeCount<Outcome>>> = tally
        .rows(options.confidence, size)
        .map(|row| {
            let counted = row.outcomes.into_iter().filter(|entry| entry.outcome.is_counted());
            (row.key.clone(), counted.collect())
        })
        .collect();
    let empty = || {
        let counted = Outcome::ALL.into_iter().filter(|outcome| outcome.is_counted());
        counted.map(|outcome| OutcomeCount { outcome, count: 0, rate: None }).collect()
    };
    let whole = store.strata().iter().zip(&store.spec().strata).zip(parts.into_iter().zip(&counts));
    let strata: Vec<StratumSummary> = whole
        .map(|((stratum, spec), (part, counts))| {
            let outcomes = rows.remove(&stratum.name).unwrap_or_else(empty);
            part.finish(stratum, spec, store, counts, outcomes, options)
        })
        .collect();
    let pooled = pooled(store, &strata, &tally, options.confidence);
    let difference = golden.and_then(|golden| match golden.capabilities.is_all() {
        true => golden.difference.map(|difference| format!("golden runs differ ({difference})")),
        false => golden.difference,
    });
    let mut warnings = warnings(&totals, &strata, difference, options);
    warnings.extend(pooled.iter().filter_map(|pooled| {
        let why = pooled.why_not.clone()?;
        Some(Warning::NotPooled { strata: pooled.strata.clone(), why })
    }));
    Ok(Summary {
        format: FORMAT,
        name: store.spec().name.clone(),
        plan: store.plan_digest().to_owned(),
        confidence: options.confidence,
        totals,
        strata,
        pooled,
        costs: costs.finish(),
        warnings,
    })
}

fn warnings(
    totals: &Totals,
    strata: &[StratumSummary],
    difference: Option<String>,
    options: &SummaryOptions,
) -> Vec<Warning> {
    let Totals { planned, done, pending, infra, not_flipped, output_only, .. } = *totals;
    let mut found = Vec::new();
    if pending > 0 {
        found.push(Warning::Unfinished { pending, planned });
    }
    if infra > 0 {
        found.push(Warning::Infra { infra, done });
    }
    if not_flipped > 0 {
        found.push(Warning::NotFlipped { not_flipped, done });
    }
    if output_only > 0 {
        found.push(Warning::OutputOnly { trials: output_only, difference });
    }
    if totals.timing == Some(Timing::Approximate) {
        found.push(Warning::ApproximateTiming);
    }
    for stratum in strata {
        let name = stratum.name.clone();
        let Some(margin) = stratum.margin else {
            found.push(Warning::NoTrials { stratum: name });
            continue;
        };
        let percent = Share::new(0.01).ok();
        let needed = percent.and_then(|percent| {
            let space = Some(crate::stats::SpaceSize(u128::from(stratum.faults) * u128::from(stratum.times)));
            trials_for_margin(percent, options.confidence, Share::HALF, space).ok()
        });
        if let Some(needed) = needed
            && stratum.counted < needed
        {
            found.push(Warning::TooFew { stratum: name, counted: stratum.counted, margin, needed });
        }
    }
    found
}

/// A row of a breakdown before its rate is known.
struct Line<'a> {
    key: &'a Option<String>,
    outcomes: &'a BTreeMap<Outcome, u64>,
    trials: u64,
    failures: u64,
    discovery: Option<Discovery>,
}

fn breakdown(
    by: By,
    tally: &Tally<Option<String>, Outcome>,
    counted: u64,
    options: &SummaryOptions,
) -> Breakdown {
    let lines = tally.counts().map(|(key, outcomes)| {
        let (trials, failures) = (outcomes.values().sum(), of_class(outcomes, Class::Failure));
        Line { key, outcomes, trials, failures, discovery: None }
    });
    let mut lines: Vec<Line<'_>> = lines.collect();
    // A title follows from the outcome.
    if by != By::Title {
        let counts: Vec<(u64, u64)> = lines.iter().map(|line| (line.failures, line.trials)).collect();
        for (line, discovery) in lines.iter_mut().zip(discoveries(&counts)) {
            line.discovery = discovery;
        }
    }
    // What has no name is shown beside those that are left out, and never among them.
    let (nameless, mut lines): (Vec<Line<'_>>, Vec<Line<'_>>) =
        lines.into_iter().partition(|line| line.key.is_none());
    let shown = match by {
        By::Bit | By::Register => {
            lines.sort_by_key(|line| natural(line.key.as_deref().unwrap_or_default()));
            lines.len()
        }
        By::Region | By::Symbol | By::Title => {
            lines.sort_by_key(|line| (Reverse(line.failures), Reverse(line.trials), line.key));
            if by == By::Region { lines.len() } else { options.top.min(lines.len()) }
        }
    };
    let rest = lines.split_off(shown);
    let rows = lines.into_iter().chain(nameless).filter_map(|line| {
        let of = if by == By::Title { counted } else { line.trials };
        let failure = Rate::new(Observed::new(line.failures, of).ok()?, options.confidence, None);
        let Line { key, outcomes, trials, discovery, .. } = line;
        Some(BreakdownRow { key: key.clone(), trials, outcomes: outcomes.clone(), failure, discovery })
    });
    let rows = rows.collect();
    let mut left = BreakdownRest { keys: rest.len() as u64, trials: 0, outcomes: BTreeMap::new() };
    for line in rest {
        left.trials += line.trials;
        for (outcome, count) in line.outcomes {
            *left.outcomes.entry(*outcome).or_default() += count;
        }
    }
    Breakdown { rows, rest: (left.keys > 0).then_some(left) }
}

/// So that x2 comes before x10.
fn natural(name: &str) -> (&str, u64, &str) {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (word, name[word.len()..].parse().unwrap_or(0), name)
}

fn survival(
    lifetimes: Vec<Lifetime>,
    hangs: u64,
    crashes: u64,
    options: &SummaryOptions,
) -> Option<SurvivalCurve> {
    let curve = Survival::new(lifetimes, options.confidence)?;
    Some(SurvivalCurve {
        guests: curve.guests,
        crashes,
        hangs,
        last_seen: curve.last_seen,
        median: curve.median(),
        // Without a crash its interval would have no width.
        restricted_mean: curve.restricted_mean(curve.last_seen).filter(|_| crashes > 0),
        steps: thinned(curve.steps, options.points),
    })
}

fn times(values: Vec<VirtualNs>, of: u64, confidence: Confidence) -> Option<TimeSummary> {
    let sorted = Sorted::new(values);
    let (shortest, longest) = (*sorted.values().first()?, *sorted.values().last()?);
    let shares = [0.5, 0.9, 0.99].into_iter().filter_map(|share| Share::new(share).ok());
    let quantiles =
        shares.filter_map(|share| Some(TimeQuantile { share, time: sorted.quantile(share, confidence)? }));
    Some(TimeSummary {
        trials: sorted.values().len() as u64,
        of,
        shortest,
        longest,
        quantiles: quantiles.collect(),
    })
}

/// At most so many of them, evenly, with the last one.
fn thinned<T: Copy>(all: Vec<T>, most: usize) -> Vec<T> {
    let (len, most) = (all.len(), most.max(1));
    if len <= most {
        return all;
    }
    (1..=most).map(|number| all[number * len / most - 1]).collect()
}

impl Summary {
    /// Summarises the results that a store has now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(store: &Store, options: &SummaryOptions) -> Result<Summary, StoreError> {
        summarise(store, options)
    }
}
