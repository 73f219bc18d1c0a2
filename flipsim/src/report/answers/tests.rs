//! Tests of answers: a service and its hardening, counted each way, and in the field.

use std::path::Path;

use super::*;
use crate::campaign::summary::SummaryOptions;
use crate::campaign::{CampaignSpec, MissionFile, PlannedTrial, Shard, Store, Summary};
use crate::report::compare::{CompareOptions, Comparison, Side, compare};
use crate::testing::fake_campaign as fake;
use crate::trial::Outcome;
use crate::units::VirtualNs;

/// A service that prints a line, with the workload's name, so many times as long as the usual run; of every hundred trials so
/// many are sdc, and so many crash.
fn service(folder: &Path, name: &str, seed: u64, times: u64, ends: [u64; 2], output: &str) -> Store {
    let mut golden = fake::golden();
    let end = golden.checkpoints.len() - 1;
    golden.checkpoints[end].at = VirtualNs(golden.begin().0 + times * fake::LENGTH.0);
    golden.console = format!("{output}FLIPSIM DONE workload={name} digest=77 status=ok\r\n").into_bytes();
    let spec = CampaignSpec {
        name: name.to_owned(),
        seed,
        guest: serde_json::json!({ "workload": name }),
        ..fake::spec(1_000, &["range:0x40000000+1M"])
    };
    let mut store = fake::create_of(&folder.join(format!("{name}.sqlite")), &spec, &golden).unwrap();
    let outcome = |trial: &PlannedTrial| match trial.id.0 % 100 {
        place if place < ends[0] => Outcome::Sdc,
        place if place < ends[0] + ends[1] => Outcome::Crash,
        _ => Outcome::Masked,
    };
    for id in store.pending(Shard::WHOLE).unwrap() {
        let trial = store.planned(id).unwrap();
        let mut record = fake::record(&trial);
        (record.flipped, record.error, record.outcome) = (true, None, Some(outcome(&trial)));
        store.record(id, &record).unwrap();
    }
    store
}

fn compared(a: &Store, b: &Store, options: &CompareOptions<'_>) -> Comparison {
    let summary = |store| Summary::new(store, &SummaryOptions::default()).unwrap();
    let (first, second) = (summary(a), summary(b));
    compare(&Side { store: a, summary: &first }, &Side { store: b, summary: &second }, options).unwrap()
}

fn sentences(found: &Comparison) -> Vec<&str> {
    found.answers().map(|answer| answer.sentence.as_str()).collect()
}

#[test]
fn a_hardening_is_compared_in_a_sentence_an_outcome_each_way() {
    let folder = tempfile::tempdir().unwrap();
    let a = service(folder.path(), "list", 1, 1, [6, 4], "sum 5050\r\n");
    let b = service(folder.path(), "list-tmr", 2, 2, [1, 4], "sum 5050\r\n");
    let run = compared(&a, &b, &CompareOptions::default());
    // Another name, another length: what a comparison is for.
    assert_eq!(run.unfair, [""; 0]);
    assert!(
        run.differs[0].starts_with("the workload: \"list\" in A, \"list-tmr\" in B"),
        "{:?}",
        run.differs
    );
    assert_eq!(run.notes, ["B runs 2.0 times as long as A: rates are per upset, counts per run"]);
    let upset = compared(&a, &b, &CompareOptions { per: Some(Per::Upset), ..CompareOptions::default() });
    assert_eq!(
        [sentences(&upset), sentences(&run)].concat(),
        [
            "1M: an upset is 6.0 times less likely to end in silent data corruption in list-tmr than in list (95 %: 3.1 to 12)",
            "1M: no difference can be shown in noticed failures per upset: list-tmr over list is × 1.00 (0.65 to 1.54); these numbers would have shown × 1.71 or more, or × 0.47 or less (with 80 %)",
            "1M: an upset is 2.0 times less likely to end in a failure of any kind in list-tmr than in list (95 %: 1.4 to 2.8)",
            "1M: a run of list-tmr ends in silent data corruption 3.0 times less often than one of list (95 %: 1.5 to 5.8)",
            "1M: a run of list-tmr ends in a failure that is noticed (all failures but sdc) 2.0 times more often than one of list (95 %: 1.3 to 3.1)",
            "1M: no difference can be shown in failures per run: list-tmr over list is × 1.00 (0.72 to 1.39); these numbers would have shown × 1.52 or more, or × 0.57 or less (with 80 %)",
        ]
    );
    let [sdc, noticed, failure] = &run.strata[0].answers[..] else { panic!("{run:?}") };
    assert_eq!((sdc.shown, noticed.shown, failure.shown), (Shown::Less, Shown::More, Shown::Nothing));
    assert!((sdc.ratio.unwrap().value.unwrap() - 1.0 / 3.0).abs() < 1e-12);
    // Both ratios, whatever is asked.
    let of = |answer: &Answer| {
        answer.ratios.iter().map(|one| (one.per, one.ratio.value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(of(failure), [(Per::Upset, 0.5), (Per::Run, 1.0)]);
    assert_eq!(of(&upset.strata[0].answers[2]), of(failure));
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!(
        (&json["per"], &json["strata"][0]["answers"][0]["sentence"]),
        (&"run".into(), &sentences(&run)[0].into())
    );
}

#[test]
fn workloads_that_print_nothing_alike_are_other_work() {
    let folder = tempfile::tempdir().unwrap();
    let a = service(folder.path(), "list", 1, 1, [6, 4], "sum 5050\r\n");
    let b = service(folder.path(), "tree", 2, 1, [1, 4], "depth 7\r\n");
    // The lines that say that they are done differ by the digest, too.
    let found = compared(&a, &b, &CompareOptions::default());
    assert_eq!(found.unfair, [""; 0], "their last lines are alike but for their names");
    let c = service(folder.path(), "other", 3, 1, [6, 4], "");
    let mut golden = c.golden().unwrap().unwrap();
    golden.console = b"depth 7\r\nFLIPSIM DONE workload=other digest=88 status=ok\r\n".to_vec();
    let spec = CampaignSpec { name: "d".to_owned(), ..c.spec().clone() };
    let d = fake::create_of(&folder.path().join("d.sqlite"), &spec, &golden).unwrap();
    let found = compared(&a, &d, &CompareOptions::default());
    assert_eq!(found.unfair, ["the workload: \"list\" in A, \"other\" in B"]);
}

#[test]
fn what_cannot_be_shown_says_what_could_have_been() {
    let folder = tempfile::tempdir().unwrap();
    let a = service(folder.path(), "a", 1, 1, [5, 0], "x\r\n");
    let b = service(folder.path(), "b", 2, 1, [5, 0], "x\r\n");
    let found = compared(&a, &b, &CompareOptions { per: Some(Per::Upset), ..CompareOptions::default() });
    let said = sentences(&found);
    // statsmodels 0.15.0: see `stats::power`; rounded outwards.
    assert_eq!(
        said[0],
        "1M: no difference can be shown in silent data corruption per upset: b over a is × 1.00 (0.68 to 1.47); these numbers \
         would have shown × 1.62 or more, or × 0.52 or less (with 80 %)"
    );
    assert_eq!(
        said[1],
        "1M: noticed failures never came in either: at most 0.30 % of the upsets in a and 0.30 % in b (95 %)"
            .replace(" %", "\u{202f}%")
            .replace("(95\u{202f}%)", "(95 %)")
    );
    // Without a failure in either the one sentence says all.
    let never = service(folder.path(), "none", 4, 1, [0, 0], "x\r\n");
    let again = service(folder.path(), "none-again", 5, 1, [0, 0], "x\r\n");
    let found = compared(&never, &again, &CompareOptions::default());
    let read: Vec<&str> = found.said().iter().map(|answer| answer.outcome).collect();
    assert_eq!((read, found.answers().count()), (vec!["failure"], 3));
    // It came in one of them alone.
    let never = service(folder.path(), "never", 3, 1, [0, 0], "x\r\n");
    for (one, other, says) in [
        (&a, &never, "times less often than one of a (95 %); it never came in never"),
        (&never, &a, "times more often than one of never (95 %); it never came in never"),
    ] {
        let found = compared(one, other, &CompareOptions::default());
        let said = sentences(&found)[0];
        assert!(said.contains("at least ") && said.contains(says), "{said}");
    }
}

#[test]
fn a_year_has_its_numbers_and_the_raw_rate_cancels_in_the_ratio() {
    let folder = tempfile::tempdir().unwrap();
    let a = service(folder.path(), "list", 1, 1, [6, 4], "x\r\n");
    let b = service(folder.path(), "list-tmr", 2, 2, [1, 4], "x\r\n");
    let mission = |factor: f64| {
        let text =
            format!("[ram]\nrate = \"2e-7/bit/day\"\nsource = \"made up\"\nfactor = {factor}\ngib = 1\n");
        MissionFile::from_toml(&text).unwrap()
    };
    let (sure, doubtful) = (mission(1.0), mission(3.0));
    let year =
        |mission| compared(&a, &b, &CompareOptions { mission: Some(mission), ..CompareOptions::default() });
    let (one, three) = (year(&sure), year(&doubtful));
    assert_eq!((one.per, three.per), (Per::Year, Per::Year));
    let field = three.field.as_ref().unwrap().sentence(three.sentence_names()).unwrap();
    assert_eq!(
        field,
        "In the field (RAM): 31375 (10066 to 97215) failures a year in list-tmr, 62749 (20552 to 191174) in list: 31375 fewer (8911 to 100455)"
    );
    assert_eq!(
        sentences(&three),
        [
            "1M: in a year in the field list-tmr ends in silent data corruption 6.0 times less often than list (95 %: 3.1 to 12): 6275 (1675 to 21994) a year in place of 37650 (12164 to 116007)",
            "1M: no difference can be shown in noticed failures per year: list-tmr over list is × 1.00 (0.65 to 1.54); these numbers would have shown × 1.71 or more, or × 0.47 or less (with 80 %)",
            "1M: in a year in the field list-tmr ends in a failure of any kind 2.0 times less often than list (95 %: 1.4 to 2.8): 31375 (10066 to 97215) a year in place of 62749 (20552 to 191174)",
        ]
    );
    for (sure, doubtful) in one.answers().zip(three.answers()) {
        assert_eq!((sure.ratio, sure.p), (doubtful.ratio, doubtful.p));
        // As much memory in both: as per upset.
        let of = |at: usize| sure.ratios[at].ratio.value.unwrap();
        assert!((of(2) / of(0) - 1.0).abs() < 1e-12);
    }
    let row = |found: &Comparison| found.field.as_ref().unwrap().parts[0].rows[0].clone();
    let (sure, doubtful) = (row(&one), row(&three));
    // 2^33 bits · 2·10^-7 a day · 365.25 days · 6 %.
    let expected = 8_589_934_592.0 * 2e-7 * 365.25 * 0.06;
    assert!((sure.per_year[0].value / expected - 1.0).abs() < 1e-9, "{sure:?}");
    assert_eq!((sure.difference.value, sure.ratio), (doubtful.difference.value, doubtful.ratio));
    let wider = doubtful.difference.interval;
    assert!(
        wider.lower < sure.difference.interval.lower
            && sure.difference.interval.upper < wider.upper
            && wider.upper < 0.0
    );
    // A year needs a mission, or nothing can be said.
    let none = compared(&a, &b, &CompareOptions { per: Some(Per::Year), ..CompareOptions::default() });
    assert!(sentences(&none)[0].contains("nothing can be said"), "{:?}", sentences(&none));
}
