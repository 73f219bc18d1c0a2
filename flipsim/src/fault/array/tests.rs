//! Mappings and shapes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The place of a byte, by the definition: each bit is the exclusive or of bits of the address.
fn by_definition(raw: &RawMapping, offset: u64) -> Vec<u64> {
    let parts = [&raw.column, &raw.row, &raw.bank, &raw.rank, &raw.channel];
    let number = |masks: &Vec<u64>| {
        masks.iter().rev().fold(0, |number, mask| {
            let ones = (0..64).filter(|bit| mask >> bit & 1 == 1 && offset >> bit & 1 == 1).count();
            number * 2 + (ones % 2) as u64
        })
    };
    parts.map(number).into_iter().chain([offset % WORD]).collect()
}

proptest! {
    #[test]
    fn a_neighbour_is_where_the_masks_say(offset in 0u64..1 << 27, rows in -2i32..=2, columns in -3i32..=3) {
        for ready in READY {
            let mapping = Mapping::ready(ready.name).unwrap();
            let here = by_definition(&mapping.raw, offset);
            let moved = |at: u64, by: i32, bits: usize| at.checked_add_signed(by.into()).filter(|at| *at < 1 << bits);
            let column = moved(here[0], columns, mapping.raw.column.len());
            let row = moved(here[1], rows, mapping.raw.row.len());
            let found = mapping.neighbour(offset, rows, columns);
            prop_assert_eq!(found.is_some(), column.is_some() && row.is_some());
            if let (Some(found), Some(column), Some(row)) = (found, column, row) {
                let there = by_definition(&mapping.raw, found);
                prop_assert_eq!((there[0], there[1]), (column, row), "{}", ready.name);
                // The same bank, rank and channel, and the same byte of its word.
                prop_assert_eq!(&there[2..], &here[2..]);
            }
        }
    }
}

#[test]
fn ready_mappings_are_what_their_sources_say() {
    let linear = Mapping::ready("linear").unwrap();
    assert_eq!((linear.neighbour(0, 0, 1), linear.neighbour(0, 1, 0)), (Some(8), Some(1 << 17)));
    assert_eq!((linear.neighbour(0x1ff8, 0, 1), linear.neighbour(0, -1, 0)), (None, None));
    // A column of eight words in one bank group, then the other.
    let groups = Mapping::ready("bank-groups").unwrap();
    assert_eq!((groups.neighbour(0x38, 0, 1), groups.neighbour(0x31, 0, 1)), (Some(0x80), Some(0x39)));
    // The next row of the same bank has another number of the bank in its address.
    let permuted = Mapping::ready("permuted").unwrap();
    assert_eq!(permuted.neighbour(0, 1, 0), Some(1 << 17 | 1 << 13));
    assert_eq!(permuted.neighbour(1 << 17 | 1 << 13 | 5, -1, 1), Some(8 + 5));
    for ready in READY {
        let mapping = Mapping::ready(ready.name).unwrap();
        let text = serde_json::to_string(&mapping).unwrap();
        assert_eq!(serde_json::from_str::<Mapping>(&text).unwrap(), mapping);
        assert!(text.contains("source"));
    }
    let unknown = Mapping::ready("linaer").unwrap_err().to_string();
    assert!(unknown.contains("did you mean `linear`?"), "{unknown}");
}

#[test]
fn what_cannot_be_inverted_is_refused() {
    let read = |text: &str| toml::from_str::<Mapping>(text).map_err(|error| error.message().to_owned());
    assert!(
        read("name = 'm'\ncolumn = [0x8, 0x10]\nrow = [0x20]\nbank = [0x48, 0x80]\nchannel = [0x140]")
            .is_ok()
    );
    // The one in docs/faults.md.
    let columns = "0x8, 0x10, 0x20, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000";
    let rows =
        "0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000, 0x800000, 0x1000000, 0x2000000, 0x4000000";
    let mine = format!(
        "name = 'mine'\ncolumn = [{columns}]\nbank = [0x20040, 0x44000, 0x88000, 0x10000]\nrow = [{rows}]"
    );
    assert_eq!(read(&mine).unwrap().neighbour(0, 1, 0), Some(0x2_0040));
    for (text, expected) in [
        ("name = 'm'\ncolumn = []\nrow = [8]", "mapping `m` needs bits of `column` and of `row`"),
        ("name = 'm'\ncolumn = [8]\nrow = [8]", "mapping `m`: two addresses have the same place"),
        ("name = 'm'\ncolumn = [8]\nrow = [0]", "mapping `m`: 0x0 is no exclusive or"),
        ("name = 'm'\ncolumn = [4]\nrow = [8]", "mapping `m`: 0x4 is no exclusive or"),
        (
            "name = 'm'\ncolumn = [8]\nrow = [0x20]",
            "mapping `m`: 0x20 is no exclusive or of bits of an address; its 2 bits",
        ),
        ("name = 'm'\ncolumn = [8, 16, 24]\nrow = [32]", "mapping `m`: two addresses have the same place"),
    ] {
        let said = read(text).unwrap_err();
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn shapes_come_as_often_as_they_weigh_and_stay_in_ram() {
    let shape = |cells: &[[i32; 2]], weight| Shape { cells: cells.to_vec(), weight };
    for bad in [shape(&[], 1.0), shape(&[[0, 1]], 1.0), shape(&[[0, 0], [0, 0]], 1.0)] {
        assert_eq!(bad.check(), Err(ShapeError::Cells));
    }
    assert_eq!(shape(&[[0, 0]], 0.0).check(), Err(ShapeError::Weight));
    let shapes = vec![shape(&[[0, 0]], 3.0), shape(&[[0, 1], [0, 0], [1, 0]], 1.0)];
    assert!(shapes.iter().all(|shape| shape.check().is_ok()));
    let ram: RangeSet = ["0x40000000+1M".parse().unwrap()].into_iter().collect();
    let clusters = Clusters::new(Mapping::ready("linear").unwrap(), shapes.clone(), ram.clone()).unwrap();
    let at = |address, drawn| -> BTreeSet<u64> {
        clusters.others(GuestPhys(address), drawn).into_iter().map(|address| address.0).collect()
    };
    assert_eq!(at(0x4000_0003, 0.74), BTreeSet::new());
    assert_eq!(at(0x4000_0003, 0.76), BTreeSet::from([0x4000_000b, 0x4002_0003]));
    // The last row of this RAM has no next one, and the last column of a row neither.
    assert_eq!(at(0x400f_fff8, 0.99), BTreeSet::new());
    // Of a machine whose first page no guest uses.
    let low: RangeSet = ["0x1000-0x9fbff".parse().unwrap()].into_iter().collect();
    let low = Clusters::new(Mapping::ready("linear").unwrap(), shapes.clone(), low).unwrap();
    assert_eq!(low.others(GuestPhys(0x1ff8), 0.99), [GuestPhys(0x2_1ff8)]);
    let small: Mapping = toml::from_str("name = 'small'\ncolumn = [8]\nrow = [16]").unwrap();
    let said = Clusters::new(small.clone(), shapes, ram).unwrap_err().to_string();
    assert!(
        said.starts_with("mapping `small` has 32 B, and the guest's RAM reaches to byte 0xfffff"),
        "{said}"
    );
    let other: Mapping = toml::from_str("name = 'small'\ncolumn = [16]\nrow = [8]").unwrap();
    assert_ne!(small.distinct_name(), other.distinct_name());
    assert_eq!(Mapping::ready("linear").unwrap().distinct_name(), "linear");
}
