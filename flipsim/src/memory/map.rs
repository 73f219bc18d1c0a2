//! The guest's physical memory map: what its kernel says (`/proc/iomem`), what QEMU says
//! (`info mtree -f`), and whether the two agree.
//!
//! Invariant: faults are only ever drawn from ranges that QEMU itself calls RAM. A write to a
//! device's registers reaches the device, so a region of `/proc/iomem` that is not RAM is
//! refused, never sampled.

use std::collections::BTreeMap;

use crate::memory::range::{PhysRange, RangeSet};
use crate::text::{near_words, without_mark};
use crate::units::{GuestPhys, format_size};

/// A line of `/proc/iomem`, or one of QEMU's RAM blocks where the guest's own map is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name, as the guest's kernel (or QEMU) writes it.
    pub name: String,
    /// The names from the outermost region to this one, with `/` between.
    pub path: String,
    /// The bytes.
    pub range: PhysRange,
    /// In how many others it lies; 0 is outermost.
    pub depth: usize,
}

/// A memory map that cannot be read, or a region that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// An invalid line of `/proc/iomem`.
    #[error("line {line} of /proc/iomem is not `FIRST-LAST : NAME`: `{text}`")]
    IomemLine {
        /// Counted from 1.
        line: usize,
        /// The text of that line.
        text: String,
    },
    /// All addresses are 0, as the kernel shows them to users other than root.
    #[error("/proc/iomem shows only zeros: it was read without root's rights; read it as root in the guest")]
    IomemHidden,
    /// Regions in regions, deeper than a kernel shows.
    #[error(
        "line {line} of /proc/iomem lies in more regions than a kernel shows; is the file put together from several?"
    )]
    IomemDepth {
        /// Counted from 1.
        line: usize,
    },
    /// `info mtree -f` has no view of the address space "memory".
    #[error(
        "QEMU's `info mtree -f` shows no flat view of the address space \"memory\"; is this a QEMU 7.x monitor?"
    )]
    NoFlatView,
    /// No region of this name.
    #[error("the guest has no region `{name}`{hint}; `cargo xtask inject list regions` shows them all")]
    UnknownRegion {
        /// What was asked for.
        name: String,
        /// Names that are close, as ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// The region exists and is not RAM.
    #[error(
        "region `{name}` ({range}) is not RAM: a flip there would be a command to a device; \
         choose a region that `cargo xtask inject list ram` shows"
    )]
    NotRam {
        /// The region's name.
        name: String,
        /// Its first range.
        range: PhysRange,
    },
    /// The address is not RAM.
    #[error("address {address} is not in the guest's RAM; its RAM is {ram}")]
    OutsideRam {
        /// What was asked for.
        address: GuestPhys,
        /// The RAM's ranges.
        ram: String,
    },
    /// The range is not, or not wholly, RAM.
    #[error("the range {range} is not wholly in the guest's RAM; its RAM is {ram}")]
    RangeOutsideRam {
        /// What was asked for.
        range: PhysRange,
        /// The RAM's ranges.
        ram: String,
    },
}

/// The kernel shows eight levels at most (`MAX_IORES_LEVEL` in `kernel/resource.c`).
const MAX_DEPTH: usize = 16;

/// Reads `/proc/iomem`, as the kernel shows it or as it was pasted: with tabs, more spaces or none at all. A line
/// belongs to the last one before it that has all of its bytes: the kernel's regions overlap in no other way.
///
/// # Errors
/// A line that is not `FIRST-LAST : NAME`, a file of zeros, and regions in regions without an end.
pub fn parse_iomem(text: &str) -> Result<Vec<Region>, MemoryError> {
    let mut lines = Vec::new();
    for (index, raw) in without_mark(text).lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() {
            continue;
        }
        let bad = || MemoryError::IomemLine { line: index + 1, text: line.chars().take(80).collect() };
        let (range, name) = line.split_once(" : ").ok_or_else(bad)?;
        let (first, last) = range.trim().split_once('-').ok_or_else(bad)?;
        let hex = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let (first, last) = hex(first).zip(hex(last)).ok_or_else(bad)?;
        let range = PhysRange::new(GuestPhys(first), GuestPhys(last)).ok_or_else(bad)?;
        lines.push((index + 1, range, name.trim_start()));
    }
    if !lines.is_empty() && lines.iter().all(|(_, range, _)| range.last.0 == 0) {
        return Err(MemoryError::IomemHidden);
    }
    let mut regions: Vec<Region> = Vec::with_capacity(lines.len());
    let mut around: Vec<(PhysRange, &str)> = Vec::new();
    for (line, range, name) in lines {
        while around.last().is_some_and(|(outer, _)| !outer.covers(range)) {
            around.pop();
        }
        let depth = around.len();
        if depth >= MAX_DEPTH {
            return Err(MemoryError::IomemDepth { line });
        }
        around.push((range, name));
        let path = around.iter().map(|(_, name)| *name).collect::<Vec<_>>().join("/");
        regions.push(Region { name: name.to_owned(), path, range, depth });
    }
    Ok(regions)
}

/// A part of one of QEMU's RAM blocks, where the guest sees it. A machine may show a block in parts, with
/// holes between them that belong to devices and firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamBlock {
    /// The block's name.
    pub name: String,
    /// What the guest sees of it.
    pub range: PhysRange,
    /// Where in the block that starts.
    pub offset: u64,
}

/// Reads the RAM ranges, with the names of QEMU's blocks, from the HMP command
/// `info mtree -f` (QEMU, `softmmu/memory.c`, `mtree_print_flatview`).
///
/// # Errors
/// [`MemoryError::NoFlatView`] when the text has no view of the address space "memory".
pub fn parse_mtree_ram(text: &str) -> Result<Vec<RamBlock>, MemoryError> {
    let view = text
        .split("FlatView #")
        .find(|view| view.lines().any(|line| line.trim_start().starts_with("AS \"memory\"")))
        .ok_or(MemoryError::NoFlatView)?;
    let mut ram = Vec::new();
    for line in view.lines() {
        let Some((range, rest)) = line.trim().split_once(" (prio ") else { continue };
        let Some((kind, name)) = rest.split_once("): ") else { continue };
        if !matches!(kind.rsplit(", ").next(), Some("ram" | "nv-ram")) {
            continue;
        }
        // Behind the name may stand ` @OFFSET` and ` KVM`.
        let (name, offset) = name.trim_end_matches(" KVM").split_once(" @").unwrap_or((name, "0"));
        let name = name.trim_end_matches(" KVM").to_owned();
        let Ok(offset) = u64::from_str_radix(offset, 16) else { continue };
        let ends = range.split_once('-').and_then(|(first, last)| {
            Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?))
        });
        if let Some(range) = ends.and_then(|(a, b)| PhysRange::new(GuestPhys(a), GuestPhys(b))) {
            ram.push(RamBlock { name, range, offset });
        }
    }
    Ok(ram)
}

/// Where the names of the regions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapSource {
    /// The guest's `/proc/iomem`.
    Iomem,
    /// QEMU's monitor: the guest's own map is not known.
    Monitor,
}

/// The memory map that faults are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    regions: Vec<Region>,
    ram: RangeSet,
    blocks: Vec<RamBlock>,
    source: MapSource,
    disagreements: Vec<String>,
}

impl MemoryMap {
    /// Joins the guest's view with QEMU's.
    ///
    /// # Errors
    /// One of the two texts cannot be read.
    pub fn new(iomem: Option<&str>, mtree: &str) -> Result<Self, MemoryError> {
        let blocks = parse_mtree_ram(mtree)?;
        let ram: RangeSet = blocks.iter().map(|block| block.range).collect();
        let Some(iomem) = iomem else {
            let source = MapSource::Monitor;
            let named = |block: &RamBlock| {
                let name = block.name.clone();
                Region { path: name.clone(), name, range: block.range, depth: 0 }
            };
            let regions = blocks.iter().map(named).collect();
            return Ok(MemoryMap { regions, ram, blocks, source, disagreements: Vec::new() });
        };
        let regions = parse_iomem(iomem)?;
        let mut disagreements = Vec::new();
        for region in regions.iter().filter(|region| is_system_ram(region)) {
            if !ram.covers(region.range) {
                disagreements.push(format!(
                    "the guest calls {} \"{}\", QEMU does not call all of it RAM",
                    region.range, region.name
                ));
            }
        }
        let guest: RangeSet = regions.iter().filter(|r| is_system_ram(r)).map(|r| r.range).collect();
        let (has, knows) = (ram.bytes().unwrap_or(u64::MAX), guest.bytes().unwrap_or(u64::MAX));
        // Firmware keeps a little for itself; a guest that misses more than a tenth was given
        // another machine than the one that is looked at.
        if knows < has / 10 * 9 {
            disagreements.push(format!(
                "QEMU has {} of RAM, the guest's map shows {}",
                format_size(has),
                format_size(knows)
            ));
        }
        Ok(MemoryMap { regions, ram, blocks, source: MapSource::Iomem, disagreements })
    }

    /// All regions in the order of the map.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// What QEMU calls RAM.
    #[must_use]
    pub fn ram(&self) -> &RangeSet {
        &self.ram
    }

    /// Where the guest sees a byte of a block of RAM, or of the largest one where no block is named; `None`
    /// where it does not see it.
    #[must_use]
    pub fn address_of(&self, block: Option<&str>, offset: u64) -> Option<GuestPhys> {
        let name = block.or_else(|| self.largest_block())?;
        let mut parts = self.blocks.iter().filter(|block| block.name == name);
        parts.find_map(|part| {
            let into = offset.checked_sub(part.offset).filter(|into| *into < part.range.len())?;
            Some(GuestPhys(part.range.first.0 + into))
        })
    }

    /// Where in the largest block of RAM the guest's address lies; `None` of one in another block or in none.
    #[must_use]
    pub fn offset_of(&self, address: GuestPhys) -> Option<u64> {
        let name = self.largest_block()?;
        let part = self.blocks.iter().find(|part| part.name == name && part.range.contains(address))?;
        Some(part.offset + (address.0 - part.range.first.0))
    }

    fn largest_block(&self) -> Option<&str> {
        let mut sizes: BTreeMap<&str, u128> = BTreeMap::new();
        for block in &self.blocks {
            *sizes.entry(&block.name).or_default() += u128::from(block.range.len());
        }
        // Of two that are as large, the later one.
        self.blocks.iter().map(|block| &*block.name).max_by_key(|name| sizes.get(name))
    }

    /// Where the names of the regions come from.
    #[must_use]
    pub fn source(&self) -> MapSource {
        self.source
    }

    /// Where the guest's view and QEMU's differ, a sentence each; empty when they agree.
    #[must_use]
    pub fn disagreements(&self) -> &[String] {
        &self.disagreements
    }

    /// Whether all of the region is RAM.
    #[must_use]
    pub fn is_ram(&self, region: &Region) -> bool {
        self.ram.covers(region.range)
    }

    /// The RAM that the guest's kernel uses: every "System RAM" of its own map, or all of QEMU's
    /// RAM where that map is not known.
    #[must_use]
    pub fn system_ram(&self) -> RangeSet {
        match self.source {
            MapSource::Monitor => self.ram.clone(),
            MapSource::Iomem => {
                let named: RangeSet =
                    self.regions.iter().filter(|r| is_system_ram(r)).map(|r| r.range).collect();
                named.intersection(&self.ram)
            }
        }
    }

    /// The bytes of every region with this name, or with this path (`System RAM/Kernel code`).
    /// Upper and lower case are the same.
    ///
    /// # Errors
    /// No region has the name, or one that has it is not RAM.
    pub fn region(&self, name: &str) -> Result<RangeSet, MemoryError> {
        let wanted = |region: &&Region| {
            region.name.eq_ignore_ascii_case(name) || region.path.eq_ignore_ascii_case(name)
        };
        let found: Vec<&Region> = self.regions.iter().filter(wanted).collect();
        if found.is_empty() {
            return Err(MemoryError::UnknownRegion { name: name.to_owned(), hint: self.hint(name) });
        }
        if let Some(device) = found.iter().find(|region| !self.is_ram(region)) {
            return Err(MemoryError::NotRam { name: device.name.clone(), range: device.range });
        }
        Ok(RangeSet::apart(found.iter().map(|region| region.range)))
    }

    /// The first range of a region with this name, RAM or not.
    #[must_use]
    pub fn first_range(&self, name: &str) -> Option<PhysRange> {
        self.regions.iter().find(|region| region.name == name).map(|region| region.range)
    }

    /// The innermost region that holds the address.
    #[must_use]
    pub fn region_at(&self, address: GuestPhys) -> Option<&Region> {
        self.regions.iter().filter(|r| r.range.contains(address)).max_by_key(|r| r.depth)
    }

    /// Refuses a range that is not wholly RAM.
    ///
    /// # Errors
    /// [`MemoryError::OutsideRam`] for one byte, [`MemoryError::RangeOutsideRam`] for more.
    pub fn check_ram(&self, range: PhysRange) -> Result<(), MemoryError> {
        if self.ram.covers(range) {
            return Ok(());
        }
        let ram = self.ram.ranges().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(if range.len() == 1 {
            MemoryError::OutsideRam { address: range.first, ram }
        } else {
            MemoryError::RangeOutsideRam { range, ram }
        })
    }

    pub(super) fn hint(&self, name: &str) -> String {
        let ram = self.regions.iter().filter(|region| self.is_ram(region));
        near_words(name, ram.map(|region| region.name.as_str()))
    }
}

/// Whether the kernel manages the region as its RAM: what it found at its start, or what a driver added since, which
/// it names: `System RAM (virtio_mem)`, `System RAM (kmem)` (`add_memory_driver_managed` in `mm/memory_hotplug.c`).
fn is_system_ram(region: &Region) -> bool {
    let driver = region.name.strip_prefix("System RAM");
    driver.is_some_and(|driver| driver.is_empty() || (driver.starts_with(" (") && driver.ends_with(')')))
}
