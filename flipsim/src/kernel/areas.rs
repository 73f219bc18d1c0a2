//! What the kernel has mapped behind its image and its direct map: vmalloc, modules, and what belongs to each CPU.
//!
//! Invariant: what is found is what the kernel's lists lead to.

use crate::kernel::known::Kernel;
use crate::kernel::view::{PAGE, View};

/// Addresses that the kernel has mapped for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualArea {
    /// The first.
    pub first: u64,
    /// Behind the last.
    pub end: u64,
    /// What for: the function that asked, or a module's name.
    pub name: String,
}

/// `VM_IOREMAP` of `include/linux/vmalloc.h`: registers of devices.
const IOREMAP: u64 = 1;

impl Kernel<'_> {
    /// All areas of vmalloc that have memory, by their addresses.
    pub fn vmalloc_areas(&self, view: &mut View<'_>) -> Vec<VirtualArea> {
        let field = |path| self.field("vmap_area", path);
        let of = |path| self.field("vm_struct", path);
        let (Some(list), Some(vm), Some(first), Some(end)) =
            (field("list"), field("vm"), field("va_start"), field("va_end"))
        else {
            return Vec::new();
        };
        let mut heads: Vec<u64> = self.at("vmap_area_list").into_iter().collect();
        // From 6.9 on there are several lists.
        if let (Some(nodes), Some(count), Some(size), Some(head)) = (
            self.at("vmap_nodes").and_then(|at| view.word(at)),
            self.at("nr_vmap_nodes").and_then(|at| view.word(at)),
            self.types.size("vmap_node"),
            self.field("vmap_node", "busy.head"),
        ) {
            heads.extend(
                (0..(count & 0xffff_ffff).min(4096))
                    .map(|node| nodes.wrapping_add(node * size + head.offset)),
            );
        }
        let mut found = Vec::new();
        for head in heads {
            for at in view.list(head).into_iter().map(|at| at.wrapping_sub(list.offset)) {
                let Some(structure) = view.get(at, vm).filter(|structure| *structure != 0) else { continue };
                let flags = self.value(view, structure, of("flags")).unwrap_or(0);
                let (Some(first), Some(end)) = (view.get(at, first), view.get(at, end)) else { continue };
                if flags & IOREMAP == 0 && first < end {
                    let caller = self.value(view, structure, of("caller"));
                    let name = caller.and_then(|caller| self.name_of(caller)).unwrap_or_default().to_owned();
                    found.push(VirtualArea { first, end, name });
                }
            }
        }
        found
    }

    /// The modules that are loaded.
    pub fn modules(&self, view: &mut View<'_>) -> Vec<VirtualArea> {
        let field = |path| self.field("module", path);
        let (Some(head), Some(list), Some(name)) = (self.at("modules"), field("list"), field("name")) else {
            return Vec::new();
        };
        // From 6.4 on a module has several parts, before it has two.
        let parts: Vec<_> = match self.array("module", "mem") {
            Some(parts) => (0..parts.count.min(16))
                .filter_map(|index| {
                    let at = |path| {
                        let own = self.field("module_memory", path)?;
                        Some(crate::kernel::types::Field {
                            offset: parts.offset + index * parts.stride + own.offset,
                            ..own
                        })
                    };
                    at("base").zip(at("size"))
                })
                .collect(),
            None => [("core_layout.base", "core_layout.size"), ("init_layout.base", "init_layout.size")]
                .into_iter()
                .filter_map(|(base, size)| field(base).zip(field(size)))
                .collect(),
        };
        let mut found = Vec::new();
        for at in view.list(head).into_iter().map(|at| at.wrapping_sub(list.offset)) {
            let text = view.text(at.wrapping_add(name.offset), 56).unwrap_or_default();
            for (base, size) in &parts {
                if let Some((first, size)) = view.get(at, *base).zip(view.get(at, *size))
                    && first != 0
                    && size > 0
                {
                    let end = first.saturating_add(size).saturating_add(PAGE - 1) / PAGE * PAGE;
                    found.push(VirtualArea { first, end, name: text.clone() });
                }
            }
        }
        found
    }

    /// What belongs to each CPU from the start on.
    pub fn of_cpus(&self, view: &mut View<'_>) -> Vec<VirtualArea> {
        let (Some(base), Some(chunk), Some(offsets), Some(count)) = (
            self.at("pcpu_base_addr").and_then(|at| view.word(at)),
            self.at("pcpu_first_chunk").and_then(|at| view.word(at)),
            self.at("pcpu_unit_offsets").and_then(|at| view.word(at)),
            self.at("pcpu_nr_units")
                .and_then(|at| view.word(at))
                .map(|count| (count & 0xffff_ffff).min(1024)),
        ) else {
            return Vec::new();
        };
        let field = |path| self.field("pcpu_chunk", path);
        let first = self.value(view, chunk, field("base_addr"));
        let pages = self.value(view, chunk, field("nr_pages"));
        let Some((first, pages)) = first.zip(pages) else { return Vec::new() };
        let length = first.wrapping_add(pages.saturating_mul(PAGE)).wrapping_sub(base).min(MOST_OF_CPU);
        (0..count)
            .filter_map(|cpu| {
                let at = base.wrapping_add(view.word(offsets.checked_add(cpu * 8)?)?);
                Some(VirtualArea { first: at, end: at.checked_add(length)?, name: format!("cpu {cpu}") })
            })
            .collect()
    }

    /// Where devices that reach no further have their data copied to: the first byte, and the one behind the last.
    pub fn bounce_buffers(&self, view: &mut View<'_>) -> Option<(u64, u64)> {
        let at = self.at("io_tlb_default_mem")?;
        let field = |path: &str, newer: &str| {
            self.field("io_tlb_mem", path).or_else(|| self.field("io_tlb_mem", newer))
        };
        let first = view.get(at, field("start", "defpool.start")?)?;
        let end = view.get(at, field("end", "defpool.end")?)?;
        (first < end && end - first <= MOST_PAGES * PAGE).then_some((first, end))
    }

    /// The bytes of a task's stack in the kernel.
    #[must_use]
    pub fn stack_size(&self) -> u64 {
        let stack = self.array("thread_union", "stack").map(|stack| stack.count.saturating_mul(stack.stride));
        stack.filter(|size| (PAGE..=1 << 20).contains(size)).unwrap_or(4 * PAGE)
    }

    /// The page frames that an area shows, each with its address, those of larger pages one by one; so many at most.
    pub fn frames_of(&self, view: &mut View<'_>, area: &VirtualArea) -> Vec<(u64, u64)> {
        let pages = (area.end.saturating_sub(area.first) / PAGE).min(MOST_PAGES);
        let at = |page| area.first + page * PAGE;
        (0..pages).filter_map(|page| Some((at(page), view.phys(at(page))? / PAGE))).collect()
    }
}

/// No CPU has more memory from the start on.
const MOST_OF_CPU: u64 = 1 << 28;

/// More pages of one area are not looked at.
const MOST_PAGES: u64 = 1 << 20;
