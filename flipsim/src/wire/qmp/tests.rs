//! The client against a scripted monitor.
//!
//! Invariant: nothing here waits longer than [`QUICK`] for an answer that will not come.

use proptest::prelude::*;

use super::*;
use crate::testing::{FakeMonitor, FakeStub, Misbehaviour};

/// Long enough for a loaded host to schedule the fake, where the answer does come.
const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(20) };

/// For answers that will not come.
const QUICK: Duration = Duration::from_millis(120);

fn connect(monitor: &FakeMonitor) -> QmpClient {
    QmpClient::connect(&monitor.endpoint(), PATIENT).unwrap()
}

fn connect_quickly(monitor: &FakeMonitor) -> Result<QmpClient, QmpError> {
    QmpClient::connect(&monitor.endpoint(), Timeouts { reply: QUICK, ..PATIENT })
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[test]
fn the_greeting_states_the_version_and_negotiation_follows() {
    let monitor = FakeMonitor::builder().version(7, 2, 19).spawn();
    let client = connect(&monitor);
    assert_eq!(client.version(), QemuVersion { major: 7, minor: 2, micro: 19 });
    assert_eq!(client.version().to_string(), "7.2.19");
    assert_eq!(monitor.log(), [r#"{"execute":"qmp_capabilities","id":1}"#]);
}

#[test]
fn commands_carry_arguments_and_an_id() {
    let monitor = FakeMonitor::builder().on("echo", |arguments| Ok(arguments.clone())).spawn();
    let mut client = connect(&monitor);
    let arguments = json!({ "path": "/machine", "ünïcode": [1, null, "\u{1F600}\n"] });
    assert_eq!(client.execute("echo", arguments.clone()).unwrap(), arguments);
    insta::assert_snapshot!(monitor.log()[1], @r#"{"execute":"echo","arguments":{"path":"/machine","ünïcode":[1,null,"😀\n"]},"id":2}"#);
}

#[test]
fn an_error_carries_qemus_class_and_words() {
    let monitor = FakeMonitor::builder().error("migrate", "GenericError", "State blocked").spawn();
    let mut client = connect(&monitor);
    insta::assert_snapshot!(client.execute("migrate", Value::Null).unwrap_err(), @"QEMU refused `migrate`: State blocked (GenericError)");
    let error = client.execute("nope", Value::Null).unwrap_err();
    assert!(matches!(error, QmpError::Refused { class, .. } if class == "CommandNotFound"));
    assert!(client.status().is_ok(), "an error is an answer, and the connection goes on");
}

#[test]
fn status_follows_stop_and_cont() {
    let monitor = FakeMonitor::builder().spawn();
    let mut client = connect(&monitor);
    assert_eq!(client.status().unwrap(), QemuStatus { running: true, status: "running".to_owned() });
    client.execute("stop", Value::Null).unwrap();
    assert_eq!(client.status().unwrap(), QemuStatus { running: false, status: "paused".to_owned() });
    client.execute("cont", Value::Null).unwrap();
    assert!(monitor.is_running());
    assert_eq!(names(&client.take_events().unwrap()), ["STOP", "RESUME"]);
}

#[test]
fn a_status_of_another_shape_says_which_command_gave_it() {
    let monitor = FakeMonitor::builder().reply("query-status", json!({ "running": "perhaps" })).spawn();
    let error = connect(&monitor).status().unwrap_err();
    assert!(error.to_string().starts_with("the result of `query-status` has another shape"), "{error}");
}

#[test]
fn hmp_text_comes_back_whole() {
    let monitor = FakeMonitor::builder().hmp("info registers", "PC=0000\r\nX00=1\r\n").spawn();
    let mut client = connect(&monitor);
    assert_eq!(client.hmp("info registers").unwrap(), "PC=0000\r\nX00=1\r\n");
    assert_eq!(client.hmp("blah").unwrap(), "unknown command: 'blah'\r\n", "an error of HMP is only text");
}

#[test]
fn the_list_of_commands_is_asked_for_once() {
    let monitor = FakeMonitor::builder().reply("x-flip", json!({})).spawn();
    let mut client = connect(&monitor);
    let mut has = |name: &str| client.query_commands().unwrap().iter().any(|command| command == name);
    assert!(has("x-flip"));
    assert!(!has("x-other"));
    assert!(client.query_commands().unwrap().len() > 5);
    let asked = monitor.log().iter().filter(|line| line.contains("query-commands")).count();
    assert_eq!(asked, 1);
}

#[test]
fn events_between_command_and_result_are_kept_in_order() {
    let monitor = FakeMonitor::builder()
        .event_on("device_add", "A", json!({ "n": 1 }))
        .event_on("device_add", "B", Value::Null)
        .reply("device_add", json!("done"))
        .spawn();
    let mut client = connect(&monitor);
    assert_eq!(client.execute("device_add", Value::Null).unwrap(), json!("done"));
    let events = client.take_events().unwrap();
    assert_eq!(names(&events), ["A", "B"]);
    assert_eq!(events[0].data, json!({ "n": 1 }));
    assert_eq!(events[1].data, Value::Null);
    assert_eq!((events[0].seconds, events[0].microseconds), (1_700_000_000, 1));
    assert_eq!(client.take_events().unwrap(), []);
}

#[test]
fn a_wait_takes_its_event_and_leaves_the_others() {
    let monitor = FakeMonitor::builder().spawn();
    let mut client = connect(&monitor);
    for name in ["A", "STOP", "B", "GUEST_PANICKED"] {
        monitor.send_event(name, Value::Null);
    }
    let event = client.wait_event(&["RESET", "GUEST_PANICKED"], PATIENT.reply).unwrap().unwrap();
    assert_eq!(event.name, "GUEST_PANICKED");
    assert_eq!(client.wait_event(&["STOP"], Duration::ZERO).unwrap().unwrap().name, "STOP");
    assert_eq!(client.wait_event(&["STOP"], Duration::from_millis(20)).unwrap(), None);
    assert_eq!(names(&client.take_events().unwrap()), ["A", "B"]);
}

#[test]
fn a_wait_sees_an_event_that_comes_while_it_waits() {
    let monitor = FakeMonitor::builder().spawn();
    let mut client = connect(&monitor);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            monitor.send_event("STOP", Value::Null);
        });
        assert!(client.wait_event(&["STOP"], PATIENT.reply).unwrap().is_some());
    });
}

#[test]
fn events_beyond_the_bound_are_dropped_oldest_first_and_counted() {
    let monitor = FakeMonitor::builder().spawn();
    let mut client = connect(&monitor);
    let sent = MAX_EVENTS + 10;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..sent {
                monitor.send_event("RESET", json!({ "number": number }));
            }
            monitor.send_event("LAST", Value::Null);
        });
        // Waits through a full queue, too.
        assert!(client.wait_event(&["LAST"], PATIENT.reply).unwrap().is_some());
    });
    assert_eq!(client.dropped_events(), 11);
    let events = client.take_events().unwrap();
    assert_eq!(events.len(), MAX_EVENTS - 1);
    assert_eq!(events[0].data["number"], 11);
}

#[test]
fn a_monitor_without_a_greeting_is_held_by_another_client() {
    let monitor = FakeMonitor::builder().no_greeting().spawn();
    let error = connect_quickly(&monitor).unwrap_err();
    assert!(matches!(error, QmpError::Busy { .. }), "{error}");
    assert!(error.to_string().contains("another client holds this monitor"));
}

#[test]
fn a_second_client_waits_while_the_first_is_served() {
    let monitor = FakeMonitor::builder().spawn();
    let first = connect(&monitor);
    assert!(matches!(connect_quickly(&monitor), Err(QmpError::Busy { .. })));
    drop(first);
    connect(&monitor).status().unwrap();
}

#[test]
fn the_human_monitors_socket_is_reported_as_no_qmp() {
    for greeting in ["QEMU 7.1.0 monitor - type 'help' for more information\r\n(qemu) ", "(qemu) ", "[1]\n"] {
        let monitor = FakeMonitor::builder().greeting(greeting).spawn();
        let error = connect_quickly(&monitor).unwrap_err();
        assert!(matches!(error, QmpError::NotQmp { .. }), "{greeting}: {error}");
    }
}

#[test]
fn a_missing_socket_asks_whether_the_guest_runs() {
    let monitor = FakeMonitor::builder().spawn();
    let endpoint = monitor.endpoint();
    drop(monitor);
    let error = QmpClient::connect(&endpoint, PATIENT).unwrap_err();
    assert!(error.to_string().contains("is the guest running"), "{error}");
}

#[test]
fn silence_ends_at_the_time_out_and_the_connection_goes_on() {
    let monitor = FakeMonitor::builder().misbehave("migrate", Misbehaviour::Silence).spawn();
    let mut client = connect(&monitor);
    let error = client.execute_within("migrate", Value::Null, QUICK).unwrap_err();
    insta::assert_snapshot!(error, @"no result of `migrate` within 120ms; QEMU is stuck or the host overloaded");
    assert!(client.status().is_ok());
}

#[test]
fn a_late_result_is_not_taken_for_the_next_commands() {
    let monitor = FakeMonitor::builder().misbehave("query-status", Misbehaviour::StaleResult).spawn();
    assert!(connect(&monitor).status().unwrap().running);
}

#[test]
fn a_qemu_that_dies_is_reported_as_gone() {
    for how in [Misbehaviour::Die, Misbehaviour::DieMidLine] {
        let monitor = FakeMonitor::builder().misbehave("cont", how).spawn();
        let mut client = connect(&monitor);
        let error = client.execute("cont", Value::Null).unwrap_err();
        assert!(matches!(error, QmpError::Closed { .. }), "{error}");
        assert!(matches!(client.status(), Err(QmpError::Closed { .. })));
    }
}

#[test]
fn events_before_the_end_are_not_lost_to_it() {
    let monitor = FakeMonitor::builder().spawn();
    let mut client = connect(&monitor);
    client.execute("quit", Value::Null).unwrap();
    let event = client.wait_event(&["SHUTDOWN"], PATIENT.reply).unwrap().unwrap();
    assert_eq!(event.data["reason"], "host-qmp-quit");
    assert!(matches!(client.wait_event(&["STOP"], PATIENT.reply), Err(QmpError::Closed { .. })));
    assert!(matches!(client.take_events(), Err(QmpError::Closed { .. })));
}

#[test]
fn garbage_in_place_of_a_result_is_shown() {
    let garbage = Misbehaviour::Garbage(b"\xff\x00not json\n".to_vec());
    let monitor = FakeMonitor::builder().misbehave("stop", garbage).spawn();
    let error = connect(&monitor).execute("stop", Value::Null).unwrap_err();
    assert!(matches!(&error, QmpError::Garbage { line, .. } if line == "\\xff\\x00not json"), "{error}");
}

#[test]
fn a_line_without_an_end_is_cut_off_at_the_bound() {
    let endless = Misbehaviour::Garbage(vec![b' '; MAX_LINE + 0x8000]);
    let monitor = FakeMonitor::builder().misbehave("stop", endless).spawn();
    let error = connect(&monitor).execute("stop", Value::Null).unwrap_err();
    assert!(matches!(error, QmpError::TooLong { limit: MAX_LINE, .. }), "{error}");
}

#[test]
fn results_may_come_byte_by_byte() {
    let monitor = FakeMonitor::builder().misbehave("query-status", Misbehaviour::SplitEveryByte).spawn();
    assert!(connect(&monitor).status().unwrap().running);
}

#[test]
fn a_result_of_many_pieces_is_put_together() {
    let long = json!(vec!["a line of text"; 20_000]);
    let monitor = FakeMonitor::builder().reply("query-qmp-schema", long.clone()).spawn();
    assert_eq!(connect(&monitor).execute("query-qmp-schema", Value::Null).unwrap(), long);
}

#[test]
fn both_fakes_act_on_one_guest() {
    let stub = FakeStub::builder().spawn();
    let monitor = FakeMonitor::builder().guest(stub.handle()).spawn();
    let mut qmp = connect(&monitor);
    let mut gdb = crate::wire::gdb::GdbClient::connect(&stub.endpoint(), PATIENT).unwrap();
    assert!(!qmp.status().unwrap().running, "the gdb client has stopped it");
    gdb.note_resumed().unwrap();
    qmp.execute("cont", Value::Null).unwrap();
    assert!(stub.is_running());
    qmp.execute("stop", Value::Null).unwrap();
    assert_eq!(gdb.wait_stop(PATIENT.reply).unwrap(), Some(crate::wire::gdb::StopReason::Paused));
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..60), text in r#"[\{\}":,a-zA-Z0-9]{0,60}"#) {
        let _ = (parse(&line), parse(text.as_bytes()), shown(&line));
    }
}
