//! Tests of `differences`.

use proptest::prelude::*;

use super::*;

fn wrong(right: &str, here: &str) -> Wrong {
    Differences::between(right.as_bytes(), here.as_bytes()).wrong(None)
}

fn relative(right: &str, here: &str) -> Option<f64> {
    wrong(right, here).relative.map(RelativeError::value)
}

#[test]
fn numbers_at_the_same_places_have_a_relative_error_and_the_largest_is_named() {
    let right = "row 0: 1.0 2.0\nrow 1: 4.0 -8.0\nrow 2: 0.5 1e3\n";
    let here = "row 0: 1.0 2.0\nrow 1: 4.4 -8.0\nrow 2: 0.5 1.5E+3\n";
    let found = wrong(right, here);
    assert_eq!((found.lines, found.missing, found.added, found.numbers), (2, 0, 0, 2));
    assert_eq!((found.relative.unwrap().value(), found.relative_line), (0.5, Some(3)));
    assert!(!found.beside_numbers);
    // `0` (0x30) is `4` (0x34): one bit. `1e3` is `1.5E+3`: e, 3 and the end of the line are three more bytes.
    let row = wrong("row 1: 4.0 -8.0\n", "row 1: 4.4 -8.0\n");
    assert_eq!((row.bytes, row.bits, row.relative_line), (1, 1, Some(1)));
    let close = row.relative.unwrap().value();
    assert!((close - 0.1).abs() < 1e-15, "{close}");
}

#[test]
fn what_numbers_are() {
    for (right, here, error) in [
        ("x=3", "x=4", 1.0 / 3.0),
        ("x=-3", "x=3", 2.0),
        ("x=+2.5", "x=2.25", 0.1),
        (".5", "5.", 9.0),
        ("1e-300", "2e-300", 1.0),
        ("0", "1", f64::INFINITY),
        ("1.5", "nan", f64::INFINITY),
        ("NaN", "1", f64::INFINITY),
        ("1", "-inf", f64::INFINITY),
        ("inf", "-inf", f64::INFINITY),
        // As numbers they are the same, as text they are not.
        ("1.0", "1.00", 0.0),
        ("-0.0", "0.0", 0.0),
        // Too long for a floating number to tell them apart.
        ("100000000000000000001", "100000000000000000002", 1e-20),
        ("[4,8]", "[4,6]", 0.25),
        ("50%", "75%", 0.5),
    ] {
        assert_eq!(relative(right, here), Some(error), "{right} {here}");
    }
}

#[test]
fn what_no_numbers_are() {
    for (right, here) in [
        ("digest=00000001", "digest=00000002"),
        ("digest=12", "digest=13"),
        ("sha256: 77", "sha256: 78"),
        ("crc32 5", "crc32 6"),
        ("0x10", "0x11"),
        // Of eight and more hexadecimal digits: neither 1.2e34567 nor a whole number with a nought before it.
        ("123e4567", "123e4568"),
        ("00123456", "00123457"),
        ("12345678901234567890123456789012", "12345678901234567890123456789013"),
        ("6.1.0", "6.1.1"),
        ("abc", "abd"),
        ("1 2", "1 2 3"),
    ] {
        let found = wrong(right, here);
        assert!(found.relative.is_none() && found.beside_numbers && found.numbers == 0, "{right} {here}");
    }
}

#[test]
fn a_hash_has_bytes_and_bits_alone() {
    let right = "FLIPSIM DONE workload=sha256 digest=c0ffee00 status=ok\n";
    let here = "FLIPSIM DONE workload=sha256 digest=c0ffae01 status=ok\n";
    let found = wrong(right, here);
    // e is 0x65 and a is 0x61; 0 is 0x30 and 1 is 0x31.
    assert_eq!((found.lines, found.bytes, found.bits), (1, 2, 2));
    assert_eq!((found.numbers, found.relative), (0, None));
}

#[test]
fn a_line_that_is_missing_or_too_many_counts_whole_and_alone() {
    let right = "a 1\nb 2\nc 3\nd 4\n";
    let found = wrong(right, "a 1\nc 3\nd 4\n");
    assert_eq!((found.lines, found.missing, found.added, found.bytes, found.bits), (1, 1, 0, 4, 32));
    assert!(found.beside_numbers && found.relative.is_none());
    let found = wrong(right, "a 1\nb 2\nnoise\nc 3\nd 5\n");
    assert_eq!((found.lines, found.missing, found.added), (2, 0, 1));
    assert_eq!((found.bytes, found.bits), (7, 6 * 8 + 1));
    assert_eq!((found.relative.unwrap().value(), found.relative_line), (0.25, Some(4)));
    // Two that are missing, apart from each other.
    let found = wrong(right, "b 2\nd 4\n");
    assert_eq!((found.lines, found.missing, found.bytes), (2, 2, 8));
    assert_eq!(wrong(right, "").missing, 4);
    assert_eq!(wrong("", right).added, 4);
    // As many lines: one by one, although two are equal at other places.
    let found = wrong("1\n2\n3\n4\n", "2\n3\n9\n4\n");
    assert_eq!((found.lines, found.missing, found.numbers), (3, 0, 3));
}

#[test]
fn a_longer_line_counts_what_it_has_more_and_an_end_of_line_is_a_byte() {
    let found = wrong("x=12\n", "x=123\n");
    assert_eq!((found.lines, found.bytes, found.bits), (1, 1, 8));
    let found = wrong("x\n", "x");
    assert_eq!((found.lines, found.bytes, found.bits, found.beside_numbers), (1, 1, 8, true));
    // Blanks alone.
    assert!(wrong("a  b\n", "a b\n").beside_numbers);
}

#[test]
fn a_byte_that_is_no_text_is_one_byte_and_one_bit_however_it_was_kept() {
    let right = b"value 7\n";
    let here = b"value \xb7\n";
    let kept = String::from_utf8_lossy(here).into_owned();
    for here in [&here[..], kept.as_bytes()] {
        let found = Differences::between(right, here).wrong(None);
        assert_eq!((found.lines, found.bytes, found.bits, found.numbers), (1, 1, 1, 0));
    }
}

#[test]
fn only_lines_that_match_are_looked_at() {
    let differences = Differences::between(b"x=1\r\nlog a\r\n", b"x=1\r\nlog b\r\n");
    let (x, log) = ("^x=".parse().unwrap(), "^log .$".parse().unwrap());
    assert!(differences.is_none(Some(&x)) && !differences.is_none(Some(&log)));
    assert_eq!((differences.wrong(Some(&x)).bytes, differences.wrong(Some(&log)).bytes), (0, 1));
}

#[test]
fn a_relative_error_is_a_number_or_inf_in_json() {
    let json = |right, here| serde_json::to_value(wrong(right, here).relative).unwrap();
    assert_eq!((json("2", "3"), json("0", "3")), (0.5.into(), "inf".into()));
    assert_eq!(wrong("3", "4").relative.unwrap().to_string(), "3.3e-1");
    assert_eq!(wrong("0", "4").relative.unwrap().to_string(), "inf");
}

#[test]
fn a_long_output_is_compared_in_time() {
    let line = |n: u32| format!("line {n}\n");
    let right: String = (0..30_000).map(line).collect();
    let here: String = (1..29_000).map(|n| line(n * 3)).collect();
    assert_eq!(wrong(&right, &here).lines, 30_000);
}

proptest! {
    #[test]
    fn equal_outputs_are_not_apart_and_others_are(right in "[ab1\n]{0,30}", here in "[ab1\n]{0,30}") {
        let found = wrong(&right, &here);
        prop_assert_eq!(found == Wrong::default(), right == here);
        prop_assert!(found.bits >= found.bytes && found.bits <= 8 * found.bytes);
        prop_assert!(found.bytes >= found.lines && found.missing + found.added <= found.lines);
    }

    #[test]
    fn any_bytes_are_compared(right: Vec<u8>, here: Vec<u8>) {
        let _ = Differences::between(&right, &here).wrong(None);
    }
}
