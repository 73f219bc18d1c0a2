//! What is chosen of a guest's memory by its objects, and the bytes that it has at an instant.
//!
//! Invariant: **the bytes are those of the instant**; what the kernel has none of then is an empty set.

use std::fmt;
use std::str::FromStr;

use crate::kernel::known::Kernel;
use crate::kernel::objects::{Kind, Objects, Owner};
use crate::kernel::tasks::{Part, Task};
use crate::kernel::view::{PAGE, View};
use crate::memory::{PhysRange, RangeSet};
use crate::text::glob_matches;
use crate::units::GuestPhys;

/// Objects of a guest's memory. Names are globs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Chosen {
    /// Of the processes of this name: a part of their memory, what the kernel has for them, or both.
    Task {
        /// The name.
        name: String,
        /// The part.
        part: Option<TaskPart>,
    },
    /// Objects of a slab cache that are in use.
    Slab(String),
    /// Page tables: all, or those of processes.
    PageTables(Option<String>),
    /// Pages of files: of all, or of those with this path.
    PageCache(Option<String>),
    /// Stacks in the kernel: of all tasks, or of some.
    Stack(Option<String>),
    /// Structures of this name in use, which are in a cache of that name: all of it or a member, of all or, of `task_struct`, of some
    /// tasks.
    Structure {
        /// Its name.
        name: String,
        /// The task.
        task: Option<String>,
        /// The member.
        field: Option<String>,
    },
    /// Free page frames.
    Free,
}

/// What of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskPart {
    /// A part of its own memory.
    Own(Part),
    /// Its stack in the kernel, its page tables, its `task_struct`.
    Kernel,
}

/// Text that chooses no objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` chooses no objects; write task:NAME, task:NAME/heap, /stack, /text, /data, /mmap or /kernel, slab:CACHE, pagetable, \
     pagetable:task:NAME, pagecache, pagecache:FILE, kstack, kstack:TASK, struct:NAME, struct:task_struct:TASK, struct:NAME.FIELD or free"
)]
pub struct ChosenTextError(String);

impl FromStr for Chosen {
    type Err = ChosenTextError;

    fn from_str(text: &str) -> Result<Self, ChosenTextError> {
        let bad = || ChosenTextError(text.to_owned());
        let (kind, rest) = match text.trim().split_once(':') {
            Some((kind, rest)) => (kind, Some(rest.trim()).filter(|rest| !rest.is_empty()).ok_or_else(bad)?),
            None => (text.trim(), ""),
        };
        let name = Some(rest.to_owned()).filter(|rest| !rest.is_empty());
        Ok(match kind {
            "task" => {
                let name = name.ok_or_else(bad)?;
                match name.rsplit_once('/') {
                    Some((name, part)) if !name.is_empty() => {
                        let own = Part::ALL.iter().find(|(_, word)| *word == part);
                        let part = match own {
                            Some((part, _)) => TaskPart::Own(*part),
                            None if part == "kernel" => TaskPart::Kernel,
                            None => return Err(bad()),
                        };
                        Chosen::Task { name: name.to_owned(), part: Some(part) }
                    }
                    Some(_) => return Err(bad()),
                    None => Chosen::Task { name, part: None },
                }
            }
            "slab" => Chosen::Slab(name.ok_or_else(bad)?),
            "pagetable" => match name {
                None => Chosen::PageTables(None),
                Some(name) => {
                    let task = name.strip_prefix("task:").filter(|task| !task.is_empty()).ok_or_else(bad)?;
                    Chosen::PageTables(Some(task.to_owned()))
                }
            },
            "pagecache" => Chosen::PageCache(name),
            "kstack" => Chosen::Stack(name),
            "struct" => {
                let name = name.ok_or_else(bad)?;
                let (place, field) = match name.split_once('.') {
                    Some((place, field)) => (place.to_owned(), Some(field.to_owned())),
                    None => (name, None),
                };
                let (name, task) = match place.split_once(':') {
                    Some((name, task)) if name == TASK => (name.to_owned(), Some(task.to_owned())),
                    Some(_) => return Err(bad()),
                    None => (place, None),
                };
                let empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
                if name.is_empty() || empty(&task) || empty(&field) {
                    return Err(bad());
                }
                Chosen::Structure { name, task, field }
            }
            "free" if name.is_none() => Chosen::Free,
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = |f: &mut fmt::Formatter<'_>, kind: &str, name: &Option<String>| match name {
            Some(name) => write!(f, "{kind}:{name}"),
            None => f.write_str(kind),
        };
        match self {
            Chosen::Task { name, part: None } => write!(f, "task:{name}"),
            Chosen::Task { name, part: Some(TaskPart::Own(part)) } => {
                write!(f, "task:{name}/{}", part.word())
            }
            Chosen::Task { name, part: Some(TaskPart::Kernel) } => write!(f, "task:{name}/kernel"),
            Chosen::Slab(name) => write!(f, "slab:{name}"),
            Chosen::PageTables(task) => {
                behind(f, "pagetable", &task.as_ref().map(|task| format!("task:{task}")))
            }
            Chosen::PageCache(file) => behind(f, "pagecache", file),
            Chosen::Stack(task) => behind(f, "kstack", task),
            Chosen::Structure { name, task, field } => {
                behind(f, &format!("struct:{name}"), task)?;
                field.as_ref().map_or(Ok(()), |field| write!(f, ".{field}"))
            }
            Chosen::Free => f.write_str("free"),
        }
    }
}

/// The one structure of which it is known whose it is.
const TASK: &str = "task_struct";

impl Objects {
    /// The bytes that are chosen, at the instant that was looked at.
    #[must_use]
    pub fn bytes(&self, chosen: &Chosen, kernel: &Kernel<'_>, view: &mut View<'_>) -> RangeSet {
        let is_named =
            |task: Option<&Task>, name: &str| task.is_some_and(|task| glob_matches(name, &task.name));
        let of_space = |space: u32, name: &str| {
            let space = self.spaces.get(space as usize);
            is_named(space.and_then(|space| self.tasks.get(space.task)), name)
        };
        match chosen {
            Chosen::Free => self.frames_that(|_, kind| matches!(kind, Kind::Free { .. })),
            Chosen::PageTables(task) => self.frames_that(|_, kind| match (kind, task) {
                (Kind::PageTable { .. }, None) => true,
                (Kind::PageTable { owner: Owner::Space(space), .. }, Some(name)) => of_space(space, name),
                _ => false,
            }),
            Chosen::PageCache(file) => self.frames_that(|_, kind| match (kind, file) {
                (Kind::Cached { .. }, None) => true,
                (Kind::Cached { file, .. }, Some(glob)) => {
                    self.files.get(file as usize).is_some_and(|path| glob_matches(glob, path))
                }
                _ => false,
            }),
            Chosen::Stack(task) => self.frames_that(|_, kind| match (kind, task) {
                (Kind::Stack { .. }, None) => true,
                (Kind::Stack { task }, Some(name)) => is_named(self.tasks.get(task as usize), name),
                _ => false,
            }),
            Chosen::Slab(name) => self.objects_of(kernel, view, name, None),
            Chosen::Structure { name, task, field } => {
                let field = field.as_ref().map(|field| (name.as_str(), field.as_str()));
                match task {
                    None => self.objects_of(kernel, view, name, field),
                    Some(task) => self.task_structures(kernel, view, task, field),
                }
            }
            Chosen::Task { name, part } => {
                let own = self.frames_that(|frame, _| {
                    let users = self.users.get(&frame).map_or(&[][..], Vec::as_slice);
                    users.iter().any(|(space, at)| {
                        let area = self.spaces.get(*space as usize).and_then(|space| space.area(*at));
                        let part = match part {
                            None => true,
                            Some(TaskPart::Own(part)) => area.is_some_and(|area| area.part == *part),
                            Some(TaskPart::Kernel) => false,
                        };
                        part && of_space(*space, name)
                    })
                });
                let mut all = own.ranges().to_vec();
                if matches!(part, None | Some(TaskPart::Kernel)) {
                    for chosen in [
                        Chosen::Stack(Some(name.clone())),
                        Chosen::PageTables(Some(name.clone())),
                        Chosen::Structure { name: TASK.to_owned(), task: Some(name.clone()), field: None },
                    ] {
                        all.extend_from_slice(self.bytes(&chosen, kernel, view).ranges());
                    }
                }
                all.into_iter().collect()
            }
        }
    }

    fn frames_that(&self, is_chosen: impl Fn(u64, Kind) -> bool) -> RangeSet {
        let all = self.frames.iter().flat_map(|(first, kinds)| (*first..).zip(kinds.iter().copied()));
        all.filter(|(frame, kind)| is_chosen(*frame, *kind))
            .map(|(frame, _)| Objects::bytes_of(frame))
            .collect()
    }

    /// The objects of a cache that are in use, or a member of each.
    fn objects_of(
        &self,
        kernel: &Kernel<'_>,
        view: &mut View<'_>,
        name: &str,
        field: Option<(&str, &str)>,
    ) -> RangeSet {
        let mut found = Vec::new();
        for slab in self.slabs(kernel, view, |cache| glob_matches(name, &cache.name)) {
            let Some(cache) = self.caches.get(slab.cache as usize) else { continue };
            let Some((offset, length)) = part_of(kernel, field, cache.size) else { continue };
            for (index, _) in slab.used.iter().enumerate().filter(|(_, used)| **used) {
                let first = slab.frame * PAGE + index as u64 * cache.stride + cache.pad + offset;
                found.extend(PhysRange::new(GuestPhys(first), GuestPhys(first + length - 1)));
            }
        }
        RangeSet::apart(found)
    }

    /// The structures of tasks, or a member of each.
    fn task_structures(
        &self,
        kernel: &Kernel<'_>,
        view: &mut View<'_>,
        name: &str,
        field: Option<(&str, &str)>,
    ) -> RangeSet {
        let size = kernel.types.size(TASK).unwrap_or(0);
        let Some((offset, length)) = part_of(kernel, field, size) else { return RangeSet::default() };
        let chosen = self.tasks.iter().filter(|task| glob_matches(name, &task.name));
        let mut found = Vec::new();
        for task in chosen {
            // In the kernel's direct map, where what follows in virtual memory follows in physical memory.
            let first = task.at.checked_add(offset).and_then(|at| view.phys(at));
            found.extend(
                first.and_then(|first| PhysRange::new(GuestPhys(first), GuestPhys(first + length - 1))),
            );
        }
        RangeSet::apart(found)
    }
}

/// A member's place in its structure, or the whole of so many bytes.
fn part_of(kernel: &Kernel<'_>, field: Option<(&str, &str)>, size: u64) -> Option<(u64, u64)> {
    let (offset, length) = match field {
        None => (0, size),
        Some((of, path)) => kernel.field(of, path).map(|field| (field.offset, field.size))?,
    };
    (length > 0 && offset.checked_add(length)? <= size).then_some((offset, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_comes_back_as_it_was() {
        for text in [
            "task:app",
            "task:app/heap",
            "task:a*/kernel",
            "slab:dentry",
            "pagetable",
            "pagetable:task:sh",
            "pagecache",
            "pagecache:/bin/busybox",
            "kstack",
            "kstack:sh",
            "struct:task_struct",
            "struct:task_struct:sh.comm",
            "struct:dentry.d_name.name",
            "free",
        ] {
            assert_eq!(text.parse::<Chosen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_chooses_nothing_is_refused() {
        for text in [
            "",
            "task",
            "task:",
            "task:app/nowhere",
            "slab",
            "pagetable:sh",
            "free:x",
            "struct:",
            "struct:a.",
            "struct:dentry:sh",
            "kernel",
        ] {
            let error = text.parse::<Chosen>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}`")) && error.contains("slab:CACHE"), "{error}");
        }
    }
}
