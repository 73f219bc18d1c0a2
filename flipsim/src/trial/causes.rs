//! Why two runs of a guest are usually not equal: what in its command line, and which device that differs, lets the
//! host's time or chance in.
//!
//! Invariant: each entry was the cause somewhere, in this lab or in QEMU's sources, and says what to do; where none
//! fits, nothing is guessed.

use std::fmt;

use crate::machine::spec::{Clock, MachineSpec};

/// What may be the cause, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The device or option.
    pub what: &'static str,
    /// How it lets chance in.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.remedy)
    }
}

/// Causes by words in QEMU's arguments, or in the names of the devices that differ.
const BY_WORD: &[(&[&str], Cause)] = &[
    (
        &["virtio-rng", "rng-random", "rng-egd", "rng-builtin"],
        Cause {
            what: "a random number generator",
            why: "it hands the guest what the host drew",
            remedy: "leave virtio-rng out",
        },
    ),
    (
        &["-netdev", "-nic", "-net", "virtio-net", "e1000", "rtl8139", "slirp"],
        Cause {
            what: "a network card",
            why: "packets arrive when the host pleases, user networking's own among them",
            remedy: "leave it out, or take it down in the guest before READY and give it no backend",
        },
    ),
    (
        &["virtio-9p", "-virtfs", "-fsdev", "vhost", "virtiofs"],
        Cause {
            what: "a shared folder",
            why: "threads of the host answer its requests, and its files have the host's times",
            remedy: "unmount it before READY, or do without (campaigns do)",
        },
    ),
    (
        &["-drive", "-blockdev", "-hda", "-cdrom", "nvme", "ahci", "ide-", "scsi", "sdhci"],
        Cause {
            what: "a disk of another kind than the lab's",
            why: "its requests are served while the guest runs on, and end when the host pleases",
            remedy: "attach it as virtio-blk-pci,…,ioeventfd=off, whose requests the lab's QEMU ends within one \
                     instruction",
        },
    ),
    (
        &["hpet"],
        Cause {
            what: "the HPET",
            why: "its counter is read between two timers",
            remedy: "give the machine hpet=off",
        },
    ),
    (
        &["-rtc", "rtc", "mc146818", "pl031"],
        Cause {
            what: "the real-time clock",
            why: "it follows the host's clock unless -rtc says clock=vm",
            remedy: "leave -rtc to the lab",
        },
    ),
    (
        &["-icount", "-accel"],
        Cause {
            what: "-icount or -accel by hand",
            why: "only -icount shift=0,sleep=off makes an instruction a nanosecond",
            remedy: "leave both to the lab (--clock exact)",
        },
    ),
    (
        &[
            "-usb",
            "usb-",
            "xhci",
            "ehci",
            "-audiodev",
            "hda-",
            "-vga",
            "-display",
            "virtio-gpu",
            "virtio-balloon",
        ],
        Cause {
            what: "a device with timers of the host",
            why: "USB, sound, displays and balloons are served by the host's clock",
            remedy: "leave it out",
        },
    ),
    (
        &["-chardev", "-serial", "virtio-serial", "virtio-console"],
        Cause {
            what: "a character device of your own",
            why: "what comes in by it comes when the host pleases, and what goes out may have to wait",
            remedy: "leave it out; the lab's console has no input while trials run",
        },
    ),
];

/// What in a guest, and in the devices that differed between two runs, is usually why they differ.
///
/// `devices` are the names of the devices, as QEMU's device state has them, or any text with them.
#[must_use]
pub fn usual_causes(spec: &MachineSpec, devices: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if spec.clock != Clock::Exact {
        causes.push(Cause {
            what: "the clock",
            why: "it follows the host's, so that no two runs have the same time",
            remedy: "take --clock exact, with a QEMU that has the lab's patches",
        });
    }
    if spec.cpus > 1 {
        causes.push(Cause {
            what: "more than one vCPU",
            why: "the host decides when the next one has its turn, once two are busy",
            remedy: "give --cpus 1",
        });
    }
    if spec.cpu.is_some() {
        causes.push(Cause {
            what: "the CPU model",
            why: "with RDRAND and RDSEED (x86) or FEAT_RNG (aarch64, as in `max`) each read is another number",
            remedy: "switch them off (--cpu MODEL,rdrand=off,rdseed=off), or take the lab's model",
        });
    }
    if spec.machine.is_some() {
        causes.push(Cause {
            what: "the machine",
            why: "the lab's own properties (hpet=off, no random numbers in the device tree) are not those of another",
            remedy: "add them to --machine (`boot --dry-run` shows the lab's), or take the lab's machine",
        });
    }
    let share = spec.share.as_ref().map(|_| "virtio-9p");
    let words = spec.extra.iter().map(String::as_str).chain(share).chain([devices]);
    let text = words.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    for (names, cause) in BY_WORD {
        if names.iter().any(|name| has_word(&text, name)) {
            causes.push(*cause);
        }
    }
    if !spec.append.split_whitespace().any(|word| word == "nokaslr") {
        causes.push(Cause {
            what: "the kernel's own draws",
            why: "KASLR and the order of free pages are drawn at boot, so that two boots may differ while runs from \
                  one snapshot do not",
            remedy: "add nokaslr to the kernel's command line",
        });
    }
    causes
}

/// Whether a name begins at the border of a word: `rtc` is no part of `virtclock`.
fn has_word(text: &str, name: &str) -> bool {
    text.match_indices(name)
        .any(|(at, _)| !text[..at].chars().next_back().is_some_and(|before| before.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::spec::tests::spec as headless;

    fn lab() -> MachineSpec {
        MachineSpec { clock: Clock::Exact, share: None, ..headless() }
    }

    #[test]
    fn the_labs_own_guest_has_no_usual_cause() {
        assert_eq!(usual_causes(&lab(), "cpu, virtio-blk, gic"), []);
    }

    #[test]
    fn options_that_let_chance_in_are_named_with_their_remedy() {
        let extra = ["-device", "virtio-rng-pci", "-nic", "user"].map(str::to_owned).to_vec();
        let spec = MachineSpec { extra, cpus: 2, ..lab() };
        let what: Vec<&str> = usual_causes(&spec, "").iter().map(|cause| cause.what).collect();
        assert_eq!(what, ["more than one vCPU", "a random number generator", "a network card"]);
        let spec =
            MachineSpec { cpu: Some("max".into()), append: "quiet".into(), clock: Clock::Real, ..lab() };
        let what: Vec<&str> = usual_causes(&spec, "").iter().map(|cause| cause.what).collect();
        assert_eq!(what, ["the clock", "the CPU model", "the kernel's own draws"]);
    }

    #[test]
    fn a_device_that_differs_is_named() {
        let what: Vec<&str> =
            usual_causes(&lab(), "0000:00:02.0/virtio-net, virtclock").iter().map(|c| c.what).collect();
        assert_eq!(what, ["a network card"]);
    }
}
