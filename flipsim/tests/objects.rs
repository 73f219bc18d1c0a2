//! What is read of a guest's memory from outside, against the guest's own word: `/proc/kpageflags`, `pagemap`, `maps`, `slabinfo` and
//! `vmallocinfo`, read by a program in it (`images/workloads/objects.c`) right before the guest is stopped.
//!
//! Invariant: no test leaves a process behind.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use flipsim::fault::GuestNames;
use flipsim::kernel::{Chosen, Kernel, Kind, Objects, Part, View};
use flipsim::memory::RangeSet;
use flipsim::target::Target;
use flipsim::trial::clone::{CloneGuest, CloneOptions, GuestRam, ProcessRam};
use flipsim::trial::template::Template;
use flipsim::units::{GuestPhys, VirtualNs};

const PAGE: u64 = 4096;

/// How far a guest is let run between two looks at whether its program has read everything.
const STEP: u64 = 10_000_000;
const STEPS: usize = 1_000;

/// Of a thousand things that are compared so many must be equal: a kernel goes on while a program in it reads.
const LEAST: u64 = 999;

/// What the program begins its tables with.
const MAGIC: &[u8] = b"FLIPSIM TABLES\n";

/// The tables, by their names.
type Tables = BTreeMap<String, Vec<u8>>;

/// Bits of `/proc/kpageflags` (`include/uapi/linux/kernel-page-flags.h`).
mod kpf {
    pub const UPTODATE: u64 = 1 << 3;
    pub const LRU: u64 = 1 << 5;
    pub const SLAB: u64 = 1 << 7;
    pub const BUDDY: u64 = 1 << 10;
    pub const MMAP: u64 = 1 << 11;
    pub const ANON: u64 = 1 << 12;
    pub const NOPAGE: u64 = 1 << 20;
    pub const PGTABLE: u64 = 1 << 26;
    pub const RESERVED: u64 = 1 << 32;
    /// Those that say what a frame is.
    pub const KINDS: u64 = LRU | SLAB | BUDDY | MMAP | ANON | NOPAGE | PGTABLE | RESERVED;
}

/// Whether the guest says the same of a frame, as far as it says something.
fn agrees(kind: Kind, flags: u64, mapped: u64) -> bool {
    let of = flags & kpf::KINDS;
    match kind {
        Kind::Free { kept: false, .. } => of == kpf::BUDDY,
        Kind::Free { kept: true, .. } => of == 0 && mapped == 0,
        Kind::Slab { .. } => of == kpf::SLAB,
        Kind::Anonymous => of & kpf::ANON != 0,
        // One that is not in the lists yet.
        Kind::Cached { .. } => of & !(kpf::LRU | kpf::MMAP) == 0 && (of != 0 || flags & kpf::UPTODATE != 0),
        // The kernel's first ones, and each process's first one, are not marked.
        Kind::PageTable { .. } => of == kpf::PGTABLE || of == kpf::RESERVED || of == 0,
        Kind::Image(_) | Kind::Reserved => of & !kpf::MMAP == kpf::RESERVED,
        Kind::OfCpu { .. } | Kind::MemoryMap | Kind::Bounce => of == kpf::RESERVED || of == 0,
        // Without a kind, or mapped by a process as what a driver gives it.
        Kind::Stack { .. } | Kind::Module { .. } | Kind::Vmalloc { .. } | Kind::Kernel => {
            of & !kpf::MMAP == 0
        }
        Kind::Unmanaged => of & kpf::NOPAGE != 0 || of == kpf::RESERVED,
    }
}

/// What is compared, and how much of it is equal.
#[derive(Default)]
struct Score {
    all: BTreeMap<String, (u64, u64)>,
    differing: Vec<String>,
}

impl Score {
    fn add(&mut self, of: &str, agrees: bool, what: impl FnOnce() -> String) {
        let score = self.all.entry(of.to_owned()).or_default();
        score.1 += 1;
        score.0 += u64::from(agrees);
        if !agrees {
            self.differing.push(format!("{of}: {}", what()));
        }
    }

    fn print(&self) {
        for (of, (same, all)) in &self.all {
            println!("{of:24} {same:8} of {all:8}  {:.3} %", *same as f64 / *all as f64 * 100.0);
        }
        for line in self.differing.iter().take(60) {
            println!("  {line}");
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// What the program has left in its memory, if it has by now.
fn tables(objects: &Objects, view: &mut View<'_>) -> Option<Tables> {
    let own =
        objects.spaces.iter().find(|space| objects.tasks[space.task].name.starts_with("flipsim-work"))?;
    let mut read = |at: u64, into: &mut [u8]| {
        for (index, piece) in into.chunks_mut(PAGE as usize).enumerate() {
            let place = view.walk(own.tables, at + index as u64 * PAGE)?;
            view.physical(place, piece)?;
        }
        Some(())
    };
    let mut head = [0; 32];
    let area = own
        .areas
        .iter()
        .filter(|area| area.part == Part::Mapped)
        .find(|area| read(area.first, &mut head).is_some() && head.starts_with(MAGIC))?;
    let length = u64::from_le_bytes(head[16..24].try_into().unwrap());
    let mut all = vec![0; usize::try_from(length).unwrap()];
    read(area.first, &mut all)?;
    let (mut tables, mut rest) = (Tables::new(), &all[32..]);
    while rest.len() >= 64 {
        let head = std::str::from_utf8(&rest[..64]).unwrap().trim_end();
        let (name, length) = head.rsplit_once(' ').unwrap();
        let end = 64 + length.parse::<usize>().unwrap();
        tables.insert(name.trim_end().to_owned(), rest[64..end].to_vec());
        rest = &rest[end..];
    }
    Some(tables)
}

/// Each frame, by the kernel's own flags.
fn compare_frames(objects: &Objects, tables: &Tables, score: &mut Score) {
    for (name, flags) in tables.iter().filter(|(name, _)| name.starts_with("kpageflags ")) {
        let first = hex(name.split(' ').nth(1).unwrap()).unwrap();
        let counts = words(&tables[&name.replace("flags", "count")]);
        for ((frame, flags), mapped) in (first..).zip(words(flags)).zip(counts) {
            let kind = objects.kind(frame).unwrap();
            let what = || format!("frame {frame:#x} {kind:?} has flags {flags:#x}, is mapped {mapped} times");
            score.add(kind.word(), agrees(kind, flags, mapped), what);
        }
    }
}

/// Each page of each process.
fn compare_processes(
    kernel: &Kernel<'_>,
    objects: &Objects,
    view: &mut View<'_>,
    tables: &Tables,
    score: &mut Score,
) {
    for (index, space) in objects.spaces.iter().enumerate() {
        let pid = objects.tasks[space.task].pid;
        let Some(maps) = tables.get(&format!("maps {pid}")) else {
            score.add("process", false, || format!("{pid} is none of the guest's"));
            continue;
        };
        let (mut theirs, mut parts_of) = (HashSet::new(), HashMap::<Part, HashSet<u64>>::new());
        for line in String::from_utf8_lossy(maps).lines() {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let (first, end) =
                parts[0].split_once('-').map(|(a, b)| (hex(a).unwrap(), hex(b).unwrap())).unwrap();
            if first >> 48 != 0 {
                continue;
            }
            let name = parts.get(5).copied().unwrap_or_default();
            let area = space.area(first).filter(|area| (area.first, area.end) == (first, end));
            let named = area.is_some_and(|area| match name {
                "[heap]" => area.part == Part::Heap,
                "[stack]" => area.part == Part::Stack,
                name if name.starts_with('/') => area.file.as_ref().is_some_and(|(own, _)| own == name),
                _ => area.file.is_none(),
            });
            score.add("areas of processes", named, || format!("{pid}: {line}: {area:?}"));
            let pages =
                tables.get(&format!("pagemap {pid} {first:x}")).map(|pages| words(pages)).unwrap_or_default();
            for (page, entry) in pages.into_iter().enumerate().filter(|(_, entry)| entry >> 63 != 0) {
                let frame = entry & ((1 << 55) - 1);
                theirs.insert((frame, first + page as u64 * PAGE));
                if let Some(area) = area.filter(|_| objects.kind(frame).is_some()) {
                    parts_of.entry(area.part).or_default().insert(frame);
                }
            }
        }
        // Where another process has the same name, its memory is chosen as well.
        let name = &objects.tasks[space.task].name;
        let alone =
            objects.spaces.iter().filter(|other| objects.tasks[other.task].name == *name).count() == 1;
        for (part, frames) in parts_of.iter().filter(|_| alone) {
            let chosen: Chosen = format!("task:{name}/{}", part.word()).parse().unwrap();
            let bytes = objects.bytes(&chosen, kernel, view);
            let ours: HashSet<u64> =
                bytes.ranges().iter().flat_map(|range| range.first.0 / PAGE..=range.last.0 / PAGE).collect();
            score.add("chosen parts of tasks", ours == *frames, || format!("{chosen}"));
        }
        let ours: HashSet<(u64, u64)> = objects
            .users
            .iter()
            .flat_map(|(frame, users)| users.iter().map(move |(space, at)| (*frame, *space, *at)))
            .filter(|(_, space, _)| *space as usize == index)
            .map(|(frame, _, at)| (frame, at))
            .collect();
        for one in ours.union(&theirs) {
            // A device's registers and the like are no RAM.
            if objects.kind(one.0).is_some() {
                let same = ours.contains(one) && theirs.contains(one);
                let by = if ours.contains(one) { "outside" } else { "inside" };
                score.add("pages of processes", same, || format!("{pid}: {one:x?} is seen from {by} alone"));
            }
        }
    }
}

/// Each cache: how many slabs and objects it has, and how many of these are in use by the allocator's own account.
fn compare_slabs(
    kernel: &Kernel<'_>,
    objects: &Objects,
    view: &mut View<'_>,
    tables: &Tables,
    score: &mut Score,
) {
    let mut found: HashMap<&str, [u64; 3]> = HashMap::new();
    for slab in objects.slabs(kernel, view, |_| true) {
        let one = found.entry(&objects.caches[slab.cache as usize].name).or_default();
        one[0] +=
            if slab.frozen { slab.used.len() } else { slab.used.iter().filter(|used| **used).count() } as u64;
        one[1] += slab.used.len() as u64;
        one[2] += 1;
    }
    for line in String::from_utf8_lossy(&tables["slabinfo"]).lines().skip(2) {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| parts[index].parse::<u64>().unwrap();
        let theirs = [number(1), number(2), number(14)];
        let ours = found.get(parts[0]).copied().unwrap_or_default();
        let is_near = |index: usize| ours[index] == theirs[index];
        score.add("slabs of caches", is_near(1) && is_near(2), || {
            format!("{}: {ours:?}, {theirs:?}", parts[0])
        });
        score.add("objects in use", is_near(0), || format!("{}: {ours:?}, {theirs:?}", parts[0]));
    }
}

/// Each area of vmalloc, by who asked for it and how many pages it has.
fn compare_areas(kernel: &Kernel<'_>, view: &mut View<'_>, tables: &Tables, score: &mut Score) {
    let mut ours: HashMap<(String, u64), i64> = HashMap::new();
    for area in kernel.vmalloc_areas(view) {
        let frames = kernel.frames_of(view, &area).len() as u64;
        *ours.entry((area.name, frames)).or_default() += 1;
    }
    for line in String::from_utf8_lossy(&tables["vmallocinfo"]).lines() {
        let Some(pages) = line.split("pages=").nth(1).and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        let caller = line.split_whitespace().nth(2).unwrap().split('+').next().unwrap().to_owned();
        let left = ours.entry((caller, pages.parse().unwrap())).or_default();
        *left -= 1;
        score.add("areas of vmalloc", *left >= 0, || line.to_owned());
    }
}

/// Each frame has a name; how long they take is printed.
fn names_are_cheap(kernel: &Kernel<'_>, objects: &Objects, view: &mut View<'_>, ram: &RangeSet) {
    let (began, mut count) = (Instant::now(), 0u32);
    let mut some = BTreeMap::new();
    for range in ram.ranges() {
        for frame in (range.first.0.div_ceil(PAGE)..(range.last.0 + 1) / PAGE).step_by(7) {
            let name = objects.name(GuestPhys(frame * PAGE + 0x123), kernel, view).unwrap();
            count += 1;
            some.entry(objects.kind(frame).unwrap().word()).or_insert(name);
        }
    }
    println!("a name takes {:?}: {some:#?}", began.elapsed() / count);
}

fn check(variable: &str) {
    let folder = std::env::var_os(variable).expect("run these tests with `cargo xtask test`");
    let template = Template::open(&PathBuf::from(folder)).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let mut guest = CloneGuest::start(&template, &CloneOptions::below(parent.path())).unwrap();
    let arch = template.info().plan.spec.arch;
    let map = guest.target().memory_map(template.iomem().as_deref()).unwrap();
    let vmlinux = template.info().plan.vmlinux.clone();
    let names = GuestNames::read(map, vmlinux.as_deref(), &arch, guest.target());
    let symbols = names.symbols().unwrap();
    let process = ProcessRam::open(guest.pid(), &template.ram_file()).unwrap();
    let mut ram = GuestRam { ram: &process, map: &names.map };
    let began = Instant::now();
    let kernel = Kernel::find(arch, symbols, &mut ram).unwrap();
    println!("{} types, found in {:?}", kernel.types.count(), began.elapsed());
    let mut at = template.virtual_time().0;
    for _ in 0..STEPS {
        at += STEP;
        guest.target().run_until(VirtualNs(at)).unwrap();
        let mut view = View::new(&mut ram, kernel.root);
        let began = Instant::now();
        let objects = Objects::look(&kernel, &mut view, names.map.ram());
        let took = began.elapsed();
        view.check().unwrap();
        let Some(tables) = tables(&objects, &mut view) else { continue };
        println!("looked in {took:?}, {} pages read; lacks {:?}", view.reads(), objects.lacks);
        println!("{:?}", objects.counts());
        let mut score = Score::default();
        compare_frames(&objects, &tables, &mut score);
        compare_processes(&kernel, &objects, &mut view, &tables, &mut score);
        compare_slabs(&kernel, &objects, &mut view, &tables, &mut score);
        compare_areas(&kernel, &mut view, &tables, &mut score);
        score.print();
        names_are_cheap(&kernel, &objects, &mut view, names.map.ram());
        assert_eq!(objects.lacks, Vec::<String>::new());
        assert!(objects.running.iter().all(Option::is_some), "{:?}", objects.running);
        for (of, (same, all)) in &score.all {
            assert!(same * 1000 >= all * LEAST, "{of}: {same} of {all}");
        }
        return;
    }
    panic!("the program has read nothing");
}

#[test]
#[ignore = "needs QEMU and a template: `cargo xtask test`"]
fn aarch64_the_guest_says_the_same() {
    check("FLIPSIM_TEMPLATE_OBJECTS");
}
