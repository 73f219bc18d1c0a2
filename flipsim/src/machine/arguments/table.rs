//! Every option of QEMU, with what the lab does about it.
//!
//! Invariant: **a row a name**, with or without a value as QEMU has it; those of versions after 7.2 that reach the
//! host are here as well.

use super::rules::{self, Verdict};

/// What an option is, whatever its value, or by it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    /// The lab relies on it, or says it itself: why, and what to use.
    Ours(&'static str),
    /// It reaches nothing outside the guest.
    Harmless,
    /// It may reach files, programs or the network of the host.
    Yours,
    /// Its value decides.
    By(fn(&str) -> Verdict),
}

use Class::{By, Harmless, Ours, Yours};

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its names, without the dash.
    pub(super) names: &'static [&'static str],
    /// Whether the next word is its value.
    pub(super) value: bool,
    /// What it is.
    pub(super) class: Class,
}

const fn flag(names: &'static [&'static str], class: Class) -> Row {
    Row { names, value: false, class }
}

const fn with(names: &'static [&'static str], class: Class) -> Row {
    Row { names, value: true, class }
}

const ENDS: &str =
    "QEMU prints something and ends; run QEMU itself for it (`cargo xtask boot --dry-run` has its path)";
const LEAVES: &str = "the lab must be able to end every QEMU that it starts; `boot --headless` returns when the guest is \
                      ready";
const DISPLAY: &str = "the lab's guests have no display: the console is on the terminal, or with --headless in the \
                       guest's folder";
const PORT: &str = "it opens a port on every interface of this host; the console is in the guest's folder";
const MONITOR: &str =
    "the monitors are the lab's, in the guest's folder; --monitor PATH adds one at a path of yours";
const CONSOLE: &str = "the first serial port is the console that the lab reads; give the guest another device with \
                       -chardev and -device";
const ENDING: &str = "how a guest ends is what its trial is judged by, and set by the lab";
const STATE: &str =
    "the state that a guest starts from is the lab's; `inject snap` and campaigns save and go back";
const RAM: &str = "the guest's RAM is the lab's, which maps it copy-on-write; its size is --memory";
const HIDDEN: &str = "what it brings along is not seen; give each option by itself, as --qemu-arg";
const ACCEL: &str = "what executes the guest is chosen with --clock: exact, real or kvm";
const XEN: &str = "the lab's guests do not run under Xen";
const QTEST: &str = "a machine under QEMU's own tests runs no guest";

/// The table.
pub(super) const TABLE: &[Row] = &[
    // What the guest is made of has flags of the lab's, which records, sums and templates go by.
    with(&["m"], Ours("the guest's memory is --memory, by which the lab checks, divides and records")),
    with(&["smp"], Ours("the number of vCPUs is --cpus")),
    with(&["machine", "M"], Ours("the machine with its properties is --machine")),
    with(&["cpu"], Ours("the CPU is --cpu")),
    with(&["kernel"], Ours("the kernel is --kernel")),
    with(&["initrd"], Ours("the initial RAM disk is --initrd")),
    with(&["append"], Ours("the kernel's command line is --append for more words, --cmdline for the whole")),
    with(&["accel"], Ours(ACCEL)),
    flag(&["enable-kvm", "no-kvm"], Ours(ACCEL)),
    with(&["mem-path"], Ours(RAM)),
    flag(&["mem-prealloc"], Ours(RAM)),
    flag(&["snapshot"], Ours("a guest whose disk is thrown away is `boot --snapshot`")),
    // Time and chance are the lab's.
    with(&["icount"], Ours("the clock is chosen with --clock: exact counts instructions")),
    with(&["replay"], Ours("the clock is chosen with --clock: exact makes runs repeat")),
    with(&["rtc"], Ours("the lab sets the real-time clock, or no two runs would be the same")),
    with(&["seed"], Ours("the lab sets the seed, or no two runs would be the same")),
    // How the lab reaches the guest, and how others do.
    flag(
        &["s"],
        Ours("it opens port 1234 on every interface of this host; --gdb tcp:1234 is for this host alone"),
    ),
    with(
        &["gdb"],
        Ours("the gdb stub is the lab's; --gdb tcp:PORT lets it listen on the loopback interface"),
    ),
    flag(&["S"], Ours("a guest that waits for a debugger is `boot --debug`")),
    with(&["monitor", "qmp", "qmp-pretty", "mon"], Ours(MONITOR)),
    with(&["serial", "parallel"], Ours(CONSOLE)),
    with(&["chardev"], By(rules::chardev)),
    with(&["debugcon"], By(rules::debugcon)),
    with(&["display"], Ours(DISPLAY)),
    flag(
        &["nographic", "curses", "sdl", "full-screen", "alt-grab", "ctrl-grab", "no-frame", "no-quit"],
        Ours(DISPLAY),
    ),
    with(&["vnc", "spice"], Ours(PORT)),
    // QEMU as a process.
    flag(&["daemonize"], Ours(LEAVES)),
    with(&["pidfile"], Ours("the process number is in the guest's folder, and in `boot list --json`")),
    with(
        &["chroot", "runas", "run-with"],
        Ours("QEMU runs in the guest's folder, as the user who starts it"),
    ),
    flag(&["async-teardown"], Ours(LEAVES)),
    with(&["D"], Ours("what QEMU says goes to qemu.log in the guest's folder; -d alone is enough")),
    with(&["add-fd"], Ours("QEMU gets no other descriptors than the lab's")),
    with(&["sandbox"], Ours("the lab gives QEMU as narrow a sandbox as it has")),
    with(&["compat"], Ours("it takes commands away by which the lab works")),
    flag(&["preconfig"], Ours("QEMU would wait for commands that the lab does not send")),
    with(&["readconfig", "writeconfig", "set"], Ours(HIDDEN)),
    // Its beginning and its end.
    with(&["incoming", "loadvm"], Ours(STATE)),
    with(&["action", "watchdog-action"], Ours(ENDING)),
    flag(&["no-reboot", "no-shutdown"], Ours(ENDING)),
    flag(&["help", "h", "version", "audio-help"], Ours(ENDS)),
    with(&["dump-vmstate"], Ours(ENDS)),
    with(&["xen-domid"], Ours(XEN)),
    flag(&["xen-attach", "xen-domid-restrict", "xen-create"], Ours(XEN)),
    with(&["qtest", "qtest-log"], Ours(QTEST)),
    // In the guest alone.
    flag(
        &["nodefaults", "no-user-config", "nouserconfig", "only-migratable", "singlestep", "old-param"],
        Harmless,
    ),
    flag(
        &["no-acpi", "no-hpet", "no-fd-bootchk", "win2k-hack", "usb", "portrait", "enable-sync-profile"],
        Harmless,
    ),
    with(&["name", "uuid", "numa", "g", "rotate", "prom-env", "msg"], Harmless),
    with(&["smbios"], By(rules::smbios)),
    with(&["boot"], By(rules::boot)),
    with(&["fw_cfg"], By(rules::fw_cfg)),
    with(&["device"], By(rules::device)),
    with(&["object"], By(rules::object)),
    // These reach the host: its files, its programs, its network.
    with(&["netdev", "nic", "net"], By(rules::network)),
    with(&["drive", "blockdev", "fsdev", "audiodev", "tpmdev"], By(rules::keyed)),
    with(&["virtfs"], By(rules::virtfs)),
    with(
        &[
            "fda",
            "fdb",
            "hda",
            "hdb",
            "hdc",
            "hdd",
            "cdrom",
            "mtdblock",
            "sd",
            "pflash",
            "iscsi",
            "usbdevice",
        ],
        Yours,
    ),
    with(&["bios", "dtb", "option-rom", "acpitable", "L", "k", "plugin", "trace", "d", "dfilter"], Yours),
    with(
        &["global", "audio", "soundhw", "vga", "overcommit", "echr", "tb-size", "semihosting-config"],
        Yours,
    ),
    flag(&["semihosting", "perfmap", "jitdump", "igd-passthru"], Yours),
];

/// The row of an option.
pub(super) fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.names.contains(&name))
}
