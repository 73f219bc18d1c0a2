//! The guest's physical memory map: what its kernel says (`/proc/iomem`), what QEMU says
//! (`info mtree -f`), and whether the two agree.
//!
//! Invariant: faults are only ever drawn from ranges that QEMU itself calls RAM. A write to a
//! device's registers reaches the device, so a region of `/proc/iomem` that is not RAM is
//! refused, never sampled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::distance;
use crate::units::{GuestPhys, UnitError, format_size};

/// Bytes from `first` to `last`, **both included**, so that the last byte of the address space can
/// be named and no bound is one byte past the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PhysRange {
    /// The first byte.
    pub first: GuestPhys,
    /// The last byte, included.
    pub last: GuestPhys,
}

impl PhysRange {
    /// A range from its two ends, or `None` when the last byte lies before the first, or when the
    /// length does not fit 64 bits.
    #[must_use]
    pub fn new(first: GuestPhys, last: GuestPhys) -> Option<Self> {
        (first <= last && last.0 - first.0 < u64::MAX).then_some(PhysRange { first, last })
    }

    /// The number of bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range holds one byte at least")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Whether the byte at `address` belongs to the range.
    #[must_use]
    pub fn contains(&self, address: GuestPhys) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether every byte of `other` belongs to the range.
    #[must_use]
    pub fn covers(&self, other: PhysRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// The bytes in both, if there are any.
    #[must_use]
    pub fn intersection(&self, other: PhysRange) -> Option<PhysRange> {
        PhysRange::new(self.first.max(other.first), self.last.min(other.last))
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PhysRange {
    type Err = RangeError;

    /// Reads `FIRST-LAST` (both included) or `FIRST+LENGTH`.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let form = || RangeError::Form(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let range = PhysRange::new(first.parse()?, last.parse()?);
            range.ok_or_else(|| RangeError::Backwards(text.to_owned()))
        } else if let Some((first, length)) = text.split_once('+') {
            let first: GuestPhys = first.parse()?;
            let length = crate::units::parse_size(length)?;
            let last = length.checked_sub(1).and_then(|n| first.0.checked_add(n)).ok_or_else(form)?;
            PhysRange::new(first, GuestPhys(last)).ok_or_else(form)
        } else {
            Err(form())
        }
    }
}

/// Text that is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// One of the numbers is none.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Neither `FIRST-LAST` nor `FIRST+LENGTH`.
    #[error("`{0}` is not a range; write FIRST-LAST (both included) or FIRST+LENGTH, as in 0x40000000+64K")]
    Form(String),
    /// The last byte lies before the first.
    #[error("the range `{0}` ends before it begins; swap its two addresses")]
    Backwards(String),
}

/// A set of bytes: ranges in ascending order, without overlap. Collected from ranges, neighbours that
/// touch are one; from [`RangeSet::apart`] they stay two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeSet(Vec<PhysRange>);

impl RangeSet {
    /// A set whose ranges keep their borders: those that touch are not joined, only those that overlap.
    #[must_use]
    pub fn apart(ranges: impl IntoIterator<Item = PhysRange>) -> Self {
        RangeSet::join(ranges, 0)
    }

    /// Joins ranges that overlap or lie closer than `gap` bytes.
    fn join(ranges: impl IntoIterator<Item = PhysRange>, gap: u64) -> Self {
        let mut sorted: Vec<PhysRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<PhysRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match joined.last_mut() {
                Some(last) if range.first.0 <= last.last.0.saturating_add(gap) => {
                    last.last = last.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        RangeSet(joined)
    }

    /// The ranges in ascending order.
    #[must_use]
    pub fn ranges(&self) -> &[PhysRange] {
        &self.0
    }

    /// The number of bytes in the set; `None` when it does not fit 64 bits.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.0.iter().try_fold(0u64, |sum, range| sum.checked_add(range.len()))
    }

    /// Whether the set holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every byte of `range` is in the set.
    #[must_use]
    pub fn covers(&self, range: PhysRange) -> bool {
        RangeSet::join(self.0.iter().copied(), 1).0.iter().any(|own| own.covers(range))
    }

    /// The bytes in both sets.
    #[must_use]
    pub fn intersection(&self, other: &RangeSet) -> RangeSet {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().filter_map(|b| a.intersection(*b)));
        pairs.collect()
    }
}

impl FromIterator<PhysRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = PhysRange>>(ranges: I) -> Self {
        RangeSet::join(ranges, 1)
    }
}

/// A line of `/proc/iomem`, or a RAM block of QEMU's where the guest's own map is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name, as the guest's kernel (or QEMU) writes it.
    pub name: String,
    /// The names from the outermost region to this one, with `/` between.
    pub path: String,
    /// The bytes.
    pub range: PhysRange,
    /// How deep the line is indented; 0 is outermost.
    pub depth: usize,
}

/// A memory map that cannot be read, or a region that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// A line of `/proc/iomem` that is none.
    #[error("line {line} of /proc/iomem is not `FIRST-LAST : NAME`: `{text}`")]
    IomemLine {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// All addresses are 0, as the kernel shows them to those who are not root.
    #[error("/proc/iomem shows only zeros: it was read without root's rights; read it as root in the guest")]
    IomemHidden,
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

/// Reads `/proc/iomem`.
///
/// # Errors
/// A line that is not `FIRST-LAST : NAME`, and a file of zeros.
pub fn parse_iomem(text: &str) -> Result<Vec<Region>, MemoryError> {
    let mut regions: Vec<Region> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim_end();
        if line.trim_start().is_empty() {
            continue;
        }
        let bad = || MemoryError::IomemLine { line: index + 1, text: line.chars().take(80).collect() };
        let depth = (line.len() - line.trim_start().len()) / 2;
        let (range, name) = line.trim_start().split_once(" : ").ok_or_else(bad)?;
        let (first, last) = range.trim().split_once('-').ok_or_else(bad)?;
        let hex = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let (first, last) = hex(first).zip(hex(last)).ok_or_else(bad)?;
        let range = PhysRange::new(GuestPhys(first), GuestPhys(last)).ok_or_else(bad)?;
        names.truncate(depth);
        names.push(name.to_owned());
        regions.push(Region { name: name.to_owned(), path: names.join("/"), range, depth });
    }
    if !regions.is_empty() && regions.iter().all(|region| region.range.last.0 == 0) {
        return Err(MemoryError::IomemHidden);
    }
    Ok(regions)
}

/// A stretch of a block of QEMU's RAM, where the guest sees it. A machine may show a block in parts, with
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
        let size = |name: &str| -> u64 {
            self.blocks.iter().filter(|block| block.name == name).map(|block| block.range.len()).sum()
        };
        let largest = || self.blocks.iter().map(|block| &*block.name).max_by_key(|name| size(name));
        let name = block.or_else(largest)?;
        let mut parts = self.blocks.iter().filter(|block| block.name == name);
        parts.find_map(|part| {
            let into = offset.checked_sub(part.offset).filter(|into| *into < part.range.len())?;
            Some(GuestPhys(part.range.first.0 + into))
        })
    }

    /// Who named the regions.
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

    fn hint(&self, name: &str) -> String {
        let name = name.to_ascii_lowercase();
        let mut close: Vec<&str> = Vec::new();
        for region in self.regions.iter().filter(|region| self.is_ram(region)) {
            let other = region.name.to_ascii_lowercase();
            let near = other.contains(&name)
                || name.contains(&other)
                || name.split_whitespace().any(|word| word.len() > 2 && other.contains(word))
                || distance(&name, &other) <= 2;
            if near && !close.contains(&region.name.as_str()) {
                close.push(&region.name);
            }
        }
        if close.is_empty() { String::new() } else { format!(" (did you mean `{}`?)", close.join("` or `")) }
    }
}

fn is_system_ram(region: &Region) -> bool {
    region.name == "System RAM"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IOMEM: &str = "\
09000000-09000fff : pl011@9000000
  09000000-09000fff : 9000000.pl011 pl011@9000000
40000000-47ffffff : System RAM
  40210000-4064ffff : Kernel code
  40650000-406effff : reserved
  406f0000-4079ffff : Kernel data
4010000000-401fffffff : PCI ECAM
";

    const MTREE: &str = "\
FlatView #0
 AS \"I/O\", root: io
 Root memory region: io
  0000000000000000-000000000000ffff (prio 0, i/o): io

FlatView #1
 AS \"memory\", root: system
 AS \"cpu-memory-0\", root: system
 Root memory region: system
  0000000000000000-0000000003ffffff (prio 0, romd): virt.flash0
  0000000009000000-0000000009000fff (prio 0, i/o): pl011
  0000000010000000-000000001000ffff (prio 0, rom): some.rom
  0000000040000000-0000000043ffffff (prio 0, ram): mach-virt.ram
  0000000044000000-0000000047ffffff (prio 0, ram): mach-virt.ram @0000000004000000 KVM
";

    fn map() -> MemoryMap {
        MemoryMap::new(Some(IOMEM), MTREE).unwrap()
    }

    fn range(text: &str) -> PhysRange {
        text.parse().unwrap()
    }

    #[test]
    fn iomem_keeps_nesting_and_inclusive_ends() {
        let regions = parse_iomem(IOMEM).unwrap();
        let code = regions.iter().find(|r| r.name == "Kernel code").unwrap();
        assert_eq!(code.path, "System RAM/Kernel code");
        assert_eq!((code.depth, code.range), (1, range("0x40210000-0x4064ffff")));
        assert_eq!(code.range.len(), 0x44_0000);
    }

    #[test]
    fn iomem_read_without_root_is_told() {
        let hidden = "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n";
        assert_eq!(parse_iomem(hidden), Err(MemoryError::IomemHidden));
    }

    #[test]
    fn a_bad_line_of_iomem_is_named() {
        let error = parse_iomem("40000000-47ffffff : System RAM\nnonsense\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of /proc/iomem is not `FIRST-LAST : NAME`: `nonsense`");
        assert!(matches!(parse_iomem("5-4 : x"), Err(MemoryError::IomemLine { line: 1, .. })));
        assert!(matches!(parse_iomem("+5-+6 : x"), Err(MemoryError::IomemLine { line: 1, .. })));
    }

    #[test]
    fn the_monitors_ram_leaves_out_rom_flash_and_devices() {
        let ram = parse_mtree_ram(MTREE).unwrap();
        assert_eq!(ram.len(), 2);
        assert!(ram.iter().all(|block| block.name == "mach-virt.ram"));
        assert_eq!(map().ram().ranges(), [range("0x40000000-0x47ffffff")]);
    }

    /// As q35 shows it: 640 KiB, firmware, the rest, and what lies above the PCI devices.
    #[test]
    fn ram_with_holes_is_drawn_from_and_named_around_them() {
        let mtree = "FlatView #0\n AS \"memory\", root: system\n\
            \x20 0000000000000000-000000000009ffff (prio 0, ram): ram0\n\
            \x20 00000000000c0000-00000000000c3fff (prio 0, rom): ram0 @00000000000c0000\n\
            \x20 00000000000c4000-00000000000fffff (prio 0, ram): ram0 @00000000000c4000\n\
            \x20 0000000000100000-000000007fffffff (prio 0, ram): ram0 @0000000000100000\n\
            \x20 0000000100000000-000000013fffffff (prio 0, ram): ram0 @0000000080000000\n\
            \x20 00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\n";
        let iomem = "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n0009fc00-000fffff : Reserved\n\
            00100000-7ffdffff : System RAM\n  01000000-017fffff : Kernel code\n7ffe0000-7fffffff : Reserved\n\
            100000000-13fffffff : System RAM\n";
        let map = MemoryMap::new(Some(iomem), mtree).unwrap();
        assert!(map.disagreements().is_empty(), "{:?}", map.disagreements());
        let system = [range("0x1000-0x9fbff"), range("0x100000-0x7ffdffff"), range("0x100000000+1G")];
        assert_eq!(map.system_ram().ranges(), system);
        // Across a hole no range is RAM.
        assert!(map.check_ram(range("0x9fff0-0xc4000")).is_err());
        let at = |block, offset| map.address_of(block, offset).map(|address| address.0);
        assert_eq!(at(Some("ram0"), 0x2000), Some(0x2000));
        assert_eq!(at(None, 0x8000_1000), Some(0x1_0000_1000));
        assert_eq!((at(None, 0xb_0000), at(Some("pc.bios"), 0), at(None, 0xc000_0000)), (None, None, None));
    }

    #[test]
    fn a_monitor_without_the_memory_view_is_an_error() {
        assert_eq!(parse_mtree_ram("unknown command: 'info mtree'"), Err(MemoryError::NoFlatView));
    }

    #[test]
    fn any_region_is_found_by_name_or_path_whatever_its_case() {
        let map = map();
        let code = map.region("kernel CODE").unwrap();
        assert_eq!(code.ranges(), [range("0x40210000-0x4064ffff")]);
        assert_eq!(map.region("System RAM/Kernel code").unwrap(), code);
        assert_eq!(map.region("reserved").unwrap().ranges(), [range("0x40650000-0x406effff")]);
    }

    #[test]
    fn a_device_region_is_refused() {
        assert_eq!(
            map().region("pl011@9000000").unwrap_err().to_string(),
            "region `pl011@9000000` (0x9000000-0x9000fff) is not RAM: a flip there would be a command \
             to a device; choose a region that `cargo xtask inject list ram` shows"
        );
    }

    #[test]
    fn an_unknown_region_is_answered_with_close_names() {
        let text = map().region("Kernel dta").unwrap_err().to_string();
        assert!(text.contains("did you mean `Kernel code` or `Kernel data`?"), "{text}");
        let text = map().region("zzz").unwrap_err().to_string();
        assert!(!text.contains("did you mean"), "{text}");
    }

    #[test]
    fn an_address_outside_ram_is_refused_with_what_is_ram() {
        let error = map().check_ram(range("0x39999999+1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "address 0x39999999 is not in the guest's RAM; its RAM is 0x40000000-0x47ffffff"
        );
        assert!(map().check_ram(range("0x47fffff8+8")).is_ok());
        assert!(map().check_ram(range("0x47fffff9+8")).is_err());
    }

    #[test]
    fn the_innermost_region_names_an_address() {
        let map = map();
        let name = |at| map.region_at(GuestPhys(at)).map(|r| r.name.as_str());
        assert_eq!(name(0x4021_0000), Some("Kernel code"));
        assert_eq!(name(0x4000_0000), Some("System RAM"));
        assert_eq!(name(0x3000_0000), None);
    }

    #[test]
    fn a_guest_with_another_machines_map_is_noticed() {
        let small = MTREE.replace("0000000047ffffff", "0000000044ffffff");
        let map = MemoryMap::new(Some(IOMEM), &small).unwrap();
        assert_eq!(map.disagreements().len(), 1, "{:?}", map.disagreements());
        let large = MTREE.replace("0000000047ffffff", "00000000ffffffff");
        let map = MemoryMap::new(Some(IOMEM), &large).unwrap();
        assert!(map.disagreements()[0].contains("QEMU has 3.0 GiB of RAM"), "{:?}", map.disagreements());
        assert!(self::map().disagreements().is_empty());
    }

    #[test]
    fn without_iomem_the_monitor_names_the_ram() {
        let map = MemoryMap::new(None, MTREE).unwrap();
        assert_eq!(map.source(), MapSource::Monitor);
        assert_eq!(map.system_ram().bytes(), Some(128 << 20));
        assert!(map.region("mach-virt.ram").is_ok());
    }

    #[test]
    fn ranges_are_read_in_both_forms() {
        assert_eq!(range("0x10-0x1f"), range("0x10+16"));
        assert_eq!(range("0+1").len(), 1);
        for bad in ["", "5", "0x20-0x10", "0+0", "a-b", "0xffffffffffffffff+2", "0-0xffffffffffffffff"] {
            assert!(bad.parse::<PhysRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one_or_two_as_asked() {
        let (a, b) = (range("0+2"), range("2+2"));
        assert_eq!([a, b].into_iter().collect::<RangeSet>().ranges(), [range("0+4")]);
        let apart = RangeSet::apart([b, a]);
        assert_eq!(apart.ranges(), [a, b]);
        assert!(apart.covers(range("1+2")));
        assert_eq!(RangeSet::apart([a, range("1+2")]).ranges(), [range("0+3")]);
    }

    #[test]
    fn the_distance_between_names_counts_edits() {
        assert_eq!(distance("kernel dta", "kernel data"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    proptest! {
        #[test]
        fn a_set_holds_exactly_the_bytes_of_its_ranges(
            pairs in prop::collection::vec((0u64..200, 0u64..30), 0..8)
        ) {
            let ranges: Vec<PhysRange> = pairs
                .iter()
                .map(|(first, extra)| PhysRange::new(GuestPhys(*first), GuestPhys(first + extra)).unwrap())
                .collect();
            let set: RangeSet = ranges.iter().copied().collect();
            let mut count = 0;
            for byte in 0..260 {
                let byte = GuestPhys(byte);
                let inside = set.ranges().iter().any(|r| r.contains(byte));
                prop_assert_eq!(inside, ranges.iter().any(|r| r.contains(byte)));
                count += u64::from(inside);
            }
            prop_assert_eq!(set.bytes(), Some(count));
            for pair in set.ranges().windows(2) {
                prop_assert!(pair[0].last.0 + 1 < pair[1].first.0);
            }
        }

        #[test]
        fn no_text_makes_the_map_panic(text in ".{0,200}") {
            let _ = (parse_iomem(&text), parse_mtree_ram(&text), text.parse::<PhysRange>());
        }
    }
}
