//! What a summary holds.
//!
//! Invariant: the keys stay. A key may be added (then [`FORMAT`] rises); none is renamed or changes its unit.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::campaign::idle::IdleTime;
use crate::campaign::spec::{CampaignSpec, StratumSpec};
use crate::campaign::store::stages::StageStatus;
use crate::campaign::summary::activation::ActivationSummary;
use crate::campaign::summary::basis::{KnownPart, Together};
use crate::campaign::summary::by::By;

use crate::campaign::summary::corrected::CorrectedSummary;
use crate::campaign::summary::costs::CostSummary;
use crate::campaign::summary::coverage::Coverage;
use crate::campaign::summary::discovery::Discovery;
use crate::campaign::summary::hang::HangLimits;
use crate::campaign::summary::latency::TimeSummary;
use crate::campaign::summary::missing::Missing;
use crate::campaign::summary::reached::ReachedSummary;
use crate::campaign::summary::unchanged::Unchanged;
use crate::campaign::summary::warning::Warning;
use crate::campaign::summary::wrong::WrongSummary;
use crate::campaign::ways::{Audit, Ways};
use crate::campaign::when::When;
use crate::fault::{Count, Ecc, Operations, Pattern, format_pattern};
use crate::stats::incidence::IncidenceStep;
use crate::stats::sample::ConvergenceRow;
use crate::stats::survival::{SurvivalStep, TimeEstimate};
use crate::stats::tally::{OutcomeCount, Rate};
use crate::stats::{Confidence, Estimate, Interval, SpaceSize};
use crate::trial::{Class, Outcome};
use crate::units::{Timing, VirtualNs};

/// The version of the summary's keys.
pub const FORMAT: u32 = 3;

/// How a campaign is summarised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SummaryOptions {
    /// The confidence of all intervals.
    pub confidence: Confidence,
    /// How many rows a breakdown by symbol or title has; the others are added up in its `rest`.
    pub top: usize,
    /// How many points a curve has at most.
    pub points: usize,
    /// Without breakdowns, survival and convergence, which hold something of each name and result.
    pub short: bool,
}

impl Default for SummaryOptions {
    fn default() -> Self {
        SummaryOptions { confidence: Confidence::P95, top: 20, points: 200, short: false }
    }
}

/// What a stratum's faults strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpaceKind {
    /// Bits of RAM.
    Ram,
    /// Bits of registers.
    Registers,
}

impl fmt::Display for SpaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpaceKind::Ram => "RAM",
            SpaceKind::Registers => "registers",
        })
    }
}

/// What the results of a campaign say.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The version of these keys.
    pub format: u32,
    /// The campaign's name.
    pub name: String,
    /// The SHA-256 of its plan.
    pub plan: String,
    /// Of how many golden runs its trials are: of one. How much rates differ between runs is in no interval here.
    pub golden_runs: u64,
    /// The confidence of all intervals.
    pub confidence: Confidence,
    /// How many trials were drawn at first, and each time that it grew.
    pub stages: Vec<StageStatus>,
    /// The counts of the whole campaign.
    pub totals: Totals,
    /// One entry a stratum, in the order of the plan.
    pub strata: Vec<StratumSummary>,
    /// Rates over several strata of one kind of space and one pattern, weighted by their faults; empty
    /// where no kind has two.
    pub pooled: Vec<Pooled>,
    /// How much of the run the guest idles; `None` where that is not known.
    pub idle: Option<IdleTime>,
    /// What the trials that were run whole to check the others bound; `None` without one.
    pub audit: Option<Audit>,
    /// Where the time went; `None` before the first result.
    pub costs: Option<CostSummary>,
    /// What a reader of the numbers must know.
    pub warnings: Vec<Warning>,
}

/// How many trials there are of each sort.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Trials of the plan.
    pub planned: u64,
    /// Trials that have a result of any kind.
    pub done: u64,
    /// Trials that have none.
    pub pending: u64,
    /// Trials that rates are of: `done` without `waiting`, `infra` and `not_flipped`.
    pub counted: u64,
    /// Trials that have a result, and are in no rate until all of their batch have one; see
    /// [`StratumSummary::waiting`].
    pub waiting: u64,
    /// Trials that were given up: ours, not the guest's.
    pub infra: u64,
    /// Flips that did not take.
    pub not_flipped: u64,
    /// Attempts that the laboratory lost; most were begun again.
    pub lost: u64,
    /// Trials of which only the output was compared, as the golden runs were not equal.
    pub output_only: u64,
    /// By outcome, over all strata as they were drawn, without `infra`, with `waiting`. Counts and no rates: see `pooled`.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How much of the trials that have a record was run.
    pub ways: Ways,
    /// Whether every flip was at the planned virtual time; `None` without a flip.
    pub timing: Option<Timing>,
    /// When the first result was recorded.
    pub first: Option<Timestamp>,
    /// When the last one was.
    pub last: Option<Timestamp>,
}

/// The outcomes of the trials of a stratum.
#[derive(Clone, Debug, Serialize)]
pub struct StratumSummary {
    /// Its name.
    pub name: String,
    /// Where its faults strike, as in the specification.
    pub targets: String,
    /// What they strike.
    pub kind: SpaceKind,
    /// Which bits flip together, as in the specification; what else is done to them than a flip, and at which event.
    pub pattern: String,
    /// How many different faults it has.
    pub faults: u64,
    /// At how many different times each can strike.
    pub times: u64,
    /// Which these are.
    pub when: When,
    /// The fault space that rates are extrapolated to: faults × times, rounded to 53 bits.
    pub population: f64,
    /// How many bits are exposed; `None` where a fault is of several bits.
    pub bits: Option<u64>,
    /// Trials of the plan.
    pub planned: u64,
    /// Trials that have a result of any kind.
    pub done: u64,
    /// Trials that have a result, and are in nothing of what follows: they are the earliest of a batch of the plan that is
    /// not done, and no fair sample until it is.
    pub waiting: u64,
    /// Trials that rates are of.
    pub counted: u64,
    /// Trials that were given up.
    pub infra: u64,
    /// Flips that did not take.
    pub not_flipped: u64,
    /// How much of the trials that have a record was run.
    pub ways: Ways,
    /// What is known of it without a trial; `None` where nothing is.
    pub known: Option<KnownPart>,
    /// What the rates are at least and at most, whatever the missing trials would have been; `None` where none is.
    pub missing: Option<Missing>,
    /// One entry an outcome without `infra`, from the best to the worst; they add up to `counted`.
    pub outcomes: Vec<OutcomeCount<Outcome>>,
    /// One entry a class.
    pub classes: Vec<OutcomeCount<Class>>,
    /// Intervals of the outcomes that hold all at once, one entry an outcome; empty without a trial.
    pub simultaneous: Vec<Together>,
    /// How many of the failures were noticed; `None` without a trial.
    pub coverage: Option<Coverage>,
    /// Half the width of the widest (normal) interval that so many trials can have, as a share; `None`
    /// without a trial.
    pub margin: Option<f64>,
    /// How many trials it takes for a margin of 1 %.
    pub needed: u64,
    /// Its trials by what was struck.
    pub by: Breakdowns,
    /// How long guests lived; `None` without a trial.
    pub survival: Option<SurvivalCurve>,
    /// From the flip to the checkpoint at which the guest had reported something, of the trials in which
    /// it did, whatever their outcome.
    pub detection: Option<TimeSummary>,
    /// From the flip to the crash, of the trials that crashed.
    pub crash: Option<TimeSummary>,
    /// What hangs by another limit; `None` without a trial, where a run ends at a given time, and in a short summary.
    pub hang_limits: Option<HangLimits>,
    /// How wrong its sdc is; `None` where there is none, and in a short summary.
    pub sdc: Option<WrongSummary>,
    /// What was first done with what its faults had changed; `None` where that is known of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationSummary>,
    /// What the workload counted and corrected; `None` where nothing is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected: Option<CorrectedSummary>,
    /// How far its guests got; `None` where they are not followed from power-on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<ReachedSummary>,
    /// Faults that changed nothing; `None` where each changed something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<Unchanged>,
    /// The rate of [`Class::Failure`] after so many trials, in the order of the plan.
    pub convergence: Vec<ConvergenceRow>,
}

impl StratumSummary {
    /// How often an outcome came.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcome(outcome).map_or(0, |entry| entry.count)
    }

    /// How often an outcome came, and its rate.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Option<&OutcomeCount<Outcome>> {
        self.outcomes.iter().find(|entry| entry.outcome == outcome)
    }

    /// How often a class came, and its rate.
    #[must_use]
    pub fn class(&self, class: Class) -> Option<&OutcomeCount<Class>> {
        self.classes.iter().find(|entry| entry.outcome == class)
    }
}

/// The trials of a stratum by what was struck, or by what it led to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Breakdowns {
    /// By bit, in their order.
    pub bit: Breakdown,
    /// By register, in the order of their names.
    pub register: Breakdown,
    /// By region, the most failures first.
    pub region: Breakdown,
    /// By symbol, the most failures first.
    pub symbol: Breakdown,
    /// By the title of the console's report, the most failures first.
    pub title: Breakdown,
    /// By whether the guest was busy or idle, of the golden run.
    pub moment: Breakdown,
    /// By the subsystem of the first report, the most failures first.
    pub subsystem: Breakdown,
}

impl Breakdowns {
    /// One of them.
    #[must_use]
    pub fn get(&self, by: By) -> &Breakdown {
        match by {
            By::Bit => &self.bit,
            By::Register => &self.register,
            By::Region => &self.region,
            By::Symbol => &self.symbol,
            By::Title => &self.title,
            By::Moment => &self.moment,
            By::Subsystem => &self.subsystem,
        }
    }
}

/// A table of trials by a key. The trials of `rows` and `rest` add up to the stratum's `counted`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Breakdown {
    /// One row a key; what has none comes last.
    pub rows: Vec<BreakdownRow>,
    /// The rows with a key that are not shown, added up.
    pub rest: Option<BreakdownRest>,
}

/// One key's trials.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakdownRow {
    /// The key; what no key means is said at [`By`].
    pub key: Option<String>,
    /// Its trials that count.
    pub trials: u64,
    /// By outcome; those that never came are not there.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// The rate of [`Class::Failure`], without extrapolation. It is of `trials`, but by title, where a
    /// key comes of the outcome, of the stratum's `counted`.
    pub failure: Rate,
    /// Whether that rate is another than that of the stratum's other trials; `None` where there are none, and by title.
    /// New in format 2.
    pub discovery: Option<Discovery>,
}

impl BreakdownRow {
    /// Its trials of [`Class::Failure`].
    #[must_use]
    pub fn failures(&self) -> u64 {
        of_class(&self.outcomes, Class::Failure)
    }
}

/// Rows that are not shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakdownRest {
    /// How many.
    pub keys: u64,
    /// Their trials that count.
    pub trials: u64,
    /// By outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
}

/// How many guests live how long after their flip, up to the golden run's end.
///
/// A crash by then ends a life. All others are censored where they were last watched, at the golden run's end at the
/// latest: past it only late and hung guests are watched, and a curve would rest on them alone. A guest whose state
/// became the golden run's again cannot fail any more, and is at risk until that end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SurvivalCurve {
    /// All guests that ran: the stratum's `counted`, but for those of which error-correcting memory let nothing through, or the
    /// first 2,000,000 of them by their numbers.
    pub guests: u64,
    /// How many crashed by the golden run's end.
    pub crashes: u64,
    /// How many crashed after it, and are censored there.
    pub crashes_after_end: u64,
    /// Where none crashed by then: the exact one-sided upper bound of the share that does.
    pub crash_bound: Option<f64>,
    /// How many hung, and are censored at the golden run's end.
    pub hangs: u64,
    /// S(t) after each time with crashes, thinned: the rows that are left are exact. 1 − S(t) is not the share that
    /// crashes: it takes other ends as if the guest went on. `ends` has the shares.
    pub steps: Vec<SurvivalStep>,
    /// The last time at which a guest was watched. The curve ends there.
    pub last_seen: VirtualNs,
    /// The first time with S(t) ≤ ½; `None` when more than half live on.
    pub median: Option<TimeEstimate>,
    /// The mean time alive up to `last_seen`, in nanoseconds; `None` without a crash.
    pub restricted_mean: Option<Estimate>,
    /// Which share of the guests came to which end, and when; the shares add up to 1.
    pub ends: Vec<IncidenceCurve>,
}

/// How a guest's run can end; one excludes the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompetingEnd {
    /// It crashed by the golden run's end.
    Crash,
    /// It hung. All that is known is that it was not done at the golden run's end: that is its time.
    Hang,
    /// It was not done at the golden run's end either, but done or crashed after it. Its time is that end.
    Late,
    /// It ran to its end by the golden run's end, whatever its output.
    Finished,
}

impl CompetingEnd {
    /// All of them.
    pub const ALL: [CompetingEnd; 4] =
        [CompetingEnd::Crash, CompetingEnd::Hang, CompetingEnd::Late, CompetingEnd::Finished];

    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CompetingEnd::Crash => "crash",
            CompetingEnd::Hang => "hang",
            CompetingEnd::Late => "late",
            CompetingEnd::Finished => "finished",
        }
    }
}

/// Which share of the guests has come to one end by which time since the flip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidenceCurve {
    /// The end.
    pub end: CompetingEnd,
    /// How many guests came to it.
    pub guests: u64,
    /// Their share at the golden run's end.
    pub share: f64,
    /// Its interval, Clopper and Pearson's; where none came to this end, up to the exact one-sided bound.
    #[serde(flatten)]
    pub interval: Interval,
    /// The share after each time at which one came to it, thinned.
    pub steps: Vec<IncidenceStep>,
}

impl Summary {
    /// What must be known of all intervals: whose trials they are of.
    pub const ONE_RUN: &str = "all trials are of one golden run: how much rates differ between runs is in no interval (`campaign new \
                               --templates 5` makes several, `report runs` takes them together)";

    /// A stratum by its name.
    #[must_use]
    pub fn stratum(&self, name: &str) -> Option<&StratumSummary> {
        self.strata.iter().find(|stratum| stratum.name == name)
    }

    /// The outcomes that its trials can have, from the worst on.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        let ecc = self.strata.iter().any(StratumSummary::has_ecc);
        Outcome::WORST_FIRST.into_iter().filter(|outcome| outcome.is_of(ecc)).collect()
    }
}

/// How many of these outcomes are of a class.
pub(super) fn of_class(outcomes: &BTreeMap<Outcome, u64>, class: Class) -> u64 {
    outcomes.iter().filter(|(outcome, _)| class.has(**outcome)).map(|(_, count)| count).sum()
}

pub(super) fn kind_of(stratum: &StratumSpec) -> SpaceKind {
    // A specification that was checked mixes no kinds.
    let is_register = stratum.is_register();
    if is_register { SpaceKind::Registers } else { SpaceKind::Ram }
}

fn is_single_bit(pattern: Pattern) -> bool {
    match pattern {
        Pattern::Adjacent(count) | Pattern::AdjacentAt { count, .. } => count == 1,
        Pattern::Mask(mask) => mask.count_ones() == 1,
        Pattern::Field { .. } => true,
        Pattern::Cluster => false,
    }
}

/// How many bits a stratum exposes; `None` where a fault is of several, or a bit has several faults, or they strike at the
/// instants of an event, which no particle waits for.
pub(super) fn bits_of(spec: &CampaignSpec, stratum: &StratumSpec, faults: u64) -> Option<u64> {
    let several = spec.operations_of(stratum) == Operations::Random
        || spec.when_of(stratum).trigger().is_some()
        || spec.operations_of(stratum).of_instruction()
        || stratum.is_listed()
        || !spec.count_of(stratum).is_one();
    (is_single_bit(spec.pattern_of(stratum)) && !several).then_some(faults)
}

pub(super) fn space_of(stratum: &crate::campaign::plan::Stratum) -> SpaceSize {
    SpaceSize(stratum.population())
}

pub(crate) fn pattern_text(spec: &CampaignSpec, stratum: &StratumSpec) -> String {
    if stratum.is_listed() {
        return "as listed".to_owned();
    }
    let pattern = format_pattern(spec.pattern_of(stratum));
    let pattern = match &spec.mapping {
        Some(mapping) if spec.pattern_of(stratum) == Pattern::Cluster => {
            let shapes: Vec<String> = spec.clusters.iter().map(ToString::to_string).collect();
            format!("{pattern} in {} of {}", mapping.distinct_name(), shapes.join("; "))
        }
        _ => pattern,
    };
    let pattern = match spec.operations_of(stratum) {
        flip if flip.is_flip() => pattern,
        other => format!("{pattern}, {other}"),
    };
    let pattern = match spec.count_of(stratum) {
        Count::ONE => pattern,
        count => format!("{pattern}, {count} faults a trial"),
    };
    let pattern = match spec.ecc_of(stratum) {
        Ecc::None => pattern,
        Ecc::Secded => format!("{pattern}, behind SECDED"),
    };
    match spec.when_of(stratum) {
        When::At(trigger) => format!("{pattern}, at {trigger}"),
        _ => pattern,
    }
}

/// The strata of one kind together.
#[derive(Clone, Debug, Serialize)]
pub struct Pooled {
    /// What their faults strike. Bits of RAM and of registers are never pooled: a particle does not choose
    /// between them as a draw does.
    pub kind: SpaceKind,
    /// Which bits flip together.
    pub pattern: String,
    /// The names of the strata.
    pub strata: Vec<String>,
    /// The faults × times of all of them, rounded to 53 bits.
    pub population: f64,
    /// The bits of all of them, those that several have at different moments once; `None` where a fault is of several
    /// bits.
    pub bits: Option<u64>,
    /// Trials that rates are of.
    pub counted: u64,
    /// The strata that enter with their live part, as the rest of them is known.
    pub known: Vec<String>,
    /// Why there is no rate, if there is none.
    pub why_not: Option<String>,
    /// How intervals are made: `beta`, or `beta, small strata as one`.
    pub method: &'static str,
    /// The strata that count as one, as they have too few trials to show their spread.
    pub few: Vec<String>,
    /// What the rates are at least and at most, whatever the missing trials would have been; `None` where none is, or
    /// where there is no rate.
    pub missing: Option<Missing>,
    /// One entry an outcome; empty where there is no rate.
    pub outcomes: Vec<PooledRate<Outcome>>,
    /// One entry a class; empty where there is no rate.
    pub classes: Vec<PooledRate<Class>>,
}

impl<O> PooledRate<O> {
    /// The rate and the number to show: with the interval that holds at any look, where the campaign grew.
    #[must_use]
    pub fn shown(&self) -> (Estimate, Estimate) {
        let Some(interval) = self.anytime else { return (self.rate, self.failures) };
        let rate = Estimate { value: self.rate.value, interval };
        let factor = if self.rate.value > 0.0 { self.failures.value / self.rate.value } else { 0.0 };
        let factor =
            if factor > 0.0 { factor } else { self.failures.interval.upper / self.rate.interval.upper };
        (rate, rate.scaled(factor))
    }
}

impl Pooled {
    /// The rate of a class.
    #[must_use]
    pub fn class(&self, class: Class) -> Option<&PooledRate<Class>> {
        self.classes.iter().find(|entry| entry.outcome == class)
    }
}

/// A rate over several strata, each with the weight of its faults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PooledRate<O> {
    /// Of which outcome or class.
    pub outcome: O,
    /// Σ N_h/N · k_h/n_h with the beta interval of [`crate::stats::strata::Strata::estimate`].
    pub rate: Estimate,
    /// The extrapolated absolute number, N times the rate.
    pub failures: Estimate,
    /// The interval of the rate that holds at any look, of a campaign that grew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anytime: Option<Interval>,
}
