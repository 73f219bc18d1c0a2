//! The slab allocator's caches, and which objects of a slab are in use.
//!
//! Source: Linux, `mm/slub.c`. A free object holds the address of the next one, from version 4.14 on hidden by a number of the cache
//! and by where it lies; the lists of free objects begin at the slab, and for the slab that a CPU takes from at that CPU as well.
//!
//! Invariant: **an object whose list is broken counts as in use**; a free one is on a list.

use std::collections::HashMap;

use crate::kernel::known::Kernel;
use crate::kernel::view::{PAGE, View};

/// A cache of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Where its `kmem_cache` is.
    pub at: u64,
    /// Its name.
    pub name: String,
    /// From one object to the next.
    pub stride: u64,
    /// The bytes of an object.
    pub size: u64,
    /// Where an object begins in its part.
    pub pad: u64,
    /// Where in an object the address of the next free one is.
    next: u64,
    /// The number by which that is hidden.
    hidden: Option<u64>,
}

/// A slab: page frames with objects of one cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slab {
    /// The place of its cache in the list.
    pub cache: u32,
    /// Its first frame.
    pub frame: u64,
    /// Which of its objects are in use.
    pub used: Vec<bool>,
    /// A CPU has it for itself: by the allocator's own account all of its objects are in use.
    pub frozen: bool,
}

/// The free objects that CPUs keep: by the address of the slab's page, the first one of each list.
pub type KeptByCpus = HashMap<u64, Vec<u64>>;

impl Kernel<'_> {
    /// All caches.
    pub fn caches(&self, view: &mut View<'_>) -> Vec<Cache> {
        let field = |path| self.field("kmem_cache", path);
        let (Some(head), Some(list), Some(name), Some(stride), Some(size), Some(next)) = (
            self.at("slab_caches"),
            field("list"),
            field("name"),
            field("size"),
            field("object_size"),
            field("offset"),
        ) else {
            return Vec::new();
        };
        // The addresses first: the list is read by the same view.
        let all: Vec<u64> = view.list(head).into_iter().map(|at| at.wrapping_sub(list.offset)).collect();
        let mut read = |at: u64| {
            let text = view.get(at, name)?;
            Some(Cache {
                at,
                name: view.text(text, 64)?,
                stride: view.get(at, stride)?,
                size: view.get(at, size)?,
                pad: field("red_left_pad").and_then(|pad| view.get(at, pad)).unwrap_or(0),
                next: view.get(at, next)?,
                hidden: field("random").and_then(|random| view.get(at, random)),
            })
        };
        let whole = |cache: &Cache| cache.stride > 0 && cache.size <= cache.stride;
        all.into_iter().filter_map(&mut read).filter(whole).collect()
    }

    /// What CPUs keep for their next allocations.
    pub fn kept_by_cpus(&self, view: &mut View<'_>, caches: &[Cache]) -> KeptByCpus {
        let mut kept = KeptByCpus::new();
        let field = |path| self.field("kmem_cache_cpu", path);
        // Up to 5.16 a slab is its page.
        let Some(((slab, list), of_cpu)) = field("slab")
            .or_else(|| field("page"))
            .zip(field("freelist"))
            .zip(self.field("kmem_cache", "cpu_slab"))
        else {
            return kept;
        };
        for cpu in self.cpus(view) {
            for cache in caches {
                let Some(at) = view.get(cache.at, of_cpu).map(|at| at.wrapping_add(cpu)) else { continue };
                if let Some((slab, list)) = view.get(at, slab).zip(view.get(at, list))
                    && slab != 0
                    && list != 0
                {
                    kept.entry(slab).or_default().push(list);
                }
            }
        }
        kept
    }

    /// The slab of a cache whose `struct slab` is there, and which begins with this frame.
    pub fn slab(
        &self,
        view: &mut View<'_>,
        (cache, number): (&Cache, u32),
        (at, frame): (u64, u64),
        kept: &KeptByCpus,
    ) -> Option<Slab> {
        // Up to 5.16 a slab is its page.
        let field = |path| self.field("slab", path).or_else(|| self.field("page", path));
        let count = view.get(at, field("objects")?)?;
        let mut lists = kept.get(&at).cloned().unwrap_or_default();
        lists.extend(view.get(at, field("freelist")?));
        let frozen = self.value(view, at, field("frozen")).is_some_and(|frozen| frozen != 0);
        let used = self.in_use(view, cache, frame * PAGE, count, &lists);
        Some(Slab { cache: number, frame, used, frozen })
    }

    /// Which of the objects of a slab are in use. It lies at `first` in physical memory and has so many objects; `lists` are the first
    /// of its free ones.
    pub fn in_use(
        &self,
        view: &mut View<'_>,
        cache: &Cache,
        first: u64,
        count: u64,
        lists: &[u64],
    ) -> Vec<bool> {
        let mut used = vec![true; usize::try_from(count).unwrap_or(0)];
        for list in lists {
            let mut at = *list;
            for _ in 0..=count {
                if at == 0 {
                    break;
                }
                let index =
                    view.phys(at).and_then(|place| place.checked_sub(first)).map(|into| into / cache.stride);
                let Some(object) = index.and_then(|index| used.get_mut(usize::try_from(index).ok()?)) else {
                    break;
                };
                *object = false;
                let place = at.wrapping_add(cache.next);
                let Some(stored) = view.word(place) else { break };
                at = cache.hidden.map_or(stored, |hidden| stored ^ hidden ^ place.swap_bytes());
            }
        }
        used
    }
}
