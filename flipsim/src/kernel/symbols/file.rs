//! Kernel symbols as a file has them: a `vmlinux` (ELF), a `System.map` or `/proc/kallsyms`.
//!
//! Invariant: another file, a stub, or a list whose addresses are hidden is refused with its remedy, and never
//! taken for a kernel with few symbols.

use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::files;
use crate::target::{Target, TargetError};
use crate::text::near_names;
use crate::units::{GuestPhys, GuestVirt, UnitError};

/// One symbol of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// The virtual address it was linked to.
    pub address: GuestVirt,
    /// Its size in bytes; 0 where the file does not say.
    pub size: u64,
}

/// Symbols that cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum SymbolError {
    /// The file cannot be read.
    #[error("cannot read the kernel's symbols from {path}: {cause}; give the vmlinux of the running kernel")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the ELF reader said.
        cause: String,
    },
    /// The file has no symbol table.
    #[error("{path} has no symbols: it was stripped; give the vmlinux as the build left it")]
    Stripped {
        /// The file.
        path: PathBuf,
    },
    /// An invalid list of symbols.
    #[error(
        "{path} is no vmlinux, no System.map and no /proc/kallsyms: {why}; a distribution's System.map may be a stub, \
         then take /proc/kallsyms as root in the guest"
    )]
    NoList {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// All addresses are 0.
    #[error(
        "{path} shows only zeros: /proc/kallsyms was read without the rights; read it as root, after \
         `sysctl kernel.kptr_restrict=1`"
    )]
    Hidden {
        /// The file.
        path: PathBuf,
    },
    /// No such symbol.
    #[error("the kernel has no symbol `{name}`{hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that are close, as ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// No such section.
    #[error("the kernel has no section `{name}`{hint}; there are {known}")]
    UnknownSection {
        /// What was asked for.
        name: String,
        /// Names that are close, as ` (did you mean …?)`, or nothing.
        hint: String,
        /// All names.
        known: String,
    },
    /// The text behind `+` is no number.
    #[error("in `{text}`: {cause}")]
    Offset {
        /// What was asked for.
        text: String,
        /// Why it is invalid.
        cause: UnitError,
    },
    /// The symbol is a number, such as a size or a version, not a place.
    #[error("symbol `{name}` ({address}) lies outside of the kernel's image; it names no memory")]
    NotInImage {
        /// The symbol.
        name: String,
        /// Its value.
        address: GuestVirt,
    },
    /// The symbol was in memory that the kernel gave back once it was up.
    #[error(
        "symbol `{name}` belongs to the kernel's start-up; its memory was given back and holds something else now"
    )]
    GivenBack {
        /// The symbol.
        name: String,
    },
    /// The kernel's place is not known.
    #[error(
        "symbols cannot be used: the guest has not given its /proc/iomem, and the banner of {path} is at no place of \
         its RAM where a kernel can be, or at several; is that the kernel that runs?"
    )]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The guest runs another kernel than the file.
    #[error(
        "{path} cannot be taken for the kernel that this guest runs: {why}; give the symbols of that one"
    )]
    NotThisKernel {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// The guest could not be read.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// The symbols of one kernel, sorted by address.
#[derive(Debug)]
pub struct Symbols {
    pub(super) path: PathBuf,
    pub(super) by_address: Vec<Symbol>,
    /// Bytes of the kernel that are known, and where: its banners.
    pub(super) known: Vec<(GuestVirt, Vec<u8>)>,
    pub(super) sections: Vec<Symbol>,
}

impl Symbols {
    /// Reads an ELF file's symbol table, or the lines of a `System.map` or of `/proc/kallsyms`.
    ///
    /// # Errors
    /// The file cannot be read, is none of these, or has no symbols.
    pub fn load(path: &Path) -> Result<Self, SymbolError> {
        let fail = |cause: String| SymbolError::Read { path: path.to_owned(), cause };
        let data = files::read_plain(path).map_err(|e| fail(e.to_string()))?;
        if !data.starts_with(b"\x7fELF") {
            return Symbols::from_list(path, &String::from_utf8_lossy(&data));
        }
        let file = object::File::parse(&*data).map_err(|e| fail(e.to_string()))?;
        let mut by_address: Vec<Symbol> = file
            .symbols()
            .filter(|s| matches!(s.kind(), SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown))
            .filter_map(|s| {
                let name = s.name().ok().filter(|name| !name.is_empty() && !name.starts_with('$'))?;
                Some(Symbol { name: name.to_owned(), address: GuestVirt(s.address()), size: s.size() })
            })
            .collect();
        if by_address.is_empty() {
            return Err(SymbolError::Stripped { path: path.to_owned() });
        }
        by_address.sort_by(|a, b| (a.address, a.size, &a.name).cmp(&(b.address, b.size, &b.name)));
        let sections = file.sections().filter(|s| s.address() != 0 && s.size() > 0).filter_map(|s| {
            let name = s.name().ok()?.to_owned();
            Some(Symbol { name, address: GuestVirt(s.address()), size: s.size() })
        });
        let sections = sections.collect();
        let mut symbols = Symbols { path: path.to_owned(), by_address, known: Vec::new(), sections };
        let banner = symbols.get("linux_banner").ok().map(|s| s.address).and_then(|at| {
            let holds =
                |s: &object::Section<'_, '_>| at.0.checked_sub(s.address()).is_some_and(|o| o < s.size());
            let section = file.sections().find(holds)?;
            let offset = usize::try_from(at.0 - section.address()).ok()?;
            let bytes = section.data().ok()?.get(offset..)?.get(..BANNER_BYTES)?;
            Some((at, bytes.to_vec()))
        });
        symbols.known.extend(banner);
        Ok(symbols)
    }

    /// Reads lines of `ADDRESS TYPE NAME`; those of modules, which have `[MODULE]` behind them, are left out.
    fn from_list(path: &Path, text: &str) -> Result<Self, SymbolError> {
        let mut by_address: Vec<Symbol> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let address = words.first().and_then(|word| u64::from_str_radix(word, 16).ok());
            match (address, words.as_slice()) {
                (Some(address), [_, kind, name]) if kind.len() == 1 => {
                    by_address.push(Symbol {
                        name: (*name).to_owned(),
                        address: GuestVirt(address),
                        size: 0,
                    });
                }
                (Some(_), [_, kind, _, module]) if kind.len() == 1 && module.starts_with('[') => {}
                (_, []) => {}
                _ => {
                    let line: String = line.chars().take(60).collect();
                    let why = format!("line {} is `{line}`", index + 1);
                    return Err(SymbolError::NoList { path: path.to_owned(), why });
                }
            }
        }
        if by_address.len() < FEWEST {
            let why = format!("it has {} symbols", by_address.len());
            return Err(SymbolError::NoList { path: path.to_owned(), why });
        }
        if by_address.iter().all(|symbol| symbol.address.0 == 0) {
            return Err(SymbolError::Hidden { path: path.to_owned() });
        }
        by_address.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        // A symbol reaches as far as the next one.
        let mut next = None;
        for symbol in by_address.iter_mut().rev() {
            symbol.size = next.map_or(0, |next: GuestVirt| next.0 - symbol.address.0);
            if symbol.size > 0 || next.is_none() {
                next = Some(symbol.address);
            }
        }
        let mut symbols =
            Symbols { path: path.to_owned(), by_address, known: Vec::new(), sections: Vec::new() };
        let at = |name: &str| symbols.get(name).ok().map(|symbol| symbol.address);
        let sections = SECTIONS.iter().filter_map(|(name, first, behind)| {
            let (first, behind) = (at(first)?, at(behind)?);
            let size = behind.0.checked_sub(first.0).filter(|size| *size > 0)?;
            Some(Symbol { name: (*name).to_owned(), address: first, size })
        });
        let sections = sections.collect();
        // The second alone proves nothing: it is the same text in every kernel.
        let known = match (at("linux_banner"), at("linux_proc_banner")) {
            (Some(banner), Some(format)) => vec![(banner, BANNER.to_vec()), (format, PROC_BANNER.to_vec())],
            (Some(banner), None) => vec![(banner, BANNER.to_vec())],
            (None, _) => Vec::new(),
        };
        symbols.sections = sections;
        symbols.known = known;
        Ok(symbols)
    }

    /// The symbol with this name.
    ///
    /// # Errors
    /// [`SymbolError::Unknown`], with close names.
    pub fn get(&self, name: &str) -> Result<&Symbol, SymbolError> {
        // Of several symbols with one name the largest is the object that is meant.
        let found = self.by_address.iter().filter(|s| s.name == name).max_by_key(|s| s.size);
        found.ok_or_else(|| {
            let hint = near_names(name, self.by_address.iter().map(|symbol| symbol.name.as_str()));
            SymbolError::Unknown { name: name.to_owned(), hint }
        })
    }

    /// The symbol that holds the address, and how far into it the address lies.
    #[must_use]
    pub fn at(&self, address: GuestVirt) -> Option<(&Symbol, u64)> {
        let end = self.by_address.partition_point(|s| s.address <= address);
        // Of the symbols that start at or before the address, the nearest that reaches it; labels
        // without a size reach as far as the next symbol.
        self.by_address[..end].iter().rev().take(64).find_map(|s| {
            let offset = address.0 - s.address.0;
            let reaches = offset < s.size || (s.size == 0 && offset < 4096);
            reaches.then_some((s, offset))
        })
    }

    /// The file that they are of.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All symbols by address.
    #[must_use]
    pub fn all(&self) -> &[Symbol] {
        &self.by_address
    }

    /// Whether all bytes that are known are those of an image that starts at `first`.
    pub(super) fn is_at(
        &self,
        first: GuestPhys,
        first_virt: GuestVirt,
        target: &mut dyn Target,
    ) -> Result<bool, SymbolError> {
        for (at, expected) in &self.known {
            let mut seen = vec![0; expected.len()];
            let place = first.0.wrapping_add(at.0.wrapping_sub(first_virt.0));
            target.read_memory(GuestPhys(place), &mut seen)?;
            if seen != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The bytes compared with the guest before symbols are believed.
pub(super) const BANNER_BYTES: usize = 64;

/// How `linux_banner` begins, and the format of `/proc/version` (`init/version.c`), for files without bytes.
pub(super) const BANNER: &[u8] = b"Linux version ";

pub(super) const PROC_BANNER: &[u8] = b"%s version %s (";

/// A list with fewer symbols is not that of a kernel.
pub(super) const FEWEST: usize = 16;

/// What stands for sections in a list that has none: their names, first symbols, and symbols behind the last byte
/// (`include/asm-generic/vmlinux.lds.h`).
pub(in crate::kernel) const SECTIONS: [(&str, &str, &str); 4] = [
    (".text", "_stext", "_etext"),
    (".rodata", "__start_rodata", "__end_rodata"),
    (".data", "_sdata", "_edata"),
    (".bss", "__bss_start", "__bss_stop"),
];
