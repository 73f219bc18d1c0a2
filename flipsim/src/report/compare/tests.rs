//! Tests of comparisons: which hypothesis is tested, and on which trials.

use std::path::Path;

use super::*;
use crate::campaign::spec::Draw;
use crate::campaign::summary::SummaryOptions;
use crate::campaign::{CampaignSpec, Plan, PlannedTrial, Shard, Store, TrialId};
use crate::fault::{FaultSpace, RamSpace};
use crate::memory::{PhysRange, RangeSet};
use crate::stats::compare::Ratio;
use crate::testing::fake_campaign as fake;
use crate::trial::Outcome;
use crate::trial::golden::{Idle, Span};
use crate::units::VirtualNs;

/// Every trial has the outcome that `of` says.
fn filled(mut store: Store, of: impl Fn(&PlannedTrial) -> Outcome) -> Store {
    for id in store.pending(Shard::WHOLE).unwrap() {
        let trial = store.planned(id).unwrap();
        let mut record = fake::record(&trial);
        (record.flipped, record.error, record.outcome) = (true, None, Some(of(&trial)));
        store.record(id, &record).unwrap();
    }
    store
}

fn campaign(folder: &Path, name: &str, spec: &CampaignSpec, of: impl Fn(&PlannedTrial) -> Outcome) -> Store {
    let spec = CampaignSpec { name: name.to_owned(), ..spec.clone() };
    filled(fake::create(&folder.join(format!("{name}.sqlite")), &spec).unwrap(), of)
}

fn compared(a: &Store, b: &Store, margin: Option<Margin>) -> Comparison {
    let summary = |store| Summary::new(store, &SummaryOptions::default()).unwrap();
    let (first, second) = (summary(a), summary(b));
    let options = CompareOptions { margin, ..CompareOptions::default() };
    compare(&Side { store: a, summary: &first }, &Side { store: b, summary: &second }, &options).unwrap()
}

fn row<'a>(found: &'a StratumComparison, name: &str) -> &'a ComparisonRow {
    found.rows.iter().find(|row| row.outcome == name).unwrap()
}

/// A crash where the number is below, else masked.
fn crash_below(bound: u64) -> impl Fn(&PlannedTrial) -> Outcome {
    move |trial| if trial.id.0 < bound { Outcome::Crash } else { Outcome::Masked }
}

#[test]
fn equal_failures_in_a_space_of_twice_the_size_are_not_called_different() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |bytes: &str, seed| {
        let mut spec = fake::spec(1_000, &[&format!("range:0x40000000+{bytes}")]);
        spec.strata[0].name = "data".to_owned();
        CampaignSpec { seed, ..spec }
    };
    let a = campaign(folder.path(), "plain", &spec("1M", 1), crash_below(60));
    let b = campaign(folder.path(), "hardened", &spec("2M", 2), crash_below(30));
    let found = compared(&a, &b, Some(Margin::not_worse(1.5).unwrap()));
    let stratum = &found.strata[0];
    assert!(stratum.is_unequal() && stratum.pairs.is_none() && found.trials.is_none());
    let failure = row(stratum, "failure");
    assert_eq!((failure.ratio.unwrap().value, failure.p), (Some(1.0), None));
    assert!(failure.p_failures.unwrap() > 0.95, "{failure:?}");
    // What Fisher's test says of the rates.
    let of = |hits| Observed::new(hits, 1_000).unwrap();
    assert!(fisher(of(60), of(30)) < 0.002);
    // The targets are another text; a space of another size is what is compared.
    assert_eq!(found.unfair.len(), 1, "{:?}", found.unfair);
    assert!(found.unfair[0].starts_with("the targets of data"));
    assert!(found.differs.iter().any(|what| what.starts_with("the fault space of data: ")));
    let said = verdict_text(&failure.verdict.unwrap(), "failure", ["plain", "hardened"], Confidence::P95);
    assert!(
        said.starts_with(
            "failure: hardened is not worse than plain (a ratio of F up to 1.50): it is × 1.00 (0.69 to 1.43) (90 % \
             interval), p = 0.0"
        ),
        "{said}"
    );
    // Where both spaces have one size both tests are shown, and say nearly the same.
    let c = campaign(folder.path(), "other", &spec("1M", 3), crash_below(30));
    let found = compared(&a, &c, None);
    let failure = row(&found.strata[0], "failure");
    assert_eq!(failure.p, Some(fisher(of(60), of(30))));
    assert!(failure.p_failures.unwrap() < 0.002 && failure.verdict.is_none());
}

#[test]
fn what_never_came_has_its_exact_bound_and_no_end_is_rounded_inwards() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |seed| CampaignSpec { seed, ..fake::spec(300, &["range:0x40000000+1M"]) };
    let a = campaign(folder.path(), "a", &spec(1), crash_below(0));
    let b = campaign(folder.path(), "b", &spec(2), crash_below(6));
    let found = compared(&a, &b, None);
    let stratum = &found.strata[0];
    let failure = row(stratum, "failure");
    // 1 − 0.05^(1/300); Wilson's upper end is 1.264 %.
    let [rate, of_b] = failure.rate.map(Option::unwrap);
    assert!((rate.interval.upper - 0.009_936_2).abs() < 1e-6 && rate.interval.lower == 0.0);
    let never = failure.failures[0].unwrap().interval;
    assert!((never.upper / stratum.population[0] - rate.interval.upper).abs() < 1e-12);
    assert_eq!(estimate_text(Some(rate), &percent), "0\u{202f}% (0\u{202f}% to 1.00\u{202f}%)");
    // The difference is Newcombe's of Wilson's intervals all the same.
    let wilson = [0, 6].map(|hits| Observed::new(hits, 300).unwrap().estimate(Confidence::P95));
    assert_eq!(failure.difference, Some(difference(wilson[1], wilson[0])));
    // scipy 1.17.1: beta.ppf(.025, 6, 295), beta.ppf(.975, 7, 294).
    assert!((of_b.interval.lower - 0.007_374_162_0).abs() < 1e-9, "{of_b:?}");
    assert!((of_b.interval.upper - 0.043_021_082_7).abs() < 1e-9, "{of_b:?}");
    let text = ratio_text(&Ratio { value: Some(1.0), lower: 0.699, upper: Some(1.431) });
    assert_eq!(text, "× 1.00 (0.69 to 1.44)");
}

#[test]
fn one_plan_on_two_builds_is_compared_trial_by_trial() {
    let folder = tempfile::tempdir().unwrap();
    let spec = fake::spec(1_000, &["range:0x40000000+1M", "class:core"]);
    // Of 100 crashes the second build has 90, and none that the first has not.
    let a = campaign(folder.path(), "a", &spec, crash_below(100));
    let b = campaign(folder.path(), "b", &spec, crash_below(90));
    let found = compared(&a, &b, None);
    let trials = found.trials.as_ref().unwrap();
    assert_eq!((trials.same, trials.both, trials.different), (Same::Plan, 1_000, 10));
    let whole = trials.whole.iter().find(|total| total.outcome == "failure").unwrap();
    assert_eq!((whole.pairs.first, whole.pairs.second, whole.pairs.all()), (10, 0, 1_000));
    assert!((whole.p - 2.0 * 0.5f64.powi(10)).abs() < 1e-12);
    let both: u64 = found.strata.iter().map(|stratum| stratum.pairs.unwrap()).sum();
    assert_eq!(both, 1_000);
    for stratum in &found.strata {
        let failure = row(stratum, "failure");
        let paired = failure.paired.unwrap();
        assert_eq!((failure.p, failure.p_failures), (None, None));
        assert_eq!(paired.pairs.both + paired.pairs.first, failure.count[0]);
        assert_eq!(paired.pairs.both + paired.pairs.second, failure.count[1]);
        assert!(paired.difference.value <= 0.0);
        assert_eq!(failure.p_text(), p_text(Some(paired.p)));
        let old = failure.difference.unwrap().interval;
        let new = paired.difference.interval;
        assert!(new.upper - new.lower < (old.upper - old.lower) / 2.0, "{new:?} {old:?}");
    }
    assert!(found.about_tests()[0].contains("McNemar"));
}

/// A campaign over some bytes of RAM and a run of some length, of which the first trials crash.
fn built(folder: &Path, spec: &CampaignSpec, bytes: &str, length: VirtualNs, crashes: u64) -> Store {
    let bytes: RangeSet = bytes.parse::<PhysRange>().into_iter().collect();
    let space = RamSpace::new(&bytes, spec.pattern).map(FaultSpace::Ram).unwrap();
    let plan = Plan::new(spec, length, vec![space]).unwrap();
    let path = folder.join(format!("{}.sqlite", spec.name));
    let like = folder.join(format!("{}-like.sqlite", spec.name));
    let manifest = fake::create(&like, &fake::spec(1, &["class:core"])).unwrap().manifest().clone();
    let golden = serde_json::to_vec(&fake::golden()).unwrap();
    let store = Store::create(&path, &manifest, spec, &plan, &[("golden", &golden)], &mut |_| ());
    filled(store.unwrap(), crash_below(crashes))
}

#[test]
fn the_same_draws_at_other_addresses_are_pairs_and_other_draws_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let built = |name: &str, seed: u64, bytes: &str, crashes: u64| {
        let spec = fake::spec(400, &["symbol:crc32_*"]);
        let spec = CampaignSpec { name: name.to_owned(), seed, ..spec };
        built(folder.path(), &spec, bytes, fake::LENGTH, crashes)
    };
    let a = built("a", 1, "0x40000000+0x1000", 40);
    let moved = compared(&a, &built("b", 1, "0x50000000+0x1000", 30), None);
    let trials = moved.trials.unwrap();
    assert_eq!((trials.same, trials.both, trials.different), (Same::Draws, 400, 10));
    assert_eq!(trials.first.first(), Some(&TrialId(30)));
    assert!(row(&moved.strata[0], "failure").paired.unwrap().p < 0.01);
    // Another seed, and a symbol that has grown, draw other faults.
    assert!(compared(&a, &built("c", 2, "0x40000000+0x1000", 30), None).trials.is_none());
    assert!(compared(&a, &built("d", 1, "0x40000000+0x1001", 30), None).trials.is_none());
}

#[test]
fn a_build_that_runs_longer_has_pairs_where_times_are_fractions_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let twice = VirtualNs(fake::LENGTH.0 * 2);
    let of = |name: &str, draw, length, crashes| {
        let spec = CampaignSpec { name: name.to_owned(), draw, ..fake::spec(400, &["range:0x40000000+1M"]) };
        built(folder.path(), &spec, "0x40000000+1M", length, crashes)
    };
    let a = of("a", Draw::Fractions, fake::LENGTH, 100);
    let found = compared(&a, &of("b", Draw::Fractions, twice, 25), None);
    let trials = found.trials.as_ref().unwrap();
    assert_eq!((trials.same, trials.both, trials.different), (Same::Draws, 400, 75));
    let failure = row(&found.strata[0], "failure");
    let paired = failure.paired.unwrap();
    // A quarter of the failures per upset; twice as many upsets in a run.
    let [rates, counts] = [failure.ratio_of_rates, failure.ratio].map(Option::unwrap);
    assert_eq!((rates.value, counts.value), (Some(0.25), Some(0.5)));
    assert!((rates.lower - paired.ratio.lower).abs() < 1e-12);
    assert!((counts.lower - 2.0 * paired.ratio.lower).abs() < 1e-12, "{counts:?} {paired:?}");
    // Each question has its own test: whether a run fails as often, and whether an upset does.
    assert_eq!(failure.p_failures, Some(paired.pairs.ratio_p(0.5)));
    assert!(paired.p < 1e-12 && (1e-9..1e-3).contains(&failure.p_failures.unwrap()), "{failure:?}");
    assert_eq!((failure.p_text(), failure.p_failures_text()), ("–".to_owned(), p_text(failure.p_failures)));
    assert!(found.about_tests()[0].contains("score test of the pairs"), "{:?}", found.about_tests());
    let more = compared(&a, &of("f", Draw::Fractions, twice, 95), None);
    let answer = more.answers().find(|answer| answer.outcome == "failure").unwrap();
    assert!(row(&more.strata[0], "failure").paired.unwrap().p > 0.05, "per upset it is nearly the same");
    assert_eq!((answer.shown, answer.p.unwrap() < 1e-9), (Shown::More, true), "{}", answer.sentence);
    let apart = ratio(failure.failures[1].unwrap(), failure.failures[0].unwrap());
    assert!(counts.upper.unwrap() < apart.upper.unwrap(), "{counts:?} {apart:?}");
    // Moments of a longer run are others.
    let c = of("c", Draw::Moments, fake::LENGTH, 100);
    for (name, draw) in [("d", Draw::Moments), ("e", Draw::Fractions)] {
        assert!(compared(&c, &of(name, draw, twice, 25), None).trials.is_none());
    }
}

#[test]
fn failures_that_moved_to_another_stratum_show_in_the_sum() {
    let folder = tempfile::tempdir().unwrap();
    let spec =
        |seed| CampaignSpec { seed, ..fake::spec(2_000, &["range:0x40000000+1M", "range:0x50000000+2M"]) };
    // The first stratum is hardened, and its failures come to the other one, of twice the size.
    let outcome = |rates: [u64; 2]| {
        move |trial: &PlannedTrial| match trial.id.0 % 100 < rates[trial.stratum as usize] {
            true => Outcome::Sdc,
            false => Outcome::Masked,
        }
    };
    let a = campaign(folder.path(), "a", &spec(1), outcome([20, 5]));
    let b = campaign(folder.path(), "b", &spec(2), outcome([4, 13]));
    let found = compared(&a, &b, Some(Margin::equivalent(1.5).unwrap()));
    assert!(row(&found.strata[0], "failure").p_failures.unwrap() < 1e-6);
    assert!(row(&found.strata[1], "failure").p_failures.unwrap() < 1e-6);
    let [sum] = &found.sums[..] else { panic!("{:?}", found.sums) };
    assert_eq!(sum.strata[0], sum.strata[1]);
    let failure = &sum.rows[0];
    assert!((failure.ratio.value.unwrap() - 1.0).abs() < 0.15 && failure.p > 0.2, "{failure:?}");
    assert!(failure.verdict.unwrap().finding == Finding::Shown, "{:?}", failure.verdict);
    // Strata that have faults in common are no sum.
    let overlapping =
        |seed| CampaignSpec { seed, ..fake::spec(200, &["range:0x40000000+1M", "range:0x40000000+2M"]) };
    let c = campaign(folder.path(), "c", &overlapping(1), outcome([20, 5]));
    let d = campaign(folder.path(), "d", &overlapping(2), outcome([20, 5]));
    let sums = compared(&c, &d, None).sums;
    assert!(sums[0].rows.is_empty() && sums[0].why_not.as_ref().unwrap().contains("in common"));
}

#[test]
fn rows_that_cannot_be_significant_are_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |seed| CampaignSpec { seed, ..fake::spec(1_000, &["range:0x40000000+1M"]) };
    // Crashes are many, hangs are two, and nothing else came.
    let outcome = |trial: &PlannedTrial| match trial.id.0 {
        0 => Outcome::Hang,
        1..=50 => Outcome::Crash,
        _ => Outcome::Masked,
    };
    let a = campaign(folder.path(), "a", &spec(1), outcome);
    let b = campaign(folder.path(), "b", &spec(2), outcome);
    let found = compared(&a, &b, None);
    let tests = found.tests.unwrap();
    // failure, noticed, unmasked, crash and masked; not hang, and not sdc, detected and latent, which have no hit at all.
    assert_eq!((tests.rows, tests.able, tests.bound), (9, 5, 0.01));
    let said = found.about_tests().join("\n");
    assert!(said.contains("5 of them have enough hits") && said.contains("below 1.00"), "{said}");
    assert!(said.contains("failure is crash, hang, sdc, ecc-detected, detected"), "{said}");
}

#[test]
fn another_share_of_idle_time_is_said_and_campaigns_that_grew_are_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, idle: u64| {
        let mut golden = fake::golden();
        let spans = [Span { from: golden.begin(), length: idle }];
        golden.idle = Some(Idle::new(golden.begin(), golden.end(), spans));
        let spec = fake::spec(20, &["class:core"]);
        let path = folder.path().join(format!("{name}.sqlite"));
        let mut store = fake::create_of(&path, &CampaignSpec { name: name.into(), ..spec }, &golden).unwrap();
        fake::grow(&mut store, 30).unwrap();
        store
    };
    let (a, b) = (with("a", 20_000_000), with("b", 4_000_000));
    let found = compared(&a, &b, None);
    assert!(
        found.differs[0].starts_with("the guest idles at 5.0 % of the moments in A, 1.0 % in B"),
        "{:?}",
        found.differs
    );
    assert!(found.unfair.is_empty(), "{:?}", found.unfair);
    let doubts = found.doubts;
    assert!(doubts.iter().any(|line| line.starts_with("a grown once: 20 + 10 trials")), "{doubts:?}");
    let same = compared(&a, &with("c", 19_000_000), None).differs;
    assert!(!same.iter().any(|line| line.contains("idles")), "{same:?}");
}

#[test]
fn what_a_guest_has_and_how_it_is_restored_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |memory: u64, cpus: u64, restore| {
        let mut spec = fake::spec(20, &["class:core"]);
        spec.guest = serde_json::json!({ "memory": memory, "cpus": cpus });
        spec.trial.restore = restore;
        spec
    };
    let a =
        campaign(folder.path(), "a", &spec(1 << 27, 1, crate::trial::RestoreMethod::Rewind), crash_below(2));
    let b =
        campaign(folder.path(), "b", &spec(1 << 28, 2, crate::trial::RestoreMethod::Clone), crash_below(2));
    let found = compared(&a, &b, None);
    // A hardening may take more of them, and faults do not know how their guest was restored.
    assert_eq!(found.unfair, [""; 0]);
    assert_eq!(
        found.differs[..3],
        [
            "how guests are restored: rewind in A, clone in B",
            "the guest's memory: 134217728 in A, 268435456 in B",
            "the guest's vCPUs: 1 in A, 2 in B",
        ]
    );
}
