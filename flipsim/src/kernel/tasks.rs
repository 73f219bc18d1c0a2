//! The tasks of a stopped guest, what they have mapped, and which of them runs.
//!
//! Invariant: what is found is what the kernel's lists lead to; a list that is broken ends there.

use crate::kernel::known::Kernel;
use crate::kernel::types::Field;
use crate::kernel::view::{MOST, View};

/// A task: a process, one of its threads, or a thread of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Where its `task_struct` is.
    pub at: u64,
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it: 15 bytes at most.
    pub name: String,
    /// Where its stack in the kernel begins.
    pub stack: Option<u64>,
    /// Where the `mm_struct` of its memory is; `None` of a thread of the kernel.
    pub memory: Option<u64>,
}

/// What a part of a task's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Code of its program or of a library.
    Text,
    /// What else is mapped of files, and variables behind it.
    Data,
    /// The heap.
    Heap,
    /// The stack.
    Stack,
    /// What it has mapped without a file.
    Mapped,
}

impl Part {
    /// All of them, with their words.
    pub const ALL: [(Part, &'static str); 5] = [
        (Part::Text, "text"),
        (Part::Data, "data"),
        (Part::Heap, "heap"),
        (Part::Stack, "stack"),
        (Part::Mapped, "mmap"),
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Part::ALL.iter().find(|(part, _)| *part == self).map_or("", |(_, word)| word)
    }
}

/// A part of a task's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its first address.
    pub first: u64,
    /// The address behind its last.
    pub end: u64,
    /// What it is.
    pub part: Part,
    /// The file that it shows, and from which byte on.
    pub file: Option<(String, u64)>,
}

/// The memory of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Where its `mm_struct` is.
    pub at: u64,
    /// The place of its task in the list.
    pub task: usize,
    /// The physical address of its first page table.
    pub tables: u64,
    /// Its parts, in the order of their addresses.
    pub areas: Vec<Area>,
}

impl Space {
    /// The part that holds an address.
    #[must_use]
    pub fn area(&self, at: u64) -> Option<&Area> {
        let behind = self.areas.partition_point(|area| area.first <= at);
        self.areas[..behind].last().filter(|area| at < area.end)
    }
}

/// `VM_WRITE` and `VM_EXEC` of `include/linux/mm.h`.
const WRITE: u64 = 2;
const EXEC: u64 = 4;

/// A path with more names is cut off.
const MOST_NAMES: usize = 32;

impl Kernel<'_> {
    /// All tasks: that which idles on the first CPU, then processes with their threads, in the kernel's order.
    pub fn tasks(&self, view: &mut View<'_>) -> Vec<Task> {
        let field = |path| self.field("task_struct", path);
        let (Some(first), Some(list), Some(pid), Some(name)) =
            (self.at("init_task"), field("tasks"), field("pid"), field("comm"))
        else {
            return Vec::new();
        };
        let threads =
            field("signal").zip(self.field("signal_struct", "thread_head")).zip(field("thread_node"));
        let mut found = Vec::new();
        let leaders = view.list(first.wrapping_add(list.offset));
        let leaders = leaders.into_iter().map(|at| at.wrapping_sub(list.offset));
        for leader in [first].into_iter().chain(leaders) {
            let mut group = vec![leader];
            if let Some(((signal, head), node)) = threads
                && let Some(signal) = view.get(leader, signal)
            {
                let others = view.list(signal.wrapping_add(head.offset));
                let others = others.into_iter().map(|at| at.wrapping_sub(node.offset));
                group.extend(others.filter(|at| *at != leader));
            }
            for at in group {
                let Some(number) = view.get(at, pid) else { continue };
                let text =
                    view.text(at.wrapping_add(name.offset), usize::try_from(name.size).unwrap_or(0).min(64));
                let mut pointer =
                    |path| field(path).and_then(|field| view.get(at, field)).filter(|pointer| *pointer != 0);
                found.push(Task {
                    at,
                    pid: number as u32,
                    stack: pointer("stack"),
                    memory: pointer("mm"),
                    name: text.unwrap_or_default(),
                });
            }
        }
        found
    }

    /// The task that each CPU runs, by its place in the list; `None` of one that is not in it, as those that idle on other CPUs.
    pub fn running(&self, view: &mut View<'_>, tasks: &[Task]) -> Vec<Option<usize>> {
        let Some((queue, current)) = self.at("runqueues").zip(self.field("rq", "curr")) else {
            return Vec::new();
        };
        let cpus = self.cpus(view);
        let of = |cpu: u64| {
            let at = view.get(queue.wrapping_add(cpu), current)?;
            tasks.iter().position(|task| task.at == at)
        };
        cpus.into_iter().map(of).collect()
    }

    /// The memory of each process, once.
    pub fn spaces(&self, view: &mut View<'_>, tasks: &[Task]) -> Vec<Space> {
        let Some(tables) = self.field("mm_struct", "pgd") else { return Vec::new() };
        let mut found: Vec<Space> = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            let Some(at) = task.memory.filter(|at| found.iter().all(|other| other.at != *at)) else {
                continue;
            };
            let Some(tables) = view.get(at, tables).and_then(|tables| view.phys(tables)) else { continue };
            let areas = self.areas(view, at);
            found.push(Space { at, task: index, tables, areas });
        }
        found
    }

    /// The parts of one.
    fn areas(&self, view: &mut View<'_>, of: u64) -> Vec<Area> {
        let field = |path| self.field("vm_area_struct", path);
        let (Some(first), Some(end), Some(flags)) = (field("vm_start"), field("vm_end"), field("vm_flags"))
        else {
            return Vec::new();
        };
        let mut number = |path: &str| self.field("mm_struct", path).and_then(|field| view.get(of, field));
        let (heap, stack) = (number("start_brk").zip(number("brk")), number("start_stack"));
        let mut areas = Vec::new();
        for at in self.mapped(view, of) {
            let (Some(first), Some(end), Some(flags)) =
                (view.get(at, first), view.get(at, end), view.get(at, flags))
            else {
                continue;
            };
            let file = field("vm_file").and_then(|file| view.get(at, file)).filter(|file| *file != 0);
            let page = field("vm_pgoff").and_then(|page| view.get(at, page)).unwrap_or(0);
            let name = file.and_then(|file| self.name_of_file(view, file));
            let part = match (file.is_some(), heap, stack) {
                (false, Some((low, high)), _) if low < high && first < high && end > low => Part::Heap,
                (false, _, Some(stack)) if (first..end).contains(&stack) => Part::Stack,
                (true, ..) if flags & EXEC != 0 && flags & WRITE == 0 => Part::Text,
                (true, ..) => Part::Data,
                (false, ..) => Part::Mapped,
            };
            areas.push(Area { first, end, part, file: name.map(|name| (name, page.saturating_mul(4096))) });
        }
        areas.sort_unstable_by_key(|area| area.first);
        // What lies right behind a file's data, and can be written, are variables that begin as zeros.
        for index in 1..areas.len() {
            let (before, after) = areas.split_at_mut(index);
            let (last, this) = (&before[index - 1], &mut after[0]);
            if this.part == Part::Mapped && last.part == Part::Data && last.end == this.first {
                this.part = Part::Data;
            }
        }
        areas
    }

    /// Where the `vm_area_struct`s of a memory are.
    fn mapped(&self, view: &mut View<'_>, of: u64) -> Vec<u64> {
        if let Some(root) = self.field("mm_struct", "mm_mt.ma_root") {
            return view.get(of, root).map_or_else(Vec::new, |root| self.entries_of(view, root));
        }
        let (Some(first), Some(next)) =
            (self.field("mm_struct", "mmap"), self.field("vm_area_struct", "vm_next"))
        else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut at = view.get(of, first);
        while let Some(here) = at.filter(|here| *here != 0 && found.len() < MOST) {
            found.push(here);
            at = view.get(here, next);
        }
        found
    }

    /// What a maple tree with this root holds (`lib/maple_tree.c`): a pointer to a node has the node's kind in its lowest bits.
    fn entries_of(&self, view: &mut View<'_>, root: u64) -> Vec<u64> {
        // By kind: a leaf, a node, and a node that knows of gaps.
        let names = [None, Some("maple_range_64"), Some("maple_range_64"), Some("maple_arange_64")];
        let shape = |node| {
            Some((self.array(node, "slot")?, self.array(node, "pivot")?, self.field(node, "meta.end")?))
        };
        let shapes = names.map(|name| name.and_then(shape));
        let is_node = |entry: u64| entry & 3 == 2 && entry > 4096;
        let (mut found, mut left, mut steps) = (Vec::new(), vec![(root, u64::MAX, false)], 0);
        while let Some((entry, most, in_leaf)) = left.pop().filter(|_| steps < MOST) {
            steps += 1;
            if in_leaf || !is_node(entry) {
                if entry > 4096 && entry & 3 == 0 {
                    found.push(entry);
                }
                continue;
            }
            let (node, kind) = (entry & !0xff, (entry >> 3 & 0xf) as usize);
            let Some((slots, pivots, end)) = shapes.get(kind).copied().flatten() else { continue };
            let mut word = |array: u64, index: u64| view.word(node.wrapping_add(array + index * 8));
            let Some(last) = pivots.count.checked_sub(1) else { continue };
            let last_pivot = word(pivots.offset, last);
            let end = match last_pivot {
                None => continue,
                Some(0) => view.get(node, end).unwrap_or(0),
                Some(pivot) if pivot == most => last,
                Some(_) => pivots.count,
            };
            for index in 0..=end.min(slots.count.saturating_sub(1)) {
                let mut word = |array: u64, index: u64| view.word(node.wrapping_add(array + index * 8));
                let (slot, pivot) = (word(slots.offset, index), word(pivots.offset, index));
                let bound = pivot.filter(|pivot| *pivot != 0 && index < end).unwrap_or(most);
                if let Some(slot) = slot.filter(|slot| *slot != 0) {
                    left.push((slot, bound, kind == 1));
                }
            }
        }
        found
    }

    /// The path of an open file, below where its file system is mounted.
    fn name_of_file(&self, view: &mut View<'_>, file: u64) -> Option<String> {
        let entry = view.get(file, self.field("file", "f_path.dentry")?)?;
        self.path(view, entry)
    }

    /// The path of a directory's entry.
    pub(super) fn path(&self, view: &mut View<'_>, entry: u64) -> Option<String> {
        let (name, parent) = (self.field("dentry", "d_name.name")?, self.field("dentry", "d_parent")?);
        let mut names = Vec::new();
        let mut at = entry;
        for _ in 0..MOST_NAMES {
            let (text, above) = (view.get(at, name)?, view.get(at, parent)?);
            let text = view.text(text, 256)?;
            if above == at {
                // The root is called `/`, and what is in no directory by itself.
                if text != "/" || names.is_empty() {
                    names.push(text.trim_matches('/').to_owned());
                } else {
                    names.push(String::new());
                }
                break;
            }
            names.push(text);
            at = above;
        }
        names.reverse();
        Some(names.join("/")).map(|path| if path.is_empty() { "/".to_owned() } else { path })
    }

    /// The number in a member, of a structure that may not have it.
    pub(super) fn value(&self, view: &mut View<'_>, of: u64, field: Option<Field>) -> Option<u64> {
        view.get(of, field?)
    }
}
