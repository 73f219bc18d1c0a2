//! Tests of the coordinator, with workers that have no guest.

use super::*;
use crate::machine::process::ProcessError;
use crate::testing::fake_campaign as fake;
use crate::trial::template::TemplateError;

fn died() -> RunError {
    let (status, log) = ("exit status: 1".to_owned(), "the wrapper ends at once".to_owned());
    TemplateError::from(ProcessError::Ended { status, log }).into()
}

/// A worker whose guest does not start so many times in a row, before each trial that `is_bad`.
fn worker(
    number: usize,
    deaths: usize,
    is_bad: fn(u64) -> bool,
    control: Control,
    reports: &Sender<Report>,
    orders: &Receiver<Order>,
) {
    let (mut finished, mut died_already) = (Finished::Start, 0);
    while reports.send(Report { worker: number, finished, checked: false }).is_ok() {
        let Ok(order) = orders.recv() else { return };
        finished = match order {
            Order::Trial(planned, ..) if is_bad(planned.id.0) && died_already < deaths => {
                died_already += 1;
                Finished::Trial(Box::new((planned, Err(died()))))
            }
            Order::Trial(planned, _, is_control) => {
                died_already = 0;
                let ran = Ran::Done(fake::record(&planned), Vec::new());
                let ran = if is_control { ran.beside(control(planned.id.0)) } else { ran };
                Finished::Trial(Box::new((planned, Ok(ran))))
            }
            Order::LastCheck => Finished::LastCheck(Ok(())),
        };
    }
}

/// What the control trial beside a trial says.
type Control = fn(u64) -> Option<String>;

/// Runs 40 trials with workers whose guests do not start so many times in a row; how that went, what was given up,
/// and how many attempts were counted that were none.
fn run_with(deaths: &[usize], is_bad: fn(u64) -> bool) -> (Result<(), CampaignError>, Vec<usize>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut store =
        fake::create(&folder.path().join("c.sqlite"), &fake::spec(40, &["range:0x1000+4K"])).unwrap();
    let (result, given_up, summary) = run_store(&mut store, None, deaths, is_bad, |_| None);
    let status = store.status().unwrap();
    assert_eq!(status.done + summary.left, 40, "no trial is lost");
    (result, given_up, status.done)
}

/// Runs a campaign so.
fn run_store(
    store: &mut Store,
    limit: Option<TimeLimit>,
    deaths: &[usize],
    is_bad: fn(u64) -> bool,
    control: Control,
) -> (Result<(), CampaignError>, Vec<usize>, RunSummary) {
    let mut queue = Queue::new(store.pending_groups(Shard::WHOLE, None).unwrap(), limit);
    let (mut given_up, mut summary) = (Vec::new(), RunSummary::default());
    let result = std::thread::scope(|scope| {
        let (reports, inbox) = channel();
        let mut orders = Vec::new();
        for (number, deaths) in deaths.iter().enumerate() {
            let (order, theirs) = channel();
            orders.push(Some(order));
            let reports = reports.clone();
            scope.spawn(move || worker(number, *deaths, is_bad, control, &reports, &theirs));
        }
        drop(reports);
        let mut coordinator = Coordinator {
            shortcuts: None,
            controls: Some(Controls::new(store)),
            store,
            queue: &mut queue,
            halves: HashMap::new(),
            stop: || false,
            unchecked: vec![Vec::new(); deaths.len()],
            mismatches: 0,
            not_started: vec![0; deaths.len()],
            last_start: None,
            summary: RunSummary::default(),
            watch: &mut |progress| {
                if let Progress::GivenUp(worker, _) = progress {
                    given_up.push(worker);
                }
            },
        };
        let result = coordinator.coordinate(&inbox, &mut orders);
        summary = coordinator.summary;
        orders.clear();
        drop(inbox);
        result
    });
    summary.left = queue.len() as u64;
    (result, given_up, summary)
}

#[test]
fn a_run_whose_time_is_over_ends_in_order_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut store =
        fake::create(&folder.path().join("c.sqlite"), &fake::spec(2_000, &["range:0x1000+1M"])).unwrap();
    // Groups are of 400 trials.
    let limit = |longest| Some(TimeLimit { from: Instant::now(), longest });
    let (result, _, summary) =
        run_store(&mut store, limit(Duration::from_nanos(1)), &[0, 0], |_| false, |_| None);
    result.unwrap();
    assert!(summary.out_of_time && !summary.stopped && summary.left > 1_990, "{summary:?}");
    // A time that suffices for the first group and not for another: as if it had begun long ago.
    let longest = Duration::from_secs(40);
    let from = Instant::now().checked_sub(longest / 2).unwrap();
    let (result, _, summary) =
        run_store(&mut store, Some(TimeLimit { from, longest }), &[0, 0], |_| false, |_| None);
    result.unwrap();
    assert!(summary.out_of_time && summary.left == 1_600, "{summary:?}");
    // What is run is whole groups, all of which count.
    let found = crate::campaign::Summary::new(&store, &crate::campaign::summary::SummaryOptions::default());
    assert_eq!((found.as_ref().unwrap().totals.done, found.unwrap().totals.waiting), (400, 0));
    let (result, _, summary) =
        run_store(&mut store, limit(Duration::from_secs(3_600)), &[0, 0], |_| false, |_| None);
    result.unwrap();
    assert!(!summary.out_of_time && summary.left == 0, "{summary:?}");
}

#[test]
fn two_starts_that_fail_before_each_trial_end_nothing() {
    let (result, given_up, done) = run_with(&[2], |_| true);
    result.unwrap();
    assert_eq!((given_up, done), (Vec::new(), 40));
}

#[test]
fn a_worker_is_given_up_after_three_and_the_others_go_on() {
    let (result, given_up, done) = run_with(&[3, 0], |_| true);
    result.unwrap();
    assert_eq!((given_up, done), (vec![0], 40));
}

#[test]
fn a_worker_that_is_done_runs_what_one_leaves_that_is_given_up_last() {
    // The first has the last trial in hand when the other has nothing left to do.
    for _ in 0..50 {
        let (result, given_up, done) = run_with(&[3, 0], |id| id == 39);
        result.unwrap();
        assert!((given_up == [0] || given_up.is_empty()) && done == 40, "{given_up:?}");
    }
}

#[test]
fn each_worker_has_its_own_three_starts_whatever_the_others_use_up() {
    // Twice in a row each, for both at once: with a count in common that would be four.
    for _ in 0..20 {
        let (result, given_up, done) = run_with(&[2, 2, 2], |_| true);
        result.unwrap();
        assert_eq!((given_up, done), (Vec::new(), 40));
    }
}

#[test]
fn a_campaign_ends_when_no_worker_is_left_and_says_why() {
    for deaths in [&[3][..], &[3, 3]] {
        let (result, given_up, done) = run_with(deaths, |id| id == 7 || id >= 20);
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("no guest starts any more: QEMU ended right after its start"), "{text}");
        assert!(text.contains("the wrapper ends at once") && given_up.len() == deaths.len(), "{text}");
        assert!(done < 40);
    }
}

#[test]
fn some_trials_have_a_control_beside_them_and_one_that_fails_stops_all() {
    let folder = tempfile::tempdir().unwrap();
    let create =
        |name: &str| fake::create(&folder.path().join(name), &fake::spec(40, &["range:0x1000+4K"])).unwrap();
    let mut store = create("c.sqlite");
    run_store(&mut store, None, &[0, 0], |_| false, |_| None).0.unwrap();
    let status = store.status().unwrap();
    assert_eq!((status.done, status.counts.ways.controls), (40, 5));
    // The same five, whoever runs them; here the last one that comes fails.
    let mut other = create("o.sqlite");
    let (result, ..) =
        run_store(&mut other, None, &[0], |_| false, |_| Some("its outcome is latent".to_owned()));
    let error = result.unwrap_err().to_string();
    let done = other.status().unwrap().done;
    assert!(error.contains("failed: without any fault, its outcome is latent; the "), "{error}");
    // The worker's way back was never checked, so that nothing of it stays.
    assert_eq!(done, 0, "{error}");
    let has: Vec<u64> = (0..40).filter(|id| Controls::new(&other).has(TrialId(*id))).collect();
    assert!(has.iter().any(|id| error.contains(&format!("beside trial {id} failed"))), "{has:?} {error}");
}
