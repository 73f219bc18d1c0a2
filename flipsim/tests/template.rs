//! Templates and clones with the real QEMU and the real guest.
//!
//! `cargo xtask test` makes the templates and says where they are; a plain `cargo test` runs none of
//! this. Invariant: no test leaves a process or a folder behind, failed ones included.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flipsim::fault::{Fault, flip};
use flipsim::machine::ProcessId;
use flipsim::target::Target;
use flipsim::target::state::State;
use flipsim::trial::clone::{CloneGuest, CloneOptions};
use flipsim::trial::template::{self, MakeOptions, Template, TemplateError};
use flipsim::units::{GuestPhys, VirtualNs};
use sha2::{Digest, Sha256};

const MS: u64 = 1_000_000;

/// The checkpoints, counted from the quiescent point on.
const CHECKPOINTS: [u64; 3] = [10 * MS, 100 * MS, 300 * MS];

/// Names the folder in which `holds_a_clone_until_it_is_killed` does so.
const HOLD: &str = "FLIPSIM_TEST_HOLD";

fn open(variable: &str) -> Template {
    let folder = std::env::var_os(variable).expect("run these tests with `cargo xtask test`");
    Template::open(Path::new(&folder)).unwrap()
}

fn sha256() -> Template {
    open("FLIPSIM_TEMPLATE_SHA256")
}

fn fs_template() -> Template {
    open("FLIPSIM_TEMPLATE_FS")
}

fn start(template: &Template, parent: &Path) -> CloneGuest {
    CloneGuest::start(template, &CloneOptions::below(parent)).unwrap()
}

fn after(template: &Template, offset: u64) -> VirtualNs {
    VirtualNs(template.virtual_time().0 + offset)
}

fn run_to(target: &mut dyn Target, time: VirtualNs) {
    let arrival = target.run_until(time).unwrap();
    assert_eq!((arrival.at, arrival.early), (Some(time), None));
}

/// A clone's states along the checkpoints.
fn follow(template: &Template, parent: &Path) -> Vec<State> {
    let mut clone = start(template, parent);
    let states = CHECKPOINTS.iter().map(|offset| {
        run_to(clone.target(), after(template, *offset));
        clone.state().unwrap()
    });
    states.collect()
}

/// The states of the template's guest along the checkpoints, booted from power-on and never saved.
fn follow_from_power_on(template: &Template, folder: &Path) -> Vec<State> {
    let plan = &template.info().plan;
    let mut guest = template::boot(plan, folder, MakeOptions::default(), |_| {}).unwrap();
    assert_eq!(guest.target.virtual_time().unwrap(), Some(template.virtual_time()));
    let said = fs::read(template.console_log()).unwrap().len();
    let states = CHECKPOINTS.iter().map(|offset| {
        run_to(&mut guest.target, after(template, *offset));
        let console = fs::read(folder.join("console.log")).unwrap();
        State::take(&mut guest.target, &template.info().ram, folder, &console[said..]).unwrap()
    });
    states.collect()
}

fn assert_same(golden: &[State], other: &[State]) {
    assert_eq!(golden.len(), other.len());
    for (golden, other) in golden.iter().zip(other) {
        let difference = golden.difference(other);
        assert!(difference.is_none(), "{difference:?}");
    }
}

/// Runs something while every core of the host is busy.
fn under_load<T>(run: impl FnOnce() -> T) -> T {
    /// Ends the load also when a test fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(Sha256::digest([0; 65536]));
                }
            });
        }
        let _stop = Stop(&stop);
        run()
    })
}

fn clones_repeat_the_run_from_power_on(template: &Template) {
    let temporary = tempfile::tempdir().unwrap();
    let golden = follow(template, temporary.path());
    assert!(golden[0].ram_digest() != golden[2].ram_digest(), "the guest does nothing");
    assert_same(&golden, &follow(template, temporary.path()));
    assert_same(&golden, &under_load(|| follow(template, temporary.path())));
    let folder = temporary.path().join("boot");
    fs::create_dir(&folder).unwrap();
    assert_same(&golden, &follow_from_power_on(template, &folder));
}

/// The digest of every file of a template.
fn digests(template: &Template) -> BTreeMap<PathBuf, Vec<u8>> {
    let digest = |path: PathBuf| {
        let digest = Sha256::digest(fs::read(&path).unwrap()).to_vec();
        (path, digest)
    };
    entries(template.folder()).into_iter().map(digest).collect()
}

fn alive(pid: u32) -> bool {
    ProcessId::of(pid).is_some()
}

fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A copy of a template with something changed, and with a record that takes the change for right.
fn copy(template: &Template, to: &Path, change: impl FnOnce(&Path)) -> Template {
    fs::create_dir(to).unwrap();
    for path in entries(template.folder()) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    fs::remove_file(to.join("verified")).unwrap();
    change(to);
    edit(to, |info| {
        for (name, stored) in info["files"].as_object_mut().unwrap() {
            let meta = fs::metadata(to.join(name)).unwrap();
            // A file with its stamp is not read.
            let stamp = &mut stored["stamp"];
            stamp["size"] = meta.len().into();
            stamp["modified_ns"] = (meta.mtime() * 1_000_000_000 + meta.mtime_nsec()).into();
        }
    });
    Template::open(to).unwrap()
}

fn edit(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join("template.json");
    let mut info = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut info);
    fs::write(&path, info.to_string()).unwrap();
}

fn flip_a_bit_of_the_file(folder: &Path) {
    let ram = File::options().read(true).write(true).open(folder.join("ram")).unwrap();
    let mut byte = [0];
    ram.read_exact_at(&mut byte, 5 << 20).unwrap();
    ram.write_all_at(&[byte[0] ^ 1], 5 << 20).unwrap();
}

#[test]
#[ignore = "boots the real guest"]
fn clones_of_a_computing_guest_repeat_its_run_from_power_on() {
    clones_repeat_the_run_from_power_on(&sha256());
}

#[test]
#[ignore = "boots the real guest"]
fn clones_of_a_guest_that_uses_its_disk_repeat_its_run_from_power_on() {
    clones_repeat_the_run_from_power_on(&fs_template());
}

#[test]
#[ignore = "boots the real guest"]
fn a_template_made_again_is_the_same_guest_and_leaves_nothing_beside_it() {
    let template = sha256();
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("again");
    let again = Template::make(&template.info().plan, &folder, MakeOptions::default(), |_| {}).unwrap();
    let (old, new) = (template.info(), again.info());
    assert_eq!((old.clock, &old.ram_digest, &old.registers), (new.clock, &new.ram_digest, &new.registers));
    assert_eq!(old.key, new.key);
    assert_eq!(entries(temporary.path()), [folder]);
    let files = entries(again.folder());
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["console.log", "device-state", "disk.qcow2", "iomem.txt", "ram", "template.json"]);
    assert!(again.iomem().unwrap().contains("System RAM"));
    assert!(fs::read_to_string(again.console_log()).unwrap().contains("FLIPSIM READY workload=sha256"));
    let ram = fs::metadata(again.ram_file()).unwrap();
    assert!(ram.blocks() * 512 < ram.len() / 2, "the RAM file has no holes: {ram:?}");
}

#[test]
#[ignore = "boots the real guest"]
fn a_guest_that_does_not_boot_leaves_no_template_and_its_console() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("t");
    let mut plan = sha256().info().plan.clone();
    plan.spec.append.push_str(" init=/nonexistent");
    let error = Template::make(&plan, &folder, MakeOptions::default(), |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("the guest panicked while it booted: "), "{error}");
    let temporary_folder = temporary.path().join("t.tmp");
    assert_eq!(entries(temporary.path()), [temporary_folder.as_path()]);
    assert!(temporary_folder.join("console.log").is_file() && !temporary_folder.join("ram").exists());

    let options = MakeOptions { interrupted: || true, ..MakeOptions::default() };
    Template::make(&plan, &folder, options, |_| {}).unwrap_err();
    assert!(entries(temporary.path()).is_empty());
}

#[test]
#[ignore = "boots the real guest"]
fn clones_that_run_flip_and_write_their_disk_change_no_file_of_the_template() {
    let template = fs_template();
    let before = digests(&template);
    let temporary = tempfile::tempdir().unwrap();
    let untouched = start(&template, temporary.path()).state().unwrap();
    let ram = template.info().ram.ranges()[0];
    // All three at a time, so that they share what they have not written.
    let mut clones: Vec<_> = (0..3).map(|_| start(&template, temporary.path())).collect();
    for (number, clone) in clones.iter_mut().enumerate() {
        let address = GuestPhys(ram.last.0 - 4096 * number as u64);
        flip(clone.target(), &Fault::in_ram(address, vec![1])).unwrap();
        run_to(clone.target(), after(&template, 300 * MS));
        assert!(untouched.pages_apart(&clone.state().unwrap()).len() > 100);
    }
    drop(clones);
    assert_eq!(digests(&template), before);
    Template::open(template.folder()).unwrap();
}

#[test]
#[ignore = "boots the real guest"]
fn a_dropped_clone_leaves_neither_process_nor_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let clone = start(&sha256(), temporary.path());
    let pid = clone.pid();
    let folder = fs::metadata(clone.folder()).unwrap();
    assert!(alive(pid) && folder.mode() & 0o777 == 0o700);
    drop(clone);
    assert!(!alive(pid));
    assert!(entries(temporary.path()).is_empty());
}

#[test]
#[ignore = "boots the real guest"]
fn a_clone_that_cannot_start_leaves_no_folder_and_says_what_qemu_said() {
    let temporary = tempfile::tempdir().unwrap();
    let template = copy(&sha256(), &temporary.path().join("copy"), |folder| {
        fs::remove_file(folder.join("device-state")).unwrap();
        fs::write(folder.join("device-state"), "no such thing").unwrap();
    });
    let parent = temporary.path().join("clones");
    let error = CloneGuest::start(&template, &CloneOptions::below(&parent)).unwrap_err();
    assert!(matches!(error, TemplateError::Restore { .. }), "{error}");
    assert!(error.to_string().contains("Not a migration stream"), "{error}");
    assert!(entries(&parent).is_empty());
}

#[test]
#[ignore = "boots the real guest"]
fn a_clone_lives_on_when_the_thread_that_started_it_ends() {
    let template = sha256();
    let temporary = tempfile::tempdir().unwrap();
    let mut clone =
        std::thread::scope(|scope| scope.spawn(|| start(&template, temporary.path())).join().unwrap());
    std::thread::sleep(Duration::from_millis(100));
    run_to(clone.target(), after(&template, MS));
}

/// No test by itself: the process that the next one kills.
#[test]
#[ignore = "boots the real guest"]
fn holds_a_clone_until_it_is_killed() {
    let Some(parent) = std::env::var_os(HOLD) else { return };
    let clone = start(&sha256(), Path::new(&parent));
    fs::write(Path::new(&parent).join("pid"), format!("{}\n", clone.pid())).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[ignore = "boots the real guest"]
fn a_killed_process_takes_its_clone_along_and_the_next_start_removes_the_folder() {
    struct Killed(Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "holds_a_clone_until_it_is_killed"])
        .env(HOLD, temporary.path())
        .stdout(Stdio::null())
        .spawn();
    let holder = Killed(holder.unwrap());
    let pid_file = temporary.path().join("pid");
    wait_until("the clone's start", || fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n')));
    let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert!(alive(pid));
    drop(holder);
    wait_until("the end of the clone", || !alive(pid));
    fs::remove_file(pid_file).unwrap();
    let left = entries(temporary.path());
    assert_eq!(left.len(), 1);
    let clone = start(&sha256(), temporary.path());
    assert_eq!(entries(temporary.path()), [clone.folder()]);
    assert_ne!(left[0], clone.folder());
}

#[test]
#[ignore = "boots the real guest"]
fn panic_and_reset_are_events_and_leave_qemu_there() {
    let template = sha256();
    let temporary = tempfile::tempdir().unwrap();
    let mut clone = start(&template, temporary.path());
    // The guest sleeps in the kernel's idle task, which must not die.
    let pc = clone.target().registers().iter().position(|register| register.name == "pc").unwrap();
    clone.target().write_register(pc, &[0; 8]).unwrap();
    let arrival = clone.target().run_for(VirtualNs(1000 * MS)).unwrap();
    assert_eq!(arrival.early.as_deref(), Some("guest-panicked"));
    let names: Vec<_> = clone.events().unwrap().into_iter().map(|event| event.name).collect();
    assert!(names.iter().any(|name| name == "GUEST_PANICKED"), "{names:?}");
    assert!(fs::read_to_string(clone.console()).unwrap().contains("Kernel panic"));
    // Resumed, it resets itself.
    let arrival = clone.target().run_for(VirtualNs(1000 * MS)).unwrap();
    assert_eq!(arrival.early.as_deref(), Some("shutdown"));
    let events = clone.events().unwrap();
    let shutdown = events.iter().find(|event| event.name == "SHUTDOWN").expect("it says so");
    assert_eq!(shutdown.data["reason"], "guest-reset");
    assert!(alive(clone.pid()));
}

#[test]
#[ignore = "boots the real guest"]
fn a_clone_can_be_saved_and_taken_back_within_itself() {
    let template = fs_template();
    let temporary = tempfile::tempdir().unwrap();
    let mut clone = start(&template, temporary.path());
    let mut run = |command: &str| {
        assert_eq!(clone.target().monitor(command).unwrap().trim(), "");
        run_to(clone.target(), after(&template, 100 * MS));
        clone.state().unwrap()
    };
    let first = run("savevm here");
    let difference = first.difference(&run("loadvm here"));
    assert!(difference.pages.is_empty() && difference.registers.is_empty(), "{difference:?}");
}

#[test]
#[ignore = "boots the real guest"]
fn a_template_that_is_not_what_was_saved_is_found_on_its_first_use_and_kept() {
    let template = sha256();
    assert!(template.is_verified());
    let temporary = tempfile::tempdir().unwrap();
    let options = CloneOptions::below(&temporary.path().join("clones"));

    let same = copy(&template, &temporary.path().join("same"), |_| {});
    assert!(!same.is_verified());
    same.verify(&options).unwrap();
    assert!(same.is_verified());

    let other = copy(&template, &temporary.path().join("ram-differs"), flip_a_bit_of_the_file);
    let error = other.verify(&options).unwrap_err();
    assert!(matches!(error, TemplateError::Differs { .. }), "{error}");
    assert!(error.to_string().contains("its RAM has the digest"), "{error}");
    assert!(!other.is_verified() && other.ram_file().is_file());

    let folder = temporary.path().join("register-differs");
    let other = copy(&template, &folder, |folder| {
        edit(folder, |info| {
            assert_eq!(info["registers"][3][0], "x3");
            info["registers"][3][1] = "0x1234".into();
        });
    });
    let text = other.verify(&options).unwrap_err().to_string();
    assert!(text.contains(": x3 is 0x") && text.contains(", not 0x1234;"), "{text}");
    assert!(entries(&options.parent).is_empty());
}

#[test]
#[ignore = "boots the real guest"]
fn a_template_whose_files_were_written_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("copy");
    copy(&sha256(), &folder, |_| {});
    flip_a_bit_of_the_file(&folder);
    let text = Template::open(&folder).unwrap_err().to_string();
    assert!(text.contains("its file `ram` is missing or was written"), "{text}");
}
