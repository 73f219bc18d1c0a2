//! Tests of golden runs, and of the console that they are heard by.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use super::*;
use crate::console::signals::Signals;
use crate::target::{
    Capabilities, ChangedPage, DeviceSection, Digest128, StateDigest, describe, devices_between,
    pages_between,
};
use crate::trial::golden::idle::{Idle, Span};
use crate::trial::golden::measure::{Pass, cut, detailed_spacing, difference};
use crate::trial::runner::ConsoleListener;
use crate::units::VirtualNs;

fn state(ram: u128) -> StateDigest {
    StateDigest {
        digest: Some(Digest128(ram)),
        ram: Digest128(ram),
        devices: Some(Digest128(1)),
        disks: Some(Digest128(0)),
        virtual_ns: 10,
        instructions: Some(9),
        pages_differing: 2,
        pages_hashed: 2,
        sections: None,
        pages: None,
    }
}

fn page(offset: u64, digest: u128) -> ChangedPage {
    ChangedPage { block: "ram0".into(), offset, digest: Digest128(digest) }
}

fn pass_of(states: &[u128]) -> Pass {
    let checkpoint = |(index, ram): (usize, &u128)| Checkpoint {
        at: VirtualNs(10 + index as u64 * 1_000_000),
        state: Some(state(*ram)),
        console: 0,
    };
    let mut checkpoints: Vec<Checkpoint> = states.iter().enumerate().map(checkpoint).collect();
    Pass {
        idle: None,
        done: None,
        start: checkpoints.remove(0),
        checkpoints,
        console: Vec::new(),
        registers: BTreeMap::new(),
        run: Duration::from_millis(1),
        compare: Duration::from_micros(100),
    }
}

#[test]
fn the_first_difference_of_two_runs_is_named() {
    assert!(difference(&pass_of(&[1, 2, 3]), &pass_of(&[1, 2, 3])).is_none());
    let (mut one, mut other) = (pass_of(&[1, 2, 3]), pass_of(&[1, 4, 5]));
    let text = difference(&one, &other).unwrap().words;
    assert_eq!(text, "1.0 ms after the quiescent point: RAM (2 and 2 pages written)");
    one.checkpoints[0].state.as_mut().unwrap().pages = Some(vec![page(0x1000, 2)]);
    other.checkpoints[0].state.as_mut().unwrap().pages = Some(vec![page(0x1000, 3)]);
    let registers = |x1: &str| vec![("x0".to_owned(), "0x1".to_owned()), ("x1".to_owned(), x1.to_owned())];
    let at = one.checkpoints[0].at;
    one.registers = BTreeMap::from([(at, registers("0x1"))]);
    other.registers = BTreeMap::from([(at, registers("0x2"))]);
    let found = difference(&one, &other).unwrap();
    assert_eq!(found.words, "1.0 ms after the quiescent point: RAM (1 pages: ram0+0x1000); registers x1");
    assert_eq!(found.pages, [0x1000]);
    let mut other = pass_of(&[1, 2, 3]);
    other.console = b"x".to_vec();
    assert!(difference(&pass_of(&[1, 2, 3]), &other).unwrap().words.contains("consoles"));
}

#[test]
fn what_a_pilot_ran_on_behind_the_end_is_no_difference() {
    let idle = |end: u64| {
        let spans = [(1, 5), (2_000_000, 500_000)];
        let spans = spans.map(|(from, length)| Span { from: VirtualNs(from + 10), length });
        Some(Idle::new(VirtualNs(10), VirtualNs(10 + end), spans))
    };
    let (mut pilot, mut run) = (pass_of(&[1, 2, 3, 4]), pass_of(&[1, 2, 3]));
    (pilot.console, pilot.idle) = (b"FLIPSIM DONE\nmore".to_vec(), idle(3_000_000));
    (run.console, run.idle) = (b"FLIPSIM DONE\n".to_vec(), idle(2_000_000));
    (pilot.checkpoints[1].console, run.checkpoints[1].console) = (run.console.len(), run.console.len());
    assert!(difference(&pilot, &run).is_some());
    cut(&mut pilot, &run);
    assert!(difference(&pilot, &run).is_none());
    run.idle = idle(1_000_000);
    assert!(difference(&pilot, &run).unwrap().words.contains("idled"));
}

#[test]
fn pages_and_devices_that_differ_are_listed() {
    let mut one = state(1);
    let mut other = state(2);
    one.pages = Some(vec![page(0, 1), page(0x1000, 2)]);
    other.pages = Some(vec![page(0x1000, 3), page(0x2000, 4), page(0, 1)]);
    let expected = [("ram0".to_owned(), 0x1000), ("ram0".to_owned(), 0x2000)];
    assert_eq!(pages_between(&one, &other), expected);
    let section =
        |digest| DeviceSection { name: "cpu".into(), instance: 0, bytes: 1, digest: Digest128(digest) };
    one.sections = Some(vec![section(1)]);
    other.sections = Some(vec![section(2)]);
    other.devices = Some(Digest128(2));
    assert_eq!(devices_between(&one, &other), ["cpu"]);
    assert_eq!(describe(&one, &other), "RAM (2 pages: ram0+0x1000, ram0+0x2000); devices (cpu)");
}

#[test]
fn passes_are_compared_where_both_stop() {
    // The second one stops at every other checkpoint, and elsewhere.
    let (fine, mut wide) = (pass_of(&[1, 2, 3, 4, 5]), pass_of(&[1, 2, 3, 4, 5]));
    wide.checkpoints.retain(|checkpoint| checkpoint.at.0 % 2_000_000 == 10);
    assert_eq!(wide.checkpoints.len(), 2);
    assert!(difference(&fine, &wide).is_none() && difference(&wide, &fine).is_none());
    wide.checkpoints[1].state = Some(state(9));
    assert!(difference(&fine, &wide).unwrap().words.starts_with("4.0 ms after"));
    wide.checkpoints[1].at.0 += 1;
    assert!(difference(&fine, &wide).is_none());
}

#[test]
fn looks_in_detail_are_some_of_the_checkpoints() {
    let ms = |ms: u64| VirtualNs(ms * 1_000_000);
    for (length, spacing, expected) in [
        (ms(350), VirtualNs(200_000), ms(10)),
        (ms(350), ms(3), ms(12)),
        (ms(350), ms(100), ms(100)),
        (ms(60_000), ms(20), ms(120)),
        (ms(3), VirtualNs(0), ms(10)),
    ] {
        assert_eq!(detailed_spacing(length, spacing), expected);
    }
}

/// A golden run with checkpoints at these times.
fn golden_at(times: &[u64], looks: Option<Looks>) -> Golden {
    let point = |at: u64| Checkpoint { at: VirtualNs(at), state: None, console: 0 };
    Golden {
        format: FORMAT,
        template: "abc".into(),
        window: Window::Done,
        spacing: VirtualNs(5),
        looks,
        start: point(0),
        checkpoints: times.iter().copied().map(point).collect(),
        console: vec![0, 255, 10],
        registers: Vec::new(),
        difference: None,
        pages_apart: Vec::new(),
        capabilities: Capabilities::default(),
        signals: Signals::default(),
        idle: None,
        done: None,
        events: BTreeMap::new(),
        run_seconds: 0.5,
        compare_seconds: 0.5,
    }
}

#[test]
fn a_trial_that_is_begun_late_looks_at_more_and_records_what_the_whole_run_would_have() {
    let times: Vec<u64> = (1..=20).map(|point| point * 10).collect();
    let ns = |all: &[u64]| all.iter().copied().map(VirtualNs).collect::<Vec<_>>();
    let growing = Looks { after: ns(&[0, 20, 60]), every: VirtualNs(60), coarse: 1 };
    let golden = golden_at(&times, Some(growing));
    let looks = |golden: &Golden, begun: Option<u64>| -> Vec<(u64, u64)> {
        let looks = golden.looks(VirtualNs(5), begun.map(VirtualNs));
        looks.iter().map(|look| (look.checkpoint.at.0, look.recorded.at.0)).collect()
    };
    let whole = [(10, 10), (30, 30), (70, 70), (130, 130), (190, 190), (200, 200)];
    assert_eq!(looks(&golden, None), whole);
    assert_eq!(golden.most_looks(), 6);
    // 80, 100, 140 and 200 are its own; each is recorded of the next look of the whole run.
    let late = [(80, 130), (100, 130), (130, 130), (140, 190), (190, 190), (200, 200)];
    assert_eq!(looks(&golden, Some(75)), late);
    assert_eq!(looks(&golden, Some(200)), []);
    assert_eq!(looks(&golden, Some(5)), whole);
    // As before: every one.
    let golden = golden_at(&times, None);
    let every: Vec<(u64, u64)> = times.iter().map(|at| (*at, *at)).collect();
    assert_eq!(looks(&golden, None), every);
    assert_eq!(looks(&golden, Some(75)), every[7..]);
    assert_eq!(golden.most_looks(), 20);
}

#[test]
fn a_console_is_heard_from_a_moment_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console.log");
    std::fs::write(&path, "before\n").unwrap();
    let mut console = ConsoleListener::open(&path, &Signals::default()).unwrap();
    let mut file = File::options().append(true).open(&path).unwrap();
    write!(file, "FLIPSIM DONE workload=x dig").unwrap();
    console.poll().unwrap();
    assert_eq!((console.said(), console.is_done()), (&b"FLIPSIM DONE workload=x dig"[..], false));
    writeln!(file, "est=0000000000000000 status=ok").unwrap();
    console.poll().unwrap();
    assert!(console.is_done());
    console.restart(&[]).unwrap();
    console.poll().unwrap();
    assert_eq!((console.said(), console.is_done()), (&b""[..], false));
    // What was said before a mark is said again after going back to it.
    console.restart(b"FLIPSIM DONE workload=x dig").unwrap();
    writeln!(file, "est=0000000000000000 status=ok").unwrap();
    console.poll().unwrap();
    assert!(console.is_done() && console.said().starts_with(b"FLIPSIM DONE workload=x digest"));
}

#[test]
fn a_stored_golden_run_is_read_back() {
    let golden = Golden {
        start: Checkpoint { at: VirtualNs(1), state: Some(state(1)), console: 0 },
        checkpoints: vec![Checkpoint { at: VirtualNs(6), state: Some(state(2)), console: 3 }],
        registers: vec![("x0".into(), "0x1".into())],
        // A quick reader of decimal numbers misses this one by a bit.
        run_seconds: 0.111_111_111_111_100_09,
        ..golden_at(&[], Some(Looks::default()))
    };
    let text = serde_json::to_string(&golden).unwrap();
    let back: Golden = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
    assert_eq!((back.console.as_slice(), back.end()), (&golden.console[..], VirtualNs(6)));
    assert_eq!((&back.checkpoints, &back.looks), (&golden.checkpoints, &golden.looks));
    // One of before has none.
    let before = serde_json::to_string(&Golden { looks: None, ..golden.clone() }).unwrap();
    assert!(!before.contains("looks"), "{before}");
    assert!(serde_json::from_str::<Golden>(&before).unwrap().looks.is_none());
    // Only what is missing is kept of what QEMU can do, under the key that it always had.
    assert!(!text.contains("abilities"), "{text}");
    let plain = Golden { capabilities: Capabilities::NONE, ..golden };
    let text = serde_json::to_string(&plain).unwrap();
    let abilities =
        r#""abilities":{"stop-at":false,"mark":false,"times":false,"accesses":false,"stuck":false}"#;
    assert!(text.contains(abilities), "{text}");
    let back: Golden = serde_json::from_str(&text).unwrap();
    assert_eq!(back.capabilities, Capabilities::NONE);
    // A file of before times names two of them.
    let back: Golden =
        serde_json::from_str(&text.replace(r#","times":false,"accesses":false,"stuck":false"#, "")).unwrap();
    assert_eq!(back.capabilities, Capabilities::NONE);
}
