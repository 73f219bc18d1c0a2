//! `info mtree -f`: the blocks of RAM, and the map of a guest whose own is not known.
#![no_main]

use flipsim::memory::{MapSource, MemoryMap, parse_mtree_ram};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(blocks) = parse_mtree_ram(text) else { return };
    let map = MemoryMap::new(None, text).expect("its blocks were read");
    assert_eq!(map.source(), MapSource::Monitor);
    for block in &blocks {
        assert!(block.range.len() > 0);
        assert!(map.check_ram(block.range).is_ok());
        assert!(map.region(&block.name).is_ok());
        let seen = map.address_of(Some(&block.name), block.offset);
        assert!(seen.is_none_or(|at| map.region_at(at).is_some()));
    }
    let _ = map.address_of(None, 0);
});
