//! Kills at random moments: no trial is lost, none is there twice, and all come out as they do undisturbed.
//!
//! `FLIPSIM_KILLS=50` says how often it is disturbed (8 without), `FLIPSIM_KILLS_SEED=7` makes the same draws
//! again; a run prints its seed. What falls out of a draw also depends on how fast the host is.
//!
//! ```sh
//! FLIPSIM_KILLS=50 cargo test --package xtask --test slow -- --ignored --nocapture no_trial_is_lost
//! ```
//!
//! A full disk is a small file system of our own, in a mount namespace: the test runs itself once more in there.
//! Where there is no such thing, that part is left out, which is said on standard error.
//!
//! Invariant: only processes are killed whose working folder is one of a campaign that was started here.

#![expect(clippy::unwrap_used, reason = "what a test stands on may fail as the test itself")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use super::campaigns::results;
use super::*;

/// Says that this process is in a separate mount namespace.
const INSIDE: &str = "FLIPSIM_TEST_INSIDE";

/// A window that no other test has, so that its golden run can be thrown away.
pub const WINDOW: &str = "41000000";

/// How long QEMU may outlive its coordinator, and an ended run its wish to end.
const SOON: Duration = Duration::from_secs(20);

/// Writes what is to be seen of a test that passes as well.
pub fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

/// Whether a test can mount what it wants.
#[derive(PartialEq, Eq)]
pub enum Disks {
    /// It can.
    Here,
    /// It was run elsewhere, where it can, and has passed.
    Passed,
    /// Nowhere.
    Nowhere,
}

/// Looks for a place where a test of this name can mount small disks; runs it there.
pub fn disks(test: &str) -> Disks {
    if std::env::var_os(INSIDE).is_some() {
        return Disks::Here;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for flags in ["-m", "-rm"] {
        let mut probe = Command::new("unshare");
        probe.args([flags, "mount", "-t", "tmpfs", "tmpfs"]).arg(folder.path());
        if !probe.output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        let mut command = Command::new("unshare");
        command.arg(flags).arg(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--ignored", "--nocapture"]).env(INSIDE, "1");
        let mut child = Running::start(&mut command);
        assert!(child.0.wait().unwrap().success(), "{test} failed in its mount namespace: see above");
        return Disks::Passed;
    }
    say(&format!(
        "SKIPPED, the part of {test} with full disks: neither `unshare -m` nor `unshare -rm` can mount"
    ));
    Disks::Nowhere
}

/// A small disk of our own.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(folder: &Path, options: &str) -> Disk {
        fs::create_dir_all(folder).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("mode=700,{options}"), "tmpfs"]).arg(folder);
        assert!(command.status().unwrap().success());
        Disk(folder.to_owned())
    }

    /// A folder that is shown by a FUSE file system, as a cluster's may be; `None` where there is none to be had.
    pub fn mount_by_fuse(behind: &Path, folder: &Path) -> Option<Disk> {
        [behind, folder].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let mounted = Command::new("bindfs").args([behind, folder]).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            say("SKIPPED, a folder on a FUSE file system: bindfs is not installed, or may not mount");
            return None;
        }
        Some(Disk(folder.to_owned()))
    }

    pub fn remount(&self, options: &str) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        assert!(command.status().unwrap().success());
    }

    /// Leaves so many bytes free.
    pub fn fill(&self, left: u64) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let error = std::iter::from_fn(|| Some(file.write(&[0; 4096]))).find_map(Result::err);
        assert_eq!(error.unwrap().kind(), std::io::ErrorKind::StorageFull);
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    pub fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn lab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab").canonicalize().expect("the lab is set up")
}

/// Processes whose working folder's path holds a text, be the folder deleted or not.
pub fn working_in(text: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is there");
    let found = processes.flatten().filter(|entry| {
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        folder.to_string_lossy().contains(text)
    });
    found
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| alive(u64::from(*pid)))
        .collect()
}

/// The QEMUs of a coordinator, which may have ended.
pub fn qemus_of(coordinator: u32) -> Vec<u32> {
    working_in(&format!("/.lab/clones/clone-{coordinator}-"))
}

/// The folders of clones that were a coordinator's.
pub fn folders_of(coordinators: &[u32]) -> Vec<String> {
    let names = fs::read_dir(lab().join("clones")).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let theirs = |name: &String| coordinators.iter().any(|pid| name.starts_with(&format!("clone-{pid}-")));
    names.filter(theirs).collect()
}

pub fn send(pid: u32, signal: Signal) {
    // It may have ended a moment ago.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// A plan in a separate file.
pub fn new_campaign(file: &Path, spec: &str) {
    let toml = file.with_extension("toml");
    fs::write(&toml, spec).unwrap();
    ok(&["campaign", "new", file.to_str().unwrap(), "--spec", toml.to_str().unwrap()]);
    fs::remove_file(toml).unwrap();
}

/// So many trials over RAM, registers, data and code. A trial may be lost as often as we kill.
pub fn spec(trials: u64, window: &str) -> String {
    let strata = [
        ("ram", "ram"),
        ("core", "class:core"),
        ("data", "region:Kernel data"),
        ("text", "region:Kernel code"),
    ];
    let strata =
        strata.map(|(name, target)| format!("[[stratum]]\nname = \"{name}\"\ntargets = [\"{target}\"]\n"));
    format!(
        "name = \"kills\"\nseed = 11\ntrials = {trials}\nsharing = \"equal\"\nwindow = \"{window}\"\nattempts = 99\n\
         [guest]\nworkload = \"sha256\"\n{}",
        strata.concat()
    )
}

/// Which trials of a file have a result. The file must be whole, and have all that it had before.
pub fn check(file: &Path, before: &BTreeSet<i64>) -> BTreeSet<i64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    conn.busy_timeout(SOON).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(texts("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(texts("PRAGMA foreign_key_check"), [""; 0]);
    let mut statement = conn.prepare("SELECT trial FROM result").unwrap();
    let rows: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let trials: BTreeSet<i64> = rows.iter().copied().collect();
    assert_eq!(trials.len(), rows.len(), "no trial twice");
    assert!(trials.is_superset(before), "what was recorded stays: {before:?}, then {trials:?}");
    trials
}

/// `campaign run` with its words in a file.
pub struct Run {
    pub child: Running,
    said: PathBuf,
}

impl Run {
    /// With more arguments.
    pub fn start(file: &Path, said: &Path, more: &[&str]) -> Run {
        Run::start_on(file, said, more, "")
    }

    /// As if its file lay on this file system.
    pub fn start_on(file: &Path, said: &Path, more: &[&str], file_system: &str) -> Run {
        let log = File::create(said).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["campaign", "run", file.to_str().unwrap(), "--workers", "2"]).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env("FLIPSIM_FILE_SYSTEM", file_system);
        Run { child: Running::start(&mut command), said: said.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Whether it ends within this time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if self.child.0.try_wait().unwrap().is_some() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(Duration::from_millis(1)));
        }
    }

    /// Its exit code, nothing after a kill, and its words.
    pub fn end(&mut self) -> (Option<i32>, String) {
        assert!(self.ends_within(Duration::from_secs(120)), "it does not end: {}", self.words());
        (self.child.0.wait().unwrap().code(), self.words())
    }

    pub fn words(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).unwrap()).into_owned()
    }

    /// No QEMU outlives it for long.
    pub fn leaves_no_process(&self) {
        let end = Instant::now() + SOON;
        while !qemus_of(self.pid()).is_empty() {
            assert!(Instant::now() < end, "QEMU outlived its coordinator: {:?}", qemus_of(self.pid()));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Worker,
    Coordinator,
    Everyone,
    Signal,
    FullDisk,
}

struct Storm {
    rng: ChaCha8Rng,
    folder: PathBuf,
    disk: Option<Disk>,
    plan: PathBuf,
    calm: Vec<Value>,
    /// How long an undisturbed run takes.
    span: Duration,
    wanted: u64,
    blows: BTreeMap<Blow, u64>,
    rounds: u64,
    golden_runs: u64,
    /// Coordinators that have ended.
    ended: Vec<u32>,
}

impl Storm {
    fn over(&self) -> bool {
        self.blows.values().sum::<u64>() >= self.wanted
    }

    fn count(&mut self, blow: Blow) {
        *self.blows.entry(blow).or_default() += 1;
    }

    /// One campaign, disturbed again and again until it has all its results.
    fn round(&mut self, watched: &Mutex<Option<PathBuf>>) {
        self.rounds += 1;
        let file = self.folder.join(format!("wild{}.sqlite", self.rounds));
        fs::copy(&self.plan, &file).unwrap();
        *watched.lock().unwrap() = Some(file.clone());
        let mut done = BTreeSet::new();
        while done.len() < self.calm.len() {
            if self.rng.random_range(0..4) == 0 {
                self.forget_golden_run();
            }
            let full = self.disk.is_some() && !self.over() && self.rng.random_range(0..4) == 0;
            let left = self.rng.random_range(0..400 << 10);
            if let Some(disk) = self.disk.as_ref().filter(|_| full) {
                disk.fill(left);
            }
            let file_system = if self.rng.random_range(0..2) == 0 { "NFS" } else { "" };
            let mut run = Run::start_on(&file, &self.plan.with_extension("said"), &[], file_system);
            let blows = if full { BTreeSet::new() } else { self.disturb(&mut run) };
            let (code, words) = run.end();
            run.leaves_no_process();
            self.ended.push(run.pid());
            if let Some(disk) = self.disk.as_ref().filter(|_| full) {
                disk.free();
            }
            match code {
                // A kill of ours.
                None | Some(0) => {}
                Some(130) if blows.contains(&Blow::Signal) => {
                    assert!(words.contains("interrupted"), "{words}")
                }
                // It can be so early that no worker has a trial yet.
                Some(4) if blows.contains(&Blow::Worker) => {
                    assert!(words.contains("error: "), "{words}");
                }
                Some(1) if full => {
                    assert!(words.contains(file.to_str().unwrap()), "it names the file: {words}");
                    assert!(words.contains("make room and resume"), "it names the remedy: {words}");
                    self.count(Blow::FullDisk);
                }
                code => panic!("exit code {code:?}: {words}"),
            }
            // Half of a record is for the next run to take back.
            if !file.with_extension("sqlite-journal").exists() {
                done = check(&file, &done);
            }
        }
        assert_eq!(results(file.to_str().unwrap()), self.calm, "round {}", self.rounds);
        // While there is no reader, the next start tidies up whatever is left.
        let mut quiet = watched.lock().unwrap();
        *quiet = None;
        assert!(text(&ok(&["campaign", "run", file.to_str().unwrap()])).contains("nothing is left to do"));
        assert_eq!(folders_of(&self.ended), [""; 0], "folders, sockets and files of clones");
        let names = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), [file.file_name().unwrap()]);
        fs::remove_file(file).unwrap();
    }

    /// Strikes until the run ends; with what.
    fn disturb(&mut self, run: &mut Run) -> BTreeSet<Blow> {
        let mut blows = BTreeSet::new();
        while !self.over() {
            let moment = self.rng.random_range(0..self.span.as_micros() as u64);
            let blow =
                [Blow::Worker, Blow::Coordinator, Blow::Everyone, Blow::Signal][self.rng.random_range(0..4)];
            if run.ends_within(Duration::from_micros(moment)) {
                break;
            }
            let mut qemus = qemus_of(run.pid());
            if !qemus.is_empty() {
                assert_eq!(folders_of(&self.ended), [""; 0], "its start has swept");
            }
            qemus.shuffle(&mut self.rng);
            match blow {
                Blow::Worker => {
                    let Some(qemu) = qemus.first() else { continue };
                    send(*qemu, Signal::KILL);
                }
                Blow::Coordinator => send(run.pid(), Signal::KILL),
                Blow::Signal => {
                    let signals = [Signal::INT, Signal::TERM, Signal::HUP];
                    send(run.pid(), signals[self.rng.random_range(0..3)]);
                }
                _ => {
                    qemus.push(run.pid());
                    qemus.shuffle(&mut self.rng);
                    qemus.iter().for_each(|pid| send(*pid, Signal::KILL));
                }
            }
            self.count(blow);
            blows.insert(blow);
            if blow != Blow::Worker {
                break;
            }
        }
        blows
    }

    fn forget_golden_run(&mut self) {
        for entry in fs::read_dir(lab().join("golden")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().contains(&format!("-{WINDOW}.json")) {
                fs::remove_file(entry.path()).unwrap();
                self.golden_runs += 1;
            }
        }
    }
}

/// Asks again and again how a campaign stands, until it is stopped; how often it did.
fn watch(watched: &Mutex<Option<PathBuf>>, over: &AtomicBool) -> u64 {
    let (mut asked, mut before) = (0, (PathBuf::new(), 0));
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(60));
        let file = watched.lock().unwrap();
        if let Some(file) = &*file {
            let args = ["campaign", "status", file.to_str().unwrap(), "--json"];
            let output = xtask(&args);
            let error = String::from_utf8_lossy(&output.stderr);
            if output.status.code() == Some(2) && error.contains("is taken back when the campaign is resumed")
            {
                continue;
            }
            assert!(output.status.success(), "{error}");
            let status: Value = serde_json::from_slice(&output.stdout).unwrap();
            let done = status["done"].as_u64().unwrap();
            assert!(before.0 != *file || before.1 <= done, "{done} results after {}", before.1);
            before = (file.clone(), done);
            asked += 1;
        }
    }
    asked
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn whatever_is_killed_no_trial_is_lost_and_none_is_there_twice() {
    let disks = disks("kills::whatever_is_killed_no_trial_is_lost_and_none_is_there_twice");
    if disks == Disks::Passed {
        return;
    }
    let seed = number("FLIPSIM_KILLS_SEED").unwrap_or_else(rand::random);
    let wanted = number("FLIPSIM_KILLS").unwrap_or(8);
    say(&format!("{wanted} disturbances, FLIPSIM_KILLS_SEED={seed}"));
    let began = Instant::now();
    let base = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = base.path().join("disk");
    let disk = (disks == Disks::Here).then(|| Disk::mount(&folder, "size=16m"));
    fs::create_dir_all(&folder).unwrap();
    let (plan, calm) = (base.path().join("plan.sqlite"), base.path().join("calm.sqlite"));
    new_campaign(&plan, &spec(60, &format!("{WINDOW}ns")));
    fs::copy(&plan, &calm).unwrap();
    let calm_began = Instant::now();
    ok(&["campaign", "run", calm.to_str().unwrap(), "--workers", "2"]);
    let mut storm = Storm {
        rng: ChaCha8Rng::seed_from_u64(seed),
        folder,
        disk,
        plan,
        calm: results(calm.to_str().unwrap()),
        span: calm_began.elapsed(),
        wanted,
        blows: BTreeMap::new(),
        rounds: 0,
        golden_runs: 0,
        ended: Vec::new(),
    };
    assert_eq!(storm.calm.len(), 60);
    let (watched, over) = (Mutex::new(None), AtomicBool::new(false));
    let asked = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&watched, &over));
        // However this ends, the watcher does too.
        let end = scopeguard(&over);
        while !storm.over() {
            assert!(!watcher.is_finished(), "`campaign status` failed: see above");
            storm.round(&watched);
        }
        drop(end);
        watcher.join().unwrap()
    });
    say(&format!(
        "{:?} in {:.1} s: {} campaigns of 60 trials, each equal to the undisturbed one ({:.2} s) trial by trial; \
         {} golden runs again; {asked} times `status`",
        storm.blows,
        began.elapsed().as_secs_f64(),
        storm.rounds,
        storm.span.as_secs_f64(),
        storm.golden_runs,
    ));
}

/// Sets a flag when it is dropped.
fn scopeguard(flag: &AtomicBool) -> impl Drop {
    struct Guard<'a>(&'a AtomicBool);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    Guard(flag)
}
