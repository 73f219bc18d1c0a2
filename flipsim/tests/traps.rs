//! Accesses that are easily missed, one by one: with all of QEMU's hooks nothing that is known of a fault differs from its
//! whole run, and without the hook that sees the access the audit finds that it does.
//!
//! The guest runs the workload `traps`, in which each kind of access has a page alone (`images/workloads/traps.c`).
//!
//! Invariant: no test leaves a process behind.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use flipsim::campaign::run::CampaignError;
use flipsim::campaign::spec::StratumSpec;
use flipsim::campaign::{CampaignSpec, Store};
use flipsim::fault::{Fault, FaultSpace, FaultTarget, Operation, Pattern, RamSpace};
use flipsim::memory::{PhysRange, RangeSet};
use flipsim::target::AccessHook;
use flipsim::testing::guest_campaign::Guest;
use flipsim::trial::accesses::{Accesses, Next, Page};
use flipsim::trial::golden::{Golden, GoldenOptions};
use flipsim::trial::template::Template;
use flipsim::trial::{
    Known, Outcome, RestoreMethod, Settled, Settling, TrialOptions, TrialPlan, TrialRecord, Worker,
};
use flipsim::units::{GuestPhys, VirtualNs};

/// Where a page of the workload has what counts.
const DATA: u64 = 1024;

/// What it has in vector registers while it sleeps.
const PATTERN: [u8; 2] = [0xb7, 0x4a];

/// Two registers: if the four that hold it lie in two pages, one page has as many.
const VECTORS: usize = 32;

/// Faults at each trap: so many are all audited.
const TRIALS: u64 = 20;

/// The bytes that a trap is about.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many of the page of this name, from one on.
    Page(&'static str, u64, u64),
    /// The entry of the page table that maps it.
    Entry(&'static str),
    /// Where the kernel keeps the vector registers of a process that sleeps.
    Vectors,
}

/// What a fault is taken for that the missing access meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taken {
    /// It is latent.
    NeverRead,
    /// It is masked.
    Overwritten,
    /// It is begun when it is gone.
    Later,
}
use Taken::{Later, NeverRead, Overwritten};

/// An access that is easily missed, the hook that sees it, and what a fault is taken for without.
type Trap = (&'static str, Place, AccessHook, Taken);

/// On each architecture.
const TRAPS: [Trap; 9] = [
    ("loads of words with a new byte", Place::Page("partial", 0, 512), AccessHook::Loads, NeverRead),
    ("code that is never loaded", Place::Page("code", 0, 64), AccessHook::Code, NeverRead),
    ("code that is changed: executed", Place::Page("changed", 0, 64), AccessHook::Code, Overwritten),
    ("code that is changed: written", Place::Page("changed", 0, 64), AccessHook::Stores, Later),
    ("a page-table entry that is only walked", Place::Entry("far"), AccessHook::Walks, NeverRead),
    ("a buffer that a device reads", Place::Page("outbox", 0, 512), AccessHook::DeviceReads, Overwritten),
    ("a buffer that a device writes", Place::Page("inbox", 0, 512), AccessHook::DeviceWrites, Later),
    ("registers restored at a context switch", Place::Vectors, AccessHook::Loads, Overwritten),
    ("an exclusive that fails", Place::Page("exclusive", 0, 8), AccessHook::Loads, Overwritten),
];

const TRAPS_AARCH64: [Trap; 1] = [("dc zva", Place::Page("zeroed", 0, 512), AccessHook::Stores, Later)];

const TRAPS_X86_64: [Trap; 4] = [
    ("rep movs: from", Place::Page("source", 0, 512), AccessHook::Loads, Overwritten),
    ("rep movs: to", Place::Page("copied", 0, 512), AccessHook::Stores, Later),
    ("fxrstor", Place::Page("saved", 176, 24), AccessHook::Loads, Overwritten),
    ("fxsave", Place::Page("saved", 176, 24), AccessHook::Stores, Later),
];

/// All hooks that see something. The others, atomics and probes, see nothing of these guests: with one vCPU QEMU does an
/// atomic operation as a load and a store, and the helpers of these CPUs that take a pointer are recorded as stores.
const SEEING: [AccessHook; 6] = [
    AccessHook::Loads,
    AccessHook::Stores,
    AccessHook::Walks,
    AccessHook::Code,
    AccessHook::DeviceReads,
    AccessHook::DeviceWrites,
];

struct Setting {
    template: Template,
    golden: Golden,
    options: GoldenOptions,
    accesses: Accesses,
    folder: tempfile::TempDir,
}

impl Setting {
    fn new(variable: &str) -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let template = std::env::var_os(variable).expect("run these tests with `cargo xtask test`");
        let template = Template::open(&PathBuf::from(template)).unwrap();
        let (clones, options) = (folder.path().join("clones"), GoldenOptions::default());
        let golden = Golden::measure(&template, &clones, &options).unwrap();
        assert_eq!(golden.difference, None);
        let accesses = Accesses::record(&template, &golden, &clones, &options, &mut |_| {}).unwrap();
        Setting { template, golden, options, accesses, folder }
    }

    fn without(&self, hooks: &[AccessHook]) -> Accesses {
        let clones = self.folder.path().join("clones");
        let (template, golden) = (&self.template, &self.golden);
        Accesses::record_without(hooks, template, golden, &clones, &self.options, &mut |_| {}).unwrap()
    }

    /// All contents that pages of RAM have when the guest stops, with their addresses.
    fn each(&self, see: &mut dyn FnMut(u64, usize, &Page)) {
        let file = File::open(self.template.ram_file()).unwrap();
        let blocks = self.accesses.blocks();
        let length = file.metadata().unwrap().len();
        let block = blocks.blocks().iter().find(|block| block.length == length).unwrap().number;
        let part = |offset: &u64| {
            let mut parts = blocks.parts().iter().filter(|part| part.block == block);
            parts.find(|part| (part.offset..part.offset + part.range.len()).contains(offset)).copied()
        };
        let base = |_, offset, page: &mut [u8]| file.read_exact_at(page, offset);
        let mut each = |offset: u64, instant, page: &Page| {
            if let Some(part) = part(&offset) {
                see(part.range.first.0 + (offset - part.offset), instant, page);
            }
        };
        self.accesses.contents(&base).each(block, &mut each).unwrap();
    }

    /// Where the pages of the workload are, by name.
    fn pages(&self) -> BTreeMap<String, u64> {
        let mut pages = BTreeMap::new();
        self.each(&mut |address, _, page| {
            if let Some(rest) = page.strip_prefix(b"FLIPSIM TRAP ") {
                let name = rest.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
                assert_eq!(*pages.entry(name).or_insert(address), address);
            }
        });
        pages
    }

    fn find(&self, place: Place, pages: &BTreeMap<String, u64>) -> PhysRange {
        let range =
            |first, length| PhysRange { first: GuestPhys(first), last: GuestPhys(first + length - 1) };
        match place {
            Place::Page(name, from, length) => range(pages[name] + DATA + from, length),
            Place::Entry(name) => {
                let mut found = Vec::new();
                self.each(&mut |address, _, page| {
                    for (word, at) in page.chunks_exact(8).zip((address..).step_by(8)) {
                        let word = u64::from_le_bytes(word.try_into().unwrap());
                        if word & 0x0000_ffff_ffff_f000 == pages[name] && word & 1 != 0 {
                            found.push(at);
                        }
                    }
                });
                let last = VirtualNs(self.golden.end().0 - 1);
                found.retain(|at| self.accesses.next(GuestPhys(*at), last) == Next::Unknown);
                found.dedup();
                assert_eq!(found.len(), 1, "{found:x?}");
                range(found[0], 8)
            }
            Place::Vectors => {
                let mut found = Vec::new();
                self.each(&mut |address, _, page| {
                    let registers = page.windows(VECTORS).step_by(16).zip((address..).step_by(16));
                    let here = registers.filter(|(bytes, _)| bytes.chunks(2).all(|word| word == PATTERN));
                    found.extend(here.map(|(_, at)| at));
                });
                found.sort_unstable();
                let (first, last) = (found[0], *found.last().unwrap());
                assert!(last - first < 64, "{found:x?}");
                range(first, VECTORS as u64)
            }
        }
    }

    fn store(&self, name: &str, ranges: &[(&str, PhysRange)]) -> Store {
        let stratum = |(name, _): &(&str, _)| StratumSpec {
            trials: Some(TRIALS),
            ..StratumSpec::new(name, vec![FaultTarget::Ram])
        };
        let spec = CampaignSpec {
            seed: 5,
            size: None,
            strata: ranges.iter().map(stratum).collect(),
            ..CampaignSpec::default()
        };
        let spaces = ranges.iter().map(|(_, range)| {
            let bytes: RangeSet = [*range].into_iter().collect();
            FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE).unwrap())
        });
        self.guest(|guest| guest.campaign(&self.folder.path().join(name), &spec, spaces.collect()))
    }

    fn run(&self, store: &mut Store, accesses: Option<&Accesses>) -> Result<Vec<TrialRecord>, CampaignError> {
        self.guest(|guest| guest.records(store, accesses, &TrialOptions::default()))
    }

    fn guest<T>(&self, with: impl FnOnce(Guest<'_>) -> T) -> T {
        let clones = self.folder.path().join("clones");
        with(Guest { template: &self.template, golden: &self.golden, clones: &clones })
    }

    /// What faults are taken for by a recording, and how many, where their whole runs show that they are not that.
    fn taken<'a>(
        &self,
        accesses: &Accesses,
        whole: impl Iterator<Item = &'a TrialRecord>,
    ) -> BTreeMap<Taken, usize> {
        let trial = TrialOptions::default();
        let settling = Settling::new(&self.template, &self.golden, accesses, &trial, None).unwrap().unwrap();
        let mut wrong = BTreeMap::new();
        for whole in whole {
            let taken = match settling.known(&whole.plan).unwrap() {
                Known::Settled(record) if !record.is_same(whole) => match record.settled {
                    Some(Settled::NeverRead) => NeverRead,
                    _ => Overwritten,
                },
                Known::Masked if whole.outcome != Some(Outcome::Masked) => Overwritten,
                Known::Late(from) if whole.converged_ns.is_some_and(|at| at <= from.0) => Later,
                _ => continue,
            };
            *wrong.entry(taken).or_default() += 1;
        }
        wrong
    }

    /// No hook sees that a store is of a part of a word: where its byte is overwritten next, the bytes beside it are not.
    fn check_neighbours(&self, words: PhysRange) {
        let next = |address, at| self.accesses.next(GuestPhys(address), at);
        let words: Vec<u64> = (words.first.0..=words.last.0).step_by(8).collect();
        let mut found = 0;
        for at in &self.accesses.instants()[..self.accesses.instants().len() - 1] {
            let stored = words.iter().filter(|word| matches!(next(**word, *at), Next::Overwritten { .. }));
            found += stored
                .filter(|word| {
                    (1..8).all(|byte| !matches!(next(**word + byte, *at), Next::Overwritten { .. }))
                })
                .count();
        }
        assert!(found > 0);
    }
}

/// The ways in which the workload uses a byte of one page, as it reports them.
const WAYS: [&str; 11] = [
    "store and load",
    "loop",
    "word",
    "vector",
    "exchange",
    "zeroed",
    "copied",
    "system call",
    "device reads",
    "device writes",
    "code",
];

impl Setting {
    /// The byte that is used in all these ways, and an instant right before.
    fn cell(&self) -> (GuestPhys, VirtualNs) {
        let mut found = None;
        self.each(&mut |address, instant, page| {
            if page.starts_with(b"FLIPSIM TRAP cell\0") && found.is_none() {
                found = Some((GuestPhys(address + DATA + 1), instant));
            }
        });
        let (address, instant) = found.unwrap();
        // It rests for a while, once it has the page.
        let at = self.accesses.instants()[instant].0 + 500_000;
        (address, VirtualNs(at - self.golden.begin().0))
    }

    /// A trial with this fault, and what the workload reports in it.
    fn reported(
        &self,
        worker: &mut Worker<'_>,
        fault: &Fault,
        after: VirtualNs,
    ) -> (TrialRecord, Vec<String>) {
        let plan = TrialPlan::one(after, fault.clone());
        plan.check(&self.golden).unwrap();
        let record = worker.trial(&plan, None, &mut |_, _| Ok(())).unwrap();
        let said = record.console.clone().unwrap_or_default();
        let lines =
            said.lines().filter_map(|line| line.trim_end().strip_prefix("FLIPSIM CHECK workload=traps "));
        (record.clone(), lines.map(str::to_owned).collect())
    }
}

/// Each reader finds a stuck bit as it is, right after it was written otherwise, and none does once the guest is back at the
/// mark.
fn check_stuck(variable: &str, register: &str) {
    let setting = Setting::new(variable);
    let (address, after) = setting.cell();
    let clones = setting.folder.path().join("clones");
    let by = |restore| TrialOptions { restore, ..TrialOptions::default() };
    let mut worker = Worker::new(&setting.template, &setting.golden, &clones, by(RestoreMethod::Rewind));
    let mut clone = Worker::new(&setting.template, &setting.golden, &clones, by(RestoreMethod::Clone));
    let in_ram = Fault::in_ram(address, vec![0x04]);
    let in_register = Fault::in_register(register.to_owned(), [vec![0x04], vec![0; 15]].concat());
    for (operation, wrote, read) in [
        ("stuck0", "ff", "fb"),
        ("stuck1", "00", "04"),
        ("stuck", "00", "04"),
        ("stuck1 for 100ms", "00", "04"),
    ] {
        let line = |ways: &[&str]| vec![format!("wrote {wrote}, read {read} by {}", ways.join(", "))];
        let ways: Vec<&str> = WAYS.into_iter().filter(|way| !(wrote == "ff" && *way == "zeroed")).collect();
        for (fault, expected) in [(&in_ram, line(&ways)), (&in_register, line(&["register"]))] {
            let fault = fault.clone().with(operation.parse().unwrap());
            let (record, reported) = setting.reported(&mut worker, &fault, after);
            assert_eq!(reported, expected, "{operation} {record:?}");
            let (other, _) = setting.reported(&mut clone, &fault, after);
            assert!(record.is_same(&other), "{:?}\n{record:?}\n{other:?}", record.differing_keys(&other));
            // Over before it is used, it is a byte or a register that is written later.
            let brief = fault.with("stuck1 for 1us".parse().unwrap());
            let (record, reported) = setting.reported(&mut worker, &brief, after);
            assert_eq!((record.outcome, reported), (Some(Outcome::Masked), Vec::new()), "{record:?}");
        }
    }
    // Again and again: in the loop, and each time long after.
    let again = in_ram.with("stuck1 for 10us every 20us".parse().unwrap());
    let (_, reported) = setting.reported(&mut worker, &again, after);
    assert!(reported[0].starts_with("wrote 00, read 04 by ") && reported[0].contains("loop"), "{reported:?}");
    let nothing = Fault::in_ram(address, vec![0x04]).with(Operation::Nothing);
    let (record, reported) = setting.reported(&mut worker, &nothing, after);
    assert_eq!((record.outcome, reported), (Some(Outcome::Masked), Vec::new()));
}

#[test]
#[ignore = "boots the real guest"]
fn each_reader_finds_a_stuck_bit_on_aarch64() {
    check_stuck("FLIPSIM_TEMPLATE_TRAPS_AARCH64", "v31");
}

#[test]
#[ignore = "boots the real guest"]
fn each_reader_finds_a_stuck_bit_on_x86_64() {
    check_stuck("FLIPSIM_TEMPLATE_TRAPS_X86_64", "xmm15");
}

fn strikes(record: &TrialRecord, range: &PhysRange) -> bool {
    record.plan.fault.address().is_some_and(|address| range.contains(address))
}

fn check(variable: &str, more: &[Trap]) {
    let setting = Setting::new(variable);
    let pages = setting.pages();
    let traps: Vec<(Trap, PhysRange)> =
        TRAPS.iter().chain(more).map(|trap| (*trap, setting.find(trap.1, &pages))).collect();

    // With all hooks.
    let strata: Vec<_> = traps.iter().map(|((name, ..), range)| (*name, *range)).collect();
    let short = setting.run(&mut setting.store("short.sqlite", &strata), Some(&setting.accesses)).unwrap();
    let whole = setting.run(&mut setting.store("whole.sqlite", &strata), None).unwrap();
    for (short, whole) in short.iter().zip(&whole) {
        assert!(short.is_same(whole), "{:?}\n{short:?}\n{whole:?}", short.differing_keys(whole));
    }
    assert_eq!((short.len(), whole.len()), (strata.len() * TRIALS as usize, short.len()));
    let settled = short.iter().filter(|record| record.settled.is_some() || record.begun_ns.is_some()).count();
    eprintln!("{} trials, {settled} settled or begun late", short.len());

    setting.check_neighbours(setting.find(Place::Page("partial", 0, 512), &pages));

    // Without one of them.
    let mut recordings: Vec<(AccessHook, Accesses)> = Vec::new();
    for ((name, _, hook, taken), range) in &traps {
        if !recordings.iter().any(|(of, _)| of == hook) {
            recordings.push((*hook, setting.without(&[*hook])));
        }
        let (_, blind) = recordings.iter().find(|(of, _)| of == hook).unwrap();
        let wrong = setting.taken(blind, whole.iter().filter(|record| strikes(record, range)));
        eprintln!("without {hook:?}, {name}: {wrong:?}");
        // An entry is read once more as its process ends. Where that is before the end of the run, a fault is begun only then,
        // and what it has done by then is left out: that shows in the audit alone.
        let begun_too_late = *hook == AccessHook::Walks && wrong.is_empty();
        assert!(wrong.contains_key(taken) || begun_too_late, "without {hook:?}, {name}: {wrong:?}");
        let file = format!("{hook:?} {name}.sqlite");
        match setting.run(&mut setting.store(&file, &[(*name, *range)]), Some(blind)) {
            Err(CampaignError::Audit { .. }) => {}
            other => panic!("without {hook:?}, {name}: {other:?}"),
        }
    }
    for (hook, accesses) in &recordings {
        let unseen = accesses.unseen_writer(&setting.template, &setting.golden).unwrap();
        match hook {
            AccessHook::Stores | AccessHook::DeviceWrites => assert!(unseen.is_some(), "{hook:?}"),
            // It writes on some architectures: that an entry was used.
            AccessHook::Walks => {}
            _ => assert_eq!(unseen, None, "{hook:?}"),
        }
    }
    let mut used: Vec<AccessHook> = recordings.iter().map(|(hook, _)| *hook).collect();
    used.sort_by_key(|hook| SEEING.iter().position(|of| of == hook));
    assert_eq!(used, SEEING);
    // The one that is left is that of the registers.
    assert_eq!(setting.without(&SEEING).figures().pages, 1);
}

#[test]
#[ignore = "boots the real guest"]
fn each_access_that_is_easily_missed_is_seen_on_aarch64() {
    check("FLIPSIM_TEMPLATE_TRAPS_AARCH64", &TRAPS_AARCH64);
}

#[test]
#[ignore = "boots the real guest"]
fn each_access_that_is_easily_missed_is_seen_on_x86_64() {
    check("FLIPSIM_TEMPLATE_TRAPS_X86_64", &TRAPS_X86_64);
}
