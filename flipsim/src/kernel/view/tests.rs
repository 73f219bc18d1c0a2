//! Tests of `view`.

use super::*;
use crate::arch::ARCHS;

/// RAM from 0 on.
struct Made(Vec<u8>);

impl Ram for Made {
    fn read(&mut self, at: GuestPhys, into: &mut [u8]) -> io::Result<bool> {
        let first = usize::try_from(at.0).unwrap();
        let Some(bytes) = self.0.get(first..first + into.len()) else { return Ok(false) };
        into.copy_from_slice(bytes);
        Ok(true)
    }
}

impl Made {
    fn put(&mut self, at: u64, word: u64) {
        let at = usize::try_from(at).unwrap();
        self.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
}

/// Four levels of tables at 0x1000, 0x2000 …, by which address 0x40_0000_3000 is the page at 0x5000, and 2 MiB from 0x40_0020_0000 on
/// are those from 0 on.
fn guest(root: u64) -> (Made, Root) {
    let tables = &ARCHS[1].page_tables;
    let mut made = Made(vec![0; 0x8000]);
    let to = |at: u64| at | 3;
    made.put(0x1000, to(0x2000));
    // 256 × 1 GiB.
    made.put(0x2000 + 0x100 * 8, to(0x3000));
    made.put(0x3000, to(0x4000));
    made.put(0x3008, to(0) | tables.block.1);
    made.put(0x4000 + 3 * 8, to(0x5000));
    (made, Root { at: GuestPhys(root), levels: 4, tables })
}

#[test]
fn an_address_leads_to_its_page_and_one_that_is_not_mapped_to_none() {
    let (mut ram, root) = guest(0x1000);
    ram.put(0x5ff8, 0x1122);
    let mut view = View::new(&mut ram, root);
    assert_eq!(view.phys(0x40_0000_3ff8), Some(0x5ff8));
    assert_eq!(view.word(0x40_0000_3ff8), Some(0x1122));
    assert_eq!(view.phys(0x40_0020_1234), Some(0x1234));
    assert_eq!((view.phys(0x40_0000_4000), view.phys(0), view.word(0x40_0000_3ffc)), (None, None, None));
    view.check().unwrap();
}

#[test]
fn lists_end_where_they_are_broken() {
    let (mut ram, root) = guest(0x1000);
    let at = |offset: u64| 0x40_0000_3000 + offset;
    for (from, to) in [(0, at(0x10)), (0x10, at(0x20)), (0x20, at(0))] {
        ram.put(0x5000 + from, to);
    }
    // One that leads into itself, and one that leads nowhere.
    ram.put(0x5100, at(0x110));
    ram.put(0x5110, at(0x110));
    ram.put(0x5200, 0x10);
    let mut view = View::new(&mut ram, root);
    assert_eq!(view.list(at(0)), [at(0x10), at(0x20)]);
    assert_eq!(view.list(at(0x100)), [at(0x110)]);
    assert_eq!(view.list(at(0x200)), [0x10]);
    assert!(view.list(1).is_empty());
}

#[test]
fn a_member_of_some_bits_is_its_number() {
    let (mut ram, root) = guest(0x1000);
    ram.put(0x5000, 0x8003_0002);
    let mut view = View::new(&mut ram, root);
    let field = |bits| Field { offset: 0, size: 8, bits: Some(bits) };
    let mut get = |bits| view.get(0x40_0000_3000, field(bits));
    assert_eq!((get((0, 16)), get((16, 15)), get((31, 1))), (Some(2), Some(3), Some(1)));
    assert_eq!(view.text(0x40_0000_3000, 8).as_deref(), Some("\u{2}"));
}

#[test]
fn tables_that_lead_to_themselves_end() {
    let (mut ram, root) = guest(0x6000);
    for entry in 0..512 {
        ram.put(0x6000 + entry * 8, 0x6003);
    }
    let mut view = View::new(&mut ram, root);
    assert_eq!(view.phys(0x1234), Some(0x6234));
    assert_eq!(view.entries(0x6000, 1, 0).len(), 512);
}
