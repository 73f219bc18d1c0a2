//! What a guest reported of a fault, report by report: where in the kernel's source each struck, and of which subsystem that is.
//!
//! Invariant: **a subsystem is that of the function which the report names**, by its source file, else by a name that only that
//! subsystem has; where neither is known there is none.

use serde::{Deserialize, Serialize};

use crate::console::classify::{Finding, Kind, frame_of};
use crate::fault::GuestNames;
use crate::text::glob_matches;

/// How many reports of a trial are listed.
pub const MOST_REPORTS: usize = 32;

/// One report of a guest that the golden run does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it is.
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// When its first line was complete; absent where that is not known to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ns: Option<u64>,
    /// The function that it names, with the offset in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The line of the kernel's source, as `fs/ext4/dir.c:120`, or the file alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The part of the kernel that the function is of, or that it was a program of the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<String>,
}

/// What is no part of the kernel.
pub const PROGRAM: &str = "user program";

/// Of functions whose source is not known: which names only one subsystem has.
const BY_NAME: &[(&str, &str)] = &[
    ("ext4_*", "fs/ext4"),
    ("__ext4_*", "fs/ext4"),
    ("jbd2_*", "fs/jbd2"),
    ("btrfs_*", "fs/btrfs"),
    ("xfs_*", "fs/xfs"),
    ("nfs_*", "fs/nfs"),
    ("fat_*", "fs/fat"),
    ("v9fs_*", "fs/9p"),
    ("kernfs_*", "fs/kernfs"),
    ("sysfs_*", "fs/sysfs"),
    ("proc_*", "fs/proc"),
    ("vfs_*", "fs"),
    ("p9_client_*", "net/9p"),
    ("tcp_*", "net/ipv4"),
    ("udp_*", "net/ipv4"),
    ("ip6_*", "net/ipv6"),
    ("skb_*", "net/core"),
    ("netlink_*", "net/netlink"),
    ("virtqueue_*", "drivers/virtio"),
    ("virtblk_*", "drivers/block"),
    ("pl011_*", "drivers/tty"),
    ("uart_*", "drivers/tty"),
    ("serial8250_*", "drivers/tty"),
    ("tty_*", "drivers/tty"),
    ("n_tty_*", "drivers/tty"),
    ("pci_*", "drivers/pci"),
    ("scsi_*", "drivers/scsi"),
    ("nvme_*", "drivers/nvme"),
    ("usb_*", "drivers/usb"),
    ("blk_mq_*", "block"),
    ("bio_*", "block"),
    ("rcu_*", "kernel/rcu"),
    ("hrtimer_*", "kernel/time"),
    ("tick_*", "kernel/time"),
    ("timekeeping_*", "kernel/time"),
    ("update_curr*", "kernel/sched"),
    ("enqueue_task_*", "kernel/sched"),
    ("dequeue_task_*", "kernel/sched"),
    ("pick_next_task_*", "kernel/sched"),
    ("set_next_entity", "kernel/sched"),
    ("handle_mm_fault", "mm"),
    ("__handle_mm_fault", "mm"),
    ("kmem_cache_*", "mm"),
    ("__alloc_pages*", "mm"),
    ("filemap_*", "mm"),
    ("shmem_*", "mm"),
    ("unmap_page_range", "mm"),
    ("crypto_*", "crypto"),
    ("selinux_*", "security/selinux"),
    ("apparmor_*", "security/apparmor"),
];

/// Reports of a console, and the line of each in it.
pub(super) fn reports<'a>(new: impl Iterator<Item = &'a Finding>, said: &[u8]) -> Vec<(Report, u64)> {
    new.take(MOST_REPORTS).map(|finding| (Report::of(finding, said), finding.line)).collect()
}

impl Report {
    fn of(finding: &Finding, said: &[u8]) -> Report {
        let frame = frame_of(said, finding).map(|(name, offset)| format!("{name}+{offset:#x}"));
        Report {
            kind: finding.kind,
            title: finding.title.clone(),
            at_ns: None,
            function: frame.or_else(|| finding.function.clone()),
            source: None,
            subsystem: None,
        }
    }

    /// Says of which part of the kernel it is, as far as the names of the guest tell.
    pub(super) fn name(&mut self, names: Option<&GuestNames>) {
        if self.kind.is_of_a_program() {
            self.subsystem = Some(PROGRAM.to_owned());
            return;
        }
        let Some(function) = &self.function else { return };
        let (name, offset) = function.split_once("+0x").unwrap_or((function, "0"));
        let offset = u64::from_str_radix(offset, 16).unwrap_or(0);
        let source = names.and_then(|names| names.source_of(name, offset));
        self.subsystem = match &source {
            Some((unit, _)) => subsystem(unit),
            None => by_name(name).map(str::to_owned),
        };
        self.source = source.map(|(unit, line)| line.unwrap_or(unit));
    }
}

/// The part of the kernel that a file of its source is of: its folder, at most two deep.
fn subsystem(file: &str) -> Option<String> {
    let folders: Vec<&str> = file.split('/').collect();
    let (_, folders) = folders.split_last()?;
    let known = !folders.is_empty() && folders.iter().all(|folder| !folder.is_empty() && *folder != "..");
    known.then(|| folders[..folders.len().min(2)].join("/"))
}

fn by_name(function: &str) -> Option<&'static str> {
    BY_NAME.iter().find(|(glob, _)| glob_matches(glob, function)).map(|(_, subsystem)| *subsystem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::classify::classify;

    const OOPS: &str = "\
[    1.000000] Unable to handle kernel paging request at virtual address ffff000104a1c2c8
[    1.000000] Internal error: Oops: 96000004 [#1] SMP
[    1.000000] CPU: 0 PID: 50 Comm: app Not tainted 6.1.0 #1
[    1.000000] pc : ext4_find_entry.isra.0+0x4c/0x5d0
[    1.000000] lr : ext4_lookup+0x10/0x20
[    1.000000] Call trace:
[    1.000000]  ext4_find_entry.isra.0+0x4c/0x5d0
[    1.000000] ---[ end trace 0000000000000000 ]---
[    1.100000] app[51]: segfault at 0 ip 00000000004004f0 sp 00007ffc8a1b2c30 error 4 in app[400000+1000]
";

    #[test]
    fn reports_name_the_function_as_printed_and_the_subsystem_that_it_is_of() {
        let found = classify(OOPS.as_bytes());
        let all = reports(found.findings.iter(), OOPS.as_bytes());
        let mut all: Vec<Report> = all.into_iter().map(|(report, _)| report).collect();
        all.iter_mut().for_each(|report| report.name(None));
        let said = |report: &Report| (report.kind, report.function.clone(), report.subsystem.clone());
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(
            all.iter().map(said).collect::<Vec<_>>(),
            [
                (Kind::Oops, of("ext4_find_entry.isra.0+0x4c"), of("fs/ext4")),
                (Kind::UserFault, None, of(PROGRAM)),
            ]
        );
    }

    #[test]
    fn a_subsystem_is_a_folder_of_the_source_at_most_two_deep() {
        for (file, expected) in [
            ("mm/slub.c", Some("mm")),
            ("fs/ext4/namei.c", Some("fs/ext4")),
            ("drivers/tty/serial/amba-pl011.c", Some("drivers/tty")),
            ("arch/arm64/mm/fault.c", Some("arch/arm64")),
            ("init/main.c", Some("init")),
            ("/elsewhere/a.c", None),
            ("a.c", None),
            ("../other/a.c", None),
        ] {
            assert_eq!(subsystem(file).as_deref(), expected, "{file}");
        }
    }
}
