//! The one pass over the results.
//!
//! Invariant: what is held grows by a byte a result, some bytes a failure, and by what is different of names; lives are kept up
//! to [`LIVES`], and costs as [`Gathered`] has it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::campaign::known as settled;
use crate::campaign::plan::Stratum;
use crate::campaign::spec::StratumSpec;
use crate::campaign::store::error::StoreError;
use crate::campaign::store::open::Store;
use crate::campaign::store::read::{Counts, ResultRow};
use crate::campaign::store::stages::stages_text;
use crate::campaign::summary::activations::Activations;
use crate::campaign::summary::basis::{Basis, KnownPart, Together, counted_outcomes};
use crate::campaign::summary::by::By;
use crate::campaign::summary::corrected::Corrections;
use crate::campaign::summary::costs::Gathered;
use crate::campaign::summary::coverage::Reported;
use crate::campaign::summary::discovery::{Discovery, discoveries};
use crate::campaign::summary::grown;
use crate::campaign::summary::hang::Late;
use crate::campaign::summary::idle::{Known, warning_of};
use crate::campaign::summary::missing::Missing;
use crate::campaign::summary::model::{
    Breakdown, BreakdownRest, BreakdownRow, Breakdowns, CompetingEnd, FORMAT, StratumSummary, Summary,
    SummaryOptions, Totals, bits_of, kind_of, of_class, pattern_text, space_of,
};
use crate::campaign::summary::pool::pooled;
use crate::campaign::summary::reached::ReachedSummary;
use crate::campaign::summary::times::{Times, survival, times};
use crate::campaign::summary::unchanged::Unchanging;
use crate::campaign::summary::warning::Warning;
use crate::campaign::summary::wrong::Wrongs;
use crate::stats::Observed;
use crate::stats::incidence::thinned;
use crate::stats::sample::convergence;
use crate::stats::tally::{Method, OutcomeCount, Rate, Tally};
use crate::stats::turnbull::Lapse;
use crate::trial::{Class, Outcome};
use crate::units::{Timing, VirtualNs};

/// Survival is of so many trials of a stratum at most, the first by their numbers, which are in random order.
const LIVES: usize = 2_000_000;

/// Points of a convergence curve in a power of ten of trials.
const PER_DECADE: u32 = 30;

/// What is gathered of one stratum.
struct Part {
    /// By the keys of [`By::ALL`], in their order.
    by: [Tally<Option<String>, Outcome>; By::ALL.len()],
    failed: Vec<bool>,
    lives: Vec<(VirtualNs, CompetingEnd)>,
    crashes_after_end: u64,
    reported: Reported,
    detection: Vec<Lapse>,
    crash: Vec<Lapse>,
    late: Late,
    /// Results that are in nothing of this.
    waiting: u64,
    wrong: Wrongs,
    activations: Activations,
    corrections: Corrections,
    reached: ReachedSummary,
    unchanging: Unchanging,
    /// The outcomes of trials in the live part of the space.
    live: BTreeMap<Outcome, u64>,
    /// How many of them were run without asking what is known of them, so that they may be others.
    not_asked: u64,
}

impl Part {
    fn new() -> Self {
        Part {
            by: std::array::from_fn(|_| Tally::of([])),
            failed: Vec::new(),
            lives: Vec::new(),
            crashes_after_end: 0,
            reported: Reported::default(),
            detection: Vec::new(),
            crash: Vec::new(),
            waiting: 0,
            late: Late::default(),
            wrong: Wrongs::default(),
            activations: Activations::default(),
            corrections: Corrections::default(),
            reached: ReachedSummary::default(),
            unchanging: Unchanging::default(),
            live: BTreeMap::new(),
            not_asked: 0,
        }
    }

    /// Takes in a trial that counts.
    fn add(&mut self, row: &ResultRow, outcome: Outcome, golden: &Known, short: bool) {
        if row.way.is_some_and(|way| way.is_live()) {
            *self.live.entry(outcome).or_default() += 1;
            self.not_asked += u64::from(row.way.is_some_and(|way| !way.looked_up));
        }
        let moment = golden.moment(row.trial.plan.after);
        self.by[By::Moment as usize].add(&moment.map(str::to_owned), outcome);
        if !short {
            self.add_names(row, outcome);
            self.failed.push(Class::Failure.has(outcome));
        }
        self.reported.add(row, outcome);
        self.unchanging.add(row.changed, outcome);
        if row.changed != Some(false) {
            self.activations.add(row, outcome, golden.looks.as_ref());
        }
        self.corrections.add(row, outcome, &golden.counts);
        self.reached.add(row.reached, outcome);
        let Some(times) = Times::of(row, outcome, golden.looks.as_ref()) else { return };
        self.detection.extend(times.detected);
        self.crash.extend(times.crashed);
        if let Some(run) = golden.hang.as_ref().filter(|_| !short) {
            self.late.add(row, outcome, times.over, run);
        }
        if !short && self.lives.len() < LIVES {
            self.lives.push(times.life);
            self.crashes_after_end += u64::from(times.after_end);
        }
    }

    /// Takes in what a trial that counts has struck.
    fn add_names(&mut self, row: &ResultRow, outcome: Outcome) {
        self.by[By::Subsystem as usize].add(&row.subsystem.clone(), outcome);
        // It is not known which of several did it; the title is the trial's.
        if !row.trial.plan.more.is_empty() {
            return self.by[By::Title as usize].add(&row.title.clone(), outcome);
        }
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
        (stratum, spec): (&Stratum, &StratumSpec),
        store: &Store,
        golden: &Known,
        counts: &Counts,
        known: Option<&settled::Known>,
        options: &SummaryOptions,
    ) -> StratumSummary {
        let (space, counted, confidence) = (space_of(stratum), counts.counted(), options.confidence);
        let lost = counts.of(Outcome::Infra) + counts.not_flipped;
        let known = known.and_then(|known| KnownPart::new(known, self.live, [counted, lost], self.not_asked));
        let ecc = !store.spec().ecc_of(spec).is_none();
        let basis = Basis::new(&counts.outcomes, known.as_ref(), space, confidence).behind(ecc);
        let class = |class: Class| OutcomeCount {
            outcome: class,
            count: of_class(&counts.outcomes, class),
            rate: basis.rate(&|outcome| class.has(outcome)),
        };
        let outcome = |outcome: Outcome| OutcomeCount {
            outcome,
            count: counts.of(outcome),
            rate: basis.rate(&|one| one == outcome),
        };
        let outcomes: Vec<_> = counted_outcomes(ecc).map(outcome).collect();
        let mut tables =
            By::ALL.into_iter().zip(self.by).map(|(by, tally)| breakdown(by, &tally, &basis, options));
        let mut next = || tables.next().unwrap_or_default();
        let by = Breakdowns {
            bit: next(),
            register: next(),
            region: next(),
            symbol: next(),
            title: next(),
            moment: next(),
            subsystem: next(),
        };
        let classes: Vec<_> = Class::ALL.map(class).into();
        let hang = golden.hang.as_ref().filter(|_| !options.short && counted > 0);
        let hung = [counts.of(Outcome::Hang), of_class(&counts.outcomes, Class::Failure)];
        let hang_limits = hang.and_then(|run| self.late.finish(run, hung, &basis));
        let together = basis.simultaneous().into_iter();
        StratumSummary {
            name: stratum.name.clone(),
            targets: stratum.targets.clone(),
            kind: kind_of(spec),
            pattern: pattern_text(store.spec(), spec),
            faults: stratum.faults,
            times: stratum.times,
            when: store.spec().when_of(spec),
            population: space.float(),
            bits: bits_of(store.spec(), spec, stratum.faults),
            planned: stratum.trials,
            done: counts.done() + self.waiting,
            waiting: self.waiting,
            counted,
            infra: counts.of(Outcome::Infra),
            not_flipped: counts.not_flipped,
            ways: counts.ways,
            missing: Missing::of_stratum(&basis, lost),
            simultaneous: together.map(|(outcome, interval)| Together { outcome, interval }).collect(),
            coverage: self.reported.finish(|outcome| counts.of(outcome), &basis),
            outcomes,
            classes,
            margin: basis.margin(),
            needed: basis.trials_for(0.01),
            by,
            survival: survival(self.lives, self.crashes_after_end, options),
            hang_limits,
            detection: times(&self.detection, counted, confidence),
            crash: times(&self.crash, counted, confidence),
            sdc: self.wrong.finish(&store.spec().grades, &basis),
            activation: self.activations.finish(confidence),
            corrected: self.corrections.finish(&golden.counts, &basis),
            reached: self.reached.finish(),
            unchanged: self.unchanging.finish(confidence),
            convergence: thinned(convergence(self.failed, confidence, PER_DECADE), options.points),
            known,
        }
    }
}

pub(super) fn summarise(store: &Store, options: &SummaryOptions) -> Result<Summary, StoreError> {
    let golden = store.golden()?;
    let known = Known::of(golden.as_ref(), store.spec().trial.hang_factor);
    let idle = known.idle_time(&store.spec().times);
    let lost = store.lost()?;
    let parts_known = store.known_parts()?;
    let mut parts: Vec<Part> = store.strata().iter().map(|_| Part::new()).collect();
    let mut counts: Vec<Counts> = vec![Counts::default(); parts.len()];
    let mut costs = Gathered::default();
    let mut totals = Totals { planned: store.len(), lost, ..Totals::default() };
    let mut recorded: Option<(i64, i64)> = None;
    let mut begin = None;
    // What is recorded from here on waits.
    let whole = store.whole_batches()?;
    // All that is counted is of these rows, so that it adds up while others are recorded.
    for row in store.results() {
        let row = row?;
        let index = row.trial.stratum as usize;
        let (Some(part), Some(own)) = (parts.get_mut(index), counts.get_mut(index)) else { continue };
        let (first, last) = recorded.unwrap_or((row.recorded_ms, row.recorded_ms));
        recorded = Some((first.min(row.recorded_ms), last.max(row.recorded_ms)));
        if let Some(own) = &row.costs {
            costs.add(own, row.recorded_ms);
        }
        if let Some(way) = &row.way {
            own.ways.add(way);
            totals.ways.add(way);
        }
        totals.output_only += u64::from(row.output_only == Some(true));
        if let Some(flip) = row.flip_ns {
            // All trials begin at one quiescent point.
            let from = flip.wrapping_sub(row.trial.plan.after.0);
            let exact = *begin.get_or_insert(from) == from && totals.timing != Some(Timing::Approximate);
            totals.timing = Some(if exact { Timing::Exact } else { Timing::Approximate });
        }
        totals.done += 1;
        match row.outcome {
            None => totals.not_flipped += 1,
            Some(Outcome::Infra) => totals.infra += 1,
            Some(outcome) => *totals.outcomes.entry(outcome).or_default() += 1,
        }
        match row.outcome {
            _ if !whole.has(row.trial.id) => part.waiting += 1,
            None => own.not_flipped += 1,
            Some(outcome) => {
                *own.outcomes.entry(outcome).or_default() += 1;
                if outcome.is_counted() {
                    part.add(&row, outcome, &known, options.short);
                    if outcome == Outcome::Sdc && !options.short {
                        part.wrong.add(store, golden.as_ref(), row.trial.id)?;
                    }
                }
            }
        }
    }
    totals.counted = counts.iter().map(Counts::counted).sum();
    totals.waiting = parts.iter().map(|part| part.waiting).sum();
    if golden.as_ref().is_some_and(|golden| golden.capabilities.timing() == Timing::Approximate) {
        totals.timing = totals.timing.map(|_| Timing::Approximate);
    }
    totals.pending = totals.planned.saturating_sub(totals.done);
    if totals.pending == 0 && totals.waiting > 0 {
        // The last trials were recorded meanwhile.
        return summarise(store, options);
    }
    let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
    totals.first = recorded.and_then(|(first, _)| time(first));
    totals.last = recorded.and_then(|(_, last)| time(last));

    let whole = store.strata().iter().zip(&store.spec().strata).zip(parts.into_iter().zip(&counts));
    let mut strata: Vec<StratumSummary> = whole
        .map(|((stratum, spec), (part, counts))| {
            let of = parts_known.as_ref().and_then(|parts| parts.strata.get(&stratum.name)?.as_ref());
            part.finish((stratum, spec), store, &known, counts, of, options)
        })
        .collect();
    let mut pooled = pooled(store, &strata, options.confidence);
    let stages = store.stage_statuses();
    if stages.len() > 1 {
        grown::mark(store.strata(), &mut strata, &mut pooled, options.confidence);
    }
    let difference = golden.and_then(|golden| match golden.capabilities.mark {
        true => golden.difference.map(|difference| format!("golden runs differ ({difference})")),
        false => golden.difference,
    });
    let mut warnings = warnings(&totals, &strata, difference);
    warnings.extend(idle.as_ref().and_then(|idle| warning_of(idle, &strata)));
    if let Some(stages) = stages_text(&stages) {
        warnings.push(Warning::Grown { stages });
    }
    // Without any rate yet, nothing is said of those over several strata.
    let has_rates = totals.counted > 0 || totals.pending == 0;
    warnings.extend(pooled.iter().filter(|_| has_rates).filter_map(|pooled| {
        let why = pooled.why_not.clone()?;
        Some(Warning::NotPooled { strata: pooled.strata.clone(), why })
    }));
    Ok(Summary {
        format: FORMAT,
        name: store.spec().name.clone(),
        plan: store.plan_digest().to_owned(),
        golden_runs: 1,
        confidence: options.confidence,
        stages,
        strata,
        pooled,
        idle,
        audit: totals.ways.audit(options.confidence),
        totals,
        costs: costs.finish(),
        warnings,
    })
}

fn warnings(totals: &Totals, strata: &[StratumSummary], difference: Option<String>) -> Vec<Warning> {
    let Totals { planned, done, pending, waiting, counted, infra, not_flipped, output_only, .. } = *totals;
    let mut found = Vec::new();
    if pending > 0 {
        found.push(Warning::Unfinished { pending, planned, waiting, rates: counted > 0 });
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
            if counted > 0 || pending == 0 {
                found.push(Warning::NoTrials { stratum: name });
            }
            continue;
        };
        if let Some(known) = stratum.known.as_ref().filter(|known| !known.used) {
            let (live, share) = (known.live_trials, known.live);
            found.push(Warning::NotLookedUp { stratum: name.clone(), live, counted: stratum.counted, share });
        }
        found.extend(stratum.coverage.as_ref().and_then(|coverage| coverage.warning(&name)));
        let needed = stratum.needed;
        if stratum.counted < needed {
            let rate = stratum.class(Class::Failure).and_then(|entry| entry.rate);
            let relative = rate.filter(|rate| rate.value > 0.0).map(|rate| {
                let interval = rate.estimate(Method::default()).interval;
                (interval.upper - interval.lower) / 2.0 / rate.value
            });
            let (counted, known) = (stratum.counted, stratum.known_part().is_some());
            found.push(Warning::TooFew { stratum: name, counted, margin, needed, relative, known });
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
    basis: &Basis<'_>,
    options: &SummaryOptions,
) -> Breakdown {
    let lines = tally.counts().map(|(key, outcomes)| {
        let (trials, failures) = (outcomes.values().sum(), of_class(outcomes, Class::Failure));
        Line { key, outcomes, trials, failures, discovery: None }
    });
    let mut lines: Vec<Line<'_>> = lines.collect();
    if !by.follows() {
        let counts: Vec<(u64, u64)> = lines.iter().map(|line| (line.failures, line.trials)).collect();
        for (line, discovery) in lines.iter_mut().zip(discoveries(&counts)) {
            line.discovery = discovery;
        }
    }
    // What has no name is shown beside those that are left out, and never among them.
    let (nameless, mut lines): (Vec<Line<'_>>, Vec<Line<'_>>) =
        lines.into_iter().partition(|line| line.key.is_none());
    let shown = match by {
        By::Bit | By::Register | By::Moment => {
            lines.sort_by_key(|line| natural(line.key.as_deref().unwrap_or_default()));
            lines.len()
        }
        By::Region | By::Symbol | By::Title | By::Subsystem => {
            lines.sort_by_key(|line| (Reverse(line.failures), Reverse(line.trials), line.key));
            if matches!(by, By::Region | By::Subsystem) { lines.len() } else { options.top.min(lines.len()) }
        }
    };
    let rest = lines.split_off(shown);
    let rows = lines.into_iter().chain(nameless).filter_map(|line| {
        let failure = match by {
            _ if by.follows() => basis.without_size().live_rate(line.failures)?,
            _ => Rate::new(Observed::new(line.failures, line.trials).ok()?, options.confidence, None),
        };
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

impl Summary {
    /// Summarises the results that a store has now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(store: &Store, options: &SummaryOptions) -> Result<Summary, StoreError> {
        summarise(store, options)
    }
}
