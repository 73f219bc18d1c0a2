//! Tests of the prefixes of lines.

use super::*;

#[test]
fn a_prefix_is_read_with_level_stamp_and_caller_or_without() {
    let stamped = Prefix { stamped: true, at: Some(1_234_567), ..Prefix::default() };
    assert_eq!(split_prefix("[    1.234567] x"), (stamped, "x"));
    assert_eq!(split_prefix("<4>[12345.234567]  x"), (Prefix { at: Some(12_345_234_567), ..stamped }, " x"));
    assert_eq!(
        split_prefix("[    0.000000][   T12] x"),
        (Prefix { at: Some(0), caller: Some((b'T', 12)), ..stamped }, "x")
    );
    for line in ["[    1.2345] x", "[1.234567 x", "[ abc ]", "[", "", "<4", "[ 99999999999.000000] x"] {
        assert_eq!(split_prefix(line), (Prefix::default(), line));
    }
    assert_eq!(cut("user [te[    1.234567] x"), Some(8));
    for line in
        ["[    1.234567] x [1.2]", "<3>[    1.234567] x", "Jan 21 11:05:41 h kernel: [    1.234567] x"]
    {
        assert_eq!(cut(line), None, "{line}");
    }
}

#[test]
fn every_log_gives_the_same_message_of_the_kernel() {
    for before in [
        "[Sat Nov 28 23:06:19 2026] ",
        "[Nov28 23:06] ",
        "[  +0.000012] ",
        "[    1.234567 <    0.000012>] ",
        "kern  :warn  : [    1.234567] ",
        "Jan 21 11:05:41 host kernel: ",
        "Jan  1 11:05:41.123456 my-host.lan kernel: ",
        "Jan 21 2026 11:05:41 host kernel: ",
        "Jan 21 11:05:41 host kernel: [    1.234567] ",
        "Jan  1 00:00:05 host kern.err kernel: [    1.234567] ",
        "2026-11-28T23:06:19.123456+00:00 host kernel: ",
        "2026-11-28T23:06:19+0000 host kernel: ",
        "2026-11-28 23:06:19 host kernel: ",
        "2026-11-28T23:06:19,123456+00:00 ",
        "Sat 2026-11-28 23:06:19 UTC host kernel: ",
        "1700000000.123456 host kernel: ",
        "[    1.234567] host kernel: ",
        "4,339,5140900,-;",
        "kernel: ",
        "Jan 21 11:05:41 host kernel[88]: ",
        "<4>1 2026-11-28T23:06:19.123Z host kernel - - - ",
        "<4>",
    ] {
        let (prefix, message) = split_prefix_owned(before);
        assert_eq!(message, "BUG: x y", "{before}");
        assert_eq!((prefix.stamped, prefix.program), (before != "<4>", false), "{before}");
    }
}

fn split_prefix_owned(before: &str) -> (Prefix, String) {
    let line = format!("{before}BUG: x y");
    let (prefix, message) = split_prefix(&line);
    (prefix, message.to_owned())
}

#[test]
fn a_program_is_known_by_its_tag_in_a_journal_and_in_the_kernels_log() {
    for (line, message) in [
        ("Jan 21 11:05:41 host app[412]: BUG: x", "app[412]: BUG: x"),
        ("Jan 21 11:05:41 host app: BUG: x", "app: BUG: x"),
        ("[    1.234567] systemd[1]: Freezing execution.", "systemd[1]: Freezing execution."),
        ("app[412]: x", "app[412]: x"),
    ] {
        let (prefix, rest) = split_prefix(line);
        assert_eq!((prefix.program, rest), (true, message), "{line}");
    }
    for line in ["[    1.234567] app: x", "Jan 21 11:05:41 host kernel: app: x", "a b[1]: c", "[1]: x"] {
        assert!(!split_prefix(line).0.program, "{line}");
    }
}

#[test]
fn what_only_looks_like_a_date_stays_in_the_message() {
    for line in ["Jan said 11:05:41 to me", "2026-11-28", "Sat 12 x y z", "May 5 x", "1.2 x", "kern: x: y"] {
        assert_eq!(split_prefix(line), (Prefix::default(), line));
    }
}
