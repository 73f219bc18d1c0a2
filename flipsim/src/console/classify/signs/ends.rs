//! Ends without a panic, and the words by which a machine that begins again is known.

use crate::console::classify::kind::Kind;
use crate::console::classify::signs::heading::Place::Word;
use crate::console::classify::signs::heading::Voice::Any;
use crate::console::classify::signs::heading::Wants::Nothing;
use crate::console::classify::signs::heading::{Heading, Sign, sign};

/// The rows.
pub static SIGNS: &[Sign] = &[
    sign("reboot: Restarting system", Word, Any, |_| {
        Heading::new(Kind::Reboot, "Restarting system", Nothing)
    }),
    sign("reboot: machine restart", Word, Any, |_| Heading::half(Kind::Reboot, "Restarting system")),
    sign("sysrq: Resetting", Word, Any, |_| Heading::new(Kind::Reboot, "sysrq: Resetting", Nothing)),
    sign("reboot: Power down", Word, Any, |_| Heading::new(Kind::PowerOff, "Power down", Nothing)),
    sign("reboot: System halted", Word, Any, |_| Heading::new(Kind::PowerOff, "System halted", Nothing)),
];

/// What only something before a kernel prints, or a kernel with its first words.
pub static FIRMWARE: &[&str] = &[
    "Linux version ",
    "Booting Linux on physical CPU",
    "Booting the kernel.",
    "Decompressing Linux",
    "early console in ",
    "EFI stub: ",
    "SeaBIOS (version",
    "Booting from Hard Disk",
    "Booting from ROM",
    "iPXE ",
    "UEFI firmware (version",
    "BdsDxe: ",
    "GNU GRUB ",
    "Welcome to GRUB!",
    "GRUB loading",
    "ISOLINUX ",
    "SYSLINUX ",
    "U-Boot ",
    "Starting kernel ...",
    "OpenSBI v",
    "NOTICE:  BL1:",
    "NOTICE:  BL31:",
];

/// What only a kernel that is up, or a program under it, prints.
pub static RUNNING: &[&str] = &[
    "FLIPSIM ",
    "Run /",
    "Freeing unused kernel ",
    "systemd[1]: ",
    "Welcome to ",
    "EXT4-fs (",
    "random: crng init done",
];
