//! Tests of maps and ranges.

use proptest::prelude::*;

use super::*;
use crate::units::GuestPhys;

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
fn iomem_read_without_root_is_reported() {
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
    assert!(text.contains("did you mean `Kernel data` or `Kernel code`?"), "{text}");
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
fn a_region_up_to_two_edits_away_is_suggested() {
    let map = map();
    // No word of these is in the region's name, so that only the edits count.
    assert_eq!(map.hint("Kernl dta"), " (did you mean `Kernel data`?)");
    assert_eq!(map.hint("Krnl dta"), "");
}

const PASTED: &str = "40000000-47ffffff : System RAM\n  40210000-4064ffff : Kernel code\n  \
                      40650000-406effff : reserved\n140000000-33fffffff : virtio0\n  \
                      140000000-147ffffff : System RAM (virtio_mem)\n";

#[test]
fn a_pasted_map_is_read_as_the_kernel_showed_it_whatever_stands_before_its_lines() {
    let shown = parse_iomem(PASTED).unwrap();
    let paths: Vec<&str> = shown.iter().map(|region| region.path.as_str()).collect();
    let nested = "virtio0/System RAM (virtio_mem)";
    assert_eq!(paths, ["System RAM", "System RAM/Kernel code", "System RAM/reserved", "virtio0", nested]);
    assert_eq!(shown.iter().map(|region| region.depth).collect::<Vec<_>>(), [0, 1, 1, 0, 1]);
    let by_four = PASTED.replace('\n', "\n    ").trim_end().to_owned();
    for pasted in [
        format!("    {by_four}"),
        // The first line lost its indentation where the selection began.
        by_four,
        PASTED.replace("  ", "\t"),
        PASTED.replace("  ", "    "),
        PASTED.replace("  ", ""),
        PASTED.replace('\n', "\r\n"),
        PASTED.replace('\n', "  \n\n"),
        format!("\u{feff}{PASTED}"),
    ] {
        assert_eq!(parse_iomem(&pasted).unwrap(), shown, "{pasted:?}");
    }
    let deep = "0-ff : x\n".repeat(1000);
    assert_eq!(parse_iomem(&deep).unwrap_err(), MemoryError::IomemDepth { line: 17 });
}

#[test]
fn what_a_driver_added_is_ram_that_the_kernel_manages() {
    let mtree = "FlatView #0\n AS \"memory\", root: system\n  \
                 0000000040000000-0000000047ffffff (prio 0, ram): mach-virt.ram\n  \
                 0000000140000000-000000014fffffff (prio 0, ram): mem0\n";
    for (driver, bytes) in [
        ("System RAM (virtio_mem)", 256 << 20),
        ("System RAM (kmem)", 256 << 20),
        ("System RAM (hv_balloon)", 256 << 20),
        ("System RAM", 256 << 20),
        ("System RAMDISK", 128 << 20),
        ("Persistent Memory", 128 << 20),
    ] {
        let map = MemoryMap::new(Some(&PASTED.replace("System RAM (virtio_mem)", driver)), mtree).unwrap();
        assert_eq!(map.system_ram().bytes(), Some(bytes), "{driver}");
    }
}

#[test]
fn no_map_of_any_addresses_panics() {
    let ends = [0, 1, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
    let pairs = ends.iter().flat_map(|first| ends.iter().map(move |last| (*first, *last)));
    let ranges: Vec<PhysRange> =
        pairs.filter_map(|(first, last)| PhysRange::new(GuestPhys(first), GuestPhys(last))).collect();
    for one in &ranges {
        for two in &ranges {
            let mtree = [one, two].map(|range| {
                format!("  {:x}-{:x} (prio 0, ram): r @{:x}\n", range.first.0, range.last.0, range.first.0)
            });
            let mtree = format!("FlatView #0\n AS \"memory\"\n{}", mtree.concat());
            let iomem =
                [one, two].map(|range| format!("{:x}-{:x} : System RAM\n", range.first.0, range.last.0));
            let Ok(map) = MemoryMap::new(Some(&iomem.concat()), &mtree) else { continue };
            let ram = map.system_ram();
            for set in [map.ram(), &ram, &RangeSet::apart([*one, *two])] {
                assert!(set.covers(*one) && set.covers(*two), "{one} {two}: {set:?}");
                assert!(set.bytes().is_none_or(|bytes| bytes >= one.len().max(two.len())));
                assert!(set.ranges().windows(2).all(|pair| pair[0].last < pair[1].first));
            }
            map.address_of(None, u64::MAX);
            assert!(map.check_ram(*one).is_ok());
            assert!(map.region("System RAM").is_ok());
        }
    }
}

#[test]
fn a_stored_range_that_ends_before_it_begins_is_refused() {
    let json = |first: u64, last: u64| format!("{{\"first\":{first},\"last\":{last}}}");
    assert_eq!(serde_json::from_str::<PhysRange>(&json(1, 2)).unwrap(), range("1-2"));
    assert!(serde_json::from_str::<PhysRange>(&json(2, 1)).is_err());
    assert!(serde_json::from_str::<PhysRange>(&json(0, u64::MAX)).is_err());
    let stored = format!("[{},{}]", json(8, 9), json(1, 2));
    assert_eq!(serde_json::from_str::<RangeSet>(&stored).unwrap().ranges(), [range("1-2"), range("8-9")]);
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
