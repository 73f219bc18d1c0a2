//! A guest that stops at a time, against the fake stub and monitor with one clock between them.
//!
//! Invariant: nothing here depends on the host's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::*;
use crate::testing::{AfterResume, FakeMonitor, FakeStub};

const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(20) };

/// A guest with an exact clock at 1000 ns, which runs for `ran` when it is asked for 50 and resumed.
fn target(ran: u64, answer: &'static [&'static str]) -> (LiveTarget, FakeStub, FakeMonitor) {
    let clock = Arc::new(AtomicU64::new(1000));
    let ahead = Arc::clone(&clock);
    let stub = FakeStub::builder()
        .stopped()
        .ram(0x4000_0000, vec![0; 64])
        .monitor("stop_delayed 50", answer)
        .on_resume(move |_| {
            ahead.fetch_add(ran, Ordering::SeqCst);
            AfterResume::Stops(2)
        })
        .spawn();
    let commands = json!([{ "name": "query-virtual-clock" }, { "name": "stop-at" }]);
    let monitor = FakeMonitor::builder()
        .stopped()
        .guest(stub.handle())
        .reply("query-commands", commands)
        .reply("cancel-stop-at", json!({}))
        .on("query-virtual-clock", move |_| {
            let now = clock.load(Ordering::SeqCst);
            Ok(json!({ "virtual-ns": now, "icount": true, "instructions": now }))
        })
        .spawn();
    let target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    (target, stub, monitor)
}

#[test]
fn a_guest_that_stops_where_it_was_asked_to_has_arrived() {
    let (mut target, _stub, _monitor) = target(50, &[]);
    let arrival = target.run_for(VirtualNs(50)).unwrap();
    assert_eq!(arrival, Arrival { at: Some(VirtualNs(1050)), timing: Timing::Exact, early: None });
}

#[test]
fn a_guest_that_stops_elsewhere_is_never_taken_for_arrived() {
    let (mut late, _stub, _monitor) = target(51, &[]);
    let error = late.run_for(VirtualNs(50)).unwrap_err();
    assert!(matches!(error, TargetError::Missed { wanted: VirtualNs(1050), at: VirtualNs(1051) }), "{error}");
    let (mut early, _stub, _monitor) = target(49, &[]);
    let arrival = early.run_for(VirtualNs(50)).unwrap();
    assert_eq!((arrival.at, arrival.early.is_some()), (Some(VirtualNs(1049)), true));
}

#[test]
fn a_guest_does_not_run_when_its_stop_was_refused() {
    let (mut target, stub, _monitor) = target(50, &["Error: A delay is not possible\r\n"]);
    let error = target.run_for(VirtualNs(50)).unwrap_err();
    assert!(matches!(&error, TargetError::Refused { cause, .. } if cause.contains("delay")), "{error}");
    assert!(!stub.handle().log().iter().any(|packet| packet == "c"), "it was let run");
}

#[test]
fn a_guest_that_is_there_already_does_not_run() {
    let (mut target, stub, _monitor) = target(50, &[]);
    let there = Arrival { at: Some(VirtualNs(1000)), timing: Timing::Exact, early: None };
    assert_eq!(target.run_until(VirtualNs(1000)).unwrap(), there);
    assert_eq!(stub.guest().resumes, 0);
}

#[test]
fn a_time_that_has_passed_is_refused() {
    let (mut target, _stub, _monitor) = target(50, &[]);
    let error = target.run_until(VirtualNs(999)).unwrap_err();
    assert!(matches!(error, TargetError::Refused { .. }), "{error}");
    let error = target.run_for(VirtualNs(u64::MAX)).unwrap_err();
    assert!(error.to_string().contains("later than QEMU's clock can show"), "{error}");
}

#[test]
fn a_stop_that_a_killed_command_left_is_forgotten() {
    let clock = json!({ "virtual-ns": 5, "icount": true, "instructions": 5, "stop-at": 9_000 });
    let (_target, _stub, monitor) = without_end(clock);
    assert!(monitor.log().iter().any(|line| line.contains("cancel-stop-at")), "{:?}", monitor.log());
}

#[test]
fn an_interruption_stops_the_guest_and_forgets_its_stop() {
    let clock = json!({ "virtual-ns": 0, "icount": true, "instructions": 0 });
    let (mut target, stub, monitor) = without_end(clock);
    target.interrupt_by(|| true);
    assert!(matches!(target.run_for(VirtualNs(100)), Err(TargetError::Interrupted)));
    assert!(!stub.is_running());
    assert!(monitor.log().iter().any(|line| line.contains("cancel-stop-at")));
}

/// A guest that nothing stops but its client.
fn without_end(clock: serde_json::Value) -> (LiveTarget, FakeStub, FakeMonitor) {
    let stub =
        FakeStub::builder().ram(0x4000_0000, vec![0; 64]).stopped().monitor("stop_delayed 100", &[]).spawn();
    let monitor = FakeMonitor::builder()
        .stopped()
        .guest(stub.handle())
        .reply("query-virtual-clock", clock)
        .reply("stop-at", json!({}))
        .reply("cancel-stop-at", json!({}))
        .spawn();
    let target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    (target, stub, monitor)
}

#[test]
fn without_the_patches_the_hosts_clock_is_kept_and_said_to_be_approximate() {
    let stub = FakeStub::builder().ram(0x4000_0000, vec![0; 64]).stopped().spawn();
    let monitor = FakeMonitor::builder().stopped().guest(stub.handle()).spawn();
    let mut target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    let arrival = target.run_for(VirtualNs(1_000)).unwrap();
    assert_eq!(arrival, Arrival { at: None, timing: Timing::Approximate, early: None });
    assert!(!stub.is_running());
    assert!(matches!(target.run_until(VirtualNs(5)), Err(TargetError::Refused { .. })));
}
