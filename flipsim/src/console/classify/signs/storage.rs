//! What file systems, block devices and flash report of damage.
//!
//! Invariant: **a file system's own line counts when it speaks of damage**; that it was mounted, or that a medium
//! holds another file system, is none.

use crate::console::classify::kind::Kind;
use crate::console::classify::signs::heading::Place::{Anywhere, Start, Word};
use crate::console::classify::signs::heading::Voice::{Kernel, Program};
use crate::console::classify::signs::heading::Wants::Nothing;
use crate::console::classify::signs::heading::{Heading, Line, Sign, sign};
use crate::console::classify::text::{clean, function_in, stable};

/// The rows.
pub static SIGNS: &[Sign] = &[
    // `EXT4-fs error (device vda): …`, and the same of btrfs, NILFS, NTFS, ReiserFS, UDF, …
    sign(" error (device ", Anywhere, Kernel, |line| device(line, "error")),
    sign(": error (device ", Anywhere, Kernel, |line| device(line, "error")),
    sign(" critical (device ", Anywhere, Kernel, |line| device(line, "critical")),
    sign(" warning (device ", Anywhere, Kernel, |line| spoken(line, "warning", &NAMED)),
    sign(" info (device ", Anywhere, Kernel, |line| spoken(line, "info", &NAMED)),
    // `EXT4-fs (vda): …`, and the same of F2FS, FAT, exFAT, …
    sign("-fs (", Anywhere, Kernel, |line| spoken(line, "-fs", &NAMED)),
    sign("XFS (", Start, Kernel, |line| spoken(&behind("XFS", line), "", &NAMED)),
    sign("XFS: ", Start, Kernel, |line| spoken(&behind("XFS", line), "", &PLAIN)),
    sign("bcachefs (", Start, Kernel, |line| spoken(&behind("bcachefs", line), "", &NAMED)),
    sign("erofs: (device ", Start, Kernel, |line| spoken(&behind("erofs", line), "", &NAMED)),
    sign("erofs (device ", Start, Kernel, |line| spoken(&behind("erofs", line), "", &NAMED)),
    sign("ntfs3: ", Start, Kernel, |line| spoken(&behind("ntfs3", line), "", &PLAIN)),
    sign("ntfs3(", Start, Kernel, |line| spoken(&behind("ntfs3", line), "", &NAMED)),
    sign("gfs2: fsid=", Start, Kernel, |line| spoken(&behind("gfs2", line), "", &PLAIN)),
    sign("UBIFS error (", Start, Kernel, |line| device(&behind("UBIFS", line), "error")),
    sign("UBIFS (", Start, Kernel, |line| spoken(&behind("UBIFS", line), "", &NAMED)),
    sign("UBIFS warning (", Start, Kernel, |line| spoken(&behind("UBIFS", line), "warning", &NAMED)),
    sign("SQUASHFS error: ", Start, Kernel, |line| error("SQUASHFS error", line.rest)),
    sign("JFFS2 error: ", Start, Kernel, |line| error("JFFS2 error", line.rest)),
    sign("JFFS2 warning: ", Start, Kernel, |line| spoken(&behind("JFFS2 warning", line), "", &PLAIN)),
    sign("jffs2: ", Start, Kernel, |line| spoken(&behind("jffs2", line), "", &PLAIN)),
    sign("JFFS2: ", Start, Kernel, |line| spoken(&behind("JFFS2", line), "", &PLAIN)),
    sign("overlayfs: ", Start, Kernel, |line| spoken(&behind("overlayfs", line), "", &PLAIN)),
    sign("JBD2: ", Start, Kernel, |line| spoken(&behind("JBD2", line), "", &PLAIN)),
    sign("JBD: ", Start, Kernel, |line| spoken(&behind("JBD", line), "", &PLAIN)),
    sign("Aborting journal on device ", Start, Kernel, |_| report("Aborting journal")),
    sign("BTRFS: error (device ", Start, Kernel, |line| device(&behind("BTRFS", line), "error")),
    sign("BTRFS: ", Start, Kernel, |line| spoken(&behind("BTRFS", line), "", &PLAIN)),
    sign("ocfs2: ", Start, Kernel, |line| spoken(&behind("ocfs2", line), "", &PLAIN)),
    sign("hfsplus: ", Start, Kernel, |line| spoken(&behind("hfsplus", line), "", &PLAIN)),
    sign("hfs: ", Start, Kernel, |line| spoken(&behind("hfs", line), "", &PLAIN)),
    sign("romfs: ", Start, Kernel, |line| spoken(&behind("romfs", line), "", &PLAIN)),
    sign("cramfs: ", Start, Kernel, |line| spoken(&behind("cramfs", line), "", &PLAIN)),
    sign("isofs: ", Start, Kernel, |line| spoken(&behind("isofs", line), "", &PLAIN)),
    sign("iso9660: ", Start, Kernel, |line| spoken(&behind("iso9660", line), "", &PLAIN)),
    sign("rock: ", Start, Kernel, |line| spoken(&behind("rock", line), "", &PLAIN)),
    sign("zisofs: ", Start, Kernel, |line| spoken(&behind("zisofs", line), "", &PLAIN)),
    sign("UDF-fs: ", Start, Kernel, |line| spoken(&behind("UDF-fs", line), "", &PLAIN)),
    sign("MINIX-fs: ", Start, Kernel, |line| spoken(&behind("MINIX-fs", line), "", &PLAIN)),
    sign("fs-verity ", Start, Kernel, |line| spoken(&behind("fs-verity", line), "", &PLAIN)),
    sign("VFS: Close: file count is 0", Start, Kernel, |_| report("VFS: Close: file count is 0")),
    sign("VFS: Busy inodes after unmount", Start, Kernel, |_| report("VFS: Busy inodes after unmount")),
    sign("VFS: brelse: Trying to free free buffer", Start, Kernel, |_| {
        report("VFS: brelse of a free buffer")
    }),
    sign("VFS: find_free_dqentry", Start, Kernel, |_| report("VFS: quota data is damaged")),
    sign("VFS: Quota for id ", Start, Kernel, |_| report("VFS: quota data is damaged")),
    // Blocks.
    sign("I/O error, dev ", Word, Kernel, |_| report("I/O error")),
    sign("Buffer I/O error on dev", Word, Kernel, |_| report("Buffer I/O error")),
    sign("uffer I/O error on dev", Anywhere, Kernel, |_| report("Buffer I/O error")),
    sign(" error, dev ", Anywhere, Kernel, |line| {
        let what = line.before.rsplit([':', ']']).next()?.trim();
        let known = ["critical ", "timeout", "protection", "recoverable", "operation not supported"];
        known.iter().any(|start| what.starts_with(start)).then(|| report(format!("{} error", clean(what))))?
    }),
    sign("lost async page write", Word, Kernel, |_| report("lost async page write")),
    sign("lost page write due to I/O error", Word, Kernel, |_| report("lost page write")),
    sign("attempt to access beyond end of device", Word, Kernel, |_| {
        report("attempt to access beyond end of device")
    }),
    sign("ead-error on swap-device", Anywhere, Kernel, |_| report("Read-error on swap-device")),
    sign("rite-error on swap-device", Anywhere, Kernel, |_| report("Write-error on swap-device")),
    sign("Sense Key : ", Word, Kernel, |line| {
        let key = line.rest.split('[').next()?.trim();
        let bad = ["Medium Error", "Hardware Error", "Aborted Command", "Data Protect"];
        bad.contains(&key).then(|| Heading::new(Kind::HardwareError, format!("Sense Key: {key}"), Nothing))?
    }),
    sign(": exception Emask ", Anywhere, Kernel, |_| {
        Heading::new(Kind::HardwareError, "ATA exception", Nothing)
    }),
    sign(": failed command: ", Anywhere, Kernel, |line| {
        Heading::new(Kind::HardwareError, format!("ATA failed command: {}", clean(line.rest)), Nothing)
    }),
    sign("controller is down; will reset", Word, Kernel, |_| {
        Heading::new(Kind::HardwareError, "NVMe controller is down", Nothing)
    }),
    sign("device-mapper: verity: ", Start, Kernel, |line| {
        // `254:0: data block 12 is corrupted`
        is_damage(line.rest).then(|| report("dm-verity: corrupted"))?
    }),
    sign("device-mapper: integrity: ", Start, Kernel, |line| {
        is_damage(line.rest).then(|| report("dm-integrity: corrupted"))?
    }),
    sign("md/raid", Start, Kernel, |line| {
        line.rest.contains("Disk failure on").then(|| report("md: Disk failure"))?
    }),
    // What a program was refused: the words of the C library for EIO, EUCLEAN, EBADMSG and EROFS.
    sign(": Input/output error", Anywhere, Program, |_| report("a program got: Input/output error")),
    sign(": I/O error", Anywhere, Program, |line| {
        line.rest.trim_end().is_empty().then(|| report("a program got: Input/output error"))?
    }),
    sign(": Structure needs cleaning", Anywhere, Program, |_| {
        report("a program got: Structure needs cleaning")
    }),
    sign(": Bad message", Anywhere, Program, |_| report("a program got: Bad message")),
    sign("ead-only file system", Anywhere, Program, |_| report("a program got: Read-only file system")),
    // Flash.
    sign("ubi", Start, Kernel, |line| {
        // `ubi0 error: ubi_io_read: …`, `ubi0: …`, `ubi0 warning: …`
        let rest = line.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if let Some(rest) = rest.strip_prefix(" error: ") {
            return named("UBI error", rest);
        }
        let rest = rest.strip_prefix(" warning: ").or_else(|| rest.strip_prefix(": "))?;
        spoken(&Line { before: "UBI", rest }, "", &PLAIN)
    }),
];

fn behind<'a>(name: &'static str, line: &Line<'a>) -> Line<'a> {
    Line { before: name, rest: line.rest }
}

fn report(title: impl Into<String>) -> Option<Heading> {
    Heading::new(Kind::FilesystemError, title, Nothing)
}

/// What stands before the text of a message.
struct Form {
    /// `vda): ` stands there.
    device: bool,
}

const NAMED: Form = Form { device: true };
const PLAIN: Form = Form { device: false };

/// The name of the file system that ends a text.
fn name_of(before: &str) -> &str {
    let name = before.rsplit(' ').find(|word| !word.is_empty()).unwrap_or_default();
    name.trim_end_matches(':')
}

/// `NAME error (device vda): in FUNCTION:LINE: …`: an error, whatever it says.
fn device(line: &Line, grade: &str) -> Option<Heading> {
    let (_, text) = line.rest.split_once(')')?;
    if probing(text) {
        return None;
    }
    let name = name_of(line.before);
    let text = text.trim_start_matches([':', ' ']);
    // The function that reports is the name of the place: `ext4_lookup:1855: inode #12: comm sh: …`.
    let word = text.trim_start_matches("in ").split([':', ' ']).next().unwrap_or_default();
    let function = word.contains('_').then(|| clean(word));
    match function {
        Some(function) => Some(report(format!("{name} {grade}"))?.with_function(Some(function))),
        None => named(&format!("{name} {grade}"), text),
    }
}

/// A line that may be a notice: it counts if it speaks of damage.
fn spoken(line: &Line, grade: &str, form: &Form) -> Option<Heading> {
    let text =
        if form.device { line.rest.split_once(')')?.1.trim_start_matches([':', ' ']) } else { line.rest };
    (is_damage(text) && !probing(text)).then_some(())?;
    let name = name_of(line.before);
    let separator = if grade.is_empty() || grade.starts_with('-') { "" } else { " " };
    let heading = named(&format!("{name}{separator}{grade}"), text)?;
    Some(heading.with_function(function_in(text)))
}

/// A line that a file system marks as an error.
fn error(name: &str, text: &str) -> Option<Heading> {
    (!probing(text)).then(|| named(name, text))?
}

fn named(name: &str, text: &str) -> Option<Heading> {
    report(format!("{name}: {}", stable(text)))
}

/// Words of damage, in small letters.
const DAMAGE: &[&str] = &[
    "abort",
    "bad ",
    "cannot read",
    "checksum",
    "corrupt",
    "crc",
    "csum",
    "damage",
    "decompression failed",
    "emergency",
    "error",
    "fail",
    "forced readonly",
    "fsck",
    "inconsist",
    "internal error",
    "invalid",
    "i/o",
    "io failure",
    "lost",
    "mismatch",
    "out of range",
    "overflow",
    "read-only",
    "should not happen",
    "shut down",
    "shutdown",
    "shutting down",
    "unable to read",
    "unexpected",
    "wrong",
    "xfs_repair",
    "beyond",
];

/// Words of a notice that has one of those in it.
const NOTICES: &[&str] = &[
    "errors=",
    "mounted filesystem",
    "mounting with",
    "read-only mode.",
    "i/o scheduler",
    "recovery required",
    "recovery complete",
    "orphan cleanup on readonly",
    "mount option",
    "io_bits",
    "checksum: ",
    "checksums enabled",
    "using ",
    "crc32c",
    "with checksum",
    "deprecated",
    "falling back",
    "write access unavailable",
    "quota mode",
    "failed to resolve",
    "missing 'lowerdir'",
    "workdir",
    "unrecognized",
    "e2fsck is recommended",
    "disabled by mount option",
    "i/o size",
    "min./max. i/o",
    "ending clean mount",
    "unmounting",
];

/// What is said of a medium that holds another file system, when one is tried after the other.
const PROBING: &[&str] = &[
    "an't find",
    "could not find",
    "couldn't find",
    "couldn't mount",
    "can not find",
    "magic",
    "no vrs found",
    "unable to identify",
    "boot record signature",
    "boot sector is invalid",
    "bogus number of",
    "invalid boot",
    "not an ",
    "unable to read boot sector",
    "unable to set blocksize",
    "unsupported optional features",
    "media value",
    "fat variant",
];

fn probing(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    PROBING.iter().any(|words| text.contains(words))
}

fn is_damage(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    DAMAGE.iter().any(|word| text.contains(word)) && !NOTICES.iter().any(|words| text.contains(words))
}
