//! File systems that several machines share.

use std::path::Path;

/// Their numbers (`include/uapi/linux/magic.h`, `statfs(2)`, and the sources of those that are no part of Linux), with the
/// names that people know them by. FUSE is among them, for what is behind it is not known.
const SHARED: [(u32, &str); 14] = [
    (0x0000_6969, "NFS"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x00C3_6400, "Ceph"),
    (0xAAD7_AAEA, "PanFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x5346_414F, "AFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0000_517B, "SMB"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
];

/// The variable that names a file system which is not known by its number: every file then counts as one on it.
const VARIABLE: &str = "FLIPSIM_FILE_SYSTEM";

/// The name of the shared file system that a file or a folder lies on; `None` on one of this machine alone. On a shared one
/// memory that processes map of a file is not the same on two machines, and locks may be the machine's own.
#[must_use]
pub fn shared_file_system(path: &Path) -> Option<String> {
    if let Some(named) = std::env::var(VARIABLE).ok().filter(|named| !named.is_empty()) {
        return Some(named);
    }
    // A file that cannot be looked at is reported by whoever opens it.
    let number = rustix::fs::statfs(path).ok()?.f_type;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers have 32 bits")]
    let number = number as u32;
    SHARED.iter().find(|(known, _)| number == *known).map(|(_, name)| (*name).to_owned())
}
