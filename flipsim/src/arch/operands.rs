//! Which registers an instruction reads and writes, of the bytes of its code.
//!
//! Invariant: **a register that is not sure is in neither list**: of an instruction whose operands are not known there are none.

use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{self, Operand, SIMDSizeCode, SizeCode};
use yaxpeax_x86::long_mode::behavior::AccessVisitor;
use yaxpeax_x86::long_mode::{self, RegSpec, register_class};

use crate::text::glob_matches;

/// Some neighbouring bits of a register, by the gdb stub's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterPart {
    /// The register's name.
    pub register: String,
    /// The lowest of the bits.
    pub low: u32,
    /// How many they are.
    pub bits: u32,
}

/// What an instruction does with registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    /// Those that it reads, for addresses too.
    pub read: Vec<RegisterPart>,
    /// Those that it writes.
    pub written: Vec<RegisterPart>,
}

impl Operands {
    fn sorted(mut self) -> Operands {
        for list in [&mut self.read, &mut self.written] {
            list.sort_unstable();
            // One use of a register stands for others that have bits with it in common.
            list.dedup_by(|later, kept| {
                let meet = later.register == kept.register && later.low < kept.low + kept.bits;
                if meet {
                    kept.bits = kept.bits.max(later.low + later.bits - kept.low);
                }
                meet
            });
        }
        self
    }
}

/// How an instruction of aarch64 uses its operands, by its name; a `*` stands for any end.
struct Form {
    names: &'static [&'static str],
    /// How many of its first operands it writes.
    written: usize,
    /// Whether it reads these as well.
    read: bool,
}

/// The first that fits. What is in none writes its first operand and reads the others.
const FORMS: &[Form] = &[
    // The first is the status.
    Form { names: &["stxr*", "stlxr*", "stxp", "stlxp"], written: 1, read: false },
    Form {
        names: &[
            "st*", "b", "b.*", "br", "bra*", "blr", "blra*", "bl", "cbz", "cbnz", "tbz", "tbnz", "ret*",
            "eret*", "drps", "msr", "ccmp", "ccmn", "fccmp*", "fcmp*", "prf*", "sys", "svc", "hvc", "smc",
            "brk", "hlt", "udf", "dcps*", "dsb", "dmb", "isb", "sb", "hint", "clrex", "setf*", "rmif",
        ],
        written: 0,
        read: true,
    },
    Form { names: &["ldp", "ldnp", "ldpsw", "ldxp", "ldaxp"], written: 2, read: false },
    Form {
        names: &[
            "movk",
            "bfm",
            "ins",
            "cas",
            "casa",
            "casl",
            "casal",
            "casb",
            "casab",
            "caslb",
            "casalb",
            "cash",
            "casah",
            "caslh",
            "casalh",
            "pacia",
            "pacib",
            "pacda",
            "pacdb",
            "paciza",
            "pacizb",
            "pacdza",
            "pacdzb",
            "autia",
            "autib",
            "autda",
            "autdb",
            "autiza",
            "autizb",
            "autdza",
            "autdzb",
            "xpaci",
            "xpacd",
            // Of vectors: what is added to, or inserted into.
            "mla",
            "mls",
            "fmla",
            "fmls",
            "fmlal*",
            "fmlsl*",
            "smlal*",
            "umlal*",
            "smlsl*",
            "umlsl*",
            "sqdmlal*",
            "sqdmlsl*",
            "sqrdmlah",
            "sqrdmlsh",
            "saba",
            "uaba",
            "sabal*",
            "uabal*",
            "sadalp",
            "uadalp",
            "suqadd",
            "usqadd",
            "ssra",
            "usra",
            "srsra",
            "ursra",
            "sri",
            "sli",
            "bit",
            "bif",
            "bsl",
            "tbx",
            "sdot",
            "udot",
            "usdot",
            "sudot",
            "fcmla",
            "bfdot",
            "bfmlal*",
            "bfmmla",
            "smmla",
            "ummla",
            "usmmla",
            "addhn2",
            "subhn2",
            "raddhn2",
            "rsubhn2",
            "shrn2",
            "rshrn2",
            "sqshrn2",
            "uqshrn2",
            "sqrshrn2",
            "uqrshrn2",
            "sqshrun2",
            "sqrshrun2",
            "xtn2",
            "sqxtn2",
            "uqxtn2",
            "sqxtun2",
            "fcvtn2",
            "fcvtxn2",
            "bfcvtn2",
            "aese",
            "aesd",
            "sha1c",
            "sha1p",
            "sha1m",
            "sha1su*",
            "sha256h*",
            "sha256su*",
            "sha512h*",
            "sha512su*",
        ],
        written: 1,
        read: true,
    },
];

/// Those that read their first operand, and write the second with what was in memory.
const EXCHANGES: [&str; 10] =
    ["swp", "ldadd", "ldclr", "ldeor", "ldset", "ldsmax", "ldsmin", "ldumax", "ldumin", "casp"];

/// The first instruction of some code of aarch64.
pub(super) fn decoded_aarch64(code: &[u8]) -> Option<a64::Instruction> {
    let bytes = code.get(..4)?;
    let mut decoded = a64::InstDecoder::default().decode(&mut U8Reader::new(bytes)).ok()?;
    // The decoder's library drops the highest bit of the register that `msr` writes to the system.
    if bytes[3] == 0xd5 && bytes[2] & 0xf0 == 0x10 {
        for operand in &mut decoded.operands {
            if let Operand::Register(_, number) = operand {
                *number = u16::from(bytes[0] & 0x1f);
            }
        }
    }
    Some(decoded)
}

/// Of one of aarch64.
pub(super) fn aarch64(code: &[u8]) -> Option<Operands> {
    let decoded = decoded_aarch64(code)?;
    let name = decoded.opcode.to_string();
    let exchanges = EXCHANGES.iter().any(|exchange| name.starts_with(exchange));
    // What it does with a pair of registers, or with those of the processor, is not looked up.
    if name.starts_with("casp") || name.starts_with("sysl") {
        return None;
    }
    let form = FORMS.iter().find(|form| form.names.iter().any(|glob| glob_matches(glob, &name)));
    let (written, mut read) = form.map_or((1, false), |form| (form.written, form.read));
    // Bits of a vector that a number sets, or clears.
    read |= matches!(name.as_str(), "orr" | "bic")
        && matches!(decoded.operands[0], Operand::SIMDRegisterElements(..))
        && !matches!(decoded.operands[1], Operand::SIMDRegisterElements(..));
    let mut found = Operands::default();
    for (number, operand) in decoded.operands.iter().enumerate() {
        let (parts, moved) = parts(operand)?;
        let is_written = if exchanges { number == 1 } else { number < written };
        if is_written {
            found.written.extend(parts.iter().map(whole));
        }
        // Of a vector that is written in part, the rest stays.
        let lane =
            matches!(operand, Operand::SIMDRegisterElementsLane(..) | Operand::SIMDRegisterGroupLane(..));
        if !is_written || read || lane {
            found.read.extend(parts.iter().cloned());
        }
        if moved {
            found.written.extend(parts.first().map(whole));
        }
    }
    if name == "bl" || name.starts_with("blr") {
        found.written.push(general(SizeCode::X, 30, ""));
    }
    found.read.retain(|part| !part.register.is_empty());
    found.written.retain(|part| !part.register.is_empty());
    Some(found.sorted())
}

/// A write sets all of a register.
fn whole(part: &RegisterPart) -> RegisterPart {
    let bits = if part.register.starts_with('v') { 128 } else { 64 };
    RegisterPart { bits, ..part.clone() }
}

/// The general register of this number; of 31 the one of that name, which is none for the zero register.
fn general(size: SizeCode, number: u16, last: &str) -> RegisterPart {
    let register = if number == 31 { last.to_owned() } else { format!("x{number}") };
    RegisterPart { register, low: 0, bits: if size == SizeCode::W { 32 } else { 64 } }
}

fn vector(size: SIMDSizeCode, number: u16) -> RegisterPart {
    let bits = match size {
        SIMDSizeCode::B => 8,
        SIMDSizeCode::H => 16,
        SIMDSizeCode::S => 32,
        SIMDSizeCode::D => 64,
        SIMDSizeCode::Q => 128,
    };
    RegisterPart { register: format!("v{}", number % 32), low: 0, bits }
}

/// The registers of an operand, and whether the first of them is moved on as an address; `None` of one that is not known.
fn parts(operand: &Operand) -> Option<(Vec<RegisterPart>, bool)> {
    let address = |number: &u16| general(SizeCode::X, *number, "sp");
    Some(match operand {
        Operand::Register(size, number) => (vec![general(*size, *number, "")], false),
        Operand::RegisterOrSP(size, number) => (vec![general(*size, *number, "sp")], false),
        Operand::RegShift(_, _, size, number) => (vec![general(*size, *number, "")], false),
        Operand::SIMDRegister(size, number) | Operand::SIMDRegisterElements(size, number, _) => {
            (vec![vector(*size, *number)], false)
        }
        Operand::SIMDRegisterElementsLane(_, number, _, _) => (vec![vector(SIMDSizeCode::Q, *number)], false),
        Operand::SIMDRegisterGroup(size, number, _, count) => {
            ((0..u16::from(*count)).map(|more| vector(*size, number + more)).collect(), false)
        }
        Operand::RegRegOffset(base, index, size, _, _) => {
            (vec![address(base), general(*size, *index, "")], false)
        }
        Operand::RegPreIndex(base, _, moved) => (vec![address(base)], *moved),
        Operand::RegPostIndex(base, _) => (vec![address(base)], true),
        Operand::RegPostIndexReg(base, index) => {
            (vec![address(base), general(SizeCode::X, *index, "")], true)
        }
        Operand::RegisterPair(..)
        | Operand::SIMDRegisterElementsMultipleLane(..)
        | Operand::SIMDRegisterGroupLane(..) => return None,
        _ => (Vec::new(), false),
    })
}

/// x86's instructions that set their first operand and do not read it.
const SETTING: [&str; 13] = [
    "mov*", "lea", "pop", "set*", "cvt*", "popcnt", "tzcnt", "lzcnt", "pshufd", "pshufhw", "pshuflw", "bsf",
    "bsr",
];

/// Those that may be repeated; of others the prefix is a part of the name.
const STRINGS: [&str; 7] = ["movs", "stos", "lods", "cmps", "scas", "ins", "outs"];

/// Of one of x86-64.
pub(super) fn x86_64(code: &[u8]) -> Option<Operands> {
    #[derive(Default)]
    struct Visitor(Operands);

    impl AccessVisitor for Visitor {
        fn register_read(&mut self, register: RegSpec) {
            self.0.read.extend(part(register));
        }
        fn register_write(&mut self, register: RegSpec) {
            // A write of the lower half sets the upper one to 0.
            let whole = part(register)
                .map(|part| if part.bits == 32 { RegisterPart { bits: 64, ..part } } else { part });
            self.0.written.extend(whole);
        }
        fn memory_read(&mut self, _: Option<u64>, _: u32) {}
        fn memory_write(&mut self, _: Option<u64>, _: u32) {}
    }

    let decoded = long_mode::InstDecoder::default().decode_slice(code).ok()?;
    let mut visitor = Visitor::default();
    // How often it goes round is no operand.
    let name = decoded.opcode().to_string();
    if decoded.prefixes.rep_any() && STRINGS.contains(&&*name) {
        return None;
    }
    decoded.behavior().visit_accesses(&mut visitor).ok()?;
    let Visitor(mut found) = visitor;
    // The decoder's library says of some that they read what they only write, and comes to that first; and of others the opposite.
    if let long_mode::Operand::Register { reg } = decoded.operand(0)
        && let Some(first) = part(reg)
    {
        let place = found.read.iter().position(|read| *read == first);
        match place.filter(|_| SETTING.iter().any(|glob| glob_matches(glob, &name))) {
            Some(place) => drop(found.read.remove(place)),
            None if name.starts_with("cmov") => found.read.push(first),
            None => {}
        }
    }
    Some(found.sorted())
}

/// The general or vector register; the flags, the instruction pointer and others are none.
fn part(register: RegSpec) -> Option<RegisterPart> {
    let number = register.num();
    let (number, low, bits) = match register.class() {
        register_class::Q => (number, 0, 64),
        register_class::D => (number, 0, 32),
        register_class::W => (number, 0, 16),
        // ah, ch, dh and bh.
        register_class::B if number >= 4 => (number - 4, 8, 8),
        register_class::B | register_class::RB => (number, 0, 8),
        register_class::X => {
            return Some(RegisterPart { register: format!("xmm{number}"), low: 0, bits: 128 });
        }
        _ => return None,
    };
    Some(RegisterPart { register: RegSpec::q(number).name().to_owned(), low, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(operands: Option<Operands>) -> Option<(String, String)> {
        let text = |list: Vec<RegisterPart>| {
            let part = |part: RegisterPart| format!("{}:{}+{}", part.register, part.low, part.bits);
            list.into_iter().map(part).collect::<Vec<_>>().join(" ")
        };
        operands.map(|operands| (text(operands.read), text(operands.written)))
    }

    /// By the Arm Architecture Reference Manual; words as the assembler makes them.
    #[test]
    fn operands_of_aarch64_are_those_of_the_manual() {
        for (word, read, written) in [
            (0x8b02_0020u32, "x1:0+64 x2:0+64", "x0:0+64"), // add x0, x1, x2
            (0x0b02_0020, "x1:0+32 x2:0+32", "x0:0+64"),    // add w0, w1, w2
            (0xf940_0820, "x1:0+64", "x0:0+64"),            // ldr x0, [x1, #16]
            (0xf900_0820, "x0:0+64 x1:0+64", ""),           // str x0, [x1, #16]
            (0xa9bf_7bfd, "sp:0+64 x29:0+64 x30:0+64", "sp:0+64"), // stp x29, x30, [sp, #-16]!
            (0xa8c1_7bfd, "sp:0+64", "sp:0+64 x29:0+64 x30:0+64"), // ldp x29, x30, [sp], #16
            (0xf862_6820, "x1:0+64 x2:0+64", "x0:0+64"),    // ldr x0, [x1, x2]
            (0xeb01_001f, "x0:0+64 x1:0+64", ""),           // cmp x0, x1
            (0xb400_0040, "x0:0+64", ""),                   // cbz x0
            (0x3618_0040, "x0:0+32", ""),                   // tbz w0, #3
            (0xd65f_03c0, "x30:0+64", ""),                  // ret
            (0xd63f_0100, "x8:0+64", "x30:0+64"),           // blr x8
            (0x9400_0001, "", "x30:0+64"),                  // bl
            (0xf280_0020, "x0:0+64", "x0:0+64"),            // movk x0, #1
            (0xaa01_03e0, "x1:0+64", "x0:0+64"),            // mov x0, x1
            (0xc85f_7c20, "x1:0+64", "x0:0+64"),            // ldxr x0, [x1]
            (0xc802_7c20, "x0:0+64 x1:0+64", "x2:0+64"),    // stxr w2, x0, [x1]
            (0xf820_0041, "x0:0+64 x2:0+64", "x1:0+64"),    // ldadd x0, x1, [x2]
            (0xc8a0_7c41, "x0:0+64 x1:0+64 x2:0+64", "x0:0+64"), // cas x0, x1, [x2]
            (0x1e62_2820, "v1:0+64 v2:0+64", "v0:0+128"),   // fadd d0, d1, d2
            (0x4e22_cc20, "v0:0+128 v1:0+128 v2:0+128", "v0:0+128"), // fmla v0.4s, v1.4s, v2.4s
            (0xd538_d080, "", "x0:0+64"),                   // mrs x0, tpidr_el1
            (0xd518_d080, "x0:0+64", ""),                   // msr tpidr_el1, x0
            (0x9b02_0c20, "x1:0+64 x2:0+64 x3:0+64", "x0:0+64"), // madd x0, x1, x2, x3
            (0xfa41_0800, "x0:0+64", ""),                   // ccmp x0, #1, #0, eq
            (0xd518_4035, "x21:0+64", ""),                  // msr elr_el1, x21
            (0xd518_411c, "x28:0+64", ""),                  // msr sp_el0, x28
            (0xd518_d01f, "", ""),                          // msr contextidr_el1-like, xzr
            (0x4e02_0020, "v1:0+128 v2:0+128", "v0:0+128"), // tbl v0.16b, {v1.16b}, v2.16b
            (0x4e02_1020, "v0:0+128 v1:0+128 v2:0+128", "v0:0+128"), // tbx v0.16b, {v1.16b}, v2.16b
            (0x4e28_6820, "v1:0+128", "v0:0+128"),          // aesmc v0.16b, v1.16b
            (0x4e28_4820, "v0:0+128 v1:0+128", "v0:0+128"), // aese v0.16b, v1.16b
            (0x4e22_0420, "v1:0+128 v2:0+128", "v0:0+128"), // shadd v0.16b, v1.16b, v2.16b
            (0x4e62_9020, "v0:0+128 v1:0+128 v2:0+128", "v0:0+128"), // sqdmlal2 v0.4s, v1.8h, v2.8h
            (0x4f00_1420, "v0:0+128", "v0:0+128"),          // orr v0.4s, #1
            (0x4ea2_1c20, "v1:0+128 v2:0+128", "v0:0+128"), // orr v0.16b, v1.16b, v2.16b
            (0xdac1_0020, "x0:0+64 x1:0+64", "x0:0+64"),    // pacia x0, x1
            (0xd503_201f, "", ""),                          // nop
            (0x5400_0040, "", ""),                          // b.eq
        ] {
            let found = shown(aarch64(&word.to_le_bytes()));
            assert_eq!(found, Some((read.to_owned(), written.to_owned())), "{word:#x}");
        }
    }

    /// By the Intel 64 manual.
    #[test]
    fn operands_of_x86_64_are_those_of_the_manual() {
        for (code, read, written) in [
            (&[0x48, 0x01, 0xd8][..], "rax:0+64 rbx:0+64", "rax:0+64"), // add rax, rbx
            (&[0x8b, 0x41, 0x08], "rcx:0+64", "rax:0+64"),              // mov eax, [rcx+8]
            (&[0x48, 0x8b, 0x00], "rax:0+64", "rax:0+64"),              // mov rax, [rax]
            (&[0x48, 0x8d, 0x04, 0x33], "rbx:0+64 rsi:0+64", "rax:0+64"), // lea rax, [rbx+rsi]
            (&[0x0f, 0xb6, 0xc1], "rcx:0+8", "rax:0+64"),               // movzx eax, cl
            (&[0x5b], "rsp:0+64", "rbx:0+64 rsp:0+64"),                 // pop rbx
            (&[0x0f, 0x94, 0xc0], "", "rax:0+8"),                       // sete al
            (&[0x48, 0x39, 0xd8], "rax:0+64 rbx:0+64", ""),             // cmp rax, rbx
            (&[0x48, 0x0f, 0x44, 0xc1], "rax:0+64 rcx:0+64", "rax:0+64"), // cmove rax, rcx
            (&[0xff, 0xd0], "rax:0+64 rsp:0+64", "rsp:0+64"),           // call rax
            (&[0xf0, 0x48, 0x0f, 0xb1, 0x0e], "rax:0+64 rcx:0+64 rsi:0+64", "rax:0+64"), // lock cmpxchg [rsi], rcx
            (&[0x48, 0xf7, 0xe1], "rax:0+64 rcx:0+64", "rax:0+64 rdx:0+64"),             // mul rcx
            (&[0x48, 0xd3, 0xe0], "rax:0+64 rcx:0+8", "rax:0+64"),                       // shl rax, cl
            (&[0xf3, 0x48, 0x0f, 0xb8, 0xc1], "rcx:0+64", "rax:0+64"),                   // popcnt rax, rcx
            (&[0x88, 0x23], "rax:8+8 rbx:0+64", ""),                                     // mov [rbx], ah
            (&[0x48, 0x0f, 0xc8], "rax:0+64", "rax:0+64"),                               // bswap rax
            (&[0x48, 0x0f, 0xbc, 0xc1], "rcx:0+64", "rax:0+64"),                         // bsf rax, rcx
            (&[0x88, 0x3b], "rbx:0+64", ""),                                             // mov [rbx], bh
            (&[0x66, 0x0f, 0x38, 0x00, 0xc1], "xmm0:0+128 xmm1:0+128", "xmm0:0+128"),    // pshufb xmm0, xmm1
            (&[0x66, 0x0f, 0x70, 0xc1, 0x00], "xmm1:0+128", "xmm0:0+128"), // pshufd xmm0, xmm1, 0
            (&[0x55], "rbp:0+64 rsp:0+64", "rsp:0+64"),                    // push rbp
            (&[0xc3], "rsp:0+64", "rsp:0+64"),                             // ret
            (&[0x66, 0x0f, 0xef, 0xc1], "xmm0:0+128 xmm1:0+128", "xmm0:0+128"), // pxor xmm0, xmm1
        ] {
            let found = shown(x86_64(code));
            assert_eq!(found, Some((read.to_owned(), written.to_owned())), "{code:x?}");
        }
        // rep movsq.
        assert_eq!(shown(x86_64(&[0xf3, 0x48, 0xa5])), None);
    }
}
