//! Guests that do not speak as the lab's do: READY and DONE as data, typed workloads, a kernel without its map.

use super::campaigns::{Campaign, results};
use super::*;

/// The lab's own image as a stranger would see it: a shell, where something is typed.
const TYPED: [&str; 6] = [
    "--dialogue",
    "flipsim:.*# $ => sha256sum /bin/busybox /bin/flipsim-workload; echo BYE",
    "--done",
    "^BYE",
    "--output",
    "^([0-9a-f]{64})",
];

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_workload_that_is_typed_at_a_prompt_is_put_under_test() {
    let strata = ["--stratum", "ram=ram", "--stratum", "core=class:core", "--sharing", "equal"];
    let args = [&["--trials", "30", "--seed", "3"], &TYPED[..], &strata].concat();
    let one = Campaign::new("typed-one", &args);
    let two = Campaign::new("typed-two", &args);
    ok(&["campaign", "run", &one.0, "--workers", "1"]);
    ok(&["campaign", "run", &two.0, "--workers", "2"]);
    let (first, second) = (results(&one.0), results(&two.0));
    assert_eq!(first, second);
    let outcomes: Vec<&str> = first.iter().filter_map(|row| row["record"]["outcome"].as_str()).collect();
    assert_eq!(outcomes.len(), 30);
    assert!(!outcomes.contains(&"infra"), "{outcomes:?}");
    // A register of a program that computes matters more often than a byte of RAM that is never read.
    assert!(outcomes.iter().any(|outcome| *outcome != "latent"), "{outcomes:?}");
    assert!(first.iter().all(|row| row["record"]["output_only"] == false), "the golden runs were equal");
    let determinism = [&["bench", "determinism", "--at", "5ms,20ms"], &TYPED[..2]].concat();
    assert!(text(&ok(&determinism)).contains("| identical |"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guest_that_says_nothing_is_ready_by_its_time() {
    let args = [
        "campaign",
        "trial",
        "--json",
        "--at",
        "10ms",
        "--reg",
        "x5:3",
        "--workload",
        "none",
        "--ready-after",
        "1s",
        "--window",
        "30ms",
    ];
    let (one, again) = (json_lines(&ok(&args)), json_lines(&ok(&args)));
    assert_eq!(one[0]["trial"]["flip_ns"], 1_010_000_000, "{}", one[0]);
    assert_eq!(one[0]["guest"]["ready-after"], 1_000_000_000);
    assert_eq!(one[0]["trial"]["outcome"], again[0]["trial"]["outcome"]);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guest_that_never_says_what_is_waited_for_is_reported_with_its_last_words() {
    let (code, error) = fails(&["boot", "--headless", "--ready", "never [s]aid", "--timeout", "4s"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("the lab waited for `never [s]aid`, and the guest said last: `"), "{error}");
    let (code, error) = fails(&["boot", "--headless", "--ready", "(", "--dry-run"]);
    assert!(code == 2 && error.contains("is no regular expression"), "{error}");
    let (code, error) = fails(&["boot", "--headless", "--ready", "x", "--workload", "fs", "--dry-run"]);
    assert!(code == 2 && error.contains("leave --workload out"), "{error}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guest_that_idles_at_a_prompt_is_ended_with_the_pattern_that_fits_and_one_that_computes_is_not() {
    let name = format!("test-idles-{}", std::process::id());
    let new = ["campaign", "new", &name, "--trials", "5", "--dialogue"];
    let (code, error) = fails(&[&new[..], &[">> $ => ls"]].concat());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("the guest idles, and has said nothing for 30.00 s of its time"), "{error}");
    assert!(error.contains("--dialogue '# $ => ls' would fit that line"), "{error}");
    let (code, error) =
        fails(&[&new[..], &["# $ => echo all finished 7", "--done", "^ALL FINISHED$"]].concat());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("without any fault the guest idles"), "{error}");
    assert!(error.contains("--done '^all finished [0-9]+$' would fit its line `all finished 7`"), "{error}");
    let busy = ["boot", "--headless", "--clock", "exact", "--dialogue", "# $ => while :; do :; done"];
    let (code, error) = fails(&[&busy[..], &["--ready", "NEVER", "--timeout", "40s"]].concat());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("was not ready after 40 s: the lab waited for `NEVER`"), "{error}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guest_is_tried_out_without_a_campaign() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tried.sqlite");
    let line = "flipsim:.*# $ => echo sum: $((6*7)); echo ALL DONE";
    let speaks = ["--dialogue", line, "--done", "^ALL DONE$", "--output", "^sum: ([0-9]+)"];
    let output = text(&ok(&[&["campaign", "new", file.to_str().unwrap(), "--check"], &speaks[..]].concat()));
    for wanted in
        ["  | FLIPSIM READY workload=none", "  | ALL DONE", "  | 42", "stratum ram: 1073741824 faults"]
    {
        assert!(output.contains(wanted), "{wanted}: {output}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_golden_run_of_hours_heeds_one_signal_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.sqlite");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["campaign", "new", file.to_str().unwrap(), "--trials", "5", "--window", "36000s"]);
    command.args(["--append", "flipsim.repeat=1000000"]);
    let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(child.0.stderr.take().unwrap());
    while !said.contains("Ctrl-C ends it") {
        assert!(std::io::BufRead::read_line(&mut lines, &mut said).unwrap() > 0, "{said}");
    }
    assert!(said.contains("4 runs of 10 h 00 min of virtual time take about "), "{said}");
    Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert_eq!(child.output().status.code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_symbol_is_found_without_the_guests_map_where_it_is_with_it() {
    let guest = Guest::boot("banner", &["--workload", "idle"]);
    let run: Value =
        serde_json::from_slice(&std::fs::read(guest.path("folder").join("run.json")).unwrap()).unwrap();
    let vmlinux = run["vmlinux"].as_str().expect("the lab's kernel has symbols").to_owned();
    let folder = guest.path("folder");
    let at = |name: &str| folder.join(name).display().to_string();
    let flip = |more: &[&str]| -> Value {
        let (gdb, qmp) = (at("gdb.sock"), at("qmp.sock"));
        let args = ["inject", "ram", "--json", "--socket", &gdb, "--qmp", &qmp, "--symbol", "jiffies+0"];
        json_lines(&ok(&[&args[..], &["--bit", "0", "--count", "1", "--seed", "5"], more].concat()))[0]
            .clone()
    };
    let with = flip(&["--vmlinux", &vmlinux, "--iomem", &at("iomem.txt")]);
    let without = flip(&["--vmlinux", &vmlinux]);
    assert_eq!(with["address"], without["address"], "{with}\n{without}");
    let map = Path::new(&vmlinux).with_file_name("System.map").display().to_string();
    assert_eq!(flip(&["--vmlinux", &map])["address"], with["address"]);
    // The list of another kernel is refused, and says so.
    let other = tempfile::NamedTempFile::new().unwrap();
    let text_of = std::fs::read_to_string(&map).unwrap();
    let moved: Vec<String> = text_of
        .lines()
        .map(|line| {
            if line.ends_with(" linux_banner") { line.replace("linux_banner", "other") } else { line.into() }
        })
        .collect();
    std::fs::write(other.path(), moved.join("\n")).unwrap();
    let (gdb, qmp, list) = (at("gdb.sock"), at("qmp.sock"), other.path().display().to_string());
    let (code, error) = fails(&[
        "inject",
        "ram",
        "--socket",
        &gdb,
        "--qmp",
        &qmp,
        "--symbol",
        "jiffies",
        "--count",
        "1",
        "--vmlinux",
        &list,
    ]);
    assert!(code == 2 && error.contains("it has no linux_banner to compare"), "{error}");
}
