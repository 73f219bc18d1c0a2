//! Tests of what a verdict rests on.

use std::collections::BTreeSet;

use super::*;
use crate::console::signals::Signals;
use crate::fault::Verdict;
use crate::machine::End;
use crate::trial::golden::Golden;
use crate::trial::judge::tests::{DONE, compared, golden, record};
use crate::trial::outcome::Outcome;
use crate::trial::record::EndState;
use crate::units::Timing;

const HELLO: &str = "[    0.100000] kernel: hello\n";
const WARNING: &str = "[    0.200000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\n";
const FAULT: &str = "[    0.200000] app[42]: unhandled exception: DABT (lower EL), ESR 0x92000004, level 0 translation fault in app[400000+5000]\n";
const PANIC: &str = "[    0.300000] Kernel panic - not syncing: Fatal exception\n";
const OFF: &str = "[    0.300000] reboot: Power down\n";

/// The record of a trial as it ends, with its verdict in it.
fn judged(golden: &Golden, begun: TrialRecord, said: &str, converged: bool) -> TrialRecord {
    let same_output = golden.same_output(said.as_bytes());
    compared(golden, &begun.clone(), said, converged, |compared| {
        let mut record = begun;
        record.console_differs_ns = (!same_output).then_some(record.end_ns);
        compared.evidence(same_output).record(&mut record, said.as_bytes());
        record
    })
}

/// As [`golden`], of a guest of which some lines are the output.
fn with_output(console: &str) -> Golden {
    let output = Some("digest=([0-9a-f]+)".parse().unwrap());
    Golden { console: console.into(), signals: Signals { output, ..Signals::default() }, ..golden() }
}

#[test]
fn each_rule_leaves_its_evidence_in_the_record() {
    let right = format!("{HELLO}{DONE}");
    let state = || Some(EndState::default());
    let plain = || record(None);
    let wrong = right.replace("digest=0", "digest=9");
    let slow = TrialRecord { timing: Timing::Approximate, ..record(Some(End::WallTime)) };
    let only = TrialRecord { output_only: true, output_only_because: Some("they differ".into()), ..plain() };
    let cases = [
        (TrialRecord { converged_ns: Some(200), ..plain() }, right.clone(), true),
        (plain(), right.clone(), true),
        (only, right.clone(), false),
        (TrialRecord { state: state(), ..plain() }, right.clone(), false),
        (plain(), wrong, false),
        (plain(), format!("{HELLO}{WARNING}{DONE}"), false),
        (plain(), format!("{HELLO}{FAULT}{DONE}"), false),
        (record(Some(End::Panic)), format!("{HELLO}{PANIC}"), false),
        (record(Some(End::Reset)), HELLO.to_owned(), false),
        (plain(), format!("{HELLO}{PANIC}"), false),
        (plain(), HELLO.to_owned(), false),
        (plain(), format!("{HELLO}{WARNING}"), false),
        (slow, HELLO.to_owned(), false),
        (record(Some(End::WallTime)), HELLO.to_owned(), false),
        (record(Some(End::Other)), HELLO.to_owned(), false),
    ];
    let mut rules = BTreeSet::new();
    // Whether the output is all that the console says, or some of its lines, makes no difference.
    for golden in [golden(), with_output(&right)] {
        for (begun, said, converged) in &cases {
            let record = judged(&golden, begun.clone(), said, *converged);
            let because = record.because.as_ref().unwrap();
            assert_eq!(record.lacks(), Vec::<&str>::new(), "{because}");
            rules.insert(serde_json::to_value(because).unwrap()["rule"].as_str().unwrap().to_owned());
            if record.outcome.is_some_and(|outcome| Class::Failure.has(outcome)) {
                assert_eq!(record.console.as_ref(), Some(said), "{because}");
            }
        }
    }
    for verdict in [Verdict::Corrected, Verdict::Detected] {
        let mut begun = plain();
        begun.plan.ecc = Some(verdict);
        let record = begun.decided();
        assert_eq!(record.lacks(), Vec::<&str>::new(), "{verdict:?}");
        rules.insert(serde_json::to_value(&record.because).unwrap()["rule"].as_str().unwrap().to_owned());
    }
    assert_eq!(rules.len(), crate::trial::because::tests::all().len(), "{rules:?}");
}

#[test]
fn a_report_is_kept_where_it_is_no_part_of_the_output() {
    let golden = with_output(&format!("{HELLO}{DONE}"));
    let said = format!("{HELLO}{FAULT}{DONE}");
    let found = judged(&golden, record(None), &said, false);
    assert_eq!((found.outcome, found.console_differs_ns), (Some(Outcome::Detected), None));
    assert_eq!((found.detected_ns, found.console), (Some(300), Some(said)));
    assert!(found.title.is_some_and(|title| title.starts_with("user fault in app")));
}

#[test]
fn a_report_of_which_the_golden_run_has_one_too_is_found_where_the_consoles_part() {
    let golden = with_output(&format!("{HELLO}{WARNING}tick\n{DONE}"));
    let line = |said: &str| crate::trial::judge::tests::noticed_line(&golden, said);
    assert_eq!(line(&format!("{HELLO}{WARNING}tick\n{WARNING}{DONE}")), Some(4), "one more, behind it");
    assert_eq!(line(&format!("{HELLO}noise\n{WARNING}{WARNING}tick\n{DONE}")), Some(3));
    assert_eq!(line(&format!("{HELLO}{WARNING}tock\n{DONE}")), None);
    // What is worse in the golden run hides neither the report nor its title.
    let record = judged(&golden, record(None), &format!("{HELLO}{WARNING}{FAULT}tick\n{DONE}"), false);
    assert_eq!(record.lacks(), Vec::<&str>::new());
    assert!(record.title.is_some_and(|title| title.starts_with("user fault")));
}

#[test]
fn an_end_of_which_the_golden_run_reports_the_like_is_reported() {
    // Switched off when it was done, and before.
    let golden = with_output(&format!("{HELLO}{DONE}{OFF}"));
    let record = judged(&golden, record(None), &format!("{HELLO}{OFF}"), false);
    assert_eq!((record.outcome, record.lacks()), (Some(Outcome::Crash), Vec::new()));
    assert!(record.title.is_some() && record.detected_ns.is_some(), "{record:?}");
}

#[test]
fn a_record_says_what_it_lacks() {
    let golden = with_output(&format!("{HELLO}{DONE}"));
    let whole = judged(&golden, record(None), &format!("{HELLO}{WARNING}{DONE}"), false);
    let without = TrialRecord { console: None, detected_ns: None, ..whole };
    assert_eq!(without.lacks(), ["console", "kind, title, detected_ns"]);
    assert_eq!(TrialRecord { outcome: Some(Outcome::Sdc), ..record(None) }.lacks(), ["because"]);
}
