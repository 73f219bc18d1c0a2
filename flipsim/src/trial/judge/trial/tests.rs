//! Tests of the judge of trials.

use std::time::Duration;

use super::*;
use crate::fault::Fault;
use crate::machine::End;
use crate::target::{Capabilities, Digest128, StateDigest};
use crate::trial::golden::model::{Checkpoint, FORMAT as GOLDEN, Window};
use crate::trial::outcome::Outcome;
use crate::trial::record::{Costs, EndState, TrialPlan};
use crate::trial::restore::RestoreMethod;
use crate::units::{GuestPhys, Timing, VirtualNs};

pub(in crate::trial) const DONE: &str = "FLIPSIM DONE workload=sha256 digest=0123456789abcdef status=ok\n";

fn state(at: u64) -> StateDigest {
    StateDigest {
        digest: Some(Digest128(at.into())),
        ram: Digest128(at.into()),
        devices: Some(Digest128(1)),
        disks: Some(Digest128(0)),
        virtual_ns: at,
        instructions: Some(at),
        pages_differing: 1,
        pages_hashed: 1,
        sections: None,
        pages: None,
    }
}

pub(in crate::trial) fn golden() -> Golden {
    let checkpoint = |at| Checkpoint { at: VirtualNs(at), state: Some(state(at)), console: 0 };
    let console = format!("[    0.100000] kernel: hello\n{DONE}").into_bytes();
    let end = Checkpoint { console: console.len(), ..checkpoint(300) };
    Golden {
        format: GOLDEN,
        template: "t".into(),
        window: Window::Done,
        spacing: VirtualNs(100),
        looks: None,
        start: checkpoint(100),
        checkpoints: vec![checkpoint(200), end],
        console,
        registers: Vec::new(),
        difference: None,
        pages_apart: Vec::new(),
        capabilities: Capabilities::ALL,
        signals: crate::console::signals::Signals::default(),
        idle: None,
        done: None,
        events: std::collections::BTreeMap::new(),
        run_seconds: 1.0,
        compare_seconds: 0.0,
    }
}

pub(in crate::trial) fn record(end: Option<End>) -> TrialRecord {
    let fault = Fault::in_ram(GuestPhys(0x4000_0000), vec![1]);
    let plan = TrialPlan::one(VirtualNs(10), fault);
    TrialRecord {
        flipped: true,
        old: "0x00".into(),
        new: "0x01".into(),
        end_ns: 300,
        end,
        ..TrialRecord::begun("t", &plan, VirtualNs(110), RestoreMethod::Rewind)
    }
}

fn judged(said: &str, end: Option<End>, converged: bool) -> Outcome {
    judged_by(&golden(), said, end, converged)
}

fn judged_by(golden: &Golden, said: &str, end: Option<End>, converged: bool) -> Outcome {
    because(golden, &record(end), said, converged).outcome()
}

fn because(golden: &Golden, record: &TrialRecord, said: &str, converged: bool) -> Because {
    compared(golden, record, said, converged, |compared| compared.judge())
}

/// What `of` finds of a trial that ended so.
pub(in crate::trial) fn compared<T>(
    golden: &Golden,
    record: &TrialRecord,
    said: &str,
    converged: bool,
    of: impl FnOnce(&Compared<'_>) -> T,
) -> T {
    let (found, expected) = (classify::classify(said.as_bytes()), classify::classify(&golden.console));
    of(&Compared {
        record,
        golden,
        said: said.as_bytes(),
        found: &found,
        expected: &expected,
        converged,
        limit: hang_limit(golden, 3.0),
        wall: Duration::from_secs(60),
    })
}

/// The line of the first report that the golden run does not have.
pub(in crate::trial) fn noticed_line(golden: &Golden, said: &str) -> Option<u64> {
    let same_output = golden.same_output(said.as_bytes());
    compared(golden, &record(None), said, false, |compared| {
        compared.evidence(same_output).noticed.map(|finding| finding.line)
    })
}

/// The rule, as JSON and as a sentence.
fn why(record: &TrialRecord, said: &str, converged: bool) -> (String, String) {
    let because = because(&golden(), record, said, converged);
    (serde_json::to_string(&because).unwrap(), because.to_string())
}

#[test]
fn each_outcome_follows_from_its_evidence() {
    let right = format!("[    0.100000] kernel: hello\n{DONE}");
    assert_eq!(judged(&right, None, true), Outcome::Masked);
    assert_eq!(judged(&right, None, false), Outcome::Latent);
    // A message a little later is no other output.
    let later = right.replace("0.100000", "0.100007");
    assert_eq!(judged(&later, None, false), Outcome::Latent);
    let wrong = right.replace("status=ok", "status=wrong").replace("0123", "9999");
    assert_eq!(judged(&wrong, None, false), Outcome::Sdc);
    let oops =
        format!("[    0.2] x\n[    0.200000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\n{right}");
    assert_eq!(judged(&oops, None, false), Outcome::Detected);
    // Without its WARNING the golden run's state is of no use either.
    assert_eq!(judged(&oops, None, true), Outcome::Detected);
    assert_eq!(judged("[    0.100000] kernel: hello\n", None, false), Outcome::Hang);
    // Noticed, and then never done: it has not gone on.
    let stuck = "[    0.100000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\n";
    assert_eq!(judged(stuck, None, false), Outcome::Hang);
    for end in [End::Panic, End::Reset, End::PowerOff, End::ExceptionStorm] {
        assert_eq!(judged("", Some(end), false), Outcome::Crash, "{end:?}: without a word on the console");
    }
    assert_eq!(judged("", Some(End::WallTime), false), Outcome::Infra);
    assert_eq!(judged("", Some(End::Other), false), Outcome::Infra);
}

const WARNING: &str = "[    0.200000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2";
const HELLO: &str = "[    0.100000] kernel: hello";

#[test]
fn a_masked_trial_says_where_it_was_equal() {
    let right = format!("{HELLO}\n{DONE}");
    let converged = TrialRecord { converged_ns: Some(200), ..record(None) };
    assert_eq!(
        why(&converged, &right, true),
        (
            r#"{"rule":"converged","checkpoint_ns":200}"#.to_owned(),
            "the state was the golden run's again at the checkpoint at 200 ns of the guest's clock"
                .to_owned()
        )
    );
    assert_eq!(why(&record(None), &right, true).0, r#"{"rule":"equal-at-end"}"#);
    let output_only = TrialRecord { output_only: true, ..record(None) };
    assert_eq!(why(&output_only, &right, false).0, r#"{"rule":"output-equal"}"#);
    assert_eq!(why(&record(None), &right, false).0, r#"{"rule":"state-differs"}"#);
    // One that was equal once and is not in the end.
    assert_eq!(why(&converged, &right, false).0, r#"{"rule":"state-differs"}"#);
}

#[test]
fn wrong_output_is_shown_by_its_first_line_that_differs() {
    let wrong = format!("[    0.100007] kernel: hello\n{}", DONE.replace("0123", "9999"));
    assert_eq!(
        why(&record(None), &wrong, false).1,
        "line 2 of the output is `FLIPSIM DONE workload=sha256 digest=9999456789abcdef status=ok`, and \
         `FLIPSIM DONE workload=sha256 digest=0123456789abcdef status=ok` in the golden run"
    );
    assert_eq!(
        why(&record(None), DONE, false).0,
        r#"{"rule":"output-differs","number":1,"line":"FLIPSIM DONE workload=sha256 digest=0123456789abcdef status=ok","golden":"kernel: hello"}"#
    );
    let more = format!("{HELLO}\n{DONE}and more\n");
    assert_eq!(
        why(&record(None), &more, false).1,
        "the output goes on with line 3, `and more`, where the golden run's ends"
    );
    let golden = Golden { console: more.into_bytes(), ..golden() };
    let less = because(&golden, &record(None), &format!("{HELLO}\n{DONE}"), false);
    assert_eq!(less.to_string(), "the output ends before line 3, which is `and more` in the golden run");
}

#[test]
fn what_the_guest_noticed_is_quoted_without_its_time() {
    let warned = format!("{WARNING}\n{HELLO}\n{DONE}");
    assert_eq!(
        why(&record(None), &warned, false),
        (
            r#"{"rule":"noticed","line":"WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2"}"#.to_owned(),
            "the guest noticed, and went on: `WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2`".to_owned()
        )
    );
}

#[test]
fn a_crash_names_what_qemu_reported_or_else_the_consoles_line() {
    let panic = "[    0.300000] Kernel panic - not syncing: Fatal exception\n";
    assert_eq!(
        why(&record(Some(End::Panic)), panic, false),
        (
            r#"{"rule":"ended","end":"panic","line":"Kernel panic - not syncing: Fatal exception"}"#
                .to_owned(),
            "the guest reported to QEMU that it panicked: `Kernel panic - not syncing: Fatal exception`"
                .to_owned()
        )
    );
    assert_eq!(why(&record(Some(End::Reset)), "", false).0, r#"{"rule":"ended","end":"reset","line":null}"#);
    assert_eq!(
        why(&record(None), panic, false).1,
        "the console reports the guest's end: `Kernel panic - not syncing: Fatal exception`"
    );
}

#[test]
fn a_hang_names_its_rule_its_limit_and_how_far_it_got() {
    let late = TrialRecord { end_ns: 700, ..record(None) };
    assert_eq!(
        why(&late, "", false),
        (
            r#"{"rule":"not-done","limit_ns":700,"last_checkpoint_ns":300}"#.to_owned(),
            "not done by the hang limit, 700 ns of the guest's clock; the last checkpoint that it reached is at 300 ns".to_owned()
        )
    );
    assert_eq!(
        why(&late, WARNING, false).0,
        r#"{"rule":"noticed-not-done","limit_ns":700,"last_checkpoint_ns":300,"line":"WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2"}"#
    );
    let slow = TrialRecord { end_ns: 250, timing: Timing::Approximate, ..record(Some(End::WallTime)) };
    assert_eq!(
        why(&slow, "", false).0,
        r#"{"rule":"host-time","limit_ns":60000000000,"last_checkpoint_ns":200}"#
    );
    let slower = TrialRecord { end_ns: 150, ..slow };
    assert!(why(&slower, "", false).1.ends_with("60 s of the host's time; it reached no checkpoint"));
}

#[test]
fn what_the_laboratory_lost_is_said() {
    let (held_up, sentence) = why(&record(Some(End::WallTime)), "", false);
    assert_eq!(held_up, r#"{"rule":"held-up","limit_ns":60000000000}"#);
    assert!(
        sentence.starts_with("the guest did not get on for a long time on the host's clock (60 s)"),
        "{sentence}"
    );
    assert_eq!(why(&record(Some(End::Other)), "", false).0, r#"{"rule":"stopped","end":"other"}"#);
}

#[test]
fn a_record_of_the_first_version_is_read_and_is_the_same_as_one_that_says_why() {
    let now = TrialRecord { because: Some(Because::StateDiffers), ..record(None) };
    let mut then = serde_json::to_value(&now).unwrap();
    then["format"] = 1.into();
    then.as_object_mut().unwrap().remove("because");
    let then: TrialRecord = serde_json::from_value(then).unwrap();
    assert_eq!((then.format, &then.because), (1, &None));
    assert!(now.is_same(&then) && then.is_same(&now));
    let other = TrialRecord { because: Some(Because::EqualAtEnd), ..now.clone() };
    assert!(!now.is_same(&other));
}

#[test]
fn where_some_lines_are_the_output_the_others_only_show_that_something_was_noticed() {
    let signals = crate::console::signals::Signals {
        done: Some("^BYE$".parse().unwrap()),
        output: Some("^sum ([0-9]+)".parse().unwrap()),
        ..Default::default()
    };
    let golden = Golden { console: b"noise\nsum 12 after 3 s\nBYE\n".to_vec(), signals, ..golden() };
    let judged = |said| judged_by(&golden, said, None, false);
    assert_eq!(judged("other noise\nsum 12 after 4 s\nBYE\n"), Outcome::Latent);
    assert_eq!(judged("noise\nsum 13 after 3 s\nBYE\n"), Outcome::Sdc);
    assert_eq!(judged("noise\nsum 12 after 3 s\n"), Outcome::Hang);
    let warned = "[    0.200000] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x1/0x2\nsum 12\nBYE\n";
    assert_eq!(judged(warned), Outcome::Detected);
    // What the lab's own guests print means nothing here.
    assert_eq!(judged(&format!("sum 12\n{DONE}")), Outcome::Hang);
}

#[test]
fn records_are_the_same_whatever_the_way_back_cost() {
    let one =
        TrialRecord { state: Some(EndState { disk: Some(true), ..EndState::default() }), ..record(None) };
    let mut other = TrialRecord {
        restore: RestoreMethod::Loadvm,
        attempts: 3,
        costs: Costs { total_us: 7, ..Costs::default() },
        state: Some(EndState { disk: None, ..EndState::default() }),
        ..one.clone()
    };
    assert!(one.is_same(&other) && other.is_same(&one), "a way that does not know the disk");
    other.state = Some(EndState { disk: Some(false), ..EndState::default() });
    assert!(!one.is_same(&other));
    other.state.clone_from(&one.state);
    other.end_ns += 1;
    assert!(!one.is_same(&other));
    // Why only outputs were compared is said in other words by another version, and in the same ones by the same.
    let mut reworded = TrialRecord { output_only_because: Some("in other words".into()), ..one.clone() };
    assert!(!one.is_same(&reworded));
    reworded.format -= 1;
    assert!(one.is_same(&reworded) && reworded.is_same(&one));
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let record =
        TrialRecord { outcome: Some(Outcome::Crash), end: Some(End::ExceptionStorm), ..record(None) };
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.contains(r#""outcome":"crash""#) && text.contains(r#""end":"exception-storm""#), "{text}");
    assert_eq!(serde_json::from_str::<TrialRecord>(&text).unwrap(), record);
}

#[test]
fn stamps_are_taken_out_and_nothing_else() {
    let text = b"[    0.084445] a[0] [12.345678] b [x\n[1.5] c";
    assert_eq!(classify::without_stamps(text), b" a[0]  b [x\n[1.5] c");
}
