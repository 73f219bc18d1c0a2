//! The table of guest architectures: one row says everything that differs between them.
//!
//! Invariant: no other file compares an architecture's name; what differs is a column here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use yaxpeax_arch::LengthedInstruction as _;

use crate::arch::operands::{self, Operands};
use crate::text::glob_matches;

/// A form in which a kernel comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelForm {
    /// `Image` of arm64.
    Arm64Image,
    /// `bzImage` of x86.
    BzImage,
    /// One of the others, packed with gzip.
    Gzip,
    /// An EFI program that unpacks one of the others; QEMU unpacks those of gzip since version 8.0.
    Zboot,
    /// U-Boot's, with its number of the architecture.
    UImage {
        /// The number.
        arch: u8,
    },
    /// An ELF file with physical addresses, with its number of the machine.
    Elf {
        /// The number.
        machine: u16,
    },
    /// The same with a note where it is entered (Xen's PVH), as in the `vmlinux` of a kernel for virtual machines.
    ElfWithPvh {
        /// The number.
        machine: u16,
    },
    /// With the header of the multiboot specification.
    Multiboot,
    /// Bytes without any header, which are entered at the first.
    AnyBytes,
}

/// What the entries of page tables mean, of pages of 4 KiB and eight bytes each.
#[derive(Debug)]
pub struct PageTables {
    /// The symbol of the kernel's first table.
    pub root: &'static str,
    /// The bits of an entry that leads somewhere.
    pub present: u64,
    /// Which bits of an entry above the last level say, and how, that it leads to memory and not to a table.
    pub block: (u64, u64),
    /// The bits of an address.
    pub address: u64,
    /// How many entries of a task's first table are its own; the others are the kernel's.
    pub user_entries: u64,
}

/// One row of the table.
#[derive(Debug)]
pub struct ArchRow {
    /// The name on the command line and in records, as in `uname -m`.
    pub name: &'static str,
    /// QEMU's name of the full-system target.
    pub qemu_target: &'static str,
    /// The program that QEMU's build makes for it.
    pub qemu_binary: &'static str,
    /// The value of `-machine`.
    pub machine: &'static str,
    /// Properties of the machine that every guest gets.
    pub machine_options: &'static [&'static str],
    /// Values for `-global`: properties of devices that the machine has by itself.
    pub globals: &'static [&'static str],
    /// Properties of the machine that hand the guest random numbers. The first one that a QEMU knows is
    /// switched off for a guest with the exact clock; a later one is the same by an older name.
    pub chance: &'static [&'static str],
    /// The value of `-cpu` under TCG.
    pub cpu: &'static str,
    /// Files of firmware and boot code without which this machine does not start a kernel, as QEMU names
    /// them in its data folder. Without one of them a guest prints nothing at all.
    pub firmware: &'static [&'static str],
    /// The console's device as the kernel's command line names it.
    pub console: &'static str,
    /// Words for the kernel's command line that every guest gets.
    pub kernel_words: &'static [&'static str],
    /// `ARCH=` for the kernel's own makefiles.
    pub kernel_arch: &'static str,
    /// The make target of the kernel's boot image.
    pub kernel_target: &'static str,
    /// Where the boot image lies in the kernel's build folder.
    pub kernel_image: &'static str,
    /// The forms in which QEMU takes this machine's kernels.
    pub kernels: &'static [KernelForm],
    /// The GNU triple of the cross compiler, without the hyphen at its end.
    pub cross_triple: &'static str,
    /// Kernel config fragments in `kernel-config/`, in the order in which they are merged.
    pub fragments: &'static [&'static str],
    /// The symbol at which the range "Kernel code" of `/proc/iomem` starts.
    pub code_start_symbol: &'static str,
    /// The symbol at which the range "Kernel data" of `/proc/iomem` starts.
    pub data_start_symbol: &'static str,
    /// The program counter as the gdb stub calls it.
    pub program_counter: &'static str,
    /// By which bits of which registers it is seen that what comes next is an instruction of the set that is decoded here: the
    /// register, the bits, and what they are.
    pub decoded_mode: (&'static str, u64, u64),
    /// The first instruction of some bytes of code in 64-bit mode: how many bytes it has, and its text; `None` of no
    /// instruction.
    pub decode: fn(&[u8]) -> Option<(usize, String)>,
    /// What that instruction does with general and vector registers; `None` where that is not known.
    pub operands: fn(&[u8]) -> Option<Operands>,
    /// The stack pointer as the gdb stub calls it.
    pub stack_pointer: &'static str,
    /// The kernel's and its tasks' page tables.
    pub page_tables: PageTables,
    /// Where a CPU says that it runs a program and not the kernel: a register, which bits of it, and what they are then.
    pub user_mode: (&'static str, u64, u64),
    /// By how many numbers a bit of an instruction is drawn, as the remainder by the number of its bits: a multiple of that for
    /// each instruction.
    pub instruction_bits: u64,
    /// What the names of the kernel's functions for system calls begin with.
    pub syscall_symbols: &'static [&'static str],
    /// What exceptions are called, and the kernel's symbols, as globs, whose first instruction each of that name comes to: those that
    /// a kernel does not have are of another version's.
    pub exception_symbols: &'static [(&'static str, &'static [&'static str])],
    /// Whether a guest that is stopped at an access to memory stands behind the instruction, and not before it.
    pub stops_behind_access: bool,
    /// System registers that the gdb stub lists among those of programs, as globs.
    pub system_registers: &'static [&'static str],
    /// Registers that are used by instructions which name them and by nothing else, as globs: QEMU can keep a value in
    /// them. Those of `tcg/flipsim-registers.c`.
    pub named_registers: &'static [&'static str],
    /// Bits of registers that the gdb stub takes and that no fault may flip: the processor has no such bit,
    /// or QEMU makes more of the write than a flip (it ends itself, or changes other state with it). A
    /// fault there would say something of QEMU and nothing of the guest.
    pub held_bits: &'static [(&'static str, u64)],
    /// Of the registers that the gdb stub calls system registers those that a fault may flip, as globs of which the first counts, and
    /// which bits: those that exist, that mean something under QEMU, and that are state and no command.
    pub system_bits: &'static [(&'static str, u64)],
    /// The same of registers that are devices'.
    pub device_bits: &'static [(&'static str, u64)],
}

impl ArchRow {
    /// The bits of a register that no fault may flip.
    #[must_use]
    pub fn held_bits(&self, register: &str, class: &str) -> u64 {
        let of = |table: &[(&str, u64)]| {
            table.iter().find(|(name, _)| glob_matches(name, register)).map_or(0, |(_, bits)| *bits)
        };
        match class {
            SYSTEM => !of(self.system_bits),
            DEVICE => !of(self.device_bits),
            _ => of(self.held_bits),
        }
    }

    /// The number of the machine in the heads of its ELF files.
    #[must_use]
    pub fn elf_machine(&self) -> Option<u16> {
        self.kernels.iter().find_map(|form| match form {
            KernelForm::Elf { machine } | KernelForm::ElfWithPvh { machine } => Some(*machine),
            _ => None,
        })
    }

    /// Whether a register is a system register, whatever the gdb stub says of it.
    #[must_use]
    pub fn is_system(&self, register: &str) -> bool {
        self.system_registers.iter().any(|glob| glob_matches(glob, register))
    }
}

fn decode_aarch64(code: &[u8]) -> Option<(usize, String)> {
    Some((4, operands::decoded_aarch64(code)?.to_string()))
}

fn decode_x86_64(code: &[u8]) -> Option<(usize, String)> {
    let decoded = yaxpeax_x86::long_mode::InstDecoder::default().decode_slice(code).ok()?;
    let length = usize::try_from(decoded.len().to_const()).ok()?;
    Some((length, decoded.to_string()))
}

/// The architecture that calls its program counter so.
#[must_use]
pub fn of_program_counter(register: &str) -> Option<Arch> {
    Arch::all().find(|arch| arch.program_counter == register)
}

/// What registers are called that control the processor.
pub const SYSTEM: &str = "system";

/// What registers of devices are called.
pub const DEVICE: &str = "device";

/// Why other registers cannot be stuck.
pub const NOT_STUCK: &str = "exceptions and the processor itself use it without an instruction that names it; choose general or vector registers";

/// Whether QEMU can keep a value in a register; each name is one architecture's.
#[must_use]
pub fn may_be_stuck(register: &str) -> bool {
    let named = |arch: &ArchRow| arch.named_registers.iter().any(|glob| glob_matches(glob, register));
    ARCHS.iter().any(named)
}

/// The table. Its first row is the default.
pub static ARCHS: &[ArchRow] = &[
    ArchRow {
        name: "aarch64",
        qemu_target: "aarch64-softmmu",
        qemu_binary: "qemu-system-aarch64",
        machine: "virt",
        machine_options: &[],
        globals: &[],
        chance: &["dtb-randomness", "dtb-kaslr-seed"],
        cpu: "cortex-a57",
        firmware: &[],
        console: "ttyAMA0",
        kernel_words: &[],
        kernel_arch: "arm64",
        kernel_target: "Image",
        kernel_image: "arch/arm64/boot/Image",
        // `load_aarch64_image` and `arm_setup_direct_kernel_boot` in `hw/arm/boot.c`.
        kernels: &[
            KernelForm::Arm64Image,
            KernelForm::Gzip,
            KernelForm::Zboot,
            KernelForm::UImage { arch: 22 },
            KernelForm::Elf { machine: 183 },
            KernelForm::AnyBytes,
        ],
        cross_triple: "aarch64-linux-gnu",
        fragments: &["base", "9p", "pci", "pci-host-generic", "block", "pvpanic", "aarch64"],
        code_start_symbol: "_stext",
        data_start_symbol: "_sdata",
        program_counter: "pc",
        // AArch64 state, and not AArch32.
        decoded_mode: ("cpsr", 0x10, 0),
        decode: decode_aarch64,
        operands: operands::aarch64,
        stack_pointer: "sp",
        // VMSAv8-64 with the 4 KiB granule.
        page_tables: PageTables {
            root: "swapper_pg_dir",
            present: 1,
            block: (2, 0),
            address: 0x0000_ffff_ffff_f000,
            user_entries: 512,
        },
        // M: EL0t.
        user_mode: ("cpsr", 0x1f, 0),
        instruction_bits: 32,
        syscall_symbols: &["__arm64_sys_"],
        exception_symbols: &[
            ("irq", &["el1h_64_irq", "el0t_64_irq", "el0t_32_irq", "el1_irq", "el0_irq"]),
            ("sync", &["el1h_64_sync", "el0t_64_sync", "el0t_32_sync", "el1_sync", "el0_sync"]),
            ("serror", &["el1h_64_error", "el0t_64_error", "el0t_32_error", "el1_error", "el0_error"]),
            ("page-fault", &["do_mem_abort"]),
        ],
        stops_behind_access: false,
        system_registers: &[],
        named_registers: &["x?", "x??", "v?", "v??"],
        // A mode that the CPU does not have ends QEMU (`arm_phys_excp_target_el` in `target/arm/helper.c`).
        held_bits: &[("cpsr", 0x1f)],
        // As the Arm Architecture Reference Manual has them for Armv8.0-A. Left out is what changes nothing under QEMU, which has no
        // caches and no AArch32 below this kernel: cacheability and shareability (`mair`, parts of `tcr` and `sctlr`), stack alignment
        // checks, `contextidr`, the event stream; what is for a debugger; and `sp_el0` and `sp_el1`, of which one is `sp`.
        system_bits: &[
            // M, A, UMA, DZE, UCT, nTWI, nTWE, WXN, E0E, EE, UCI.
            ("SCTLR", 0x070d_c203),
            // FPEN.
            ("CPACR", 0x0030_0000),
            ("TTBR0_EL1", !1),
            ("TTBR1_EL1", !1),
            // T0SZ, EPD0, TG0, T1SZ, A1, EPD1, TG1, IPS, AS, TBI0, TBI1.
            ("TCR_EL1", 0x0000_0077_c0ff_c0bf),
            ("VBAR", !0x7ff),
            ("ESR_EL1", 0xffff_ffff),
            ("FAR_EL1", !0),
            ("ELR_EL1", !0),
            // N, Z, C, V, SS, IL, D, A, I, F, M.
            ("SPSR_EL1", 0xf030_03df),
            ("TPIDR_EL0", !0),
            ("TPIDRRO_EL0", !0),
            ("TPIDR_EL1", !0),
            // EL0PCTEN, EL0VCTEN, EL0VTEN, EL0PTEN.
            ("CNTKCTL", 0x303),
            // ENABLE, IMASK.
            ("CNTV_CTL_EL0", 3),
            ("CNTV_CVAL_EL0", !0),
            ("CNTP_CTL_EL0", 3),
            ("CNTP_CVAL_EL0", !0),
        ],
        // As the manuals of the GICv2 and the PL011 have them. What software sends (0 to 15) has its sources in cells of its own.
        device_bits: &[
            ("gicd_enabled0", 0xffff_0000),
            ("gicd_enabled?", 0xffff_ffff),
            ("gicd_pending0", 0xffff_0000),
            ("gicd_pending?", 0xffff_ffff),
            ("gicd_active0", 0xffff_0000),
            ("gicd_active?", 0xffff_ffff),
            // EnableGrp0, EnableGrp1.
            ("gicd_ctlr", 3),
            // EnableGrp0, EnableGrp1, AckCtl, FIQEn, CBPR, EOImode.
            ("gicc_ctlr", 0x21f),
            ("gicc_pmr", 0xff),
            // RX, TX, RT, FE, PE, BE, OE.
            ("uart_imsc", 0x7f0),
            ("uart_ris", 0x7f0),
        ],
    },
    ArchRow {
        name: "x86_64",
        qemu_target: "x86_64-softmmu",
        qemu_binary: "qemu-system-x86_64",
        machine: "q35",
        // Without a HPET the guest reads time from the TSC, which is the count of instructions.
        machine_options: &["hpet=off"],
        // It rewrites instructions of old Windows guests, and is mapped again at each load of a state.
        globals: &["apic-common.vapic=off"],
        chance: &[],
        cpu: "qemu64",
        firmware: &["bios-256k.bin", "linuxboot_dma.bin"],
        console: "ttyS0",
        // Linux would check the TSC against another clock and leave it when they seem to differ.
        kernel_words: &["tsc=reliable"],
        kernel_arch: "x86",
        kernel_target: "bzImage",
        kernel_image: "arch/x86/boot/bzImage",
        // `x86_load_linux` in `hw/i386/x86.c`.
        kernels: &[KernelForm::BzImage, KernelForm::Multiboot, KernelForm::ElfWithPvh { machine: 62 }],
        cross_triple: "x86_64-linux-gnu",
        fragments: &["base", "9p", "pci", "block", "pvpanic", "x86_64"],
        code_start_symbol: "_text",
        data_start_symbol: "_sdata",
        program_counter: "rip",
        // Long mode is active.
        decoded_mode: ("efer", 0x400, 0x400),
        decode: decode_x86_64,
        operands: operands::x86_64,
        stack_pointer: "rsp",
        page_tables: PageTables {
            root: "init_top_pgt",
            present: 1,
            block: (0x80, 0x80),
            address: 0x000f_ffff_ffff_f000,
            user_entries: 256,
        },
        // The CPL.
        user_mode: ("cs", 3, 3),
        // Of 1 to 15 bytes.
        instruction_bits: 360_360 * 8,
        syscall_symbols: &["__x64_sys_"],
        exception_symbols: &[
            ("irq", &["asm_common_interrupt", "asm_sysvec_*"]),
            ("page-fault", &["asm_exc_page_fault"]),
            ("general-protection", &["asm_exc_general_protection"]),
            ("invalid-op", &["asm_exc_invalid_op"]),
            ("divide-error", &["asm_exc_divide_error"]),
            ("nmi", &["asm_exc_nmi"]),
        ],
        stops_behind_access: true,
        system_registers: &["cr?", "efer", "*_base"],
        named_registers: &["r?x", "r?i", "rbp", "r8", "r9", "r1?", "xmm?", "xmm1?"],
        held_bits: &[
            // Reserved, each a constant: 1, 3, 5, 15 and all above ID.
            ("eflags", 0xffc0_802a),
            // Reserved; and PE and PG, with which QEMU leaves the 64-bit mode, so that the upper halves of
            // other registers are lost (`cpu_x86_update_cr0` in `target/i386/helper.c`).
            ("cr0", !0x6005_002e),
            // Selectors: in real mode the stub loads the base and the limit with them, in others it takes no write.
            ("cs", !0),
            ("ss", !0),
            ("ds", !0),
            ("es", !0),
            ("fs", !0),
            ("gs", !0),
            // Above the widest physical address.
            ("cr3", 0xfff0_0000_0000_0000),
            // Reserved.
            ("cr4", !0x0077_7fff),
            // Reserved.
            ("efer", !0xfd01),
            // Reserved: 13, 14 and the upper half.
            ("mxcsr", 0xffff_6000),
        ],
        // As the AMD64 manual has them (volume 2: the state that SMM saves, debug registers, MSRs). Left out is what means nothing in 64-bit
        // mode or to this CPU: bases and limits of `cs` to `ss`, all attributes but the DPL of `ss`, which is the level that the CPU is at;
        // `general detect` and what the CPU has of single stepping in `dr7`, low bits of addresses in `dr0` to `dr3`.
        system_bits: &[
            ("cs_selector", 0xffff),
            ("ss_selector", 0xffff),
            ("ds_selector", 0xffff),
            ("es_selector", 0xffff),
            ("fs_selector", 0xffff),
            ("gs_selector", 0xffff),
            // DPL. Of `cs`, L would leave the 64-bit mode.
            ("ss_attributes", 0x6000),
            // Without P in its attributes QEMU ends itself at the next exception.
            ("tr_selector", 0xffff),
            ("tr_base", !0),
            ("tr_limit", 0xffff_ffff),
            ("ldtr_selector", 0xffff),
            ("ldtr_base", !0),
            ("ldtr_limit", 0xffff_ffff),
            ("gdtr_base", !0),
            ("gdtr_limit", 0xffff),
            ("idtr_base", !0),
            ("idtr_limit", 0xffff),
            ("dr0", !7),
            ("dr1", !7),
            ("dr2", !7),
            ("dr3", !7),
            // B0 to B3, BD, BS, BT.
            ("dr6", 0xe00f),
            // L and G, R/W and LEN of each.
            ("dr7", 0xffff_00ff),
            // SYSRET's and SYSCALL's selectors.
            ("star", 0xffff_ffff_0000_0000),
            ("lstar", !0),
            ("cstar", !0),
            // The flags that exist.
            ("sfmask", 0x003f_7fd5),
            ("sysenter_cs", 0xffff),
            ("sysenter_esp", !0),
            ("sysenter_eip", !0),
        ],
        // As the manuals of the local APIC have them: 16 vectors do not exist.
        device_bits: &[
            ("apic_irr0", 0xffff_0000),
            ("apic_irr?", 0xffff_ffff),
            ("apic_isr0", 0xffff_0000),
            ("apic_isr?", 0xffff_ffff),
            ("apic_tmr0", 0xffff_0000),
            ("apic_tmr?", 0xffff_ffff),
            // Vector, enable.
            ("apic_svr", 0x1ff),
            // Vector, mask. The timer's mode is left out: QEMU has no counter that goes on under another one.
            ("apic_lvt_*", 0x100ff),
        ],
    },
];

/// A guest architecture: a reference to its row in [`ARCHS`].
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct Arch(&'static ArchRow);

impl PartialEq for Arch {
    fn eq(&self, other: &Arch) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Arch {}

impl Arch {
    /// Every architecture of the table, in its order.
    pub fn all() -> impl Iterator<Item = Arch> {
        ARCHS.iter().map(Arch)
    }

    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static ArchRow {
        self.0
    }
}

impl Default for Arch {
    fn default() -> Self {
        Arch(&ARCHS[0])
    }
}

impl std::ops::Deref for Arch {
    type Target = ArchRow;
    fn deref(&self) -> &ArchRow {
        self.0
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.name)
    }
}

impl fmt::Debug for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arch({})", self.0.name)
    }
}

/// An architecture that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{name}`; this lab has: {known}")]
pub struct UnknownArch {
    name: String,
    known: String,
}

impl FromStr for Arch {
    type Err = UnknownArch;
    fn from_str(name: &str) -> Result<Self, UnknownArch> {
        Arch::all().find(|arch| arch.name == name).ok_or_else(|| UnknownArch {
            name: name.to_owned(),
            known: Arch::all().map(|arch| arch.name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl TryFrom<String> for Arch {
    type Error = UnknownArch;
    fn try_from(name: String) -> Result<Self, UnknownArch> {
        name.parse()
    }
}

impl From<Arch> for &'static str {
    fn from(arch: Arch) -> Self {
        arch.0.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_its_own_number_in_elf_files() {
        // EM_AARCH64 and EM_X86_64 of the ELF specification's list.
        let numbers: Vec<_> = Arch::all().map(|arch| (arch.name, arch.elf_machine())).collect();
        assert_eq!(numbers, [("aarch64", Some(183)), ("x86_64", Some(62))]);
    }

    #[test]
    fn an_architecture_is_found_by_name_and_survives_json() {
        for arch in Arch::all() {
            assert_eq!(arch.name.parse(), Ok(arch));
            let json = serde_json::to_string(&arch).unwrap();
            assert_eq!(json, format!("\"{}\"", arch.name));
            assert_eq!(serde_json::from_str::<Arch>(&json).unwrap(), arch);
        }
    }

    #[test]
    fn instructions_have_their_lengths_and_texts() {
        let decode = |arch: &str, code: &[u8]| (arch.parse::<Arch>().unwrap().decode)(code);
        // From the manuals: ret; add x0, x0, #1.
        assert_eq!(decode("aarch64", &[0xc0, 0x03, 0x5f, 0xd6]), Some((4, "ret".to_owned())));
        let (length, text) = decode("aarch64", &[0x00, 0x04, 0x00, 0x91, 0, 0, 0, 0]).unwrap();
        assert!(length == 4 && text.starts_with("add x0, x0, #"), "{text}");
        assert_eq!(decode("aarch64", &[0xc0, 0x03]), None);
        // ret; mov eax, 5; lock cmpxchg; a jump of six bytes; what is cut off, and what is none.
        for (code, length, begin) in [
            (&[0xc3, 0x90][..], 1, "ret"),
            (&[0xb8, 5, 0, 0, 0, 0xc3], 5, "mov eax, "),
            (&[0xf0, 0x48, 0x0f, 0xb1, 0x0e], 5, "lock cmpxchg"),
            (&[0x0f, 0x84, 0, 1, 0, 0], 6, "jz "),
        ] {
            let (found, text) = decode("x86_64", code).unwrap();
            assert!(found == length && text.starts_with(begin), "{text}");
        }
        assert_eq!((decode("x86_64", &[0xb8, 5]), decode("x86_64", &[0x06])), (None, None));
        assert_eq!(of_program_counter("rip").map(|arch| arch.name), Some("x86_64"));
        assert_eq!(of_program_counter("x0"), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "z80".parse::<Arch>().unwrap_err();
        assert_eq!(error.to_string(), "unknown architecture `z80`; this lab has: aarch64, x86_64");
    }

    #[test]
    fn every_row_names_fragments_that_exist() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
        for arch in Arch::all() {
            for fragment in arch.fragments {
                let path = folder.join(format!("{fragment}.config"));
                assert!(path.is_file(), "{arch}: {} is missing", path.display());
            }
        }
    }
}
