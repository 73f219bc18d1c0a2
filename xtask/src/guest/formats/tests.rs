//! Tests of `formats`.

use super::*;

/// A file of zeros with these bytes at these places.
fn file(size: usize, marks: &[(usize, &[u8])]) -> Look {
    let mut bytes = vec![0u8; size];
    for (at, mark) in marks {
        bytes[*at..at + mark.len()].copy_from_slice(mark);
    }
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), bytes).unwrap();
    Look::at(path.path()).unwrap()
}

fn name(look: &Look) -> &'static str {
    format_of(look).map_or("nothing", |format| format.name)
}

#[test]
fn every_row_is_found_by_each_of_its_marks() {
    for format in FORMATS {
        for mark in format.marks {
            let look = match mark {
                Mark::At(at, bytes) => file(1 << 17, &[(*at as usize, bytes)]),
                Mark::Behind(back, bytes) => file(1 << 17, &[((1 << 17) - back, bytes)]),
                Mark::Is(_) => continue,
            };
            assert_eq!(name(&look), format.name);
        }
    }
}

#[test]
fn what_shows_by_more_than_a_mark_is_found_too() {
    let text = |text: &str| file(text.len(), &[(0, text.as_bytes())]);
    for (look, word) in [
        (file(0, &[]), "empty"),
        (text("hello\n"), "a text"),
        (text(&"ä".repeat(5000)), "a text"),
        (text("#!/bin/sh\necho\n"), "a text"),
        (text("  <!DOCTYPE HTML><html>"), "a web page"),
        (text("{\"error\": 404}"), "a text"),
        (text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), "a pointer of Git LFS"),
        (file(1 << 17, &[(0x1fe, b"\x55\xaa"), (0x202, b"HdrS")]), "a bzImage, a kernel for x86"),
        (file(1 << 17, &[(0, b"MZ"), (0x3c, b"\x80"), (0x80, b"PE\0\0")]), "an EFI or Windows program"),
        (file(64, &[(0, b"\x50\x2a\x4d\x18")]), "a zstd archive"),
        (file(64, &[(0, b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff")]), "an lzma archive"),
    ] {
        assert_eq!(name(&look), word);
    }
    // Disks, and what could be one.
    for look in [
        file(1 << 17, &[]),
        file(1 << 17, &[(510, b"\x55\xaa")]),
        file(1 << 17, &[(0, b"MZ")]),
        file(1 << 17, &[(0, b"text\0")]),
    ] {
        assert_eq!(name(&look), "nothing");
    }
}

#[test]
fn a_disk_that_says_how_long_it_is_is_believed() {
    let said = |marks: &[(usize, &[u8])]| said_length(&file(1 << 17, marks));
    assert_eq!(said(&[]), None);
    assert_eq!(said(&[(0, b"hsqs"), (41, b"\x10")]), Some(("its squashfs", 0x1000)));
    let ext: &[(usize, &[u8])] = &[(1080, b"\x53\xef"), (1028, b"\x10"), (1048, b"\x02")];
    assert_eq!(said(ext), Some(("its ext file system", 0x10000)));
    assert_eq!(said(&[(0, b"XFSB"), (6, b"\x10"), (15, b"\x20")]), Some(("its XFS", 0x1000 * 0x20)));
    let mbr: &[(usize, &[u8])] = &[(510, b"\x55\xaa"), (450, b"\x83"), (455, b"\x08"), (459, b"\x10")];
    assert_eq!(said(mbr), Some(("its last partition", (0x800 + 0x1000) * 512)));
    for code in
        [&[(446, &b"\x90"[..])][..], &[(462, b"\x80")], &[(450, b"\x83"), (82, b"FAT32")], &[(3, b"NTFS")]]
    {
        assert_eq!(said(&[mbr, code].concat()), None, "{code:?}");
    }
    let gpt: &[(usize, &[u8])] = &[
        (510, b"\x55\xaa"),
        (450, b"\xee"),
        (512, b"EFI PART"),
        (584, b"\x02"),
        (592, b"\x80"),
        (596, b"\x80"),
        (1024, b"\x01"),
        (1064, b"\xff\x0f"),
        (1152, b"\x01"),
        (1192, b"\xff\x07"),
    ];
    assert_eq!(said(gpt), Some(("its last partition", 0x1000 * 512)));
    // Whatever the numbers say, none overflows.
    let all = [0xff; 4096];
    assert_eq!(said(&[(0, &all), (0, b"XFSB")]), None);
    said(&[(0, &all), (1080, b"\x53\xef"), (510, b"\0")]);
    said(&[(0, &all), (510, b"\x55\xaa"), (512, b"EFI PART")]);
    said(&[(0, &all), (510, b"\x55\xaa"), (446, b"\0")]);
}

#[test]
fn a_line_to_unpack_names_another_file() {
    let line = |path: &str| unpack_line("gzip -dc", Path::new(path), "img");
    assert_eq!(line("a/root.raw.gz"), "`gzip -dc a/root.raw.gz > a/root.raw`");
    assert_eq!(line("my disk"), "`gzip -dc 'my disk' > 'my disk.img'`");
}
