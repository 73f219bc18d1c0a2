//! What a page frame is by its `struct page`.
//!
//! Source: Linux, `include/linux/mm_types.h`, `include/linux/page-flags.h`, `fs/proc/page.c`.
//!
//! Invariant: a frame of which the kernel's own record says nothing that is known here is the kernel's, and no more is said of it.

use crate::kernel::known::Kernel;
use crate::kernel::types::Field;
use crate::kernel::view::View;

/// What the record of a page frame says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first of a free block of 2^order frames.
    Free {
        /// The order.
        order: u32,
    },
    /// Of a slab whose cache is there.
    Slab {
        /// Where the cache's `kmem_cache` is.
        cache: u64,
    },
    /// A page table below the first level.
    PageTable,
    /// Memory of a process that is in no file.
    Anonymous,
    /// Of a file, or of what looks like one.
    Cached {
        /// Where its `address_space` is.
        mapping: u64,
        /// Which page of it.
        page: u64,
    },
    /// Another one than the first of a block of several frames, whose first has this `struct page`.
    Tail {
        /// Its address.
        head: u64,
    },
    /// Taken before the page allocator was there, and never given to it.
    Reserved,
    /// In use, or on the way to be.
    Other,
}

/// Members of `struct page`, and what its numbers mean in this kernel.
#[derive(Clone, Copy, Debug)]
pub struct PageLayout {
    /// The bytes of a `struct page`.
    pub size: u64,
    /// The address that the `struct page` of frame 0 would have.
    pub base: u64,
    flags: Field,
    kind: Field,
    head: Field,
    mapping: Field,
    index: Option<Field>,
    private: Field,
    cache: Option<Field>,
    /// Where the list of free pages of a CPU goes through it.
    pub list: u64,
    reserved: u64,
    slab_flag: Option<u64>,
    kinds: Kinds,
}

/// How the kind of a page is written into it.
#[derive(Clone, Copy, Debug)]
enum Kinds {
    /// A bit each, which is 0 of the kind that it is.
    Bits,
    /// A number each, in the highest byte.
    Numbers { buddy: u64, table: Option<u64>, slab: Option<u64> },
}

/// Up to 6.8: the bits that are set in all of them, and that of each.
const ALL_KINDS: u64 = 0xf000_0000;
const BUDDY: u64 = 0x80;
const TABLE: u64 = 0x200;

/// A section of the memory map that has one.
const HAS_MAP: u64 = 2;
/// What is no address in the pointer to it.
const MAP_FLAGS: u64 = 0xfff;
/// So many roots and sections are looked at for the first that has a map.
const MOST_SECTIONS: u64 = 1 << 12;

impl PageLayout {
    /// That of a kernel; else what it lacks.
    ///
    /// # Errors
    /// What it lacks.
    pub fn of(kernel: &Kernel<'_>, view: &mut View<'_>) -> Result<PageLayout, String> {
        let need = |path: &str| kernel.field("page", path).ok_or_else(|| format!("page.{path}"));
        let flag = |name: &str| {
            let bit = kernel.types.constant("pageflags", name)?;
            1u64.checked_shl(u32::try_from(bit).ok()?)
        };
        let number = |name: &str| kernel.types.constant("pagetype", name);
        let kinds = match number("PGTY_buddy") {
            Some(buddy) => Kinds::Numbers { buddy, table: number("PGTY_table"), slab: number("PGTY_slab") },
            None => Kinds::Bits,
        };
        Ok(PageLayout {
            size: kernel.types.size("page").filter(|size| (1..=4096).contains(size)).ok_or("struct page")?,
            base: memory_map(kernel, view).ok_or("a memory map that is mapped as one (mem_section)")?,
            flags: need("flags")?,
            kind: need("page_type").or_else(|_| need("_mapcount"))?,
            head: need("compound_head")?,
            mapping: need("mapping")?,
            index: need("index").or_else(|_| need("__folio_index")).ok(),
            private: need("private")?,
            cache: kernel.field("slab", "slab_cache").or_else(|| kernel.field("page", "slab_cache")),
            list: need("pcp_list").or_else(|_| need("lru"))?.offset,
            reserved: flag("PG_reserved").ok_or("PG_reserved")?,
            slab_flag: flag("PG_slab"),
            kinds,
        })
    }

    /// The frame of a `struct page`.
    #[must_use]
    pub fn frame_of(&self, page: u64) -> Option<u64> {
        let apart = page.wrapping_sub(self.base);
        apart.is_multiple_of(self.size).then_some(apart / self.size)
    }

    /// Where the `struct page` of a frame is.
    #[must_use]
    pub fn page_of(&self, frame: u64) -> u64 {
        self.base.wrapping_add(frame.wrapping_mul(self.size))
    }

    /// What a `struct page` with these bytes says.
    #[must_use]
    pub fn record(&self, page: &[u8]) -> Record {
        let number = |field: Field| {
            let first = field.offset as usize;
            page.get(first..first + field.size.min(8) as usize).map_or(0, crate::units::little_endian)
        };
        let (flags, head, kind) = (number(self.flags), number(self.head), number(self.kind) & 0xffff_ffff);
        let (is_buddy, is_table, mut is_slab) = match self.kinds {
            Kinds::Bits => {
                let is = |bit: u64| kind & (ALL_KINDS | bit) == ALL_KINDS;
                (is(BUDDY), is(TABLE), false)
            }
            Kinds::Numbers { buddy, table, slab } => {
                let is = |number: u64| kind >> 24 == number;
                (is(buddy), table.is_some_and(is), slab.is_some_and(is))
            }
        };
        is_slab |= self.slab_flag.is_some_and(|bit| flags & bit != 0);
        if is_buddy {
            return Record::Free { order: number(self.private) as u32 };
        }
        if head & 1 != 0 {
            return Record::Tail { head: head & !1 };
        }
        if is_slab {
            return Record::Slab { cache: self.cache.map_or(0, number) };
        }
        if is_table {
            return Record::PageTable;
        }
        if flags & self.reserved != 0 {
            return Record::Reserved;
        }
        let mapping = number(self.mapping);
        match mapping & 3 {
            _ if mapping == 0 => Record::Other,
            0 => Record::Cached { mapping, page: self.index.map_or(0, number) },
            1 | 3 => Record::Anonymous,
            _ => Record::Other,
        }
    }
}

/// Where the memory map is, as the first section that has one says: with a map that is mapped as one, all say the same.
fn memory_map(kernel: &Kernel<'_>, view: &mut View<'_>) -> Option<u64> {
    let (field, size) = (kernel.field("mem_section", "section_mem_map")?, kernel.types.size("mem_section")?);
    let roots = view.word(kernel.at("mem_section")?)?;
    for root in 0..MOST_SECTIONS {
        let Some(first) = view.word(roots.checked_add(root * 8)?) else { break };
        for index in 0..(4096 / size.max(1)).min(MOST_SECTIONS) {
            let map = view.get(first.wrapping_add(index * size), field).filter(|_| first != 0);
            if let Some(map) = map.filter(|map| map & HAS_MAP != 0) {
                return Some(map & !MAP_FLAGS);
            }
        }
    }
    None
}
