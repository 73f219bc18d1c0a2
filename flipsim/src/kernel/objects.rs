//! All of a stopped guest's page frames, and what each is.
//!
//! Invariant: **each frame is one thing**; what cannot be known is a coarser kind, and what the kernel lacks for more is said.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::kernel::areas::VirtualArea;
use crate::kernel::frames::{PageLayout, Record};
use crate::kernel::known::Kernel;
use crate::kernel::slab::{Cache, KeptByCpus, Slab};
use crate::kernel::symbols::file::SECTIONS;
use crate::kernel::tasks::{Space, Task};
use crate::kernel::view::{Entry, PAGE, View};
use crate::memory::{PhysRange, RangeSet};
use crate::units::{GuestPhys, GuestVirt};

/// A part of the kernel's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Code.
    Text,
    /// What is only read.
    ReadOnly,
    /// Variables.
    Data,
    /// Variables that begin as zeros.
    Bss,
    /// What lies between these.
    Between,
}

/// Whose a page table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The kernel's.
    Kernel,
    /// A process's, by the place of its memory in the list.
    Space(u32),
    /// Not known: it is in no tree that was found.
    Unknown,
}

/// What a page frame is. Numbers are places in the lists of [`Objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Free, in a block of 2^order frames.
    Free {
        /// The order.
        order: u8,
        /// A CPU keeps it for its next allocation.
        kept: bool,
    },
    /// Of a slab.
    Slab {
        /// The cache; `None` of one that is in no list.
        cache: Option<u32>,
        /// The slab's first frame.
        head: u64,
    },
    /// A page table.
    PageTable {
        /// Whose.
        owner: Owner,
        /// Its level, of which the last is 1; 0 where it is in no tree.
        level: u8,
    },
    /// A process's, in no file.
    Anonymous,
    /// Of a file.
    Cached {
        /// The file.
        file: u32,
        /// Which page of it.
        page: u64,
    },
    /// The stack of a task in the kernel.
    Stack {
        /// The task.
        task: u32,
    },
    /// What belongs to one CPU.
    OfCpu {
        /// Which.
        area: u32,
    },
    /// Of a module.
    Module {
        /// Which.
        area: u32,
    },
    /// Of another area of vmalloc.
    Vmalloc {
        /// Which.
        area: u32,
    },
    /// Of the kernel's image.
    Image(Section),
    /// The kernel's records of page frames.
    MemoryMap,
    /// Where data of devices that reach no further are copied to.
    Bounce,
    /// Taken before the page allocator was there: start-up allocations, device tree, firmware's tables.
    Reserved,
    /// The kernel's, and not known what for: buffers of drivers, large allocations.
    Kernel,
    /// The kernel has no record of it.
    Unmanaged,
}

impl Kind {
    /// A word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Free { .. } => "free",
            Kind::Slab { .. } => "slab",
            Kind::PageTable { .. } => "page table",
            Kind::Anonymous => "anonymous",
            Kind::Cached { .. } => "page cache",
            Kind::Stack { .. } => "kernel stack",
            Kind::OfCpu { .. } => "per-cpu",
            Kind::Module { .. } => "module",
            Kind::Vmalloc { .. } => "vmalloc",
            Kind::Image(Section::Text) => "kernel text",
            Kind::Image(Section::ReadOnly) => "kernel rodata",
            Kind::Image(Section::Data) => "kernel data",
            Kind::Image(Section::Bss) => "kernel bss",
            Kind::Image(Section::Between) => "kernel image",
            Kind::MemoryMap => "memory map",
            Kind::Bounce => "dma bounce buffer",
            Kind::Reserved => "reserved",
            Kind::Kernel => "kernel, other",
            Kind::Unmanaged => "unmanaged",
        }
    }

    /// Whether the kernel's record of it says no more than that it is in use.
    fn is_open(self) -> bool {
        matches!(self, Kind::Reserved | Kind::Kernel | Kind::PageTable { level: 0, .. })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// All that is known of a guest's memory at an instant.
#[derive(Debug, Default)]
pub struct Objects {
    /// Its frames: the first of each range of RAM, and those of the range.
    pub frames: Vec<(u64, Vec<Kind>)>,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// Which of them each CPU runs.
    pub running: Vec<Option<usize>>,
    /// The memory of its processes.
    pub spaces: Vec<Space>,
    /// Where processes have frames: the place of a memory in the list, and the address.
    pub users: HashMap<u64, Vec<(u32, u64)>>,
    /// Its slab caches.
    pub caches: Vec<Cache>,
    /// Files with pages in memory.
    pub files: Vec<String>,
    /// Areas that kinds refer to.
    pub areas: Vec<VirtualArea>,
    /// What the kernel lacks, and what is not known for that.
    pub lacks: Vec<String>,
    pub(super) kept: KeptByCpus,
    pub(super) layout: Option<PageLayout>,
}

/// More places where processes have frames are not kept: tables that a fault has changed could lead to each frame any number of times.
const MOST_MAPPED: usize = 1 << 24;

/// The kind of a frame in an area, by its place in the list.
type KindOfArea = fn(u32) -> Kind;

/// Frames whose records are read at a time.
const CHUNK: u64 = 64;

impl Objects {
    /// Looks at all of a stopped guest's RAM.
    pub fn look(kernel: &Kernel<'_>, view: &mut View<'_>, ram: &RangeSet) -> Objects {
        let mut found =
            Objects { tasks: kernel.tasks(view), caches: kernel.caches(view), ..Objects::default() };
        found.running = kernel.running(view, &found.tasks);
        found.spaces = kernel.spaces(view, &found.tasks);
        found.kept = kernel.kept_by_cpus(view, &found.caches);
        let frames = |range: &PhysRange| (range.first.0.div_ceil(PAGE), (range.last.0 + 1) / PAGE);
        for (first, end) in ram.ranges().iter().map(frames).filter(|(first, end)| first < end) {
            let count = usize::try_from(end - first).unwrap_or(0);
            found.frames.push((first, vec![Kind::Unmanaged; count]));
        }
        for (list, what) in [
            (found.tasks.is_empty(), "its list of tasks"),
            (found.caches.is_empty(), "its list of slab caches"),
            (found.spaces.is_empty(), "the memory of its processes"),
        ] {
            if list {
                found.lacks.push(what.to_owned());
            }
        }
        match PageLayout::of(kernel, view) {
            Ok(layout) => {
                found.layout = Some(layout);
                found.by_records(kernel, view, layout);
                found.kept_free(kernel, view, layout);
                found.memory_map(view, layout);
            }
            Err(what) => found.lacks.push(what),
        }
        found.image(kernel, view);
        found.page_tables(view, kernel.arch.page_tables.user_entries);
        found.virtual_areas(kernel, view);
        found
    }

    /// The kind of a frame; `None` where there is no RAM.
    #[must_use]
    pub fn kind(&self, frame: u64) -> Option<Kind> {
        self.frames
            .iter()
            .find_map(|(first, kinds)| kinds.get(usize::try_from(frame.checked_sub(*first)?).ok()?).copied())
    }

    fn at(&mut self, frame: u64) -> Option<&mut Kind> {
        self.frames
            .iter_mut()
            .find_map(|(first, kinds)| kinds.get_mut(usize::try_from(frame.checked_sub(*first)?).ok()?))
    }

    /// Says more of a frame of which no more is known than that it is in use.
    fn refine(&mut self, frame: u64, kind: Kind) {
        if let Some(own) = self.at(frame).filter(|own| own.is_open() || **own == Kind::Unmanaged) {
            *own = kind;
        }
    }

    /// By the kernel's record of each frame.
    fn by_records(&mut self, kernel: &Kernel<'_>, view: &mut View<'_>, layout: PageLayout) {
        let caches: HashMap<u64, u32> =
            (0..).zip(&self.caches).map(|(index, cache)| (cache.at, index)).collect();
        let mut files: HashMap<u64, Option<u32>> = HashMap::new();
        let size = usize::try_from(layout.size).unwrap_or(1).max(1);
        let mut records = vec![0; size * CHUNK as usize];
        for range in 0..self.frames.len() {
            let (first, count) = (self.frames[range].0, self.frames[range].1.len());
            let mut next = 0;
            while next < count {
                let frame = first + next as u64;
                let length = (CHUNK - frame % CHUNK).min((count - next) as u64) as usize;
                let some = &mut records[..length * size];
                if view.read(layout.page_of(frame), some).is_none() {
                    next += length;
                    continue;
                }
                let mut index = 0;
                while index < length {
                    let at = next + index;
                    let record = layout.record(&records[index * size..(index + 1) * size]);
                    let kind = match record {
                        Record::Free { order } => {
                            let order = order.min(20) as u8;
                            let end = (at + (1 << order)).min(count);
                            self.frames[range].1[at..end].fill(Kind::Free { order, kept: false });
                            // It may reach behind what was read.
                            index += end - at;
                            continue;
                        }
                        Record::Slab { cache } => {
                            Kind::Slab { cache: caches.get(&cache).copied(), head: frame + index as u64 }
                        }
                        Record::PageTable => Kind::PageTable { owner: Owner::Unknown, level: 0 },
                        Record::Anonymous => Kind::Anonymous,
                        Record::Cached { mapping, page } => {
                            let names = &mut self.files;
                            let file = files.entry(mapping).or_insert_with(|| {
                                names.push(kernel.file_of(view, mapping)?);
                                u32::try_from(names.len() - 1).ok()
                            });
                            file.map_or(Kind::Kernel, |file| Kind::Cached { file, page })
                        }
                        Record::Tail { head } => self.of_head(layout, frame + index as u64, head),
                        Record::Reserved => Kind::Reserved,
                        Record::Other => Kind::Kernel,
                    };
                    self.frames[range].1[at] = kind;
                    index += 1;
                }
                next += index;
            }
        }
    }

    /// What the first frame of a block says of a later one.
    fn of_head(&self, layout: PageLayout, frame: u64, head: u64) -> Kind {
        let head = layout.frame_of(head).filter(|head| *head < frame);
        match head.and_then(|head| Some((head, self.kind(head)?))) {
            Some((head, Kind::Cached { file, page })) => {
                Kind::Cached { file, page: page.wrapping_add(frame - head) }
            }
            Some((_, kind @ (Kind::Slab { .. } | Kind::Anonymous))) => kind,
            _ => Kind::Kernel,
        }
    }

    /// Pages that CPUs keep for their next allocations: their records say nothing.
    fn kept_free(&mut self, kernel: &Kernel<'_>, view: &mut View<'_>, layout: PageLayout) {
        let (Some(zones), Some(lists), Some(sets)) = (
            kernel.array("pglist_data", "node_zones"),
            kernel.array("per_cpu_pages", "lists"),
            kernel.field("zone", "per_cpu_pageset").or_else(|| kernel.field("zone", "pageset")),
        ) else {
            self.lacks.push("the lists of free pages that each CPU keeps".to_owned());
            return;
        };
        // Up to 5.13 the lists are a part of what a CPU has.
        let inside = kernel.field("per_cpu_pageset", "pcp").map_or(0, |field| field.offset);
        let types = kernel.types.constant("migratetype", "MIGRATE_PCPTYPES").unwrap_or(3).max(1);
        let mut nodes: Vec<u64> = kernel.at("contig_page_data").into_iter().collect();
        if let Some(all) = kernel.at("node_data").filter(|_| nodes.is_empty()) {
            nodes.extend(
                (0..64).map_while(|node| view.word(all.wrapping_add(node * 8)).filter(|node| *node != 0)),
            );
        }
        let cpus = kernel.cpus(view);
        for node in nodes {
            for zone in
                (0..zones.count.min(16)).map(|zone| node.wrapping_add(zones.offset + zone * zones.stride))
            {
                let Some(set) = view.get(zone, sets).filter(|set| *set != 0) else { continue };
                for cpu in &cpus {
                    for index in 0..lists.count.min(64) {
                        let head =
                            set.wrapping_add(*cpu).wrapping_add(inside + lists.offset + index * lists.stride);
                        let order = u8::try_from(index / types).unwrap_or(0);
                        // The last ones have whole blocks of 2 MiB.
                        let order = if order > 3 { 9 } else { order };
                        for page in view.list(head) {
                            let Some(frame) = layout.frame_of(page.wrapping_sub(layout.list)) else { break };
                            for frame in frame..frame + (1 << order) {
                                self.refine(frame, Kind::Free { order, kept: true });
                            }
                        }
                    }
                }
            }
        }
    }

    /// The frames that hold the records.
    fn memory_map(&mut self, view: &mut View<'_>, layout: PageLayout) {
        let ranges: Vec<(u64, u64)> =
            self.frames.iter().map(|(first, kinds)| (*first, first + kinds.len() as u64)).collect();
        for (first, end) in ranges {
            let (mut at, end) = (layout.page_of(first) / PAGE * PAGE, layout.page_of(end));
            while at < end {
                if let Some(place) = view.phys(at) {
                    self.refine(place / PAGE, Kind::MemoryMap);
                }
                at = at.saturating_add(PAGE);
            }
        }
    }

    /// The kernel's image, as far as it was not given back.
    fn image(&mut self, kernel: &Kernel<'_>, view: &mut View<'_>) {
        let place = |name: &str| kernel.map.symbols().get(name).ok().map(|symbol| symbol.address);
        // In the order of that table.
        let parts = [Section::Text, Section::ReadOnly, Section::Data, Section::Bss].into_iter().zip(SECTIONS);
        let parts = parts.map(|(section, (_, first, end))| (section, first, end));
        let mut of_frame: HashMap<u64, Section> = HashMap::new();
        for (section, first, end) in [(Section::Between, "_text", "_end")].into_iter().chain(parts) {
            let Some((first, end)) = place(first).zip(place(end)) else { continue };
            let mut at = first.0 / PAGE * PAGE;
            while at < end.0 {
                if let Some(place) = kernel.map.phys(GuestVirt(at)) {
                    of_frame.insert(place.0 / PAGE, section);
                }
                at += PAGE;
            }
        }
        for (frame, section) in of_frame {
            if let Some(own) =
                self.at(frame).filter(|own| **own == Kind::Reserved || **own == Kind::Unmanaged)
            {
                *own = Kind::Image(section);
            }
        }
        if let Some((first, end)) = kernel.bounce_buffers(view) {
            for frame in first / PAGE..end / PAGE {
                self.refine(frame, Kind::Bounce);
            }
        }
    }

    /// All page tables that can be reached, and what processes have mapped by them.
    fn page_tables(&mut self, view: &mut View<'_>, user_entries: u64) {
        let root = view.root();
        let mut trees = vec![(root.at.0, Owner::Kernel)];
        trees.extend((0..).zip(&self.spaces).map(|(index, space)| (space.tables, Owner::Space(index))));
        let (mut seen, mut mapped) = (HashSet::new(), 0);
        for (table, owner) in trees {
            let mut left = vec![(table, root.levels, 0u64)];
            while let Some((table, level, first)) = left.pop() {
                let frame = table / PAGE;
                // A table that several trees share is that of the first.
                if !seen.insert(frame) || self.kind(frame).is_none() {
                    continue;
                }
                self.refine(frame, Kind::PageTable { owner, level: level as u8 });
                if level == 1 && owner == Owner::Kernel {
                    continue;
                }
                let mut entries = view.entries(table, level, first);
                if level == root.levels && owner != Owner::Kernel {
                    entries.retain(|(at, _)| *at >> (3 + 9 * level) & 0x1ff < user_entries);
                }
                for (at, entry) in entries {
                    match (entry, owner) {
                        (Entry::Table(next), _) => left.push((next, level - 1, at)),
                        (Entry::Memory(place), Owner::Space(space)) => {
                            for page in 0..1u64 << (9 * (level - 1)) {
                                let frame = place / PAGE + page;
                                if mapped < MOST_MAPPED && self.kind(frame).is_some() {
                                    mapped += 1;
                                    self.users.entry(frame).or_default().push((space, at + page * PAGE));
                                }
                            }
                        }
                        (Entry::Memory(_), _) => {}
                    }
                }
            }
        }
    }

    /// What the kernel has mapped by its lists: stacks, modules, memory of each CPU, vmalloc.
    fn virtual_areas(&mut self, kernel: &Kernel<'_>, view: &mut View<'_>) {
        let size = kernel.stack_size();
        for task in 0..self.tasks.len() {
            let Some(first) = self.tasks[task].stack else { continue };
            let area = VirtualArea { first, end: first.saturating_add(size), name: String::new() };
            for (_, frame) in kernel.frames_of(view, &area) {
                self.refine(frame, Kind::Stack { task: task as u32 });
            }
        }
        let kinds: [(Vec<VirtualArea>, KindOfArea); 3] = [
            (kernel.of_cpus(view), |area| Kind::OfCpu { area }),
            (kernel.modules(view), |area| Kind::Module { area }),
            (kernel.vmalloc_areas(view), |area| Kind::Vmalloc { area }),
        ];
        for (areas, kind) in kinds {
            for area in areas {
                let number = self.areas.len() as u32;
                // What is added for CPUs later is an area of vmalloc.
                let of_cpu = area.name == "pcpu_get_vm_areas" || area.name == "pcpu_create_chunk";
                let kind = if of_cpu { Kind::OfCpu { area: number } } else { kind(number) };
                for (_, frame) in kernel.frames_of(view, &area) {
                    self.refine(frame, kind);
                }
                self.areas.push(area);
            }
        }
    }

    /// All slabs of the caches that are chosen.
    pub fn slabs(
        &self,
        kernel: &Kernel<'_>,
        view: &mut View<'_>,
        is_chosen: impl Fn(&Cache) -> bool,
    ) -> Vec<Slab> {
        let Some(layout) = self.layout else { return Vec::new() };
        let mut found = Vec::new();
        for (first, kinds) in &self.frames {
            for (frame, kind) in (*first..).zip(kinds) {
                if let Kind::Slab { cache: Some(number), head } = kind
                    && *head == frame
                    && let Some(cache) = self.caches.get(*number as usize).filter(|cache| is_chosen(cache))
                {
                    let at = (layout.page_of(frame), frame);
                    found.extend(kernel.slab(view, (cache, *number), at, &self.kept));
                }
            }
        }
        found
    }

    /// How many frames are of each kind, by its word.
    #[must_use]
    pub fn counts(&self) -> std::collections::BTreeMap<&'static str, u64> {
        let mut counts = std::collections::BTreeMap::new();
        for kind in self.frames.iter().flat_map(|(_, kinds)| kinds) {
            *counts.entry(kind.word()).or_insert(0) += 1;
        }
        counts
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn bytes_of(frame: u64) -> PhysRange {
        PhysRange { first: GuestPhys(frame * PAGE), last: GuestPhys(frame * PAGE + PAGE - 1) }
    }
}
