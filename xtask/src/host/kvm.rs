//! Whether KVM really works here: a guest of two instructions is run on it.
//!
//! Invariant: **the answer comes from executed instructions**, not from a device that opens. A
//! nested or broken KVM may open and then never come back from its first run, so the probe is a
//! separate process that can be ended.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use serde::Serialize;

use super::proc;
use crate::interrupt::Interrupted;

/// The name of the hidden command that runs the probe.
pub const COMMAND: &str = "probe-kvm";

/// What is known of KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum Kvm {
    /// Guests of this kind can run on it.
    Usable,
    /// The host's processor is of another kind than the guest's.
    OtherArch(String),
    /// It is not there, may not be opened, or does not work.
    Unusable(String),
    /// It opens, and nothing more is known.
    Unproven(String),
}

impl std::fmt::Display for Kvm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kvm::Usable => f.write_str("usable; a probe guest has run"),
            Kvm::OtherArch(why) | Kvm::Unusable(why) | Kvm::Unproven(why) => f.write_str(why),
        }
    }
}

/// Finds out.
pub fn find(arch: Arch) -> Result<Kvm> {
    let host = std::env::consts::ARCH;
    if arch.name != host {
        return Ok(Kvm::OtherArch(format!("not for {arch} guests on this {host} host; TCG is used")));
    }
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        return Ok(Kvm::Unusable(format!("/dev/kvm: {error}; TCG is used")));
    }
    if !cfg!(target_arch = "x86_64") {
        return Ok(Kvm::Unproven(format!("/dev/kvm opens; no probe guest for {host} hosts, so TCG is used")));
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.arg(COMMAND);
    let limit = Duration::from_secs(5);
    match proc::capture("the KVM probe", &mut command, limit) {
        Ok((_, _, status)) if status.success() => Ok(Kvm::Usable),
        Ok((_, err, _)) => {
            let why = String::from_utf8_lossy(&err).trim().to_owned();
            Ok(Kvm::Unusable(format!("/dev/kvm opens, but a probe guest failed: {why}; TCG is used")))
        }
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(_) => {
            let seconds = limit.as_secs();
            Ok(Kvm::Unusable(format!("/dev/kvm opens, but a probe guest hung for {seconds} s; TCG is used")))
        }
    }
}

/// Runs the guest. To be called in a separate process, which may never return from it.
#[cfg(target_arch = "x86_64")]
pub fn probe() -> Result<()> {
    x86::probe()
}

/// Runs the guest. There is none for this host.
#[cfg(not(target_arch = "x86_64"))]
pub fn probe() -> Result<()> {
    bail!("no probe guest for this host")
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
    use kvm_ioctls::{Kvm, VcpuExit};

    use super::*;

    /// Where the guest's one page of RAM lies, and its code in it.
    const PAGE: u64 = 0x1000;
    /// `out %al, $0x10`, then `hlt`: the first exit shows that an instruction has run.
    const CODE: [u8; 3] = [0xe6, 0x10, 0xf4];

    /// The guest's RAM. KVM takes whole pages only.
    #[repr(align(4096))]
    struct Ram([u8; PAGE as usize]);

    pub(super) fn probe() -> Result<()> {
        // Before the machine, so that it is dropped after it.
        let mut ram = Box::new(Ram([0; PAGE as usize]));
        ram.0[..CODE.len()].copy_from_slice(&CODE);
        let kvm = Kvm::new().context("/dev/kvm")?;
        let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: PAGE,
            memory_size: PAGE,
            userspace_addr: (&raw mut ram.0) as u64,
        };
        // SAFETY: the page is ours, outlives the machine, and is touched by nothing else from here on.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        let mut vcpu = vm.create_vcpu(0).context("KVM_CREATE_VCPU")?;

        // Real mode from address 0.
        let mut sregs = vcpu.get_sregs().context("KVM_GET_SREGS")?;
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        vcpu.set_sregs(&sregs).context("KVM_SET_SREGS")?;
        // Bit 1 of rflags is always set.
        let regs = kvm_regs { rip: PAGE, rflags: 2, ..kvm_regs::default() };
        vcpu.set_regs(&regs).context("KVM_SET_REGS")?;

        match vcpu.run().context("KVM_RUN")? {
            VcpuExit::IoOut(0x10, _) => {}
            other => bail!("exit {other:?} where the output to port 0x10 is due"),
        }
        match vcpu.run().context("KVM_RUN")? {
            VcpuExit::Hlt => Ok(()),
            other => bail!("exit {other:?} where the halt is due"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_architecture_is_said_to_run_under_tcg() {
        let Some(other) = Arch::all().find(|arch| arch.name != std::env::consts::ARCH) else { return };
        let text = find(other).unwrap().to_string();
        assert!(text.contains("TCG is used"), "{text}");
    }
}
