//! The slow suite: the real QEMU, the real guest, real flips, through the command line alone.
//!
//! Every test needs the lab to be set up, so all are ignored by a plain `cargo test`;
//! `cargo xtask test` runs them. Invariant: no test leaves a process behind, failed ones included.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flipsim::machine::ProcessStat;
use serde_json::Value;

mod accidents;
mod campaigns;
mod cluster;
mod confined;
mod examples;
mod faults;
mod kills;
mod own;
mod plain;
mod power_on;
mod service;
mod time;
mod trials;
mod x86_64;

#[path = "../examples/mod.rs"]
mod helps;

fn xtask(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).stdin(Stdio::null()).output().expect("the program was built for this test")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ok(args: &[&str]) -> Output {
    let output = xtask(args);
    assert!(output.status.success(), "{args:?}:\n{}", text(&output));
    output
}

/// The error and the exit code of a command that must fail.
fn fails(args: &[&str]) -> (i32, String) {
    let output = xtask(args);
    assert!(!output.status.success(), "{args:?} should have failed:\n{}", text(&output));
    (output.status.code().expect("it was not killed"), text(&output))
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn stat_of(pid: u64) -> Option<ProcessStat> {
    ProcessStat::of(u32::try_from(pid).ok()?)
}

fn alive(pid: u64) -> bool {
    stat_of(pid).is_some_and(|stat| stat.is_alive)
}

fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether some QEMU has this text in its command line.
fn qemu_with(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc is there");
    processes.flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("qemu-system") && line.contains(text)
    })
}

/// A command that is killed when its test ends early.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.spawn().expect("the program was built for this test"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it was ours");
    }

    fn output(mut self) -> Output {
        drop(self.0.stdin.take());
        let mut output =
            Output { status: std::process::ExitStatus::default(), stdout: Vec::new(), stderr: Vec::new() };
        // Short texts only: one after the other does not fill a pipe.
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_end(&mut output.stdout).expect("the pipe can be read");
        }
        if let Some(mut pipe) = self.0.stderr.take() {
            pipe.read_to_end(&mut output.stderr).expect("the pipe can be read");
        }
        output.status = self.0.wait().expect("it was ours");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A source tree made of links to this one, which uses the same lab and keeps its own runs and campaigns.
fn tree_of_links() -> tempfile::TempDir {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the tree is there");
    let folder = tempfile::tempdir().expect("a folder can be made");
    for name in ["lab.toml", "images", "kernel-config", "qemu-patches", "xtask"] {
        std::os::unix::fs::symlink(tree.join(name), folder.path().join(name)).expect("a link can be made");
    }
    std::fs::create_dir(folder.path().join(".lab")).expect("a folder can be made");
    let lab = std::fs::read(tree.join(".lab/lab.json")).expect("the lab is set up");
    let mut lab: Value = serde_json::from_slice(&lab).expect("it is JSON");
    in_cache(&mut lab, Path::new(&cache()));
    std::fs::write(folder.path().join(".lab/lab.json"), lab.to_string())
        .expect("the folder can be written to");
    folder
}

/// The cache of the lab that is tested.
fn cache() -> String {
    let set = |name: &str| std::env::var(name);
    let home = || set("HOME").map(|home| home + "/.cache/flipsim");
    let cache = set("FLIPSIM_CACHE").or_else(|_| set("XDG_CACHE_HOME").map(|cache| cache + "/flipsim"));
    cache.or_else(|_| home()).expect("there is a home")
}

/// Gives what is named from the cache its whole path: a tree of links may have another cache.
fn in_cache(value: &mut Value, cache: &Path) {
    match value {
        Value::String(text) if text.starts_with("store/") => {
            *text = cache.join(&*text).display().to_string();
        }
        Value::Array(values) => values.iter_mut().for_each(|value| in_cache(value, cache)),
        Value::Object(values) => values.values_mut().for_each(|value| in_cache(value, cache)),
        _ => {}
    }
}

/// A headless guest that is stopped at the end of its test.
struct Guest {
    name: String,
    info: Value,
}

impl Guest {
    fn boot(name: &str, args: &[&str]) -> Guest {
        let name = format!("test-{name}-{}", std::process::id());
        let mut all = vec!["boot", "--headless", "--json", "--name", &name];
        all.extend(args);
        let output = ok(&all);
        let info = serde_json::from_slice(&output.stdout).expect("boot --json prints JSON");
        Guest { name, info }
    }

    fn pid(&self) -> u64 {
        self.info["pid"].as_u64().expect("a guest has a process")
    }

    fn path(&self, key: &str) -> PathBuf {
        self.info[key].as_str().expect("a path").into()
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("console_log")).unwrap_or_default()).into_owned()
    }

    /// Types a line at the guest's shell, and returns what the console says until `end` appears.
    fn type_line(&self, line: &str, end: &str) -> String {
        let before = self.console().len();
        let mut stream = UnixStream::connect(self.path("console")).expect("the console listens");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out can be set");
        stream.write_all(format!("{line}\n").as_bytes()).expect("the console takes a line");
        let mut sink = [0; 4096];
        wait_until(end, || {
            // QEMU waits for a client that does not read what the console sends.
            let _ = stream.read(&mut sink);
            self.console()[before..].contains(end)
        });
        self.console()[before..].to_owned()
    }

    fn inject(&self, args: &[&str]) -> Output {
        let mut all = vec!["inject"];
        all.extend(args);
        all.extend(["--guest", &self.name]);
        ok(&all)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        xtask(&["boot", "stop", &self.name]);
        if alive(self.pid()) {
            eprintln!("guest {} outlived its test", self.name);
            std::process::abort();
        }
        // What a failed test leaves is worth a look; what a passed one leaves is not.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(self.path("folder"));
        }
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_headless_guest_is_ready_reachable_and_agrees_with_qemu_on_its_memory() {
    let guest = Guest::boot("ready", &[]);
    assert_eq!(guest.info["memory_map"], "iomem");
    assert_eq!(guest.info["disagreements"], serde_json::json!([]));
    let regions = guest.inject(&["list", "regions", "--json"]);
    let regions: Vec<Value> = serde_json::from_slice(&regions.stdout).unwrap();
    for name in ["System RAM", "Kernel code", "Kernel data"] {
        let region =
            regions.iter().find(|r| r["name"] == name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(region["ram"], true, "{region}");
    }
    assert!(regions.iter().any(|r| r["ram"] == false), "devices are listed, too");
    let folder = std::fs::metadata(guest.path("folder")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&folder.permissions()) & 0o777, 0o700);
    let listed = ok(&["boot", "list"]);
    assert!(text(&listed).contains(&guest.name));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn ten_flips_in_ram_and_ten_in_registers_are_read_back() {
    let guest = Guest::boot("flips", &[]);
    for args in [
        &["ram", "--count", "10", "--seed", "1", "--json"][..],
        &["reg", "x*", "--count", "10", "--seed", "2", "--json"],
    ] {
        let records = json_lines(&xtask(&[&["inject"], args, &["--guest", &guest.name]].concat()));
        assert_eq!(records.len(), 10);
        for record in &records {
            assert_eq!(record["flipped"], true, "{record}");
            let value = |key: &str| {
                u128::from_str_radix(record[key].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
            };
            assert_eq!(value("old") ^ value("new"), value("mask"), "{record}");
            assert_eq!(value("mask").count_ones(), 1);
        }
    }
    let csv = std::fs::read_to_string(guest.path("folder").join("flips.csv")).unwrap();
    assert_eq!(csv.lines().count(), 21);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn the_same_seed_flips_the_same_bits_in_another_guest() {
    let places = |name: &str| {
        let guest = Guest::boot(name, &[]);
        let output = guest.inject(&["ram", "--count", "5", "--seed", "77", "--json"]);
        json_lines(&output).iter().map(|r| (r["address"].clone(), r["bit"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(places("seed-a"), places("seed-b"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_flip_by_symbol_is_what_the_guest_itself_then_reads() {
    let guest = Guest::boot("symbol", &[]);
    let before = guest.type_line("cat /proc/version; echo end-$((1+1))", "end-2");
    assert!(before.contains("Linux version"), "{before}");
    // The system's name is the first thing in it. Bit 0 of its first letter: `L` (0x4c) becomes `M`.
    let output = guest.inject(&["ram", "--symbol", "init_uts_ns+0", "--bit", "0", "--json"]);
    let record = &json_lines(&output)[0];
    assert_eq!(record["symbol"], "init_uts_ns");
    assert_eq!((record["old"].as_str(), record["new"].as_str()), (Some("0x4c"), Some("0x4d")), "{record}");
    let after = guest.type_line("uname -s; echo end-$((2+2))", "end-4");
    assert!(after.contains("Minux"), "{after}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn every_workload_ends_with_its_known_digest() {
    let recipe =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../images/recipe.toml")).unwrap();
    let recipe: toml::Table = recipe.parse().unwrap();
    let workloads = recipe["workload"].as_array().unwrap();
    assert!(workloads.len() >= 5);
    for workload in workloads {
        let (name, digest) = (workload["name"].as_str().unwrap(), workload["digest"].as_str().unwrap());
        let guest = Guest::boot(name, &["--workload", name]);
        let done = format!("FLIPSIM DONE workload={name} digest={digest} status=ok");
        wait_until(&done, || guest.console().contains(&done));
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_crash_is_reported_as_one_and_ends_the_injection() {
    let guest = Guest::boot("crash", &[]);
    // What flips is memory that a shell does not use; the crash comes from the guest's own shell, so
    // that it comes for certain.
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["inject", "ram", "--address", "0x45000000", "--count", "2000", "--interval", "50ms"]);
    command.args(["--guest", &guest.name]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = Running::start(&mut command);
    let records = guest.path("folder").join("flips.jsonl");
    wait_until("the first flips", || std::fs::metadata(&records).is_ok_and(|meta| meta.len() > 512));
    guest.type_line("echo c > /proc/sysrq-trigger", "Kernel panic");
    let output = child.output();
    let (code, output) = (output.status.code(), text(&output));
    assert_eq!(code, Some(4), "{output}");
    assert!(output.contains("the guest did not survive"), "{output}");
    assert!(output.contains("were not made: crashed: "), "{output}");
    // The next command says that there is no guest left.
    let events = guest.path("folder").join("events.jsonl");
    wait_until("the end of the guest", || {
        let events = std::fs::read_to_string(&events).unwrap_or_default();
        events.contains("GUEST_PANICKED") || events.contains("SHUTDOWN")
    });
    let (code, output) = fails(&["inject", "ram", "--guest", &guest.name]);
    assert!(matches!(code, 3 | 4), "{output}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_panic_is_paused_for_inspection_and_reported() {
    let guest = Guest::boot("panic", &[]);
    guest.type_line("echo c > /proc/sysrq-trigger", "Kernel panic");
    wait_until("the panic event", || {
        std::fs::read_to_string(guest.path("folder").join("events.jsonl"))
            .unwrap_or_default()
            .contains("GUEST_PANICKED")
    });
    let (code, output) = fails(&["inject", "ram", "--guest", &guest.name]);
    assert_eq!(code, 4, "{output}");
    assert!(output.contains("guest-panicked"), "{output}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn bad_input_is_reported_and_the_guest_runs_on() {
    let guest = Guest::boot("bad", &[]);
    let guest_flag = ["--guest", guest.name.as_str()];
    for (args, expected) in [
        (&["ram", "--region", "Kernel cod"][..], "did you mean `Kernel code`"),
        (&["ram", "--address", "0x39999999"], "address 0x39999999 is not in the guest's RAM"),
        (&["ram", "--bit", "8"], "bit 8 is out of range: a byte of RAM has bits 0 to 7"),
        (&["ram", "--symbol", "jifies"], "did you mean `jiffies"),
        (&["ram", "--mask", "0"], "the mask is 0"),
        (&["ram", "--bits", "65"], "65 adjacent bits cannot flip together"),
        (&["reg", "zz*"], "no register matches `zz*`"),
        (&["reg", "x1", "--bit", "64"], "bit 64 is out of range: `x1` has bits 0 to 63"),
    ] {
        let (code, output) = fails(&[&["inject"], args, &guest_flag].concat());
        assert_eq!(code, 2, "{output}");
        assert!(output.contains(expected), "{args:?}: {output}");
        let mut lines = output.lines().filter(|line| line.starts_with("error: "));
        assert!(lines.next().is_some(), "{output}");
    }
    let answer = guest.type_line("echo alive-$((40+2))", "alive-42");
    assert!(answer.contains("alive-42"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_second_guest_on_the_same_socket_is_refused_and_the_first_unharmed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("monitor");
    let socket = socket.to_str().unwrap();
    let guest = Guest::boot("first", &["--monitor", socket]);
    let (code, output) = fails(&["boot", "--headless", "--monitor", socket]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("another guest listens there"), "{output}");
    let (code, output) = fails(&["boot", "--headless", "--name", &guest.name]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("is running already"), "{output}");
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"info status\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 256];
    while !answer.contains("VM status: running") {
        let count = stream.read(&mut buffer).expect("the first guest's monitor still answers");
        assert!(count > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_qemu_that_dies_in_the_middle_is_reported_as_lost() {
    let guest = Guest::boot("dies", &["--workload", "sha256", "--append", "flipsim.repeat=100"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["inject", "ram", "--count", "100000", "--seed", "1", "--guest", &guest.name]);
    let child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let records = guest.path("folder").join("flips.jsonl");
    wait_until("the first flips", || std::fs::metadata(&records).is_ok_and(|meta| meta.len() > 4096));
    Command::new("kill").args(["-9", &guest.pid().to_string()]).status().unwrap();
    let output = child.output();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("QEMU died: signal: 9"), "{}", text(&output));
    // What was flipped before is in the records, each line whole.
    let lines = std::fs::read_to_string(&records).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn no_qemu_survives_a_killed_boot_or_a_killed_watcher() {
    let name = format!("test-killed-{}", std::process::id());
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    // The mark in the kernel's command line is what finds the QEMU among others.
    command.args(["boot", "--headless", "--name", &name, "--append", &format!("mark={name}")]);
    let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_until("QEMU to start", || qemu_with(&name));
    child.kill();
    wait_until("QEMU to end with the boot that was killed", || !qemu_with(&name));

    let guest = Guest::boot("watched", &[]);
    let parent = stat_of(guest.pid()).unwrap().parent.to_string();
    Command::new("kill").args(["-9", &parent]).status().unwrap();
    wait_until("QEMU to end with its watcher", || !alive(guest.pid()));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_killed_injection_does_not_leave_the_guest_stopped_for_good() {
    let guest = Guest::boot("held", &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["inject", "ram", "--count", "1000000", "--seed", "1", "--guest", &guest.name]);
    let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let records = guest.path("folder").join("flips.jsonl");
    wait_until("the first flips", || std::fs::metadata(&records).is_ok_and(|meta| meta.len() > 512));
    child.kill();
    // Read only: the next command lets the guest run again, whatever state it was left in.
    guest.inject(&["list", "ram"]);
    wait_until("the guest to run", || {
        let output = guest.inject(&["ram", "--address", "0x47ffffff", "--json", "--observe", "0ms"]);
        text(&output).contains("alive: its console answers")
    });
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_console_on_the_terminal_is_logged_and_power_off_ends_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let name = format!("test-console-{}", std::process::id());
    command
        .args(["boot", "--name", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Running::start(&mut command);
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/runs").join(&name).join("console.log");
    let console = || String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    wait_until("the guest's shell", || console().contains("FLIPSIM READY"));
    let mut stdin = child.0.stdin.take().unwrap();
    stdin.write_all(b"echo typed-$((20+3))\n").unwrap();
    wait_until("the answer", || console().contains("typed-23"));
    stdin.write_all(b"poweroff -f\n").unwrap();
    let output = child.output();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("typed-23"), "the console is on standard output as well");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guest_of_any_kind_is_reached_by_its_sockets_alone() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gdb = format!("tcp:{port}");
    let guest = Guest::boot("tcp", &["--gdb", &gdb]);
    let socket = format!("tcp:127.0.0.1:{port}");
    let output = ok(&["inject", "ram", "--socket", &socket, "--count", "3", "--json"]);
    let records = json_lines(&output);
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|r| r["flipped"] == true && r["region"] == "mach-virt.ram"), "{records:?}");
    let iomem = guest.path("folder").join("iomem.txt");
    let args = [
        "inject",
        "ram",
        "--socket",
        &socket,
        "--iomem",
        iomem.to_str().unwrap(),
        "--region",
        "Kernel data",
        "--json",
    ];
    assert_eq!(json_lines(&ok(&args))[0]["region"], "Kernel data");
    let answer = guest.type_line("echo alive-$((40+2))", "alive-42");
    assert!(answer.contains("alive-42"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_guest_that_cannot_start_is_reported_with_qemus_words_and_leaves_nothing() {
    for args in [
        &["boot", "--headless", "--qemu-arg=-bogus"][..],
        &["boot", "--headless", "--debug", "--gdb", "tcp:39411", "--qemu-arg=-bogus"],
    ] {
        let (code, output) = fails(args);
        assert_eq!(code, 4, "{output}");
        assert!(output.contains("-bogus: invalid option"), "{output}");
    }
    assert!(!qemu_with("-bogus"));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn two_injections_do_not_get_into_each_others_way() {
    let guest = Guest::boot("two", &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["inject", "ram", "--count", "1000000", "--seed", "1", "--guest", &guest.name]);
    let mut first = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let records = guest.path("folder").join("flips.jsonl");
    wait_until("the first flips", || std::fs::metadata(&records).is_ok_and(|meta| meta.len() > 512));
    let (code, output) = fails(&["inject", "ram", "--guest", &guest.name]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("another command is working on guest"), "{output}");
    first.kill();
    let output = guest.inject(&["list", "ram"]);
    assert!(text(&output).contains("an earlier command was killed while it held"), "{}", text(&output));
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn savevm_works_because_the_share_is_unmounted() {
    let guest = Guest::boot("savevm", &[]);
    let mut stream = UnixStream::connect(guest.path("monitor")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"savevm one\ninfo snapshots\n").unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 1024];
    while !answer.contains("vm clock") && !answer.contains("VM CLOCK") {
        let count = stream.read(&mut buffer).expect("the monitor answers");
        assert!(count > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(!answer.contains("Error"), "{answer}");
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("it has an address").port()
}

/// What gdb says to these commands, one after the other in one session.
fn gdb_says(port: u16, commands: &[&str]) -> String {
    let mut gdb = Command::new("timeout");
    gdb.args(["120", "gdb-multiarch", "-nx", "-batch", "-ex", &format!("target remote 127.0.0.1:{port}")]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.stdin(Stdio::null()).output().expect("timeout(1) is there");
    assert!(output.status.success(), "{commands:?}:\n{}", text(&output));
    text(&output)
}

/// The virtual time of a snapshot, in ms, from what `info snapshots` prints.
fn clock_of(snapshots: &str, tag: &str) -> u64 {
    let mut rows = snapshots.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row =
        rows.find(|words| words.get(1) == Some(&tag)).unwrap_or_else(|| panic!("no {tag}: {snapshots}"));
    let clock = row.iter().rfind(|word| word.matches(':').count() == 2).expect("a row ends with a clock");
    let parts: Vec<u64> = clock.split([':', '.']).map(|part| part.parse().expect("a number")).collect();
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1000 + parts[3]
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn gdb_users_find_their_commands() {
    if Command::new("gdb-multiarch").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: gdb-multiarch is not installed (apt-get install gdb-multiarch)");
        return;
    }
    for clock in ["exact", "real"] {
        let port = free_port();
        let endpoint = format!("tcp:{port}");
        let _guest = Guest::boot(&format!("gdb-{clock}"), &["--gdb", &endpoint, "--clock", clock]);
        let said = gdb_says(
            port,
            &[
                "x/4x $pc",
                "monitor savevm before",
                "monitor stop_delayed 40000000",
                "continue",
                "monitor savevm after",
                "monitor info snapshots",
                "monitor loadvm before",
                "monitor delvm before",
                "monitor delvm after",
                "detach",
            ],
        );
        let words = said.lines().find(|line| line.matches("\t0x").count() == 4);
        assert!(words.is_some_and(|line| line.starts_with("0x")), "{said}");
        assert!(said.contains("SIGINT"), "the delayed stop is reported as a stop:\n{said}");
        assert!(said.contains("detached"), "{said}");
        let ran = clock_of(&said, "after") - clock_of(&said, "before");
        if clock == "exact" {
            assert_eq!(ran, 40, "{said}");
        } else {
            assert!(ran >= 40, "{said}");
        }
        // The other order: `cont` by the monitor, behind gdb's back, and the delay asked for of a guest that
        // runs. The stub drops that packet and gdb sends it again 2 s later; the session must survive it.
        let said = gdb_says(
            port,
            &[
                "monitor cont",
                "monitor stop_delayed 1000000",
                "monitor cont",
                "monitor stop_delayed 1000000",
                "monitor info status",
                "x/4x $pc",
                "detach",
            ],
        );
        assert!(said.contains("VM status: paused"), "{said}");
        assert!(said.lines().any(|line| line.matches("\t0x").count() == 4), "{said}");
        assert!(said.contains("detached"), "{said}");
    }
}
