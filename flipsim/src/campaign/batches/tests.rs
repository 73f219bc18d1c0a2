//! Tests of `batches`.

use proptest::prelude::*;

use super::*;

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
    assert_eq!((size(3), size(370), size(60_000), Batches::new([9], None).trials), (100, 370, 1000, 1000));
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
