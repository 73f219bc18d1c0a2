//! The second row of the architectures' table, on the real guest: boot, flips, exact time, trials.
//!
//! What does not depend on the architecture is tested on the default one.

use super::campaigns::{Campaign, results};
use super::trials::trial;
use super::*;

const ARCH: [&str; 2] = ["--arch", "x86_64"];

fn value(record: &Value, key: &str) -> u128 {
    let text = record[key].as_str().unwrap_or_else(|| panic!("{key}: {record}"));
    u128::from_str_radix(text.trim_start_matches("0x"), 16).expect("a hex number")
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn an_x86_64_guest_agrees_with_qemu_on_its_memory_and_takes_flips_that_it_then_reads() {
    let guest = Guest::boot("x86", &[&ARCH[..], &["--clock", "real"]].concat());
    assert_eq!(guest.info["memory_map"], "iomem");
    assert_eq!(guest.info["disagreements"], serde_json::json!([]));
    let output = guest.inject(&["list", "regions", "--json"]);
    let regions: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let ram: Vec<&Value> = regions.iter().filter(|region| region["ram"] == true).collect();
    // Below 640 KiB, and from 1 MiB on.
    let system = ram.iter().filter(|region| region["name"] == "System RAM").count();
    assert!(system >= 2, "{ram:?}");
    for name in ["Kernel code", "Kernel data", "Kernel bss"] {
        assert!(ram.iter().any(|region| region["name"] == name), "{name} is missing");
    }

    let before = guest.type_line("cat /proc/version; echo end-$((1+1))", "end-2");
    assert!(before.contains("Linux version"), "{before}");
    // Bit 0 of the first letter of its name: `L` (0x4c) becomes `M`.
    let output = guest.inject(&["ram", "--symbol", "init_uts_ns+0", "--bit", "0", "--json"]);
    let record = &json_lines(&output)[0];
    assert_eq!((record["old"].as_str(), record["new"].as_str()), (Some("0x4c"), Some("0x4d")), "{record}");
    let after = guest.type_line("uname -s; echo end-$((2+2))", "end-4");
    assert!(after.contains("Minux"), "{after}");
    // A flip in zeroed data, which `/proc/iomem` shows as a separate region.
    let output = guest.inject(&["ram", "--symbol", "mem_map", "--json"]);
    assert_eq!(json_lines(&output)[0]["region"], "Kernel bss", "{}", text(&output));

    let output = guest.inject(&["list", "reg", "--json"]);
    let registers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let register = |name: &str| {
        let found = registers.iter().find(|register| register["register"] == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    for (name, class, bits) in [
        ("rax", "core", 64),
        ("rip", "core", 64),
        ("eflags", "core", 18),
        ("cr0", "system", 8),
        ("gs_base", "system", 64),
        ("xmm15", "fpu", 128),
        ("st7", "fpu", 80),
    ] {
        let found = register(name);
        assert_eq!((&found["class"], &found["writable_bits"]), (&class.into(), &bits.into()), "{found}");
    }
    // All of them at once: the probe has left the guest as it was.
    let answer = guest.type_line("echo alive-$((40+2))", "alive-42");
    assert!(answer.contains("alive-42"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn timed_flips_of_an_x86_64_guest_are_exact_read_back_and_the_same_in_a_second_guest() {
    let flips = || {
        let line = "inject auto 50 1ns 400us ram --range 0x6000000+64K --seed 5 --observe 0ns --json --fresh \
                    --workload sha256";
        let args: Vec<&str> = line.split_whitespace().chain(ARCH).collect();
        let mut records = json_lines(&ok(&args));
        for record in &mut records {
            record.as_object_mut().expect("a record is an object").remove("host_time");
        }
        records
    };
    let first = flips();
    assert_eq!(first.len(), 50);
    for record in &first {
        assert_eq!((&record["timing"], &record["flipped"]), (&"exact".into(), &true.into()), "{record}");
        assert_eq!(record["virtual_ns"], record["wanted_ns"], "{record}");
        assert_eq!(value(record, "old") ^ value(record, "new"), value(record, "mask"), "{record}");
    }
    assert_eq!(first, flips());
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn runs_of_an_x86_64_guest_are_the_same_bit_for_bit() {
    let args = ["bench", "determinism", "--workload", "fs", "--at", "10ms,50ms,300ms", "--json"];
    let rows: Vec<Value> = serde_json::from_slice(&ok(&[&args[..], &ARCH].concat()).stdout).unwrap();
    assert_eq!((&rows[0]["identical"], &rows[0]["checkpoints"]), (&true.into(), &3.into()), "{rows:?}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn an_x86_64_kernel_that_waits_for_ever_for_a_lock_is_a_hang() {
    let record = trial(&[&["--at", "20ms", "--ram", "jiffies_lock:0"], &ARCH[..]].concat());
    assert_eq!((&record["outcome"], &record["end"]), (&"hang".into(), &Value::Null), "{record}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_campaign_on_x86_64_comes_out_the_same_by_rewinding_and_in_fresh_processes() {
    let args = "--trials 60 --seed 9 --workload sha256 --window 150ms --stratum ram=ram --stratum core=class:core \
                --stratum system=class:system --sharing equal";
    let args: Vec<&str> = args.split_whitespace().chain(ARCH).collect();
    let walked = Campaign::new("x86-walked", &args);
    let output = text(&ok(&["campaign", "run", &walked.0]));
    assert!(output.contains("60 trials in"), "{output}");
    let rows = results(&walked.0);
    let count = |outcome: &str| rows.iter().filter(|row| row["record"]["outcome"] == outcome).count();
    assert!(count("crash") >= 1 && count("detected") >= 1, "of 40 flips in registers");
    assert_eq!(count("infra"), 0);
    let numbers: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let mut args = vec!["campaign", "replay", &walked.0, "--restore", "clone"];
    args.extend(numbers.iter().flat_map(|number| ["--trial", number]));
    let output = text(&ok(&args));
    assert_eq!(output.matches("the same as before").count(), 60, "{output}");
}
