//! Tests of `anchor`.

use std::path::Path;

use object::write::{Object as Writer, Symbol as WSymbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use super::*;
use crate::arch::ARCHS;
use crate::target::FakeTarget;

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

#[test]
fn a_file_whose_banner_lies_at_the_end_of_all_addresses_has_no_banner() {
    let mut writer = Writer::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
    let section = writer.add_section(Vec::new(), b".bss".to_vec(), SectionKind::UninitializedData);
    writer.append_section_bss(section, u64::MAX, 1);
    for (name, value) in [("linux_banner", u64::MAX - 8), ("_stext", u64::MAX - 1)] {
        writer.add_symbol(WSymbol {
            name: name.as_bytes().to_vec(),
            value,
            size: u64::MAX,
            kind: SymbolKind::Data,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), writer.write().unwrap()).unwrap();
    let symbols = Symbols::load(file.path()).unwrap();
    assert!(symbols.known.is_empty());
    assert_eq!(symbols.at(GuestVirt(u64::MAX)).unwrap().0.name, "_stext");
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

/// The memory map of a guest, and its kernel's symbols: these, by offset in the image from 0x4000_1000 on, with their sizes.
pub fn map_of(symbols: &[(&str, u64, u64)]) -> (MemoryMap, SymbolMap) {
    let file = vmlinux(&[SYMBOLS, symbols].concat());
    let map = || MemoryMap::new(Some(IOMEM), MTREE).unwrap();
    let symbols = Symbols::load(file.path()).unwrap();
    (map(), SymbolMap::anchor(symbols, &ARCHS[0], &map(), &mut guest(BANNER)).unwrap())
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
fn an_invalid_list_is_reported() {
    let message = |text: String| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Symbols::load(file.path()).unwrap_err().to_string()
    };
    let stub = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
    assert!(
        message(stub.to_owned()).contains("line 1 is `ffffffffffffffff B The real"),
        "{}",
        message(stub.into())
    );
    assert!(message("ffff800008000000 T _text\n".to_owned()).contains("it has 1 symbols"));
    assert!(message("0000000000000000 T _text\n".repeat(20)).contains("shows only zeros"));
}

#[test]
fn a_file_that_is_no_vmlinux_is_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"not ELF").unwrap();
    assert!(matches!(Symbols::load(file.path()), Err(SymbolError::NoList { .. })));
    let empty = vmlinux(&[]);
    assert!(matches!(Symbols::load(empty.path()), Err(SymbolError::Stripped { .. })));
    assert!(matches!(Symbols::load(Path::new("/no/such")), Err(SymbolError::Read { .. })));
}
