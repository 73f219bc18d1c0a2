//! How large a campaign can be: made-up results, in the amounts of a cluster.
//!
//! Nothing is measured here unasked. `docs/cluster.md` has what came out of
//!
//! ```sh
//! FLIPSIM_SCALE=1000000 cargo test --release --package xtask --test scale -- --ignored --nocapture --test-threads=1
//! ```

#![expect(clippy::unwrap_used, reason = "what a test stands on may fail as the test itself")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{Shard, Store, Summary};
use flipsim::pack::{Slices, State, Taken};
use flipsim::report::{PageOptions, page};
use flipsim::testing::fake_campaign as fake;

/// The most memory that this process had since the last time that it was asked, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    peak();
    let began = Instant::now();
    let done = work();
    println!("{what:<28} {:8.2} s  {:6} MiB", began.elapsed().as_secs_f64(), peak());
    done
}

#[test]
#[ignore = "takes minutes; the file's head has the command"]
fn merge_and_report_of_a_large_campaign_stay_within_a_gibibyte() {
    let trials: u64 = std::env::var("FLIPSIM_SCALE").ok().map_or(100_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: String| folder.path().join(name);
    let spec = fake::spec(trials, &["range:0x40000000+1G", "class:core"]);
    let whole = at("whole.sqlite".to_owned());
    let mut store = step("plan", || fake::create(&whole, &spec).unwrap());
    println!("{trials} trials: plan {} MiB", size(&whole) >> 20);
    let plan = at("plan.sqlite".to_owned());
    store.copy_plan(&plan).unwrap();
    step("results", || fake::fill(&mut store, usize::MAX).unwrap());
    drop(store);
    println!("with results {} MiB", size(&whole) >> 20);
    let store = step("open", || Store::open_readonly(&whole).unwrap());
    let parts: Vec<_> = (0..8).map(|number| at(format!("part-{number}"))).collect();
    for (number, part) in (0..).zip(&parts).take(1) {
        step("a part of 8", || store.copy_part(part, Shard::of(number, 8).unwrap()).unwrap());
        println!("a part {} MiB", size(part) >> 20);
    }
    for (number, part) in (0..).zip(&parts).skip(1) {
        store.copy_part(part, Shard::of(number, 8).unwrap()).unwrap();
    }
    let mut merged = Store::open(&plan).unwrap();
    let mib = peak_of("merge", || _ = merged.merge(&parts).unwrap());
    assert!(mib < 1024);
    let mib = peak_of("what is missing", || assert_eq!(merged.missing(64).unwrap(), []));
    assert!(mib < 1024);
    let (mut summary, mut text) = (None, String::new());
    let mib =
        peak_of("summary", || summary = Some(Summary::new(&merged, &SummaryOptions::default()).unwrap()));
    assert!(mib < 1024);
    let options =
        PageOptions { campaign: "fake".into(), made: jiff::Timestamp::now(), public: false, mission: None };
    let mib = peak_of("page", || text = page(&merged, summary.as_ref().unwrap(), &options).unwrap());
    assert!(mib < 1024);
    println!("the page {} MiB", text.len() >> 20);
}

#[test]
#[ignore = "takes minutes; the file's head has the command"]
fn slices_are_handed_out_to_a_thousand_machines() {
    const ELEMENTS: u64 = 1_000;
    const SLICES: u64 = 8_000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let join = |number: u64| Slices::join(folder.path(), "c", "5ea1", &format!("7_{number}"), "n").unwrap();
    let elements: Vec<Slices> = step("1,000 elements join", || (0..ELEMENTS).map(join).collect());
    let taken = AtomicU64::new(0);
    step("8,000 slices are taken", || {
        std::thread::scope(|scope| {
            for (number, some) in (0..).zip(elements.chunks(elements.len() / 8)) {
                let taken = &taken;
                scope.spawn(move || {
                    // One slice each in turn, as if all were equally fast.
                    for turn in 0..SLICES / ELEMENTS + 1 {
                        for (at, element) in (0..).zip(some) {
                            let first = (number * some.len() as u64 + at) * (SLICES / ELEMENTS);
                            let Taken::Slice(claim) = element.take(SLICES, first + turn).unwrap() else {
                                continue;
                            };
                            assert!(element.say(&claim, State::Done, 9, 9).unwrap());
                            taken.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
    });
    assert_eq!(taken.into_inner(), SLICES);
    step("one more looks in vain", || {
        assert!(matches!(join(ELEMENTS).take(SLICES, 0).unwrap(), Taken::Nothing(0)));
    });
}

fn peak_of(what: &str, work: impl FnOnce()) -> u64 {
    peak();
    let began = Instant::now();
    work();
    let mib = peak();
    println!("{what:<28} {:8.2} s  {mib:6} MiB", began.elapsed().as_secs_f64());
    mib
}
