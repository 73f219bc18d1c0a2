//! Tests of `kernel`.

use std::io::Write;

use super::*;

/// A file of zeros with these bytes at these places.
fn bytes(size: usize, marks: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0u8; size];
    for (at, mark) in marks {
        bytes[*at..at + mark.len()].copy_from_slice(mark);
    }
    bytes
}

/// What is said of a kernel for a Linux guest with the lab's words.
fn said(arch: &str, content: &[u8]) -> Result<Option<String>, String> {
    with(arch, "QEMU 7.2.22", true, content)
}

fn with(arch: &str, qemu: &str, ours: bool, content: &[u8]) -> Result<Option<String>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let given = Given { path: file.path(), arch: arch.parse().unwrap(), qemu, ours };
    check(given).map_err(|error| format!("{error:#}"))
}

fn refused(arch: &str, content: &[u8], word: &str) {
    let error = said(arch, content).unwrap_err();
    assert!(error.contains(word), "{arch}: {error}");
}

fn image(size: usize, in_memory: u32) -> Vec<u8> {
    bytes(size, &[(16, &in_memory.to_le_bytes()), (56, b"ARM\x64")])
}

/// With one setup sector, and so many bytes behind both.
fn bz(body: usize) -> Vec<u8> {
    let paragraphs = u32::try_from(body / 16).unwrap().to_le_bytes();
    let marks: &[(usize, &[u8])] = &[
        (0x1f1, b"\x01"),
        (0x1f4, &paragraphs),
        (0x1fe, b"\x55\xaa"),
        (0x202, b"HdrS"),
        (0x206, b"\x0f\x02"),
    ];
    bytes(1024 + body, marks)
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

/// With one part that is loaded, and one note.
fn elf(machine: u16, paddr: u64, note: &[u8]) -> Vec<u8> {
    let mut file = bytes(0x400, &[(0, b"\x7fELF\x02\x01\x01"), (0x200, note)]);
    let mut put = |at: usize, number: u64, width: usize| {
        file[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    };
    put(18, machine.into(), 2);
    put(32, 64, 8);
    put(54, 56, 2);
    put(56, 2, 2);
    for (at, kind, offset, size) in [(64, 1, 0x100, 0x80), (120, 4, 0x200, note.len() as u64)] {
        put(at, kind, 4);
        put(at + 8, offset, 8);
        put(at + 24, paddr, 8);
        put(at + 32, size, 8);
    }
    file
}

const PVH: &[u8] = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0\0\0\0\x01\0\0\0\0";
const OTHER_NOTE: &[u8] = b"\x04\0\0\0\x01\0\0\0\x03\0\0\0GNU\0\0\0\0\0";

#[test]
fn what_qemu_boots_is_taken() {
    assert_eq!(said("aarch64", &image(4096, 5000)), Ok(None));
    assert_eq!(said("aarch64", &gz(&image(4096, 5000))), Ok(None));
    assert_eq!(said("aarch64", &elf(183, 0x4000_0000, OTHER_NOTE)), Ok(None));
    let boot = bytes(4096, &[(0, b"\x27\x05\x19\x56"), (13, b"\0\x0f\xc0"), (28, b"\x05\x16\x02\x01")]);
    assert_eq!(said("aarch64", &boot), Ok(None));
    assert_eq!(said("x86_64", &bz(4096)), Ok(None));
    assert_eq!(said("x86_64", &elf(62, 0x100_0000, &[OTHER_NOTE, PVH].concat())), Ok(None));
    let multi = bytes(4096, &[(64, b"\x02\xb0\xad\x1b\0\0\0\0\xfe\x4f\x52\xe4")]);
    assert_eq!(said("x86_64", &multi), Ok(None));
    // A kernel that is nearly all zeros at its start is taken with a word of warning.
    assert!(said("aarch64", &image(4096, 7000)).unwrap().unwrap().contains("is it whole?"));
    let raw = b"\x14\0\0\x14 rest\0";
    assert!(with("aarch64", "", false, raw).unwrap().unwrap().contains("as they are"));
    refused("aarch64", raw, "no header of a kernel for aarch64");
}

#[test]
fn a_kernel_of_another_architecture_is_named_with_the_one_that_takes_it() {
    refused("aarch64", &bz(4096), "a bzImage, a kernel for x86, and the guest is aarch64; give the Image");
    refused("aarch64", &bz(4096), "--arch x86_64");
    refused(
        "x86_64",
        &image(4096, 5000),
        "an Image, a kernel for arm64, and the guest is x86_64; give the bzImage",
    );
    refused("aarch64", &elf(62, 0x100_0000, PVH), "an ELF file for x86_64");
    refused("x86_64", &elf(243, 0, PVH), "an ELF file for RISC-V");
    for arch in ["aarch64", "x86_64"] {
        refused(arch, &bytes(4096, &[(56, b"RSC\x05")]), "a kernel for RISC-V");
        refused(arch, &bytes(4096, &[(36, b"\x18\x28\x6f\x01")]), "a kernel for 32-bit ARM");
    }
    let boot = bytes(4096, &[(0, b"\x27\x05\x19\x56"), (28, b"\x05\x02\x02\0")]);
    refused("aarch64", &boot, "for another architecture");
}

#[test]
fn what_is_packed_is_named_with_the_line_that_unpacks_it() {
    for (magic, program) in [
        (&b"\xfd7zXZ\0"[..], "`xz -dc "),
        (b"\x28\xb5\x2f\xfd", "`zstd -dc "),
        (b"\x04\x22\x4d\x18", "`lz4 -dc "),
        (b"\x02\x21\x4c\x18", "`lz4 -dc "),
        (b"BZh9", "`bzip2 -dc "),
    ] {
        for arch in ["aarch64", "x86_64"] {
            refused(arch, &bytes(4096, &[(0, magic)]), program);
        }
    }
    refused("x86_64", &gz(&bz(4096)), "`gzip -dc ");
    refused("aarch64", &gz(b"a text\n"), "what is in it has a text");
    refused("aarch64", &gz(&bz(64)), "what is in it has a bzImage");
    let whole = gz(&image(4096, 5000));
    refused("aarch64", &whole[..whole.len() - 6], "cut or damaged");
    let zboot = bytes(4096, &[(0, b"MZ"), (4, b"zimg"), (9, b"\x01"), (13, b"\x02"), (24, b"gzip")]);
    refused("aarch64", &zboot, "| head -c 512 | gzip -dc > Image`");
    refused("aarch64", &zboot, "tail -c +257 ");
    refused("x86_64", &zboot, "an EFI zboot kernel, and the guest is x86_64");
    assert_eq!(with("aarch64", "QEMU 9.2.0", true, &zboot), Ok(None));
    refused("aarch64", &zboot[..0x1ff], "it is cut");
}

#[test]
fn what_is_no_kernel_is_named() {
    for arch in ["aarch64", "x86_64"] {
        for (content, word) in [
            (&b""[..], "it is empty, and no kernel"),
            (b"console=ttyS0\n", "it is a text"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
            (b"<!doctype html><html>", "a web page"),
            (&bytes(4096, &[(0, b"QFI\xfb\0\0\0\x03")]), "a disk is given with --image"),
            (&bytes(4096, &[(1080, b"\x53\xef")]), "a disk is given with --image"),
            (&bytes(4096, &[(0, b"070701")]), "a cpio archive"),
            (&bytes(4096, &[(0, b"MZ"), (0x3c, b"\x80"), (0x80, b"PE\0\0")]), "an EFI program"),
            (&bytes(4096, &[]), "no header of a kernel"),
            (b"\x7fELF\x02\x01", "cut or damaged"),
        ] {
            refused(arch, content, word);
        }
    }
    refused("aarch64", &elf(183, 0xffff_8000_0800_0000, OTHER_NOTE), "a vmlinux (ELF), whose addresses");
    refused("x86_64", &elf(62, 0x100_0000, OTHER_NOTE), "without a PVH entry");
}

#[test]
fn a_kernel_that_was_cut_is_refused() {
    refused("aarch64", &image(4096, 9000), "it is cut: it takes 9000 bytes of memory");
    refused("x86_64", &bz(4096)[..4096], "it is cut: its header says 5120 bytes, and the file has 4096");
    refused("x86_64", &bz(4096)[..0x208], "it is cut");
    let sections: &[(usize, &[u8])] = &[
        (0, b"MZ"),
        (16, b"\0\x20"),
        (56, b"ARM\x64"),
        (60, b"\x40"),
        (64, b"PE\0\0\x64\xaa\x01"),
        (64 + 24 + 17, b"\x10"),
        (64 + 24 + 21, b"\x02"),
    ];
    assert_eq!(said("aarch64", &bytes(0x1200, sections)), Ok(None));
    refused("aarch64", &bytes(0x11ff, sections), "its last part ends at byte 4608");
    let whole = elf(183, 0x4000_0000, OTHER_NOTE);
    refused("aarch64", &whole[..0x17f], "cut");
}

#[test]
fn no_beginning_of_a_file_makes_it_panic() {
    let files = [image(200, 300), bz(160), gz(&image(200, 300)), elf(62, 0, PVH), elf(183, 0, PVH)];
    for file in files {
        for end in (0..file.len()).step_by(7) {
            let _ = (said("aarch64", &file[..end]), said("x86_64", &file[..end]));
        }
        for at in (0..file.len().min(256)).step_by(2) {
            let mut odd = file.clone();
            let to = odd.len().min(at + 8);
            odd[at..to].fill(0xff);
            let _ = (said("aarch64", &odd), said("x86_64", &odd));
        }
    }
}

#[test]
fn an_initial_ram_disk_is_anything_that_a_kernel_unpacks() {
    let initrd = |content: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        check_initrd(file.path()).map_err(|error| error.to_string())
    };
    for good in
        [&gz(b"x")[..], b"070701", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", &bytes(4096, &[(1080, b"\x53\xef")])]
    {
        initrd(good).unwrap();
    }
    for (bad, word) in [(&b""[..], "empty"), (b"a text", "a text"), (b"\x7fELF", "a program")] {
        assert!(initrd(bad).unwrap_err().contains(word));
    }
}

#[test]
fn versions_are_found() {
    assert_eq!(version("QEMU 7.2.22"), (7, 2));
    assert_eq!(version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds)"), (10, 0));
    assert_eq!(version(""), (0, 0));
}
