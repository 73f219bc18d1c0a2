//! Asks a QEMU what it can do.
//!
//! Invariant: **it is asked, never guessed by its version**; a QEMU that is asked has no guest in it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::target::Capabilities;
use flipsim::wire::net::{Endpoint, Timeouts};
use flipsim::wire::qmp::QmpClient;

use crate::host::proc;
use crate::lab::capabilities::{QemuOffer, SANDBOX};

pub(super) fn ask(program: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    let what = format!("asking {}", program.file_name().unwrap_or_default().to_string_lossy());
    proc::output_of(&what, command, Duration::from_secs(30))
}

pub(super) fn version(program: &Path) -> Result<String> {
    let text = ask(program, &["--version"])?;
    let first = text.lines().next().unwrap_or_default();
    if !first.contains("version") {
        bail!("{} is no QEMU: it says `{first}`", program.display());
    }
    Ok(first.to_owned())
}

/// What a QEMU offers, of all that this lab may ask for.
pub(super) fn offer(arch: Arch, program: &Path) -> Result<QemuOffer> {
    let machines = ask(program, &["-machine", "help"])?;
    let devices = ask(program, &["-device", "help"])?;
    let accels = ask(program, &["-accel", "help"])?;
    let help = ask(program, &["-help"])?;
    let (capabilities, sandbox) = capabilities(program)?;
    let mut found = QemuOffer::with(capabilities);
    if sandbox {
        found.add("", SANDBOX);
    }
    read_options(&mut found, &machines, &devices, &accels, &help);
    // An old QEMU does not list properties; then none can be switched off.
    let properties = ask(program, &["-machine", &format!("{},help", arch.machine)]).unwrap_or_default();
    if let Some(property) = read_properties(arch, &properties) {
        found.add_fixed(&property);
    }
    Ok(found)
}

/// Asks a machine without anything in it which of the lab's commands it knows, and whether it has a sandbox: its help
/// has the option in any case.
fn capabilities(program: &Path) -> Result<(Capabilities, bool)> {
    let folder = tempfile::tempdir().context("cannot make a folder for a socket")?;
    let socket = folder.path().join("qmp.sock");
    let mut option = std::ffi::OsString::from("unix:");
    option.push(&socket);
    option.push(",server=on,wait=off");
    let mut child = Command::new(program)
        .args(["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp"])
        .arg(option)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let end = std::time::Instant::now() + Duration::from_secs(10);
    let endpoint = Endpoint::Unix(socket);
    let answer = loop {
        match QmpClient::connect(&endpoint, Timeouts::default()) {
            Ok(mut qmp) => break asked(&mut qmp),
            Err(error)
                if std::time::Instant::now() > end || child.try_wait().is_ok_and(|end| end.is_some()) =>
            {
                break Err(error.into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    answer.with_context(|| format!("cannot ask {} for its commands", program.display()))
}

fn asked(qmp: &mut QmpClient) -> Result<(Capabilities, bool)> {
    let capabilities = Capabilities::ask(qmp)?;
    let groups = qmp.execute("query-command-line-options", serde_json::Value::Null)?;
    let has = |group: &serde_json::Value| group["option"] == SANDBOX;
    Ok((capabilities, groups.as_array().is_some_and(|groups| groups.iter().any(has))))
}

/// The property that keeps nondeterminism out of the guest.
pub(super) fn read_properties(arch: Arch, properties: &str) -> Option<String> {
    let names: Vec<&str> = properties.lines().filter_map(|line| line.trim().split('=').next()).collect();
    let known = arch.chance.iter().find(|property| names.contains(property))?;
    Some(format!("{known}=off"))
}

fn read_options(found: &mut QemuOffer, machines: &str, devices: &str, accels: &str, help: &str) {
    for line in accels.lines().skip(1).filter(|line| !line.is_empty()) {
        found.add("accel", line.trim());
    }
    for name in machines.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        if Arch::all().any(|arch| arch.machine == name) {
            found.add("machine", name);
        }
    }
    let wanted =
        ["virtio-9p-pci", "virtio-blk-pci", "virtio-net-pci", "virtio-serial-pci", "pvpanic-pci", "pvpanic"];
    for line in devices.lines() {
        if let Some(name) = line.strip_prefix("name \"").and_then(|rest| rest.split('"').next())
            && wanted.contains(&name)
        {
            found.add("device", name);
        }
    }
    for (option, name) in [("-plugin ", "plugins"), ("-icount ", "icount")] {
        if help.lines().any(|line| line.starts_with(option)) {
            found.add("", name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_for_random_numbers_is_found_under_either_name() {
        let arch = Arch::default();
        let new = "virt-machine options:\n  dtb-kaslr-seed=<bool> - deprecated\n  dtb-randomness=<bool> - Set off\n";
        assert_eq!(read_properties(arch, new).as_deref(), Some("dtb-randomness=off"));
        let old = "  dtb-kaslr-seed=<bool> - Set off\n  gic-version=<string>\n";
        assert_eq!(read_properties(arch, old).as_deref(), Some("dtb-kaslr-seed=off"));
        assert_eq!(read_properties(arch, "  gic-version=<string>\n"), None);
    }

    #[test]
    fn options_are_read_from_qemu_s_own_help() {
        let machines = "Supported machines are:\nnone  empty machine\nvirt   QEMU 7.1 ARM Virtual Machine\n";
        let devices = "Storage devices:\nname \"virtio-9p-pci\", bus PCI\nname \"nvme\", bus PCI\nname \"pvpanic-pci\"\n";
        let accels = "Accelerators supported in QEMU binary:\ntcg\nkvm\n";
        let help = "-plugin [file=]<file>\n-icount [shift=N]\n";
        let mut found = QemuOffer::with(Capabilities::NONE);
        read_options(&mut found, machines, devices, accels, help);
        assert_eq!(
            found.line(),
            "accel:tcg accel:kvm machine:virt device:virtio-9p-pci device:pvpanic-pci plugins icount"
        );
    }
}
