//! In which groups the trials of a plan are run, so that those that are done of an unfinished campaign are a fair sample.
//!
//! Trials are run in the order of their fault's time, as a worker walks forward only; those that are done of one group
//! are then its earliest ones, and fail more or less often than the others. A group that is done is a sample as the plan
//! is, as the plan's numbers are in random order. So a plan is run a group after the other, and rates are of whole groups.
//!
//! Invariant: **whether a batch is whole follows from which trials have a result, and from nothing else**: not from who
//! ran them, in which order, or in how many parts.

use std::collections::BTreeSet;

use crate::campaign::plan::TrialId;
use crate::campaign::shard::Shard;
use crate::units::VirtualNs;

/// A batch has as many trials as the golden run has milliseconds, within these bounds: a worker walks the golden run
/// once for each batch, which is then a small part of its work.
const TRIALS: (u64, u64) = (100, 1000);

/// The most parts that are looked for, and how many trials of each stage each of them has at least: where parts are smaller,
/// or more of them are looked for, the trials of one could all be done by chance.
const PARTS: [(u64, u64); 2] = [(256, 20), (16_384, 50)];

/// How a plan is cut into batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The numbers of the trials that each stage of the plan begins with.
    begins: Vec<u64>,
    planned: u64,
    trials: u64,
}

impl Batches {
    /// Of a plan with stages of so many trials; `golden` is how long the golden run is, where it is known.
    #[must_use]
    pub fn new(stages: impl IntoIterator<Item = u64>, golden: Option<VirtualNs>) -> Batches {
        let (least, most) = TRIALS;
        let (mut begins, mut planned) = (Vec::new(), 0);
        for trials in stages {
            begins.push(planned);
            planned += trials;
        }
        let trials = golden.map_or(most, |length| (length.0 / 1_000_000).clamp(least, most));
        Batches { begins, planned, trials }
    }

    /// The numbers that each stage begins with and ends before.
    fn stages(&self) -> impl Iterator<Item = (u64, u64)> {
        let ends = self.begins.iter().skip(1).chain([&self.planned]);
        self.begins.iter().copied().zip(ends.copied())
    }

    /// In how many batches so many trials are. All are of about one size; a small one at the end would soon be done by chance.
    fn count(&self, trials: u64) -> u64 {
        (trials / self.trials).max(1)
    }

    /// The trials of a part's first batch.
    fn first(&self, part: u64, parts: u64) -> impl Iterator<Item = u64> {
        let end = self.stages().next().map_or(0, |(_, end)| end);
        let own = Shard { index: part, count: parts }.trials_of(end);
        of_part(part, parts, end).take(usize::try_from(own.div_ceil(self.count(own))).unwrap_or(usize::MAX))
    }

    /// The most parts that are looked for in this plan.
    fn most_parts(&self) -> u64 {
        let shortest = self.stages().map(|(begin, end)| end - begin).min().unwrap_or(0);
        PARTS.map(|(parts, least)| parts.min(shortest / least)).into_iter().max().unwrap_or(0)
    }

    /// The batch that a trial is in, of one of `parts` parts of the plan. A stage has its own batches.
    #[must_use]
    pub fn of(&self, id: TrialId, parts: u64) -> u64 {
        // How many trials of its part are numbered below.
        let below = |number: u64| Shard { index: id.0 % parts, count: parts }.trials_of(number);
        let mut before = 0;
        for (begin, end) in self.stages() {
            let own = below(end) - below(begin);
            let batches = self.count(own);
            if id.0 < end {
                let place =
                    u128::from(below(id.0) - below(begin)) * u128::from(batches) / u128::from(own.max(1));
                return before + u64::try_from(place).unwrap_or(u64::MAX);
            }
            before += batches;
        }
        before
    }
}

/// Which trials of a plan have a result: a bit each, as a plan may have many millions.
#[derive(Clone, Debug)]
pub struct Done {
    planned: u64,
    count: u64,
    bits: Vec<u64>,
}

impl Done {
    /// None of so many.
    #[must_use]
    pub fn none_of(planned: u64) -> Done {
        let words = usize::try_from(planned.div_ceil(64)).unwrap_or(0);
        Done { planned, count: 0, bits: vec![0; words] }
    }

    /// Notes that a trial has one.
    pub fn add(&mut self, id: TrialId) {
        let word = usize::try_from(id.0 / 64).ok().and_then(|at| self.bits.get_mut(at));
        if let Some(word) = word.filter(|word| **word >> (id.0 % 64) & 1 == 0) {
            *word |= 1 << (id.0 % 64);
            self.count += 1;
        }
    }

    fn has(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|at| self.bits.get(at));
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The numbers of those that have one, or of those that have none.
    fn numbers(&self, done: bool) -> impl Iterator<Item = u64> {
        let words = (0..)
            .step_by(64)
            .zip(&self.bits)
            .map(move |(from, bits)| (from, if done { *bits } else { !bits }));
        let ones = |(from, bits): (u64, u64)| {
            let next = |bits: &u64| Some(bits & (bits - 1)).filter(|bits| *bits != 0);
            std::iter::successors(Some(bits).filter(|bits| *bits != 0), next)
                .map(move |bits| from + u64::from(bits.trailing_zeros()))
        };
        words.flat_map(ones).take_while(|number| *number < self.planned)
    }

    /// Whether the first batch of one of so many parts is whole, and nothing of another part is done.
    fn may_be_of(&self, parts: u64, batches: &Batches) -> bool {
        (0..parts).any(|part| batches.first(part, parts).all(|number| self.has(number)))
            && (0..parts).any(|part| of_part(part, parts, self.planned).all(|number| !self.has(number)))
    }
}

/// The numbers of a part's trials, below one.
fn of_part(part: u64, parts: u64, end: u64) -> impl Iterator<Item = u64> {
    (0..)
        .map_while(move |place: u64| place.checked_mul(parts)?.checked_add(part))
        .take_while(move |number| *number < end)
}

/// The batches of a plan of which every trial has a result.
#[derive(Clone, Debug)]
pub struct Whole {
    batches: Batches,
    /// In how many parts the plan was run.
    parts: u64,
    /// Parts and batches of them that have trials without a result.
    open: BTreeSet<(u64, u64)>,
}

impl Whole {
    /// Of a plan of which every trial has a result.
    #[must_use]
    pub fn all(batches: Batches) -> Whole {
        Whole { batches, parts: 1, open: BTreeSet::new() }
    }

    /// Of a plan of which these trials have a result.
    ///
    /// A shard of a plan has its own batches. That a file holds shards shows by the trials that are in it: all of
    /// some parts of the plan and none of another.
    #[must_use]
    pub fn new(batches: Batches, done: &Done) -> Whole {
        let one = Whole::among(batches, 1, done);
        let counts = |whole: &Whole| done.numbers(true).any(|id| whole.has(TrialId(id)));
        if done.count == 0 || counts(&one) {
            return one;
        }
        let batches = &one.batches;
        let mut found = (2..=batches.most_parts()).filter(|parts| done.may_be_of(*parts, batches));
        found.find_map(|parts| Some(Whole::among(batches.clone(), parts, done)).filter(counts)).unwrap_or(one)
    }

    /// The same where it is known in how many parts the plan is run.
    #[must_use]
    pub fn among(batches: Batches, parts: u64, done: &Done) -> Whole {
        let mut open = BTreeSet::new();
        for id in done.numbers(false) {
            // Millions of a few hundred batches: no list of all is made first.
            open.insert((id % parts, batches.of(TrialId(id), parts)));
        }
        Whole { batches, parts, open }
    }

    /// Whether all trials of this one's batch have a result.
    #[must_use]
    pub fn has(&self, id: TrialId) -> bool {
        self.open.is_empty() || !self.open.contains(&(id.0 % self.parts, self.batches.of(id, self.parts)))
    }
}

#[cfg(test)]
mod tests;
