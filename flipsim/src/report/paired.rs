//! The trials of two campaigns one by one, where these strike the same places at the same moments.
//!
//! Invariant: **a pair is two trials of one number, of equal plans or of equal draws**: of one seed and as many faults in each
//! stratum, so that the number stands for the same place in the list of these and for the same moment, or the same fraction of
//! both runs. It counts where both have a result that does.

use serde::Serialize;

use super::unfair::Side;
use crate::campaign::plan::Stratum;
use crate::campaign::spec::Draw;
use crate::campaign::store::ResultRow;
use crate::campaign::summary::pattern_text;
use crate::campaign::{CampaignSpec, StoreError, TrialId};
use crate::stats::compare::Ratio;
use crate::stats::paired::Pairs;
use crate::stats::{Confidence, Estimate};
use crate::trial::{Class, Outcome};

/// So many trials that came out differently are named.
const NAMED: usize = 10;

/// The classes that are compared: each says something that no other does.
pub(super) const CLASSES: [Class; 3] = [Class::Failure, Class::Noticed, Class::Unmasked];

/// What is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Same {
    /// The plan: every fault, to the address.
    Plan,
    /// The draws: the addresses may be others, as in another build, and the places in the strata are not; nor are the moments,
    /// or as fractions of the run.
    Draws,
}

/// The trials of both, one by one.
#[derive(Clone, Debug, Serialize)]
pub struct TrialComparison {
    /// What makes them pairs.
    pub same: Same,
    /// So many have a result in both.
    pub both: u64,
    /// So many of them came out differently: outcome, end, report; where only the draws are the same, the outcome.
    pub different: u64,
    /// The first of these.
    pub first: Vec<TrialId>,
    /// Over all strata: classes, then outcomes. Empty where there is one stratum.
    pub whole: Vec<PairedTotal>,
}

/// One outcome, or class of outcomes, in the pairs of all strata.
#[derive(Clone, Debug, Serialize)]
pub struct PairedTotal {
    /// Its name.
    pub outcome: &'static str,
    /// The pairs, added up as they were drawn.
    #[serde(flatten)]
    pub pairs: Pairs,
    /// McNemar's exact test of whether none of the strata has changed.
    pub p: f64,
}

/// One outcome, or class of outcomes, in the pairs of a stratum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedRow {
    /// The pairs by where it came.
    #[serde(flatten)]
    pub pairs: Pairs,
    /// The second rate less the first, with Tango's score interval.
    pub difference: Estimate,
    /// McNemar's exact test of whether it is as frequent in both.
    pub p: f64,
    /// The second rate over the first, with Nam and Blackwelder's score interval. New in format 3.
    pub ratio: Ratio,
}

impl PairedRow {
    pub(super) fn new(pairs: Pairs, confidence: Confidence) -> Option<Self> {
        let (difference, ratio) = (pairs.difference(confidence)?, pairs.ratio(confidence));
        Some(PairedRow { pairs, difference, p: pairs.mcnemar(), ratio })
    }
}

/// Outcomes and classes by name.
type Name = &'static str;
/// The pairs of a stratum by outcome and class.
pub(super) type StratumPairs = Vec<(Name, Pairs)>;

/// Every class, then every outcome that counts.
fn kinds() -> impl Iterator<Item = (Name, Box<dyn Fn(Outcome) -> bool>)> {
    let class = |class: Class| -> (Name, Box<dyn Fn(Outcome) -> bool>) {
        (class.name(), Box::new(move |outcome| class.has(outcome)))
    };
    let outcome = |outcome: Outcome| -> (Name, Box<dyn Fn(Outcome) -> bool>) {
        (outcome.name(), Box::new(move |other| other == outcome))
    };
    let counted = Outcome::ALL.into_iter().filter(|outcome| outcome.is_counted());
    CLASSES.into_iter().map(class).chain(counted.map(outcome))
}

/// What makes pairs of the trials of one number, if they are some.
fn same(a: &Side<'_>, b: &Side<'_>) -> Option<Same> {
    if a.store.plan_digest() == b.store.plan_digest() {
        return Some(Same::Plan);
    }
    let (one, other) = (a.store.spec(), b.store.spec());
    let patterns =
        |spec: &CampaignSpec| spec.strata.iter().map(|of| pattern_text(spec, of)).collect::<Vec<_>>();
    // A fraction is the same of a longer run, and so is a place among as many.
    let comparable = |stratum: &Stratum| match one.draw {
        Draw::Moments => stratum.clone(),
        Draw::Fractions => Stratum { times: 0, ..stratum.clone() },
    };
    let strata = |side: &Side<'_>| side.store.strata().iter().map(comparable).collect::<Vec<_>>();
    let drawn = one.seed == other.seed
        && one.draw == other.draw
        && one.times == other.times
        && patterns(one) == patterns(other)
        && strata(a) == strata(b);
    drawn.then_some(Same::Draws)
}

/// The trials of both one by one, and the pairs of each stratum by its number; `None` where they are no pairs.
pub(super) fn pairs(
    a: &Side<'_>,
    b: &Side<'_>,
) -> Result<Option<(TrialComparison, Vec<StratumPairs>)>, StoreError> {
    let Some(same) = same(a, b) else { return Ok(None) };
    let kinds: Vec<_> = kinds().collect();
    let none = || kinds.iter().map(|(name, _)| (*name, Pairs::default())).collect::<StratumPairs>();
    let mut strata: Vec<StratumPairs> = a.store.strata().iter().map(|_| none()).collect();
    let (mut both, mut different, mut first) = (0, 0, Vec::new());
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
        both += 1;
        if differ(&row, &other, same) {
            different += 1;
            if first.len() < NAMED {
                first.push(id);
            }
        }
        let counted = |outcome: Option<Outcome>| outcome.filter(|outcome| outcome.is_counted());
        if let (Some(one), Some(two), Some(own)) =
            (counted(row.outcome), counted(other.outcome), strata.get_mut(row.trial.stratum as usize))
        {
            for ((_, pairs), (_, is)) in own.iter_mut().zip(&kinds) {
                pairs.add(is(one), is(two));
            }
        }
    }
    let mut whole = Vec::new();
    if strata.len() > 1 {
        for (index, (outcome, _)) in kinds.iter().enumerate() {
            let pairs = strata.iter().fold(Pairs::default(), |sum, own| sum.plus(own[index].1));
            let row = Outcome::WORST_FIRST.into_iter().find(|row| row.name() == *outcome);
            if row.is_none_or(|row| row.is_of(pairs.both + pairs.first + pairs.second > 0)) {
                whole.push(PairedTotal { outcome, pairs, p: pairs.mcnemar() });
            }
        }
    }
    Ok(Some((TrialComparison { same, both, different, first, whole }, strata)))
}

fn differ(one: &ResultRow, other: &ResultRow, same: Same) -> bool {
    let key = |row: &ResultRow| {
        // Others end at a checkpoint, and where these lie depends on the host.
        let own = matches!(row.end.as_deref(), Some("panic" | "reset" | "power-off"));
        let end = row.end_ns.filter(|_| own);
        (end, row.end.clone(), row.report.clone(), row.title.clone())
    };
    one.outcome != other.outcome || (same == Same::Plan && key(one) != key(other))
}
