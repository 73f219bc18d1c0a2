//! Going back that went wrong: what a campaign does when a worker's guest is not what was marked.
//!
//! The guest's RAM is altered behind QEMU's back, as a page that a rewind forgets would be, and the device
//! state that a fresh clone takes in is altered too. Invariant: no test leaves a process or a folder behind.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flipsim::campaign::run::{Progress, RunOptions, RunSummary, run};
use flipsim::campaign::size::Size;
use flipsim::campaign::spec::StratumSpec;
use flipsim::campaign::{CampaignSpec, Manifest, Plan, Shard, Store};
use flipsim::fault::{FaultSpace, FaultTarget, FlippableRegister, Pattern, RegSpace};
use flipsim::machine::ProcessId;
use flipsim::trial::golden::{Golden, GoldenOptions, Window};
use flipsim::trial::template::Template;
use flipsim::trial::{TrialOptions, TrialRecord};
use flipsim::units::VirtualNs;

/// A page that the guest never touches, by its offset in RAM.
const PAGE: u64 = 0x600_0000;

/// A copy of the template, which may be altered.
fn copy(to: &Path) -> Template {
    let from = std::env::var_os("FLIPSIM_TEMPLATE_SHA256").expect("run these tests with `cargo xtask test`");
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    Template::open(to).unwrap()
}

/// The device state of a template, with one register of the serial port altered that nothing depends on.
struct Devices {
    path: PathBuf,
    right: Vec<u8>,
}

impl Devices {
    fn of(template: &Template) -> Devices {
        let path = template.folder().join("device-state");
        Devices { right: fs::read(&path).unwrap(), path }
    }

    fn alter(&self) {
        let name = b"\x05pl011";
        let at = self.right.windows(name.len()).position(|bytes| bytes == name).expect("it has a pl011");
        // Behind the name: instance, version, eight registers, a queue of 16 words, and then `ilpr`.
        let mut altered = self.right.clone();
        altered[at + name.len() + 8 + 8 * 4 + 16 * 4 + 3] ^= 1;
        self.write(&altered);
    }

    fn restore(&self) {
        self.write(&self.right);
    }

    /// In its place, for the file itself must not be written.
    fn write(&self, bytes: &[u8]) {
        let beside = self.path.with_extension("new");
        fs::write(&beside, bytes).unwrap();
        fs::rename(&beside, &self.path).unwrap();
    }
}

/// The QEMUs whose working folders lie below `parent`.
fn guests(parent: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(parent)))
        .collect()
}

/// Flips a bit in a guest's RAM by way of the host's kernel: QEMU does not notice it.
fn flip_behind_its_back(pid: u32, template: &Template) {
    let inode = fs::metadata(template.ram_file()).unwrap().ino().to_string();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    // Another mapping shows the file as it is; the private one is the guest's.
    let is_ram = |line: &&str| line.contains(" rw-p ") && line.split_whitespace().nth(4) == Some(&inode);
    let line = maps.lines().find(is_ram).unwrap();
    let start = u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap();
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, start + PAGE).unwrap();
    memory.write_all_at(&[byte[0] ^ 1], start + PAGE).unwrap();
}

/// What a campaign is made of here.
struct Setting {
    template: Template,
    golden: Golden,
    folder: tempfile::TempDir,
    spec: CampaignSpec,
}

impl Setting {
    fn new(trials: u64) -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let template = copy(&folder.path().join("template"));
        let options =
            GoldenOptions { window: Window::Time(VirtualNs(60_000_000)), ..GoldenOptions::default() };
        let golden = Golden::measure(&template, &folder.path().join("clones"), &options).unwrap();
        assert_eq!(golden.difference, None);
        let spec = CampaignSpec {
            seed: 5,
            size: Some(Size::Trials(trials)),
            strata: vec![StratumSpec::new("core", vec![FaultTarget::Class("core".into())])],
            ..CampaignSpec::default()
        };
        Setting { template, golden, folder, spec }
    }

    fn clones(&self) -> PathBuf {
        self.folder.path().join("clones")
    }

    fn store(&self, name: &str) -> Store {
        let registers: Vec<FlippableRegister> = (0..29)
            .map(|number| FlippableRegister {
                name: format!("x{number}"),
                bits: 64,
                class: "core".into(),
                writable: vec![0xff; 8],
            })
            .collect();
        let space = FaultSpace::Reg(RegSpace::new(&registers, Pattern::SINGLE).unwrap());
        let length = VirtualNs(self.golden.end().0 - self.golden.begin().0);
        let plan = Plan::new(&self.spec, length, vec![space]).unwrap();
        let manifest = Manifest::of(&self.golden);
        let path = self.folder.path().join(name);
        Store::create(&path, &manifest, &self.spec, &plan, &[], &mut |_| {}).unwrap()
    }

    fn run(&self, store: &mut Store, check_every: u32, watch: &mut dyn FnMut(Progress<'_>)) -> RunSummary {
        let options = RunOptions {
            names: None,
            workers: 1,
            shard: Shard::WHOLE,
            trial: TrialOptions { check_every, ..TrialOptions::default() },
            stop: || false,
            limit: None,
        };
        run(store, &self.template, &self.golden, None, &self.clones(), &options, watch).unwrap()
    }
}

fn records(store: &Store) -> Vec<TrialRecord> {
    let rows = store.results().map(|row| store.record_of(row.unwrap().trial.id).unwrap().unwrap());
    rows.collect()
}

/// Runs `trials` trials, spoils the worker's guest after the trial number `spoiled`, and says how many
/// trials were taken back.
fn spoil(trials: u64, check_every: u32, spoiled: u64) -> usize {
    let setting = Setting::new(trials);
    let mut calm = setting.store("calm.sqlite");
    let summary = setting.run(&mut calm, check_every, &mut |progress| {
        assert!(
            !matches!(progress, Progress::TakenBack(..) | Progress::GivenUp(..) | Progress::Lost(..)),
            "{progress:?}"
        );
    });
    assert_eq!((summary.done, summary.left), (trials, 0));

    let mut store = setting.store("spoiled.sqlite");
    let devices = Devices::of(&setting.template);
    let (mut done, mut worker, mut taken) = (0, None, Vec::new());
    let summary = setting.run(&mut store, check_every, &mut |progress| match progress {
        Progress::Done(..) => {
            done += 1;
            if done == spoiled {
                let all = guests(&setting.clones());
                assert_eq!(all.len(), 1, "the worker waits for its next order, alone");
                flip_behind_its_back(all[0], &setting.template);
                devices.alter();
                worker = ProcessId::of(all[0]);
            }
        }
        Progress::TakenBack(count, why) => {
            devices.restore();
            assert!(why.contains("pages at 0x6000000; "), "{why}");
            assert!(why.contains("devices (pl011)"), "{why}");
            let worker = worker.unwrap();
            assert_ne!(ProcessId::of(worker.pid), Some(worker), "the worker's guest has ended");
            taken.push(count);
        }
        Progress::GivenUp(..) | Progress::Lost(..) | Progress::Unchecked(..) => panic!("{progress:?}"),
        Progress::Tick => {}
    });
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!((summary.done, summary.left), (trials, 0));
    assert_eq!(done, trials + taken[0] as u64, "what was taken back was run again");
    let (calm, store) = (records(&calm), records(&store));
    assert_eq!(calm.len(), store.len());
    for (one, other) in calm.iter().zip(&store) {
        assert!(one.is_same(other), "{one:?}\n{other:?}");
    }
    assert!(guests(&setting.clones()).is_empty());
    assert_eq!(fs::read_dir(setting.clones()).unwrap().count(), 0);
    taken[0]
}

#[test]
#[ignore = "boots the real guest"]
fn trials_since_the_last_good_check_are_taken_back_and_run_again() {
    // Checked at every third way back, those of the five control trials among them; spoiled after the sixth trial.
    assert_eq!(spoil(10, 3, 6), 2);
}

#[test]
#[ignore = "boots the real guest"]
fn a_worker_that_has_nothing_more_to_do_is_checked_a_last_time() {
    // Checked at the first way back, that of the control trial beside the first, and then not any more.
    assert_eq!(spoil(6, 1000, 4), 6);
}

#[test]
#[ignore = "boots the real guest"]
fn a_worker_whose_guest_is_lost_before_its_last_check_keeps_its_results_and_says_so() {
    let setting = Setting::new(4);
    let mut store = setting.store("lost.sqlite");
    let (mut done, mut unchecked) = (0, Vec::new());
    let summary = setting.run(&mut store, 1000, &mut |progress| match progress {
        Progress::Done(..) => {
            done += 1;
            if done == 4 {
                let pid = guests(&setting.clones())[0].to_string();
                assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            }
        }
        Progress::Unchecked(count, why) => {
            assert!(!why.is_empty());
            unchecked.push(count);
        }
        Progress::TakenBack(..) | Progress::GivenUp(..) | Progress::Lost(..) => panic!("{progress:?}"),
        Progress::Tick => {}
    });
    assert_eq!((summary.done, summary.left), (4, 0));
    assert_eq!(unchecked, [4], "it was checked by the control trial beside the first, and not since");
    assert_eq!(records(&store).len(), 4);
}
