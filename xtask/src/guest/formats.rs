//! What a file of a user's is, by its bytes: one table for disk images, kernels and initial RAM disks.
//!
//! Invariant: **a name proves nothing; what is certainly no disk is refused by its row**, with what to do next.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flipsim::files;

use crate::host::proc::quote;

/// So much of a file's start is looked at: the mark of an ISO image lies furthest behind.
const HEAD: u64 = 72 << 10;
/// So much of its end.
const TAIL: u64 = 512;

/// The bytes by which a file is known.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// How long it is.
    pub size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Look {
    /// Looks at a plain file.
    ///
    /// # Errors
    /// As [`files::open_plain`].
    pub fn at(path: &Path) -> io::Result<Look> {
        let mut file = files::open_plain(path)?;
        let size = file.metadata()?.len();
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        file.by_ref().take(HEAD).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(Look { size, head, tail })
    }

    /// What was read of a file of this size, whose end is not looked at.
    pub fn of(head: Vec<u8>, size: u64) -> Look {
        Look { size, head, tail: Vec::new() }
    }

    /// Bytes of the start; `None` where the file has fewer.
    pub fn bytes(&self, at: u64, count: usize) -> Option<&[u8]> {
        self.head.get(usize::try_from(at).ok()?..)?.get(..count)
    }

    /// Whether these bytes stand there.
    pub fn has(&self, at: u64, bytes: &[u8]) -> bool {
        self.bytes(at, bytes.len()) == Some(bytes)
    }

    /// All of the start that was read.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// A number, least significant byte first.
    pub fn le(&self, at: u64, bytes: usize) -> Option<u64> {
        Some(self.bytes(at, bytes)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A number, most significant byte first.
    pub fn be(&self, at: u64, bytes: usize) -> Option<u64> {
        Some(self.bytes(at, bytes)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// How a format shows.
enum Mark {
    /// Bytes so far from the start.
    At(u64, &'static [u8]),
    /// Bytes so far from the end.
    Behind(usize, &'static [u8]),
    /// By more than bytes at a place.
    Is(fn(&Look) -> bool),
}

impl Mark {
    fn shows(&self, look: &Look) -> bool {
        match self {
            Mark::At(at, bytes) => look.has(*at, bytes),
            Mark::Behind(back, bytes) => {
                let from = look.tail.len().checked_sub(*back);
                from.is_some_and(|from| look.tail[from..].starts_with(bytes))
            }
            Mark::Is(is) => is(look),
        }
    }
}

/// What a file of some format is good for as a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsDisk {
    /// The bytes of a disk as they are.
    Raw,
    /// QEMU's own format.
    Qcow2,
    /// A disk may be packed in it; a program that reads it from standard input and writes it to standard output.
    Unpack(&'static str),
    /// A disk in another format, by its name in qemu-img.
    Convert(&'static str),
    /// No disk; what to do.
    No(&'static str),
    /// What stands in the place of a file that was not fetched; what to do.
    Absent(&'static str),
}

/// One row: a format.
pub struct Format {
    /// With its article, as it stands in a message.
    pub name: &'static str,
    marks: &'static [Mark],
    /// What to do with one that is given as a disk.
    pub as_disk: AsDisk,
}

const FETCH: &str = "fetch the file that was meant";
const AS_KERNEL: &str = "a kernel is given with --kernel";
const UNPACK_FIRST: &str = "unpack it, and give the image that is in it";

/// The table. The first row that shows is the one that is meant.
static FORMATS: &[Format] = &[
    Format { name: "empty", marks: &[Mark::Is(|look| look.size == 0)], as_disk: AsDisk::Absent(FETCH) },
    // Disks that QEMU is given.
    Format {
        name: "a qcow2 image",
        marks: &[Mark::At(0, b"QFI\xfb\0\0\0\x02"), Mark::At(0, b"QFI\xfb\0\0\0\x03")],
        as_disk: AsDisk::Qcow2,
    },
    // Disks in other formats.
    Format {
        name: "a qcow image of version 1",
        marks: &[Mark::At(0, b"QFI\xfb\0\0\0\x01")],
        as_disk: AsDisk::Convert("qcow"),
    },
    Format {
        name: "a qcow image of a version that is not known here, or with a damaged header",
        marks: &[Mark::At(0, b"QFI\xfb")],
        as_disk: AsDisk::No("fetch it again, or make a qcow2 image of version 2 or 3 of it"),
    },
    Format {
        name: "a VMDK image",
        marks: &[
            Mark::At(0, b"KDMV"),
            Mark::At(0, b"COWD"),
            Mark::At(0, b"\xbe\xba\xfe\xca\0\0\0\0"),
            Mark::At(0, b"# Disk DescriptorFile"),
        ],
        as_disk: AsDisk::Convert("vmdk"),
    },
    Format { name: "a VHDX image", marks: &[Mark::At(0, b"vhdxfile")], as_disk: AsDisk::Convert("vhdx") },
    Format {
        name: "a VHD image (Virtual PC)",
        marks: &[Mark::At(0, b"conectix"), Mark::Behind(512, b"conectix"), Mark::Behind(511, b"conectix")],
        as_disk: AsDisk::Convert("vpc"),
    },
    Format {
        name: "a VDI image",
        marks: &[Mark::At(64, b"\x7f\x10\xda\xbe")],
        as_disk: AsDisk::Convert("vdi"),
    },
    Format { name: "a QED image", marks: &[Mark::At(0, b"QED\0")], as_disk: AsDisk::Convert("qed") },
    Format {
        name: "a Parallels image",
        marks: &[Mark::At(0, b"WithoutFreeSpace"), Mark::At(0, b"WithouFreSpacExt")],
        as_disk: AsDisk::Convert("parallels"),
    },
    Format {
        name: "a Bochs image",
        marks: &[Mark::At(0, b"Bochs Virtual HD Image")],
        as_disk: AsDisk::Convert("bochs"),
    },
    Format {
        name: "a cloop image",
        marks: &[Mark::At(0, b"#!/bin/sh\n#V2.0 Format\n")],
        as_disk: AsDisk::Convert("cloop"),
    },
    Format { name: "a DMG image", marks: &[Mark::Behind(512, b"koly")], as_disk: AsDisk::Convert("dmg") },
    Format {
        name: "an Android sparse image",
        marks: &[Mark::At(0, b"\x3a\xff\x26\xed")],
        as_disk: AsDisk::No("make it raw with `simg2img`"),
    },
    Format {
        name: "a UBI image of a flash memory",
        marks: &[Mark::At(0, b"UBI#")],
        as_disk: AsDisk::No(
            "a guest of the lab has a disk and no flash; take the image for a disk or an SD card",
        ),
    },
    // What disks are packed in.
    Format {
        name: "a gzip archive",
        marks: &[Mark::At(0, b"\x1f\x8b")],
        as_disk: AsDisk::Unpack("gzip -dc"),
    },
    Format { name: "an xz archive", marks: &[Mark::At(0, b"\xfd7zXZ\0")], as_disk: AsDisk::Unpack("xz -dc") },
    Format {
        name: "a zstd archive",
        // The second: a frame that is skipped, with which parallel compressors begin.
        marks: &[
            Mark::At(0, b"\x28\xb5\x2f\xfd"),
            Mark::Is(|look| look.le(0, 4).is_some_and(|magic| magic & !0xf == 0x184d_2a50)),
        ],
        as_disk: AsDisk::Unpack("zstd -dc"),
    },
    Format { name: "a bzip2 archive", marks: &[Mark::At(0, b"BZh")], as_disk: AsDisk::Unpack("bzip2 -dc") },
    Format {
        name: "an lz4 archive",
        marks: &[Mark::At(0, b"\x04\x22\x4d\x18"), Mark::At(0, b"\x02\x21\x4c\x18")],
        as_disk: AsDisk::Unpack("lz4 -dc"),
    },
    Format {
        name: "an lzma archive",
        marks: &[Mark::Is(|look| {
            look.has(0, b"\x5d\0\0") && look.bytes(12, 1).is_some_and(|b| [[0], [0xff]].contains(&[b[0]]))
        })],
        as_disk: AsDisk::Unpack("xz -dc --format=lzma"),
    },
    Format {
        name: "an lzop archive",
        marks: &[Mark::At(0, b"\x89LZO\0\r\n\x1a\n")],
        as_disk: AsDisk::Unpack("lzop -dc"),
    },
    Format {
        name: "an archive of `compress`",
        marks: &[Mark::At(0, b"\x1f\x9d")],
        as_disk: AsDisk::Unpack("gzip -dc"),
    },
    Format {
        name: "a zip archive",
        marks: &[Mark::At(0, b"PK\x03\x04"), Mark::At(0, b"PK\x05\x06")],
        as_disk: AsDisk::No(UNPACK_FIRST),
    },
    Format {
        name: "a 7z archive",
        marks: &[Mark::At(0, b"7z\xbc\xaf\x27\x1c")],
        as_disk: AsDisk::No(UNPACK_FIRST),
    },
    Format {
        name: "a RAR archive",
        marks: &[Mark::At(0, b"Rar!\x1a\x07")],
        as_disk: AsDisk::No(UNPACK_FIRST),
    },
    Format {
        name: "a tar archive",
        marks: &[Mark::At(257, b"ustar")],
        as_disk: AsDisk::No(
            "unpack it with `tar xf`, and give the image that is in it (an .ova has a VMDK image)",
        ),
    },
    Format {
        name: "a cpio archive",
        marks: &[Mark::At(0, b"070701"), Mark::At(0, b"070702"), Mark::At(0, b"070707")],
        as_disk: AsDisk::No("an initial RAM disk is given with --initrd"),
    },
    Format {
        name: "a package of a distribution",
        marks: &[Mark::At(0, b"!<arch>\n"), Mark::At(0, b"\xed\xab\xee\xdb")],
        as_disk: AsDisk::No(UNPACK_FIRST),
    },
    // What is no disk for this guest.
    Format {
        name: "an ISO image of a CD or DVD",
        marks: &[Mark::At(0x8001, b"CD001")],
        as_disk: AsDisk::No(
            "install from it into a disk image, or take the distribution's disk image (for clouds, raw or qcow2)",
        ),
    },
    Format {
        name: "a bzImage, a kernel for x86",
        marks: &[Mark::Is(is_bz_image)],
        as_disk: AsDisk::No(AS_KERNEL),
    },
    Format {
        name: "an Image, a kernel for arm64",
        marks: &[Mark::At(56, b"ARM\x64")],
        as_disk: AsDisk::No(AS_KERNEL),
    },
    Format {
        name: "an Image, a kernel for RISC-V",
        marks: &[Mark::At(56, b"RSC\x05")],
        as_disk: AsDisk::No(AS_KERNEL),
    },
    Format {
        name: "an Image, a kernel for LoongArch",
        marks: &[Mark::At(56, b"\xcd\x23\x82\x81")],
        as_disk: AsDisk::No(AS_KERNEL),
    },
    Format {
        name: "a zImage, a kernel for 32-bit ARM",
        marks: &[Mark::At(36, b"\x18\x28\x6f\x01")],
        as_disk: AsDisk::No(AS_KERNEL),
    },
    Format {
        name: "a uImage of U-Boot",
        marks: &[Mark::At(0, b"\x27\x05\x19\x56")],
        as_disk: AsDisk::No(AS_KERNEL),
    },
    Format {
        name: "a device tree, or a FIT image of U-Boot",
        marks: &[Mark::At(0, b"\xd0\x0d\xfe\xed")],
        as_disk: AsDisk::No(
            "take the image or the kernel that is packed in it (`dumpimage -l` shows what is)",
        ),
    },
    Format { name: "a program (ELF)", marks: &[Mark::At(0, b"\x7fELF")], as_disk: AsDisk::No(FETCH) },
    Format {
        name: "an EFI or Windows program",
        marks: &[Mark::Is(|look| pe_header(look).is_some())],
        as_disk: AsDisk::No(FETCH),
    },
    // Disks as they are.
    Format { name: "a squashfs", marks: &[Mark::At(0, b"hsqs")], as_disk: AsDisk::Raw },
    Format { name: "an XFS", marks: &[Mark::At(0, b"XFSB")], as_disk: AsDisk::Raw },
    Format { name: "an EROFS", marks: &[Mark::At(1024, b"\xe2\xe1\xf5\xe0")], as_disk: AsDisk::Raw },
    Format { name: "an F2FS", marks: &[Mark::At(1024, b"\x10\x20\xf5\xf2")], as_disk: AsDisk::Raw },
    Format { name: "an ext file system", marks: &[Mark::At(1080, b"\x53\xef")], as_disk: AsDisk::Raw },
    Format { name: "a Btrfs", marks: &[Mark::At(0x10040, b"_BHRfS_M")], as_disk: AsDisk::Raw },
    Format {
        name: "a disk with partitions",
        marks: &[Mark::Is(|look| partitions_end(look).is_some())],
        as_disk: AsDisk::Raw,
    },
    Format {
        name: "a pointer of Git LFS",
        marks: &[Mark::At(0, b"version https://git-lfs.github.com/")],
        as_disk: AsDisk::Absent("fetch the file that it stands for with `git lfs pull`"),
    },
    Format {
        name: "a pointer of git-annex",
        marks: &[Mark::At(0, b"/annex/objects/")],
        as_disk: AsDisk::Absent("fetch the file that it stands for with `git annex get`"),
    },
    Format {
        name: "a web page",
        marks: &[Mark::Is(is_page)],
        as_disk: AsDisk::Absent("the server has answered with a page in place of the file; fetch it again"),
    },
    Format { name: "a text", marks: &[Mark::Is(is_text)], as_disk: AsDisk::No(FETCH) },
];

/// The row of a file; `None` where none shows: the bytes of a disk as they are, or something that is not known.
pub fn format_of(look: &Look) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.marks.iter().any(|mark| mark.shows(look)))
}

/// What to do with a file that is packed, as a line for a shell.
pub fn unpack_line(program: &str, path: &Path, otherwise: &str) -> String {
    let packed = ["gz", "xz", "zst", "zstd", "bz2", "lz4", "lzma", "lzo", "Z"];
    let plain = path.extension().is_some_and(|ending| packed.iter().any(|known| ending == *known));
    let out: PathBuf = if plain { path.with_extension("") } else { path.with_extension(otherwise) };
    format!("`{program} {} > {}`", quote(path), quote(out))
}

/// A kernel for x86 (`Documentation/arch/x86/boot.rst`).
fn is_bz_image(look: &Look) -> bool {
    look.has(0x1fe, b"\x55\xaa") && look.has(0x202, b"HdrS")
}

/// Where the header of an EFI program starts.
pub fn pe_header(look: &Look) -> Option<u64> {
    let at = look.has(0, b"MZ").then(|| look.le(0x3c, 4)).flatten()?;
    look.has(at, b"PE\0\0").then_some(at)
}

/// The start without blanks, in small letters.
fn start(look: &Look) -> String {
    String::from_utf8_lossy(look.bytes(0, 64.min(look.head.len())).unwrap_or_default())
        .trim_start()
        .to_lowercase()
}

fn is_page(look: &Look) -> bool {
    ["<!doctype html", "<html", "<head"].iter().any(|tag| start(look).starts_with(tag))
}

/// Whether the start is text that people read.
fn is_text(look: &Look) -> bool {
    let start = &look.head[..look.head.len().min(4096)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A letter may be cut where the start ends.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b'))
}

/// How long the disk is by what it says itself; `None` where it says nothing. What is shorter was cut.
pub fn said_length(look: &Look) -> Option<(&'static str, u64)> {
    if let Some(end) = partitions_end(look) {
        return Some(("its last partition", end));
    }
    if look.has(0, b"hsqs") {
        return Some(("its squashfs", look.le(40, 8)?));
    }
    if look.has(0, b"XFSB") {
        return Some(("its XFS", look.be(4, 4)?.checked_mul(look.be(8, 8)?)?));
    }
    // A file system on the whole disk; in one with partitions it may be what was there before them.
    if look.has(1080, b"\x53\xef") && !look.has(510, b"\x55\xaa") {
        let wide = look.le(1024 + 96, 4)? & 0x80 != 0;
        let high = if wide { look.le(1024 + 336, 4)? } else { 0 };
        let blocks = look.le(1024 + 4, 4)? | high << 32;
        let block = 1024u64.checked_shl(u32::try_from(look.le(1024 + 24, 4)?).ok()?)?;
        return Some(("its ext file system", blocks.checked_mul(block)?));
    }
    None
}

/// Where the last partition of an MBR or a GPT ends.
fn partitions_end(look: &Look) -> Option<u64> {
    if !look.has(510, b"\x55\xaa") {
        return None;
    }
    if look.has(512, b"EFI PART") {
        let (table, count, size) = (look.le(584, 8)?, look.le(592, 4)?, look.le(596, 4)?);
        let entries = (0..count.min(256)).map_while(|number| {
            let at = table.checked_mul(512)?.checked_add(number.checked_mul(size)?)?;
            Some((look.bytes(at, 16)?, look.le(at + 40, 8)?))
        });
        let used = entries.filter(|(kind, _)| **kind != [0; 16]);
        return used.map(|(_, last)| last).max()?.checked_add(1)?.checked_mul(512);
    }
    // A boot sector without partitions has code or text in the place of the table.
    if look.has(54, b"FAT") || look.has(82, b"FAT") || look.has(3, b"NTFS") {
        return None;
    }
    let mut end = None;
    for number in 0..4u64 {
        let entry = look.bytes(446 + 16 * number, 16)?;
        let number =
            |at: usize| entry[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (kind, first, count) = (entry[4], number(8), number(12));
        match (entry[0], kind) {
            (0, 0) if entry == [0; 16] => {}
            // It stands for a GPT.
            (0 | 0x80, 0xee) => {}
            (0 | 0x80, 1..) if first > 0 && count > 0 => end = end.max(Some((first + count) * 512)),
            _ => return None,
        }
    }
    end
}

#[cfg(test)]
mod tests;
