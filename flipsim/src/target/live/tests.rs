//! A guest that stops at a time, against the fake stub and monitor with one clock between them.
//!
//! Invariant: nothing here depends on the host's clock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::testing::{AfterResume, FakeMonitor, FakeMonitorBuilder, FakeStub};

const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(20) };

/// The clock that both fakes show.
#[derive(Debug, Default)]
struct Clock {
    now: u64,
    stop_at: Option<u64>,
    /// So much later than asked for the guest stops.
    late: u64,
    /// Here it stops by itself.
    panics_at: Option<u64>,
    /// It takes no time to stop at.
    refuses: bool,
}

struct Machine {
    clock: Arc<Mutex<Clock>>,
    stub: FakeStub,
    monitor: FakeMonitor,
}

impl Machine {
    fn new(clock: Clock, icount: bool) -> Machine {
        Machine::with(clock, icount, |monitor| monitor)
    }

    fn with(
        clock: Clock,
        icount: bool,
        more: impl FnOnce(FakeMonitorBuilder) -> FakeMonitorBuilder,
    ) -> Machine {
        let clock = Arc::new(Mutex::new(clock));
        let (inside, set) = (clock.clone(), clock.clone());
        let stub = FakeStub::builder()
            .ram(0x4000_0000, vec![0; 64])
            .stopped()
            .on_resume(move |_| {
                let mut clock = inside.lock().unwrap();
                let stop = clock.stop_at.map(|time| time + clock.late);
                match (stop, clock.panics_at) {
                    (stop, Some(end)) if stop.is_none_or(|stop| end < stop) => clock.now = end,
                    (Some(stop), _) => {
                        clock.now = stop;
                        clock.stop_at = None;
                    }
                    (None, _) => return AfterResume::RunsOn,
                }
                AfterResume::Stops(5)
            })
            .on_monitor(move |line| {
                let delay: u64 = line.strip_prefix("stop_delayed ")?.parse().ok()?;
                let mut clock = set.lock().unwrap();
                if clock.refuses {
                    return Some("Error: no delay is possible\r\n".to_owned());
                }
                clock.stop_at = Some(clock.now + delay);
                Some(String::new())
            })
            .spawn();
        let (asked, cancelled) = (clock.clone(), clock.clone());
        let monitor = FakeMonitor::builder()
            .stopped()
            .guest(stub.handle())
            .on("query-virtual-clock", move |_| {
                let clock = asked.lock().unwrap();
                let mut answer = json!({ "virtual-ns": clock.now, "icount": icount });
                if icount {
                    answer["instructions"] = clock.now.into();
                }
                if let Some(time) = clock.stop_at {
                    answer["stop-at"] = time.into();
                }
                Ok(answer)
            })
            .reply("stop-at", json!({}))
            .on("cancel-stop-at", move |_| {
                cancelled.lock().unwrap().stop_at = None;
                Ok(json!({}))
            });
        Machine { clock, monitor: more(monitor).spawn(), stub }
    }

    fn attach(&self) -> LiveTarget {
        LiveTarget::attach(&self.stub.endpoint(), Some(&self.monitor.endpoint()), PATIENT).unwrap()
    }

    fn stop_at(&self) -> Option<u64> {
        self.clock.lock().unwrap().stop_at
    }
}

#[test]
fn an_exact_guest_stops_where_it_was_asked_to() {
    let machine = Machine::new(Clock::default(), true);
    let mut target = machine.attach();
    assert_eq!(target.timing(), Timing::Exact);
    for time in [1, 1_000, 123_456_789] {
        let arrival = target.run_until(VirtualNs(time)).unwrap();
        let there = Arrival { at: Some(VirtualNs(time)), timing: Timing::Exact, early: None };
        assert_eq!(arrival, there);
        assert_eq!(target.clock().unwrap().unwrap().instructions, Some(time));
    }
    // There already: it does not run.
    let resumes = machine.stub.guest().resumes;
    target.run_until(VirtualNs(123_456_789)).unwrap();
    assert_eq!(machine.stub.guest().resumes, resumes);
}

#[test]
fn a_nanosecond_off_is_an_error_on_an_exact_clock() {
    let machine = Machine::new(Clock { late: 1, ..Clock::default() }, true);
    let error = machine.attach().run_for(VirtualNs(100)).unwrap_err();
    assert!(matches!(error, TargetError::Missed { wanted: VirtualNs(100), at: VirtualNs(101) }), "{error}");
}

#[test]
fn a_clock_that_follows_the_host_may_be_late_and_says_so() {
    let machine = Machine::new(Clock { late: 700, ..Clock::default() }, false);
    let arrival = machine.attach().run_for(VirtualNs(100)).unwrap();
    assert_eq!((arrival.at, arrival.timing), (Some(VirtualNs(800)), Timing::Approximate));
}

#[test]
fn a_time_that_has_passed_is_refused() {
    let machine = Machine::new(Clock { now: 500, ..Clock::default() }, true);
    let mut target = machine.attach();
    let error = target.run_until(VirtualNs(499)).unwrap_err();
    assert!(matches!(error, TargetError::Refused { .. }), "{error}");
    let error = target.run_for(VirtualNs(u64::MAX)).unwrap_err();
    assert!(error.to_string().contains("later than QEMU's clock can show"), "{error}");
}

#[test]
fn a_guest_does_not_run_when_its_stop_was_refused() {
    let machine = Machine::new(Clock { refuses: true, ..Clock::default() }, true);
    let error = machine.attach().run_for(VirtualNs(100)).unwrap_err();
    assert!(matches!(&error, TargetError::Refused { cause, .. } if cause.contains("no delay")), "{error}");
    assert_eq!(machine.stub.guest().resumes, 0);
}

#[test]
fn a_guest_that_stops_by_itself_is_reported_and_its_stop_forgotten() {
    let machine = Machine::with(Clock { panics_at: Some(40), ..Clock::default() }, true, |monitor| {
        let answer = json!({ "running": false, "singlestep": false, "status": "guest-panicked" });
        let mut calls = 0;
        // Attaching asks first, and takes no guest that has panicked.
        monitor.on("query-status", move |_| {
            calls += 1;
            let first = json!({ "running": false, "singlestep": false, "status": "paused" });
            Ok(if calls == 1 { first } else { answer.clone() })
        })
    });
    let arrival = machine.attach().run_for(VirtualNs(100)).unwrap();
    assert_eq!(arrival.at, Some(VirtualNs(40)));
    assert_eq!(arrival.early.as_deref(), Some("guest-panicked"));
    assert_eq!(machine.stop_at(), None);
}

#[test]
fn a_stop_that_a_killed_command_left_is_forgotten() {
    let machine = Machine::new(Clock { stop_at: Some(9_000), ..Clock::default() }, true);
    let _target = machine.attach();
    assert_eq!(machine.stop_at(), None);
}

#[test]
fn an_interruption_stops_the_guest_and_forgets_its_stop() {
    // With nothing that ever stops it, only the interruption does.
    let stub = FakeStub::builder().ram(0x4000_0000, vec![0; 64]).stopped();
    let stub = stub.monitor("stop_delayed 100", &[]).spawn();
    let clock = json!({ "virtual-ns": 0, "icount": true, "instructions": 0 });
    let monitor = FakeMonitor::builder()
        .stopped()
        .guest(stub.handle())
        .reply("query-virtual-clock", clock)
        .reply("stop-at", json!({}))
        .reply("cancel-stop-at", json!({}))
        .spawn();
    let mut target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    // The first question is asked before it runs.
    static ASKED: AtomicU32 = AtomicU32::new(0);
    target.interrupt_by(|| ASKED.fetch_add(1, Ordering::Relaxed) > 0);
    assert!(matches!(target.run_for(VirtualNs(100)), Err(TargetError::Interrupted)));
    assert!(!stub.is_running());
    assert!(monitor.log().iter().any(|line| line.contains("cancel-stop-at")));
}

#[test]
fn steps_that_are_over_at_once_are_interrupted_too() {
    let machine = Machine::new(Clock::default(), true);
    let mut target = machine.attach();
    target.run_for(VirtualNs(100)).unwrap();
    target.interrupt_by(|| true);
    assert!(matches!(target.run_for(VirtualNs(100)), Err(TargetError::Interrupted)));
    assert_eq!(machine.stop_at(), None);
    target.interrupt_by(|| false);
    assert_eq!(target.run_for(VirtualNs(100)).unwrap().at, Some(VirtualNs(200)), "it did not run meanwhile");
}

#[test]
fn a_guest_for_which_no_time_passes_is_stopped_in_time() {
    let stub =
        FakeStub::builder().ram(0x4000_0000, vec![0; 64]).stopped().monitor("stop_delayed 100", &[]).spawn();
    let monitor = FakeMonitor::builder()
        .stopped()
        .guest(stub.handle())
        .reply("query-virtual-clock", json!({ "virtual-ns": 0, "icount": true, "instructions": 0 }))
        .reply("stop-at", json!({}))
        .reply("cancel-stop-at", json!({}))
        .spawn();
    let mut target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    let arrival = target.run_until_within(VirtualNs(100), Duration::from_millis(60)).unwrap();
    assert_eq!((arrival.at, arrival.early.as_deref()), (Some(VirtualNs(0)), Some(WALL_TIME)));
    assert!(!stub.is_running());
    assert!(monitor.log().iter().any(|line| line.contains("cancel-stop-at")));
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

#[test]
fn a_stub_that_takes_qmp_commands_is_asked_while_the_guest_stands() {
    let stub = FakeStub::builder()
        .ram(0x4000_0000, vec![0; 64])
        .stopped()
        .on_monitor(|line| {
            if line == "help qmp" {
                return Some("qmp json -- execute a QMP command\r\n".to_owned());
            }
            let request: serde_json::Value = serde_json::from_str(line.strip_prefix("qmp ")?).ok()?;
            Some(match request["execute"].as_str()? {
                "query-virtual-clock" => {
                    "{\"return\": {\"virtual-ns\": 77, \"icount\": true, \"instructions\": 70}}\r\n"
                        .to_owned()
                }
                "mark-state" => {
                    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no disk\"}}\r\n".to_owned()
                }
                _ => "nonsense\r\n".to_owned(),
            })
        })
        .spawn();
    let monitor = FakeMonitor::builder()
        .stopped()
        .guest(stub.handle())
        .on("query-virtual-clock", |_| panic!("the monitor was asked"))
        .spawn();
    let mut target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    assert_eq!(target.clock().unwrap().unwrap().virtual_ns, 77);
    let error = target.mark().unwrap_err().to_string();
    assert_eq!(error, "QEMU refused `mark-state`: no disk (GenericError)");
    let error = target.rewind().unwrap_err().to_string();
    assert!(error.contains("`rewind-state`") && error.contains("nonsense"), "{error}");
}

#[test]
fn a_guest_that_was_marked_or_restored_is_not_asked_for_its_time() {
    let stub = FakeStub::builder()
        .ram(0x4000_0000, vec![0; 64])
        .stopped()
        .on_resume(|_| AfterResume::RunsOn)
        .spawn();
    let change = json!({
        "virtual-ns": 500, "pages": 0, "pages-changed": 0, "device-bytes": 0, "clusters": 0, "reset": false,
        "pages-us": 0, "devices-us": 0, "disks-us": 0, "other-us": 0,
    });
    let asked = Arc::new(AtomicU32::new(0));
    let asks = asked.clone();
    let monitor = FakeMonitor::builder()
        .stopped()
        .guest(stub.handle())
        .on("query-virtual-clock", move |_| {
            asks.fetch_add(1, Ordering::Relaxed);
            Ok(json!({ "virtual-ns": 700, "icount": true, "instructions": 600 }))
        })
        .reply("mark-state", change.clone())
        .reply("rewind-state", change)
        .spawn();
    let mut target = LiveTarget::attach(&stub.endpoint(), Some(&monitor.endpoint()), PATIENT).unwrap();
    let before = asked.load(Ordering::Relaxed);
    target.mark().unwrap();
    assert_eq!(target.virtual_time().unwrap(), Some(VirtualNs(500)));
    assert!(target.take_events().unwrap().is_empty());
    target.rewind().unwrap();
    assert_eq!(target.virtual_time().unwrap(), Some(VirtualNs(500)));
    assert_eq!(asked.load(Ordering::Relaxed), before);
    // What else the clock shows is not known by that.
    assert_eq!(target.clock().unwrap().unwrap().instructions, Some(600));
    target.resume().unwrap();
    assert_eq!(target.virtual_time().unwrap(), Some(VirtualNs(700)), "it may have run");
}

#[test]
fn registers_are_of_the_class_that_users_mean_whatever_feature_they_are_described_in() {
    let class = |name: &str, feature: &str, kind: Option<&str>, group: Option<&str>| {
        class_of(&RegisterInfo {
            name: name.to_owned(),
            number: 0,
            bits: 64,
            feature: feature.to_owned(),
            group: group.map(str::to_owned),
            kind: kind.map(str::to_owned),
        })
    };
    let i386 = "org.gnu.gdb.i386.core";
    assert_eq!(class("rax", i386, Some("int64"), None), "core");
    assert_eq!(class("st0", i386, Some("i387_ext"), None), "fpu");
    assert_eq!(class("fctrl", i386, Some("int"), Some("float")), "fpu");
    assert_eq!(class("xmm0", i386, Some("vec128"), None), "fpu");
    assert_eq!(class("mxcsr", i386, Some("x64_mxcsr"), Some("vector")), "fpu");
    assert_eq!(class("x0", "org.gnu.gdb.aarch64.core", None, None), "core");
    assert_eq!(class("v0", "org.gnu.gdb.aarch64.fpu", None, None), "fpu");
    assert_eq!(class("lstar", "org.qemu.gdb.i386.sys.regs", Some("int64"), None), "system");
    assert_eq!(class("gicc_pmr", "org.qemu.gdb.flipsim.device", None, None), "device");
    assert_eq!(class("TTBR0", "org.qemu.gdb.arm.sys.regs", None, Some("cp_regs")), "system");
}

#[test]
fn a_storm_stops_a_guest_where_qemu_can_count() {
    let limits = Arc::new(Mutex::new(Vec::new()));
    let seen = limits.clone();
    let machine = Machine::with(Clock::default(), true, |monitor| {
        monitor.on("set-exception-limit", move |arguments| {
            seen.lock().unwrap().push(arguments["exceptions"].as_u64());
            Ok(json!({}))
        })
    });
    let mut target = machine.attach();
    assert!(target.can_stop_at_storms());
    target.stop_at_storms().unwrap();
    target.let_storms_be().unwrap();
    assert_eq!(*limits.lock().unwrap(), [Some(10_000), Some(0)]);
    assert!(!Machine::new(Clock::default(), true).attach().can_stop_at_storms());
    let counts_nothing =
        Machine::with(Clock::default(), false, |monitor| monitor.reply("set-exception-limit", json!({})));
    assert!(!counts_nothing.attach().can_stop_at_storms());
}

#[test]
fn a_guest_that_has_ended_is_not_let_run_and_waited_for() {
    let stub = FakeStub::builder()
        .ram(0x4000_0000, vec![0; 64])
        .stopped()
        .on_resume(|_| AfterResume::Stops(6))
        .spawn();
    let status = json!({ "running": false, "singlestep": false, "status": "internal-error" });
    let monitor = FakeMonitor::builder().stopped().guest(stub.handle()).reply("query-status", status).spawn();
    let (gdb, qmp) = (stub.endpoint(), monitor.endpoint());
    let refused = LiveTarget::attach(&gdb, Some(&qmp), PATIENT).unwrap_err().to_string();
    assert!(refused.contains("`internal-error`, which is an exception storm"), "{refused}");
    let mut target = LiveTarget::attach_even_ended(&gdb, Some(&qmp), PATIENT).unwrap();
    let arrival = target.run_for(VirtualNs(50_000_000)).unwrap();
    assert_eq!(arrival.early.as_deref(), Some("internal-error"));
    let error = target.resume().unwrap_err().to_string();
    assert!(error.contains("go back to a snapshot"), "{error}");
}
