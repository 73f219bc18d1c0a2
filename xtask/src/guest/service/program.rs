//! What kind of program a file is: a script, or an ELF file with its architecture and what it needs to start.
//!
//! Invariant: **what no guest of the lab could start is refused, with what it is**.

use std::path::Path;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, ET_DYN, ET_EXEC, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, Object};

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Text that an interpreter reads, with its path as the first line has it.
    Script(String),
    /// Code.
    Elf(Elf),
}

/// What an ELF file says of itself: a program, or a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// What it runs on.
    pub arch: Arch,
    /// The program that loads it, where it is not static.
    pub interpreter: Option<String>,
    /// The names of the libraries that it is linked with.
    pub needed: Vec<String>,
    /// Folders in which it has them looked for, as they are in it.
    pub search: Vec<String>,
    /// Whether it has a first instruction.
    pub is_entered: bool,
}

/// The longest first line of a script, as the kernel reads it (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// How an ELF file begins.
const ELF: &[u8] = b"\x7fELF";

impl Program {
    /// Looks at a file.
    pub fn at(path: &Path) -> Result<Program> {
        let bytes = files::read_plain(path).with_context(|| format!("cannot read {}", path.display()))?;
        Program::of(&bytes).with_context(|| format!("{} cannot be run in a guest", path.display()))
    }

    fn of(bytes: &[u8]) -> Result<Program> {
        if let Some(rest) = bytes.strip_prefix(b"#!") {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(&line[..line.len().min(FIRST_LINE)]);
            let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
            if !interpreter.starts_with('/') {
                bail!("its first line names no interpreter, as `#!/bin/sh` does");
            }
            return Ok(Program::Script(interpreter.to_owned()));
        }
        if !bytes.starts_with(ELF) {
            bail!("it is neither an ELF file nor a script that begins with `#!`");
        }
        let elf = elf_of(bytes)?;
        if elf.interpreter.is_none() && (!elf.is_entered || !elf.needed.is_empty()) {
            bail!("it is a shared library, not a program");
        }
        Ok(Program::Elf(elf))
    }

    /// The architecture, where it has one.
    pub fn arch(&self) -> Option<Arch> {
        match self {
            Program::Script(_) => None,
            Program::Elf(elf) => Some(elf.arch),
        }
    }
}

/// What an ELF file says of itself; `None` for a file of another kind.
pub fn elf_at(path: &Path) -> Result<Option<Elf>> {
    let bytes = files::read_plain(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !bytes.starts_with(ELF) {
        return Ok(None);
    }
    elf_of(&bytes).map(Some).with_context(|| format!("{} is no file for a guest", path.display()))
}

fn elf_of(bytes: &[u8]) -> Result<Elf> {
    let known: Vec<&str> = Arch::all().map(|arch| arch.name).collect();
    let foreign = || {
        let machine = object::File::parse(bytes).map(|file| format!("{:?}", file.architecture()));
        let machine = machine.unwrap_or_else(|_| "another machine".to_owned());
        anyhow::anyhow!("it is for {machine}, and the lab's guests are {}", known.join(" or "))
    };
    if FileKind::parse(bytes).context("its head is damaged")? != FileKind::Elf64 {
        return Err(foreign());
    }
    let header = FileHeader64::<Endianness>::parse(bytes).context("its head is damaged")?;
    let endian = header.endian().context("its head is damaged")?;
    let machine = header.e_machine(endian).0;
    let arch = Arch::all().find(|arch| arch.elf_machine() == Some(machine) && endian == Endianness::Little);
    let arch = arch.ok_or_else(foreign)?;
    let kind = header.e_type(endian);
    if kind != ET_EXEC && kind != ET_DYN {
        bail!("it is an object file or a core dump, not a linked program");
    }
    let cut = "it is cut or damaged";
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut interpreter = None;
    for segment in header.program_headers(endian, bytes).context(cut)? {
        if let Some(name) = segment.interpreter(endian, bytes).context(cut)? {
            interpreter = Some(text(name));
        }
    }
    let table = header.sections(endian, bytes).context(cut)?.dynamic_table(endian, bytes).context(cut)?;
    let (mut needed, mut search) = (Vec::new(), Vec::new());
    for entry in &table {
        match entry.tag {
            DT_NEEDED => needed.push(text(table.string(entry).context(cut)?)),
            DT_RPATH | DT_RUNPATH => {
                search.extend(text(table.string(entry).context(cut)?).split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    if interpreter.is_some() && table.is_empty() {
        bail!(
            "its section headers were removed, so that the libraries that it needs are not known; link it statically"
        );
    }
    Ok(Elf { arch, interpreter, needed, search, is_entered: header.e_entry(endian) != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very test is a program of the host, linked with the C library.
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        format!("{:#}", Program::of(bytes).unwrap_err())
    }

    #[test]
    fn a_program_of_the_host_says_what_it_runs_on_and_which_libraries_it_needs() {
        let program = Program::of(&own()).unwrap();
        assert_eq!(program.arch().unwrap().name, std::env::consts::ARCH);
        let Program::Elf(elf) = program else { panic!("it is code") };
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.")), "{elf:?}");
        assert!(elf.interpreter.unwrap().contains("/ld-"));
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let script = |text: &str| Program::of(text.as_bytes());
        assert_eq!(script("#!/bin/sh\necho\n").unwrap(), Program::Script("/bin/sh".into()));
        assert_eq!(script("#! /bin/sh -e").unwrap(), Program::Script("/bin/sh".into()));
        assert_eq!(script("#!/bin/sh").unwrap().arch(), None);
        for bad in ["#!", "#!\n/bin/sh", "#!sh\n"] {
            assert!(refusal(bad.as_bytes()).contains("names no interpreter"), "{bad}");
        }
    }

    #[test]
    fn what_no_guest_could_start_is_refused_with_what_it_is() {
        assert!(refusal(b"MZ").contains("neither an ELF file nor a script"));
        assert!(refusal(b"").contains("neither an ELF file nor a script"));
        let patched = |at: usize, with: &[u8]| {
            let mut bytes = own();
            bytes[at..at + with.len()].copy_from_slice(with);
            bytes
        };
        // e_type 1 is an object file, e_machine 243 is RISC-V, e_ident[EI_CLASS] 1 is a file of 32 bits.
        assert!(refusal(&patched(16, &[1, 0])).contains("an object file"));
        let other = refusal(&patched(18, &[243, 0]));
        assert!(other.contains("for Riscv64, and the lab's guests are aarch64 or x86_64"), "{other}");
        assert!(refusal(&patched(4, &[1])).contains("the lab's guests are"));
        // e_shoff, where section headers begin.
        assert!(refusal(&patched(40, &[0; 8])).contains("link it statically"));
    }

    #[test]
    fn a_cut_or_damaged_file_is_refused_and_no_byte_of_its_head_ends_this_program() {
        let whole = own();
        for length in [4, 20, 63, 64, 100, 1000, whole.len() / 2] {
            refusal(&whole[..length]);
        }
        let mut bytes = whole;
        for at in 4..64 {
            let before = bytes[at];
            for value in [0, 1, 0x7f, 0xff] {
                bytes[at] = value;
                let _any = Program::of(&bytes);
            }
            bytes[at] = before;
        }
    }
}
