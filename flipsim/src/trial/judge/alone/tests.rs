//! Tests of the verdicts on a guest that is alone.

use super::*;
use crate::console::marker;
use crate::target::EXCEPTION_STORM;

fn evidence(lines: &[&str], events: &[(&str, &str)]) -> Health {
    gathered(lines, events).verdict()
}

fn gathered(lines: &[&str], events: &[(&str, &str)]) -> Evidence {
    let mut evidence = Evidence::default();
    for line in lines {
        if let Some(marker) = marker(line) {
            evidence.line(marker);
        }
    }
    evidence.events = events
        .iter()
        .map(|(name, data)| LoggedEvent {
            event: (*name).into(),
            data: serde_json::from_str(data).unwrap(),
            host_time: String::new(),
        })
        .collect();
    evidence
}

#[test]
fn a_guest_that_says_nothing_bad_is_alive() {
    assert_eq!(evidence(&["hello"], &[("STOP", "{}"), ("RESUME", "{}")]), Health::Alive);
}

#[test]
fn a_panic_is_a_crash_whatever_came_before() {
    let oops = "Internal error: Oops: 96000004 [#1] SMP";
    let panic = "Kernel panic - not syncing: Fatal exception";
    assert_eq!(evidence(&[oops, panic], &[]), Health::Crashed(panic.into()));
    assert_eq!(evidence(&[oops], &[]), Health::Troubled(format!("oops: {oops}")));
    assert!(matches!(evidence(&[], &[("GUEST_PANICKED", "{}")]), Health::Crashed(_)));
}

#[test]
fn a_reset_is_a_crash_and_a_power_off_is_none() {
    let shutdown = |reason: &str| evidence(&[], &[("SHUTDOWN", &format!("{{\"reason\":\"{reason}\"}}"))]);
    assert!(matches!(shutdown("guest-reset"), Health::Crashed(_)));
    assert_eq!(shutdown("guest-shutdown"), Health::Off("by the guest".into()));
    assert_eq!(shutdown("host-qmp-quit"), Health::Off("by the host (host-qmp-quit)".into()));
}

#[test]
fn a_storm_is_a_crash_and_no_fault_of_the_hosts() {
    let stormy = LoggedEvent {
        event: EXCEPTION_STORM.to_owned(),
        data: serde_json::json!({ "virtual-ns": 5, "exceptions": 10000 }),
        host_time: String::new(),
    };
    let evidence =
        Evidence { status: Some("internal-error".into()), events: vec![stormy], ..Evidence::default() };
    let health = evidence.verdict();
    assert!(matches!(&health, Health::Crashed(why) if why.contains("exception storm")), "{health}");
}

#[test]
fn a_qemu_that_was_killed_is_no_crash_of_the_guest() {
    assert_eq!(
        evidence(&[], &[("EXIT", "\"signal: 9 (SIGKILL)\"")]),
        Health::Infra("QEMU died: signal: 9 (SIGKILL)".into())
    );
    let evidence = Evidence { status: Some("io-error".into()), ..Evidence::default() };
    assert!(matches!(evidence.verdict(), Health::Infra(_)));
}

#[test]
fn damage_that_the_workload_noticed_is_said() {
    let health = evidence(&["FLIPSIM CHECK bad order at 7"], &[]);
    assert_eq!(health.to_string(), "alive, and noticed something: the workload: bad order at 7");
}

#[test]
fn who_ended_a_guest_decides_between_its_crash_and_the_hosts_doing() {
    let shutdown = |reason: &str| evidence(&[], &[("SHUTDOWN", &format!("{{\"reason\":\"{reason}\"}}"))]);
    assert_eq!(shutdown("subsystem-reset"), Health::Crashed("the guest reset itself".into()));
    assert!(matches!(shutdown("guest-panic"), Health::Crashed(_)));
    for host in ["none", "host-error", "host-qmp-system-reset", "host-signal", "host-ui", "snapshot-load"] {
        assert_eq!(shutdown(host), Health::Off(format!("by the host ({host})")));
    }
}

fn run(lines: &[&str], events: &[(&str, &str)], heard: &str) -> RunVerdict {
    gathered(lines, events).run_verdict(false, heard.as_bytes(), b"as ever", true)
}

#[test]
fn each_verdict_on_a_run_has_its_evidence() {
    let panic = "Kernel panic - not syncing: Fatal exception";
    let off = |reason: &str| format!("{{\"reason\":\"{reason}\"}}");
    assert_eq!(run(&[], &[], "as ever"), RunVerdict::Same);
    assert_eq!(run(&[], &[], "else"), RunVerdict::Different);
    assert_eq!(run(&[], &[], ""), RunVerdict::Silent);
    assert_eq!(run(&["FLIPSIM CHECK bad order"], &[], "x"), RunVerdict::Noticed);
    assert_eq!(run(&[panic], &[("SHUTDOWN", &off("guest-reset"))], "x"), RunVerdict::Panic);
    assert_eq!(run(&[], &[("SHUTDOWN", &off("guest-reset"))], "x"), RunVerdict::Reset);
    assert_eq!(run(&[], &[("SHUTDOWN", &off("subsystem-reset"))], "x"), RunVerdict::Reset);
    assert_eq!(run(&[], &[("SHUTDOWN", &off("guest-shutdown"))], "x"), RunVerdict::Off);
    assert_eq!(run(&[], &[("SHUTDOWN", &off("host-qmp-quit"))], "x"), RunVerdict::Infra);
    let storm = gathered(&[], &[(EXCEPTION_STORM, "null")]);
    assert_eq!(storm.run_verdict(true, b"x", b"as ever", true), RunVerdict::Storm);
    assert_eq!(gathered(&[], &[]).run_verdict(true, b"x", b"as ever", true), RunVerdict::Infra);
    assert_eq!(gathered(&[], &[]).run_verdict(false, b"x", b"as ever", false), RunVerdict::Same);
}

#[test]
fn no_verdict_without_a_comparison_has_the_word_of_one() {
    let done = |status: &str| format!("FLIPSIM DONE workload=sha256 digest=0123456789abcdef status={status}");
    let verdict = |lines: &[&str]| gathered(lines, &[]).workload_verdict("3 flips", "20 s");
    let all = [
        verdict(&[&done("ok")]),
        verdict(&[&done("wrong")]),
        verdict(&["FLIPSIM CHECK bad order", &done("ok")]),
        verdict(&[]),
        verdict(&["Kernel panic - not syncing: Fatal exception"]),
        verdict(&["[    0.397397] kernel BUG at lib/list_debug.c:59!"]),
    ];
    assert!(
        all[0].starts_with("nothing was noticed: 3 flips, and the workload's result is right"),
        "{all:?}"
    );
    assert!(all[1].starts_with("wrong result: 3 flips"), "{all:?}");
    assert!(all[2].starts_with("noticed after 3 flips: the workload: bad order"), "{all:?}");
    assert!(all[3].starts_with("no result within 20 s, after 3 flips: a hang"), "{all:?}");
    assert_eq!(
        all[5],
        "no result: the guest reported bug: [    0.397397] kernel BUG at lib/list_debug.c:59!; then its workload was \
         not done within 20 s (after 3 flips)"
    );
    for text in &all {
        for word in ["masked", "latent", "silent data corruption", "sdc", "detected"] {
            assert!(!text.contains(word), "{text}");
        }
    }
}

#[test]
fn a_run_state_is_a_word() {
    let words =
        ["running", "paused", "guest-panicked", "shutdown", "internal-error", "io-error", "postmigrate"];
    let expected = ["running", "stopped", "panicked", "off", "broken", "broken", "stopped"];
    assert_eq!(words.map(state_word), expected);
}
