//! The plan of a campaign: every trial, drawn from the seed before the first one is run.
//!
//! Trial `i` of `n` is number `order(i)` of all, which says its stratum and its place there; that place,
//! sent through the stratum's own permutation, is the number of a (fault, time) pair. Both are seeded
//! permutations computed on the fly, so nothing is held in memory, any trial can be drawn without the
//! others, and **no pair is drawn twice**, whether the space has 20 pairs or 2^100. Because the strata are
//! mixed, the first half of a plan, or every third trial, is a fair sample of the whole.
//!
//! Where times are drawn as fractions of the run ([`Draw::Fractions`]) a pair is a fault and one of [`FRACTIONS`]. Two campaigns
//! of one seed and of equal spaces then strike the same places at the same fractions, however long each of them runs. Two
//! fractions may be one moment, so that a pair of fault and moment can come twice; a plan takes a small part of them only.
//!
//! A plan that grows has another *stage*: trials behind those that are there, in an order of their own, whose places go on
//! where each stratum's ended. So what was drawn stays as it is, and still no pair is drawn twice.
//!
//! Invariant: the same specification, fault spaces, length and idle times of the golden run give the same plan, on any
//! machine.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::moments::{MomentsError, Run};
use super::size::Size;
use super::spec::{CampaignSpec, Draw, Sharing, SpecError};
use crate::campaign::part::Part;
use crate::campaign::permutation::Permutation;
use crate::fault::{Fault, FaultSpace, Operation, Verdict};
use crate::stats::StatsError;
use crate::text::{hex, hex_value};
use crate::trial::{LaterFault, TrialPlan};
use crate::units::VirtualNs;

/// The number of a trial in its campaign, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrialId(pub u64);

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A trial that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTrial {
    /// Its number.
    pub id: TrialId,
    /// The number of its stratum, from 0.
    pub stratum: u32,
    /// What is to be done.
    pub plan: TrialPlan,
}

impl PlannedTrial {
    /// One line for the plan's digest.
    fn line(&self) -> String {
        let back = self.plan.back_after.map(|back| format!(" back {}", back.0)).unwrap_or_default();
        let first = fault_line(self.plan.after, &self.plan.fault);
        let further = further_line(&self.plan.more);
        format!("{} {} {first}{back}{further}{}\n", self.id, self.stratum, verdict_line(self.plan.ecc))
    }
}

fn fault_line(after: VirtualNs, fault: &Fault) -> String {
    let (kind, place, mask) = (fault.kind(), fault.place(), hex_value(fault.mask()));
    // Plans that were drawn when there was nothing but flips keep their digests.
    let operation = fault.operation();
    let operation = if operation == Operation::Flip { String::new() } else { format!(" {operation}") };
    format!("{} {kind} {place} {mask}{operation}", after.0)
}

/// What further faults add to the line of a trial.
pub(super) fn further_line(more: &[LaterFault]) -> String {
    more.iter().map(|more| format!(" and {}", fault_line(more.after, &more.fault))).collect()
}

/// What error-correcting memory adds to the line of a trial.
pub(super) fn verdict_line(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(String::new, |verdict| format!(" ecc {}", verdict.name()))
}

/// A stratum of which is known how many faults it has and how many are drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stratum {
    /// Its name.
    pub name: String,
    /// Where its faults strike, as text.
    pub targets: String,
    /// How many different faults it has.
    pub faults: u64,
    /// At how many different times each can strike.
    pub times: u64,
    /// How many trials are drawn.
    pub trials: u64,
}

impl Stratum {
    /// How many different trials there are.
    #[must_use]
    pub fn population(&self) -> u128 {
        u128::from(self.faults) * u128::from(self.times)
    }
}

/// A plan that cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The specification contradicts itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A precision that no number of trials has.
    #[error(transparent)]
    Precision(#[from] StatsError),
    /// The caller's strata are others.
    #[error("the specification has {strata} strata, and {spaces} fault spaces were made of them")]
    Spaces {
        /// Strata.
        strata: usize,
        /// Fault spaces.
        spaces: usize,
    },
    /// There are no moments to draw from.
    #[error("stratum `{name}`: {cause}")]
    Moments {
        /// The stratum.
        name: String,
        /// Why.
        cause: MomentsError,
    },
    /// More than there are.
    #[error(
        "stratum `{name}` has {population} different trials (faults times moments), and {trials} are asked for"
    )]
    TooMany {
        /// The stratum.
        name: String,
        /// What is asked for.
        trials: u64,
        /// What there is.
        population: u128,
    },
    /// So many that some would be drawn twice.
    #[error(
        "stratum `{name}` has {population} different trials (faults times moments), and {trials} are asked for: with \
         `draw = \"fractions\"`, several `faults` or clusters, where one can come twice, at most {}; ask for fewer, or leave that out",
        population / SPARSE
    )]
    TooDense {
        /// The stratum.
        name: String,
        /// What is asked for.
        trials: u64,
        /// What there is.
        population: u128,
    },
    /// None at all.
    #[error(
        "stratum `{name}` would get no trial: its share of {total} is too small; give it `trials`, or the \
         campaign more"
    )]
    NoTrial {
        /// The stratum.
        name: String,
        /// The number of trials that are shared.
        total: u64,
    },
    /// The strata take more than the campaign has.
    #[error("the strata take {wanted} trials by themselves, and the campaign has {total}")]
    Overdrawn {
        /// By themselves.
        wanted: u64,
        /// The campaign's.
        total: u64,
    },
    /// Trials that no stratum takes.
    #[error(
        "the campaign has {total} trials and its strata take {wanted} by themselves; no stratum takes the rest: \
         drop the campaign's number, or a stratum's"
    )]
    LeftOver {
        /// By themselves.
        wanted: u64,
        /// The campaign's.
        total: u64,
    },
    /// A growth that is none.
    #[error("the campaign has {has} trials already; say how many it is to have in all, more than that")]
    NotMore {
        /// How many it has.
        has: u64,
    },
    /// More than can be numbered.
    #[error("the campaign is too large to be numbered; choose fewer trials, or a smaller space")]
    TooLarge,
}

/// Into so many equal parts a run is divided where times are drawn as fractions of it: of a run of an hour each is 3 ns.
pub const FRACTIONS: u64 = 1 << 40;

/// Of the pairs of fault and moment one in so many at most is drawn where one can come twice: intervals, which are those
/// of a draw without replacement, are then too narrow by a part of 2000 at most.
const SPARSE: u128 = 1000;

/// A drawn plan. It holds no trial; each is computed when asked for.
#[derive(Debug)]
pub struct Plan {
    strata: Vec<Stratum>,
    parts: Vec<Part>,
    draw: Draw,
    stages: Vec<Drawn>,
    seed: u64,
    trials: u64,
}

/// Trials that were drawn together.
#[derive(Debug)]
struct Drawn {
    /// The number of the first one.
    first: u64,
    order: Permutation,
    /// How many trials of each stratum it has.
    trials: Vec<u64>,
    /// Of each stratum: the number of its first place here, and how many were drawn before.
    parts: Vec<(u64, u64)>,
}

impl Drawn {
    /// The next stage of these strata, with so many trials of each; they have those of all stages before.
    fn new(seed: u64, stage: usize, first: u64, strata: &[Stratum], trials: Vec<u64>) -> Option<Drawn> {
        let mut parts = Vec::with_capacity(trials.len());
        let mut places = 0u64;
        for (stratum, own) in strata.iter().zip(&trials) {
            parts.push((places, stratum.trials));
            places = places.checked_add(*own)?;
        }
        // Apart from the numbers of the strata.
        let order = Permutation::new(seed, (stage as u64) << 32, places.into())?;
        Some(Drawn { first, order, trials, parts })
    }
}

impl Plan {
    /// Draws a plan. `spaces` are the fault spaces of the specification's strata, in their order; `run` is the
    /// golden run, or its length alone where faults strike at any time. Strata may overlap; what is in two can be drawn in each.
    ///
    /// # Errors
    /// The specification does not fit the spaces or the run.
    pub fn new(spec: &CampaignSpec, run: impl Into<Run>, spaces: Vec<FaultSpace>) -> Result<Self, PlanError> {
        spec.check()?;
        if spec.strata.len() != spaces.len() {
            return Err(PlanError::Spaces { strata: spec.strata.len(), spaces: spaces.len() });
        }
        let run = run.into();
        let (length, moments) = (run.length, spec.moments(&run));
        let moments = moments.map_err(|(name, cause)| PlanError::Moments { name, cause })?;
        for (stratum, to) in spec.strata.iter().zip(spaces.iter().map(FaultSpace::latest)) {
            if let Some(to) = to.filter(|to| *to >= length) {
                let cause = MomentsError::Late { to, length };
                return Err(PlanError::Moments { name: stratum.name.clone(), cause });
            }
        }
        let mut strata: Vec<Stratum> = spec
            .strata
            .iter()
            .zip(spaces.iter().zip(&moments))
            .map(|(stratum, (space, moments))| Stratum {
                name: stratum.name.clone(),
                targets: stratum.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                faults: space.len(),
                // A fault with a moment has that alone.
                times: if space.is_paired() { 1 } else { moments.len() },
                trials: 0,
            })
            .collect();
        allocate(spec, &mut strata)?;
        let mut parts = Vec::with_capacity(strata.len());
        let of_trials = spec
            .strata
            .iter()
            .map(|stratum| (spec.when_of(stratum), spec.count_of(stratum), spec.ecc_of(stratum)));
        let drawn = spaces.into_iter().zip(moments).zip(of_trials);
        for ((stratum, ((space, moments), (when, count, ecc))), number) in strata.iter().zip(drawn).zip(1..) {
            let fractions = spec.draw == Draw::Fractions && !space.is_paired();
            let times = if fractions { FRACTIONS } else { stratum.times };
            let pairs = u128::from(stratum.faults).checked_mul(times.into()).ok_or(PlanError::TooLarge)?;
            let permutation = Permutation::new(spec.seed, number, pairs);
            let permutation = permutation.ok_or(PlanError::TooLarge)?;
            parts.push(Part { space, when, moments, times, permutation, count, ecc });
        }
        let first: Vec<u64> = strata.iter_mut().map(|stratum| std::mem::take(&mut stratum.trials)).collect();
        let empty = Plan { strata, parts, draw: spec.draw, stages: Vec::new(), seed: spec.seed, trials: 0 };
        empty.with(first)
    }

    /// The same plan with another stage, of so many trials of each stratum.
    ///
    /// # Errors
    /// There are no more trials, or not so many of a stratum.
    pub fn grown(self, added: &[u64]) -> Result<Self, PlanError> {
        if added.len() != self.strata.len() {
            return Err(PlanError::Spaces { strata: self.strata.len(), spaces: added.len() });
        }
        if added.iter().all(|added| *added == 0) {
            return Err(PlanError::NotMore { has: self.trials });
        }
        self.with(added.to_vec())
    }

    fn with(mut self, added: Vec<u64>) -> Result<Self, PlanError> {
        let drawn = Drawn::new(self.seed, self.stages.len(), self.trials, &self.strata, added);
        let drawn = drawn.ok_or(PlanError::TooLarge)?;
        for ((stratum, added), part) in self.strata.iter_mut().zip(&drawn.trials).zip(&self.parts) {
            let trials = stratum.trials.checked_add(*added).ok_or(PlanError::TooLarge)?;
            let (name, population) = (&stratum.name, stratum.population());
            if u128::from(trials) > population {
                return Err(PlanError::TooMany { name: name.clone(), trials, population });
            }
            let fractions = self.draw == Draw::Fractions && !part.space.is_paired();
            let twice = fractions || part.is_several();
            if twice && u128::from(trials) > population / SPARSE {
                return Err(PlanError::TooDense { name: name.clone(), trials, population });
            }
            stratum.trials = trials;
            self.trials = self.trials.checked_add(*added).ok_or(PlanError::TooLarge)?;
        }
        self.stages.push(drawn);
        Ok(self)
    }

    /// How many trials of each stratum it takes to have `total` in all: what is added is shared as what is there, among
    /// those that have more faults.
    ///
    /// # Errors
    /// There are as many already.
    pub fn added_for(&self, total: u64) -> Result<Vec<u64>, PlanError> {
        let added = total.checked_sub(self.trials).filter(|added| *added > 0);
        let added = added.ok_or(PlanError::NotMore { has: self.trials })?;
        let weights: Vec<u128> = self.strata.iter().map(|stratum| stratum.trials.into()).collect();
        let room =
            self.strata.iter().map(|stratum| stratum.population().saturating_sub(stratum.trials.into()));
        Ok(shares_within(added, weights, &room.collect::<Vec<_>>()))
    }

    /// How many trials of each stratum each stage has.
    pub fn stages(&self) -> impl Iterator<Item = &[u64]> {
        self.stages.iter().map(|stage| stage.trials.as_slice())
    }

    /// The number of trials, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty plan cannot be drawn")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.trials
    }

    /// The strata.
    #[must_use]
    pub fn strata(&self) -> &[Stratum] {
        &self.strata
    }

    /// The trial with this number, or `None` past the end.
    #[must_use]
    pub fn nth(&self, id: TrialId) -> Option<PlannedTrial> {
        if id.0 >= self.trials {
            return None;
        }
        let stage = &self.stages[self.stages.partition_point(|stage| stage.first <= id.0) - 1];
        let place = u64::try_from(stage.order.nth((id.0 - stage.first).into())).ok()?;
        // A stratum without trials in this stage begins where the next one does.
        let index = stage.parts.partition_point(|(first, _)| *first <= place) - 1;
        let (first, before) = stage.parts[index];
        let part = &self.parts[index];
        let pair = part.permutation.nth((before + place - first).into());
        let (mut faults, ecc) = part.faults(pair, self.seed, id.0)?;
        faults.sort_by_key(|fault| fault.after);
        let LaterFault { after, fault } = faults.remove(0);
        let plan = TrialPlan { more: faults, ecc, ..TrialPlan::one(after, fault) };
        Some(PlannedTrial { id, stratum: u32::try_from(index).ok()?, plan })
    }

    /// All trials by number.
    pub fn iter(&self) -> impl Iterator<Item = PlannedTrial> + '_ {
        (0..self.trials).filter_map(|id| self.nth(TrialId(id)))
    }

    /// The pairs of strata, by number, that have a fault in common at some moment.
    #[must_use]
    pub fn overlaps(&self) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        let parts: Vec<_> = self.parts.iter().map(|part| (&part.when, part.space.extent())).collect();
        for (number, (when, extent)) in (0..).zip(&parts) {
            let before = (0..number).zip(&parts);
            let common = before.filter(|(_, other)| when.overlaps(other.0) && extent.meets(&other.1));
            found.extend(common.map(|(other, _)| (other, number)));
        }
        found
    }

    /// The SHA-256 of all trials.
    #[must_use]
    pub fn digest(&self) -> String {
        let stages: Vec<&[u64]> = self.stages().collect();
        let mut digest = PlanDigest::new(&self.strata, &stages);
        self.iter().for_each(|trial| digest.add(&trial));
        digest.finish()
    }
}

/// The digest of a plan that goes by, trial by trial.
#[derive(Debug)]
pub struct PlanDigest(Sha256);

impl PlanDigest {
    /// Of a plan with these strata, and so many trials of each in each stage.
    #[must_use]
    pub fn new<S: AsRef<[u64]>>(strata: &[Stratum], stages: &[S]) -> Self {
        let mut hash = Sha256::new();
        hash.update("flipsim plan 1\n");
        for stratum in strata {
            let Stratum { name, targets, faults, times, trials } = stratum;
            hash.update(format!("{name:?} {targets:?} {faults} {times} {trials}\n"));
        }
        // A plan that never grew has the digest that it had before there were stages.
        for stage in stages.iter().filter(|_| stages.len() > 1) {
            hash.update(format!("stage {:?}\n", stage.as_ref()));
        }
        PlanDigest(hash)
    }

    /// Takes in the next trial.
    pub fn add(&mut self, trial: &PlannedTrial) {
        self.add_line(&trial.line());
    }

    /// Takes in the next trial by its line, where that is there already.
    pub(super) fn add_line(&mut self, line: &str) {
        self.0.update(line);
    }

    /// In hex.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Gives each stratum its number of trials.
fn allocate(spec: &CampaignSpec, strata: &mut [Stratum]) -> Result<(), PlanError> {
    let equal = spec.sharing == Sharing::Equal;
    let total = match spec.size {
        None => None,
        Some(Size::Trials(trials)) => Some(trials),
        Some(_) if equal => None,
        Some(size) => Some(size.trials(strata.iter().map(Stratum::population).sum())?),
    };
    for (stratum, spec_of) in strata.iter_mut().zip(&spec.strata) {
        stratum.trials = match (spec_of.trials, spec_of.share, total, spec.size) {
            (Some(trials), ..) => trials,
            (None, Some(share), Some(total), _) => part(total, share.value()),
            (None, None, None, Some(size)) => size.trials(stratum.population())?,
            _ => 0,
        };
    }
    if let Some(total) = total {
        let open: Vec<usize> = (0..strata.len())
            .filter(|index| spec.strata[*index].trials.is_none() && spec.strata[*index].share.is_none())
            .collect();
        let wanted = strata.iter().try_fold(0u64, |sum, stratum| sum.checked_add(stratum.trials));
        let wanted = wanted.ok_or(PlanError::TooLarge)?;
        let rest = total.checked_sub(wanted).ok_or(PlanError::Overdrawn { wanted, total })?;
        if open.is_empty() && rest > 0 {
            return Err(PlanError::LeftOver { wanted, total });
        }
        // At the same times, faults alone are in the same proportion; plans were drawn by them before times could differ.
        let same_times = strata.iter().all(|stratum| stratum.times == strata[0].times);
        let weight = |stratum: &Stratum| match (equal, same_times) {
            (true, _) => 1,
            (false, true) => u128::from(stratum.faults),
            (false, false) => stratum.population(),
        };
        let weights: Vec<u128> = open.iter().map(|index| weight(&strata[*index])).collect();
        for (index, trials) in open.into_iter().zip(shares(rest, &weights)) {
            strata[index].trials = trials;
        }
    }
    for stratum in strata {
        if stratum.trials == 0 {
            return Err(PlanError::NoTrial { name: stratum.name.clone(), total: total.unwrap_or(0) });
        }
        if u128::from(stratum.trials) > stratum.population() {
            let (name, trials, population) = (stratum.name.clone(), stratum.trials, stratum.population());
            return Err(PlanError::TooMany { name, trials, population });
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of trials, rounded; a cast saturates"
)]
fn part(total: u64, share: f64) -> u64 {
    (total as f64 * share).round() as u64
}

/// Shares of `total` by these weights, none larger than there is room; what does not fit is the others'. Where all are full,
/// what is left over is shared as if there was room.
fn shares_within(total: u64, weights: Vec<u128>, room: &[u128]) -> Vec<u64> {
    let mut open = weights.clone();
    let mut full: Vec<u64> = vec![0; room.len()];
    loop {
        let left = total - full.iter().sum::<u64>();
        if left > 0 && open.iter().all(|weight| *weight == 0) {
            return shares(total, &weights);
        }
        let more = shares(left, &open);
        let over: Vec<usize> = (0..room.len()).filter(|at| u128::from(more[*at]) > room[*at]).collect();
        if over.is_empty() {
            return full.iter().zip(more).map(|(full, more)| full + more).collect();
        }
        for at in over {
            // It is less than a share, which is a number of this size.
            (open[at], full[at]) = (0, u64::try_from(room[at]).unwrap_or(u64::MAX));
        }
    }
}

/// Divides `total` in proportion to the weights; what rounding leaves over goes to the largest remainders.
pub(super) fn shares(total: u64, weights: &[u128]) -> Vec<u64> {
    let sum: u128 = weights.iter().sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    // Weights below 2^64, so that nothing overflows; for larger ones that is a rounding of 2^-60.
    let shift = (128 - sum.leading_zeros()).saturating_sub(63);
    let weights: Vec<u128> = weights.iter().map(|weight| weight >> shift).collect();
    let sum: u128 = weights.iter().sum::<u128>().max(1);
    let mut parts: Vec<(u128, u128)> = weights
        .iter()
        .map(|weight| (weight * u128::from(total) / sum, weight * u128::from(total) % sum))
        .collect();
    let left = u128::from(total) - parts.iter().map(|(whole, _)| whole).sum::<u128>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(parts[*index].1));
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        parts[index].0 += 1;
    }
    parts.into_iter().map(|(whole, _)| u64::try_from(whole).unwrap_or(u64::MAX)).collect()
}

#[cfg(test)]
mod tests;
