//! Exact time on the real guest: stops, timed faults, snapshots, the prompt, determinism.

use super::*;

/// RAM that none of the lab's workloads uses: what flips here has no consequence.
const UNUSED: &str = "0x46000000+64K";

/// The records of a command on a separate guest, without the host's time.
fn fresh(args: &[&str]) -> Vec<Value> {
    let output = ok(&[&["inject"], args, &["--json", "--fresh", "--workload", "sha256"]].concat());
    let mut records = json_lines(&output);
    for record in &mut records {
        record.as_object_mut().expect("a record is an object").remove("host_time");
    }
    records
}

/// Runs the lines of a script at the prompt.
fn shell(args: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["inject", "shell"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running::start(&mut command);
    let mut stdin = child.0.stdin.take().expect("it is a pipe");
    // One that ends at its first line reads no more.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    child.output()
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_thousand_stops_are_exact_and_the_same_in_a_second_guest() {
    let line = ["auto", "1000", "1ns", "600us", "ram", "--range", UNUSED, "--seed", "5", "--observe", "0ns"];
    let first = fresh(&line);
    assert_eq!(first.len(), 1000);
    let number =
        |record: &Value, key: &str| record[key].as_u64().unwrap_or_else(|| panic!("{key}: {record}"));
    for record in &first {
        assert_eq!(record["timing"], "exact", "{record}");
        assert_eq!(number(record, "virtual_ns"), number(record, "wanted_ns"), "{record}");
        assert_eq!(record["flipped"], true, "{record}");
    }
    for pair in first.windows(2) {
        let passed = |key| number(&pair[1], key) - number(&pair[0], key);
        // Where the guest idles, its clock skips on, and no instruction is executed.
        assert!(passed("instructions") <= passed("virtual_ns"), "{pair:?}");
    }
    // Where it computes, one instruction takes one nanosecond; the workload computes nearly all the time.
    let exact = first.windows(2).filter(|pair| {
        let passed = |key| number(&pair[1], key) - number(&pair[0], key);
        passed("instructions") == passed("virtual_ns")
    });
    let exact = exact.count();
    assert!(exact > 900, "only {exact} of 999 intervals have as many instructions as nanoseconds");
    let length = number(&first[999], "virtual_ns") - number(&first[0], "virtual_ns");
    assert!((200_000_000..400_000_000).contains(&length), "{length}");
    assert_eq!(first, fresh(&line), "the same line flips the same bits after the same instructions");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn the_originals_auto_line_is_kept_to_the_nanosecond() {
    for kind in ["ram", "reg"] {
        let records = fresh(&["auto", "10", "20ns", "100ns", kind, "--seed", "3", "--observe", "0ns"]);
        assert_eq!(records.len(), 10);
        for record in &records {
            assert_eq!(record["virtual_ns"], record["wanted_ns"], "{record}");
        }
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn upsets_of_a_mission_come_at_its_rate() {
    let line =
        "inject auto 200 ram --rate 10/GiB/month --accelerate 1e12 --seed 4 --json --fresh --observe 0ns";
    let mut args: Vec<&str> = line.split(' ').collect();
    args.extend(["--range", UNUSED, "--exposed", "128M"]);
    let output = ok(&args);
    // A month of 30 days, ten times the memory's share of a GiB: one upset in 24 days.
    assert!(text(&output).contains("one upset every 24.00 days in 128.0 MiB"), "{}", text(&output));
    let times: Vec<u64> =
        json_lines(&output).iter().map(|record| record["virtual_ns"].as_u64().unwrap()).collect();
    // 24 days are 2,073,600 s; a million million times faster, 2,073.6 ns. The mean of 199 intervals lies
    // within five of its standard errors.
    let mean = (times[199] - times[0]) as f64 / 199.0;
    assert!((mean - 2_073.6).abs() < 5.0 * 2_073.6 / 14.1, "{mean}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn runs_are_the_same_bit_for_bit_while_the_host_is_busy() {
    let output = ok(&["bench", "determinism", "--workload", "sha256,fs", "--load", "--json"]);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(row["identical"], true, "{row}");
        assert_eq!(row["checkpoints"], 5, "{row}");
        assert!(row["pages_written"].as_u64().unwrap() > 100, "{row}");
        assert!(row["console_bytes"].as_u64().unwrap() > 0, "{row}");
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_difference_between_runs_is_found_and_shown() {
    // The host's clock never runs the same twice.
    let (code, output) =
        fails(&["bench", "determinism", "--workload", "sha256", "--clock", "real", "--at", "10ms,20ms"]);
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("differs first at 10.0 ms"), "{output}");
    assert!(output.contains("clock: "), "{output}");
    assert!(output.contains("runs differ of: sha256"), "{output}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn snap_counts_its_loops_and_leaves_no_snapshot() {
    let guest = Guest::boot("snap", &["--clock", "exact", "--no-share", "--workload", "sha256"]);
    let time = || {
        let said = shell(&["--guest", &guest.name], "time\n");
        let said = text(&said);
        let line = said.lines().find_map(|line| line.split_once(" ns, ")).map(|(time, _)| time.to_owned());
        line.and_then(|time| time.trim().parse::<u64>().ok()).unwrap_or_else(|| panic!("no time in {said}"))
    };
    let stands = time();
    let flips = ["snap", "1", "1ms", "2ms", "ram", "--range", UNUSED, "--observe", "300ms", "--loop", "3"];
    let output = guest.inject(&[&flips[..], &["--json", "--seed", "1"]].concat());
    let lines = json_lines(&output);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3], serde_json::json!({ "runs": 3, "outcomes": { "same": 3 }, "refused": 0 }));
    let after = lines[..3].iter().map(|record| record["virtual_ns"].as_u64().unwrap() - stands);
    let starts: Vec<bool> = after.map(|after| (1_000_000..=2_000_000).contains(&after)).collect();
    assert_eq!(starts, [true; 3], "each run starts where the guest was: {lines:?}");
    // A program counter far outside of everything is the end of the workload, and the kernel says so.
    let crash = ["snap", "1", "1ms", "2ms", "reg", "--register", "pc", "--bit", "40", "--observe", "300ms"];
    let output = guest.inject(&[&crash[..], &["--loop", "2", "--json", "--seed", "1"]].concat());
    let tally = json_lines(&output).pop().unwrap();
    assert_eq!(tally["runs"], 2, "{tally}");
    assert_eq!(tally["outcomes"], serde_json::json!({ "noticed": 2 }), "{tally}");
    // After all that the guest stands where it stood, and goes on as if nothing had been.
    assert_eq!(time(), stands);
    let output = shell(&["--guest", &guest.name], "monitor info snapshots\nrun 500ms\n");
    assert!(text(&output).contains("There is no snapshot available"), "{}", text(&output));
    assert!(guest.console().contains("FLIPSIM DONE workload=sha256"), "{}", guest.console());
    assert!(guest.console().contains("status=ok"), "{}", guest.console());
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_killed_snap_leaves_its_snapshot_to_the_next_command() {
    let guest = Guest::boot("killed-snap", &["--clock", "exact", "--no-share", "--workload", "sha256"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["inject", "snap", "1", "1ms", "2ms", "ram", "--observe", "300ms", "--loop", "100000"]);
    command.args(["--range", UNUSED, "--guest", &guest.name]);
    let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let records = guest.path("folder").join("flips.jsonl");
    wait_until("the first flips", || std::fs::metadata(&records).is_ok_and(|meta| meta.len() > 512));
    child.kill();
    let output = shell(&["--guest", &guest.name], "monitor info snapshots\n");
    assert!(text(&output).contains("back at its snapshot flipsim-"), "{}", text(&output));
    assert!(text(&output).contains("There is no snapshot available"), "{}", text(&output));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_mounted_share_is_recognised_by_snap() {
    let guest = Guest::boot("mounted", &["--append", "flipsim.share=keep"]);
    let snap = ["inject", "snap", "1", "1ms", "2ms", "ram", "--observe", "10ms", "--guest", &guest.name];
    let (code, output) = fails(&snap);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("umount /mnt/shared"), "{output}");
    guest.type_line("umount /mnt/shared; echo done-$((1+1))", "done-2");
    ok(&snap);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn ranges_are_flipped_whole_and_in_order_both_ends_included() {
    let records = fresh(&["range", "4", "sequential", "0x46000000-0x4600000f", "0x46000100-0x46000103"]);
    let addresses: Vec<u64> = records
        .iter()
        .map(|record| u64::from_str_radix(&record["address"].as_str().unwrap()[2..], 16).unwrap() & !3)
        .collect();
    assert_eq!(addresses, [0x4600_0000, 0x4600_0004, 0x4600_0008, 0x4600_000c, 0x4600_0100]);
    let records = fresh(&["range", "1", "random", "0x46000000-0x4600003f", "64", "--seed", "2"]);
    let mut addresses: Vec<&str> = records.iter().map(|record| record["address"].as_str().unwrap()).collect();
    assert_ne!(addresses[..2], ["0x46000000", "0x46000001"], "the order is drawn as well");
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!((addresses.len(), addresses[0], addresses[63]), (64, "0x46000000", "0x4600003f"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn the_prompts_words_work_from_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("flips.csv");
    let script = format!(
        "# the original's words
listram
listreg
stop_delayed 1000
loginject {}
inject 0x46000000+0x10 1 3
inject 0x46000020 8
inject_reg x* 5
inject_range 1 sequential 0x46000100-0x46000103
autoinject 10 20ns 100ns ram --range {UNUSED}
snapinject 1 1ms 2ms ram 10ms --loop 2 --range {UNUSED}
loginject off
loop 3 inject --range {UNUSED}
run 1ms
run --until 100ms
time
status
regions
monitor info status
seed 12
help inject
quit
injekt
",
        csv.display()
    );
    let arguments = ["--fresh", "--workload", "sha256", "--seed", "7"];
    let output = shell(&arguments, &script);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "0x40000000-0x47ffffff",
        "cpsr",
        // READY is known to a step of 100 µs.
        "01000 ns, ",
        "ram 0x46000010  bit 3",
        "10/10  ram ",
        "2 runs:",
        "100000000 ns",
        "timing: exact",
        "Kernel code",
        "VM status: paused",
        "seed 12",
        "Usage: inject",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    let rows = std::fs::read_to_string(&csv).unwrap();
    // A header, two of `inject`, one register, four of the range, ten, and one a run of `snapinject`.
    assert_eq!(rows.lines().count(), 1 + 2 + 1 + 4 + 10 + 2, "{rows}");
    let flips = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().filter(|line| line.contains(" bit ")).map(str::to_owned).collect::<Vec<_>>()
    };
    std::fs::remove_file(&csv).unwrap();
    let again = shell(&arguments, &script);
    assert_eq!(flips(&output), flips(&again), "the same script flips the same bits");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_script_ends_at_its_first_error_with_that_commands_exit_code() {
    let guest = Guest::boot("script", &[]);
    let output = shell(&["--guest", &guest.name], "time\ninject 0x46000000 4 99\ntime\n");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("line 2, `inject 0x46000000 4 99`: "), "{}", text(&output));
    // `cont` says how the guest is to be left, whatever it was before.
    let output = shell(&["--guest", &guest.name], "stop\n");
    assert!(output.status.success(), "{}", text(&output));
    let status = |expected: &str| {
        let output = shell(&["--guest", &guest.name], "monitor info status\n");
        assert!(text(&output).contains(expected), "{}", text(&output));
    };
    status("VM status: paused");
    shell(&["--guest", &guest.name], "cont\n");
    let answer = guest.type_line("echo alive-$((40+2))", "alive-42");
    assert!(answer.contains("alive-42"));
}
