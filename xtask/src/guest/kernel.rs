//! Whether QEMU can boot what is given as a kernel, found before a guest is started: one that it cannot boot is silent,
//! and would be waited for.
//!
//! Invariant: **what QEMU takes is taken**; the forms that it takes of an architecture are a column of
//! [`ARCHS`](flipsim::arch::ARCHS).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use flipsim::arch::{Arch, KernelForm};
use flipsim::files;

use super::formats::{AsDisk, Look, format_of, pe_header, unpack_line};
use crate::host::proc::quote;

/// QEMU unpacks no more (`LOAD_IMAGE_MAX_GUNZIP_BYTES`).
const LONGEST_UNPACKED: u64 = 256 << 20;

/// What QEMU is asked to boot, and in what.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The file.
    pub path: &'a Path,
    /// The guest's architecture.
    pub arch: Arch,
    /// What QEMU says its version is.
    pub qemu: &'a str,
    /// Whether the guest is one of Linux that becomes ready by the lab's words; another may be anything.
    pub ours: bool,
}

/// Refuses a kernel that cannot boot. What may not boot is said, in a warning.
pub fn check(given: Given<'_>) -> Result<Option<String>> {
    let path = given.path;
    let look = Look::at(path).with_context(|| format!("cannot use the kernel {}", path.display()))?;
    given.check(&look).with_context(|| format!("{} cannot be booted", path.display()))
}

/// An initial RAM disk is anything that its kernel unpacks; what it certainly does not is refused.
pub fn check_initrd(path: &Path) -> Result<()> {
    let look =
        Look::at(path).with_context(|| format!("cannot use the initial RAM disk {}", path.display()))?;
    let format = format_of(&look);
    let Some((name, then)) = format.and_then(|format| match format.as_disk {
        AsDisk::No(then) | AsDisk::Absent(then) => Some((format.name, then)),
        _ => None,
    }) else {
        return Ok(());
    };
    // The kernel unpacks it itself.
    if name.contains("cpio") {
        return Ok(());
    }
    bail!("{} is {name}, not an initial RAM disk; {then}", path.display())
}

impl Given<'_> {
    fn takes(&self, form: KernelForm) -> bool {
        self.arch.kernels.contains(&form)
    }

    /// What to give in place of what was given.
    fn remedy(&self) -> String {
        let image = self.arch.kernel_image;
        let name = image.rsplit('/').next().unwrap_or(image);
        format!("give the {name} that the kernel's build leaves in {image}")
    }

    /// A kernel of another architecture, and which of the lab's that is.
    fn other(&self, name: &str, is: impl Fn(KernelForm) -> bool) -> anyhow::Error {
        let fitting = Arch::all().find(|arch| arch.kernels.iter().any(|form| is(*form)));
        let way = fitting
            .map_or_else(String::new, |arch| format!(", or a guest of its own kind with --arch {arch}"));
        anyhow::anyhow!("it is {name}, and the guest is {}; {}{way}", self.arch, self.remedy())
    }

    fn check(&self, look: &Look) -> Result<Option<String>> {
        let format = format_of(look).map_or("", |format| format.name);
        if look.has(56, b"ARM\x64") {
            return match self.takes(KernelForm::Arm64Image) {
                true => arm64_image(look),
                false => Err(self.other(format, |form| form == KernelForm::Arm64Image)),
            };
        }
        if format.starts_with("a bzImage") {
            return match self.takes(KernelForm::BzImage) {
                true => bz_image(look),
                false => Err(self.other(format, |form| form == KernelForm::BzImage)),
            };
        }
        if look.has(0, b"MZ") && look.has(4, b"zimg") {
            return self.zboot(look);
        }
        if self.takes(KernelForm::Multiboot) && is_multiboot(look.head()) {
            return Ok(None);
        }
        if look.has(0, b"\x7fELF") {
            return self.elf(look);
        }
        if pe_header(look).is_some() {
            bail!(
                "it is an EFI program without a kernel's header, which needs an EFI firmware to be started; {} (a unified \
                 kernel has it in its section .linux: `objcopy -O binary --only-section=.linux`)",
                self.remedy()
            );
        }
        if look.has(0, b"\x27\x05\x19\x56") {
            return self.u_image(look);
        }
        if look.has(0, b"\x1f\x8b") && self.takes(KernelForm::Gzip) {
            return self.gzip();
        }
        match format_of(look).map(|format| format.as_disk) {
            Some(AsDisk::Unpack(program)) => bail!(
                "it is {format}, which QEMU does not unpack for {}; unpack it first: {}, or {}",
                self.arch,
                unpack_line(program, self.path, "unpacked"),
                self.remedy()
            ),
            Some(_) if format.contains("a kernel for") => Err(self.other(format, |_| false)),
            Some(AsDisk::Absent(then)) => {
                bail!("it is {format}, and no kernel; {then}; or {}", self.remedy())
            }
            Some(AsDisk::No(_)) => bail!("it is {format}, and no kernel; {}", self.remedy()),
            Some(_) => {
                bail!("it is {format}, and no kernel: a disk is given with --image; {}", self.remedy())
            }
            None if self.takes(KernelForm::AnyBytes) && !self.ours => Ok(Some(format!(
                "{} has no kernel's header; QEMU loads its bytes as they are",
                self.path.display()
            ))),
            None => bail!("it has no header of a kernel for {}; {}", self.arch, self.remedy()),
        }
    }

    /// An EFI program that has a packed kernel in it (`drivers/firmware/efi/libstub/zboot-header.S`).
    fn zboot(&self, look: &Look) -> Result<Option<String>> {
        if !self.takes(KernelForm::Zboot) {
            return Err(self.other("an EFI zboot kernel", |form| form == KernelForm::Zboot));
        }
        let packed =
            look.bytes(24, 8).map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        let packed = packed.unwrap_or_default();
        let (at, size) = look.le(8, 4).zip(look.le(12, 4)).context("it is cut; fetch it again")?;
        if at + size > look.size {
            bail!(
                "it is cut: its kernel ends at byte {}, the file at {}; fetch it again",
                at + size,
                look.size
            );
        }
        let new = version(self.qemu) >= (8, 0);
        if packed == "gzip" && new {
            return Ok(None);
        }
        let programs = [
            ("gzip", "gzip -dc"),
            ("zstd", "zstd -dc"),
            ("xz", "xz -dc"),
            ("lz4", "lz4 -dc"),
            ("lzma", "xz -dc"),
            ("lzo", "lzop -dc"),
        ];
        let program = programs
            .iter()
            .find(|(name, _)| packed.starts_with(name))
            .map_or("gzip -dc", |(_, program)| program);
        bail!(
            "it is an EFI zboot kernel (packed with {packed}), which this QEMU does not unpack; take the Image out of it: \
             `tail -c +{} {} | head -c {size} | {program} > Image`",
            at + 1,
            quote(self.path)
        )
    }

    /// Of an Image that is packed; QEMU takes one member.
    fn gzip(&self) -> Result<Option<String>> {
        let file = files::open_plain(self.path)?;
        let mut unpacked = GzDecoder::new(std::io::BufReader::new(file)).take(LONGEST_UNPACKED + 1);
        let mut head = Vec::new();
        let damaged = "its gzip archive is cut or damaged; fetch it again";
        unpacked.by_ref().take(72 << 10).read_to_end(&mut head).context(damaged)?;
        let rest = std::io::copy(&mut unpacked, &mut std::io::sink()).context(damaged)?;
        let size = head.len() as u64 + rest;
        if size > LONGEST_UNPACKED {
            bail!("it has more than 256 MiB unpacked, which QEMU does not take; {}", self.remedy());
        }
        let look = Look::of(head, size);
        if look.has(56, b"ARM\x64") {
            return arm64_image(&look);
        }
        let format = format_of(&look).map_or("no kernel's header", |format| format.name);
        if self.ours || format_of(&look).is_some() {
            bail!("it is a gzip archive, and what is in it has {format}; {}", self.remedy());
        }
        Ok(Some(format!("{} is a gzip archive, and what is in it has {format}", self.path.display())))
    }

    /// U-Boot's form (`hw/core/uboot_image.h` of QEMU).
    fn u_image(&self, look: &Look) -> Result<Option<String>> {
        let (size, kind) = look.be(12, 4).zip(look.be(28, 4)).context("it is cut; fetch it again")?;
        let [_, arch, kind, packed] = u32::try_from(kind)?.to_be_bytes();
        let form = |form: KernelForm| matches!(form, KernelForm::UImage { .. });
        if !self.arch.kernels.iter().copied().any(form) {
            bail!("it is a uImage of U-Boot, which QEMU does not take for {}; {}", self.arch, self.remedy());
        }
        if !self.takes(KernelForm::UImage { arch }) {
            return Err(self.other("a uImage of U-Boot for another architecture", |form| {
                form == KernelForm::UImage { arch }
            }));
        }
        if !matches!(kind, 2 | 14) || packed > 1 {
            bail!(
                "it is a uImage of U-Boot that has no kernel, or one that QEMU does not unpack; {}",
                self.remedy()
            );
        }
        if look.size < size + 64 {
            bail!("it is cut: its header says {} bytes, and it has {}; fetch it again", size + 64, look.size);
        }
        Ok(None)
    }

    fn elf(&self, look: &Look) -> Result<Option<String>> {
        let elf =
            Elf::read(self.path, look).context("it is an ELF file that is cut or damaged; fetch it again")?;
        let machine = elf.machine;
        let of_machine = |form: KernelForm| match form {
            KernelForm::Elf { machine: known } | KernelForm::ElfWithPvh { machine: known } => {
                known == machine
            }
            _ => false,
        };
        if !self.arch.kernels.iter().copied().any(of_machine) {
            let name = format!("an ELF file for {}", machine_name(machine));
            return Err(self.other(&name, of_machine));
        }
        if let Some(end) = elf.end.filter(|end| *end > look.size) {
            bail!("it is cut: its last part ends at byte {end}, the file at {}; fetch it again", look.size);
        }
        if self.takes(KernelForm::ElfWithPvh { machine }) {
            if elf.has_pvh {
                return Ok(None);
            }
            bail!(
                "it is a vmlinux (ELF) without a PVH entry (CONFIG_PVH), which QEMU does not start; {}; --vmlinux takes \
                 this file for its symbols",
                self.remedy()
            );
        }
        if elf.loads && !elf.is_virtual {
            return Ok(None);
        }
        bail!(
            "it is a vmlinux (ELF), whose addresses are those of a kernel that runs and no place in RAM; {}; --vmlinux \
             takes this file for its symbols",
            self.remedy()
        )
    }
}

/// The numbers of a version, as in `QEMU 7.2.22`.
fn version(text: &str) -> (u32, u32) {
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| word.contains('.'));
    let mut numbers = numbers.unwrap_or_default().split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn machine_name(machine: u16) -> String {
    let names = [
        (3, "32-bit x86"),
        (8, "MIPS"),
        (20, "PowerPC"),
        (21, "64-bit PowerPC"),
        (22, "S390"),
        (40, "32-bit ARM"),
        (62, "x86_64"),
        (183, "aarch64"),
        (243, "RISC-V"),
        (258, "LoongArch"),
    ];
    let name = names.iter().find(|(number, _)| *number == machine);
    name.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_owned())
}

/// Of arm64 (`Documentation/arch/arm64/booting.rst`). Its length is only in the header of its EFI program, where it has
/// that; otherwise the size in memory says what it is about.
fn arm64_image(look: &Look) -> Result<Option<String>> {
    if let Some(end) = program_end(look) {
        if end > look.size {
            bail!("it is cut: its last part ends at byte {end}, the file at {}; fetch it again", look.size);
        }
        return Ok(None);
    }
    let in_memory = look.le(16, 8).unwrap_or(0);
    // What is zero at the start of a kernel is in no file: a part, and never half of it.
    if look.size < in_memory / 2 {
        bail!(
            "it is cut: it takes {in_memory} bytes of memory, and the file has {}; fetch it again",
            look.size
        );
    }
    let short = look.size < in_memory / 4 * 3;
    Ok(short.then(|| {
        format!("the kernel takes {in_memory} bytes of memory, and its file has {}; is it whole?", look.size)
    }))
}

/// Of x86 (`Documentation/arch/x86/boot.rst`).
fn bz_image(look: &Look) -> Result<Option<String>> {
    let sectors = look.le(0x1f1, 1).unwrap_or(0);
    let setup = (if sectors == 0 { 4 } else { sectors } + 1) * 512;
    // Before version 2.04 of the protocol only two bytes of the number were meant.
    let bytes = if look.le(0x206, 2).unwrap_or(0) >= 0x204 { 4 } else { 2 };
    let end = setup + look.le(0x1f4, bytes).unwrap_or(0) * 16;
    let end = end.max(program_end(look).unwrap_or(0));
    if end > look.size {
        bail!("it is cut: its header says {end} bytes, and the file has {}; fetch it again", look.size);
    }
    Ok(None)
}

/// Where the last section of an EFI program ends in its file.
fn program_end(look: &Look) -> Option<u64> {
    let pe = pe_header(look)?;
    let (sections, optional) = (look.le(pe + 6, 2)?, look.le(pe + 20, 2)?);
    let ends = (0..sections).map_while(|number| {
        let at = pe + 24 + optional + 40 * number;
        Some(look.le(at + 16, 4)? + look.le(at + 20, 4)?)
    });
    ends.max()
}

/// Whether a header of the multiboot specification is in the first 8 KiB.
fn is_multiboot(head: &[u8]) -> bool {
    let words: Vec<u32> = head[..head.len().min(8192)]
        .chunks_exact(4)
        .map(|word| word.try_into().map_or(0, u32::from_le_bytes))
        .collect();
    words.windows(3).any(|header| {
        header[0] == 0x1bad_b002 && header[0].wrapping_add(header[1]).wrapping_add(header[2]) == 0
    })
}

/// What the program headers of an ELF file say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Elf {
    machine: u16,
    /// Whether something is loaded.
    loads: bool,
    /// Whether the physical addresses of what is loaded are no place in RAM, but the kernel's own addresses.
    is_virtual: bool,
    /// Whether it has the note of Xen that names a 32-bit entry.
    has_pvh: bool,
    /// Where the last part ends in the file.
    end: Option<u64>,
}

impl Elf {
    /// Reads one whose bytes are in the order of both architectures: the least significant first.
    fn read(path: &Path, look: &Look) -> Option<Elf> {
        let wide = look.le(4, 1)? == 2;
        let mut elf = Elf { machine: u16::try_from(look.le(18, 2)?).ok()?, ..Elf::default() };
        if look.le(5, 1)? != 1 {
            // Another machine's, whose number stands the other way round.
            elf.machine = elf.machine.swap_bytes();
            return Some(elf);
        }
        let (table, size, count) = match wide {
            true => (look.le(32, 8)?, look.le(54, 2)?, look.le(56, 2)?),
            false => (look.le(28, 4)?, look.le(42, 2)?, look.le(44, 2)?),
        };
        let mut file = files::open_plain(path).ok()?;
        for number in 0..count {
            let at = table.checked_add(number * size)?;
            let header = Look::of(read_at(&mut file, at, size)?, size);
            let (offset, paddr, length, align) = match wide {
                true => (header.le(8, 8)?, header.le(24, 8)?, header.le(32, 8)?, header.le(48, 8)?),
                false => (header.le(4, 4)?, header.le(12, 4)?, header.le(16, 4)?, header.le(28, 4)?),
            };
            match header.le(0, 4)? {
                // PT_LOAD
                1 => {
                    elf.loads = true;
                    // No processor has so much address space behind its page tables.
                    elf.is_virtual |= paddr >= 1 << 52;
                    elf.end = elf.end.max(Some(offset.checked_add(length)?));
                }
                // PT_NOTE
                4 => elf.has_pvh |= has_pvh(&read_at(&mut file, offset, length.min(1 << 20))?, align),
                _ => {}
            }
        }
        Some(elf)
    }
}

fn read_at(file: &mut File, at: u64, count: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).ok()?;
    file.take(count).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == count).then_some(bytes)
}

/// Whether notes have `XEN_ELFNOTE_PHYS32_ENTRY`.
fn has_pvh(notes: &[u8], align: u64) -> bool {
    let look = Look::of(notes.to_vec(), notes.len() as u64);
    let to = if align == 8 { 8 } else { 4 };
    let mut at = 0u64;
    while let (Some(name), Some(desc), Some(kind)) = (look.le(at, 4), look.le(at + 4, 4), look.le(at + 8, 4))
    {
        if kind == 18 && look.has(at + 12, b"Xen\0") {
            return true;
        }
        at = (at + 12 + name).next_multiple_of(to) + desc.next_multiple_of(to);
    }
    false
}

#[cfg(test)]
mod tests;
