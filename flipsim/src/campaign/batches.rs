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

    /// The trials of a part's first batch.
    fn first(&self, part: u64, parts: u64) -> impl Iterator<Item = u64> {
        let end = self.begins.get(1).copied().unwrap_or(self.planned);
        let own = end.saturating_sub(part).div_ceil(parts);
        let batches = (own / self.trials).max(1);
        of_part(part, parts, end).take(usize::try_from(own.div_ceil(batches)).unwrap_or(usize::MAX))
    }

    /// The most parts that are looked for in this plan.
    fn most_parts(&self) -> u64 {
        let ends = self.begins.iter().skip(1).chain([&self.planned]);
        let shortest = self.begins.iter().zip(ends).map(|(begin, end)| end - begin).min().unwrap_or(0);
        PARTS.map(|(parts, least)| parts.min(shortest / least)).into_iter().max().unwrap_or(0)
    }

    /// The batch that a trial is in, of one of `parts` parts of the plan. A stage has its own batches.
    #[must_use]
    pub fn of(&self, id: TrialId, parts: u64) -> u64 {
        // How many trials of its part are numbered below.
        let below = |number: u64| (number + parts - 1).saturating_sub(id.0 % parts) / parts;
        let ends = self.begins.iter().skip(1).chain([&self.planned]);
        let mut before = 0;
        for (begin, end) in self.begins.iter().zip(ends) {
            let own = below(*end) - below(*begin);
            // All are of about one size; a small one at the end would soon be done by chance.
            let batches = (own / self.trials).max(1);
            if id.0 < *end {
                let place =
                    u128::from(below(id.0) - below(*begin)) * u128::from(batches) / u128::from(own.max(1));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HUNDRED: Option<VirtualNs> = Some(VirtualNs(100_000_000));

    fn done_of(planned: u64, is_done: impl Fn(u64) -> bool) -> Done {
        let mut done = Done::none_of(planned);
        (0..planned).filter(|id| is_done(*id)).for_each(|id| done.add(TrialId(id)));
        done
    }

    fn counted(whole: &Whole, planned: u64, done: impl Fn(u64) -> bool) -> Vec<u64> {
        (0..planned).filter(|id| done(*id) && whole.has(TrialId(*id))).collect()
    }

    #[test]
    fn a_long_golden_run_has_large_batches() {
        let size = |ms: u64| Batches::new([100_000], Some(VirtualNs(ms * 1_000_000))).trials;
        assert_eq!(
            (size(3), size(370), size(60_000), Batches::new([9], None).trials),
            (100, 370, 1000, 1000)
        );
    }

    #[test]
    fn a_batch_counts_once_its_last_trial_is_done() {
        let batches = Batches::new([1_000], HUNDRED);
        let of = |last: u64| {
            let done = move |id: u64| id < last && id != 150;
            counted(&Whole::new(batches.clone(), &done_of(1_000, done)), 1_000, done).len()
        };
        assert_eq!([of(99), of(100), of(199), of(200), of(300)], [0, 100, 100, 100, 200]);
        let all = Whole::all(batches.clone());
        assert_eq!(counted(&all, 1_000, |_| true).len(), 1_000);
        // A short rest is no batch by itself.
        let short = Batches::new([250], HUNDRED);
        assert_eq!((0..250).map(|id| short.of(TrialId(id), 1)).collect::<BTreeSet<_>>().len(), 2);
    }

    #[test]
    fn a_finished_shard_is_whole_and_half_of_it_is_not() {
        let batches = Batches::new([3_000], HUNDRED);
        let whole = |done: &dyn Fn(u64) -> bool| {
            counted(&Whole::new(batches.clone(), &done_of(3_000, done)), 3_000, done).len()
        };
        assert_eq!(whole(&|id| id % 4 == 1), 750);
        // Two of six.
        assert_eq!(whole(&|id| id % 6 == 1 || id % 6 == 4), 1000);
        // The first batch of it, and some of the second.
        let second = |id: u64| batches.of(TrialId(id), 4) == 1 && id % 8 == 1;
        assert_eq!(whole(&|id| id % 4 == 1 && (batches.of(TrialId(id), 4) == 0 || second(id))), 108);
        assert_eq!(whole(&|id| id % 4 == 1 && (id.wrapping_mul(2_654_435_761) >> 9) & 1 == 1), 0);
    }

    #[test]
    fn slices_of_many_machines_are_known_and_half_of_a_plan_is_not_taken_for_some() {
        let planned = 100_000;
        let batches = Batches::new([planned], HUNDRED);
        let count = |is_done: &dyn Fn(u64) -> bool| {
            counted(&Whole::new(batches.clone(), &done_of(planned, is_done)), planned, is_done).len()
        };
        assert_eq!(count(&|id| id % 2_000 < 700), 35_000);
        let mixed = |id: u64| (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let drawn = |id: u64| (mixed(id) ^ mixed(id) >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56;
        for share in [1, 128, 200] {
            assert_eq!(count(&|id| drawn(id) < share), 0, "{share} of 256");
        }
    }

    #[test]
    fn a_single_trial_of_a_short_stage_is_no_part() {
        // 900 of the first stage's thousand, when a large second one was drawn.
        let batches = Batches::new([4_000, 200_000], Some(VirtualNs(1_000_000_000)));
        let is_done = |id: u64| id < 1_000 && id % 10 != 3;
        assert_eq!(counted(&Whole::new(batches, &done_of(204_000, is_done)), 204_000, is_done).len(), 0);
    }

    #[test]
    fn where_the_number_of_parts_is_known_none_is_looked_for() {
        let batches = Batches::new([3_000], HUNDRED);
        let is_done = |id: u64| id % 400 == 7;
        let done = done_of(3_000, is_done);
        assert_eq!(
            counted(&Whole::new(batches.clone(), &done), 3_000, is_done).len(),
            0,
            "eight each are too few"
        );
        assert_eq!(counted(&Whole::among(batches, 400, &done), 3_000, is_done).len(), 8);
    }

    #[test]
    fn a_stage_that_is_done_stays_whole_when_another_begins() {
        let batches = Batches::new([1_000, 450], HUNDRED);
        let of = |last: u64| {
            let done = move |id: u64| id < last;
            counted(&Whole::new(batches.clone(), &done_of(1_450, done)), 1_450, done).len()
        };
        assert_eq!([of(999), of(1_000), of(1_112), of(1_113), of(1_450)], [900, 1_000, 1_000, 1_113, 1_450]);
        // The same of a shard.
        let done = |id: u64| id % 2 == 1 && id < 1_000;
        assert_eq!(counted(&Whole::new(batches.clone(), &done_of(1_450, done)), 1_450, done).len(), 500);
    }

    proptest! {
        #[test]
        fn what_counts_is_done_and_its_batch_has_no_trial_that_is_not(
            planned in 1u64..2_000, parts in 1u64..6, until in 0u64..2_000
        ) {
            let batches = Batches::new([planned], HUNDRED);
            let done = |id: u64| id.is_multiple_of(parts) && id < until;
            let left: Vec<TrialId> = (0..planned).filter(|id| !done(*id)).map(TrialId).collect();
            let whole = Whole::new(batches.clone(), &done_of(planned, done));
            for id in counted(&whole, planned, done) {
                let key = (id % whole.parts, batches.of(TrialId(id), whole.parts));
                prop_assert!(left.iter().all(|other| (other.0 % whole.parts, batches.of(*other, whole.parts)) != key));
            }
            // Batches come one after the other.
            let order: Vec<u64> = (0..planned).filter(|id| id.is_multiple_of(parts)).map(|id| batches.of(TrialId(id), parts)).collect();
            prop_assert!(order.is_sorted());
        }
    }
}
