//! Trials on the real guest: every outcome with its evidence, every restore method, every accident.

use super::*;

/// A trial's record.
pub fn trial(args: &[&str]) -> Value {
    let output = ok(&[&["campaign", "trial", "--json"], args].concat());
    json_lines(&output)[0]["trial"].clone()
}

/// The processes whose command line has all of these texts, by number.
fn processes_with(texts: &[&str]) -> Vec<u64> {
    let processes = std::fs::read_dir("/proc").expect("/proc is there");
    let found = processes.flatten().filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        texts.iter().all(|text| line.contains(text))
    });
    found.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The QEMUs that a process has started.
pub fn clones_of(parent: u32) -> Vec<u64> {
    let mine = |pid: &u64| stat_of(*pid).is_some_and(|stat| stat.parent == parent);
    processes_with(&["qemu-system", "-incoming"]).into_iter().filter(mine).collect()
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_flip_in_memory_that_is_not_used_is_latent_and_is_all_that_differs() {
    let record = trial(&["--at", "100ms", "--ram", "0x46000000:3"]);
    assert_eq!(record["outcome"], "latent", "{record}");
    assert_eq!(record["state"]["pages_differ"], 1, "{record}");
    assert_eq!(record["state"]["pages"], serde_json::json!(["ram0+0x6000000"]), "{record}");
    assert_eq!(record["state"]["registers"], serde_json::json!([]), "{record}");
    assert_eq!(record["state"]["devices"], serde_json::json!([]), "{record}");
    assert_eq!((&record["old"], &record["new"]), (&"0x00".into(), &"0x08".into()), "{record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_flip_that_is_flipped_back_before_its_use_converges() {
    let record = trial(&["--at", "100ms", "--ram", "0x46000000:3", "--back-at", "130ms"]);
    assert_eq!(record["outcome"], "masked", "{record}");
    assert!(record["converged_ns"].as_u64().unwrap() >= 170_000_000, "{record}");
    // To the end, its state is the golden run's all the same.
    let record = trial(&["--at", "100ms", "--ram", "0x46000000:3", "--back-at", "130ms", "--no-early-stop"]);
    assert_eq!(record["outcome"], "masked", "{record}");
    assert_eq!(record["state"], Value::Null, "nothing differs at the end: {record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_kernel_function_that_is_destroyed_is_a_crash_with_its_name() {
    let record = trial(&["--at", "30ms", "--ram", "__schedule", "--mask", "0xffffffff"]);
    assert_eq!(record["outcome"], "crash", "{record}");
    assert_eq!(record["end"], "panic", "{record}");
    assert_eq!(record["title"], "Undefined instruction in __schedule", "{record}");
    assert_eq!(
        (&record["region"], &record["symbol"]),
        (&"Kernel code".into(), &"__schedule".into()),
        "{record}"
    );
    assert!(record["end_ns"].as_u64() > record["flip_ns"].as_u64(), "{record}");
    assert!(record["console"].as_str().unwrap().contains("Oops - Undefined instruction"), "{record}");

    // The same function, turned into an endless loop (`b .`).
    let old = record["old"].as_str().unwrap();
    let mask = u64::from_str_radix(&old[2..], 16).unwrap() ^ 0x1400_0000;
    let mask = format!("{mask:#x}");
    let record = trial(&["--at", "30ms", "--ram", "__schedule", "--mask", &mask, "--hang-factor", "1.5"]);
    assert_eq!(record["new"], "0x14000000", "{record}");
    assert_eq!(record["outcome"], "hang", "{record}");
    assert_eq!(record["end"], Value::Null, "{record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn an_exception_storm_is_a_crash_at_the_same_instruction_by_every_restore_method() {
    // The first instruction of the handler that the kernel's own exceptions take becomes `udf #0`. The kernel has some as
    // it starts the workload, and none later.
    let place = ["--at", "100us", "--ram", "vectors+0x200"];
    let old = trial(&[&place[..], &["--mask", "0x01010101"]].concat())["old"].clone();
    let mask = old.as_str().unwrap().to_owned();
    let storm = [&place[..], &["--mask", &mask]].concat();
    let records = ["rewind", "clone", "loadvm"].map(|way| trial(&[&storm[..], &["--restore", way]].concat()));
    for record in &records {
        assert_eq!(record["new"], "0x00000000", "{record}");
        assert_eq!(
            (&record["outcome"], &record["end"]),
            (&"crash".into(), &"exception-storm".into()),
            "{record}"
        );
        assert!(record["end_ns"].as_u64() > record["flip_ns"].as_u64(), "{record}");
        assert_eq!(record["end_ns"], records[0]["end_ns"], "{record}");
        assert_eq!(record["state"]["ram"], records[0]["state"]["ram"], "{record}");
    }
    // The same in a guest that is only injected into: it is over, and is not waited for.
    let address = format!("{:#x}", records[0]["plan"]["fault"]["address"].as_u64().unwrap());
    let inject = ["inject", "ram", "--address", &address, "--mask", &mask, "--fresh", "--workload", "sha256"];
    let (code, said) = fails(&inject);
    assert!(code == 4 && said.contains("an exception storm"), "{code}: {said}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_kernel_that_waits_for_ever_for_a_lock_is_a_hang() {
    let record = trial(&["--at", "20ms", "--ram", "jiffies_lock:0"]);
    assert_eq!((&record["outcome"], &record["end"]), (&"hang".into(), &Value::Null), "{record}");
    let window = record["end_ns"].as_u64().zip(record["flip_ns"].as_u64()).map(|(end, flip)| end - flip);
    assert!(window.is_some_and(|window| window > 500_000_000), "{record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_program_counter_that_leads_nowhere_is_noticed_by_the_guest() {
    // At 100 ms the workload computes: it dies, and the guest goes on.
    let record = trial(&["--at", "100ms", "--reg", "pc:40"]);
    assert_eq!(record["outcome"], "detected", "{record}");
    assert_eq!(record["kind"], "user-fault", "{record}");
    assert!(record["detected_ns"].as_u64() > record["flip_ns"].as_u64(), "{record}");
    assert!(record["console"].as_str().unwrap().contains("died of signal 11"), "{record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_wrong_result_that_is_not_noticed_is_silent_data_corruption() {
    // Which register holds a part of the hash is the compiler's choice: one of these does.
    let records =
        ["x5:3", "x6:3", "x7:3", "x8:3", "x9:3"].map(|place| trial(&["--at", "100ms", "--reg", place]));
    let sdc = records.iter().find(|record| record["outcome"] == "sdc");
    let record = sdc.unwrap_or_else(|| panic!("none is: {records:?}"));
    assert!(record["console"].as_str().unwrap().contains("status=wrong"), "{record}");
    assert!(record["console_differs_ns"].as_u64() > record["flip_ns"].as_u64(), "{record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn every_restore_method_gives_the_same_trial() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trials.json");
    for workload in ["sha256", "fs"] {
        let mut lines = String::new();
        for place in [
            &["--ram", "0x46000000:3"][..],
            &["--ram", "__schedule", "--mask", "0xffffffff"],
            &["--reg", "x3:7"],
            &["--reg", "pc:40"],
            &["--reg", "v3:70"],
            &["--ram", "jiffies:1"],
        ] {
            let all =
                [&["campaign", "trial", "--json", "--at", "45ms", "--workload", workload], place].concat();
            lines.push_str(&String::from_utf8(ok(&all).stdout).unwrap());
        }
        std::fs::write(&file, lines).unwrap();
        for way in ["rewind", "clone", "loadvm"] {
            let output = ok(&["campaign", "replay", file.to_str().unwrap(), "--restore", way]);
            assert_eq!(text(&output).matches("the same as before").count(), 6, "{way}: {}", text(&output));
        }
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_trial_whose_qemu_is_killed_is_run_again_and_comes_out_the_same() {
    let args = ["--at", "100ms", "--ram", "0x46000000:3"];
    let undisturbed = trial(&args);
    let mut killed = 0;
    for moment in 0..10u64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["campaign", "trial", "--json"]).args(args);
        let child = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let pid = child.0.id();
        wait_until("a clone", || !clones_of(pid).is_empty());
        // Between its start and its end, wherever that is on this host.
        std::thread::sleep(Duration::from_millis(40 * moment));
        for clone in clones_of(pid) {
            Command::new("kill").args(["-9", &clone.to_string()]).status().unwrap();
        }
        let output = child.output();
        let said = text(&output);
        assert!(clones_of(pid).is_empty(), "{said}");
        assert!(output.status.success(), "{said}");
        let mut record = json_lines(&output)[0]["trial"].clone();
        killed += u64::from(record["attempts"].as_u64() > Some(1));
        for key in ["attempts", "costs"] {
            record[key] = undisturbed[key].clone();
        }
        assert_eq!(record, undisturbed, "{said}");
    }
    assert!(killed > 0, "no kill came in the middle of a trial");
}

/// How much of a processor's time a process has had.
fn processor_time(pid: u64) -> Duration {
    // In hundredths of a second (`man 5 proc`: utime and stime).
    Duration::from_millis(10 * stat_of(pid).map_or(0, |stat| stat.ticks))
}

/// Runs a command and kills each of its QEMUs, but for the first `spared`, until it ends. It has
/// started by then, and its guest runs: that takes more time than a start alone.
fn with_all_guests_killed(args: &[&str], spared: usize) -> (u32, Output) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args);
    let mut child = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let pid = child.0.id();
    let mut seen: Vec<u64> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.0.try_wait().expect("it is ours").is_none() {
        assert!(Instant::now() < deadline, "{args:?} does not end");
        for clone in clones_of(pid) {
            if !seen.contains(&clone) {
                seen.push(clone);
            }
            let runs = processor_time(clone) >= Duration::from_millis(150);
            if runs && seen.iter().position(|one| *one == clone).is_some_and(|at| at >= spared) {
                Command::new("kill").args(["-9", &clone.to_string()]).status().expect("kill is there");
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.output();
    let said = text(&output);
    assert_eq!(seen.len(), spared + 3 + killed_at_start(&said), "{said}");
    assert!(seen.iter().all(|clone| !alive(*clone)), "{}", text(&output));
    (pid, output)
}

/// How many guests were killed while they started, as happens on a slow host: others are started then, and no attempt is
/// counted.
fn killed_at_start(said: &str) -> usize {
    ["the guest is started again", "QEMU cannot start a clone"]
        .map(|what| said.matches(what).count())
        .iter()
        .sum()
}

/// Whether a process's clones have left folders.
fn left_by(pid: u32) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/clones");
    let left = std::fs::read_dir(folder).map(|all| all.flatten().collect()).unwrap_or_else(|_| Vec::new());
    left.iter().any(|entry| entry.file_name().to_string_lossy().contains(&format!("-{pid}-")))
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_trial_whose_qemu_is_killed_at_every_attempt_is_infra_and_in_no_rate() {
    let campaign = campaigns::Campaign::new("infra", &["--trials", "1", "--seed", "1"]);
    // The first guest is asked for names and runs no trial.
    let (pid, output) = with_all_guests_killed(&["campaign", "run", &campaign.0, "--workers", "1"], 1);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "every fault of the plan has an outcome: {said}");
    assert_eq!(said.matches("was lost and is run again").count(), 2 + killed_at_start(&said), "{said}");
    assert_eq!(said.matches("was lost and is given up").count(), 1, "{said}");
    assert!(said.contains("1 were lost each time"), "{said}");
    assert!(!left_by(pid), "{said}");

    let store = flipsim::campaign::Store::open_readonly(&campaign.file()).unwrap();
    let rows: Vec<_> = store.results().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].outcome, rows[0].attempts), (Some(flipsim::trial::Outcome::Infra), 3));
    let error = rows[0].error.as_deref().unwrap();
    assert!(said.contains(error), "`{error}` is not what was said: {said}");
    assert_eq!((rows[0].flip_ns, rows[0].end_ns), (None, None));

    let output = text(&ok(&["campaign", "status", &campaign.0]));
    assert!(output.contains("ram: 0 trials"), "{output}");
    assert!(output.contains("1 of 1 trials were given up and are in no rate"), "{output}");
    assert!(output.contains("lost 3 attempts"), "{output}");
    let line = &json_lines(&ok(&["campaign", "export", &campaign.0]))[0];
    assert_eq!((&line["outcome"], &line["attempts"]), (&"infra".into(), &3.into()), "{line}");
    assert_eq!(line["error"].as_str(), Some(error), "{line}");
    assert!(text(&ok(&["campaign", "resume", &campaign.0])).contains("nothing is left to do"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_trial_by_hand_whose_qemu_is_killed_each_time_says_so_and_fails() {
    // Its template and its golden run are there.
    trial(&["--at", "100ms", "--ram", "0x46000000:3"]);
    let args = ["campaign", "trial", "--json", "--at", "100ms", "--ram", "0x46000000:3"];
    let (pid, output) = with_all_guests_killed(&args, 0);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(output.stdout.is_empty() && said.contains("error: "), "{said}");
    assert!(!left_by(pid), "{said}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn nothing_is_left_of_a_trial_that_is_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["campaign", "trial", "--at", "100ms", "--reg", "x5:3", "--restore", "clone"]);
    let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let pid = child.0.id();
    wait_until("a clone", || !clones_of(pid).is_empty());
    let clones = clones_of(pid);
    child.kill();
    wait_until("its clone to end", || clones.iter().all(|clone| !alive(*clone)));
    // The folder goes with the next start.
    trial(&["--at", "100ms", "--ram", "0x46000000:3"]);
    assert!(!left_by(pid));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn bad_faults_are_reported_and_nothing_flips() {
    for (args, expected) in [
        (&["--at", "100ms", "--ram", "0x39000000:1"][..], "is not in the guest's RAM"),
        (&["--at", "100ms", "--ram", "jifies:1"], "did you mean `jiffies"),
        (&["--at", "100ms", "--reg", "zz:1"], "no register is called `zz`"),
        (&["--at", "100ms", "--reg", "x1:64"], "has bits 0 to 63"),
        (&["--at", "100ms", "--reg", "x1"], "does not say which bit"),
        (&["--at", "100s", "--reg", "x1:1"], "is not within the run"),
    ] {
        let (code, output) = fails(&[&["campaign", "trial"], args].concat());
        assert_eq!(code, 2, "{output}");
        assert!(output.contains(expected), "{args:?}: {output}");
    }
}
