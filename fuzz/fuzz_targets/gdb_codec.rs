//! Packets of the gdb protocol: the same in pieces as at once, never longer than the limit, and read as written.
#![no_main]

use flipsim::wire::gdb::StopReason;
use flipsim::wire::gdb::codec::{self, Parser, Received};
use libfuzzer_sys::fuzz_target;

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> Vec<(Received, Vec<u8>)> {
    let mut parser = Parser::new(limit);
    let mut found = Vec::new();
    for mut piece in pieces {
        while let Some(event) = parser.next_event(&mut piece) {
            let data = parser.data();
            assert!(data.len() <= limit);
            let is_new = matches!(event, Received::Packet | Received::Notification);
            found.push((event, if is_new { data.to_vec() } else { Vec::new() }));
        }
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let limit = 16usize << (choice & 7);
    let whole = events([bytes].into_iter(), limit);
    assert_eq!(whole, events(bytes.chunks(usize::from(choice >> 3) + 1), limit));

    let mut packet = Vec::new();
    codec::encode_packet(bytes, &mut packet);
    assert_eq!(events([&packet[..]].into_iter(), bytes.len()), [(Received::Packet, bytes.to_vec())]);
    let mut hex = Vec::new();
    codec::encode_hex(bytes, &mut hex);
    assert_eq!(codec::decode_hex(&hex).as_deref(), Some(bytes));

    if let Some(read) = codec::decode_hex(bytes) {
        assert_eq!(read.len() * 2, bytes.len());
    }
    let _ = (codec::decode_number(bytes), StopReason::parse(bytes));
});
