//! Kernel symbols from a `vmlinux`, a `System.map` or `/proc/kallsyms`, and where they lie in the guest's
//! physical memory.
//!
//! A kernel may have moved itself (KASLR): its image stays in one piece, so that one place that is known gives
//! all. That is the start of its code in `/proc/iomem`, or where the guest has not given that, its banner:
//! images are aligned to 2 MiB in physical and in virtual memory, so that few places can hold it.
//!
//! Invariant: a symbol is only turned into an address after bytes of the running guest have been
//! compared with the file ([`SymbolMap::anchor`]); a kernel that is another one is refused instead of flipped in
//! the wrong place.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::arch::ArchRow;

use crate::memory::{MapSource, MemoryMap, PhysRange};
use crate::target::{Target, TargetError};
use crate::text::distance;
use crate::units::{GuestPhys, GuestVirt, UnitError, parse_number};

/// The bytes compared with the guest before symbols are believed.
const BANNER_BYTES: usize = 64;
/// How `linux_banner` begins, and the format of `/proc/version` (`init/version.c`), for files without bytes.
const BANNER: &[u8] = b"Linux version ";
const PROC_BANNER: &[u8] = b"%s version %s (";
/// Why nothing can be compared.
const NO_BANNER: &str =
    "it has no linux_banner to compare (kallsyms of a kernel without CONFIG_KALLSYMS_ALL have none)";
/// What kernel images are aligned to: `MIN_KIMG_ALIGN` on arm64, `CONFIG_PHYSICAL_ALIGN` on x86.
const IMAGE_ALIGN: u64 = 2 << 20;
/// A list with fewer symbols is none of a kernel.
const FEWEST: usize = 16;

/// One symbol of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// The virtual address it was linked to.
    pub address: GuestVirt,
    /// Its size in bytes; 0 where the file does not say.
    pub size: u64,
}

/// Symbols that cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum SymbolError {
    /// The file cannot be read.
    #[error("cannot read the kernel's symbols from {path}: {cause}; give the vmlinux of the running kernel")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the ELF reader said.
        cause: String,
    },
    /// The file has no symbol table.
    #[error("{path} has no symbols: it was stripped; give the vmlinux as the build left it")]
    Stripped {
        /// The file.
        path: PathBuf,
    },
    /// A list of symbols that is none.
    #[error(
        "{path} is no vmlinux, no System.map and no /proc/kallsyms: {why}; a distribution's System.map may be a stub, \
         then take /proc/kallsyms as root in the guest"
    )]
    NoList {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// All addresses are 0.
    #[error(
        "{path} shows only zeros: /proc/kallsyms was read without the rights; read it as root, after \
         `sysctl kernel.kptr_restrict=1`"
    )]
    Hidden {
        /// The file.
        path: PathBuf,
    },
    /// No such symbol.
    #[error("the kernel has no symbol `{name}`{hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that are close, as ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// The text behind `+` is no number.
    #[error("in `{text}`: {cause}")]
    Offset {
        /// What was asked for.
        text: String,
        /// Why it is none.
        cause: UnitError,
    },
    /// The symbol is a number, such as a size or a version, not a place.
    #[error("symbol `{name}` ({address}) lies outside of the kernel's image; it names no memory")]
    NotInImage {
        /// The symbol.
        name: String,
        /// Its value.
        address: GuestVirt,
    },
    /// The symbol was in memory that the kernel gave back once it was up.
    #[error(
        "symbol `{name}` belongs to the kernel's start-up; its memory was given back and holds something else now"
    )]
    GivenBack {
        /// The symbol.
        name: String,
    },
    /// The kernel's place is not known.
    #[error(
        "symbols cannot be used: the guest has not given its /proc/iomem, and the banner of {path} is at no place of \
         its RAM where a kernel can be, or at several; is that the kernel that runs?"
    )]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The guest runs another kernel than the file.
    #[error(
        "{path} cannot be taken for the kernel that this guest runs: {why}; give the symbols of that one"
    )]
    NotThisKernel {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// The guest could not be read.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// The symbols of one kernel, sorted by address.
#[derive(Debug)]
pub struct Symbols {
    path: PathBuf,
    by_address: Vec<Symbol>,
    /// Bytes of the kernel that are known, and where: its banners.
    known: Vec<(GuestVirt, Vec<u8>)>,
    sections: Vec<Symbol>,
}

/// What stands for sections in a list that has none: their names, first symbols, and symbols behind the last byte
/// (`include/asm-generic/vmlinux.lds.h`).
const SECTIONS: &[(&str, &str, &str)] = &[
    (".text", "_stext", "_etext"),
    (".rodata", "__start_rodata", "__end_rodata"),
    (".data", "_sdata", "_edata"),
    (".bss", "__bss_start", "__bss_stop"),
];

impl Symbols {
    /// Reads an ELF file's symbol table, or the lines of a `System.map` or of `/proc/kallsyms`.
    ///
    /// # Errors
    /// The file cannot be read, is none of these, or has no symbols.
    pub fn load(path: &Path) -> Result<Self, SymbolError> {
        let fail = |cause: String| SymbolError::Read { path: path.to_owned(), cause };
        let data = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        if !data.starts_with(b"\x7fELF") {
            return Symbols::from_list(path, &String::from_utf8_lossy(&data));
        }
        let file = object::File::parse(&*data).map_err(|e| fail(e.to_string()))?;
        let mut by_address: Vec<Symbol> = file
            .symbols()
            .filter(|s| matches!(s.kind(), SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown))
            .filter_map(|s| {
                let name = s.name().ok().filter(|name| !name.is_empty() && !name.starts_with('$'))?;
                Some(Symbol { name: name.to_owned(), address: GuestVirt(s.address()), size: s.size() })
            })
            .collect();
        if by_address.is_empty() {
            return Err(SymbolError::Stripped { path: path.to_owned() });
        }
        by_address.sort_by(|a, b| (a.address, a.size, &a.name).cmp(&(b.address, b.size, &b.name)));
        let sections = file.sections().filter(|s| s.address() != 0 && s.size() > 0).filter_map(|s| {
            let name = s.name().ok()?.to_owned();
            Some(Symbol { name, address: GuestVirt(s.address()), size: s.size() })
        });
        let sections = sections.collect();
        let mut symbols = Symbols { path: path.to_owned(), by_address, known: Vec::new(), sections };
        let banner = symbols.get("linux_banner").ok().map(|s| s.address).and_then(|at| {
            let holds =
                |s: &object::Section<'_, '_>| at.0.checked_sub(s.address()).is_some_and(|o| o < s.size());
            let section = file.sections().find(holds)?;
            let offset = usize::try_from(at.0 - section.address()).ok()?;
            let bytes = section.data().ok()?.get(offset..offset + BANNER_BYTES)?;
            Some((at, bytes.to_vec()))
        });
        symbols.known.extend(banner);
        Ok(symbols)
    }

    /// Reads lines of `ADDRESS TYPE NAME`; those of modules, which have `[MODULE]` behind them, are left out.
    fn from_list(path: &Path, text: &str) -> Result<Self, SymbolError> {
        let mut by_address: Vec<Symbol> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let address = words.first().and_then(|word| u64::from_str_radix(word, 16).ok());
            match (address, words.as_slice()) {
                (Some(address), [_, kind, name]) if kind.len() == 1 => {
                    by_address.push(Symbol {
                        name: (*name).to_owned(),
                        address: GuestVirt(address),
                        size: 0,
                    });
                }
                (Some(_), [_, kind, _, module]) if kind.len() == 1 && module.starts_with('[') => {}
                (_, []) => {}
                _ => {
                    let line: String = line.chars().take(60).collect();
                    let why = format!("line {} is `{line}`", index + 1);
                    return Err(SymbolError::NoList { path: path.to_owned(), why });
                }
            }
        }
        if by_address.len() < FEWEST {
            let why = format!("it has {} symbols", by_address.len());
            return Err(SymbolError::NoList { path: path.to_owned(), why });
        }
        if by_address.iter().all(|symbol| symbol.address.0 == 0) {
            return Err(SymbolError::Hidden { path: path.to_owned() });
        }
        by_address.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        // A symbol reaches as far as the next one.
        let mut next = None;
        for symbol in by_address.iter_mut().rev() {
            symbol.size = next.map_or(0, |next: GuestVirt| next.0 - symbol.address.0);
            if symbol.size > 0 || next.is_none() {
                next = Some(symbol.address);
            }
        }
        let mut symbols =
            Symbols { path: path.to_owned(), by_address, known: Vec::new(), sections: Vec::new() };
        let at = |name: &str| symbols.get(name).ok().map(|symbol| symbol.address);
        let sections = SECTIONS.iter().filter_map(|(name, first, behind)| {
            let (first, behind) = (at(first)?, at(behind)?);
            let size = behind.0.checked_sub(first.0).filter(|size| *size > 0)?;
            Some(Symbol { name: (*name).to_owned(), address: first, size })
        });
        let sections = sections.collect();
        // The second alone proves nothing: it is the same text in every kernel.
        let known = match (at("linux_banner"), at("linux_proc_banner")) {
            (Some(banner), Some(format)) => vec![(banner, BANNER.to_vec()), (format, PROC_BANNER.to_vec())],
            (Some(banner), None) => vec![(banner, BANNER.to_vec())],
            (None, _) => Vec::new(),
        };
        symbols.sections = sections;
        symbols.known = known;
        Ok(symbols)
    }

    /// The symbol with this name.
    ///
    /// # Errors
    /// [`SymbolError::Unknown`], with close names.
    pub fn get(&self, name: &str) -> Result<&Symbol, SymbolError> {
        // Of several symbols with one name the largest is the object that is meant.
        let found = self.by_address.iter().filter(|s| s.name == name).max_by_key(|s| s.size);
        found.ok_or_else(|| {
            let lower = name.to_ascii_lowercase();
            let mut close: Vec<(usize, &str)> = self
                .by_address
                .iter()
                .map(|s| (distance(&lower, &s.name.to_ascii_lowercase()), s.name.as_str()))
                .filter(|(edits, _)| *edits <= 2)
                .collect();
            close.sort_unstable();
            close.dedup();
            let names: Vec<&str> = close.iter().take(3).map(|(_, name)| *name).collect();
            let hint = match names.len() {
                0 => String::new(),
                _ => format!(" (did you mean `{}`?)", names.join("` or `")),
            };
            SymbolError::Unknown { name: name.to_owned(), hint }
        })
    }

    /// The symbol that holds the address, and how far into it the address lies.
    #[must_use]
    pub fn at(&self, address: GuestVirt) -> Option<(&Symbol, u64)> {
        let end = self.by_address.partition_point(|s| s.address <= address);
        // Of the symbols that start at or before the address, the nearest that reaches it; labels
        // without a size reach as far as the next symbol.
        self.by_address[..end].iter().rev().take(64).find_map(|s| {
            let offset = address.0 - s.address.0;
            let reaches = offset < s.size || (s.size == 0 && offset < 4096);
            reaches.then_some((s, offset))
        })
    }

    /// All symbols by address.
    #[must_use]
    pub fn all(&self) -> &[Symbol] {
        &self.by_address
    }

    /// Whether all bytes that are known are those of an image that starts at `first`.
    fn is_at(
        &self,
        first: GuestPhys,
        first_virt: GuestVirt,
        target: &mut dyn Target,
    ) -> Result<bool, SymbolError> {
        for (at, expected) in &self.known {
            let mut seen = vec![0; expected.len()];
            let place = first.0.wrapping_add(at.0.wrapping_sub(first_virt.0));
            target.read_memory(GuestPhys(place), &mut seen)?;
            if seen != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Symbols that were checked against a running guest: virtual addresses of the kernel's image turn
/// into physical ones and back.
#[derive(Debug)]
pub struct SymbolMap {
    symbols: Symbols,
    image: PhysRange,
    first_virt: GuestVirt,
    /// Start-up code and data, which a kernel that is up has given back.
    given_back: Option<(u64, u64)>,
}

impl SymbolMap {
    /// Finds where the guest has the kernel's image, and compares the kernel's banner there with
    /// the file's. The machine must be stopped.
    ///
    /// # Errors
    /// The kernel is not found or is another one, or the guest is lost.
    pub fn anchor(
        symbols: Symbols,
        arch: &ArchRow,
        map: &MemoryMap,
        target: &mut dyn Target,
    ) -> Result<Self, SymbolError> {
        let (code, data) = (map.first_range("Kernel code"), map.first_range("Kernel data"));
        let Some((code, data)) = code.zip(data).filter(|_| map.source() == MapSource::Iomem) else {
            return SymbolMap::search(symbols, arch, map, target);
        };
        let differs = |why: String| SymbolError::NotThisKernel { path: symbols.path.clone(), why };
        let code_virt = symbols.get(arch.code_start_symbol)?.address;
        let data_virt = symbols.get(arch.data_start_symbol)?.address;
        let (in_guest, in_file) =
            (data.first.0.wrapping_sub(code.first.0), data_virt.0.wrapping_sub(code_virt.0));
        if in_guest != in_file {
            return Err(differs(format!(
                "its data start {in_file:#x} bytes behind its code, the guest's {in_guest:#x}"
            )));
        }
        // Some architectures count the zeroed data to the data, and some show it by itself.
        let zeroed = map.first_range("Kernel bss").map_or(data.last, |bss| bss.last);
        let image = PhysRange { first: code.first, last: code.last.max(data.last).max(zeroed) };
        let (at, expected) = symbols.known.first().ok_or_else(|| differs(NO_BANNER.to_owned()))?;
        let offset = at.0.checked_sub(code_virt.0);
        let phys = offset.and_then(|offset| image.first.0.checked_add(offset)).map(GuestPhys);
        let phys = phys
            .filter(|p| image.contains(*p))
            .ok_or_else(|| differs("its linux_banner lies outside of the kernel's image".to_owned()))?;
        let mut seen = vec![0; expected.len()];
        target.read_memory(phys, &mut seen)?;
        if seen != *expected {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            return Err(differs(format!("it says `{}`, the guest `{}`", text(expected), text(&seen))));
        }
        Ok(SymbolMap::new(symbols, image, code_virt))
    }

    fn new(symbols: Symbols, image: PhysRange, first_virt: GuestVirt) -> Self {
        let bound = |name| symbols.get(name).ok().map(|symbol| symbol.address.0);
        let given_back = bound("__init_begin").zip(bound("__init_end"));
        SymbolMap { symbols, image, first_virt, given_back }
    }

    /// Finds the image by its banner, for a guest whose own map is not known.
    fn search(
        symbols: Symbols,
        arch: &ArchRow,
        map: &MemoryMap,
        target: &mut dyn Target,
    ) -> Result<Self, SymbolError> {
        let not_found = || SymbolError::NotFound { path: symbols.path.clone() };
        let why = || SymbolError::NotThisKernel { path: symbols.path.clone(), why: NO_BANNER.to_owned() };
        let (banner, _) = symbols.known.first().ok_or_else(why)?;
        let first_virt = symbols.get(arch.code_start_symbol)?.address;
        let before = banner.0.checked_sub(first_virt.0).ok_or_else(not_found)?;
        let end = symbols.get("_end").or_else(|_| symbols.get("_edata"))?.address;
        let length =
            end.0.checked_sub(first_virt.0).filter(|length| *length > before).ok_or_else(not_found)?;
        let mut found = Vec::new();
        for range in map.ram().ranges() {
            let apart = banner.0.wrapping_sub(range.first.0) % IMAGE_ALIGN;
            let mut at = range.first.0.checked_add(apart);
            while let Some(place) = at.filter(|place| *place <= range.last.0) {
                let image = place.checked_sub(before).and_then(|first| {
                    PhysRange::new(GuestPhys(first), GuestPhys(first.checked_add(length - 1)?))
                });
                if let Some(image) = image.filter(|image| range.covers(*image))
                    && symbols.is_at(image.first, first_virt, target)?
                {
                    found.push(image);
                }
                at = place.checked_add(IMAGE_ALIGN);
            }
        }
        match found.as_slice() {
            [image] => {
                let image = *image;
                Ok(SymbolMap::new(symbols, image, first_virt))
            }
            _ => Err(not_found()),
        }
    }

    /// The symbols.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The physical bytes of `NAME` or `NAME+OFFSET`: the whole symbol (at least one byte), or the
    /// one byte at the offset.
    ///
    /// # Errors
    /// No such symbol, a bad offset, or a symbol that names no memory.
    pub fn resolve(&self, text: &str) -> Result<PhysRange, SymbolError> {
        let (name, offset) = match text.split_once('+') {
            None => (text, None),
            Some((name, offset)) => {
                let offset = parse_number(offset)
                    .map_err(|cause| SymbolError::Offset { text: text.to_owned(), cause })?;
                (name, Some(offset))
            }
        };
        let symbol = self.symbols.get(name.trim())?;
        let outside = || SymbolError::NotInImage { name: text.to_owned(), address: symbol.address };
        let start = symbol.address.0.checked_add(offset.unwrap_or(0)).ok_or_else(outside)?;
        if self.is_given_back(start) {
            return Err(SymbolError::GivenBack { name: text.to_owned() });
        }
        // Another name for the same place, such as `jiffies`, may have no size of its own.
        let all = &self.symbols.by_address;
        let first = all.partition_point(|other| other.address < symbol.address);
        let same = all[first..].iter().take_while(|other| other.address == symbol.address);
        let size = same.map(|other| other.size).max().unwrap_or(symbol.size);
        let len = if offset.is_some() { 1 } else { size.max(1) };
        let first = self.phys(GuestVirt(start)).ok_or_else(outside)?;
        let last = self.phys(GuestVirt(start.saturating_add(len - 1))).ok_or_else(outside)?;
        PhysRange::new(first, last).ok_or_else(outside)
    }

    /// The physical bytes of a section of the kernel's file, `.data` for example.
    ///
    /// # Errors
    /// There is no such section, or it is not in the running kernel's image.
    pub fn section(&self, name: &str) -> Result<PhysRange, SymbolError> {
        let Some(section) = self.symbols.sections.iter().find(|section| section.name == name) else {
            let names: Vec<&str> = self.symbols.sections.iter().map(|s| s.name.as_str()).collect();
            let hint = format!(" (there are {})", names.join(", "));
            return Err(SymbolError::Unknown { name: name.to_owned(), hint });
        };
        let outside = || SymbolError::NotInImage { name: name.to_owned(), address: section.address };
        if self.is_given_back(section.address.0) {
            return Err(SymbolError::GivenBack { name: name.to_owned() });
        }
        let first = self.phys(section.address).ok_or_else(outside)?;
        let last =
            self.phys(GuestVirt(section.address.0.saturating_add(section.size - 1))).ok_or_else(outside)?;
        PhysRange::new(first, last).ok_or_else(outside)
    }

    fn is_given_back(&self, address: u64) -> bool {
        self.given_back.is_some_and(|(begin, end)| (begin..end).contains(&address))
    }

    /// The physical address of a virtual one inside the kernel's image.
    #[must_use]
    pub fn phys(&self, address: GuestVirt) -> Option<GuestPhys> {
        let offset = address.0.checked_sub(self.first_virt.0)?;
        let phys = GuestPhys(self.image.first.0.checked_add(offset)?);
        self.image.contains(phys).then_some(phys)
    }

    /// `name+0xoffset` of a physical address inside the kernel's image.
    #[must_use]
    pub fn name_at(&self, address: GuestPhys) -> Option<String> {
        if !self.image.contains(address) {
            return None;
        }
        let virt = GuestVirt(self.first_virt.0.checked_add(address.0 - self.image.first.0)?);
        if self.is_given_back(virt.0) {
            return None;
        }
        let (symbol, offset) = self.symbols.at(virt)?;
        Some(if offset == 0 { symbol.name.clone() } else { format!("{}+{offset:#x}", symbol.name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ARCHS;
    use crate::target::FakeTarget;
    use object::write::{Object as Writer, Symbol as WSymbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolScope};

    const BANNER: &[u8] = b"Linux version 6.1.0 (lab@lab) (gcc) #1 SMP Mon Nov 23 00:00:00 2026\n";

    /// A `vmlinux` whose single section is the kernel's image, linked at 0.
    fn vmlinux(symbols: &[(&str, u64, u64)]) -> tempfile::NamedTempFile {
        let mut writer = Writer::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        let section = writer.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        let mut image = vec![0u8; 0x3000];
        image[0x800..0x800 + BANNER.len()].copy_from_slice(BANNER);
        writer.append_section_data(section, &image, 4096);
        for (name, value, size) in symbols {
            writer.add_symbol(WSymbol {
                name: name.as_bytes().to_vec(),
                value: *value,
                size: *size,
                kind: SymbolKind::Data,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), writer.write().unwrap()).unwrap();
        file
    }

    const SYMBOLS: &[(&str, u64, u64)] = &[
        ("_stext", 0, 0),
        ("linux_banner", 0x800, 128),
        ("do_one_thing", 0x100, 0x40),
        ("__init_begin", 0x1000, 0),
        ("start_kernel", 0x1100, 0x40),
        ("__init_end", 0x2000, 0),
        ("_sdata", 0x2000, 0),
        ("jiffies", 0x2040, 8),
        ("beyond", 0x2_0000, 4),
    ];

    const IOMEM: &str = "40000000-4000ffff : System RAM\n  40001000-40002fff : Kernel code\n  \
                         40003000-40003fff : Kernel data\n";
    const MTREE: &str =
        "FlatView #1\n AS \"memory\", root: system\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";

    fn guest(banner: &[u8]) -> FakeTarget {
        let mut target = FakeTarget::new("0x40000000-0x4000ffff".parse().unwrap());
        target.write_memory(GuestPhys(0x4000_1800), banner).unwrap();
        target
    }

    fn anchored(banner: &[u8], iomem: Option<&str>) -> Result<SymbolMap, SymbolError> {
        let file = vmlinux(SYMBOLS);
        let symbols = Symbols::load(file.path()).unwrap();
        let map = MemoryMap::new(iomem, MTREE).unwrap();
        SymbolMap::anchor(symbols, &ARCHS[0], &map, &mut guest(banner))
    }

    #[test]
    fn a_symbol_is_found_in_the_guests_memory() {
        let map = anchored(BANNER, Some(IOMEM)).unwrap();
        assert_eq!(map.resolve("jiffies").unwrap(), "0x40003040+8".parse().unwrap());
        assert_eq!(map.resolve("jiffies+2").unwrap(), "0x40003042+1".parse().unwrap());
        assert_eq!(map.resolve("do_one_thing+0x10").unwrap().first, GuestPhys(0x4000_1110));
    }

    #[test]
    fn an_address_is_named_by_the_symbol_that_holds_it() {
        let map = anchored(BANNER, Some(IOMEM)).unwrap();
        assert_eq!(map.name_at(GuestPhys(0x4000_3040)).as_deref(), Some("jiffies"));
        assert_eq!(map.name_at(GuestPhys(0x4000_3043)).as_deref(), Some("jiffies+0x3"));
        assert_eq!(map.name_at(GuestPhys(0x4000_8000)), None);
    }

    #[test]
    fn an_unknown_symbol_is_answered_with_close_ones() {
        let map = anchored(BANNER, Some(IOMEM)).unwrap();
        let text = map.resolve("jifies").unwrap_err().to_string();
        assert_eq!(text, "the kernel has no symbol `jifies` (did you mean `jiffies`?)");
        assert!(matches!(map.resolve("jiffies+x"), Err(SymbolError::Offset { .. })));
    }

    #[test]
    fn a_symbol_outside_of_the_image_is_refused() {
        let map = anchored(BANNER, Some(IOMEM)).unwrap();
        assert!(matches!(map.resolve("beyond"), Err(SymbolError::NotInImage { .. })));
        assert!(matches!(map.resolve("jiffies+0xfffffffffffffff0"), Err(SymbolError::NotInImage { .. })));
    }

    #[test]
    fn memory_that_the_kernel_gave_back_has_no_symbols() {
        let map = anchored(BANNER, Some(IOMEM)).unwrap();
        assert!(matches!(map.resolve("start_kernel"), Err(SymbolError::GivenBack { .. })));
        assert_eq!(map.name_at(GuestPhys(0x4000_2110)), None);
    }

    #[test]
    fn another_kernel_is_refused() {
        let mut other = BANNER.to_vec();
        other[14] = b'5';
        let text = anchored(&other, Some(IOMEM)).unwrap_err().to_string();
        assert!(text.contains("for the kernel that this guest runs: it says `Linux version 6.1.0"), "{text}");
    }

    #[test]
    fn a_kernel_that_moved_is_refused() {
        let moved = IOMEM.replace("40003000", "40004000").replace("40003fff", "40004fff");
        let text = anchored(BANNER, Some(&moved)).unwrap_err().to_string();
        assert!(text.contains("its data start 0x2000 bytes behind its code, the guest's 0x3000"), "{text}");
    }

    /// The same kernel without its map: 16 MiB of RAM, and the image at 2 MiB times `step`.
    fn searched(file: &Path, steps: &[u64]) -> Result<SymbolMap, SymbolError> {
        let mut target = FakeTarget::new("0x40000000+16M".parse().unwrap());
        for step in steps {
            let first = 0x4000_0000 + step * IMAGE_ALIGN;
            target.write_memory(GuestPhys(first + 0x800), BANNER).unwrap();
            target.write_memory(GuestPhys(first + 0x900), b"%s version %s (x)").unwrap();
        }
        let mtree = MTREE.replace("4000ffff", "40ffffff");
        let map = MemoryMap::new(None, &mtree).unwrap();
        SymbolMap::anchor(Symbols::load(file).unwrap(), &ARCHS[0], &map, &mut target)
    }

    fn with_end() -> Vec<(&'static str, u64, u64)> {
        let mut all = SYMBOLS.to_vec();
        all.push(("linux_proc_banner", 0x900, 64));
        all.push(("_end", 0x3000, 0));
        all
    }

    #[test]
    fn without_the_guests_map_the_kernel_is_found_by_its_banner_wherever_it_moved() {
        let file = vmlinux(&with_end());
        for step in [0, 3, 7] {
            let map = searched(file.path(), &[step]).unwrap();
            let first = 0x4000_0000 + step * IMAGE_ALIGN;
            assert_eq!(map.resolve("jiffies").unwrap().first, GuestPhys(first + 0x2040));
            assert_eq!(map.name_at(GuestPhys(first + 0x2043)).as_deref(), Some("jiffies+0x3"));
        }
    }

    #[test]
    fn a_kernel_that_is_at_no_place_or_at_two_is_refused() {
        let file = vmlinux(&with_end());
        for steps in [&[][..], &[1, 4]] {
            assert!(matches!(searched(file.path(), steps), Err(SymbolError::NotFound { .. })), "{steps:?}");
        }
    }

    /// The symbols as `System.map` and `/proc/kallsyms` have them, moved by so much.
    fn list(moved: u64) -> tempfile::NamedTempFile {
        let mut text = String::new();
        for (name, address, _) in with_end() {
            text.push_str(&format!("{:016x} T {name}\n", address + moved));
        }
        for more in 0..8 {
            text.push_str(&format!("{:016x} t more_{more}\n", 0x140 + 16 * more + moved));
        }
        text.push_str("ffff800001000000 t of_a_module\t[ext4]\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_list_of_a_kernel_that_moved_gives_the_same_places() {
        for moved in [0, 0xffff_8000_0a20_0000] {
            let file = list(moved);
            let map = searched(file.path(), &[5]).unwrap();
            let first = 0x4000_0000 + 5 * IMAGE_ALIGN;
            // As far as the next symbol.
            let expected = PhysRange::new(GuestPhys(first + 0x100), GuestPhys(first + 0x13f)).unwrap();
            assert_eq!(map.resolve("do_one_thing").unwrap(), expected);
            assert!(map.symbols().get("of_a_module").is_err());
        }
    }

    #[test]
    fn a_list_that_is_none_is_told() {
        let told = |text: String| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Symbols::load(file.path()).unwrap_err().to_string()
        };
        let stub = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
        assert!(
            told(stub.to_owned()).contains("line 1 is `ffffffffffffffff B The real"),
            "{}",
            told(stub.into())
        );
        assert!(told("ffff800008000000 T _text\n".to_owned()).contains("it has 1 symbols"));
        assert!(told("0000000000000000 T _text\n".repeat(20)).contains("shows only zeros"));
    }

    #[test]
    fn a_file_that_is_no_vmlinux_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not ELF").unwrap();
        assert!(matches!(Symbols::load(file.path()), Err(SymbolError::NoList { .. })));
        let empty = vmlinux(&[]);
        assert!(matches!(Symbols::load(empty.path()), Err(SymbolError::Stripped { .. })));
        assert!(matches!(Symbols::load(Path::new("/no/such")), Err(SymbolError::Read { .. })));
    }
}
