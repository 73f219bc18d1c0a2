//! Registers that only a fault sets: the very next instruction sees what they have become.
//!
//! That a register reads back proves nothing of a translator, which has code made under the old value.
//!
//! Invariant: no test leaves a process or a folder behind, failed ones included.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::path::Path;

use flipsim::fault::{Fault, flip};
use flipsim::target::{LiveTarget, Target};
use flipsim::trial::clone::{CloneGuest, CloneOptions};
use flipsim::trial::template::Template;
use flipsim::units::VirtualNs;
use flipsim::wire::gdb::Breakpoint;

const MS: u64 = 1_000_000;

fn open(variable: &str) -> Template {
    let folder = std::env::var_os(variable).expect("run these tests with `cargo xtask test`");
    Template::open(Path::new(&folder)).unwrap()
}

/// A clone, one millisecond on.
fn start(template: &Template, parent: &Path) -> CloneGuest {
    let mut clone = CloneGuest::start(template, &CloneOptions::below(parent)).unwrap();
    clone.target().run_until(after(template, MS)).unwrap();
    clone
}

fn after(template: &Template, offset: u64) -> VirtualNs {
    VirtualNs(template.virtual_time().0 + offset)
}

/// A register's value, of at most 64 bits.
fn value(target: &mut LiveTarget, name: &str) -> u64 {
    let index = target.registers().iter().position(|register| register.name == name).unwrap();
    target.read_register(index).unwrap().iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Flips bits of a register as a fault does.
fn flip_register(target: &mut LiveTarget, name: &str, mask: u64) {
    flip(target, &Fault::in_register(name.to_owned(), mask.to_le_bytes().to_vec())).unwrap();
}

/// The guest goes on by so many instructions until this is so.
fn step_until(
    target: &mut LiveTarget,
    what: &str,
    stride: u64,
    mut found: impl FnMut(&mut LiveTarget) -> bool,
) {
    for _ in 0..3_000 {
        if found(target) {
            return;
        }
        target.run_for(VirtualNs(stride)).unwrap();
    }
    panic!("it never comes: {what}");
}

/// The instruction that comes next, if it reads a system register: which general register has it then.
fn next_read_of(target: &mut LiveTarget, register: u32) -> Option<u32> {
    let (pc, mut code) = (value(target, "pc"), [0; 4]);
    target.read_virtual(pc, &mut code).ok()?;
    let word = u32::from_le_bytes(code);
    (word & !0x1f == 0xd530_0000 | register << 5).then_some(word & 0x1f)
}

#[test]
#[ignore = "boots the real guest"]
fn the_very_next_instruction_sees_what_a_system_register_has_become() {
    let template = open("FLIPSIM_TEMPLATE_FS");
    let temporary = tempfile::tempdir().unwrap();
    // As op0, op1, CRn, CRm and op2 encode it in `mrs`, but for what all have.
    let encoded = |op1: u32, crn: u32, crm: u32, op2: u32| 1 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
    for (name, register) in [
        ("TPIDR_EL1", encoded(0, 13, 0, 4)),
        ("ESR_EL1", encoded(0, 5, 2, 0)),
        ("ELR_EL1", encoded(0, 4, 0, 1)),
        ("SPSR_EL1", encoded(0, 4, 0, 0)),
    ] {
        let mut clone = start(&template, temporary.path());
        let target = clone.target();
        // Where a system call enters the kernel, which then looks at all of these.
        let entry = value(target, "VBAR") + 0x400;
        target.set_breakpoint(Breakpoint::at_instruction(entry), true).unwrap();
        let arrival = target.run_until(after(&template, 100 * MS)).unwrap();
        assert_eq!(arrival.early.as_deref(), Some("debug"));
        target.set_breakpoint(Breakpoint::at_instruction(entry), false).unwrap();
        step_until(target, name, 1, |target| next_read_of(target, register).is_some());
        let into = next_read_of(target, register).unwrap();
        let old = value(target, name);
        flip_register(target, name, 0x40);
        target.run_for(VirtualNs(1)).unwrap();
        assert_eq!(value(target, &format!("x{into}")), old ^ 0x40, "{name}");
    }
    // What is done in a program's code is done under the new value, too: its tables are gone, or its time has come.
    for (name, to_zero, vector) in [("TTBR0_EL1", false, 0x400), ("CNTV_CVAL_EL0", true, 0x480)] {
        let mut clone = start(&template, temporary.path());
        let target = clone.target();
        // At level 0, where interrupts are taken.
        step_until(target, "a program", 997, |target| value(target, "cpsr") & 0xf == 0);
        let mask = if to_zero { value(target, name) } else { 1 << 30 };
        flip_register(target, name, mask);
        target.run_for(VirtualNs(1)).unwrap();
        let base = value(target, "VBAR");
        let pc = value(target, "pc");
        assert!((base + vector..base + vector + 0x80).contains(&pc), "{name}: {pc:#x}, {base:#x}");
    }
}

/// A program is interrupted by what is pending, if all agree that it is; and by nothing once that is gone.
#[test]
#[ignore = "boots the real guest"]
fn the_very_next_instruction_is_interrupted_by_what_has_become_of_the_gic_and_the_uart() {
    let template = open("FLIPSIM_TEMPLATE_FS");
    let temporary = tempfile::tempdir().unwrap();
    // The UART is the second of the shared ones, as the machine `virt` has it; the virtual timer the 27th.
    let (uart, timer) = (2, 1 << 27);
    let pending = ("gicd_pending1", uart);
    let cases: [(&[(&str, u64)], bool); 9] = [
        (&[pending], true),
        (&[pending, pending], false),
        (&[pending, ("gicd_enabled1", uart)], false),
        (&[pending, ("gicd_active1", uart)], false),
        (&[pending, ("gicd_ctlr", 1)], false),
        (&[pending, ("gicc_pmr", 0xf0)], false),
        (&[("gicd_pending0", timer)], true),
        (&[("uart_imsc", 0x20)], true),
        (&[("uart_imsc", 0x20), ("uart_ris", 0x20)], false),
    ];
    for (flips, interrupted) in cases {
        let mut clone = start(&template, temporary.path());
        let target = clone.target();
        step_until(target, "a program", 997, |target| value(target, "cpsr") & 0xf == 0);
        assert_eq!(value(target, "gicd_enabled1") & uart, uart);
        // What it sent is long sent, and nothing waits for that.
        assert_eq!((value(target, "uart_imsc") & 0x20, value(target, "uart_ris") & 0x20), (0, 0x20));
        for (name, mask) in flips {
            flip_register(target, name, *mask);
        }
        target.run_for(VirtualNs(1)).unwrap();
        let (entry, pc) = (value(target, "VBAR") + 0x480, value(target, "pc"));
        assert_eq!((entry..entry + 0x80).contains(&pc), interrupted, "{flips:?}: {pc:#x}");
    }
}

/// Instructions of x86-64 that read the system registers of the stub's own list: into `rax`; an MSR, into `edx` and `eax`; the
/// ten bytes of a table's limit and base, to where `rsp` points.
enum ReadBy {
    Rax(&'static [u8]),
    Msr(u64),
    Table(&'static [u8]),
}
use ReadBy::{Msr, Rax, Table};

const READERS_X86_64: [(&str, ReadBy); 28] = [
    ("cs_selector", Rax(&[0x48, 0x8c, 0xc8])),
    ("ss_selector", Rax(&[0x48, 0x8c, 0xd0])),
    ("ds_selector", Rax(&[0x48, 0x8c, 0xd8])),
    ("es_selector", Rax(&[0x48, 0x8c, 0xc0])),
    ("fs_selector", Rax(&[0x48, 0x8c, 0xe0])),
    ("gs_selector", Rax(&[0x48, 0x8c, 0xe8])),
    ("tr_selector", Rax(&[0x48, 0x0f, 0x00, 0xc8])),
    ("ldtr_selector", Rax(&[0x48, 0x0f, 0x00, 0xc0])),
    ("gdtr_base", Table(&[0x0f, 0x01, 0x04, 0x24])),
    ("gdtr_limit", Table(&[0x0f, 0x01, 0x04, 0x24])),
    ("idtr_base", Table(&[0x0f, 0x01, 0x0c, 0x24])),
    ("idtr_limit", Table(&[0x0f, 0x01, 0x0c, 0x24])),
    ("dr0", Rax(&[0x0f, 0x21, 0xc0])),
    ("dr1", Rax(&[0x0f, 0x21, 0xc8])),
    ("dr2", Rax(&[0x0f, 0x21, 0xd0])),
    ("dr3", Rax(&[0x0f, 0x21, 0xd8])),
    ("dr6", Rax(&[0x0f, 0x21, 0xf0])),
    ("dr7", Rax(&[0x0f, 0x21, 0xf8])),
    ("star", Msr(0xc000_0081)),
    ("lstar", Msr(0xc000_0082)),
    ("cstar", Msr(0xc000_0083)),
    ("sfmask", Msr(0xc000_0084)),
    ("sysenter_cs", Msr(0x174)),
    ("sysenter_esp", Msr(0x175)),
    ("sysenter_eip", Msr(0x176)),
    ("fs_base", Msr(0xc000_0100)),
    ("gs_base", Msr(0xc000_0101)),
    ("k_gs_base", Msr(0xc000_0102)),
];

/// Sets a register of at most 64 bits.
fn set(target: &mut LiveTarget, name: &str, to: u64) {
    let index = target.registers().iter().position(|register| register.name == name).unwrap();
    let bytes = target.registers()[index].bytes();
    target.write_register(index, &to.to_le_bytes()[..bytes]).unwrap();
}

/// Has the guest execute this next.
fn execute(target: &mut LiveTarget, code: &[u8]) {
    let rip = value(target, "rip");
    target.write_virtual(rip, code).unwrap();
    target.run_for(VirtualNs(1)).unwrap();
}

/// A little-endian number at a virtual address.
fn number_at(target: &mut LiveTarget, address: u64) -> u64 {
    let mut bytes = [0; 8];
    target.read_virtual(address, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// What the next instruction reads of a register; the guest stands where it stood.
fn read_next(target: &mut LiveTarget, name: &str, by: &ReadBy) -> u64 {
    let (rip, rsp) = (value(target, "rip"), value(target, "rsp"));
    match by {
        Rax(code) | Table(code) => execute(target, code),
        Msr(number) => {
            set(target, "rcx", *number);
            execute(target, &[0x0f, 0x32]);
        }
    }
    assert_ne!(value(target, "rip"), rip, "{name} is read");
    set(target, "rip", rip);
    match by {
        Rax(_) => value(target, "rax"),
        Msr(_) => value(target, "rdx") << 32 | value(target, "rax"),
        Table(_) if name.ends_with("_limit") => number_at(target, rsp) & 0xffff,
        Table(_) => number_at(target, rsp + 2),
    }
}

/// Where the handler of an exception begins.
fn handler(target: &mut LiveTarget, table: u64, vector: u64) -> u64 {
    let (low, high) = (number_at(target, table + 16 * vector), number_at(target, table + 16 * vector + 8));
    low & 0xffff | low >> 32 & 0xffff_0000 | high << 32
}

/// Whether the guest is in the first instructions from here.
fn is_in(target: &mut LiveTarget, begin: u64) -> bool {
    (begin..begin + 16).contains(&value(target, "rip"))
}

/// A clone of the guest in a program, or where a system call of it has entered the kernel, which has interrupts off.
fn start_x86_64(template: &Template, parent: &Path, in_kernel: bool) -> CloneGuest {
    let mut clone = start(template, parent);
    let target = clone.target();
    step_until(target, "a program", 997, |target| value(target, "cs") & 3 == 3);
    if in_kernel {
        execute(target, &[0x0f, 0x05]);
        assert_eq!((value(target, "cs") & 3, value(target, "rip")), (0, value(target, "lstar")));
    }
    clone
}

#[test]
#[ignore = "boots the real guest"]
fn the_very_next_instruction_reads_what_a_register_of_x86_64_has_become() {
    let template = open("FLIPSIM_TEMPLATE_TRAPS_X86_64");
    let temporary = tempfile::tempdir().unwrap();
    let mut clone = start_x86_64(&template, temporary.path(), true);
    let target = clone.target();
    for (name, by) in &READERS_X86_64 {
        let old = value(target, name);
        // Twice, so that there is code that was made under the old value.
        assert_eq!((read_next(target, name, by), read_next(target, name, by)), (old, old), "{name}");
        // A bit that all of them have.
        let bit = if name.starts_with("star") {
            1 << 40
        } else if *name == "dr6" {
            8
        } else {
            0x40
        };
        flip_register(target, name, bit);
        assert_eq!(read_next(target, name, by), old ^ bit, "{name}");
        flip_register(target, name, bit);
        assert_eq!(read_next(target, name, by), old, "{name}");
    }
}

/// What is not read by an instruction, or acts without one.
#[test]
#[ignore = "boots the real guest"]
fn the_very_next_instruction_obeys_what_a_register_of_x86_64_has_become() {
    let template = open("FLIPSIM_TEMPLATE_TRAPS_X86_64");
    let temporary = tempfile::tempdir().unwrap();
    let in_kernel = || start_x86_64(&template, temporary.path(), true);
    let in_program = || start_x86_64(&template, temporary.path(), false);
    let (ud2, nop, push) = (&[0x0f, 0x0b][..], &[0x90][..], &[0x50][..]);
    let (debug, invalid_op, no_device, double_fault, page_fault) = (1, 6, 7, 8, 14);

    // A system call goes elsewhere, into another segment, and leaves interrupts on.
    let mut clone = in_program();
    let target = clone.target();
    let (lstar, star) = (value(target, "lstar"), value(target, "star"));
    flip_register(target, "lstar", 0x40);
    flip_register(target, "star", 1 << 40);
    flip_register(target, "sfmask", 0x200);
    execute(target, &[0x0f, 0x05]);
    assert_eq!(value(target, "rip"), lstar ^ 0x40);
    assert_eq!(value(target, "cs_selector"), (star >> 32 ^ 0x100) & 0xfffc);
    assert_eq!(value(target, "eflags") & 0x200, 0x200);

    // The exception table is one entry further, or ends before the entry, which is a fault upon a fault.
    let mut clone = in_kernel();
    let target = clone.target();
    let table = value(target, "idtr_base");
    let expected = handler(target, table, no_device);
    assert_ne!(expected, handler(target, table, invalid_op));
    flip_register(target, "idtr_base", table ^ (table + 16));
    execute(target, ud2);
    assert!(is_in(target, expected), "{:#x}", value(target, "rip"));

    let mut clone = in_kernel();
    let target = clone.target();
    let limit = value(target, "idtr_limit");
    flip_register(target, "idtr_limit", limit ^ 0xdf);
    set(target, "rax", 8);
    execute(target, &[0x48, 0x8b, 0x00]);
    let expected = handler(target, table, double_fault);
    assert!(is_in(target, expected), "{:#x}", value(target, "rip"));

    // The CPU is at the level of programs, where the kernel's code is not mapped.
    let mut clone = in_kernel();
    let target = clone.target();
    flip_register(target, "ss_attributes", 0x6000);
    execute(target, nop);
    let expected = handler(target, table, page_fault);
    assert!(is_in(target, expected), "{:#x}", value(target, "rip"));

    // An exception in a program takes another stack: the first of the table of stacks.
    let mut clone = in_program();
    let target = clone.target();
    let tss = value(target, "tr_base");
    let stack = number_at(target, tss + 36);
    assert!(stack.abs_diff(number_at(target, tss + 4)) > 0x100);
    flip_register(target, "tr_base", tss ^ (tss + 32));
    execute(target, ud2);
    let expected = handler(target, table, invalid_op);
    assert!(is_in(target, expected) && (stack - 64..stack).contains(&value(target, "rsp")));

    // Breakpoints, one before an instruction and one behind a store; and none any more.
    let mut clone = in_kernel();
    let target = clone.target();
    let (rip, rsp) = (value(target, "rip"), value(target, "rsp"));
    target.write_virtual(rip, push).unwrap();
    execute(target, push);
    set(target, "rip", rip);
    set(target, "rsp", rsp);
    let expected = handler(target, table, debug);
    let enabled = value(target, "dr7");
    flip_register(target, "dr0", rip);
    flip_register(target, "dr7", 1);
    execute(target, push);
    assert!(is_in(target, expected) && value(target, "dr6") & 0xf == 1);

    let mut clone = in_kernel();
    let target = clone.target();
    let rsp = value(target, "rsp");
    flip_register(target, "dr1", (rsp - 8) & !7);
    flip_register(target, "dr7", 0x0090_0004);
    flip_register(target, "dr7", 0x0090_0004);
    execute(target, push);
    assert_eq!((value(target, "rsp"), value(target, "dr7")), (rsp - 8, enabled));
    flip_register(target, "dr7", 0x0090_0004);
    execute(target, push);
    target.run_for(VirtualNs(1)).unwrap();
    assert!(!is_in(target, expected), "it is at the other word");
    let here = value(target, "rsp") - 8;
    flip_register(target, "dr1", (rsp - 8) & !7 ^ here & !7);
    execute(target, push);
    target.run_for(VirtualNs(1)).unwrap();
    assert!(is_in(target, expected) && value(target, "dr6") & 0xf == 2);
}

#[test]
#[ignore = "boots the real guest"]
fn the_very_next_instruction_is_interrupted_by_what_has_become_of_the_local_apic() {
    let template = open("FLIPSIM_TEMPLATE_TRAPS_X86_64");
    let temporary = tempfile::tempdir().unwrap();
    // A vector of the kernel's for which nothing waits: the one for spurious interrupts but one.
    let (vector, requested) = (0xee, ("apic_irr7", 1 << 14));
    let cases: [(&[(&str, u64)], bool); 4] = [
        (&[requested], true),
        (&[requested, requested], false),
        (&[requested, ("apic_isr7", 1 << 31)], false),
        (&[requested, ("apic_svr", 0x100)], false),
    ];
    for (flips, interrupted) in cases {
        let mut clone = start_x86_64(&template, temporary.path(), false);
        let target = clone.target();
        for (name, mask) in flips {
            flip_register(target, name, *mask);
        }
        target.run_for(VirtualNs(1)).unwrap();
        let table = value(target, "idtr_base");
        let entry = handler(target, table, vector);
        assert_eq!(is_in(target, entry), interrupted, "{flips:?}: {:#x}", value(target, "rip"));
    }
    // What the timer's entry says of a vector is what comes at its time; and nothing does if it is masked.
    for (name, mask, vector) in [("apic_lvt_timer", 2, Some(0xee)), ("apic_lvt_timer", 1 << 16, None)] {
        let mut clone = start_x86_64(&template, temporary.path(), false);
        let target = clone.target();
        assert_eq!(value(target, name) & 0x100ff, 0xec);
        flip_register(target, name, mask);
        let table = value(target, "idtr_base");
        let entries = [0xec, 0xee].map(|vector| handler(target, table, vector));
        entries
            .iter()
            .for_each(|entry| target.set_breakpoint(Breakpoint::at_instruction(*entry), true).unwrap());
        let arrival = target.run_until(after(&template, 20 * MS)).unwrap();
        let came = arrival.early.map(|_| value(target, "rip"));
        assert_eq!(came, vector.map(|_| entries[1]), "{name} {mask:#x}");
    }
}
