//! What a guest is made of: the flags that `boot`, `campaign` and `bench` share, and the `[guest]` table of a
//! campaign's file, which has the same words.
//!
//! Invariant: flags and file say the same things by the same names; what is stored has whole paths.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::console::Counts;
use flipsim::console::signals::{Exchange, LinePattern, ReadyBy, Signals};
use flipsim::machine::boot::Patience;
use flipsim::target::SILENCE;
use flipsim::units::{VirtualNs, parse_size, parse_virtual};
use serde::{Deserialize, Serialize};

use super::workload;
use crate::exit::{Code, ExitWith, exit_error};
use crate::lab::config::Config;

/// What a guest is made of, and how it speaks.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct GuestSpec {
    /// The guest's architecture [default: from lab.toml]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// What the guest runs once it is ready: idle, sha256, matmul, qsort, fs, traps, objects, or a service of yours (`image add`);
    /// `none` is a shell
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// RAM, as in 128M or 2G [default: from lab.toml]
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text::size")]
    pub memory: Option<u64>,
    /// Virtual CPUs [default: from lab.toml]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// More for the kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub append: String,
    /// The kernel's whole command line, in place of the lab's (`boot --dry-run` shows that one)
    #[arg(long, value_name = "TEXT", conflicts_with = "append", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// A kernel of your own, in place of the lab's
    #[arg(long, value_name = "FILE", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// Its initial RAM disk
    #[arg(long, value_name = "FILE", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    /// Its symbols: a vmlinux, a System.map, or what its /proc/kallsyms shows to root
    #[arg(long, value_name = "FILE", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmlinux: Option<PathBuf>,
    /// A disk image of your own, raw or qcow2; it is never written, the guest gets a layer on top
    #[arg(long, value_name = "FILE", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<PathBuf>,
    /// The CPU, as QEMU names it [default: the architecture's]
    #[arg(long, value_name = "MODEL", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The machine with its properties, as QEMU names it [default: the architecture's]
    #[arg(long, value_name = "MACHINE", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// An argument for QEMU, as it is; may be given more than once
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, help_heading = "A guest of your own")]
    #[serde(rename = "qemu-args", skip_serializing_if = "Vec::is_empty")]
    pub qemu_arg: Vec<String>,
    /// What is typed at the guest's console, once it prints the pattern; may be given more than once. What is
    /// typed last is the workload
    #[arg(long, value_name = "PATTERN => TEXT", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dialogue: Vec<Exchange>,
    /// The line by which the guest is ready (a regular expression), or `power-on`: before its first instruction
    /// [default: FLIPSIM READY]
    #[arg(long, value_name = "PATTERN", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadyBy>,
    /// With `--ready power-on`, the line that shows that userspace was reached [default: FLIPSIM READY, or the kernel's
    /// that it runs init]
    #[arg(long, value_name = "PATTERN", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userspace: Option<LinePattern>,
    /// How long it is left alone after that; without --ready and --dialogue, after power-on
    #[arg(long, value_parser = parse_virtual, value_name = "TIME", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text::time")]
    pub ready_after: Option<VirtualNs>,
    /// How long it may idle and say nothing, on the exact clock, while one of these is waited for [default: 30s]
    #[arg(long, value_parser = parse_virtual, value_name = "TIME", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text::time")]
    pub silence: Option<VirtualNs>,
    /// The line by which its workload is done (a regular expression) [default: FLIPSIM DONE]
    #[arg(long, value_name = "PATTERN", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<LinePattern>,
    /// The lines that are its output, or the part of them in the pattern's first group [default: all it prints]
    #[arg(long, value_name = "PATTERN", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<LinePattern>,
    /// What the workload counts, such as errors that it corrected: the number in the pattern's first group, or the
    /// lines that match; may be given more than once. Such lines are no output
    // Several commands count something else.
    #[arg(long = "counts", id = "counts", value_name = "PATTERN", help_heading = "A guest of your own")]
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "text::patterns")]
    pub count: Vec<LinePattern>,
}

impl GuestSpec {
    /// How the guest speaks.
    #[must_use]
    pub fn signals(&self) -> Signals {
        Signals {
            dialogue: self.dialogue.clone(),
            ready: self.ready.clone(),
            ready_after: self.ready_after,
            userspace: self.userspace.clone(),
            done: self.done.clone(),
            output: self.output.clone(),
            count: Counts::new(self.count.clone()),
        }
    }

    /// How long it is waited for, and for so long on the host's clock in any case.
    #[must_use]
    pub fn patience(&self, timeout: Duration) -> Patience {
        Patience { timeout, silence: self.silence.unwrap_or(SILENCE) }
    }

    /// Whether it speaks as the lab's guests do, and so can be asked for one of the lab's workloads.
    #[must_use]
    pub fn speaks_as_ours(&self) -> bool {
        self.signals().are_in_the_labs_words()
    }

    /// Its architecture: as given, or where its service is at home, or the default.
    pub fn arch_or_default(&self) -> Result<Arch> {
        match self.arch {
            Some(arch) => Ok(arch),
            None => workload::arch_for(self.workload.as_deref().filter(|_| self.image.is_none())),
        }
    }

    /// The same with the default architecture and workload, where it says none and could be asked for one.
    pub fn with_defaults(mut self) -> Result<Self> {
        let wants_workload = self.workload.is_none() && self.speaks_as_ours();
        if self.arch.is_none() || wants_workload {
            self.arch = Some(self.arch_or_default()?);
            if wants_workload {
                self.workload = Some(Config::load()?.guest.workload);
            }
        }
        Ok(self)
    }

    /// The same with whole paths: those in a file are meant from the file's folder.
    pub fn rooted(mut self, folder: &Path) -> Result<Self> {
        let paths = [&mut self.kernel, &mut self.initrd, &mut self.vmlinux, &mut self.image];
        for path in paths.into_iter().flatten() {
            *path = std::path::absolute(folder.join(&*path))
                .with_context(|| format!("cannot find {}", path.display()))
                .exit_with(Code::Usage)?;
        }
        Ok(self)
    }

    /// Refuses numbers without a unit that cannot be meant: a file for people has times and sizes with their units.
    pub fn check_units(&self) -> Result<()> {
        if let Some(VirtualNs(ns @ 1..1_000_000)) = self.ready_after {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "ready-after = {ns} is so many nanoseconds; write a unit, as in ready-after = \"{ns}s\""
                )
            ));
        }
        if let Some(bytes @ 1..0x10_0000) = self.memory {
            bail!(exit_error(
                Code::Usage,
                format!("memory = {bytes} is so many bytes; write a unit, as in memory = \"{bytes}M\"")
            ));
        }
        Ok(())
    }

    /// The same with what `over` says in place of what it has.
    pub fn overlaid(&self, over: &GuestSpec) -> Result<Self> {
        let mut merged = serde_json::to_value(self)?;
        if let (Some(merged), serde_json::Value::Object(over)) =
            (merged.as_object_mut(), serde_json::to_value(over)?)
        {
            merged.extend(over);
        }
        Ok(serde_json::from_value(merged)?)
    }
}

/// Sizes and times in a file may have their units, as on the command line.
mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    use crate::guest::spec::{Counts, LinePattern, VirtualNs, parse_size, parse_virtual};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(u64),
        Text(String),
    }

    /// One pattern, or a list of them.
    pub fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LinePattern>, D::Error> {
        Counts::deserialize(deserializer).map(Counts::into_patterns)
    }

    pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(match Option::<Raw>::deserialize(deserializer)? {
            None => None,
            Some(Raw::Number(bytes)) => Some(bytes),
            Some(Raw::Text(text)) => Some(parse_size(&text).map_err(D::Error::custom)?),
        })
    }

    pub fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<VirtualNs>, D::Error> {
        Ok(match Option::<Raw>::deserialize(deserializer)? {
            None => None,
            Some(Raw::Number(ns)) => Some(VirtualNs(ns)),
            Some(Raw::Text(text)) => Some(parse_virtual(&text).map_err(D::Error::custom)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r##"
kernel = "vmlinuz"
image = "/images/debian.img"
cmdline = "console=ttyS0 root=/dev/vda"
memory = "512M"
ready-after = "1s"
done = "^BYE$"
dialogue = [{ wait = "login:", send = "root" }, { wait = "# $", send = "work; echo BYE" }]
"##;

    #[test]
    fn a_table_of_a_file_says_what_flags_say_and_survives_json() {
        let guest: GuestSpec = toml::from_str(TABLE).unwrap();
        assert_eq!((guest.memory, guest.ready_after), (Some(512 << 20), Some(VirtualNs(1_000_000_000))));
        assert!(!guest.speaks_as_ours() && guest.signals().types());
        let json = serde_json::to_string(&guest).unwrap();
        assert_eq!(serde_json::from_str::<GuestSpec>(&json).unwrap(), guest);
        assert!(!json.contains("workload") && !json.contains("append"), "{json}");
        assert!(toml::from_str::<GuestSpec>("kernal = 'x'").is_err());
    }

    #[test]
    fn numbers_without_a_unit_are_refused_where_they_cannot_be_meant() {
        let check = |text: &str| toml::from_str::<GuestSpec>(text).unwrap().check_units();
        check(TABLE).unwrap();
        check("memory = 134217728\nready-after = 1000000000").unwrap();
        let error = |text: &str| check(text).unwrap_err().to_string();
        assert!(error("ready-after = 5").contains("write a unit, as in ready-after = \"5s\""));
        assert!(error("memory = 512").contains("write a unit, as in memory = \"512M\""));
    }

    #[test]
    fn each_key_is_in_the_manual() {
        let error = toml::from_str::<GuestSpec>("no-such-key = 1").unwrap_err().to_string();
        let manual =
            [include_str!("../../../docs/guests.md"), include_str!("../../../docs/boot.md")].concat();
        for key in error.split('`').skip(1).step_by(2).skip(1) {
            let shown = [format!("`{key}`"), format!("--{key}"), format!("{key} =")];
            assert!(shown.iter().any(|form| manual.contains(form)), "docs/guests.md does not say `{key}`");
        }
    }

    #[test]
    fn paths_of_a_file_are_meant_from_its_folder() {
        let guest = toml::from_str::<GuestSpec>(TABLE).unwrap().rooted(Path::new("/lab/mine")).unwrap();
        assert_eq!(guest.kernel.unwrap(), Path::new("/lab/mine/vmlinuz"));
        assert_eq!(guest.image.unwrap(), Path::new("/images/debian.img"));
    }

    #[test]
    fn flags_win_over_a_file_and_leave_the_rest() {
        let file: GuestSpec = toml::from_str(TABLE).unwrap();
        let flags = GuestSpec { memory: Some(1 << 30), ..GuestSpec::default() };
        let both = file.overlaid(&flags).unwrap();
        assert_eq!((both.memory, both.done), (Some(1 << 30), file.done));
    }
}
