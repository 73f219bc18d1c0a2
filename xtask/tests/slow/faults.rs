//! What is done to bits, and when, on the real guest: operations, control trials, and faults that wait for an event.

use std::collections::BTreeSet;

use super::campaigns::{Campaign, results};
use super::*;

fn value(record: &Value, key: &str) -> u128 {
    let text = record[key].as_str().unwrap_or_else(|| panic!("{key}: {record}"));
    u128::from_str_radix(text.trim_start_matches("0x"), 16).expect("a hex number")
}

/// Makes a campaign and runs it; its rows, and what `run` says.
fn run(what: &str, args: &[&str]) -> (Vec<Value>, String) {
    let campaign = Campaign::new(what, args);
    let said = text(&ok(&["campaign", "run", &campaign.0]));
    (json_lines(&ok(&["campaign", "export", &campaign.0])), said)
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn bits_become_what_the_operation_says_and_what_changes_nothing_is_counted() {
    let of = |operation: &str, apply: fn(u128, u128) -> u128| {
        let args = ["--trials", "120", "--seed", "5", "--workload", "sha256", "--operation", operation];
        let strata =
            ["--stratum", "ram=region:Kernel data", "--stratum", "core=class:core", "--sharing", "equal"];
        let (rows, said) = run(operation, &[&args[..], &strata].concat());
        let mut unchanged = 0;
        for row in &rows {
            let record = &row["record"];
            let fault = &record["plan"]["fault"];
            let mask = fault["mask"].as_array().expect("a mask is bytes").iter().rev();
            let mask = mask.fold(0, |mask, byte| mask << 8 | u128::from(byte.as_u64().expect("a byte")));
            let (old, new) = (value(record, "old"), value(record, "new"));
            assert_eq!((&fault["operation"], new), (&operation.into(), apply(old, mask)), "{row}");
            if old == new {
                unchanged += 1;
                assert_eq!(record["outcome"], "masked", "{row}");
            }
        }
        assert_eq!(rows.len(), 120);
        assert!((5..115).contains(&unchanged), "{operation}: {unchanged}");
        assert!(said.contains(" faults found their bits as they set them and changed nothing"), "{said}");
        // All that is audited has a control trial beside it.
        let controls = rows.iter().filter(|row| row["record"]["control"] == true).count();
        assert!(controls >= 20, "{controls}");
        assert!(said.contains(&format!("{controls} control trials, without a fault, all masked")), "{said}");
    };
    of("set0", |old, mask| old & !mask);
    of("set1", |old, mask| old | mask);

    let guest = Guest::boot("operations", &[]);
    let inject = |args: &[&str]| json_lines(&guest.inject(&[args, &["--json"]].concat())).remove(0);
    let place = ["ram", "--symbol", "init_uts_ns+0", "--mask", "0xff"];
    let over = inject(&[&place[..], &["--operation", "overwrite:0x4e"]].concat());
    assert_eq!((value(&over, "new"), &over["operation"]), (0x4e, &"overwrite:0x4e".into()));
    let after = guest.type_line("uname -s; echo end-$((2+2))", "end-4");
    assert!(after.contains("Ninux"), "{after}");
    let set = inject(&[&place[..], &["--operation", "set1"]].concat());
    assert_eq!((value(&set, "old"), value(&set, "new"), &set["flipped"]), (0x4e, 0xff, &true.into()));
    let again = inject(&[&place[..], &["--operation", "set1"]].concat());
    assert_eq!((value(&again, "old"), value(&again, "new"), &again["flipped"]), (0xff, 0xff, &true.into()));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn faults_that_hold_on_and_several_in_a_trial_come_out_the_same_by_every_way_back() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (arch, counter) in [("aarch64", "pc"), ("x86_64", "rip")] {
        let of = |restore: &str| {
            let spec = format!(
                "name = 'x'\nseed = 12\nrestore = '{restore}'\nwindow = '60ms'\nmapping = 'bank-groups'\n[guest]\narch = '{arch}'\nworkload = 'fs'\n\
                 [[stratum]]\nname = 'stuck'\ntargets = ['region:Kernel data']\noperation = 'stuck'\ntrials = 10\n\
                 [[stratum]]\nname = 'again'\ntargets = ['ram']\noperation = 'stuck1'\nfor = '1ms'\nevery = '3ms'\ntrials = 5\n\
                 [[stratum]]\nname = 'registers'\ntargets = ['reg:*']\n\
                 operation = 'stuck0'\nfor = '20us'\ntrials = 10\n\
                 [[stratum]]\nname = 'skip'\ntargets = ['reg:{counter}']\noperation = 'skip'\ntrials = 15\n\
                 [[stratum]]\nname = 'opcode'\ntargets = ['reg:{counter}']\noperation = 'opcode'\nwhen = 'busy'\ntrials = 15\n\
                 [[stratum]]\nname = 'system'\ntargets = ['class:system']\ntrials = 12\n\
                 [[stratum]]\nname = 'device'\ntargets = ['class:device']\ntrials = 12\n\
                 [[stratum]]\nname = 'shower'\ntargets = ['region:Kernel data']\nfaults = 3\ntrials = 10\n\
                 [[stratum]]\nname = 'coded'\ntargets = ['region:Kernel data']\npattern = 'adjacent:3'\necc = 'secded'\ntrials = 12\n\
                 [[stratum]]\nname = 'cells'\ntargets = ['ram']\npattern = 'cluster'\ntrials = 10\n\
                 [[cluster]]\ncells = [[0, 0], [0, 1]]\nweight = 1\n"
            );
            let path = folder.path().join(format!("{restore}.toml"));
            std::fs::write(&path, spec).expect("it can be written");
            let path = path.to_str().expect("it is text");
            let campaign = Campaign::new(&format!("held-{arch}-{restore}"), &["--spec", path]);
            ok(&["campaign", "run", &campaign.0, "--workers", "2"]);
            results(&campaign.0)
        };
        let rewound = of("rewind");
        assert_eq!(rewound, of("clone"), "{arch}");
        assert_eq!(rewound.len(), 111);
        let struck = |stratum: &str| -> BTreeSet<&str> {
            let rows = rewound.iter().filter(|row| row["stratum"] == stratum);
            rows.filter_map(|row| row["record"]["plan"]["fault"]["register"].as_str()).collect()
        };
        let (names, devices) = (struck("system"), struck("device"));
        let known = if arch == "aarch64" { &SYSTEM_AARCH64[..] } else { &SYSTEM_X86_64[..] };
        assert!(names.len() > 3 && names.iter().all(|name| known.contains(name)), "{arch}: {names:?}");
        let of_device = |name: &&str| DEVICES.iter().any(|device| name.starts_with(device));
        assert!(devices.len() > 3 && devices.iter().all(of_device), "{arch}: {devices:?}");
        let outcomes: BTreeSet<&str> =
            rewound.iter().filter_map(|row| row["record"]["outcome"].as_str()).collect();
        assert!(outcomes.len() > 2, "{outcomes:?}");
        are_neighbours(&rewound);
        is_coded(&rewound);
        for row in rewound.iter().filter(|row| row["stratum"] == "skip") {
            let record = &row["record"];
            // What is idle stands behind an instruction, and what was never executed may not be mapped.
            let Some(instruction) = record["instruction"].as_str() else {
                assert_eq!(record["outcome"], Value::Null, "{row}");
                continue;
            };
            let length = value(record, "new") - value(record, "old");
            assert!(
                if arch == "aarch64" { length == 4 } else { (1..16).contains(&length) },
                "{instruction}: {row}"
            );
        }
        for row in rewound.iter().filter(|row| row["stratum"] == "opcode") {
            let record = &row["record"];
            if let Some(instruction) = record["instruction"].as_str() {
                let changed = value(record, "old") ^ value(record, "new");
                assert_eq!((changed.count_ones(), instruction.contains(" → ")), (1, true), "{row}");
            } else {
                assert_eq!(record["outcome"], Value::Null, "{row}");
            }
        }
        for row in rewound.iter().filter(|row| row["stratum"] == "shower") {
            let record = &row["record"];
            let more = record["more"].as_array().expect("it has further faults");
            let planned = record["plan"]["more"].as_array().expect("they were planned");
            assert_eq!((more.len(), planned.len()), (2, 2), "{row}");
            let begin = record["flip_ns"].as_u64().zip(record["plan"]["after"].as_u64());
            let begin = begin.map(|(at, after)| at - after);
            for (struck, planned) in more.iter().zip(planned) {
                let at = begin.zip(planned["after"].as_u64()).map(|(begin, after)| begin + after);
                assert_eq!(struck["flip_ns"].as_u64(), at, "{row}");
                if struck["flipped"] == true {
                    assert_eq!((value(struck, "old") ^ value(struck, "new")).count_ones(), 1, "{row}");
                } else {
                    assert!(record["end_ns"].as_u64() < at, "{row}");
                }
            }
        }
    }
}

/// The system registers that take faults.
const SYSTEM_AARCH64: [&str; 18] = [
    "SCTLR",
    "CPACR",
    "TTBR0_EL1",
    "TTBR1_EL1",
    "TCR_EL1",
    "VBAR",
    "ESR_EL1",
    "FAR_EL1",
    "ELR_EL1",
    "SPSR_EL1",
    "TPIDR_EL0",
    "TPIDRRO_EL0",
    "TPIDR_EL1",
    "CNTKCTL",
    "CNTV_CTL_EL0",
    "CNTV_CVAL_EL0",
    "CNTP_CTL_EL0",
    "CNTP_CVAL_EL0",
];
const SYSTEM_X86_64: [&str; 39] = [
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "cr8",
    "efer",
    "fs_base",
    "gs_base",
    "k_gs_base",
    "cs_selector",
    "ss_selector",
    "ds_selector",
    "es_selector",
    "fs_selector",
    "gs_selector",
    "ss_attributes",
    "tr_selector",
    "tr_base",
    "tr_limit",
    "ldtr_selector",
    "ldtr_base",
    "ldtr_limit",
    "gdtr_base",
    "gdtr_limit",
    "idtr_base",
    "idtr_limit",
    "dr0",
    "dr1",
    "dr2",
    "dr3",
    "dr6",
    "dr7",
    "star",
    "lstar",
    "cstar",
    "sfmask",
    "sysenter_cs",
    "sysenter_esp",
    "sysenter_eip",
];
const DEVICES: [&str; 4] = ["gicd_", "gicc_", "uart_", "apic_"];

/// Whether a trial whose upset memory detects was not run, and others have the decoder's own bit beside their three.
fn is_coded(rows: &[Value]) {
    let mut seen = BTreeSet::new();
    for row in rows.iter().filter(|row| row["stratum"] == "coded") {
        let record = &row["record"];
        let verdict = record["plan"]["ecc"].as_str().expect("it has a verdict");
        seen.insert(verdict);
        let detected = verdict == "detected";
        assert_eq!((record["outcome"] == "ecc-detected", record["old"] == ""), (detected, detected), "{row}");
        if !detected {
            let further = record["more"].as_array().into_iter().flatten();
            let changed =
                std::iter::once(record).chain(further).map(|one| value(one, "old") ^ value(one, "new"));
            let bits: u32 = changed.map(u128::count_ones).sum();
            assert!((2..=4).contains(&bits), "{row}");
        }
    }
    assert_eq!(seen, BTreeSet::from(["detected", "miscorrected"]));
}

/// Whether the second cell of each cluster is the next column: the next word, or behind the other bank group's.
fn are_neighbours(rows: &[Value]) {
    let mut pairs = 0;
    for row in rows.iter().filter(|row| row["stratum"] == "cells") {
        let plan = &row["record"]["plan"];
        let first = plan["fault"]["address"].as_u64().expect("it is in RAM");
        for more in plan["more"].as_array().into_iter().flatten() {
            let beside = first + if first / 8 % 8 == 7 { 0x48 } else { 8 };
            assert_eq!(more["fault"]["address"].as_u64(), Some(beside), "{row}");
            assert_eq!(
                (&more["after"], &more["fault"]["mask"]),
                (&plan["after"], &plan["fault"]["mask"]),
                "{row}"
            );
            pairs += 1;
        }
    }
    assert!(pairs > 5, "{pairs}");
}

/// Where a symbol is, by the list that the kernel's own build made.
fn address_of(arch: &str, symbol: &str) -> u128 {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/lab.json");
    let mut lab: Value =
        serde_json::from_slice(&std::fs::read(tree).expect("the lab is set up")).expect("JSON");
    in_cache(&mut lab, Path::new(&cache()));
    let vmlinux = lab["archs"][arch]["kernel"]["vmlinux"].as_str().expect("it has a kernel");
    let map =
        std::fs::read_to_string(Path::new(vmlinux).with_file_name("System.map")).expect("it has a list");
    let line = map.lines().find(|line| line.ends_with(&format!(" {symbol}"))).expect("it has the symbol");
    u128::from_str_radix(line.split(' ').next().expect("a line has a word"), 16).expect("an address")
}

/// Whether faults strike uniformly over the instructions of a part of the run, beside the count of these that its recorded
/// blocks of code give.
fn strikes_during(arch: &str, counter: &str) {
    let guest = ["--arch", arch, "--workload", "fs", "--window", "60ms"];
    let output = ok(&[&["profile", "--json"], &guest[..]].concat());
    let profile: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    let (kernel, other) = (number(&profile["kernel_instructions"]), number(&profile["other_instructions"]));
    let target = format!("pc=reg:{counter}");
    let during = |place: &str, trials: usize| {
        let name = format!("during-{arch}");
        let at = format!("during:{place}");
        let count = trials.to_string();
        let args =
            ["--trials", &count, "--seed", "8", "--operation", "nothing", "--at", &at, "--stratum", &target];
        let (rows, _) = run(&name, &[&guest[..], &args].concat());
        let places: Vec<u128> = rows.iter().map(|row| value(&row["record"], "old")).collect();
        assert_eq!(places.len(), trials);
        places
    };
    let upper = |address: &u128| address >> 63 == 1;
    assert!(!during("user", 30).iter().any(upper));
    let places = during("kernel", 150);
    assert!(places.iter().all(upper));
    // The functions that have a fiftieth of the kernel's instructions, and the others together: Pearson's statistic.
    let top: Vec<&Value> = profile["functions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| number(&one["share"]) > 0.02)
        .collect();
    assert!(top.len() >= 2, "{top:?}");
    let mut counts = vec![0.0; top.len()];
    for place in &places {
        let within = |one: &&Value| {
            let first = address_of(arch, one["name"].as_str().expect("a name"));
            (first..first + number(&one["bytes"]) as u128).contains(place)
        };
        if let Some(at) = top.iter().position(within) {
            counts[at] += 1.0;
        }
    }
    let shares: Vec<f64> = top.iter().map(|one| number(&one["share"])).collect();
    let rest = (150.0 - counts.iter().sum::<f64>(), 150.0 * (1.0 - shares.iter().sum::<f64>()));
    let cells = counts.iter().copied().zip(shares.iter().map(|share| share * 150.0)).chain([rest]);
    let found: f64 = cells.map(|(found, expected)| (found - expected).powi(2) / expected).sum();
    // What the statistic stays below with probability 0.9999: the mean and six deviations are more.
    let freedom = top.len() as f64;
    assert!(found < freedom + 6.0 * (2.0 * freedom).sqrt(), "{found} at {freedom}: {counts:?} {shares:?}");
    assert!(kernel > 0.0 && other > 0.0);
    let most = top[0]["name"].as_str().expect("a name");
    let (first, bytes) = (address_of(arch, most), number(&top[0]["bytes"]) as u128);
    assert!(during(&format!("symbol:{most}"), 30).iter().all(|place| (first..first + bytes).contains(place)));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn faults_strike_uniformly_while_a_part_of_the_run_is_executed() {
    strikes_during("aarch64", "pc");
    strikes_during("x86_64", "rip");
}

/// Whether faults strike right before the instructions that use a variable, and while an interrupt is handled; `flags` has the
/// bit that says whether interrupts are taken, and what it says when they are not.
fn strikes_at_accesses(arch: &str, counter: &str, flags: (&str, u128, u128), words: (&str, &str)) {
    let file = std::env::temp_dir().join(format!("accesses-{arch}-{}.toml", std::process::id()));
    let (register, bit, off) = flags;
    let stratum = |name: &str, register: &str, rest: &str| {
        format!("[[stratum]]\nname = '{name}'\ntargets = ['reg:{register}']\ntrials = 8\n{rest}\n")
    };
    let strata = [
        stratum("write", counter, "operation = 'skip'\nat = 'write:jiffies_64'"),
        stratum("read", counter, "operation = 'skip'\nat = 'read:jiffies_64'"),
        stratum("irq", register, "operation = 'nothing'\nduring = 'irq'"),
    ];
    let guest = format!("[guest]\narch = '{arch}'\nworkload = 'fs'\n");
    std::fs::write(&file, format!("seed = 8\nwindow = '60ms'\n{guest}{}", strata.concat())).expect("a file");
    let (rows, said) = run(&format!("accesses-{arch}"), &["--spec", file.to_str().expect("a path")]);
    std::fs::remove_file(&file).expect("it was there");
    let of = |stratum: &str| -> Vec<Value> {
        let own = rows.iter().filter(|row| row["stratum"] == stratum);
        own.map(|row| row["record"].clone()).collect()
    };
    let text = |record: &Value| record["instruction"].as_str().unwrap_or_default().to_owned();
    assert!(of("write").iter().all(|record| text(record).starts_with(words.0)), "{said} {rows:?}");
    assert!(of("read").iter().all(|record| text(record).contains(words.1)), "{said} {rows:?}");
    assert!(of("irq").iter().all(|record| value(record, "old") >> bit & 1 == off), "{said} {rows:?}");
    assert_eq!(rows.len(), 24);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_fault_that_waits_for_an_access_or_an_interrupt_strikes_there() {
    strikes_at_accesses("aarch64", "pc", ("cpsr", 7, 1), ("st", "ld"));
    strikes_at_accesses("x86_64", "rip", ("eflags", 9, 0), ("add qword [", "["));
}

/// Whether faults strike what the first instruction of a function uses, and those that are written out as they are.
fn strikes_operands(arch: &str, used: &[&str]) {
    let file = std::env::temp_dir().join(format!("operands-{arch}-{}.toml", std::process::id()));
    let stratum = |name: &str, target: &str, at: &str| {
        format!("[[stratum]]\nname = '{name}'\ntargets = ['{target}']\ntrials = 8\n{at}\n")
    };
    let strata = [
        stratum("read", "operand:read", "at = 'symbol:vfs_write'"),
        stratum("written", "operand:written", "at = 'symbol:vfs_write'"),
        stratum("loaded", "operand:loaded", "at = 'read:jiffies_64'"),
        stratum("stack", "stack:64", "at = 'symbol:vfs_write#3'"),
        "[[stratum]]\nname = 'list'\ntargets = ['at:9ms symbol:jiffies_64+1 bit:3 set1; 5ms symbol:jiffies_64 mask:0x3']\n"
            .to_owned(),
    ];
    let guest = format!("[guest]\narch = '{arch}'\nworkload = 'fs'\n");
    std::fs::write(&file, format!("seed = 8\nwindow = '60ms'\n{guest}{}", strata.concat())).expect("a file");
    let (rows, _) = run(&format!("operands-{arch}"), &["--spec", file.to_str().expect("a path")]);
    std::fs::remove_file(&file).expect("it was there");
    let of = |stratum: &str| -> Vec<Value> {
        let own = rows.iter().filter(|row| row["stratum"] == stratum);
        own.map(|row| row["record"].clone()).collect()
    };
    for record in of("read") {
        let register = record["plan"]["fault"]["register"].as_str().expect("a register");
        assert!(used.contains(&register), "{record}");
    }
    // Both push: the stack pointer alone is written, behind them.
    assert!(of("written").iter().all(|record| record["plan"]["fault"]["register"] == used[0]), "{rows:?}");
    let at: BTreeSet<u64> =
        of("read").iter().chain(&of("stack")).filter_map(|record| record["flip_ns"].as_u64()).collect();
    assert!(of("written").iter().all(|record| !at.contains(&record["flip_ns"].as_u64().expect("a time"))));
    for record in of("loaded") {
        assert!(record["symbol"].as_str().is_some_and(|name| name.starts_with("jiffies")), "{record}");
    }
    let places: BTreeSet<u64> =
        of("stack").iter().filter_map(|record| record["plan"]["fault"]["address"].as_u64()).collect();
    let (first, last) = (places.first().expect("one"), places.last().expect("one"));
    assert!(last - first < 64, "{places:?}");
    let [list] = &of("list")[..] else { panic!("{rows:?}") };
    let more = &list["plan"]["more"][0];
    assert_eq!((&list["plan"]["after"], &more["after"]), (&5_000_000.into(), &9_000_000.into()));
    assert_eq!((&more["fault"]["operation"], &list["more"][0]["flipped"]), (&"set1".into(), &true.into()));
    let apart = more["fault"]["address"].as_u64().zip(list["plan"]["fault"]["address"].as_u64());
    assert_eq!(apart.map(|(more, first)| more - first), Some(1));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn faults_strike_what_an_instruction_uses_and_what_is_written_out() {
    strikes_operands("aarch64", &["sp", "x29", "x30"]);
    strikes_operands("x86_64", &["rsp", "rbp"]);
}

/// Whether every fault struck right before the first instruction of a function.
fn strikes_at(arch: &str, counter: &str, event: &str, symbol: &str) {
    let target = format!("pc=reg:{counter}");
    let guest = ["--arch", arch, "--workload", "fs", "--window", "60ms"];
    let args =
        ["--trials", "150", "--seed", "8", "--operation", "nothing", "--at", event, "--stratum", &target];
    let (rows, said) = run(&format!("event-{arch}"), &[&guest[..], &args].concat());
    let places: BTreeSet<u128> = rows.iter().map(|row| value(&row["record"], "old")).collect();
    assert_eq!((rows.len(), places), (150, BTreeSet::from([address_of(arch, symbol)])), "{said}");
    let times: BTreeSet<u64> = rows.iter().filter_map(|row| row["record"]["flip_ns"].as_u64()).collect();
    assert!(times.len() > 5, "{times:?}");
    for row in &rows {
        assert_eq!(row["record"]["outcome"], "masked", "{row}");
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_fault_that_waits_for_a_function_strikes_at_its_first_instruction() {
    strikes_at("aarch64", "pc", "symbol:vfs_write", "vfs_write");
    strikes_at("x86_64", "rip", "syscall:write", "__x64_sys_write");
    // Interrupts come all the time. Each fault strikes behind the first instruction of their code.
    let interrupt =
        ["--arch", "x86_64", "--workload", "fs", "--window", "60ms", "--trials", "20", "--seed", "8"];
    let rest = ["--operation", "nothing", "--at", "exception:irq", "--stratum", "pc=reg:rip"];
    let (rows, said) = run("irq", &[&interrupt[..], &rest].concat());
    let entries =
        ["asm_common_interrupt", "asm_sysvec_apic_timer_interrupt"].map(|name| address_of("x86_64", name));
    for row in &rows {
        let at = value(&row["record"], "old");
        assert!(entries.iter().any(|entry| (entry + 1..entry + 16).contains(&at)), "{at:#x} {said}");
    }
    // Two events of one address: each has all of its own.
    let both = Campaign::new(
        "both",
        &[
            "--trials",
            "4",
            "--workload",
            "fs",
            "--window",
            "60ms",
            "--stratum",
            "ram",
            "--at",
            "symbol:vfs_write#2",
        ],
    );
    let file = std::env::temp_dir().join(format!("{}.toml", both.0));
    let strata = "[[stratum]]\nname = 'all'\ntargets = ['ram']\nat = 'symbol:__arm64_sys_write'\n\
                  [[stratum]]\nname = 'one'\ntargets = ['ram']\nat = 'syscall:write#1'\n";
    let spec = format!(
        "name = 'x'\ntrials = 8\nsharing = 'equal'\nwindow = '60ms'\n[guest]\nworkload = 'fs'\n{strata}"
    );
    std::fs::write(&file, spec).expect("the file can be written");
    let output =
        text(&ok(&["campaign", "new", &both.0, "--replace", "--spec", file.to_str().expect("a path")]));
    std::fs::remove_file(&file).expect("it was there");
    let instants = |event: &str| -> u64 {
        let line =
            output.lines().find_map(|line| line.strip_prefix(&format!("{event}: "))).expect("it says so");
        line.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(1)
    };
    assert!(instants("symbol:__arm64_sys_write") > 3, "{output}");
    assert_eq!(instants("syscall:write#1"), 1, "{output}");
    for (event, says) in [
        ("symbol:vfs_reed", "has no symbol `vfs_reed` (did you mean `vfs_read`"),
        ("syscall:reboot", "never comes from the beginning of the golden run"),
        ("syscall:openat#90000", "it comes "),
        ("console:nobody says this", "never comes from the beginning of the golden run"),
        ("pc:zero", "is no trigger"),
    ] {
        let name = format!("test-no-event-{}", std::process::id());
        let args = [
            "campaign",
            "new",
            &name,
            "--trials",
            "5",
            "--workload",
            "fs",
            "--window",
            "60ms",
            "--at",
            event,
        ];
        let (code, error) = fails(&args);
        assert_eq!((code, error.contains(says)), (2, true), "{event}: {error}");
    }
}
