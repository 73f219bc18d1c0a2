//! The plan of a campaign: every trial, drawn from the seed before the first one is carried out.
//!
//! Trial `i` of `n` is number `order(i)` of all, which says its stratum and its place there; that place,
//! sent through the stratum's own permutation, is the number of a (fault, time) pair. Both are seeded
//! permutations computed on the fly, so nothing is held in memory, any trial can be drawn without the
//! others, and **no pair is drawn twice**, whether the space has 20 pairs or 2^100. Because the strata are
//! mixed, the first half of a plan, or every third trial, is a fair sample of the whole.
//!
//! Invariant: the same specification, fault spaces and length of the golden run give the same plan, on any
//! machine.

use std::fmt;

use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::size::Size;
use super::spec::{CampaignSpec, Sharing, SpecError, Times};
use crate::fault::{Fault, FaultRng, FaultSpace, fault_rng};
use crate::stats::StatsError;
use crate::text::hex_value;
use crate::trial::TrialPlan;
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

/// A trial that is to be carried out.
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
        let (id, stratum, after) = (self.id, self.stratum, self.plan.after.0);
        let mask = hex_value(self.plan.fault.mask());
        let place = match &self.plan.fault {
            Fault::Ram { address, .. } => format!("ram {address}"),
            Fault::Reg { register, .. } => format!("reg {register}"),
        };
        let back = self.plan.back_after.map(|back| format!(" back {}", back.0)).unwrap_or_default();
        format!("{id} {stratum} {after} {place} {mask}{back}\n")
    }
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
    /// A time past the golden run.
    #[error(
        "faults would strike up to {to} after the quiescent point, and the golden run ends after {length}"
    )]
    Late {
        /// The last time.
        to: VirtualNs,
        /// The golden run's length.
        length: VirtualNs,
    },
    /// No time is left.
    #[error("faults would strike from {from} on, and the golden run ends after {length}")]
    NoTime {
        /// The first time.
        from: VirtualNs,
        /// The golden run's length.
        length: VirtualNs,
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
        "the campaign has {total} trials and its strata take {wanted} by themselves; nobody takes the rest: \
         drop the campaign's number, or a stratum's"
    )]
    LeftOver {
        /// By themselves.
        wanted: u64,
        /// The campaign's.
        total: u64,
    },
    /// More than can be numbered.
    #[error("the campaign is too large to be numbered; choose fewer trials, or a smaller space")]
    TooLarge,
}

/// The moments at which faults strike, numbered.
#[derive(Clone, Debug)]
enum Moments {
    From(u64, u64),
    At(Vec<VirtualNs>),
}

impl Moments {
    fn new(times: &Times, length: VirtualNs) -> Result<Self, PlanError> {
        match times {
            Times::At(at) => match at.iter().find(|at| **at >= length) {
                Some(late) => Err(PlanError::Late { to: *late, length }),
                None => Ok(Moments::At(at.clone())),
            },
            Times::Within { from, to } => {
                let to = to.unwrap_or(length);
                if to > length {
                    return Err(PlanError::Late { to, length });
                }
                let count = to.0.checked_sub(from.0).filter(|count| *count > 0);
                count
                    .map(|count| Moments::From(from.0, count))
                    .ok_or(PlanError::NoTime { from: *from, length })
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Moments::From(_, count) => *count,
            Moments::At(at) => at.len() as u64,
        }
    }

    /// The moment with this number, which is below the length.
    fn nth(&self, number: u64) -> Option<VirtualNs> {
        match self {
            Moments::From(from, count) => (number < *count).then(|| VirtualNs(from + number)),
            Moments::At(at) => at.get(usize::try_from(number).ok()?).copied(),
        }
    }
}

/// A drawn plan. It holds no trial; each is computed when asked for.
#[derive(Debug)]
pub struct Plan {
    strata: Vec<Stratum>,
    /// Of each stratum: the number of its first place, its faults, and which of them come.
    parts: Vec<(u64, FaultSpace, Permutation)>,
    moments: Moments,
    order: Permutation,
    trials: u64,
}

impl Plan {
    /// Draws a plan. `spaces` are the fault spaces of the specification's strata, in their order; `length`
    /// is the golden run's. Strata may overlap; what is in two can be drawn in each.
    ///
    /// # Errors
    /// The specification does not fit the spaces or the length.
    pub fn new(spec: &CampaignSpec, length: VirtualNs, spaces: Vec<FaultSpace>) -> Result<Self, PlanError> {
        spec.check()?;
        if spec.strata.len() != spaces.len() {
            return Err(PlanError::Spaces { strata: spec.strata.len(), spaces: spaces.len() });
        }
        let moments = Moments::new(&spec.times, length)?;
        let mut strata: Vec<Stratum> = spec
            .strata
            .iter()
            .zip(&spaces)
            .map(|(stratum, space)| Stratum {
                name: stratum.name.clone(),
                targets: stratum.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                faults: space.len(),
                times: moments.len(),
                trials: 0,
            })
            .collect();
        allocate(spec, &mut strata)?;
        let mut parts = Vec::with_capacity(strata.len());
        let mut trials = 0u64;
        for ((stratum, space), number) in strata.iter().zip(spaces).zip(1..) {
            let permutation = Permutation::new(spec.seed, number, stratum.population());
            parts.push((trials, space, permutation.ok_or(PlanError::TooLarge)?));
            trials = trials.checked_add(stratum.trials).ok_or(PlanError::TooLarge)?;
        }
        let order = Permutation::new(spec.seed, 0, trials.into()).ok_or(PlanError::TooLarge)?;
        Ok(Plan { strata, parts, moments, order, trials })
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
        let place = u64::try_from(self.order.nth(id.0.into())).ok()?;
        let index = self.parts.partition_point(|(first, ..)| *first <= place) - 1;
        let (first, space, permutation) = &self.parts[index];
        let pair = permutation.nth((place - first).into());
        let faults = u128::from(space.len());
        let fault = space.nth(u64::try_from(pair % faults).ok()?)?;
        let after = self.moments.nth(u64::try_from(pair / faults).ok()?)?;
        let plan = TrialPlan { after, fault, back_after: None };
        Some(PlannedTrial { id, stratum: u32::try_from(index).ok()?, plan })
    }

    /// All trials by number.
    pub fn iter(&self) -> impl Iterator<Item = PlannedTrial> + '_ {
        (0..self.trials).filter_map(|id| self.nth(TrialId(id)))
    }

    /// The pairs of strata, by number, that have a fault in common.
    #[must_use]
    pub fn overlaps(&self) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for (number, (_, one, _)) in (0..).zip(&self.parts) {
            let before = (0..number).zip(&self.parts);
            found.extend(
                before.filter(|(_, (_, other, _))| one.overlaps(other)).map(|(other, _)| (other, number)),
            );
        }
        found
    }

    /// The SHA-256 of all trials.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = PlanDigest::new(&self.strata);
        self.iter().for_each(|trial| digest.add(&trial));
        digest.finish()
    }
}

/// The digest of a plan that goes by, trial by trial.
#[derive(Debug)]
pub struct PlanDigest(Sha256);

impl PlanDigest {
    /// Of a plan with these strata.
    #[must_use]
    pub fn new(strata: &[Stratum]) -> Self {
        let mut hash = Sha256::new();
        hash.update("flipsim plan 1\n");
        for stratum in strata {
            let Stratum { name, targets, faults, times, trials } = stratum;
            hash.update(format!("{name:?} {targets:?} {faults} {times} {trials}\n"));
        }
        PlanDigest(hash)
    }

    /// Takes in the next trial.
    pub fn add(&mut self, trial: &PlannedTrial) {
        self.0.update(trial.line());
    }

    /// In hex.
    #[must_use]
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
        let weights: Vec<u128> =
            open.iter().map(|index| if equal { 1 } else { u128::from(strata[*index].faults) }).collect();
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

/// Divides `total` in proportion to the weights; what rounding leaves over goes to the largest remainders.
fn shares(total: u64, weights: &[u128]) -> Vec<u64> {
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

/// How often a number is mixed. Four times would do for a large set (Luby and Rackoff 1988); small sets
/// need more.
const ROUNDS: u64 = 10;

/// A seeded permutation of the numbers below `len`, computed one number at a time: a Feistel network over
/// pairs of digits in base ⌈√len⌉, whose round function is a block of the generator's stream. What falls
/// past the end is sent through again ("cycle walking": Black and Rogaway, "Ciphers with arbitrary finite
/// domains", 2002).
#[derive(Debug)]
struct Permutation {
    len: u128,
    side: u128,
    key: [u8; 32],
}

impl Permutation {
    /// Permutation `number` of a seed; `None` where `len` is too large for it.
    fn new(seed: u64, number: u64, len: u128) -> Option<Self> {
        if len == 0 || len >> 120 != 0 {
            return None;
        }
        let root = len.isqrt();
        let side = root + u128::from(root * root < len);
        let mut key = [0; 32];
        // Apart from the streams that other commands draw from.
        fault_rng(seed, 1 << 63 | number).fill_bytes(&mut key);
        Some(Permutation { len, side, key })
    }

    /// Where `index`, which is below the length, is sent to.
    fn nth(&self, index: u128) -> u128 {
        let mut value = index;
        loop {
            let (mut left, mut right) = (value / self.side, value % self.side);
            for round in 0..ROUNDS {
                (left, right) = (right, (left + self.block(round, right)) % self.side);
            }
            value = left * self.side + right;
            if value < self.len {
                return value;
            }
        }
    }

    /// 127 bits of a block of a round's stream. A remainder of so large a number is uniform to 2^-67.
    fn block(&self, round: u64, number: u128) -> u128 {
        let mut rng = FaultRng::from_seed(self.key);
        rng.set_stream(round);
        // A block has 16 words.
        rng.set_word_pos(number << 4);
        (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) >> 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;
    use crate::campaign::spec::{Place, StratumSpec};
    use crate::fault::{FlippableRegister, Pattern, RamSpace, RegSpace};
    use crate::memory::{PhysRange, RangeSet};
    use crate::stats::{Confidence, Share};
    use proptest::prelude::*;

    const LENGTH: VirtualNs = VirtualNs(300_000_000);

    fn ram(range: &str) -> FaultSpace {
        let bytes: RangeSet = range.parse::<PhysRange>().into_iter().collect();
        FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE).unwrap())
    }

    fn registers(count: u8) -> FaultSpace {
        let registers: Vec<FlippableRegister> = (0..count)
            .map(|number| FlippableRegister {
                name: format!("x{number}"),
                bits: 8,
                class: "core".into(),
                writable: vec![0xff],
            })
            .collect();
        FaultSpace::Reg(RegSpace::new(&registers, Pattern::SINGLE).unwrap())
    }

    /// A specification with so many strata.
    fn spec(size: Option<Size>, strata: usize) -> CampaignSpec {
        let strata = (0..strata).map(|number| StratumSpec::new(&format!("s{number}"), vec![Place::Ram]));
        CampaignSpec { seed: 1, size, strata: strata.collect(), ..CampaignSpec::default() }
    }

    fn trials(trials: u64) -> Option<Size> {
        Some(Size::Trials(trials))
    }

    fn at(trial: &PlannedTrial) -> (u64, u32, u64) {
        match &trial.plan.fault {
            Fault::Ram { address, .. } => {
                (address.0, trial.plan.fault.single_bit().unwrap().0, trial.plan.after.0)
            }
            Fault::Reg { .. } => panic!("a fault in RAM was expected"),
        }
    }

    /// Pearson's statistic of counts that should be equal.
    fn chi_square(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
    }

    /// What the statistic stays below with probability 0.999 (Wilson and Hilferty's approximation).
    fn limit(cells: usize) -> f64 {
        let freedom = cells as f64 - 1.0;
        let part = 2.0 / (9.0 * freedom);
        freedom * (1.0 - part + 3.0902 * part.sqrt()).powi(3)
    }

    fn assert_uniform(what: &str, counts: &[u64]) {
        let chi = chi_square(counts);
        assert!(chi < limit(counts.len()), "{what}: chi-square {chi} of {} cells: {counts:?}", counts.len());
    }

    #[test]
    fn the_limit_of_the_statistic_is_that_of_the_tables() {
        assert!((limit(24) - 49.73).abs() < 0.2 && (limit(101) - 149.45).abs() < 0.2);
    }

    #[test]
    fn addresses_bits_and_times_are_drawn_uniformly_and_independently() {
        let mut plan_spec = spec(trials(100_000), 1);
        for (seed, range) in [(1, "0x40000000+128M"), (2, "0x80000000+3000"), (3, "0x1000+40")] {
            plan_spec.seed = seed;
            let plan = Plan::new(&plan_spec, LENGTH, vec![ram(range)]).unwrap();
            let range: PhysRange = range.parse().unwrap();
            let (mut addresses, mut bits, mut times, mut both) =
                (vec![0u64; 40], vec![0u64; 8], vec![0u64; 100], vec![0u64; 80]);
            for trial in plan.iter() {
                let (address, bit, time) = at(&trial);
                assert!(range.first.0 <= address && address <= range.last.0 && time < LENGTH.0);
                let cell = |value: u64, of: u64, cells: u64| {
                    usize::try_from(u128::from(value) * u128::from(cells) / u128::from(of)).unwrap()
                };
                let address = address - range.first.0;
                addresses[cell(address, range.len(), 40)] += 1;
                bits[bit as usize] += 1;
                times[cell(time, LENGTH.0, 100)] += 1;
                both[cell(address, range.len(), 10) * 8 + cell(time, LENGTH.0, 8)] += 1;
            }
            assert_uniform("addresses", &addresses);
            assert_uniform("bits", &bits);
            assert_uniform("times", &times);
            assert_uniform("addresses and times", &both);
        }
    }

    #[test]
    fn no_trial_is_drawn_twice_and_a_small_space_is_drawn_out() {
        let fixed = Times::At(vec![VirtualNs(5), VirtualNs(900), VirtualNs(70)]);
        let plan_spec = CampaignSpec { times: fixed, ..spec(trials(16 * 8 * 3), 1) };
        let plan = Plan::new(&plan_spec, LENGTH, vec![ram("0x100+16")]).unwrap();
        let drawn: HashSet<_> = plan.iter().map(|trial| at(&trial)).collect();
        assert_eq!(drawn.len(), 16 * 8 * 3);
        let times: HashSet<u64> = drawn.iter().map(|(_, _, time)| *time).collect();
        assert_eq!(times, [5, 900, 70].into());
        // One more is too many.
        let too_many = CampaignSpec { size: trials(16 * 8 * 3 + 1), ..plan_spec };
        let error = Plan::new(&too_many, LENGTH, vec![ram("0x100+16")]).unwrap_err();
        assert!(matches!(error, PlanError::TooMany { population: 384, .. }), "{error}");
    }

    #[test]
    fn every_fault_of_a_small_space_is_drawn_as_often_as_the_others() {
        // 24 faults at one time, 6 of which are drawn, over 4,000 seeds.
        let mut counts = [0u64; 24];
        let mut pairs = [0u64; 24];
        for seed in 0..4000 {
            let plan_spec = CampaignSpec { seed, times: Times::At(vec![VirtualNs(0)]), ..spec(trials(6), 1) };
            let plan = Plan::new(&plan_spec, LENGTH, vec![ram("0+3")]).unwrap();
            let drawn: Vec<usize> = plan
                .iter()
                .map(|trial| at(&trial))
                .map(|(address, bit, _)| usize::try_from(address).unwrap() * 8 + bit as usize)
                .collect();
            drawn.iter().for_each(|fault| counts[*fault] += 1);
            // How far the second is from the first: never 0, else all the same.
            pairs[(drawn[1] + 24 - drawn[0]) % 24] += 1;
        }
        assert_uniform("faults", &counts);
        assert_eq!(pairs[0], 0);
        assert_uniform("distances", &pairs[1..]);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        let plan = |seed| {
            let plan_spec = CampaignSpec { seed, ..spec(trials(6), 2) };
            Plan::new(&plan_spec, LENGTH, vec![ram("0x40000000+128M"), ram("0x48000000+64M")]).unwrap()
        };
        assert_eq!(plan(42).digest(), plan(42).digest());
        assert_ne!(plan(42).digest(), plan(43).digest());
        // Known answers: a seed in a paper must mean the same with a later version of this program.
        let lines: String = plan(42).iter().map(|trial| trial.line()).collect();
        insta::assert_snapshot!(lines, @r"
        0 0 294626050 ram 0x478bbd9a 0x40
        1 0 32932687 ram 0x44dd7267 0x10
        2 1 97249638 ram 0x4aa58be5 0x02
        3 1 257509421 ram 0x4b8f46d6 0x10
        4 0 36652126 ram 0x439d2927 0x20
        5 0 163347464 ram 0x41d108e1 0x20
        ");
        insta::assert_snapshot!(plan(42).digest(), @"4fdd4e474379e37ed475b459275e7fdf208413941a2dfc1006fba530e1ab7a7f");
    }

    #[test]
    fn a_trial_does_not_depend_on_the_others() {
        let plan_spec = spec(trials(500), 2);
        let spaces = || vec![ram("0x40000000+1M"), ram("0x50000000+2M")];
        let plan = Plan::new(&plan_spec, LENGTH, spaces()).unwrap();
        let all: Vec<PlannedTrial> = plan.iter().collect();
        assert_eq!(all.len() as u64, plan.len());
        let other = Plan::new(&plan_spec, LENGTH, spaces()).unwrap();
        for trial in all.iter().rev() {
            assert_eq!(other.nth(trial.id).as_ref(), Some(trial));
        }
        assert_eq!(plan.nth(TrialId(500)), None);
    }

    #[test]
    fn any_part_of_a_plan_mixes_the_strata_as_the_whole_does() {
        let plan = Plan::new(&spec(trials(9000), 2), LENGTH, vec![ram("0+1M"), ram("0x200000+2M")]).unwrap();
        let stratum: Vec<u32> = plan.iter().map(|trial| trial.stratum).collect();
        let count = |ids: &mut dyn Iterator<Item = usize>| ids.filter(|id| stratum[*id] == 0).count();
        assert_eq!(count(&mut (0..9000)), 3000);
        // 500 of 1,500 are expected; five standard deviations are 84.
        for found in [count(&mut (0..1500)), count(&mut (7500..9000)), count(&mut (0..9000).step_by(6))] {
            assert!(found.abs_diff(500) < 84, "{found}");
        }
    }

    #[test]
    fn trials_are_shared_by_size_equally_or_as_the_strata_say() {
        let shared = |plan_spec: &CampaignSpec| -> Result<Vec<u64>, String> {
            let spaces = vec![ram("0+1M"), ram("0x200000+3M"), registers(4)];
            let plan = Plan::new(plan_spec, LENGTH, spaces).map_err(|error| error.to_string())?;
            Ok(plan.strata().iter().map(|stratum| stratum.trials).collect())
        };
        let mut own = spec(trials(1000), 3);
        assert!(shared(&own).unwrap_err().starts_with("stratum `s2` would get no trial: its share of 1000"));
        own.strata[2].trials = Some(100);
        assert_eq!(shared(&own).unwrap(), [225, 675, 100]);
        own.strata[0].share = Some(Share::HALF);
        assert_eq!(shared(&own).unwrap(), [500, 400, 100]);
        own.strata[1].trials = Some(500);
        assert!(shared(&own).unwrap_err().starts_with("the strata take 1100 trials by themselves, and"));
        own.strata[1].trials = Some(300);
        assert!(shared(&own).unwrap_err().contains("nobody takes the rest"));
        let equal = CampaignSpec { sharing: Sharing::Equal, ..spec(trials(1000), 3) };
        assert_eq!(shared(&equal).unwrap(), [334, 333, 333]);
        let margin = Size::Margin { margin: Share::new(0.01).unwrap(), confidence: Confidence::P95 };
        let equal = CampaignSpec { size: Some(margin), ..equal };
        assert_eq!(shared(&equal).unwrap(), [9604, 9604, 9604]);
        let mut whole = spec(Some(margin), 3);
        whole.strata[2].trials = Some(4);
        assert_eq!(shared(&whole).unwrap(), [2400, 7200, 4]);
        let mut alone = spec(None, 3);
        alone.strata.iter_mut().zip(1..).for_each(|(stratum, trials)| stratum.trials = Some(trials));
        assert_eq!(shared(&alone).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn registers_and_ram_can_be_strata_of_one_plan() {
        let mut plan_spec = spec(trials(100), 2);
        plan_spec.sharing = Sharing::Equal;
        let plan = Plan::new(&plan_spec, LENGTH, vec![registers(4), ram("0+16")]).unwrap();
        let mut kinds: BTreeMap<(u32, bool), u64> = BTreeMap::new();
        for trial in plan.iter() {
            let is_register = matches!(trial.plan.fault, Fault::Reg { .. });
            *kinds.entry((trial.stratum, is_register)).or_default() += 1;
        }
        assert_eq!(kinds, [((0, true), 50), ((1, false), 50)].into());
    }

    #[test]
    fn strata_that_share_a_fault_are_known() {
        let overlaps = |spaces: Vec<FaultSpace>| {
            Plan::new(&spec(trials(90), spaces.len()), LENGTH, spaces).unwrap().overlaps()
        };
        assert_eq!(overlaps(vec![ram("0+16"), ram("16+16"), registers(4)]), []);
        assert_eq!(overlaps(vec![ram("0+17"), ram("16+16"), ram("0+32")]), [(0, 1), (0, 2), (1, 2)]);
        assert_eq!(overlaps(vec![registers(2), ram("0+16"), registers(3)]), [(0, 2)]);
    }

    #[test]
    fn times_stay_within_the_golden_run() {
        let new =
            |times| Plan::new(&CampaignSpec { times, ..spec(trials(50), 1) }, LENGTH, vec![ram("0+64")]);
        let within =
            |from, to: Option<u64>| new(Times::Within { from: VirtualNs(from), to: to.map(VirtualNs) });
        let plan = within(10, Some(12)).unwrap();
        let times: HashSet<u64> = plan.iter().map(|trial| at(&trial).2).collect();
        assert_eq!(times, [10, 11].into());
        assert!(within(LENGTH.0 - 1, None).is_ok());
        assert!(matches!(within(LENGTH.0, None), Err(PlanError::NoTime { .. })));
        assert!(matches!(within(0, Some(LENGTH.0 + 1)), Err(PlanError::Late { .. })));
        assert!(matches!(new(Times::At(vec![LENGTH])), Err(PlanError::Late { .. })));
        assert!(matches!(
            Plan::new(&spec(trials(50), 2), LENGTH, vec![ram("0+64")]),
            Err(PlanError::Spaces { strata: 2, spaces: 1 })
        ));
    }

    #[test]
    fn a_space_of_many_years_and_gigabytes_costs_nothing() {
        let year = VirtualNs(31_536_000_000_000_000);
        let plan = Plan::new(&spec(trials(1000), 1), year, vec![ram("0+256G")]).unwrap();
        let drawn: HashSet<_> = plan.iter().map(|trial| at(&trial)).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().any(|(_, _, time)| *time > year.0 / 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_permutation_hits_every_number_once(seed: u64, number in 0u64..9, len in 1u128..700) {
            let permutation = Permutation::new(seed, number, len).unwrap();
            let mut seen = HashSet::new();
            for index in 0..len {
                let value = permutation.nth(index);
                prop_assert!(value < len && seen.insert(value));
            }
        }

        #[test]
        fn a_large_permutation_stays_within_and_differs(seed: u64, len in 1u128 << 64..1 << 120, index: u64) {
            let permutation = Permutation::new(seed, 1, len).unwrap();
            let (one, two) = (permutation.nth(index.into()), permutation.nth(u128::from(index) + 1));
            prop_assert!(one < len && two < len && one != two);
        }

        #[test]
        fn shares_add_up_and_are_within_one_of_their_part(
            total in 0u64..1 << 40,
            weights in prop::collection::vec(1u128..1 << 100, 1..6),
        ) {
            let parts = shares(total, &weights);
            prop_assert_eq!(parts.iter().sum::<u64>(), total);
            let sum = weights.iter().sum::<u128>() as f64;
            for (part, weight) in parts.iter().zip(&weights) {
                let exact = total as f64 * (*weight as f64 / sum);
                prop_assert!((*part as f64 - exact).abs() < 1.01, "{} {}", part, exact);
            }
        }
    }
}
