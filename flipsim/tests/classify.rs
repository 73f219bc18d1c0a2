//! The classifier on consoles of both architectures, and on consoles that are damaged.
//!
//! The samples in `consoles/` were taken from guests, or written after the messages of Linux. Invariant: every
//! sample is in a table here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ConsoleVerdict::{Clean, Crash, Detected, Incomplete, Sdc};
use Kind::*;
use flipsim::console::classify::{
    Classification, Classifier, ConsoleVerdict, Kind, MAX_FINDINGS, STORM, classify, classify_reader,
};
use proptest::prelude::*;

type Row = (&'static str, ConsoleVerdict, Kind, &'static str, u64);

const AARCH64: &[Row] = &[
    ("oops-paging", Detected, Oops, "Unable to handle kernel paging request in ext4_file_write_iter", 1),
    ("oops-null-panic", Crash, Oops, "Unable to handle kernel NULL pointer dereference in skb_copy_bits", 1),
    (
        "oops-jump-to-nowhere",
        Detected,
        Oops,
        "Unable to handle kernel execute from non-executable memory in run_timer_softirq",
        1,
    ),
    ("undefined-instruction", Detected, Oops, "Undefined instruction in vfs_read", 1),
    ("external-abort", Detected, Oops, "synchronous external abort in readl_relaxed", 1),
    ("oops-count-two", Detected, Oops, "Unable to handle kernel paging request in dput", 1),
    ("bug-usercopy", Detected, Bug, "kernel BUG at mm/usercopy.c in simple_copy_to_iter", 3),
    ("bug-atomic", Detected, Bug, "BUG: scheduling while atomic in nanosleep_do_sleep", 1),
    ("bug-slab", Detected, Bug, "BUG kmalloc-64: Right Redzone overwritten in seq_release", 2),
    ("warning", Detected, Warning, "WARNING in ext4_evict_inode", 2),
    ("kasan", Crash, Kasan, "KASAN: slab-out-of-bounds Write in crypto_sha256_finup", 1),
    ("kfence", Detected, Kfence, "KFENCE: memory corruption in seq_release", 1),
    ("ubsan-trap", Detected, Ubsan, "UBSAN: array index out of bounds in tty_write", 1),
    ("rcu-stall", Detected, RcuStall, "INFO: rcu detected stall in shrink_dcache_parent", 1),
    ("soft-lockup", Detected, SoftLockup, "BUG: soft lockup in xas_find", 1),
    ("hard-lockup", Detected, HardLockup, "Watchdog detected hard LOCKUP in __delay", 1),
    ("hung-task", Detected, HungTask, "INFO: task hung in jbd2_log_wait_commit", 1),
    ("oom-kill", Detected, OomKill, "Out of memory: killed sh", 2),
    ("serror", Crash, Serror, "SError Interrupt in virtio_pci_probe", 1),
    ("bad-page-state", Detected, BadPageState, "BUG: Bad page map in unmap_page_range", 1),
    ("bad-page-table", Detected, BadPageState, "bad pmd in mm/pgtable-generic.c", 1),
    ("unhandled-exception", Crash, UnhandledFault, "Unhandled 64-bit el1h sync exception in el1h_64_irq", 1),
    ("bad-mode-older", Detected, UnhandledFault, "Bad mode in Synchronous Abort handler in irq_work_run", 1),
    (
        "unhandled-fault-older",
        Detected,
        UnhandledFault,
        "Unhandled fault: synchronous external abort in pl011_read",
        1,
    ),
    ("stack-overflow", Crash, StackOverflow, "kernel stack overflow in el1h_64_sync", 1),
    ("user-fault", Detected, UserFault, "user fault in flipsim-workloa: level 0 translation fault", 1),
    ("fatal-signal", Detected, UserFault, "user fault in sh: fatal signal 11", 2),
    ("init-death", Crash, InitDeath, "Kernel panic - not syncing: Attempted to kill init!", 2),
    ("init-death-by-oops", Crash, Oops, "Unable to handle kernel paging request in dput", 1),
    ("panic-sysrq", Crash, Panic, "Kernel panic - not syncing: sysrq triggered crash", 2),
    ("power-off", Crash, PowerOff, "Power down", 32),
    ("sysrq-reset", Crash, Reboot, "sysrq: Resetting", 1),
    ("reset-without-a-word", Crash, Reboot, "restarted without a word", 22),
    ("filesystem-error", Detected, FilesystemError, "EXT4-fs error in ext4_lookup", 1),
    ("check", Detected, Check, "check in qsort: number N is out of order: ADDR before ADDR", 2),
    ("wrong-result", Sdc, WrongResult, "wrong result of sha256", 2),
];

const X86_64: &[Row] = &[
    ("oops-paging", Detected, Oops, "Unable to handle kernel paging request in file_free_rcu", 1),
    ("oops-null-panic", Crash, Oops, "Unable to handle kernel NULL pointer dereference in timerqueue_add", 1),
    ("general-protection", Detected, Oops, "general protection fault in __d_lookup_rcu", 1),
    ("general-protection-newer", Detected, Oops, "general protection fault in __d_lookup_rcu", 1),
    ("double-fault", Crash, Oops, "double fault in entry_SYSCALL_64", 1),
    ("stack-guard", Detected, StackOverflow, "kernel stack overflow in vsnprintf", 1),
    ("invalid-opcode", Detected, Oops, "invalid opcode in vfs_read", 1),
    ("bug-list", Detected, Bug, "kernel BUG at lib/list_debug.c in remove_wait_queue", 3),
    ("warning", Detected, Warning, "WARNING in invoke_rcu_core", 2),
    ("warning-refcount", Detected, Warning, "WARNING in put_cred_rcu", 3),
    ("warning-newer", Detected, Warning, "WARNING in finish_task_switch", 1),
    ("warning-panic", Crash, Warning, "WARNING in drop_nlink", 1),
    ("kasan", Detected, Kasan, "KASAN: slab-use-after-free Read in ext4_find_extent", 2),
    ("kfence", Detected, Kfence, "KFENCE: out-of-bounds read in seq_show", 2),
    ("ubsan", Detected, Ubsan, "UBSAN: shift-out-of-bounds in ext4_fill_super", 2),
    ("rcu-stall", Detected, RcuStall, "INFO: rcu detected stall in d_alloc_parallel", 1),
    ("soft-lockup", Detected, SoftLockup, "BUG: soft lockup in evict", 1),
    ("soft-lockup-panic", Crash, SoftLockup, "BUG: soft lockup in find_vma", 2),
    ("hard-lockup", Crash, HardLockup, "Watchdog detected hard LOCKUP in delay_tsc", 1),
    ("hung-task", Detected, HungTask, "INFO: task hung in jbd2_journal_commit_transaction", 1),
    ("oom-kill", Detected, OomKill, "Out of memory: killed qsort", 1),
    ("bad-page-state", Detected, BadPageState, "BUG: Bad page state in get_page_from_freelist", 1),
    ("machine-check", Crash, HardwareError, "Machine check", 1),
    ("segfault", Detected, UserFault, "user fault in flipsim-workloa: segfault", 1),
    ("trap", Detected, UserFault, "user fault in sh: invalid opcode", 1),
    ("init-death", Crash, InitDeath, "Kernel panic - not syncing: Attempted to kill init!", 2),
    (
        "panic-root",
        Crash,
        Panic,
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(N,N)",
        1,
    ),
    (
        "stack-protector",
        Crash,
        Panic,
        "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: do_sys_poll",
        1,
    ),
    ("reboot", Crash, Reboot, "Restarting system", 2),
    ("power-off", Crash, PowerOff, "Power down", 3),
    // Of the lab's own guest, a flip each: SCE of efer, TS of cr0, bit 16 of rip.
    // The first panicked while it reported the oops, which only QEMU's device could say: these bytes do not show it.
    ("double-fault-in-page-fault", Detected, Oops, "double fault in exc_page_fault", 1),
    ("warning-device-not-available", Detected, Warning, "WARNING in fpu__drop", 3),
    ("invalid-opcode-in-idle", Crash, Oops, "invalid opcode in topology_update_package_map", 1),
    ("callers-interleaved", Detected, Oops, "Unable to handle kernel paging request in run_timer_softirq", 2),
];

/// Consoles on which nothing was noticed.
const QUIET: &[(&str, ConsoleVerdict)] = &[
    ("aarch64/clean", Clean),
    ("aarch64/incomplete", Incomplete),
    ("aarch64/harmless", Incomplete),
    ("aarch64/no-trouble-backtrace", Incomplete),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consoles")
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.log"))).expect("a sample can be read")
}

fn tables() -> impl Iterator<Item = (String, &'static Row)> {
    let rows = |arch: &'static str, rows: &'static [Row]| {
        rows.iter().map(move |row| (format!("{arch}/{}", row.0), row))
    };
    rows("aarch64", AARCH64).chain(rows("x86_64", X86_64))
}

fn kind(found: &Classification) -> Option<Kind> {
    found.deciding().map(|finding| finding.kind)
}

#[test]
fn every_sample_has_its_outcome_kind_title_and_line() {
    let mut wrong = Vec::new();
    for (name, (_, outcome, kind, title, line)) in tables() {
        let found = classify(&sample(&name));
        let deciding = found.deciding().map(|f| (f.kind, f.title.as_str(), f.line));
        if (found.outcome, deciding) != (*outcome, Some((*kind, *title, *line))) {
            wrong.push(format!("{name}: {} {deciding:?}\n{:#?}", found.outcome, found.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn consoles_without_trouble_have_no_finding() {
    for (name, outcome) in QUIET {
        let found = classify(&sample(name));
        assert_eq!((found.outcome, kind(&found)), (*outcome, None), "{name}: {:#?}", found.findings);
    }
}

#[test]
fn every_sample_is_in_a_table_and_every_kind_has_a_sample() {
    let named: BTreeSet<String> =
        tables().map(|(name, _)| name).chain(QUIET.iter().map(|(name, _)| (*name).to_owned())).collect();
    let mut found = BTreeSet::new();
    for arch in fs::read_dir(folder()).unwrap() {
        let arch = arch.unwrap();
        for file in fs::read_dir(arch.path()).unwrap() {
            let file = file.unwrap().path();
            let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
            found.insert(format!("{}/{stem}", arch.file_name().to_string_lossy()));
        }
    }
    assert_eq!(named, found);
    let kinds: BTreeSet<String> = tables().map(|(_, row)| row.2.to_string()).collect();
    assert_eq!(kinds.len(), 24, "{kinds:?}");
}

#[test]
fn an_oops_is_the_cause_and_the_panic_is_kept() {
    let found = classify(&sample("x86_64/oops-null-panic"));
    assert!(
        found.findings.iter().any(|f| f.title == "Kernel panic - not syncing: Fatal exception in interrupt")
    );
}

#[test]
fn titles_are_the_same_whatever_addresses_pids_and_times_are() {
    // A reset is only known by the clock, which starts at 0 again.
    for (name, row) in tables().filter(|(name, _)| !name.ends_with("a-word")) {
        let text = String::from_utf8(sample(&name)).unwrap();
        let other = text
            .replace("0000000000000008", "0000000000000ff8")
            .replace("ffff8080041a2b08", "ffff808777777777")
            .replace("PID: 61", "PID: 31999")
            .replace(":61]", ":31999]")
            .replace("[61]", "[31999]")
            .replace("CPU: 0", "CPU: 3")
            .replace("CPU#1", "CPU#3")
            .replace("on cpu 1", "on cpu 3")
            .replace("[    ", "[   9");
        assert_eq!(classify(other.as_bytes()).deciding().unwrap().title, row.3, "{name}");
    }
}

#[test]
fn a_stamp_a_level_or_a_colour_more_or_less_does_not_matter() {
    for (name, row) in tables().filter(|(name, _)| !name.ends_with("a-word") && !name.contains("callers")) {
        let text = String::from_utf8(sample(&name)).unwrap();
        let text = text.lines().map(|line| line.trim_start_matches(['<', '0', '1', '4', '6', '>']));
        let text = text.collect::<Vec<_>>().join("\n");
        let bare: Vec<&str> = text
            .lines()
            .map(|line| match line.split_once("] ") {
                Some((_, rest)) if line.starts_with('[') => rest,
                _ => line,
            })
            .collect();
        for other in [
            bare.join("\n"),
            bare.join("\r\n"),
            text.replace("[    ", "<3>[    "),
            text.replace("\n[    ", "\n\x1b[0;31m[    "),
            text.replace('\n', "\0\x1b[m\r\n"),
            text.lines().map(|line| line.replacen("] ", "][   T12] ", 1) + "\n").collect(),
        ] {
            let found = classify(other.as_bytes());
            let deciding = found.deciding().unwrap_or_else(|| panic!("{name}: nothing in\n{other}"));
            assert_eq!(
                (found.outcome, deciding.kind, deciding.title.as_str()),
                (row.1, row.2, row.3),
                "{name}"
            );
        }
    }
}

#[test]
fn a_line_of_the_workload_is_put_together_around_the_kernels() {
    let console = "FLIPSIM DONE workload=sha[    4.000100] random: crng init done\n\
                   [    4.000200] clocksource: switched\n256 digest=92 status=ok\n";
    assert_eq!(classify(console.as_bytes()).outcome, Clean);
    let console = "FLIPSIM DONE workload=sha[    4.000100] Kernel panic - not syncing: x\n";
    assert_eq!(classify(console.as_bytes()).outcome, Crash);
}

#[test]
fn the_trace_of_a_panic_gives_no_function_to_a_report_that_was_cut() {
    let console = "[    1.000000] Unable to handle kernel paging request at virtual address 8\n\
                   [    1.000001] Kernel panic - not syncing: Fatal exception\n\
                   [    1.000002] Call trace:\n[    1.000003]  make_task_dead+0x1/0x2\n";
    let found = classify(console.as_bytes());
    assert_eq!(found.deciding().unwrap().title, "Unable to handle kernel paging request");
}

#[test]
fn an_oops_per_millisecond_is_a_storm() {
    let oops = "[    1.000000] Unable to handle kernel paging request at virtual address 8\n\
                [    1.000001] Internal error: Oops: 96000004 [#1] SMP\n[    1.000002] pc : dput+0x1/0x2\n";
    let storm = |count: u64| classify(oops.repeat(usize::try_from(count).unwrap()).as_bytes());
    assert_eq!(storm(STORM - 1).outcome, Detected);
    assert_eq!(storm(STORM).outcome, Crash);
    assert_eq!(storm(STORM).deciding().unwrap().title, "Unable to handle kernel paging request in dput");
}

#[test]
fn endless_output_is_counted_and_not_kept_and_what_is_new_is_still_found() {
    let mut classifier = Classifier::default();
    for n in 0..50_000 {
        classifier
            .feed(format!("[    1.000000] WARNING: CPU: 0 PID: {n} at a.c:1 f{n}+0x1/0x2\n").as_bytes());
    }
    classifier.feed(&vec![b'x'; 3 << 20]);
    classifier.feed(b"[    9.000000] Kernel panic - not syncing: late\n");
    let found = classifier.finish();
    assert_eq!(found.outcome, Crash);
    assert_eq!(found.findings.len(), MAX_FINDINGS + 1);
    assert_eq!(found.unlisted, 50_000 - MAX_FINDINGS as u64);
    assert_eq!(found.findings.last().unwrap().line, 50_001);
}

#[test]
fn nothing_kept_is_longer_than_its_bound() {
    let long = "y".repeat(1 << 20);
    let mut console = String::new();
    for start in
        ["Kernel panic - not syncing: ", "BUG: ", "FLIPSIM CHECK ", "kernel BUG at mm/", "INFO: task "]
    {
        console.push_str(&format!("{start}{long}\n{long}[    1.000000] {long}"));
    }
    console.push_str(&format!(
        "\nBUG: KASAN: x in {long}+0x1/0x2\nWrite of size 1\nsh[1]: segfault at {long}\n"
    ));
    for finding in classify(console.as_bytes()).findings {
        assert!(finding.title.len() <= 320 && finding.text.len() <= 512, "{}", finding.title.len());
    }
}

#[test]
fn a_reader_gives_the_same_as_bytes() {
    let console = sample("aarch64/kasan");
    assert_eq!(classify_reader(console.as_slice()).unwrap(), classify(&console));
}

/// `cargo test -p flipsim --test classify -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn throughput() {
    let size = 100 << 20;
    let mut state = 1u64;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(size)
    .collect();
    let repeated = |name: &str| sample(name).iter().copied().cycle().take(size).collect::<Vec<u8>>();
    for (name, bytes) in [
        ("random bytes", garbage),
        ("one endless line", vec![b'a'; size]),
        ("empty lines", vec![b'\n'; size]),
        ("boots", repeated("aarch64/clean")),
        ("oopses", repeated("aarch64/oops-paging")),
    ] {
        let start = std::time::Instant::now();
        let outcome = classify(&bytes).outcome;
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {:.0} MB/s ({outcome})", size as f64 / 1e6 / seconds);
    }
}

fn any_sample() -> impl Strategy<Value = (String, &'static Row)> {
    prop::sample::select(tables().collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = classify(&bytes);
    }

    #[test]
    fn no_damage_to_a_console_makes_it_panic(
        (name, _) in any_sample(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)
    ) {
        let mut bytes = sample(&name);
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = classify(&bytes);
    }

    #[test]
    fn the_pieces_do_not_matter((name, _) in any_sample(), cuts in prop::collection::vec(1usize..60, 1..40)) {
        let bytes = sample(&name);
        let mut classifier = Classifier::default();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            classifier.feed(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(classifier.finish(), classify(&bytes));
    }

    #[test]
    fn a_foreign_line_anywhere_changes_neither_outcome_nor_kind(
        (name, row) in any_sample(), at in any::<prop::sample::Index>()
    ) {
        let mut bytes = sample(&name);
        // Before a boot, the clock would start at 0 again.
        prop_assume!(!bytes.starts_with(b"[    0.000000]"));
        let at = at.index(bytes.len());
        // Behind this word a time stamp is what the journal writes before a message.
        prop_assume!(!bytes[..at].ends_with(b"kernel: "));
        bytes.splice(at..at, *b"[    5.000000] random: crng init done\n");
        let found = classify(&bytes);
        prop_assert_eq!((found.outcome, kind(&found)), (row.1, Some(row.2)), "{} at {}", name, at);
    }

    #[test]
    fn garbage_between_lines_changes_neither_outcome_nor_kind(
        (name, row) in any_sample(), line in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(prop_oneof![0u8..=9, 11u8..0x20, 0x7fu8..], 0..300)
    ) {
        let bytes = sample(&name);
        let starts: Vec<usize> =
            (0..bytes.len()).filter(|at| *at == 0 || bytes[at - 1] == b'\n').collect();
        let at = starts[line.index(starts.len())];
        let mut damaged = bytes[..at].to_vec();
        damaged.extend(garbage);
        damaged.extend(&bytes[at..]);
        let found = classify(&damaged);
        prop_assert_eq!((found.outcome, kind(&found)), (row.1, Some(row.2)), "{} at {}", name, at);
    }

    #[test]
    fn a_console_that_ends_anywhere_is_no_harm((name, row) in any_sample(), end in any::<prop::sample::Index>()) {
        let bytes = sample(&name);
        let found = classify(&bytes[..end.index(bytes.len())]);
        // What was there until then can only become worse.
        prop_assert!(row.1 == Crash || found.outcome != Crash);
    }
}
