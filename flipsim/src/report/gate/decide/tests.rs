//! Tests of the decision: on campaigns, for each reason; and of its forms.

use std::path::Path;

use super::super::{GatePageOptions, gate_page, junit, markdown};
use super::*;
use crate::campaign::summary::SummaryOptions;
use crate::campaign::{CampaignSpec, PlannedTrial, Shard, Store};
use crate::fault::Pattern;
use crate::report::compare::{CompareOptions, Side, compare};
use crate::stats::Share;
use crate::testing::fake_campaign as fake;

fn share(value: f64) -> Share {
    Share::new(value).unwrap()
}

fn asked() -> GateOptions {
    let rule = Rule { alpha: share(0.01), by_at_least: share(0.02), power: Share::P80 };
    GateOptions { conditions: vec![Condition::FAILURE], rule, unfinished: false }
}

/// The same for rises of 5 points, which fewer trials show.
fn wide() -> GateOptions {
    GateOptions { rule: Rule { by_at_least: share(0.05), ..asked().rule }, ..asked() }
}

const BOTH: &[&str] = &["range:0x40000000+1M", "class:core"];

/// A campaign of which so many of a hundred trials fail in each stratum, and the first so many trials have a result.
fn campaign(folder: &Path, spec: &CampaignSpec, rates: [u64; 2], done: usize) -> Store {
    let mut store = fake::create(&folder.join(format!("{}.sqlite", spec.name)), spec).unwrap();
    let failed = |trial: &PlannedTrial| trial.id.0 / 2 % 100 < rates[trial.stratum as usize];
    for id in store.pending(Shard::WHOLE).unwrap().into_iter().take(done) {
        let trial = store.planned(id).unwrap();
        let mut record = fake::record(&trial);
        let outcome = if failed(&trial) { Outcome::Crash } else { Outcome::Masked };
        (record.flipped, record.error, record.outcome) = (true, None, Some(outcome));
        store.record(id, &record).unwrap();
    }
    store
}

fn spec(name: &str, seed: u64, targets: &[&str], trials: u64) -> CampaignSpec {
    CampaignSpec { name: name.to_owned(), seed, ..fake::spec(trials, targets) }
}

fn gated(a: &Store, b: &Store, asked: &GateOptions) -> Gate {
    let summary = |store| Summary::new(store, &SummaryOptions::default()).unwrap();
    let (first, second) = (summary(a), summary(b));
    let found = compare(
        &Side { store: a, summary: &first },
        &Side { store: b, summary: &second },
        &CompareOptions::default(),
    );
    gate(&found.unwrap(), [&first, &second], asked)
}

#[test]
fn equal_ones_are_not_worse_and_a_rise_in_one_stratum_is() {
    let folder = tempfile::tempdir().unwrap();
    let new =
        |name: &str, seed, rates| campaign(folder.path(), &spec(name, seed, BOTH, 4_000), rates, usize::MAX);
    let (a, b, c) = (new("a", 1, [12, 5]), new("b", 2, [12, 5]), new("c", 3, [12, 10]));
    let equal = gated(&a, &b, &wide());
    assert_eq!((equal.change, equal.rows.len()), (Change::NotWorse, 2), "{}", equal.line());
    assert!(
        equal.line().starts_with("gate: not worse: no rise of 5.00\u{202f}points or more in failure in 1M; ")
    );
    let worse = gated(&a, &c, &wide());
    assert_eq!(worse.change, Change::Worse);
    let line = worse.line();
    assert!(
        line.starts_with("gate: worse: failure in core: ") && line.contains("points at least), p < 0.0001"),
        "{line}"
    );
    assert!(line.ends_with("(alpha 1.00\u{202f}% over 2 tests)"), "{line}");
    // The other way round it is better.
    assert_eq!(gated(&c, &a, &wide()).change, Change::NotWorse);
    // Another outcome has not changed.
    let hang = GateOptions { conditions: vec!["hang worse".parse().unwrap()], ..wide() };
    assert_eq!(gated(&a, &c, &hang).change, Change::NotWorse);
}

#[test]
fn one_plan_is_judged_by_its_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name: &str, rates| campaign(folder.path(), &spec(name, 1, BOTH, 2_000), rates, usize::MAX);
    let (a, b) = (new("a", [12, 5]), new("b", [14, 5]));
    let found = gated(&a, &b, &asked());
    assert!(found.rows.iter().all(|row| row.pairs.is_some()));
    // 2 % of all fail in addition, and no trial less does: that is no chance.
    assert_eq!(found.change, Change::Worse, "{}", found.line());
    let apart = campaign(folder.path(), &spec("c", 2, BOTH, 2_000), [14, 5], usize::MAX);
    assert_eq!(gated(&a, &apart, &asked()).change, Change::Open);
    assert_eq!(gated(&a, &a, &asked()).change, Change::NotWorse);
}

#[test]
fn too_little_power_says_what_could_have_been_seen() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name: &str, seed| campaign(folder.path(), &spec(name, seed, BOTH, 600), [12, 5], usize::MAX);
    let found = gated(&new("a", 1), &new("b", 2), &asked());
    assert_eq!(found.change, Change::Open);
    let line = found.line();
    for part in [
        "gate: nothing can be said: failure in 1M: ",
        "too little power: with these trials a rise of ",
        "points could have been seen, 2.00\u{202f}points is asked for (`campaign new --detect '12.",
        "% -> 14.",
        "%' --power 90%` draws enough, for both); failure in core: ",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let coarse = GateOptions { rule: Rule { by_at_least: share(0.15), ..asked().rule }, ..asked() };
    let (a, b) = (new("c", 1), new("d", 2));
    assert_eq!(gated(&a, &b, &coarse).change, Change::NotWorse);
}

#[test]
fn of_an_unfinished_one_nothing_is_said_unless_its_batches_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let a = campaign(folder.path(), &spec("a", 1, BOTH, 4_000), [12, 5], usize::MAX);
    let b = campaign(folder.path(), &spec("b", 2, BOTH, 4_000), [40, 5], 2_100);
    let found = gated(&a, &b, &asked());
    assert_eq!((found.change, found.rows.len()), (Change::Open, 0));
    assert_eq!(found.line(), "gate: nothing can be said: b is not finished: 1900 of 4000 trials are pending");
    let batches = GateOptions { unfinished: true, ..asked() };
    let found = gated(&a, &b, &batches);
    assert_eq!(found.change, Change::Worse, "{}", found.line());
    // What is run of a batch that is not whole is no sample.
    let counted: u64 = found.rows.iter().map(|row| row.counted[1]).sum();
    assert_eq!(counted, 2_000);
    // Of one plan, too, only whole batches count, and so trials are no pairs.
    let same = campaign(folder.path(), &spec("c", 1, BOTH, 4_000), [12, 5], 2_100);
    assert!(gated(&a, &same, &batches).rows.iter().all(|row| row.pairs.is_none()));
    let none = campaign(folder.path(), &spec("d", 1, BOTH, 4_000), [12, 5], 0);
    let line = gated(&a, &none, &batches).line();
    assert!(line.contains("failure in core: a campaign has no trial there that counts"), "{line}");
}

#[test]
fn without_a_common_stratum_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let new = |spec: &CampaignSpec| campaign(folder.path(), spec, [12, 5], usize::MAX);
    let a = new(&spec("a", 1, &BOTH[..1], 200));
    let found = gated(&a, &new(&spec("b", 2, &BOTH[1..], 200)), &asked());
    assert_eq!((found.change, found.rows.len(), found.left_out.len()), (Change::Open, 0, 2));
    let line = found.line();
    assert!(line.contains("no stratum is in both campaigns") && line.contains("1M: only a has it"), "{line}");
    // The same name with another fault model is another stratum.
    let other = CampaignSpec { pattern: Pattern::Adjacent(2), ..spec("c", 2, &BOTH[..1], 200) };
    let found = gated(&a, &new(&other), &asked());
    assert!(
        found.change == Change::Open && found.line().contains("the fault models are "),
        "{}",
        found.line()
    );
}

#[test]
fn conditions_are_outcomes_of_which_more_is_worse() {
    assert_eq!("failure worse".parse(), Ok(Condition::FAILURE));
    assert_eq!("sdc  worse".parse(), Ok(Condition("sdc")));
    for bad in ["", "failure", "failure better", "masked worse", "no-effect worse", "sdc worse now"] {
        let said = bad.parse::<Condition>().unwrap_err();
        assert!(said.contains("`OUTCOME worse`, where OUTCOME is failure, noticed, unmasked, "), "{said}");
    }
}

#[test]
fn every_form_says_the_same_and_no_name_breaks_out() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name: &str, seed, rates, extra: Option<&str>| {
        let mut spec = spec(name, seed, BOTH, 4_000);
        "a|b <i>&\"\u{1}`".clone_into(&mut spec.strata[0].name);
        if let Some(name) = extra {
            spec.strata[1].name = name.to_owned();
        }
        campaign(folder.path(), &spec, rates, usize::MAX)
    };
    let found = gated(&new("a", 1, [12, 5], Some("regs")), &new("b", 2, [18, 5], None), &wide());
    let xml = junit(&found);
    assert!(
        xml.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"gate a b\""
        )
    );
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"2\""), "{xml}");
    assert!(
        xml.contains("<failure type=\"worse\" message=\"failure in a|b &lt;i>&amp;&quot;")
            || xml.contains("&lt;i&gt;&amp;&quot;"),
        "{xml}"
    );
    assert!(!xml.contains('\u{1}') && !xml.contains("<i>"), "{xml}");
    let text = markdown(&found);
    assert!(
        text.starts_with("### b against a: worse\n\ngate: worse: failure in a\\|b &lt;i>&amp;"),
        "{text}"
    );
    assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 2, "{text}");
    let options = GatePageOptions {
        campaigns: ["a".into(), "b".into()],
        made: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    let page = gate_page(&found, &options);
    assert!(page.contains("<h1>b against a: worse</h1>") && !page.contains("<i>"), "{page}");
    assert!(page.contains("report gate a b") && page.contains("McNemar"));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((&json["change"], &json["rows"][0]["change"]), (&"worse".into(), &"worse".into()));
    // Without a decision there is one error.
    let open = gated(
        &new("c", 1, [12, 5], Some("regs")),
        &campaign(folder.path(), &spec("d", 2, BOTH, 200), [1, 1], 0),
        &wide(),
    );
    let xml = junit(&open);
    assert!(xml.contains("errors=\"1\"") && xml.contains("<error type=\"nothing-can-be-said\""), "{xml}");
}

#[test]
fn a_rise_by_a_longer_run_says_of_which_space_its_rates_are() {
    let folder = tempfile::tempdir().unwrap();
    let a = campaign(folder.path(), &spec("a", 1, &["range:0x40000000+1M"], 1000), [10, 10], 1000);
    let b = campaign(folder.path(), &spec("b", 2, &["range:0x40000000+1M"], 1000), [10, 10], 1000);
    let mut row = gated(&a, &b, &asked()).rows[0].clone();
    assert!(!row_text(&row, &asked().rule).contains("fault space"), "{row:?}");
    row.sizes = 2.81;
    assert!(row_text(&row, &asked().rule).contains("% of a fault space 2.81 times as large"), "{row:?}");
}
