//! Tests of `moments`.

use proptest::prelude::*;

use super::*;

/// A run of 1,000 ns with these idle spans.
fn run(spans: &[(u64, u64)]) -> Run {
    let spans = spans.iter().map(|(from, length)| Span { from: VirtualNs(*from), length: *length });
    Run { idle: Some(Idle::new(VirtualNs(0), VirtualNs(1000), spans)), ..VirtualNs(1000).into() }
}

fn within(from: u64, to: Option<u64>) -> Times {
    Times::Within { from: VirtualNs(from), to: to.map(VirtualNs) }
}

fn all(moments: &Moments) -> Vec<u64> {
    (0..moments.len()).filter_map(|number| moments.nth(number)).map(|at| at.0).collect()
}

#[test]
fn idle_and_busy_moments_are_those_of_the_golden_run_within_the_times() {
    let run = run(&[(0, 3), (10, 5), (998, 9)]);
    let of = |when, from, to| Moments::new(&within(from, to), &when, &run).map(|moments| all(&moments));
    assert_eq!(of(When::Idle, 0, None).unwrap(), [0, 1, 2, 10, 11, 12, 13, 14, 998, 999]);
    assert_eq!(of(When::Idle, 2, Some(12)).unwrap(), [2, 10, 11]);
    assert_eq!(of(When::Busy, 2, Some(17)).unwrap(), [3, 4, 5, 6, 7, 8, 9, 15, 16]);
    assert_eq!(of(When::Instructions, 2, Some(17)), of(When::Busy, 2, Some(17)));
    assert_eq!(of(When::Time, 9, Some(12)).unwrap(), [9, 10, 11]);
    assert_eq!(of(When::Busy, 0, None).unwrap().len(), 990);
    let none = of(When::Idle, 100, Some(200)).unwrap_err().to_string();
    assert_eq!(
        none,
        "the guest never idles between 100 ns and 200 ns after the quiescent point; leave that stratum out"
    );
    let none = of(When::Busy, 10, Some(12)).unwrap_err().to_string();
    assert!(none.starts_with("the guest only idles between 10 ns and 12 ns"), "{none}");
}

#[test]
fn what_is_known_of_a_golden_run_is_counted_from_its_quiescent_point() {
    let mut golden = crate::testing::fake_campaign::golden();
    assert_eq!(Run::from(&golden).idle, None);
    let begin = golden.begin();
    let span = |from, length| Span { from: VirtualNs(from), length };
    golden.idle = Some(Idle::new(begin, golden.end(), [span(begin.0, 7), span(begin.0 + 100, 50)]));
    let run = Run::from(&golden);
    assert_eq!(run.idle.as_ref().unwrap().spans(), [span(0, 7), span(100, 50)]);
    assert_eq!((run.length, run.idle.unwrap().length()), (VirtualNs(400_000_000), 400_000_000));
}

#[test]
fn where_idle_times_are_not_known_only_all_of_them_can_be_drawn_from() {
    let run = Run::from(VirtualNs(1000));
    assert_eq!(Moments::new(&within(0, None), &When::Time, &run).unwrap().len(), 1000);
    for when in [When::Instructions, When::Busy, When::Idle] {
        let error = Moments::new(&within(0, None), &when, &run).unwrap_err();
        assert_eq!(error, MomentsError::NotKnown(when));
        assert!(error.to_string().contains("`setup qemu`"), "{error}");
    }
}

#[test]
fn the_instants_of_an_event_are_those_that_were_found_within_the_times() {
    let event: When = "symbol:vfs_read".parse().unwrap();
    assert_eq!((event.to_string().as_str(), event.unit()), ("symbol:vfs_read", "instants"));
    assert!(event.overlaps(&When::Idle) && event.overlaps(&event));
    let mut golden = crate::testing::fake_campaign::golden();
    let begin = golden.begin().0;
    let at = [3u64, 70, 500].map(|at| VirtualNs(begin + at)).to_vec();
    golden.events.insert(event.to_string(), at);
    let run = Run::from(&golden);
    let of = |from, to| Moments::new(&within(from, to), &event, &run).map(|moments| all(&moments));
    assert_eq!(of(0, None).unwrap(), [3, 70, 500]);
    assert_eq!(of(4, Some(500)).unwrap(), [70]);
    assert_eq!(
        of(71, Some(500)).unwrap_err().to_string(),
        "`symbol:vfs_read` does not come between 71 ns and 500 ns after the quiescent point; choose other times"
    );
    let other: When = "syscall:read".parse().unwrap();
    let error = Moments::new(&within(0, None), &other, &run).unwrap_err().to_string();
    assert_eq!(error, "it is not known when `syscall:read` comes; make the campaign again");
}

#[test]
fn only_busy_and_idle_have_nothing_in_common() {
    use When::{Busy, Idle, Instructions, Time};
    for (one, other, overlaps) in [
        (Busy, Idle, false),
        (Idle, Instructions, false),
        (Busy, Instructions, true),
        (Time, Idle, true),
        (Busy, Time, true),
        (Idle, Idle, true),
    ] {
        assert_eq!((one.overlaps(&other), other.overlaps(&one)), (overlaps, overlaps), "{one} {other}");
    }
    assert!("sometimes".parse::<When>().is_err());
    assert!(When::ALL.iter().all(|when| when.name().parse().as_ref() == Ok(when)));
}

proptest! {
    #[test]
    fn each_number_is_a_moment_of_the_kind_and_each_moment_has_one(
        spans in prop::collection::vec((0u64..1100, 0u64..90), 0..20),
        from in 0u64..999,
        length in 1u64..1000,
    ) {
        let to = (from + length).min(1000);
        let run = run(&spans);
        let is_idle = |at: &u64| spans.iter().any(|(first, length)| (*first..first + length).contains(at));
        for when in When::ALL {
            let expected: Vec<u64> = (from..to)
                .filter(|at| when.is_time() || is_idle(at) == (when == When::Idle))
                .collect();
            match Moments::new(&within(from, Some(to)), &when, &run) {
                Ok(moments) => {
                    prop_assert_eq!(all(&moments), expected);
                    prop_assert_eq!(moments.nth(moments.len()), None);
                }
                Err(error) => {
                    prop_assert!(expected.is_empty());
                    prop_assert!(matches!(error, MomentsError::None { .. }), "{}", error);
                }
            }
        }
    }
}
