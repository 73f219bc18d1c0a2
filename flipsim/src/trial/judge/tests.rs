//! Tests of `worker`.

use super::*;
use crate::fault::Fault;
use crate::machine::End;
use crate::target::Capabilities;
use crate::target::{Digest128, StateDigest};
use crate::trial::golden::model::Checkpoint;
use crate::trial::golden::model::{FORMAT as GOLDEN, Window};
use crate::trial::outcome::Outcome;
use crate::trial::record::EndState;
use crate::trial::record::FORMAT;
use crate::trial::record::{Costs, TrialPlan};
use crate::trial::restore::RestoreMethod;
use crate::units::GuestPhys;
use crate::units::Timing;
use crate::units::VirtualNs;

const DONE: &str = "FLIPSIM DONE workload=sha256 digest=0123456789abcdef status=ok\n";

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

fn golden() -> Golden {
    let checkpoint = |at| Checkpoint { at: VirtualNs(at), state: Some(state(at)), console: 0 };
    let console = format!("[    0.100000] kernel: hello\n{DONE}").into_bytes();
    let end = Checkpoint { console: console.len(), ..checkpoint(300) };
    Golden {
        format: GOLDEN,
        template: "t".into(),
        window: Window::Done,
        spacing: VirtualNs(100),
        start: checkpoint(100),
        checkpoints: vec![checkpoint(200), end],
        console,
        registers: Vec::new(),
        difference: None,
        pages_apart: Vec::new(),
        capabilities: Capabilities::ALL,
        signals: crate::console::signals::Signals::default(),
        run_seconds: 1.0,
        compare_seconds: 0.0,
    }
}

fn record(end: Option<End>) -> TrialRecord {
    let fault = Fault::Ram { address: GuestPhys(0x4000_0000), mask: vec![1] };
    TrialRecord {
        format: FORMAT,
        template: "t".into(),
        plan: TrialPlan { after: VirtualNs(10), fault, back_after: None },
        flip_ns: 110,
        flipped: true,
        error: None,
        old: "0x00".into(),
        new: "0x01".into(),
        region: None,
        symbol: None,
        outcome: None,
        converged_ns: None,
        console_differs_ns: None,
        detected_ns: None,
        end_ns: 300,
        end,
        kind: None,
        title: None,
        output_only: false,
        output_only_because: None,
        timing: Timing::Exact,
        state: None,
        console: None,
        restore: RestoreMethod::Rewind,
        attempts: 1,
        costs: Costs::default(),
    }
}

fn judged(said: &str, end: Option<End>, converged: bool) -> Outcome {
    judged_by(&golden(), said, end, converged)
}

fn judged_by(golden: &Golden, said: &str, end: Option<End>, converged: bool) -> Outcome {
    let same = golden.same_output(said.as_bytes());
    let (found, expected) = (classify::classify(said.as_bytes()), classify::classify(&golden.console));
    outcome(&record(end), said.as_bytes(), [&found, &expected], same, converged, golden)
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

#[test]
fn where_some_lines_are_the_output_the_others_only_tell_that_something_was_noticed() {
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
