//! What happens to a campaign beside kills: signals, full and read-only disks, files that vanish, a second hand.
//!
//! Small disks are mounted as in `kills`; a part that cannot be done here says so on standard error.

#![expect(clippy::unwrap_used, reason = "what a test stands on may fail as the test itself")]

use std::collections::BTreeSet;
use std::fs::{self, File};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

use super::campaigns::results;
use super::kills::{
    Disk, Disks, Run, check, disks, folders_of, lab, new_campaign, qemus_of, say, send, spec, working_in,
};
use super::*;

/// A folder with a plan and, unless it is to be disturbed, its undisturbed results.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(trials: u64, window: &str) -> Bench {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        new_campaign(&folder.path().join("plan.sqlite"), &spec(trials, window));
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The results of the plan when nothing happens.
    fn calm(&self) -> Vec<Value> {
        let calm = self.path("calm.sqlite");
        fs::copy(self.path("plan.sqlite"), &calm).unwrap();
        ok(&["campaign", "run", calm.to_str().unwrap()]);
        results(calm.to_str().unwrap())
    }

    /// The plan once more, to be run.
    fn wild(&self) -> PathBuf {
        let wild = self.path("wild.sqlite");
        fs::copy(self.path("plan.sqlite"), &wild).unwrap();
        wild
    }

    fn run(&self, file: &Path) -> Run {
        // Every trial takes its time, so that something can happen to it.
        Run::start(file, &self.path("said"), &["--settle", "off"])
    }
}

fn done(file: &Path) -> u64 {
    let output = ok(&["campaign", "status", file.to_str().unwrap(), "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["done"].as_u64().unwrap()
}

/// Waits until a run has some results.
fn wait_for_results(file: &Path) {
    wait_until("results", || done(file) > 2);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn one_signal_ends_a_campaign_after_the_trials_under_way_and_two_at_once() {
    let bench = Bench::new(80, "41ms");
    let file = bench.wild();
    let mut before = BTreeSet::new();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut run = bench.run(&file);
        wait_until("a new result", || done(&file) > before.len() as u64 + 2);
        // Trials that are under way end, however long they take: nothing is asked of these QEMUs meanwhile.
        let qemus = qemus_of(run.pid());
        qemus.iter().for_each(|pid| send(*pid, Signal::STOP));
        let known = check(&file, &before);
        send(run.pid(), signal);
        assert!(!run.ends_within(Duration::from_millis(700)), "it waits for the trials under way");
        qemus.iter().for_each(|pid| send(*pid, Signal::CONT));
        let (code, words) = run.end();
        assert_eq!(code, Some(130), "{words}");
        assert!(words.contains("run the same command again"), "{words}");
        run.leaves_no_process();
        before = check(&file, &known);
        assert!(
            (1..=4).contains(&(before.len() - known.len())),
            "what was under way is recorded, and no more"
        );
        assert_eq!(folders_of(&[run.pid()]), [""; 0], "in order");
    }
    let mut run = bench.run(&file);
    wait_until("a new result", || done(&file) > before.len() as u64 + 2);
    qemus_of(run.pid()).iter().for_each(|pid| send(*pid, Signal::STOP));
    send(run.pid(), Signal::INT);
    assert!(!run.ends_within(Duration::from_millis(700)));
    send(run.pid(), Signal::INT);
    assert!(run.ends_within(Duration::from_secs(2)), "at once");
    assert_eq!(run.end().0, Some(130));
    run.leaves_no_process();
    check(&file, &before);
    ok(&["campaign", "resume", file.to_str().unwrap()]);
    assert_eq!(results(file.to_str().unwrap()), bench.calm());
    assert_eq!(folders_of(&[run.pid()]), [""; 0]);
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_terminal_that_is_closed_ends_a_campaign_in_order() {
    let bench = Bench::new(80, "41ms");
    let file = bench.wild();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let side = || rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    // `setsid --ctty` makes it the terminal of a session, so that its end is a SIGHUP, as of a real one.
    let mut command = Command::new("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_xtask"), "campaign", "run", file.to_str().unwrap()]);
    command.args(["--settle", "off"]);
    let mut child = Running::start(command.stdin(side()).stdout(side()).stderr(side()));
    // The command itself still holds the terminal's other side.
    drop(command);
    let pid = child.0.id();
    let mut reader = File::from(terminal);
    let mut shown = Vec::new();
    let mut bytes = [0; 1024];
    while !String::from_utf8_lossy(&shown).contains("/s ") {
        let count = reader.read(&mut bytes).expect("it shows how far it is");
        shown.extend_from_slice(&bytes[..count]);
    }
    drop(reader);
    let end = Instant::now() + Duration::from_secs(20);
    while child.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it hangs on a closed terminal");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.0.wait().unwrap().code(), Some(130), "no panic over a line that is not read");
    wait_until("all clones to be gone", || qemus_of(pid).is_empty());
    let some = check(&file, &BTreeSet::new());
    assert!(!some.is_empty() && some.len() < 80, "{}", some.len());
    ok(&["campaign", "resume", file.to_str().unwrap()]);
    assert_eq!(results(file.to_str().unwrap()), bench.calm());
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_second_hand_is_refused_and_a_file_that_vanishes_is_reported() {
    let bench = Bench::new(80, "41ms");
    let file = bench.wild();
    let name = file.to_str().unwrap();
    let mut run = bench.run(&file);
    wait_for_results(&file);
    for command in ["run", "resume"] {
        let (code, words) = fails(&["campaign", command, name]);
        assert_eq!(code, 1, "{words}");
        assert!(words.contains(&format!("is being worked on by process {}", run.pid())), "{words}");
    }
    let status: Value = serde_json::from_slice(&ok(&["campaign", "status", name, "--json"]).stdout).unwrap();
    assert_eq!(status["running"], run.pid(), "{status}");
    // A copy by SQLite's own means, as a careful user makes it.
    let copy = bench.path("copy.sqlite");
    ok(&["campaign", "merge", copy.to_str().unwrap(), name]);
    fs::remove_file(&file).unwrap();
    let (code, words) = run.end();
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains(name) && words.contains("was deleted"), "{words}");
    run.leaves_no_process();
    let (code, words) = fails(&["campaign", "resume", name]);
    assert!(code == 2 && words.contains("there is no campaign"), "{words}");
    // What SQLite kept beside the deleted file is nothing of the copy's.
    fs::rename(&copy, &file).unwrap();
    check(&file, &BTreeSet::from([]));
    ok(&["campaign", "resume", name]);
    assert_eq!(results(name), bench.calm());
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_full_disk_below_the_clones_changes_no_outcome() {
    if disks("accidents::a_full_disk_below_the_clones_changes_no_outcome") != Disks::Here {
        return;
    }
    // To the workload's end: what it says there is what a full disk would take.
    let bench = Bench::new(12, "done");
    let calm = bench.calm();
    let clones = Disk::mount(&lab().join("clones"), "size=64k");
    clones.fill(0);
    let file = bench.wild();
    let name = file.to_str().unwrap();
    ok(&["campaign", "run", name]);
    assert_eq!(results(name), calm, "QEMU drops in silence what a disk does not take");
    // No room for folders and sockets: no guest starts, which is no trial's fault.
    for inodes in [3, 9, 11] {
        drop(Disk::mount(&lab().join("clones"), "size=64k"));
        let file = bench.wild();
        let clones = Disk::mount(&lab().join("clones"), &format!("size=64k,nr_inodes={inodes}"));
        let mut run = bench.run(&file);
        let (code, words) = run.end();
        assert!(words.contains("No space left on device"), "{words}");
        run.leaves_no_process();
        // Where there is room for one guest, its worker does what the other cannot.
        match code {
            Some(0) => assert!(inodes > 3 && words.contains("it is given up"), "{words}"),
            code => assert!(code == Some(1) && words.contains("make room"), "{words}"),
        }
        clones.remount("nr_inodes=1000");
        ok(&["campaign", "resume", name]);
        assert_eq!(results(name), calm);
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_plan_that_finds_no_room_leaves_nothing_in_the_way() {
    if disks("accidents::a_plan_that_finds_no_room_leaves_nothing_in_the_way") != Disks::Here {
        return;
    }
    let bench = Bench::new(60, "41ms");
    let folder = bench.path("disk");
    let disk = Disk::mount(&folder, "size=1m");
    let file = folder.join("wild.sqlite");
    let name = file.to_str().unwrap();
    let toml = bench.path("spec.toml");
    fs::write(&toml, spec(60, "41ms")).unwrap();
    let new = ["campaign", "new", name, "--spec", toml.to_str().unwrap()];
    let mut refused = 0;
    for pages in 0..64 {
        disk.fill(pages * 4096);
        let output = xtask(&new);
        if !output.status.success() {
            refused += 1;
            let words = text(&output);
            assert_eq!(output.status.code(), Some(1), "{words}");
            assert!(words.contains("disk/wild.sqlite") && words.contains("no campaign was made"), "{words}");
            let left: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["filler"], "with {pages} pages");
            disk.free();
            continue;
        }
        disk.free();
        break;
    }
    assert!((5..60).contains(&refused), "{refused}");
    // Mounted for reading it is shown, and nothing is begun.
    disk.remount("ro");
    assert_eq!(done(&file), 0);
    let (code, words) = fails(&["campaign", "run", name]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains(name) && words.contains("can only be read"), "{words}");
    disk.remount("rw,size=16m");
    ok(&["campaign", "run", name]);
    assert_eq!(results(name), bench.calm());
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_campaign_whose_making_is_killed_is_made_by_the_next() {
    let bench = Bench::new(60, "41ms");
    let cache = bench.path("cache");
    fs::create_dir(&cache).unwrap();
    let (file, toml) = (bench.path("wild.sqlite"), bench.path("spec.toml"));
    // A kernel's command line that no other test has: its own template and its own golden run.
    let own = format!("[guest]\nappend = \"flipsim.kills={}\"", std::process::id());
    fs::write(&toml, spec(60, "41ms").replace("[guest]", &own)).unwrap();
    let tree = tree_of_links();
    let said = bench.path("said");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["campaign", "new", file.to_str().unwrap(), "--spec", toml.to_str().unwrap()]);
        command.env("CARGO_MANIFEST_DIR", tree.path().join("xtask")).env("FLIPSIM_CACHE", &cache);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        Running::start(&mut command)
    };
    // A little later each time, until it is done before it is killed.
    let mut killed = 0;
    for moment in (0..).map(|step| Duration::from_millis(10 + 230 * step)) {
        let mut child = start();
        let end = Instant::now() + moment;
        while Instant::now() < end && child.0.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(status) = child.0.try_wait().unwrap() {
            assert!(status.success(), "{}", fs::read_to_string(&said).unwrap());
            break;
        }
        let pid = child.0.id();
        child.kill();
        killed += 1;
        let cache = cache.to_str().unwrap();
        wait_until("its guests to be gone", || qemus_of(pid).is_empty() && working_in(cache).is_empty());
        assert!(killed < 60, "it is never done");
    }
    say(&format!("killed {killed} times while it was made"));
    assert!(killed > 3, "{killed}");
    check(&file, &BTreeSet::new());
    let store: Vec<_> =
        fs::read_dir(cache.join("store")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(store.len(), 1, "the template, and nothing half: {store:?}");
    let mut names: Vec<_> =
        fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["cache", "plan.sqlite", "said", "spec.toml", "wild.sqlite"]);
}
