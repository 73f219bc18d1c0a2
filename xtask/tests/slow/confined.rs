//! What a guest's QEMU gets of this host, and what it is refused.

use flipsim::wire::net::{Endpoint, Timeouts};
use flipsim::wire::qmp::QmpClient;

use super::*;

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guests_qemu_has_none_of_our_environment_and_starts_no_program() {
    let guest = Guest::boot("confined", &["--workload", "none"]);
    let environment = std::fs::read(format!("/proc/{}/environ", guest.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    // This test has cargo's variables, and so has the command that it starts.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    assert!(!environment.contains("CARGO") && environment.contains("TMPDIR="), "{environment}");
    let mark = guest.path("folder").join("pwned");
    let mut qmp = QmpClient::connect(&Endpoint::Unix(guest.path("qmp")), Timeouts::default()).unwrap();
    let _ = qmp.hmp(&format!("migrate exec:touch${{IFS}}{}", mark.display())).unwrap();
    let said = qmp.hmp("info migrate").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", guest.pid())).unwrap();
    if status.contains("NoNewPrivs:\t1") {
        assert!(said.contains("failed") && !mark.exists(), "{said}");
    } else {
        eprintln!("skipped: this kernel has no Landlock");
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn what_would_leave_a_guest_behind_or_open_a_port_is_refused_before_anything_is_made() {
    // Others boot guests meanwhile.
    let name = format!("test-refused-{}", std::process::id());
    for (words, remedy) in [
        (&["-daemonize"][..], "boot --headless"),
        (&["--daemonize"], "boot --headless"),
        (&["-s"], "--gdb tcp:1234"),
        (&["-m", "4G"], "--memory"),
        (&["-incoming", "exec:id"], "inject snap"),
    ] {
        let words: Vec<String> = words.iter().map(|word| format!("--qemu-arg={word}")).collect();
        let args: Vec<&str> = ["boot", "--headless", "--name", &name]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let (code, output) = fails(&args);
        assert_eq!(code, 2, "{output}");
        assert!(output.contains(remedy), "{output}");
    }
    assert!(!text(&ok(&["boot", "list", "--all"])).contains(&name));
}
