//! Tests of `tail`.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::console::lines::MAX_LINE;
use crate::console::marker::Done;

#[test]
fn the_guests_own_markers_are_read() {
    assert_eq!(marker("FLIPSIM READY workload=fs"), Some(Marker::Ready("fs".into())));
    assert_eq!(
        marker("[    2.1] FLIPSIM DONE workload=sha256 digest=ab12 status=ok"),
        Some(Marker::Done(Done { workload: "sha256".into(), digest: "ab12".into(), status: "ok".into() }))
    );
    assert_eq!(marker("FLIPSIM CHECK bad order at 5"), Some(Marker::Check("bad order at 5".into())));
    assert_eq!(marker("FLIPSIM IOMEM BEGIN"), Some(Marker::IomemBegin));
    assert_eq!(marker("FLIPSIM IOMEM END"), Some(Marker::IomemEnd));
    assert_eq!(marker("FLIPSIM "), None);
}

#[test]
fn the_kernels_bad_news_are_recognised() {
    for (line, kind) in [
        ("[    5.1] Kernel panic - not syncing: Attempted to kill init!", Kind::InitDeath),
        ("[    5.1] Unable to handle kernel NULL pointer dereference at virtual address 0", Kind::Oops),
        ("[    5.1] Internal error: Oops: 0000000096000004 [#1] SMP", Kind::Oops),
        ("[    5.1] BUG: Bad page state in process sh  pfn:40851", Kind::BadPageState),
        ("[    5.1] WARNING: CPU: 0 PID: 1 at kernel/foo.c:1 bar+0x1/0x2", Kind::Warning),
        ("[    5.1] rcu: INFO: rcu_sched self-detected stall on CPU", Kind::RcuStall),
        ("FLIPSIM ROUND 3 dig[    5.100000] Kernel panic - not syncing: x", Kind::Panic),
        ("FLIPSIM DONE workload=fs sta[    5.100000] Kernel panic - not syncing: x", Kind::Panic),
    ] {
        assert_eq!(marker(line), Some(Marker::Trouble(kind, line.into())), "{line}");
    }
    assert_eq!(marker("[    0.0] Linux version 6.1"), None);
}

#[test]
fn escapes_and_control_bytes_are_dropped() {
    let mut splitter = LineSplitter::default();
    assert_eq!(splitter.push(b"\x1b[1;31mred\x1b[0m\r\nne"), ["red"]);
    assert_eq!(splitter.partial(), "ne");
    assert_eq!(splitter.push(b"xt\x00\x07\n"), ["next"]);
}

#[test]
fn an_endless_line_comes_in_pieces_and_no_word_is_lost() {
    let mut splitter = LineSplitter::default();
    let mut pieces = splitter.push(&vec![b'a'; 1 << 20]);
    pieces.extend(splitter.push(b"Kernel panic"));
    pieces.extend(splitter.push(&vec![b'a'; 1 << 20]));
    assert!(pieces.iter().all(|piece| piece.len() == MAX_LINE));
    assert!(pieces.iter().any(|piece| piece.contains("Kernel panic")));
    assert!(splitter.push(b"b\n")[0].ends_with('b'));
}

#[test]
fn an_escape_byte_out_of_nowhere_eats_no_message() {
    let mut splitter = LineSplitter::default();
    let garbage = b"\x1b[    5.123456] Kernel panic\n\x1b[000000000000000000000000000000000000000 BUG: x\n";
    let lines = splitter.push(garbage);
    assert!(lines[0].ends_with("Kernel panic"), "{lines:?}");
    assert!(lines[1].ends_with("BUG: x"), "{lines:?}");
}

#[test]
fn a_log_is_followed_as_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console.log");
    let mut tail = ConsoleTail::from_start(&path);
    assert!(tail.poll().unwrap().is_empty());
    let mut file = File::create(&path).unwrap();
    file.write_all(b"one\ntw").unwrap();
    assert_eq!(tail.poll().unwrap(), ["one"]);
    file.write_all(b"o\n").unwrap();
    assert_eq!(tail.poll().unwrap(), ["two"]);
    let mut late = ConsoleTail::from_end(&path);
    file.write_all(b"three\n").unwrap();
    assert_eq!(late.poll().unwrap(), ["three"]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut splitter = LineSplitter::default();
        for line in splitter.push(&bytes) {
            let _ = marker(&line);
        }
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive(
        bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300
    ) {
        let cut = cut.min(bytes.len());
        let whole = LineSplitter::default().push(&bytes);
        let mut splitter = LineSplitter::default();
        let mut parts = splitter.push(&bytes[..cut]);
        parts.extend(splitter.push(&bytes[cut..]));
        prop_assert_eq!(whole, parts);
    }
}
