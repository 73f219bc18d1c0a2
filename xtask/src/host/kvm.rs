//! Whether KVM really works here: a guest of two instructions is run on it.
//!
//! Invariant: **the answer comes from executed instructions**, not from a device that opens. A
//! nested or broken KVM may open and then never come back from its first run, so the probe is a
//! process of its own that can be ended.

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

/// Runs the guest. To be called in a process of its own, which may never return from it.
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
    //! Documentation/virt/kvm/api.rst in the kernel's source says what each call does.

    use std::ffi::c_void;
    use std::fs::File;
    use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::ptr::null_mut;

    use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

    use super::*;

    const KVM: u8 = 0xae;
    /// Where the guest's one page of RAM lies, and its code in it.
    const PAGE: u64 = 0x1000;
    /// `out %al, $0x10`, then `hlt`: the first exit shows that an instruction has run.
    const CODE: [u8; 3] = [0xe6, 0x10, 0xf4];
    const EXIT_IO: u32 = 2;
    const EXIT_HLT: u32 = 5;

    /// `struct kvm_userspace_memory_region`.
    #[repr(C)]
    struct Region {
        slot: u32,
        flags: u32,
        guest: u64,
        size: u64,
        host: u64,
    }

    /// `struct kvm_regs`: 16 general registers, then rip and rflags.
    type Regs = [u64; 18];
    /// `struct kvm_sregs`; its first member is the segment cs: base (8 bytes), limit (4),
    /// selector (2), …
    type Sregs = [u64; 39];

    /// A call that takes a pointer or a number and answers with a number.
    struct Call {
        opcode: Opcode,
        argument: *mut c_void,
    }

    // SAFETY: each use below passes the argument that the opcode calls for; the kernel may write
    // through it, so it counts as mutating.
    unsafe impl Ioctl for Call {
        type Output = i32;
        const IS_MUTATING: bool = true;
        fn opcode(&self) -> Opcode {
            self.opcode
        }
        fn as_ptr(&mut self) -> *mut c_void {
            self.argument
        }
        unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
            Ok(out)
        }
    }

    fn call(what: &str, fd: BorrowedFd<'_>, opcode: Opcode, argument: *mut c_void) -> Result<i32> {
        // SAFETY: see `Call`.
        unsafe { ioctl(fd, Call { opcode, argument }) }.with_context(|| what.to_owned())
    }

    fn new_fd(raw: i32) -> OwnedFd {
        // SAFETY: KVM_CREATE_VM and KVM_CREATE_VCPU answer with a descriptor that is ours alone.
        unsafe { OwnedFd::from_raw_fd(raw) }
    }

    pub(super) fn probe() -> Result<()> {
        let kvm = File::options().read(true).write(true).open("/dev/kvm").context("/dev/kvm")?;
        let vm = new_fd(call("KVM_CREATE_VM", kvm.as_fd(), opcode::none(KVM, 0x01), null_mut())?);
        let run_size =
            call("KVM_GET_VCPU_MMAP_SIZE", kvm.as_fd(), opcode::none(KVM, 0x04), null_mut())? as usize;

        // SAFETY: a fresh private mapping of one page, which overlaps nothing.
        let ram = unsafe {
            let rw = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(null_mut(), PAGE as usize, rw, MapFlags::PRIVATE)
        }
        .context("a page for the guest")?;
        // SAFETY: the page is ours, writable, and longer than the code.
        unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), ram.cast(), CODE.len()) };
        let mut region = Region { slot: 0, flags: 0, guest: PAGE, size: PAGE, host: ram as u64 };
        let set_region = opcode::write::<Region>(KVM, 0x46);
        call("KVM_SET_USER_MEMORY_REGION", vm.as_fd(), set_region, (&raw mut region).cast())?;

        let vcpu = new_fd(call("KVM_CREATE_VCPU", vm.as_fd(), opcode::none(KVM, 0x41), null_mut())?);
        // SAFETY: the kernel says how large the mapping of `struct kvm_run` is.
        let run = unsafe {
            let rw = ProtFlags::READ | ProtFlags::WRITE;
            mmap(null_mut(), run_size, rw, MapFlags::SHARED, &vcpu, 0)
        }
        .context("mapping kvm_run")?;

        let mut sregs: Sregs = [0; 39];
        let get = opcode::read::<Sregs>(KVM, 0x83);
        call("KVM_GET_SREGS", vcpu.as_fd(), get, (&raw mut sregs).cast())?;
        // Real mode from address 0: cs.base and cs.selector are 0.
        sregs[0] = 0;
        sregs[1] &= !(0xffff << 32);
        let set = opcode::write::<Sregs>(KVM, 0x84);
        call("KVM_SET_SREGS", vcpu.as_fd(), set, (&raw mut sregs).cast())?;
        let mut regs: Regs = [0; 18];
        regs[16] = PAGE;
        // Bit 1 of rflags is always set.
        regs[17] = 2;
        let set = opcode::write::<Regs>(KVM, 0x82);
        call("KVM_SET_REGS", vcpu.as_fd(), set, (&raw mut regs).cast())?;

        for expected in [EXIT_IO, EXIT_HLT] {
            call("KVM_RUN", vcpu.as_fd(), opcode::none(KVM, 0x80), null_mut())?;
            // SAFETY: `exit_reason` lies 8 bytes into kvm_run, which stays mapped.
            let reason = unsafe { run.cast::<u32>().add(2).read_volatile() };
            if reason != expected {
                bail!("exit reason {reason} where {expected} is due");
            }
        }
        Ok(())
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
