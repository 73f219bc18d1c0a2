//! What a byte of a guest's RAM belongs to, in words.
//!
//! Invariant: no more is said than is known of the instant that was looked at.

use crate::kernel::known::Kernel;
use crate::kernel::objects::{Kind, Objects, Owner};
use crate::kernel::view::{PAGE, View};
use crate::units::GuestPhys;

impl Objects {
    /// What a byte belongs to; `None` where there is no RAM.
    #[must_use]
    pub fn name(&self, at: GuestPhys, kernel: &Kernel<'_>, view: &mut View<'_>) -> Option<String> {
        let (frame, inside) = (at.0 / PAGE, at.0 % PAGE);
        let area = |area: u32| self.areas.get(area as usize).map_or("", |area| &area.name);
        Some(match self.kind(frame)? {
            Kind::Free { order, kept: false } => format!("free memory, of a block of {} KiB", 4u64 << order),
            Kind::Free { .. } => "free memory that a CPU keeps".to_owned(),
            Kind::Slab { cache, head } => self.object_name(at, cache, head, kernel, view),
            Kind::PageTable { owner, level } => {
                let of = match owner {
                    Owner::Kernel => "the kernel".to_owned(),
                    Owner::Space(space) => self.process(space),
                    Owner::Unknown => return Some("page table".to_owned()),
                };
                format!("page table of level {level} of {of}, entry {}", inside / 8)
            }
            Kind::Anonymous => match self.user(frame) {
                Some(user) => format!("{user}, byte {inside:#x} of its page"),
                None => "memory of a process".to_owned(),
            },
            Kind::Cached { file, page } => {
                let path = self.files.get(file as usize).map_or("", String::as_str);
                let user = self.user(frame).map(|user| format!(" ({user})")).unwrap_or_default();
                format!("byte {:#x} of {path}{user}", page.wrapping_mul(PAGE).wrapping_add(inside))
            }
            Kind::Stack { task } => format!("kernel stack of {}", self.task(task as usize)),
            Kind::OfCpu { area: number } => format!("per-cpu memory ({})", area(number)),
            Kind::Module { area: number } => format!("module {}", area(number)),
            Kind::Vmalloc { area: number } => format!("vmalloc, for {}", area(number)),
            kind @ Kind::Image(_) => match kernel.map.name_at(at) {
                Some(symbol) => format!("{kind}: {symbol}"),
                None => kind.to_string(),
            },
            kind => kind.to_string(),
        })
    }

    /// An object of a slab.
    fn object_name(
        &self,
        at: GuestPhys,
        cache: Option<u32>,
        head: u64,
        kernel: &Kernel<'_>,
        view: &mut View<'_>,
    ) -> String {
        let known = cache.and_then(|number| Some((number, self.caches.get(number as usize)?)));
        let Some(((number, cache), layout)) = known.zip(self.layout) else { return "slab".to_owned() };
        let into = at.0 - head * PAGE;
        let (index, inside) = (into / cache.stride, into % cache.stride);
        let slab = kernel.slab(view, (cache, number), (layout.page_of(head), head), &self.kept);
        let used = slab.and_then(|slab| slab.used.get(usize::try_from(index).ok()?).copied());
        let state = match used {
            Some(true) => "in use",
            Some(false) => "free",
            None => return format!("slab {}, behind its objects", cache.name),
        };
        let member =
            inside.checked_sub(cache.pad).and_then(|inside| kernel.types.member_at(&cache.name, inside));
        let member = member.map_or_else(|| format!("byte {inside:#x}"), |member| format!(".{member}"));
        format!("slab {}, object {index} ({state}), {member}", cache.name)
    }

    /// Who has a frame mapped, and where.
    fn user(&self, frame: u64) -> Option<String> {
        let (space, at) = *self.users.get(&frame)?.first()?;
        let area = self.spaces.get(space as usize).and_then(|space| space.area(at));
        let part = area.map_or("", |area| area.part.word());
        Some(format!("{part} of {} at {at:#x}", self.process(space)))
    }

    fn process(&self, space: u32) -> String {
        self.spaces.get(space as usize).map_or_else(String::new, |space| self.task(space.task))
    }

    fn task(&self, task: usize) -> String {
        self.tasks.get(task).map_or_else(String::new, |task| format!("{} ({})", task.name, task.pid))
    }
}
