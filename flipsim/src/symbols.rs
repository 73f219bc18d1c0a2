//! Kernel symbols from a `vmlinux`, and where they lie in the guest's physical memory.
//!
//! Invariant: a symbol is only turned into an address after bytes of the running guest have been
//! compared with the file ([`SymbolMap::anchor`]); a kernel that is another one, or that moved
//! itself (KASLR), is refused instead of flipped in the wrong place.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::arch::ArchRow;
use crate::memory::{MapSource, MemoryMap, PhysRange, distance};
use crate::target::{Target, TargetError};
use crate::units::{GuestPhys, GuestVirt, UnitError, parse_number};

/// The bytes compared with the guest before symbols are believed.
const BANNER_BYTES: usize = 64;

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
    /// The guest's own map is not known, so the kernel's place is not either.
    #[error(
        "symbols need the guest's /proc/iomem, and this guest has not given it; flip by --address or --region instead"
    )]
    NoIomem,
    /// The guest runs another kernel than the file.
    #[error(
        "{path} is not the kernel that this guest runs ({why}); give the right vmlinux, or boot with nokaslr"
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

/// The symbols of one `vmlinux`, sorted by address.
#[derive(Debug)]
pub struct Symbols {
    path: PathBuf,
    by_address: Vec<Symbol>,
    banner: Option<(GuestVirt, Vec<u8>)>,
    sections: Vec<Symbol>,
}

impl Symbols {
    /// Reads an ELF file's symbol table.
    ///
    /// # Errors
    /// The file cannot be read, is no ELF file, or has no symbols.
    pub fn load(path: &Path) -> Result<Self, SymbolError> {
        let fail = |cause: String| SymbolError::Read { path: path.to_owned(), cause };
        let data = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
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
        let mut symbols = Symbols { path: path.to_owned(), by_address, banner: None, sections };
        symbols.banner = symbols.get("linux_banner").ok().map(|s| s.address).and_then(|at| {
            let holds =
                |s: &object::Section<'_, '_>| at.0.checked_sub(s.address()).is_some_and(|o| o < s.size());
            let section = file.sections().find(holds)?;
            let offset = usize::try_from(at.0 - section.address()).ok()?;
            let bytes = section.data().ok()?.get(offset..offset + BANNER_BYTES)?;
            Some((at, bytes.to_vec()))
        });
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
    /// The guest's map is not known, the kernel is another one, or the guest is lost.
    pub fn anchor(
        symbols: Symbols,
        arch: &ArchRow,
        map: &MemoryMap,
        target: &mut dyn Target,
    ) -> Result<Self, SymbolError> {
        if map.source() == MapSource::Monitor {
            return Err(SymbolError::NoIomem);
        }
        let differs = |why: String| SymbolError::NotThisKernel { path: symbols.path.clone(), why };
        let code = map.first_range("Kernel code").ok_or(SymbolError::NoIomem)?;
        let data = map.first_range("Kernel data").ok_or(SymbolError::NoIomem)?;
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
        let (at, expected) =
            symbols.banner.clone().ok_or_else(|| differs("it has no linux_banner to compare".to_owned()))?;
        let offset = at.0.checked_sub(code_virt.0);
        let phys = offset.and_then(|offset| image.first.0.checked_add(offset)).map(GuestPhys);
        let phys = phys
            .filter(|p| image.contains(*p))
            .ok_or_else(|| differs("its linux_banner lies outside of the kernel's image".to_owned()))?;
        let mut seen = vec![0; expected.len()];
        target.read_memory(phys, &mut seen)?;
        if seen != expected {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            return Err(differs(format!("it says `{}`, the guest `{}`", text(&expected), text(&seen))));
        }
        let bound = |name| symbols.get(name).ok().map(|symbol| symbol.address.0);
        let given_back = bound("__init_begin").zip(bound("__init_end"));
        Ok(SymbolMap { symbols, image, first_virt: code_virt, given_back })
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
        let len = if offset.is_some() { 1 } else { symbol.size.max(1) };
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
        assert!(
            text.contains("is not the kernel that this guest runs (it says `Linux version 6.1.0"),
            "{text}"
        );
    }

    #[test]
    fn a_kernel_that_moved_is_refused() {
        let moved = IOMEM.replace("40003000", "40004000").replace("40003fff", "40004fff");
        let text = anchored(BANNER, Some(&moved)).unwrap_err().to_string();
        assert!(text.contains("its data start 0x2000 bytes behind its code, the guest's 0x3000"), "{text}");
    }

    #[test]
    fn without_the_guests_map_symbols_are_refused() {
        assert!(matches!(anchored(BANNER, None), Err(SymbolError::NoIomem)));
    }

    #[test]
    fn a_file_that_is_no_vmlinux_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not ELF").unwrap();
        assert!(matches!(Symbols::load(file.path()), Err(SymbolError::Read { .. })));
        let empty = vmlinux(&[]);
        assert!(matches!(Symbols::load(empty.path()), Err(SymbolError::Stripped { .. })));
        assert!(matches!(Symbols::load(Path::new("/no/such")), Err(SymbolError::Read { .. })));
    }
}
