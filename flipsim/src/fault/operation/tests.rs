//! Operations, and the numbers that an overwriting is drawn from.

use std::collections::BTreeSet;

use super::*;

#[test]
fn each_operation_is_found_by_its_variant_and_by_its_name() {
    for row in ROWS {
        assert!(std::ptr::eq(row.operation.row(), row));
        let text = row.operation.to_string();
        assert_eq!(text.split(':').next(), Some(row.name));
        assert_eq!(row.operation.hold().is_some(), row.holds_on);
        assert_eq!(text.parse::<Operation>().unwrap(), row.operation);
        let json = serde_json::to_string(&row.operation).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Operation>(&json).unwrap(), row.operation);
        assert_eq!(text.parse::<Operations>().unwrap(), Operations::One(row.operation));
    }
    assert_eq!(ROWS[0].operation, Operation::default());
    for text in ["overwrite:65", "overwrite:0x41"] {
        assert_eq!(text.parse::<Operation>().unwrap(), Operation::Overwrite(0x41));
    }
    for text in
        ["flop", "", "overwrite", "overwrite:", "overwrite:x", "flip:1", "set0:", "Set0", "overwrite:-1"]
    {
        let error = text.parse::<Operations>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "there is no operation `{text}`; write flip, set0, set1, overwrite:NUMBER, overwrite:random, skip, opcode, stuck0, stuck1, stuck or nothing"
            )
        );
    }
    let several = "overwrite:random".parse::<Operation>().unwrap_err().to_string();
    assert_eq!(several, "a single fault has one number; write overwrite:NUMBER");
    assert!(serde_json::from_str::<Operation>("\"flop\"").is_err());
}

#[test]
fn what_each_operation_does_to_the_bits() {
    // A bit that is 0 and one that is 1, outside of the mask and inside.
    let (old, mask) = ([0b0101, 0xf0], [0b0110, 0xff]);
    for (operation, expected) in [
        ("flip", [0b0011, 0x0f]),
        ("set0", [0b0001, 0x00]),
        ("set1", [0b0111, 0xff]),
        // Its bit 0 goes to bit 1 of the first byte, and so on.
        ("overwrite:0x55", [0b0011, 0x00]),
        ("overwrite:0x282", [0b0101, 0x05]),
        ("nothing", old),
        ("stuck0", [0b0001, 0x00]),
        ("stuck1 for 5ms", [0b0111, 0xff]),
        ("stuck for 1us every 2us", [0b0011, 0x0f]),
    ] {
        let operation: Operation = operation.parse().unwrap();
        assert_eq!(operation.apply(&old, &mask), expected, "{operation}");
        assert_eq!(operation.holds_on(), operation.to_string().starts_with("stuck"));
    }
    // Behind the 64 bits of the number there are zeros.
    let wide = Operation::Overwrite(u64::MAX)
        .apply(&[0xaa; 10], &[0, 0xff, 0xff, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(wide, [0xaa, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
    assert_eq!(Operation::Overwrite(7).apply(&[1, 2], &[0, 0]), [1, 2]);
}

#[test]
fn how_long_one_holds_on_is_read_and_written_exactly() {
    for text in
        ["stuck0", "stuck1 for 1ns", "stuck for 1500us", "stuck0 for 100us every 1ms", "stuck for 61s"]
    {
        let operation: Operation = text.parse().unwrap();
        assert_eq!(operation.to_string(), text);
        assert!(Operations::One(operation).hold_on() && !Operations::One(operation).is_flip());
    }
    let hold = "stuck0   for 0.1ms  every 1ms".parse::<Operation>().unwrap().hold().unwrap();
    assert_eq!((hold.long(), hold.every()), (Some(VirtualNs(100_000)), Some(VirtualNs(1_000_000))));
    for (text, why) in [
        ("stuck0 for", "its times cannot be read"),
        ("stuck0 every 1ms", "its times cannot be read"),
        ("stuck0 for 0ns", "it has no length"),
        ("stuck0 for 5", "`5` is not a duration"),
        ("stuck0 for 1ms every 1ms", "it comes again before it has ended"),
        ("stuck0 for 1ns every 999ns", "it comes again within a microsecond"),
        ("flip for 5ms", "flip is over at once, and has no length"),
        ("overwrite:1 for 5ms", "overwrite:0x1 is over at once, and has no length"),
    ] {
        let said = text.parse::<Operation>().unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{text}`: {why}")), "{said}");
    }
    assert!("stuck2 for 5ms".parse::<Operation>().unwrap_err().to_string().contains("there is no operation"));
}

#[test]
fn a_flip_done_twice_is_undone() {
    let old = [0x12, 0x34, 0x56];
    let mask = [0x81, 0x00, 0xff];
    assert_eq!(Operation::Flip.apply(&Operation::Flip.apply(&old, &mask), &mask), old);
}

#[test]
fn a_drawn_number_is_each_that_the_bits_can_hold_once() {
    let random: Operations = "overwrite:random".parse().unwrap();
    assert_eq!((random.to_string(), random.is_flip()), ("overwrite:random".to_owned(), false));
    // Three bits that are no neighbours.
    let mask = [0b1000_0100, 0b0000_0001];
    let values: BTreeSet<Vec<u8>> =
        (0..random.len(3, None)).map(|number| random.nth(number, &mask).apply(&[0, 0], &mask)).collect();
    assert_eq!(values.len(), 8);
    assert!(values.contains(&vec![0b1000_0100, 1]) && values.contains(&vec![0, 0]));
    for bits in [1, 2, 24] {
        assert_eq!(random.len(bits, None), 1 << bits);
    }
    for bits in [25, 63, 64, 128] {
        assert_eq!(random.len(bits, None), NUMBERS);
    }
    assert_eq!(Operations::default().len(64, None), 1);
    assert_eq!(Operations::Opcode.len(64, Some("pc")), 32);
    assert!((1..=15u64).all(|bytes| Operations::Opcode.len(64, Some("rip")).is_multiple_of(bytes * 8)));
    assert_eq!(Operations::default().nth(0, &mask), Operation::Flip);
}

#[test]
fn the_numbers_of_many_bits_lie_evenly() {
    let mask = [0xff; 8];
    let values: BTreeSet<u64> = (0..4096u64)
        .map(|number| match Operations::Random.nth(number << 12 | (number * 2_654_435_761) & 0xfff, &mask) {
            Operation::Overwrite(value) => value,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(values.len(), 4096);
    // Each bit is 1 in half of them, within 8 standard deviations; each sixteenth has its part.
    for bit in 0..64 {
        let ones = values.iter().filter(|value| **value >> bit & 1 == 1).count();
        assert!((1800..=2300).contains(&ones), "bit {bit}: {ones}");
    }
    for part in 0..16 {
        let count = values.iter().filter(|value| **value >> 60 == part).count();
        assert_eq!(count, 256, "{part}");
    }
}
