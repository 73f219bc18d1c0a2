//! What else consoles report: a line or a few each, written after the messages of Linux, systemd, shells and C
//! libraries; and what only looks like a report.
//!
//! Invariant: every row can fail by itself, and has the same answer in every log's format.

use std::fmt::Write;

use ConsoleVerdict::{Clean, Crash, Detected, Incomplete};
use Kind::*;
use flipsim::console::classify::{Classification, ConsoleVerdict, Kind, classify};

/// A console without time stamps, what it is, and its title.
type Row = (&'static str, Kind, &'static str);

/// What the kernel says: read with every prefix.
const KERNEL: &[Row] = &[
    // File systems and disks.
    (
        "SQUASHFS error: zlib decompression failed, data probably corrupt",
        FilesystemError,
        "SQUASHFS error: zlib decompression failed, data probably corrupt",
    ),
    (
        "SQUASHFS error: Unable to read metadata cache entry [1f3a]",
        FilesystemError,
        "SQUASHFS error: Unable to read metadata cache entry [1f3a]",
    ),
    (
        "BTRFS error (device vdb): bad tree block start, want 30572544 have 0",
        FilesystemError,
        "BTRFS error: bad tree block start",
    ),
    (
        "BTRFS error (device sda1: state EA): parent transid verify failed on 1 wanted 2 found 3",
        FilesystemError,
        "BTRFS error: parent transid verify failed",
    ),
    (
        "BTRFS warning (device vda): csum failed root 5 ino 257 off 4096 csum 0x98f94189 expected csum 0xbd1c",
        FilesystemError,
        "BTRFS warning: csum failed",
    ),
    (
        "BTRFS critical (device vda): corrupt leaf: root=2 block=30 slot=0",
        FilesystemError,
        "BTRFS critical: corrupt leaf: root",
    ),
    ("BTRFS info (device vda): forced readonly", FilesystemError, "BTRFS info: forced readonly"),
    (
        "BTRFS: error (device vda) in __btrfs_free_extent:3055: errno=-5 IO failure",
        FilesystemError,
        "BTRFS error in __btrfs_free_extent",
    ),
    (
        "XFS (vda): Metadata corruption detected at xfs_agf_verify+0x71/0x1a0 [xfs], xfs_agf block 0x1",
        FilesystemError,
        "XFS: Metadata corruption detected in xfs_agf_verify",
    ),
    (
        "XFS (dm-0): Internal error XFS_WANT_CORRUPTED_GOTO at line 1631 of file fs/xfs/libxfs/xfs_alloc.c.",
        FilesystemError,
        "XFS: Internal error XFS_WANT_CORRUPTED_GOTO",
    ),
    ("XFS (vda): log I/O error -5", FilesystemError, "XFS: log I/O error -N"),
    (
        "XFS (vda): Corruption of in-memory data (0x8) detected at x+0x1/0x2. Shutting down filesystem.",
        FilesystemError,
        "XFS: Corruption of in-memory data in x",
    ),
    (
        "F2FS-fs (vda): inconsistent node block, nid:4, node_footer[nid:0,ino:0,ofs:0]",
        FilesystemError,
        "F2FS-fs: inconsistent node block, nid:N, node_footer[nid:N,ino:N,ofs:N]",
    ),
    ("F2FS-fs (loop0): Invalid blkaddr: 0xffffffff", FilesystemError, "F2FS-fs: Invalid blkaddr"),
    (
        "FAT-fs (vda1): error, invalid access to FAT (entry 0x00006500)",
        FilesystemError,
        "FAT-fs: error, invalid access to FAT",
    ),
    (
        "FAT-fs (vda1): Filesystem has been set read-only",
        FilesystemError,
        "FAT-fs: Filesystem has been set read-only",
    ),
    (
        "exFAT-fs (vda1): error, invalid size(size(0) > valid(4096)",
        FilesystemError,
        "exFAT-fs: error, invalid size(size(N) > valid(N)",
    ),
    (
        "UBIFS error (ubi0:0 pid 412): ubifs_check_node: bad CRC: calculated 0x9a, read 0x1",
        FilesystemError,
        "UBIFS error in ubifs_check_node",
    ),
    (
        "UBIFS (ubi0:0): switched to read-only mode, error -22",
        FilesystemError,
        "UBIFS: switched to read-only mode, error -N",
    ),
    (
        "ubi0 error: ubi_io_read: error -74 while reading 64 bytes from PEB 3:0",
        FilesystemError,
        "UBI error: ubi_io_read: error -N while reading N bytes",
    ),
    (
        "jffs2: Data CRC failed on node at 0x00001000: Read 0xffffffff, calculated 0x0",
        FilesystemError,
        "jffs2: Data CRC failed",
    ),
    (
        "JFFS2 error: (412) jffs2_get_inode_nodes: node CRC failed",
        FilesystemError,
        "JFFS2 error: (N) jffs2_get_inode_nodes: node CRC failed",
    ),
    ("overlayfs: lookup of 'app' failed (-5)", FilesystemError, "overlayfs: lookup of 'app' failed"),
    ("Aborting journal on device sda2-8.", FilesystemError, "Aborting journal"),
    (
        "JBD2: Error -5 detected when updating journal superblock for vda-8.",
        FilesystemError,
        "JBD2: Error -N detected when updating journal superblock",
    ),
    (
        "EXT4-fs (dm-0): Remounting filesystem read-only",
        FilesystemError,
        "EXT4-fs: Remounting filesystem read-only",
    ),
    (
        "EXT4-fs error (device vda): ext4_find_extent:936: inode #12: comm app: pblk 8 bad header",
        FilesystemError,
        "EXT4-fs error in ext4_find_extent",
    ),
    (
        "EXT4-fs (vda): previous I/O error to superblock detected",
        FilesystemError,
        "EXT4-fs: previous I/O error to superblock detected",
    ),
    (
        "EXT2-fs (vda): error: ext2_lookup: deleted inode referenced: 12",
        FilesystemError,
        "EXT2-fs: error: ext2_lookup: deleted inode referenced: N",
    ),
    (
        "erofs: (device vda): z_erofs_lz4_decompress: failed to decompress -12 in[46, 4050] out[1851]",
        FilesystemError,
        "erofs: z_erofs_lz4_decompress: failed to decompress -N in[N, N] out[N]",
    ),
    (
        "NILFS error (device vda): nilfs_bmap_last_key: broken bmap (inode number=2)",
        FilesystemError,
        "NILFS error in nilfs_bmap_last_key",
    ),
    ("blk_update_request: I/O error, dev vda, sector 2048 op 0x0:(READ)", FilesystemError, "I/O error"),
    ("print_req_error: I/O error, dev sda, sector 8", FilesystemError, "I/O error"),
    ("critical target error, dev vda, sector 8 op 0x1:(WRITE)", FilesystemError, "critical target error"),
    ("Buffer I/O error on device vda1, logical block 1", FilesystemError, "Buffer I/O error"),
    (
        "vda: attempt to access beyond end of device",
        FilesystemError,
        "attempt to access beyond end of device",
    ),
    ("Read-error on swap-device (254:0:8)", FilesystemError, "Read-error on swap-device"),
    ("device-mapper: verity: 254:0: data block 12 is corrupted", FilesystemError, "dm-verity: corrupted"),
    (
        "BTRFS error (device vda): bdev /dev/vda errs: wr 1, rd 0, flush 0, corrupt 0, gen 0",
        FilesystemError,
        "BTRFS error: bdev",
    ),
    (
        "EXT4-fs (vda): Delayed block allocation failed for inode 12 at logical offset 0",
        FilesystemError,
        "EXT4-fs: Delayed block allocation failed",
    ),
    (
        "9pnet: -- p9_read_work (12): requested packet size too big: 12345",
        FilesystemError,
        "9pnet error in p9_read_work",
    ),
    // The hardware.
    ("mmcblk0: error -110 sending status command", HardwareError, "mmc: an error of the card"),
    ("nvme nvme0: I/O 12 QID 1 timeout, aborting", HardwareError, "NVMe: a command timed out"),
    (
        "EDAC MC0: 2 CE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0)",
        HardwareError,
        "EDAC: corrected error",
    ),
    ("EDAC MC1: 1 UE memory read error on unknown memory", HardwareError, "EDAC: uncorrected error"),
    (
        "EDAC DEVICE0: CE: CPU0 instance: cpu0 block: L1 count: 1 'L1 parity'",
        HardwareError,
        "EDAC: corrected error",
    ),
    (
        "{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0",
        HardwareError,
        "Hardware Error",
    ),
    (
        "Memory failure: 0x12345: recovery action for dirty LRU page: Recovered",
        HardwareError,
        "Memory failure: recovery action for dirty LRU page: Recovered",
    ),
    (
        "MCE: Killing app:412 due to hardware memory corruption fault at 7f0012345678",
        HardwareError,
        "MCE: Killing a program",
    ),
    (
        "mce: Uncorrected hardware memory error in user-access at 12345678",
        HardwareError,
        "Uncorrected hardware memory error",
    ),
    ("mce: [Hardware Error]: Machine check events logged", HardwareError, "Machine check"),
    (
        "pcieport 0000:00:1c.0: AER: Corrected error received: 0000:01:00.0",
        HardwareError,
        "AER: Corrected error",
    ),
    (
        "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer",
        HardwareError,
        "PCIe Bus Error: Uncorrected (Fatal)",
    ),
    ("Uhhuh. NMI received for unknown reason 2d on CPU 0.", HardwareError, "NMI for an unknown reason"),
    ("sd 0:0:0:0: [sda] tag#0 Sense Key : Medium Error [current]", HardwareError, "Sense Key: Medium Error"),
    ("ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x0", HardwareError, "ATA exception"),
    // The kernel's complaints.
    ("irq 19: nobody cared (try booting with the \"irqpoll\" option)", Warning, "irq: nobody cared"),
    ("Disabling IRQ #19", Warning, "irq: nobody cared"),
    (
        "sh: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL), nodemask=(null)",
        Warning,
        "page allocation failure",
    ),
    (
        "SLUB: Unable to allocate memory on node -1, gfp=0x400(GFP_NOWAIT)",
        Warning,
        "SLUB: unable to allocate memory",
    ),
    (
        "kobject: 'x' (00000000a1b2c3d4): is not initialized, yet kobject_get() is being called.",
        Warning,
        "kobject: is not initialized, yet kobject_get",
    ),
    (
        "sysfs: cannot create duplicate filename '/devices/virtual/x'",
        Warning,
        "sysfs: cannot create duplicate filename",
    ),
    ("swap_free: Bad swap file entry 2800000000000000", BadPageState, "Bad swap file entry"),
    ("get_swap_device: Bad swap offset entry 3ffffffffffff", BadPageState, "Bad swap offset entry"),
    ("list_add corruption. prev->next should be next (a), but was b. (prev=c).", Bug, "list_add corruption"),
    (
        "list_del corruption, ffff888100304000->next is LIST_POISON1 (dead000000000100)",
        Bug,
        "list_del corruption",
    ),
    ("refcount_t: underflow; use-after-free.", Warning, "refcount_t: underflow; use-after-free"),
    (
        "unregister_netdevice: waiting for eth0 to become free. Usage count = 2",
        Warning,
        "unregister_netdevice: waiting for a device to become free",
    ),
    (
        "kmemleak: 4 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
        Warning,
        "kmemleak: suspected memory leaks",
    ),
    ("Slab corruption (Not tainted): kmalloc-64 start=ffff888100304000, len=64", Bug, "Slab corruption"),
    ("eth0: hw csum failure", Warning, "hw csum failure"),
    ("INFO: task app:412 can't die for more than 143 seconds.", HungTask, "INFO: task hung"),
    ("INFO: task app:412 blocked in I/O wait for more than 122 seconds.", HungTask, "INFO: task hung"),
    (
        "rcu: rcu_preempt kthread starved for 10502 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5)",
        RcuStall,
        "rcu kthread starved",
    ),
    (
        "BUG: non-zero pgtables_bytes on freeing mm: 4096",
        BadPageState,
        "BUG: non-zero pgtables_bytes on freeing mm",
    ),
    (
        "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 34s!",
        Bug,
        "BUG: workqueue lockup",
    ),
    ("BUG: app/412 still has locks held!", Bug, "BUG: still has locks held"),
    ("[ BUG: bad unlock balance detected! ]", Bug, "BUG: bad unlock balance"),
    ("[ INFO: suspicious RCU usage. ]", Warning, "WARNING: suspicious RCU usage"),
    ("WARNING: possible recursive locking detected", Warning, "WARNING: possible recursive locking detected"),
    (
        "WARNING: kernel stack regs at 00000000a1b2c3d4 in app:412 has bad 'bp' value 0000000000000001",
        Warning,
        "WARNING: kernel stack regs has a bad value",
    ),
    ("do_IRQ: 0.55 No irq handler for vector", Warning, "No irq handler for vector"),
    ("Spurious interrupt (vector 0xee) on CPU#0. Acked", Warning, "Spurious interrupt"),
    (
        "BUG: KCSAN: data-race in one_function / two_function",
        Bug,
        "KCSAN: data-race in one_function / two_function",
    ),
    ("BUG: KMSAN: uninit-value in one_function+0x20e2/0x60f0", Bug, "KMSAN: uninit-value in one_function"),
    (
        "app[412]: segfault at 0 ip 00007feef0891486 sp 00007ffd84824318 error 4 in libc.so[7fee+1]",
        UserFault,
        "user fault in app: segfault",
    ),
    (
        "audit: type=1701 audit(1.5:7): auid=0 uid=0 pid=412 comm=\"app\" exe=\"/bin/app\" sig=11 res=1",
        UserFault,
        "user fault in app: signal 11",
    ),
    (
        "BUG: Dentry 00000000a1b2c3d4{i=8bb9,n=lo}  still in use (1) [unmount of proc proc]",
        Bug,
        "BUG: Dentry still in use",
    ),
    (
        "BUG: Dentry 00000000a1b2c3d5{i=12,n=eth0}  still in use (1) [unmount of tmpfs tmpfs]",
        Bug,
        "BUG: Dentry still in use",
    ),
    // With their traces.
    (
        "BUG: scheduling while atomic: app/123/0x00000002\nCall Trace:\n <TASK>\n dump_stack_lvl+0x34/0x44\n \
         __schedule_bug.cold+0x47/0x53\n __schedule+0x5d5/0x660\n schedule+0x46/0xb0\n pipe_read+0x2c1/0x3c0",
        Bug,
        "BUG: scheduling while atomic in pipe_read",
    ),
    (
        "INFO: trying to register non-static key.\nThe code is fine but needs lockdep annotation, or maybe\nCall Trace:\n \
         dump_stack_lvl+0x57/0x7d\n register_lock_class+0x8a5/0x900\n __lock_acquire+0x6a/0x1f50\n lock_acquire+0xc8/0x2d0\n \
         pipe_write+0x1/0x2",
        Warning,
        "INFO: trying to register non-static key in pipe_write",
    ),
    (
        "unchecked MSR access error: WRMSR to 0x832 (tried to write 0x00000000000400ec) at rIP: 0xffffffff8106d0a4 \
         (native_write_msr+0x4/0x20)\nCall Trace:\n <TASK>\n set_timer_lvt+0xa1/0xd0",
        Warning,
        "unchecked MSR access error: WRMSR in native_write_msr",
    ),
    (
        "kobject (00000000a1b2c3d4): tried to init an initialized object, something is seriously wrong.\nCall Trace:\n \
         kobject_init+0x8f/0xa0\n device_initialize+0x1/0x2",
        Warning,
        "kobject: tried to init an initialized object in device_initialize",
    ),
    (
        "INFO: task app:5612 blocked in I/O wait for more than 143 seconds.\n      Not tainted 6.17.0 #1\nCall trace:\n \
         __switch_to+0x2b0/0x6e0 (T)\n __schedule+0x1b74/0x2d24\n schedule+0xa4/0x140\n io_schedule+0x1c/0xe0\n \
         folio_wait_bit_common+0x674/0x9ec",
        HungTask,
        "INFO: task hung in folio_wait_bit_common",
    ),
    // A short oops: the registers say where.
    (
        "BUG: unable to handle page fault for address: ffff888100304000\nRIP: 0010:pipe_read+0x2c1/0x3c0",
        Oops,
        "Unable to handle kernel paging request in pipe_read",
    ),
    (
        "Unable to handle kernel paging request at virtual address ffff8080041a2b08\npc : pipe_read+0x2c1/0x3c0",
        Oops,
        "Unable to handle kernel paging request in pipe_read",
    ),
];

/// What programs say: read without a prefix, in a journal, and behind `NAME[PID]: ` in the kernel's log.
const PROGRAMS: &[Row] = &[
    ("Segmentation fault", UserFault, "Segmentation fault"),
    ("Segmentation fault (core dumped)", UserFault, "Segmentation fault"),
    ("Bus error (core dumped)", UserFault, "Bus error"),
    ("Illegal instruction", UserFault, "Illegal instruction"),
    ("Aborted", UserFault, "Aborted"),
    ("Aborted (core dumped)", UserFault, "Aborted"),
    ("Floating point exception", UserFault, "Floating point exception"),
    ("Trace/breakpoint trap", UserFault, "Trace/breakpoint trap"),
    ("Bad system call", UserFault, "Bad system call"),
    ("Killed", UserFault, "Killed"),
    ("/bin/run: line 3:   412 Segmentation fault      (core dumped) ./app", UserFault, "Segmentation fault"),
    ("/bin/run: line 3:   412 Killed                  ./app", UserFault, "Killed"),
    ("[1]+  Aborted                 (core dumped) ./app", UserFault, "Aborted"),
    ("zsh: segmentation fault (core dumped)  ./app", UserFault, "Segmentation fault"),
    (
        "fish: Job 1, './app' terminated by signal SIGSEGV (Address boundary error)",
        UserFault,
        "fatal signal SIGSEGV",
    ),
    ("make: *** [Makefile:3: run] Segmentation fault (core dumped)", UserFault, "Segmentation fault"),
    ("./run.sh: line 5: 412 Aborted ./app", UserFault, "Aborted"),
    ("./run.sh[3]: 412 Segmentation fault(coredump)", UserFault, "Segmentation fault"),
    ("qemu: uncaught target signal 11 (Segmentation fault) - core dumped", UserFault, "fatal signal 11"),
    (
        "app: /lib/libc.so.6: version `GLIBC_2.34' not found (required by app)",
        UserFault,
        "a version of a library is not found",
    ),
    ("Command terminated by signal 11", UserFault, "fatal signal 11"),
    ("app: caught SIGSEGV at 0x8", UserFault, "fatal signal SIGSEGV"),
    ("*** stack smashing detected ***: terminated", UserFault, "stack smashing detected"),
    ("*** buffer overflow detected ***: terminated", UserFault, "buffer overflow detected"),
    ("double free or corruption (!prev)", UserFault, "double free or corruption"),
    ("free(): invalid next size (fast)", UserFault, "free(): invalid next size"),
    ("malloc(): corrupted top size", UserFault, "malloc(): corrupted top size"),
    ("corrupted size vs. prev_size", UserFault, "corrupted size vs. prev_size"),
    (
        "Fatal glibc error: malloc.c:2599 (sysmalloc): assertion failed: x",
        UserFault,
        "Fatal glibc error: malloc.c:N",
    ),
    ("app: main.c:12: main: Assertion `x > 0' failed.", UserFault, "assertion failed in app"),
    (
        "Inconsistency detected by ld.so: dl-lookup.c: 111: check_match: Assertion",
        UserFault,
        "Inconsistency detected by ld.so",
    ),
    (
        "app: error while loading shared libraries: libx.so.1: cannot open shared object file",
        UserFault,
        "error while loading shared libraries",
    ),
    ("app: symbol lookup error: app: undefined symbol: x", UserFault, "symbol lookup error"),
    ("Error relocating /bin/app: x: symbol not found", UserFault, "relocation error"),
    ("terminate called after throwing an instance of 'std::bad_alloc'", UserFault, "uncaught C++ exception"),
    ("thread 'main' panicked at src/main.rs:2:5:", UserFault, "Rust: thread 'main' panicked"),
    (
        "panic: runtime error: index out of range [5] with length 3",
        UserFault,
        "Go: index out of range [N] with length N",
    ),
    ("Fatal Python error: Segmentation fault", UserFault, "Python: Segmentation fault"),
    (
        "==412==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
        UserFault,
        "AddressSanitizer: heap-use-after-free",
    ),
    ("cat: /data: Input/output error", FilesystemError, "a program got: Input/output error"),
    ("touch: /data/x: Read-only file system", FilesystemError, "a program got: Read-only file system"),
];

/// Ends.
const ENDS: &[Row] = &[
    (
        "systemd[1]: Caught <SEGV>, dumped core as pid 412.\nsystemd[1]: Freezing execution.",
        InitDeath,
        "init caught SEGV",
    ),
    ("systemd[1]: Freezing execution.", InitDeath, "init froze"),
    // By the clock, and without one through what comes before a kernel.
    ("[  500.720639] x\n[    0.000000] Linux version 6.1.0", Reboot, "restarted without a word"),
    (
        "[  500.720639] x\n[    0.000000] Booting Linux on physical CPU 0x0000000000",
        Reboot,
        "restarted without a word",
    ),
    ("[  500.720639] x\nSeaBIOS (version 1.16.0)", Reboot, "restarted without a word"),
    ("[   12.720639] x\n\nU-Boot 2023.01 (Jan 01 2023)", Reboot, "restarted without a word"),
    ("FLIPSIM READY workload=sha256\nUEFI firmware (version edk2)", Reboot, "restarted without a word"),
    (
        "Linux version 6.1.0\nRun /init as init process\nLinux version 6.1.0",
        Reboot,
        "restarted without a word",
    ),
    (
        "Jan 1 00:00:09 h kernel: x\nRun /init as init process\nOpenSBI v1.2",
        Reboot,
        "restarted without a word",
    ),
];

/// What only looks like a report.
const HARMLESS: &[&str] = &[
    "WARNING: The mand mount option has been deprecated and",
    "WARNING: Unprivileged eBPF is enabled with eIBRS on",
    "WARNING: this is a notice of a driver",
    "usb 5-1: WARNING: support is incomplete, don't expect anything to work!",
    "BUG: see the documentation of this board",
    "8139too 0000:00:02.0 eth0: PCI Bus error 0290",
    "foo: Illegal instruction counter is 0",
    "driver x: Segmentation fault handling enabled",
    "app: Segmentation fault handler installed",
    "test 3: Aborted transactions: 0",
    "Killed processes are listed below",
    "EXT4-fs (vda): mounted filesystem with ordered data mode. Opts: errors=remount-ro. Quota mode: none.",
    "EXT4-fs (vda): VFS: Can't find ext4 filesystem",
    "SQUASHFS error: Can't find a SQUASHFS superblock on vda",
    "FAT-fs (vda): bogus number of reserved sectors",
    "XFS (vda): Mounting V5 Filesystem",
    "XFS (vda): Ending clean mount",
    "BTRFS info (device vda): using crc32c (crc32c-intel) checksum algorithm",
    "F2FS-fs (vda): Magic Mismatch, valid(0xf2f52010) - read(0x0)",
    "EDAC MC: Ver: 3.0.0",
    "EDAC MC0: Giving out device to module skx_edac controller Skylake Socket#0 IMC#0",
    "INFO: lockdep is turned off.",
    "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.2 msecs",
    "overlayfs: upper fs does not support tmpfile.",
    "audit: type=1404 audit(1.5:2): enforcing=1",
    "SeaBIOS (version 1.16.0)\nLinux version 6.1.0",
    "U-Boot SPL 2023.01\nU-Boot 2023.01\n[    0.000000] Linux version 6.1.0\n[    1.000000] x",
];

const PREFIXES: &[&str] = &[
    "",
    "[   18.100000] ",
    "<4>[   18.100000][   T12] ",
    "[Sat Nov 28 23:06:19 2026] ",
    "[  +0.000012] ",
    "kern  :warn  : [   18.100000] ",
    "Jan 21 11:05:41 host kernel: ",
    "Jan 21 11:05:41 host kernel: [   18.100000] ",
    "2026-11-28T23:06:19.123456+00:00 host kernel: ",
    "4,339,5140900,-;",
];

fn with(prefix: &str, lines: &str) -> String {
    lines.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{prefix}{line}");
        text
    })
}

fn check(console: &str, outcome: ConsoleVerdict, row: &Row, wrong: &mut Vec<String>) {
    let found: Classification = classify(console.as_bytes());
    let deciding = found.deciding().map(|finding| (finding.kind, finding.title.as_str()));
    if (found.outcome, deciding) != (outcome, Some((row.1, row.2))) {
        wrong.push(format!("{console}  is {:?} {deciding:?}, not {:?}", found.outcome, (row.1, row.2)));
    }
}

#[test]
fn the_kernels_reports_are_the_same_in_every_format() {
    let mut wrong = Vec::new();
    for row in KERNEL {
        for prefix in PREFIXES {
            check(&with(prefix, row.0), Detected, row, &mut wrong);
            check(&with(prefix, row.0).replace('\n', "\r\n"), Detected, row, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn programs_that_die_are_seen_whoever_wrote_it_down() {
    let mut wrong = Vec::new();
    for row in PROGRAMS {
        for prefix in ["", "app[412]: ", "[   18.100000] app[412]: ", "Jan 21 11:05:41 host app[412]: "] {
            check(&with(prefix, row.0), Detected, row, &mut wrong);
        }
    }
    for (line, title) in [
        (
            "systemd[1]: app.service: Main process exited, code=dumped, status=11/SEGV",
            "user fault in app.service: 11/SEGV",
        ),
        (
            "systemd[1]: app.service: Main process exited, code=killed, status=9/KILL",
            "user fault in app.service: 9/KILL",
        ),
        ("systemd[1]: app.service: Failed with result 'core-dump'.", "user fault in app.service: core-dump"),
        ("systemd-coredump[420]: Process 412 (app) of user 0 dumped core.", "user fault in app: core dumped"),
    ] {
        for prefix in ["", "[   18.100000] ", "Jan 21 11:05:41 host "] {
            check(&with(prefix, line), Detected, &("", UserFault, title), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_end_is_a_crash() {
    let mut wrong = Vec::new();
    for row in ENDS {
        check(row.0, Crash, row, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_looks_like_a_report_is_none() {
    for line in HARMLESS {
        for prefix in ["", "[   18.100000] "] {
            // A boot has its own stamps.
            if line.contains('\n') && !prefix.is_empty() {
                continue;
            }
            let lines = with(prefix, line);
            assert_eq!(
                classify(lines.as_bytes()).outcome,
                Incomplete,
                "{lines}{:?}",
                classify(lines.as_bytes())
            );
            let done = format!("{lines}FLIPSIM DONE workload=sha256 digest=0 status=ok\n");
            assert_eq!(classify(done.as_bytes()).outcome, Clean, "{lines}");
        }
    }
    // A program that writes into the kernel's log is no kernel.
    for line in [
        "BUG: x",
        "WARNING: y",
        "INFO: task z blocked for more than 3 seconds.",
        "Kernel panic - not syncing: x",
    ] {
        let line = format!("[   18.100000] app[412]: {line}\n");
        assert_eq!(classify(line.as_bytes()).outcome, Incomplete, "{line}");
    }
}

#[test]
fn a_headline_counts_with_a_trace() {
    let trace = "Call Trace:\n <TASK>\n dump_stack_lvl+0x34/0x44\n pipe_read+0x2c1/0x3c0\n";
    for (line, kind, title) in [
        ("WARNING: something odd", Warning, "WARNING: something odd in pipe_read"),
        ("BUG: something odd", Bug, "BUG: something odd in pipe_read"),
    ] {
        let found = classify(with("[   18.100000] ", &format!("{line}\n{trace}")).as_bytes());
        let deciding = found.deciding().map(|finding| (finding.kind, finding.title.as_str()));
        assert_eq!(deciding, Some((kind, title)));
    }
}

#[test]
fn what_announces_a_warning_is_a_part_of_it() {
    let console = with(
        "[   18.100000] ",
        "refcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 61 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110\n\
         RIP: 0010:refcount_warn_saturate+0xba/0x110\nCall Trace:\n <TASK>\n put_cred_rcu+0x30/0x40\n",
    );
    let found = classify(console.as_bytes());
    assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
    assert_eq!(found.findings[0].title, "WARNING in put_cred_rcu");
}

#[test]
fn a_stall_has_the_name_of_what_was_interrupted_and_not_of_what_reports() {
    let reporter = "sched_show_task+0x1/0x2\n rcu_sched_clock_irq+0x1/0x2\n update_process_times+0x1/0x2\n";
    for (what, rest) in [
        (
            "x86, interrupted",
            format!(
                "Call Trace:\n <IRQ>\n {reporter} </IRQ>\n <TASK>\n asm_sysvec_apic_timer_interrupt+0x1/0x2\nRIP: 0010:radix_walk+0x1/0x2\n find_page+0x1/0x2\n"
            ),
        ),
        (
            "aarch64, interrupted",
            format!(
                "Call trace:\n {reporter} el1h_64_irq_handler+0x1/0x2\n el1h_64_irq+0x1/0x2\n radix_walk+0x1/0x2\n find_page+0x1/0x2\n"
            ),
        ),
        (
            "another CPU",
            "Sending NMI from CPU 0 to CPUs 1:\nNMI backtrace for cpu 1\nRIP: 0010:radix_walk+0x1/0x2\n"
                .to_owned(),
        ),
        (
            "RCU's own thread first",
            format!(
                "rcu: RCU grace-period kthread stack dump:\ntask:rcu_preempt state:I stack:0\nCall Trace:\n __schedule+0x1/0x2\n rcu_gp_fqs_loop+0x1/0x2\n other+0x1/0x2\nNMI backtrace for cpu 0\nCall Trace:\n <IRQ>\n {reporter} </IRQ>\nRIP: 0010:radix_walk+0x1/0x2\n"
            ),
        ),
    ] {
        let console =
            with("[   18.100000] ", &format!("rcu: INFO: rcu_preempt self-detected stall on CPU\n{rest}"));
        let found = classify(console.as_bytes());
        assert_eq!(found.deciding().unwrap().title, "INFO: rcu detected stall in radix_walk", "{what}");
    }
}
