//! Tests of `codec`.

use super::*;
use proptest::prelude::*;

fn parse(limit: usize, bytes: &[u8], piece: usize) -> Vec<(Received, Vec<u8>)> {
    let mut parser = Parser::new(limit);
    let mut found = Vec::new();
    for mut input in bytes.chunks(piece.max(1)) {
        while let Some(event) = parser.next_event(&mut input) {
            let data =
                matches!(event, Received::Packet | Received::Notification).then(|| parser.data().to_vec());
            found.push((event, data.unwrap_or_default()));
        }
    }
    found
}

fn events(bytes: &[u8]) -> Vec<Received> {
    parse(64, bytes, 1).into_iter().map(|(event, _)| event).collect()
}

fn packet(bytes: &[u8]) -> String {
    match parse(256, bytes, 3).as_slice() {
        [(Received::Packet, data)] => String::from_utf8_lossy(data).into_owned(),
        other => panic!("{other:?}"),
    }
}

fn framed(content: &[u8]) -> String {
    let mut out = Vec::new();
    encode_packet(content, &mut out);
    out.escape_ascii().to_string()
}

#[test]
fn packets_carry_their_checksum() {
    insta::assert_snapshot!(framed(b""), @"$#00");
    insta::assert_snapshot!(framed(b"OK"), @"$OK#9a");
    insta::assert_snapshot!(framed(b"m40000000,8"), @"$m40000000,8#55");
}

#[test]
fn bytes_that_mean_something_travel_escaped() {
    insta::assert_snapshot!(framed(b"#$}*"), @r"$}\x03}\x04}]}\n#62");
    assert_eq!(packet(b"$}\x03}\x04}]}\n#62"), "#$}*");
}

#[test]
fn numbers_have_no_leading_zeroes_and_zero_has_one_digit() {
    let text = |number| {
        let mut out = Vec::new();
        PacketWriter::begin(&mut out).number(number);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text(0), "$0");
    assert_eq!(text(0x10), "$10");
    assert_eq!(text(0xffff_0000_1234_0000), "$ffff000012340000");
    assert_eq!(text(u64::MAX), "$ffffffffffffffff");
}

#[test]
fn run_lengths_repeat_the_byte_before_them() {
    // The examples of the protocol's manual: a space is 3 more, `"` is 5 more.
    assert_eq!(packet(b"$0* #7a"), "0000");
    assert_eq!(packet(b"$x*\"#c4"), "xxxxxx");
    assert_eq!(packet(b"$0*~y#51"), format!("{}y", "0".repeat(98)));
}

#[test]
fn a_run_length_without_a_byte_or_without_a_count_is_damage() {
    assert_eq!(events(b"$* #4a"), [Received::Damaged]);
    assert_eq!(events(b"$0*\x1f#79"), [Received::Damaged]);
    assert_eq!(events(b"$0*#5a"), [Received::Damaged]);
    assert_eq!(events(b"$0}#ad"), [Received::Damaged]);
}

#[test]
fn a_wrong_checksum_is_damage_and_the_next_packet_is_whole_again() {
    assert_eq!(events(b"$OK#9b$OK#9a"), [Received::Damaged, Received::Packet]);
    assert_eq!(events(b"$OK#zz+"), [Received::Damaged, Received::Noise(b'z'), Received::Ack]);
    assert_eq!(events(b"$OK#9z"), [Received::Damaged]);
}

#[test]
fn checksums_are_read_in_either_case() {
    assert_eq!(events(b"$OK#9A"), [Received::Packet]);
}

#[test]
fn a_packet_that_lost_its_end_gives_way_to_the_next() {
    let found = parse(64, b"$m4000$OK#9a", 5);
    assert_eq!(found, [(Received::Packet, b"OK".to_vec())]);
}

#[test]
fn acks_and_interrupts_count_only_outside_of_packets() {
    assert_eq!(
        events(b"+-\x03\r$+-\x03#5b"),
        [Received::Ack, Received::Nak, Received::Interrupt, Received::Noise(b'\r'), Received::Packet]
    );
}

#[test]
fn notifications_are_distinguished_from_packets() {
    assert_eq!(parse(64, b"%Stop:T05#99", 2), [(Received::Notification, b"Stop:T05".to_vec())]);
}

#[test]
fn a_packet_beyond_the_limit_is_lost_and_its_end_found() {
    let mut bytes = Vec::new();
    encode_packet(&[b'a'; 65], &mut bytes);
    encode_packet(&[b'b'; 64], &mut bytes);
    assert_eq!(parse(64, &bytes, 7), [(Received::TooLong, vec![]), (Received::Packet, vec![b'b'; 64])]);
    assert_eq!(events(b"$0*~#00"), [Received::TooLong], "run lengths count decoded");
}

#[test]
fn a_parser_keeps_no_more_than_its_limit() {
    let mut parser = Parser::new(100);
    let junk = [b'$', b'x'].into_iter().chain(std::iter::repeat_n(b'y', 1 << 20)).collect::<Vec<_>>();
    assert_eq!(parser.next_event(&mut junk.as_slice()), None);
    assert!(parser.state != State::Outside);
    assert!(parser.data.len() <= 100 && parser.data.capacity() <= 1024);
}

#[test]
fn hex_of_odd_length_or_with_other_letters_is_refused() {
    assert_eq!(decode_hex(b"00fFa5"), Some(vec![0, 0xff, 0xa5]));
    assert_eq!(decode_hex(b""), Some(vec![]));
    assert_eq!(decode_hex(b"0"), None);
    assert_eq!(decode_hex(b"0g"), None);
    assert_eq!(decode_hex_into(b"0011", &mut [0; 3]), None);
    assert_eq!(decode_number(b"1000"), Some(4096));
    assert_eq!(decode_number(b""), None);
    assert_eq!(decode_number(b"10000000000000000"), None);
}

proptest! {
    #[test]
    fn packets_survive_their_wire_form_in_any_pieces(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        piece in 1..64usize,
    ) {
        let mut bytes = Vec::new();
        for content in &contents {
            encode_packet(content, &mut bytes);
        }
        let expected: Vec<_> = contents.into_iter().map(|it| (Received::Packet, it)).collect();
        prop_assert_eq!(parse(256, &bytes, piece), expected);
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_depend_on_the_pieces(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"$#*}%+-0a".to_vec())], 0..300),
        piece in 1..40usize,
    ) {
        prop_assert_eq!(parse(40, &bytes, piece), parse(40, &bytes, 1));
    }

    #[test]
    fn a_packet_after_garbage_without_frames_is_found(
        garbage in prop::collection::vec(any::<u8>().prop_filter("no frame", |it| !b"$%".contains(it)), 0..50),
    ) {
        let mut bytes = garbage;
        encode_packet(b"OK", &mut bytes);
        let found = parse(64, &bytes, 9);
        prop_assert_eq!(found.last(), Some(&(Received::Packet, b"OK".to_vec())));
    }

    #[test]
    fn hex_and_numbers_survive_their_text_form(bytes in prop::collection::vec(any::<u8>(), 0..64), number: u64) {
        let mut hex = Vec::new();
        encode_hex(&bytes, &mut hex);
        prop_assert_eq!(decode_hex(&hex), Some(bytes));
        let mut text = Vec::new();
        PacketWriter::begin(&mut text).number(number);
        prop_assert_eq!(decode_number(&text[1..]), Some(number));
    }
}
