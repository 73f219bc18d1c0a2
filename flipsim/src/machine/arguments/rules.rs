//! What the value of an option decides: whether it takes something that is the lab's, opens a port to everybody, or
//! reaches a file of the host.
//!
//! Invariant: **harmless is what stands in a list**: a driver, a property or a form that is not known is not.

use serde_json::Value;

/// What is to be done with an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The lab relies on it, or says it itself: why, and what to use.
    Ours(String),
    /// It reaches nothing outside the guest: allowed from a file that somebody else made, too.
    Harmless,
    /// It may reach files, programs or the network of the host: for one's own command line.
    Yours,
}

use Verdict::{Harmless, Ours, Yours};

/// The names that the lab's own command line gives.
const OWN: [&str; 6] = ["ram0", "disk0", "share0", "console0", "monitor1", "gdb0"];

/// The keys by which an option makes something, or takes hold of it.
const HOLDS: [&str; 7] = ["id", "node-name", "chardev", "drive", "fsdev", "file", "backing"];

/// Devices that are in the guest alone, without any of the host's files, devices or sockets.
const INERT_DEVICES: [&str; 22] = [
    "edu",
    "i6300esb",
    "intel-iommu",
    "nec-usb-xhci",
    "pci-bridge",
    "pci-testdev",
    "pcie-pci-bridge",
    "pcie-root-port",
    "piix3-usb-uhci",
    "qemu-xhci",
    "usb-ehci",
    "usb-kbd",
    "usb-mouse",
    "usb-tablet",
    "virtio-balloon-pci",
    "virtio-iommu-pci",
    "virtio-keyboard-pci",
    "virtio-mouse-pci",
    "virtio-net-pci",
    "virtio-rng-pci",
    "virtio-serial-pci",
    "virtio-tablet-pci",
];

/// Their properties that name nothing of the host's.
const INERT_PROPERTIES: [&str; 21] = [
    "driver",
    "id",
    "bus",
    "addr",
    "acpi-index",
    "chassis",
    "slot",
    "port",
    "multifunction",
    "mac",
    "mq",
    "vectors",
    "rng",
    "max-bytes",
    "period",
    "disable-legacy",
    "disable-modern",
    "iommu_platform",
    "ats",
    "deflate-on-oom",
    "intremap",
];

/// Properties of a machine that change the machine alone.
const INERT_MACHINE: [&str; 29] = [
    "type",
    "acpi",
    "compact-highmem",
    "default-bus-bypass-iommu",
    "dtb-kaslr-seed",
    "dtb-randomness",
    "dump-guest-core",
    "fd-bootchk",
    "gic-version",
    "graphics",
    "highmem",
    "hmat",
    "hpet",
    "i8042",
    "iommu",
    "its",
    "mem-merge",
    "mte",
    "nvdimm",
    "pic",
    "pit",
    "ras",
    "rtc",
    "sata",
    "secure",
    "smbus",
    "usb",
    "virtualization",
    "vmport",
];

/// Properties of a machine that the lab sets, or that end QEMU.
const OWN_MACHINE: [(&str, &str); 9] = [
    ("accel", "what executes the guest is chosen with --clock"),
    ("append", "the kernel's command line is --append, or --cmdline"),
    ("dumpdtb", "QEMU writes a file and ends; run QEMU itself for it"),
    ("initrd", "the initial RAM disk is --initrd"),
    ("kernel", "the kernel is --kernel"),
    ("kernel-irqchip", "what executes the guest is chosen with --clock"),
    ("memory", "the guest's memory is --memory"),
    ("memory-backend", "the guest's RAM lies in the lab's own file; its size is --memory"),
    ("smp", "the number of vCPUs is --cpus"),
];

/// The keys and values of an option, as QEMU takes them apart: `key=value,…` with every comma in a value doubled, or
/// JSON. A first word without `=` has the key `implied`; a later one is a switch that is on.
fn pairs(value: &str, implied: &str) -> Vec<(String, String)> {
    if value.trim_start().starts_with('{') {
        let mut found = Vec::new();
        if let Ok(json) = serde_json::from_str::<Value>(value) {
            flatten("", &json, &mut found);
        }
        return found;
    }
    let mut words = vec![String::new()];
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, words.last_mut()) {
            (',', Some(word)) if rest.peek() == Some(&',') => {
                rest.next();
                word.push(',');
            }
            (',', _) => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    let pair = |(at, word): (usize, String)| match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None if at == 0 => (implied.to_owned(), word),
        None => (word, "on".to_owned()),
    };
    words.into_iter().enumerate().map(pair).collect()
}

/// The keys of JSON, the inner ones with a dot, as they are written without JSON.
fn flatten(prefix: &str, json: &Value, found: &mut Vec<(String, String)>) {
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| flatten(prefix, item, found)),
        Value::String(text) => found.push((prefix.to_owned(), text.clone())),
        other => found.push((prefix.to_owned(), other.to_string())),
    }
}

/// The value of a key.
fn of<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// What takes the name of something that is the lab's, or hangs itself on it.
fn takes_ours(pairs: &[(String, String)]) -> Option<Verdict> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let (_, name) = pairs
        .iter()
        .find(|(key, value)| HOLDS.contains(&last(key).as_str()) && OWN.contains(&value.as_str()))?;
    Some(Ours(format!("`{name}` is the lab's own; choose another name")))
}

/// Whether other users and other hosts cannot reach a host name that is listened on.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.starts_with("127.") || host == "::1"
}

fn open_port(remedy: &str) -> Verdict {
    Ours(format!("it opens a port on every interface of this host; write {remedy}"))
}

/// Options of which everything may be wanted, but for what is the lab's.
pub(super) fn keyed(value: &str) -> Verdict {
    takes_ours(&pairs(value, "driver")).unwrap_or(Yours)
}

pub(super) fn device(value: &str) -> Verdict {
    let pairs = pairs(value, "driver");
    if let Some(ours) = takes_ours(&pairs) {
        return ours;
    }
    let driver = of(&pairs, "driver").unwrap_or_default();
    let inert = INERT_DEVICES.contains(&driver)
        && pairs.iter().all(|(key, _)| INERT_PROPERTIES.contains(&key.as_str()));
    if inert { Harmless } else { Yours }
}

pub(super) fn object(value: &str) -> Verdict {
    let pairs = pairs(value, "qom-type");
    if let Some(ours) = takes_ours(&pairs) {
        return ours;
    }
    let inert = of(&pairs, "qom-type") == Some("rng-builtin")
        && pairs.iter().all(|(key, _)| key == "qom-type" || key == "id");
    if inert { Harmless } else { Yours }
}

pub(super) fn chardev(value: &str) -> Verdict {
    let pairs = pairs(value, "backend");
    if let Some(ours) = takes_ours(&pairs) {
        return ours;
    }
    let loopback = |key: &str| of(&pairs, key).is_some_and(is_loopback);
    let serves = of(&pairs, "server").is_some_and(|on| on != "off");
    match of(&pairs, "backend") {
        Some("socket") if of(&pairs, "port").is_some() && serves && !loopback("host") => {
            open_port("host=127.0.0.1, or a socket with path=")
        }
        Some("udp") if of(&pairs, "localport").is_some() && !loopback("localaddr") => {
            open_port("localaddr=127.0.0.1")
        }
        Some("stdio") => {
            Ours("this command's terminal and files are the lab's; take file,path= or a socket".into())
        }
        _ => Yours,
    }
}

pub(super) fn debugcon(value: &str) -> Verdict {
    let Some((kind, rest)) = value.split_once(':') else {
        let terminal = value == "stdio";
        let why = "this command's terminal is the guest's console; take file:PATH";
        return if terminal { Ours(why.to_owned()) } else { Yours };
    };
    let serves = rest.split(',').skip(1).any(|word| word.starts_with("server") && word != "server=off");
    match kind {
        "tcp" | "telnet" | "websocket"
            if serves && !is_loopback(rest.split(':').next().unwrap_or_default()) =>
        {
            open_port(&format!("{kind}:127.0.0.1:PORT"))
        }
        "udp"
            if rest
                .split_once('@')
                .is_some_and(|(_, at)| !is_loopback(at.split(':').next().unwrap_or_default())) =>
        {
            open_port("udp:HOST:PORT@127.0.0.1:PORT")
        }
        "mon" | "chardev" => keyed(&format!("chardev={}", rest.trim_start_matches("chardev:"))),
        _ => Yours,
    }
}

/// `-netdev`, `-nic` and `-net`.
pub(super) fn network(value: &str) -> Verdict {
    let pairs = pairs(value, "type");
    if value == "none" {
        return Harmless;
    }
    if let Some(ours) = takes_ours(&pairs) {
        return ours;
    }
    for (key, value) in &pairs {
        let host = match key.as_str() {
            "hostfwd" => value.split(':').nth(1),
            "listen" => value.rsplit_once(':').map(|(host, _)| host),
            _ => continue,
        };
        if !host.is_some_and(is_loopback) {
            return open_port(if key == "listen" {
                "listen=127.0.0.1:PORT"
            } else {
                "hostfwd=tcp:127.0.0.1:PORT-:PORT"
            });
        }
    }
    let stream = of(&pairs, "type") == Some("stream") && of(&pairs, "server").is_some_and(|on| on != "off");
    if stream && of(&pairs, "addr.type") == Some("inet") && !of(&pairs, "addr.host").is_some_and(is_loopback)
    {
        return open_port("addr.host=127.0.0.1");
    }
    Yours
}

/// Whether a network has a script, a helper, or a command.
pub(super) fn starts_programs(value: &str) -> bool {
    pairs(value, "type").iter().any(|(key, value)| match key.as_str() {
        "type" => matches!(value.as_str(), "tap" | "bridge"),
        "script" | "downscript" | "helper" | "smb" => value != "no",
        "guestfwd" => value.contains("cmd:"),
        _ => false,
    })
}

/// `-virtfs`, which is `-fsdev` and its device at once.
pub(super) fn virtfs(value: &str) -> Verdict {
    let pairs = pairs(value, "fsdriver");
    if of(&pairs, "mount_tag") == Some("host0") {
        return Ours("`host0` is the folder of --share; choose another mount_tag".into());
    }
    takes_ours(&pairs).unwrap_or(Yours)
}

fn unless(value: &str, implied: &str, reaches: &[&str]) -> Verdict {
    let reaches = pairs(value, implied).iter().any(|(key, _)| reaches.contains(&key.as_str()));
    if reaches { Yours } else { Harmless }
}

pub(super) fn smbios(value: &str) -> Verdict {
    unless(value, "type", &["file", "path"])
}

pub(super) fn boot(value: &str) -> Verdict {
    unless(value, "order", &["splash"])
}

pub(super) fn fw_cfg(value: &str) -> Verdict {
    let pairs = pairs(value, "name");
    let inert = pairs.iter().all(|(key, _)| key == "name" || key == "string");
    if inert { Harmless } else { Yours }
}

/// The value of `--machine`.
pub(super) fn machine(value: &str) -> Verdict {
    let pairs = pairs(value, "type");
    for (key, _) in &pairs {
        // QEMU takes `_` for `-` in these, and `smp.cpus` is a part of `smp`.
        let stem = key.split('.').next().unwrap_or_default().replace('_', "-");
        if let Some((_, why)) = OWN_MACHINE.iter().find(|(own, _)| *own == stem) {
            return Ours(format!("`{key}`: {why}"));
        }
    }
    let inert = pairs.iter().all(|(key, _)| INERT_MACHINE.contains(&key.as_str()));
    if inert { Harmless } else { Yours }
}
