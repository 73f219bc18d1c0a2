//! A guest's map joined with QEMU's, and what is asked of it: whatever is handed out is RAM.
#![no_main]

use flipsim::fault::{FaultSpace, Pattern, RamSpace, fault_rng};
use flipsim::memory::{MemoryMap, PhysRange, RangeSet};
use flipsim_fuzz::texts;
use libfuzzer_sys::fuzz_target;

fn all_is_ram(map: &MemoryMap, bytes: &RangeSet) {
    assert!(bytes.ranges().iter().all(|range| map.check_ram(*range).is_ok()), "{bytes:?}");
    let Ok(space) = RamSpace::new(bytes, Pattern::SINGLE) else { return };
    let space = FaultSpace::Ram(space);
    let ends = [space.nth(0), space.nth(space.len() - 1), Some(space.draw(&mut fault_rng(1, 2)))];
    for fault in ends {
        let address = fault.and_then(|fault| fault.address()).expect("a fault of RAM has an address");
        assert!(bytes.ranges().iter().any(|range| range.contains(address)));
    }
}

fuzz_target!(|data: &str| {
    let [iomem, mtree, asked] = texts(data);
    let Ok(map) = MemoryMap::new(Some(iomem), mtree) else { return };
    all_is_ram(&map, map.ram());
    all_is_ram(&map, &map.system_ram());
    let names = map.regions().iter().map(|region| &*region.path).chain(asked.lines());
    for name in names {
        if let Ok(bytes) = map.region(name) {
            all_is_ram(&map, &bytes);
        }
        let _ = map.first_range(name);
    }
    for range in asked.lines().filter_map(|line| line.parse::<PhysRange>().ok()) {
        if map.check_ram(range).is_ok() {
            assert!(map.ram().covers(range));
        }
        let _ = (map.region_at(range.last), map.address_of(None, range.first.0));
    }
});
