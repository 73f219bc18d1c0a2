//! A summary against what it was made of.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::campaign::plan::TrialId;
use crate::campaign::shard::Shard;
use crate::campaign::store::open::Store;
use crate::campaign::store::write::Recorded;
use crate::stats::raw::Spread;
use crate::stats::tally::Method;
use crate::stats::{Confidence, Interval, Observed, SpaceSize, proportion, strata};
use crate::testing::fake_campaign as fake;
use crate::trial::{Outcome, TrialRecord};
use crate::units::{Timing, VirtualNs};

const STRATA: [&str; 3] = ["range:0x40000000+1M", "range:0x50000000+3M", "class:core"];

fn campaign(folder: &Path, trials: u64, targets: &[&str]) -> Store {
    fake::create(&folder.join("c.sqlite"), &fake::spec(trials, targets)).unwrap()
}

fn summary(store: &Store) -> Summary {
    Summary::new(store, &SummaryOptions::default()).unwrap()
}

/// Records the first trials, each as `change` makes it.
fn record(store: &mut Store, count: usize, change: impl Fn(&mut TrialRecord)) {
    let mut pending = store.pending(Shard::WHOLE).unwrap();
    pending.sort_unstable();
    for id in pending.into_iter().take(count) {
        let mut record = fake::record(&store.planned(id).unwrap());
        change(&mut record);
        store.record(id, &record).unwrap();
    }
}

fn lose(store: &mut Store, id: TrialId) {
    while store.fail(id, "QEMU died").unwrap() != Recorded::GivenUp {}
}

/// What must hold of any summary.
fn check(summary: &Summary) {
    let sum = |outcomes: &BTreeMap<Outcome, u64>| outcomes.values().sum::<u64>();
    let totals = &summary.totals;
    assert_eq!(totals.planned, totals.done + totals.pending);
    assert_eq!(totals.done, sum(&totals.outcomes) + totals.infra + totals.not_flipped);
    let all = |of: fn(&StratumSummary) -> u64| summary.strata.iter().map(of).sum::<u64>();
    assert_eq!(all(|stratum| stratum.planned), totals.planned);
    assert_eq!(all(|stratum| stratum.counted), totals.counted);
    assert_eq!(all(|stratum| stratum.waiting), totals.waiting);
    assert_eq!(all(|stratum| stratum.done), totals.done);
    assert!(all(|stratum| stratum.infra) <= totals.infra);
    if totals.pending == 0 {
        assert_eq!((totals.waiting, all(|stratum| stratum.infra)), (0, totals.infra));
        assert_eq!(all(|stratum| stratum.not_flipped), totals.not_flipped);
    }
    for stratum in &summary.strata {
        let lost = stratum.infra + stratum.not_flipped;
        assert_eq!(stratum.done, stratum.counted + stratum.waiting + lost);
        assert_eq!(stratum.missing.as_ref().map_or(0, |missing| missing.trials), lost);
        for bounds in stratum.missing.iter().flat_map(|missing| &missing.bounds) {
            let entry = stratum.outcomes.iter().map(|entry| (entry.outcome.name(), entry.rate));
            let mut entry =
                entry.chain(stratum.classes.iter().map(|entry| (entry.outcome.name(), entry.rate)));
            let (_, rate) = entry.find(|(name, _)| *name == bounds.name).unwrap();
            assert!(rate.is_none_or(|rate| bounds.lower <= rate.value && rate.value <= bounds.upper));
            assert!(bounds.interval.lower <= bounds.lower && bounds.upper <= bounds.interval.upper);
        }
        let coverage = stratum.coverage.as_ref();
        let failed = stratum.class(Class::Failure).map_or(0, |entry| entry.count);
        assert_eq!(coverage.map_or(0, |coverage| coverage.failures), failed);
        assert_eq!(coverage.is_some(), stratum.counted > 0);
        for (together, entry) in stratum.simultaneous.iter().zip(&stratum.outcomes) {
            assert!(together.interval.contains(entry.rate.unwrap().value));
        }
        assert_eq!(stratum.outcomes.iter().map(|entry| entry.count).sum::<u64>(), stratum.counted);
        assert!(stratum.outcomes.iter().all(|entry| entry.outcome != Outcome::Infra));
        let rates = stratum.outcomes.iter().map(|entry| (entry.count, &entry.rate));
        for (count, rate) in rates.chain(stratum.classes.iter().map(|entry| (entry.count, &entry.rate))) {
            assert_eq!(rate.is_some(), stratum.counted > 0);
            let Some(rate) = rate else { continue };
            assert_eq!(rate.value, count as f64 / stratum.counted as f64);
            for method in [Method::Wilson, Method::ClopperPearson] {
                assert!(rate.estimate(method).interval.contains(rate.value));
            }
            let failures = rate.failures.unwrap();
            assert!(failures.interval.contains(failures.value));
            let exact = stratum.population * rate.value;
            assert!((failures.value - exact).abs() <= 1e-12 * exact);
        }
        for by in By::ALL {
            let Breakdown { rows, rest } = stratum.by.get(by);
            let trials = rows.iter().map(|row| row.trials).chain(rest.iter().map(|rest| rest.trials));
            assert_eq!(trials.sum::<u64>(), stratum.counted, "{} by {}", stratum.name, by.name());
            for entry in &stratum.outcomes {
                let of =
                    |outcomes: &BTreeMap<Outcome, u64>| outcomes.get(&entry.outcome).copied().unwrap_or(0);
                let counts = rows
                    .iter()
                    .map(|row| of(&row.outcomes))
                    .chain(rest.iter().map(|rest| of(&rest.outcomes)));
                assert_eq!(counts.sum::<u64>(), entry.count);
            }
            for row in rows {
                assert_eq!(row.trials, sum(&row.outcomes));
                assert!(row.failures() <= row.trials);
                assert!(row.failure.wilson.contains(row.failure.value));
            }
        }
        let last = stratum.convergence.last();
        assert_eq!(last.map_or(0, |row| row.observed.trials()), stratum.counted);
        assert!(stratum.convergence.len() <= 200);
        if let Some(last) = last {
            assert_eq!(Some(last.observed.hits()), stratum.class(Class::Failure).map(|entry| entry.count));
        }
        assert_eq!(stratum.survival.as_ref().map_or(0, |curve| curve.guests), stratum.counted);
        for times in stratum.detection.iter().chain(&stratum.crash) {
            assert!(times.shortest <= times.longest && times.trials <= times.of);
            for quantile in &times.quantiles {
                assert!(times.shortest <= quantile.time.value && quantile.time.value <= times.longest);
            }
        }
    }
    for pooled in &summary.pooled {
        assert_eq!(pooled.why_not.is_none(), !pooled.classes.is_empty());
        let rates = pooled.outcomes.iter().map(|entry| (entry.rate, entry.failures));
        for (rate, failures) in rates.chain(pooled.classes.iter().map(|entry| (entry.rate, entry.failures))) {
            assert!(rate.interval.contains(rate.value) && failures.interval.contains(failures.value));
        }
    }
    let json = serde_json::to_string(summary).unwrap();
    assert!(!json.contains("NaN"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_counted_adds_up_however_far_a_campaign_is(
        done in 0usize..120, lost in proptest::collection::btree_set(0u64..120, 0..10), confidence in 0.6..0.999f64,
        top in 0usize..5
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = campaign(folder.path(), 120, &STRATA);
        for id in &lost {
            lose(&mut store, TrialId(*id));
        }
        fake::fill(&mut store, done).unwrap();
        let options = SummaryOptions {
            confidence: Confidence::new(confidence).unwrap(),
            top,
            points: 7,
            short: false,
        };
        let found = Summary::new(&store, &options).unwrap();
        check(&found);
        prop_assert_eq!(found.totals.infra, lost.len() as u64);
        prop_assert_eq!(found.totals.done as usize, lost.len() + done.min(120 - lost.len()));
        let named = |stratum: &StratumSummary| stratum.by.symbol.rows.iter().filter(|row| row.key.is_some()).count();
        prop_assert!(found.strata.iter().all(|stratum| named(stratum) <= top));
    }
}

#[test]
fn infra_and_flips_that_did_not_take_are_in_no_rate() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 100, &["range:0x40000000+1M"]);
    record(&mut store, 60, |record| {
        record.outcome = Some(if record.flip_ns % 2 == 0 { Outcome::Sdc } else { Outcome::Masked });
    });
    // They are the earliest of all, and no rate is known of those.
    let before = summary(&store);
    check(&before);
    assert_eq!((before.totals.waiting, before.totals.counted), (60, 0));
    assert!(before.strata[0].class(Class::Failure).unwrap().rate.is_none());
    let text = before.warnings[0].to_string();
    assert!(text.contains("40 of 100 trials are pending") && text.contains("no rate is known yet"), "{text}");
    assert_eq!(before.warnings.len(), 1);
    record(&mut store, 20, |record| {
        (record.outcome, record.flipped, record.error) = (None, false, Some("stuck".to_owned()));
    });
    (80..100).for_each(|id| lose(&mut store, TrialId(id)));
    let after = summary(&store);
    check(&after);
    assert_eq!((after.totals.infra, after.totals.not_flipped, after.totals.counted), (20, 20, 60));
    assert_eq!(after.totals.lost, 60);
    let stratum = &after.strata[0];
    let failure = stratum.class(Class::Failure).unwrap();
    assert_eq!(failure.rate.unwrap().value, failure.count as f64 / 60.0);
    assert_eq!(
        (stratum.survival.as_ref().unwrap().guests, stratum.convergence.last().unwrap().observed.trials()),
        (60, 60)
    );
    assert_eq!(before.totals.outcomes, after.totals.outcomes);
    // Forty of a hundred may have failed, or none.
    let bounds = stratum.missing.as_ref().unwrap().of("failure").unwrap();
    let hits = failure.count as f64;
    assert_eq!((bounds.lower, bounds.upper), (hits / 100.0, (hits + 40.0) / 100.0));
    let kinds: Vec<&str> = after.warnings.iter().map(Warning::kind).collect();
    assert_eq!(kinds, ["infra", "not-flipped", "too-few"]);
}

#[test]
fn strata_are_pooled_by_their_faults_and_only_with_their_kind() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 600, &STRATA);
    fake::fill(&mut store, 600).unwrap();
    let found = summary(&store);
    check(&found);
    let [pooled] = found.pooled.as_slice() else { panic!("{:?}", found.pooled) };
    assert_eq!((pooled.kind, pooled.strata.len(), pooled.bits), (SpaceKind::Ram, 2, Some(4 << 23)));
    let part = |index: usize| {
        let stratum = &found.strata[index];
        let hits = stratum.class(Class::Failure).unwrap().count;
        let size = SpaceSize(u128::from(stratum.faults) * u128::from(stratum.times));
        strata::StratumCount::new(&stratum.name, size, hits, stratum.counted).unwrap()
    };
    let expected = strata::Strata::new(vec![part(0), part(1)], strata::Drawing::WithoutReplacement).unwrap();
    let rate = pooled.class(Class::Failure).unwrap();
    assert_eq!(rate.rate, expected.estimate(Confidence::P95));
    // A quarter of the faults are in the first.
    let of = |index: usize| part(index).known().value();
    assert!((rate.rate.value - (of(0) + 3.0 * of(1)) / 4.0).abs() < 1e-12);
    assert!((rate.failures.value / pooled.population - rate.rate.value).abs() < 1e-12);
}

#[test]
fn strata_that_overlap_or_have_no_trial_are_not_pooled() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 60, &["range:0x40000000+1M", "range:0x400ff000+4M"]);
    fake::fill(&mut store, 60).unwrap();
    let found = summary(&store);
    let why = found.pooled[0].why_not.as_deref().unwrap();
    assert_eq!(why, "1M and 4M have faults in common");
    assert!(found.warnings.iter().any(|warning| warning.kind() == "not-pooled"));
    drop(store);
    let other = tempfile::tempdir().unwrap();
    let store = campaign(other.path(), 60, &["range:0x40000000+1M", "range:0x50000000+4M"]);
    let found = summary(&store);
    check(&found);
    assert!(found.pooled[0].why_not.as_deref().unwrap().contains("no trial of stratum `1M`"));
    assert!(found.costs.is_none() && found.totals.timing.is_none());
}

#[test]
fn a_file_that_does_not_say_whether_strata_overlap_has_no_pooled_rate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite");
    let mut store = fake::create(&path, &fake::spec(60, &STRATA)).unwrap();
    fake::fill(&mut store, 60).unwrap();
    drop(store);
    let file = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(file.execute("DELETE FROM meta WHERE key = 'overlaps'", []).unwrap(), 1);
    drop(file);
    crate::campaign::store::damage::reseal(&path);
    let found = summary(&Store::open_readonly(&path).unwrap());
    check(&found);
    let why = found.pooled[0].why_not.as_deref().unwrap();
    assert!(why.contains("does not say whether they overlap"), "{why}");
}

/// Newcombe 1998, table I, methods 3 and 5, as `crate::stats::proportion` is checked, through records.
#[test]
fn rates_of_records_are_those_of_the_published_table() {
    for (hits, trials, score, exact) in [
        (81, 263, [0.2553, 0.3662], [0.2527, 0.3676]),
        (15, 148, [0.0624, 0.1605], [0.0578, 0.1617]),
        (0, 20, [0.0, 0.1611], [0.0, 0.1684]),
        (1, 29, [0.0061, 0.1718], [0.0009, 0.1776]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = campaign(folder.path(), trials, &["range:0x40000000+1M"]);
        record(&mut store, hits, |record| record.outcome = Some(Outcome::Sdc));
        record(&mut store, trials as usize, |record| record.outcome = Some(Outcome::Latent));
        let found = summary(&store);
        check(&found);
        let rate = found.strata[0].class(Class::Failure).unwrap().rate.unwrap();
        assert_eq!(found.strata[0].outcome(Outcome::Sdc).unwrap().rate, Some(rate));
        let round =
            |interval: Interval| [interval.lower, interval.upper].map(|end| (end * 1e4).round() / 1e4);
        assert_eq!((round(rate.wilson), round(rate.clopper_pearson)), (score, exact));
        // 2^23 bits at 4·10^8 times.
        let space = 8_388_608.0 * 4e8;
        let failures = rate.failures.unwrap();
        assert!((failures.interval.upper / space - rate.wilson.upper).abs() < 1e-12);
    }
}

/// Each guest's life in the order of the plan, with the outcome it is to have.
fn lives(lives: &[(Outcome, u64)], converged: bool) -> SurvivalCurve {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = fake::spec(lives.len() as u64, &["range:0x40000000+1M"]);
    spec.times = crate::campaign::spec::Times::At(vec![VirtualNs(0)]);
    let mut store = fake::create(&folder.path().join("c.sqlite"), &spec).unwrap();
    for (id, (outcome, time)) in (0..).map(TrialId).zip(lives) {
        let record = fake::record(&store.planned(id).unwrap());
        let end_ns = record.flip_ns + time;
        let crashed = *outcome == Outcome::Crash;
        let record = TrialRecord {
            outcome: Some(*outcome),
            end_ns,
            end: crashed.then_some(crate::machine::End::Panic),
            converged_ns: (converged && *outcome == Outcome::Masked).then_some(end_ns),
            ..record
        };
        store.record(id, &record).unwrap();
    }
    summary(&store).strata.remove(0).survival.unwrap()
}

/// Freireich's 6-MP arm in weeks (Klein and Moeschberger, table 4.1A): as `crate::stats::survival` is
/// checked, but through records, and with hangs and other outcomes among the censored.
#[test]
fn survival_through_records_is_that_of_the_published_table() {
    use Outcome::{Crash, Detected, Hang, Latent, Sdc};
    let weeks = [
        (Crash, 6),
        (Crash, 6),
        (Crash, 6),
        (Hang, 6),
        (Crash, 7),
        (Sdc, 9),
        (Crash, 10),
        (Latent, 10),
        (Detected, 11),
        (Crash, 13),
        (Crash, 16),
        (Hang, 17),
        (Sdc, 19),
        (Latent, 20),
        (Crash, 22),
        (Crash, 23),
        (Latent, 25),
        (Latent, 32),
        (Latent, 32),
        (Hang, 34),
        (Latent, 35),
    ];
    let curve = lives(&weeks, false);
    let steps: Vec<(u64, f64, f64)> = curve
        .steps
        .iter()
        .map(|step| {
            let round = |value: f64| (value * 1e3).round() / 1e3;
            (step.time.0, round(step.survival), round(step.standard_error))
        })
        .collect();
    assert_eq!(
        steps,
        [
            (6, 0.857, 0.076),
            (7, 0.807, 0.087),
            (10, 0.753, 0.096),
            (13, 0.69, 0.107),
            (16, 0.627, 0.114),
            (22, 0.538, 0.128),
            (23, 0.448, 0.135),
        ]
    );
    assert_eq!((curve.guests, curve.crashes, curve.hangs), (21, 9, 3));
    assert_eq!(curve.median.unwrap().value, VirtualNs(23));
    assert_eq!(curve.last_seen, VirtualNs(35));
}

/// Past the golden run's end only late and hung guests are watched: a curve that went on there would rest on them.
#[test]
fn survival_ends_with_the_run_and_later_crashes_are_counted_beside_it() {
    let end = fake::LENGTH.0;
    let mut guests = vec![(Outcome::Latent, end); 93];
    guests.push((Outcome::Crash, end / 2));
    guests.extend([(Outcome::Hang, 3 * end), (Outcome::Hang, 3 * end)]);
    // A crash after the end, and three that were done after it.
    guests.push((Outcome::Crash, 2 * end));
    guests.extend([(Outcome::Sdc, end + 1); 3]);
    let curve = lives(&guests, false);
    assert_eq!((curve.crashes, curve.crashes_after_end, curve.hangs, curve.crash_bound), (1, 1, 2, None));
    assert_eq!((curve.steps.len(), curve.steps[0].at_risk, curve.steps[0].survival), (1, 100, 0.99));
    assert_eq!(curve.last_seen, fake::LENGTH);
    let ends: Vec<(&str, u64, f64)> =
        curve.ends.iter().map(|one| (one.end.name(), one.guests, one.share)).collect();
    let names: Vec<_> = ends.iter().map(|(name, guests, _)| (*name, *guests)).collect();
    assert_eq!(names, [("crash", 1), ("hang", 2), ("late", 4), ("finished", 93)]);
    for (name, guests, share) in ends {
        assert!((share - guests as f64 / 100.0).abs() < 1e-12, "{name}: {share}");
    }
    // The share that crashes has the exact interval of 1 in 100.
    let exact = proportion::clopper_pearson(Observed::new(1, 100).unwrap(), Confidence::P95);
    assert!((curve.ends[0].interval.upper - exact.upper).abs() < 1e-9);
}

#[test]
fn where_none_crashed_their_share_has_the_exact_bound() {
    let curve = lives(&[(Outcome::Masked, 5); 300], false);
    assert_eq!((curve.crashes, curve.steps.len(), curve.restricted_mean), (0, 0, None));
    assert!((curve.crash_bound.unwrap() - (1.0 - 0.05f64.powf(1.0 / 300.0))).abs() < 1e-12);
    assert_eq!(curve.ends[0].interval.upper, curve.crash_bound.unwrap());
}

/// The golden run of the fake is looked at every 100 ms, and a guest past its end as well.
#[test]
fn a_report_that_was_seen_at_a_checkpoint_lies_after_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = fake::spec(20, &["range:0x40000000+1M"]);
    spec.times = crate::campaign::spec::Times::At(vec![VirtualNs(30_000_000)]);
    let mut store = fake::create(&folder.path().join("c.sqlite"), &spec).unwrap();
    let begin = fake::BEGIN.0;
    for id in (0..20).map(TrialId) {
        let record = fake::record(&store.planned(id).unwrap());
        let seen = match id.0 {
            0..9 => 100_000_000,
            9..19 => 300_000_000,
            // Past the end.
            _ => 520_000_000,
        };
        let record = TrialRecord {
            outcome: Some(Outcome::Detected),
            detected_ns: Some(begin + seen),
            end_ns: begin + 600_000_000,
            end: None,
            converged_ns: None,
            ..record
        };
        store.record(id, &record).unwrap();
    }
    let found = summary(&store).strata.remove(0).detection.unwrap();
    let ms = |ms: u64| VirtualNs(ms * 1_000_000);
    assert_eq!((found.between, found.shortest, found.longest), (20, VirtualNs(0), ms(490)));
    let quantile = |index: usize| (found.quantiles[index].after, found.quantiles[index].time.value);
    // The flip is at 30 ms.
    assert_eq!(quantile(0), (Some(ms(170)), ms(270)));
    assert_eq!(found.quantiles[0].place(), "between 170.0 ms and 270.0 ms");
    assert_eq!(quantile(2), (Some(ms(390)), ms(490)));
    let median = found.quantiles[0].time;
    assert_eq!((median.lower, median.upper), (Some(VirtualNs(0)), Some(ms(270))));
}

/// Where a trial looks at some checkpoints, the look before depends on its flip.
#[test]
fn a_report_lies_after_the_look_before_by_its_flip() {
    use crate::trial::golden::Looks as Chosen;
    let ms = |ms: u64| VirtualNs(ms * 1_000_000);
    let mut golden = fake::golden();
    let looks = |golden: &crate::trial::golden::Golden| times::Looks::of(golden);
    let (begin, flip) = (fake::BEGIN.0, fake::BEGIN.0 + ms(30).0);
    let before = |looks: &times::Looks, seen: u64| looks.before(flip, begin + ms(seen).0);
    assert_eq!(before(&looks(&golden), 300), Some(begin + ms(200).0));
    golden.looks = Some(Chosen { after: vec![ms(0), ms(200)], every: ms(200), coarse: 1 });
    // At 100, 300 and 400 ms.
    assert_eq!(before(&looks(&golden), 300), Some(begin + ms(100).0));
    assert_eq!(before(&looks(&golden), 400), Some(begin + ms(300).0));
    assert_eq!(before(&looks(&golden), 100), None);
    assert_eq!(before(&looks(&golden), 520), Some(begin + ms(420).0), "past the end, as ever");
}

/// Times to the byte are the times themselves, whatever the checkpoints are; so is the end of the workload.
#[test]
fn a_report_that_was_heard_to_the_byte_has_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 20, &["range:0x40000000+1M"]);
    for id in (0..20).map(TrialId) {
        let record = fake::record(&store.planned(id).unwrap());
        let flip = record.flip_ns;
        let record = TrialRecord {
            outcome: Some(Outcome::Detected),
            heard: crate::trial::Heard::Byte,
            detected_ns: Some(flip + 100 + id.0),
            done_ns: Some(flip + 1000 + id.0),
            end_ns: flip + 900_000_000,
            end: None,
            converged_ns: None,
            ..record
        };
        store.record(id, &record).unwrap();
    }
    let stratum = summary(&store).strata.remove(0);
    let found = stratum.detection.unwrap();
    assert_eq!((found.between, found.shortest, found.longest), (0, VirtualNs(100), VirtualNs(119)));
    assert_eq!((found.quantiles[0].after, found.quantiles[0].time.value), (None, VirtualNs(109)));
    let finished = stratum.survival.unwrap();
    assert_eq!((finished.ends[3].guests, finished.last_seen), (20, VirtualNs(1019)));
}

#[test]
fn a_guest_that_converged_is_at_risk_until_the_golden_runs_end() {
    // Nine became the golden run again after 1 ms, the tenth crashed after 2 ms.
    let mut guests = vec![(Outcome::Masked, 1_000_000); 9];
    guests.push((Outcome::Crash, 2_000_000));
    let curve = lives(&guests, true);
    assert_eq!(curve.steps[0].at_risk, 10);
    assert_eq!(curve.steps[0].survival, 0.9);
    assert_eq!(curve.last_seen, fake::LENGTH);
}

#[test]
fn a_breakdown_names_the_worst_first_and_adds_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 1000, &["range:0x40000000+1M"]);
    fake::fill(&mut store, 1000).unwrap();
    let found = Summary::new(&store, &SummaryOptions { top: 3, ..SummaryOptions::default() }).unwrap();
    check(&found);
    let by = &found.strata[0].by;
    let keys = |by: By| -> Vec<Option<String>> {
        found.strata[0].by.get(by).rows.iter().map(|row| row.key.clone()).collect()
    };
    assert_eq!(keys(By::Bit), (0..8).map(|bit| Some(bit.to_string())).collect::<Vec<_>>());
    assert_eq!(keys(By::Register), [None]);
    let (nameless, named) = by.symbol.rows.split_last().unwrap();
    assert_eq!((nameless.key.as_ref(), named.len()), (None, 3));
    assert!(named.windows(2).all(|pair| pair[0].failures() >= pair[1].failures()));
    // Without the offset.
    assert!(named.iter().all(|row| row.key.as_ref().is_some_and(|key| !key.contains('+'))));
    assert!(by.symbol.rest.as_ref().unwrap().keys > 20);
    // A title comes of an outcome: its rate is of all trials.
    let title = &by.title.rows[0];
    let expected = Observed::new(title.failures(), found.strata[0].counted).unwrap();
    assert_eq!(title.failure.wilson, proportion::wilson(expected, Confidence::P95));
}

#[test]
fn registers_are_distinguished_in_the_order_of_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 800, &["class:core"]);
    fake::fill(&mut store, 800).unwrap();
    let found = summary(&store);
    let registers: Vec<String> =
        found.strata[0].by.register.rows.iter().filter_map(|row| row.key.clone()).collect();
    assert_eq!(registers, (0..16).map(|number| format!("x{number}")).collect::<Vec<_>>());
    let bits = &found.strata[0].by.bit.rows;
    assert!(bits.len() > 50 && bits.iter().all(|row| row.key.is_some()), "{}", bits.len());
}

#[test]
fn timing_is_exact_only_where_every_flip_was_at_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 20, &["range:0x40000000+1M"]);
    fake::fill(&mut store, 10).unwrap();
    assert_eq!(summary(&store).totals.timing, Some(Timing::Exact));
    record(&mut store, 1, |record| record.flip_ns += 1);
    record(&mut store, 5, |_| ());
    let found = summary(&store);
    assert_eq!(found.totals.timing, Some(Timing::Approximate));
    assert!(found.warnings.contains(&Warning::ApproximateTiming));
}

#[test]
fn fit_and_missions_follow_from_the_rates() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 300, &STRATA);
    fake::fill(&mut store, 300).unwrap();
    let found = summary(&store);
    let rows = found.fit(&Field::of("1000".parse().unwrap()), Method::Wilson);
    let names: Vec<&str> = rows.iter().map(|row| row.space.as_str()).collect();
    assert_eq!(names, ["1M", "3M", "core", "1M + 3M"]);
    // 8 Mbit at 1,000 FIT each.
    let rate = found.strata[0].class(Class::Failure).unwrap().rate.unwrap();
    let (name, fit) = *rows[0].fit.last().unwrap();
    assert_eq!(name, "failure");
    assert!((fit.value - 8000.0 * rate.value).abs() < 1e-9);
    assert!((fit.interval.upper - 8000.0 * rate.wilson.upper).abs() < 1e-9);
    // Kinds of failures add up to it.
    assert!((rows[0].fit[..4].iter().map(|(_, fit)| fit.value).sum::<f64>() - fit.value).abs() < 1e-9);
    let mission = crate::stats::mission::Mission {
        rate: "10/GiB/month".parse().unwrap(),
        bytes: 1 << 30,
        accelerate: 1.0,
    };
    let rows = found.mission(
        &mission,
        crate::stats::mission::parse_field_time("5years").unwrap(),
        Spread::EXACT,
        Method::ClopperPearson,
    );
    assert_eq!(rows.iter().map(|row| row.space.as_str()).collect::<Vec<_>>(), ["1M", "3M", "1M + 3M"]);
    let (_, outlook) = rows[0].outlook.last().unwrap();
    assert!((outlook.upsets - 600.0).abs() < 1e-9);
    assert!((outlook.failures.interval.upper - 600.0 * rate.clopper_pearson.upper).abs() < 1e-9);
}

/// RAM and registers with raw rates of their own, an uncertain one, and both together.
#[test]
fn the_field_has_a_rate_a_kind_and_its_uncertainty() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 300, &STRATA);
    fake::fill(&mut store, 300).unwrap();
    let found = summary(&store);
    let cells = |raw: &str, factor: &str| {
        Some(Cells { raw: raw.parse().unwrap(), spread: factor.parse().unwrap(), bits: None })
    };
    let exact = Field { registers: cells("200", "1"), ..Field::of("1000".parse().unwrap()) };
    let field = Field { ram: cells("1000", "2"), registers: cells("200", "2"), hours: 5.0 * YEAR_HOURS };
    let (sure, rows) = (found.fit(&exact, Method::Wilson), found.fit(&field, Method::Wilson));
    assert_eq!(
        rows.iter().map(|row| row.raw_fit_per_mbit.value()).collect::<Vec<_>>(),
        [1e3, 1e3, 200.0, 1e3]
    );
    for (sure, row) in sure.iter().zip(&rows) {
        let (one, other) = (&sure.expected, &row.expected);
        assert_eq!(one.fit.value, other.fit.value);
        // A factor of two alone is from half to twice; with the campaign's own it is wider still.
        assert!(
            other.fit.interval.lower < other.fit.value / 2.0
                && other.fit.interval.upper > other.fit.value * 2.0
        );
        assert!((other.failures.value - other.fit.value * 5.0 * 8766.0 / 1e9).abs() < 1e-12);
        let mttf = other.mttf_hours;
        assert!((mttf.value.unwrap() * other.fit.value / 1e9 - 1.0).abs() < 1e-12);
        assert!((mttf.lower.unwrap() * other.fit.interval.upper / 1e9 - 1.0).abs() < 1e-12);
        assert!(other.any.interval.contains(other.any.value));
    }
    let together = found.fit_together(&field, Method::Wilson).unwrap();
    assert_eq!(together.spaces, ["1M + 3M", "core"]);
    let sum = rows[3].expected.fit.value + rows[2].expected.fit.value;
    assert!((together.expected.fit.value - sum).abs() < 1e-9);
    // So much RAM in place of the stratum's; registers keep theirs. 1 MiB are 8 Mbit.
    let bits = Some(crate::stats::fit::Bits::of_bytes(16 << 20));
    let more = Field { ram: exact.ram.map(|ram| Cells { bits, ..ram }), ..exact };
    let grown = found.fit(&more, Method::Wilson);
    assert!((grown[0].expected.fit.value / sure[0].expected.fit.value - 16.0).abs() < 1e-9);
    assert_eq!(grown[2], sure[2]);
    // A kind without a raw rate has none.
    let ram = Field { registers: None, ..exact };
    assert_eq!(found.fit(&ram, Method::Wilson).len(), 3);
    assert!(found.fit_together(&ram, Method::Wilson).is_none());
    // F is of one run: the pairs of bit and moment.
    let run = sure[0].expected.failures_per_run.unwrap();
    assert!(
        (run.value / found.strata[0].class(Class::Failure).unwrap().rate.unwrap().failures.unwrap().value
            - 1.0)
            .abs()
            < 1e-12
    );
}

/// Sdc and what is noticed are the failures of a year; kinds add up; what is in no sum is named.
#[test]
fn a_mission_expects_its_parts_and_their_sum() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 300, &STRATA);
    fake::fill(&mut store, 300).unwrap();
    let found = summary(&store);
    let text = "years = 5\n[ram]\nrate = \"1000FIT/Mbit\"\nsource = \"x\"\nfactor = 2\n\
                [registers]\nrate = \"200FIT/Mbit\"\nsource = \"y\"\n";
    let mission = crate::campaign::MissionFile::from_toml(text).unwrap();
    let outlook = found.outlook(&mission.field(), Method::Wilson);
    let of = |part: &FieldPart, name: &str| part.row(name).unwrap().expected;
    for part in outlook.parts.iter().chain(&outlook.together) {
        let sum = of(part, "sdc").value + of(part, "noticed").value;
        assert!((sum / of(part, "failure").value - 1.0).abs() < 1e-9, "{part:?}");
        assert!((part.failures.value / of(part, "failure").value - 5.0).abs() < 1e-9);
        assert!(part.upsets.value > of(part, "failure").value);
    }
    // 8 Mbit at 1,000 FIT each, and half to twice of that.
    let upsets = outlook.parts[0].upsets;
    assert!((upsets.value - 8e3 * YEAR_HOURS / 1e9).abs() < 1e-12, "{upsets:?}");
    assert!((upsets.interval.upper / upsets.value - 2.0).abs() < 1e-9);
    let wholes: Vec<&FieldPart> = outlook.parts.iter().filter(|part| part.whole).collect();
    assert_eq!(wholes.iter().map(|part| part.space.as_str()).collect::<Vec<_>>(), ["core", "1M + 3M"]);
    let together = outlook.together.as_ref().unwrap();
    let sum: f64 = wholes.iter().map(|part| of(part, "failure").value).sum();
    assert!((of(together, "failure").value - sum).abs() < 1e-12);
    // Registers are exact, so that the sum is off by less than RAM.
    assert!(together.upsets.interval.upper < 2.0 * together.upsets.value);
    assert_eq!(outlook.left_out, [""; 0]);
    let ram = Field { registers: None, ..mission.field() };
    let outlook = found.outlook(&ram, Method::Wilson);
    assert!(
        outlook.together.is_none() && outlook.left_out[0].starts_with("registers: the mission has no rate,")
    );
}

#[test]
fn costs_that_no_number_holds_together_are_the_largest_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 30, &STRATA);
    record(&mut store, 30, |record| record.costs.total_us = i64::MAX.cast_unsigned());
    assert_eq!(store.status().unwrap().counts.total_us, u64::MAX);
    check(&summary(&store));
}

#[test]
#[ignore = "takes a minute; prints what it measures"]
fn a_hundred_thousand_results_of_a_million_trials() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 1_000_000, &STRATA);
    fake::fill(&mut store, 100_000).unwrap();
    let began = Instant::now();
    let found = summary(&store);
    println!("{} results in {:?}", found.totals.done, began.elapsed());
    check(&found);
}

#[test]
fn rates_of_a_part_are_those_of_its_whole_batches() {
    // 400 ms of golden run: batches of 400 trials, of which the first is done, and some of the second.
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 800, &STRATA);
    fake::fill(&mut store, 500).unwrap();
    let found = summary(&store);
    check(&found);
    let counts = (found.totals.done, found.totals.waiting, found.totals.counted);
    assert_eq!(counts, (500, 100, 400));
    assert!(found.warnings[0].to_string().contains("100 that are done are in no rate yet"));
    // A shard that is done is whole.
    let folder = tempfile::tempdir().unwrap();
    let mut store = campaign(folder.path(), 800, &STRATA);
    for id in store.pending("2/4".parse().unwrap()).unwrap() {
        let record = fake::record(&store.planned(id).unwrap());
        store.record(id, &record).unwrap();
    }
    let found = summary(&store);
    check(&found);
    assert_eq!((found.totals.done, found.totals.waiting, found.totals.counted), (200, 0, 200));
}
