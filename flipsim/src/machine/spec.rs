//! What a guest is made of, and the QEMU command line that results from it.
//!
//! Sockets are named relative to the guest's run folder, which is QEMU's working folder: no socket
//! path can be too long, and none lies in a folder of other users.
//!
//! Invariant: the command line depends on the specification alone, not on the host.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::machine::arguments::{self, Refused};
use crate::machine::confine::Allowed;

/// The QMP socket for users and for injection, in the run folder.
pub const QMP_SOCKET: &str = "qmp.sock";
/// The QMP socket of the process that watches over the guest.
pub const WATCH_SOCKET: &str = "qmp-watch.sock";
/// The socket of the human monitor.
pub const HMP_SOCKET: &str = "monitor.sock";
/// The socket of the gdb stub.
pub const GDB_SOCKET: &str = "gdb.sock";
/// The socket of the console, where it is not in a terminal.
pub const CONSOLE_SOCKET: &str = "console.sock";
/// All that the console said.
pub const CONSOLE_LOG: &str = "console.log";

/// What QEMU calls the character device of the guest's console.
pub const CONSOLE_DEVICE: &str = "console0";

/// What executes the guest's instructions, and what its clock follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// QEMU's translator, and a clock that counts instructions: one takes 1 ns, and where the guest is
    /// idle the clock skips to the next timer. It stops at exactly the time asked for, and runs repeat.
    Exact,
    /// QEMU's translator, and a clock that follows the host's.
    #[default]
    Real,
    /// The host's processor, and a clock that follows the host's.
    Kvm,
}

impl Clock {
    /// The word on the command line and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Clock::Exact => "exact",
            Clock::Real => "real",
            Clock::Kvm => "kvm",
        }
    }
}

/// Where the guest's console goes, besides its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Console {
    /// To our own terminal, with QEMU's monitor behind Ctrl-A C.
    Terminal,
    /// To a socket in the run folder.
    Socket,
    /// Nowhere else: nothing can be typed into it.
    Log,
    /// To QEMU's standard output alone, which its parent gives it: a confined QEMU reaches no file by way of another
    /// process.
    Output,
}

/// Where the gdb stub listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GdbPort {
    /// A socket in the run folder.
    Socket,
    /// A TCP port of the loopback interface. Every user of this host can reach it.
    Tcp(u16),
}

/// The image below a guest's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// The file, with its whole path.
    pub path: PathBuf,
    /// Its format, as QEMU names it.
    pub format: String,
}

/// A disk of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// Its format, as QEMU names it.
    pub format: String,
    /// Where the guest's writes go.
    pub writes: DiskWrites,
    /// The image that it is a layer on, where it does not say so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<BaseImage>,
}

/// Where a guest's writes to its disk go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskWrites {
    /// They go into the file.
    Keep,
    /// They go into QEMU's own layer, a qcow2 file without a name that ends with QEMU.
    Discard,
    /// They stay in QEMU's memory, in a block filter that takes a patched QEMU, and end with it.
    Memory,
}

/// Guest RAM in a file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RamFile {
    /// The file. QEMU makes it where it is missing, without using disk space for pages of zeroes.
    pub path: PathBuf,
    /// Whether the guest's writes reach the file. Where they do not, a page that is written becomes the
    /// process's own, and the file stays as it is.
    pub shared: bool,
}

/// What starts QEMU on a host that may not have its libraries, or has others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// The dynamic loader (`ld.so(8)`).
    pub program: PathBuf,
    /// The folder with all libraries.
    pub libraries: PathBuf,
}

/// What a guest is made of. Kept as `spec.json` in the run folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// The architecture.
    pub arch: Arch,
    /// The value of `-machine`, in place of the architecture's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The value of `-cpu`, in place of the architecture's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The QEMU program.
    pub qemu: PathBuf,
    /// What starts it, where that is not the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<Loader>,
    /// The kernel's boot image.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    /// The root disk.
    pub disk: Option<Disk>,
    /// RAM in bytes, a whole number of MiB.
    pub memory: u64,
    /// The number of vCPUs.
    pub cpus: u32,
    /// The kernel's command line, whole.
    pub append: String,
    /// The host's folder that the guest can mount over 9p as `host0`.
    pub share: Option<PathBuf>,
    /// What executes the instructions, and what the clock follows.
    pub clock: Clock,
    /// Properties of `-machine` that keep chance out of the guest, as this QEMU spells them.
    pub fixed: Vec<String>,
    /// The file that RAM lies in, for a guest that is saved as a template or started from one.
    #[serde(default)]
    pub ram_file: Option<RamFile>,
    /// Start with the device state that comes in by QMP `migrate-incoming`, in place of a boot.
    #[serde(default)]
    pub incoming: bool,
    /// Keep QEMU, stopped, when the guest switches itself off or resets.
    #[serde(default)]
    pub stay_at_end: bool,
    /// Where the console goes.
    pub console: Console,
    /// Execute nothing until asked to, by a debugger, or a lab that lets it run step by step.
    pub start_stopped: bool,
    /// A second socket for the human monitor, at a path that the user chose.
    pub monitor: Option<PathBuf>,
    /// Where the gdb stub listens.
    pub gdb: GdbPort,
    /// The user's arguments, at the end.
    pub extra: Vec<String>,
    /// Whether this QEMU can filter its own system calls (`-sandbox`). It then does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
}

/// The kernel's command line for the lab's guests: console, root disk, a fixed layout, a reboot
/// right after a panic, the workload, and what the user adds.
#[must_use]
pub fn kernel_command_line(arch: Arch, workload: Option<&str>, extra: &str) -> String {
    let mut line = format!("console={} root=/dev/vda rw nokaslr panic=-1", arch.console);
    for word in arch.kernel_words {
        line.push(' ');
        line.push_str(word);
    }
    if let Some(workload) = workload {
        line.push_str(" flipsim.workload=");
        line.push_str(workload);
    }
    if !extra.trim().is_empty() {
        line.push(' ');
        line.push_str(extra.trim());
    }
    line
}

impl MachineSpec {
    /// Refuses what the user adds where it takes away what the lab relies on. This is the one place that all
    /// arguments go through, whichever command or file they come from.
    ///
    /// # Errors
    /// The first such argument, with what to use in its place.
    pub fn check(&self) -> Result<(), Refused> {
        self.machine.as_deref().map_or(Ok(()), arguments::check_machine)?;
        self.cpu.as_deref().map_or(Ok(()), arguments::check_cpu)?;
        arguments::check(&self.extra)
    }

    /// What QEMU may do on this host besides its work on files: no more than the user's own arguments ask for.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        let ports = match self.gdb {
            GdbPort::Socket => Vec::new(),
            GdbPort::Tcp(port) => vec![port],
        };
        Allowed {
            programs: arguments::need_programs(&self.extra),
            network: !arguments::not_harmless(&self.extra, None).is_empty(),
            ports,
        }
    }

    /// The program that is started, and the arguments that come before QEMU's own.
    #[must_use]
    pub fn program(&self) -> (&Path, Vec<OsString>) {
        let Some(Loader { program, libraries }) = &self.loader else { return (&self.qemu, Vec::new()) };
        let words: [&OsStr; 4] =
            ["--inhibit-cache".as_ref(), "--library-path".as_ref(), libraries.as_ref(), self.qemu.as_ref()];
        (program, words.map(OsStr::to_owned).into())
    }

    /// The arguments for QEMU, without the program's own name.
    #[must_use]
    pub fn argv(&self) -> Vec<OsString> {
        let mut args = Args(Vec::new());
        args.flag("-nodefaults").flag("-no-user-config");
        args.option("-display", "none");
        let ram = self.ram_file.as_ref().map(|_| "memory-backend=ram0");
        let fixed = self.fixed.iter().map(String::as_str);
        // The lab's options are those of the lab's machine.
        let own: Vec<&str> = match &self.machine {
            Some(machine) => vec![machine],
            None => {
                std::iter::once(self.arch.machine).chain(self.arch.machine_options.iter().copied()).collect()
            }
        };
        let machine: Vec<&str> = own.into_iter().chain(fixed).chain(ram).collect();
        args.option("-machine", &machine.join(","));
        for global in self.arch.globals {
            args.option("-global", global);
        }
        let (cpu, accel) = match self.clock {
            Clock::Exact | Clock::Real => (self.arch.cpu, "tcg"),
            Clock::Kvm => ("host", "kvm"),
        };
        args.option("-cpu", self.cpu.as_deref().unwrap_or(cpu)).option("-accel", accel);
        let exact = self.clock == Clock::Exact;
        if exact {
            args.option("-icount", "shift=0,sleep=off");
            // What QEMU draws for a guest, as the seed that q35 of 7.1 hands to Linux, is the same each time.
            args.option("-seed", "1");
        }
        args.option("-smp", &self.cpus.to_string());
        args.option("-m", &format!("{}M", self.memory >> 20));
        if let Some(RamFile { path, shared }) = &self.ram_file {
            let share = if *shared { "on" } else { "off" };
            let options =
                format!("memory-backend-file,id=ram0,size={}M,share={share},mem-path=", self.memory >> 20);
            args.keyed("-object", &options, path.as_os_str());
        }
        // A clock that starts where the host is would make every run a different one.
        args.option("-rtc", "base=2026-01-01T00:00:00,clock=vm");
        args.path("-kernel", &self.kernel);
        if let Some(initrd) = &self.initrd {
            args.path("-initrd", initrd);
        }
        args.option("-append", &self.append);
        if let Some(disk) = &self.disk {
            let below = |keys: &str| match &disk.backing {
                Some(BaseImage { path, format }) => vec![
                    OsString::from(format!(
                        "{keys}backing.driver={format},{keys}backing.file.driver=file,{keys}backing.file.filename="
                    )),
                    value(path.as_os_str()),
                    ",".into(),
                ],
                None => Vec::new(),
            };
            if disk.writes == DiskWrites::Memory {
                let options = format!(
                    "driver=flipsim-cow,node-name=disk0,file.driver={},file.read-only=on,file.file.driver=file,\
                     file.file.read-only=on,",
                    disk.format
                );
                let mut options = OsString::from(options);
                options.extend(below("file."));
                options.push("file.file.filename=");
                args.keyed("-blockdev", &options, disk.path.as_os_str());
            } else {
                let discard = if disk.writes == DiskWrites::Discard { ",snapshot=on" } else { "" };
                // Every stop flushes the disk. With the exact clock stops are many and the layer is the
                // guest's alone: the host's page cache is safe enough for it.
                let cache = if exact { ",cache=unsafe" } else { "" };
                let mut options =
                    OsString::from(format!("if=none,id=disk0,format={}{discard}{cache},", disk.format));
                options.extend(below(""));
                options.push("file=");
                args.keyed("-drive", &options, disk.path.as_os_str());
            }
            // A request is served in the vCPU's thread, so that it can end within one instruction.
            let kick = if exact { ",ioeventfd=off" } else { "" };
            args.option("-device", &format!("virtio-blk-pci,drive=disk0{kick}"));
        }
        if let Some(share) = &self.share {
            // `none` stores files as the user who runs QEMU; `passthrough` would need root.
            args.keyed("-fsdev", "local,id=share0,security_model=none,path=", share.as_os_str());
            args.option("-device", "virtio-9p-pci,fsdev=share0,mount_tag=host0");
        }
        args.option("-device", "pvpanic-pci");
        // QEMU's own default for a panic is to shut down, and with it the evidence would be gone.
        let off = if self.stay_at_end { ",shutdown=pause" } else { "" };
        args.option("-action", &format!("panic=pause,reboot=shutdown{off}"));
        let log = format!("logfile={CONSOLE_LOG},logappend=on");
        match self.console {
            Console::Terminal => {
                args.option("-chardev", &format!("stdio,id={CONSOLE_DEVICE},mux=on,signal=off,{log}"));
                args.option("-mon", &format!("chardev={CONSOLE_DEVICE},mode=readline"));
            }
            Console::Socket => {
                args.option(
                    "-chardev",
                    &format!("socket,id={CONSOLE_DEVICE},path={CONSOLE_SOCKET},server=on,wait=off,{log}"),
                );
            }
            Console::Log => {
                args.option("-chardev", &format!("file,id={CONSOLE_DEVICE},append=on,path={CONSOLE_LOG}"));
            }
            Console::Output => {
                args.option("-chardev", &format!("file,id={CONSOLE_DEVICE},append=on,path=/proc/self/fd/1"));
            }
        }
        args.option("-serial", &format!("chardev:{CONSOLE_DEVICE}"));
        args.option("-qmp", &format!("unix:{QMP_SOCKET},server=on,wait=off"));
        args.option("-qmp", &format!("unix:{WATCH_SOCKET},server=on,wait=off"));
        args.option("-monitor", &format!("unix:{HMP_SOCKET},server=on,wait=off"));
        if let Some(path) = &self.monitor {
            args.keyed("-chardev", "socket,id=monitor1,server=on,wait=off,path=", path.as_os_str());
            args.option("-mon", "chardev=monitor1,mode=readline");
        }
        match self.gdb {
            GdbPort::Socket => {
                args.option("-chardev", &format!("socket,id=gdb0,path={GDB_SOCKET},server=on,wait=off"));
                args.option("-gdb", "chardev:gdb0");
            }
            GdbPort::Tcp(port) => {
                args.option("-gdb", &format!("tcp:127.0.0.1:{port}"));
            }
        }
        if self.incoming {
            // `defer`: capabilities have to be set before the state comes in.
            args.option("-incoming", "defer");
        }
        if self.start_stopped {
            args.flag("-S");
        }
        if self.sandbox {
            // A helper of the user's own network is a program.
            let spawn = if arguments::need_programs(&self.extra) { "allow" } else { "deny" };
            let denied = "obsolete=deny,elevateprivileges=deny,resourcecontrol=deny";
            args.option("-sandbox", &format!("on,{denied},spawn={spawn}"));
        }
        args.0.extend(self.extra.iter().map(OsString::from));
        args.0
    }
}

/// Collects arguments; knows how QEMU wants a comma in a value.
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn option(&mut self, flag: &str, value: &str) -> &mut Self {
        self.flag(flag).flag(value)
    }

    fn path(&mut self, flag: &str, value: &Path) -> &mut Self {
        self.flag(flag);
        self.0.push(value.into());
        self
    }

    /// An option whose last key takes free text: in it every comma is doubled (QEMU, `util/keyval.c`).
    fn keyed(&mut self, flag: &str, options: impl AsRef<OsStr>, text: &OsStr) -> &mut Self {
        let mut option = options.as_ref().to_owned();
        option.push(value(text));
        self.flag(flag);
        self.0.push(option);
        self
    }
}

/// Free text as the value of a key.
fn value(text: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
