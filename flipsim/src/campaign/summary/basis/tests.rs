//! Summaries of campaigns of which a part is known.

use std::path::Path;

use super::*;
use crate::campaign::known::Known;
use crate::campaign::plan::TrialId;
use crate::campaign::store::{Recorded, Store};
use crate::campaign::summary::Field;
use crate::campaign::summary::{Summary, SummaryOptions, Warning};
use crate::fault::{Ecc, Pattern};
use crate::stats::fit::FitPerMbit;
use crate::stats::proportion::clopper_pearson;
use crate::stats::tally::Method;
use crate::testing::fake_campaign as fake;

const RAM: [&str; 2] = ["range:0x40000000+1M", "range:0x50000000+3M"];

fn summary(store: &Store) -> Summary {
    Summary::new(store, &SummaryOptions::default()).unwrap()
}

/// The summaries of a campaign whose live part is known, and of the same without it.
fn both(folder: &Path, trials: u64, targets: &[&str]) -> [Summary; 2] {
    let spec = fake::spec(trials, targets);
    let (with, without) = (folder.join("with.sqlite"), folder.join("without.sqlite"));
    let mut with = fake::create_settled(&with, &spec).unwrap();
    let mut without = fake::create(&without, &spec).unwrap();
    fake::fill_settled(&mut with, trials as usize).unwrap();
    fake::fill_settled(&mut without, trials as usize).unwrap();
    [summary(&with), summary(&without)]
}

#[test]
fn rates_of_a_stratum_with_a_known_part_are_those_of_the_live_one_times_its_weight() {
    let folder = tempfile::tempdir().unwrap();
    let [known, plain_summary] = both(folder.path(), 2000, &RAM[..1]);
    let (with, without) = (&known.strata[0], &plain_summary.strata[0]);
    let part = with.known.as_ref().unwrap();
    assert!(part.used && without.known.is_none());
    assert_eq!((part.never, part.overwritten, part.live), fake::SHARES.into());
    assert_eq!(part.outcomes.values().sum::<u64>(), part.live_trials);
    let failure = with.class(Class::Failure).unwrap();
    let failures = Observed::new(failure.count, part.live_trials).unwrap();
    let rate = failure.rate.unwrap();
    // The counts are all trials', settled ones included.
    assert_eq!(
        (failure.count, with.counted),
        (without.class(Class::Failure).unwrap().count, without.counted)
    );
    assert!((rate.value - part.live * failures.rate()).abs() < 1e-15);
    let exact = clopper_pearson(failures, Confidence::P95);
    assert!((rate.exact.upper - part.live * exact.upper).abs() < 1e-15);
    assert!((rate.extrapolated.unwrap().value / with.population - rate.value).abs() < 1e-15);
    let plain = without.class(Class::Failure).unwrap().rate.unwrap();
    let width = |rate: &Rate| rate.exact.upper - rate.exact.lower;
    // Nine in ten of the live ones fail.
    assert!(width(&rate) < 0.5 * width(&plain), "{rate:?} {plain:?}");
    assert!(plain.exact.contains(rate.value) && with.margin.unwrap() < 0.4 * without.margin.unwrap());
    for (outcome, certain) in [(Outcome::Latent, part.never), (Outcome::Masked, part.overwritten)] {
        let rate = with.outcome(outcome).unwrap().rate.unwrap();
        assert!(rate.exact.lower >= certain && rate.exact.upper <= certain + part.live, "{rate:?}");
    }
    // They still add up to all.
    let sum: f64 = with.outcomes.iter().map(|entry| entry.rate.unwrap().value).sum();
    assert!((sum - 1.0).abs() < 1e-12);
    for (together, entry) in with.simultaneous.iter().zip(&with.outcomes) {
        assert!(together.interval.contains(entry.rate.unwrap().value));
        assert!(together.interval.upper - together.interval.lower <= part.live + 1e-12);
    }
    // What follows from a rate follows from this one.
    let fit = |summary: &Summary| {
        let rows = summary.fit(&Field::of(FitPerMbit::new(1000.0).unwrap()), Method::default());
        rows[0].expected.fit
    };
    assert!((fit(&known).value / fit(&plain_summary).value - rate.value / plain.value).abs() < 1e-12);
    assert!(fit(&known).interval.upper < fit(&plain_summary).interval.upper);
    let due = with.coverage.as_ref().unwrap().due.unwrap();
    assert!(due.value < rate.value && due.exact.upper < part.live);
}

#[test]
fn trials_are_counted_by_how_much_of_them_was_run() {
    let folder = tempfile::tempdir().unwrap();
    let [known, _] = both(folder.path(), 2000, &RAM[..1]);
    let (ways, stratum) = (known.totals.ways, &known.strata[0]);
    assert_eq!((ways, ways.trials), (stratum.ways, known.totals.done));
    assert_eq!(ways.whole + ways.never_read + ways.overwritten + ways.late, ways.trials);
    assert!(ways.audited > 20 && ways.never_read > ways.overwritten && ways.late > 0, "{ways:?}");
    let audit = known.audit.unwrap();
    assert_eq!((audit.audited, audit.of), (ways.audited, ways.trials - ways.whole));
    // Audited trials lie where they lie: known ones are not live.
    let part = stratum.known.as_ref().unwrap();
    assert!(part.live_trials < stratum.counted - ways.settled());
    let json = serde_json::to_value(&known).unwrap();
    assert_eq!(json["totals"]["ways"]["never_read"], ways.never_read);
    assert_eq!(json["strata"][0]["known"]["used"], true);
    assert_eq!(json["audit"]["audited"], ways.audited);
    // The status of the store has the counts as well.
    let store = Store::open(&folder.path().join("with.sqlite")).unwrap();
    assert_eq!(store.status().unwrap().counts.ways, ways);
    let short = SummaryOptions { short: true, ..SummaryOptions::default() };
    let short = Summary::new(&store, &short).unwrap();
    assert_eq!((short.totals.ways, &short.strata[0].known), (ways, &stratum.known));
}

#[test]
fn strata_with_known_parts_are_pooled_by_their_live_ones() {
    let folder = tempfile::tempdir().unwrap();
    let [known, plain] = both(folder.path(), 3000, &RAM);
    let rate = |summary: &Summary| summary.pooled[0].class(Class::Failure).unwrap().rate;
    let (with, without) = (rate(&known), rate(&plain));
    let parts = known.strata.iter().map(|stratum| stratum.class(Class::Failure).unwrap().rate.unwrap().value);
    let expected: f64 = parts.zip([0.25, 0.75]).map(|(rate, weight)| weight * rate).sum();
    assert!((with.value - expected).abs() < 1e-12);
    let width = |interval: Interval| interval.upper - interval.lower;
    assert!(width(with.interval) < 0.5 * width(without.interval), "{with:?} {without:?}");
    assert_eq!((known.pooled[0].known.len(), plain.pooled[0].known.len()), (2, 0));
}

#[test]
fn a_campaign_that_grew_has_intervals_of_the_live_part_at_any_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = fake::create_settled(&folder.path().join("c.sqlite"), &fake::spec(1000, &RAM)).unwrap();
    fake::fill_settled(&mut store, 1000).unwrap();
    fake::grow(&mut store, 2000).unwrap();
    fake::fill_settled(&mut store, 1000).unwrap();
    let found = summary(&store);
    let stratum = &found.strata[0];
    let rate = stratum.class(Class::Failure).unwrap().rate.unwrap();
    let (anytime, live) = (rate.anytime.unwrap(), stratum.known.as_ref().unwrap().live);
    assert!(anytime.lower < rate.exact.lower && rate.exact.upper < anytime.upper && anytime.upper < live);
    assert_eq!(rate.extrapolated.unwrap().interval.upper, anytime.upper * stratum.population);
    let pooled = found.pooled[0].class(Class::Failure).unwrap();
    assert!(pooled.anytime.unwrap().contains(pooled.rate.value) && pooled.anytime.unwrap().upper < live);
}

#[test]
fn bounds_with_missing_trials_have_the_rates_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = fake::create_settled(&folder.path().join("c.sqlite"), &fake::spec(600, &RAM)).unwrap();
    for id in (0..600).step_by(40).map(TrialId) {
        while store.fail(id, "QEMU died").unwrap() != Recorded::GivenUp {}
    }
    fake::fill_settled(&mut store, 600).unwrap();
    let found = summary(&store);
    let stratum = &found.strata[0];
    assert!(stratum.known.as_ref().unwrap().used && stratum.infra > 0);
    let missing = stratum.missing.as_ref().unwrap();
    assert_eq!(missing.trials, stratum.infra);
    let classes = stratum.classes.iter().map(|entry| (entry.outcome.name(), entry.rate.unwrap()));
    let outcomes = stratum.outcomes.iter().map(|entry| (entry.outcome.name(), entry.rate.unwrap()));
    for (name, rate) in outcomes.chain(classes) {
        let bounds = missing.of(name).unwrap();
        assert!(bounds.lower <= rate.value && rate.value <= bounds.upper, "{name}: {bounds:?} {rate:?}");
        assert!(bounds.interval.lower <= bounds.lower && bounds.upper <= bounds.interval.upper);
        assert!(bounds.upper - bounds.lower <= 0.125);
    }
    let pooled = &found.pooled[0];
    for rate in &pooled.classes {
        let bounds = pooled.missing.as_ref().unwrap().of(rate.outcome.name()).unwrap();
        assert!(bounds.lower <= rate.rate.value && rate.rate.value <= bounds.upper);
    }
}

#[test]
fn where_trials_were_not_looked_up_the_plain_intervals_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut store =
        fake::create_settled(&folder.path().join("c.sqlite"), &fake::spec(400, &RAM[..1])).unwrap();
    // All were run: with `--settle off` no record says what could have been settled.
    for id in store.pending(crate::campaign::Shard::WHOLE).unwrap() {
        let mut record = fake::settled_record(&store.planned(id).unwrap());
        (record.settled, record.begun_ns, record.audited) = (None, None, false);
        store.record(id, &record).unwrap();
    }
    let found = summary(&store);
    let stratum = &found.strata[0];
    assert!(!stratum.known.as_ref().unwrap().used);
    let failure = stratum.class(Class::Failure).unwrap();
    let plain = Observed::new(failure.count, stratum.counted).unwrap();
    assert_eq!(failure.rate.unwrap().exact, clopper_pearson(plain, Confidence::P95));
    let warning = found.warnings.iter().find(|warning| warning.kind() == "not-looked-up").unwrap();
    assert!(warning.to_string().contains("its intervals are the plain ones"), "{warning}");
    assert_eq!((found.audit, found.totals.ways.line(Confidence::P95)), (None, None));
}

#[test]
fn a_stratum_of_which_nothing_is_known_has_the_plain_interval_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let targets = ["range:0x40000000+1M", "class:core"];
    let mut store =
        fake::create_settled(&folder.path().join("c.sqlite"), &fake::spec(400, &targets)).unwrap();
    fake::fill_settled(&mut store, 400).unwrap();
    let found = summary(&store);
    assert!(found.strata[0].known.is_some() && found.strata[1].known.is_none());
    assert!(!found.warnings.iter().any(|warning| matches!(warning, Warning::NotLookedUp { .. })));
    let failure = found.strata[1].class(Class::Failure).unwrap();
    assert_eq!(failure.rate.unwrap().value, failure.count as f64 / found.strata[1].counted as f64);
}

#[test]
fn a_known_part_without_a_live_trial_leaves_the_live_share_open() {
    let known = Known { never: 960, overwritten: 30, live: 10 };
    let known = KnownPart::new(&known, BTreeMap::new(), [50, 0], 0).unwrap();
    let counts = [(Outcome::Latent, 48), (Outcome::Masked, 2)].into();
    let basis = Basis::new(&counts, Some(&known), SpaceSize(1 << 50), Confidence::P95);
    let failure = basis.rate(&|outcome| Class::Failure.has(outcome)).unwrap();
    assert_eq!((failure.value, failure.upper_bound), (0.0, Some(0.01)));
    let latent = basis.rate(&|outcome| outcome == Outcome::Latent).unwrap();
    assert_eq!(latent.estimate(Method::default()).interval, Interval { lower: 0.96, upper: 0.96 + 0.01 });
    assert_eq!((basis.margin(), basis.trials_for(0.01)), (Some(0.005), 0));
    assert_eq!(basis.simultaneous().len(), 6);
}

#[test]
fn a_stratum_with_a_trial_of_which_nothing_was_asked_has_the_plain_intervals() {
    let known = Known { never: 900, overwritten: 50, live: 50 };
    let of = |not_asked| {
        let live: BTreeMap<Outcome, u64> = [(Outcome::Sdc, 40), (Outcome::Latent, 10)].into();
        KnownPart::new(&known, live, [1000, 0], not_asked).unwrap().used
    };
    assert!(of(0) && !of(1));
}

/// What memory lets nothing of through was not run: it counts in rates, and in nothing that is of runs.
#[test]
fn trials_that_memory_decides_count_in_rates_and_as_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let of = |ecc: Ecc| {
        let mut spec = fake::spec(300, &RAM[..1]);
        (spec.pattern, spec.ecc) = (Pattern::Adjacent(3), ecc);
        let mut store = fake::create(&folder.path().join(format!("{ecc:?}.sqlite")), &spec).unwrap();
        fake::fill(&mut store, 300).unwrap();
        (summary(&store), store.status().unwrap().done)
    };
    let ((with, done), (without, _)) = (of(Ecc::Secded), of(Ecc::None));
    let stratum = &with.strata[0];
    let count = |outcome| stratum.outcome(outcome).unwrap().count;
    let detected = count(Outcome::EccDetected);
    assert!((100..250).contains(&detected) && done == 300, "{detected} of {done}");
    assert_eq!(stratum.ways.decided, detected + count(Outcome::EccCorrected));
    let ran = stratum.counted - stratum.ways.decided;
    assert_eq!(stratum.survival.as_ref().unwrap().guests, ran);
    assert_eq!(stratum.unchanged, None);
    let coverage = stratum.coverage.as_ref().unwrap();
    let failures = stratum.class(Class::Failure).unwrap().count;
    assert_eq!((coverage.failures, coverage.ecc_detected), (failures, detected));
    assert!(with.outcomes().contains(&Outcome::EccDetected));
    // Where memory corrects nothing, nothing is said of it.
    let plain = &without.strata[0];
    assert!(plain.outcome(Outcome::EccDetected).is_none() && plain.simultaneous.len() == 6);
    assert!(!without.outcomes().contains(&Outcome::EccCorrected));
    assert_ne!(stratum.pattern, plain.pattern);
}
