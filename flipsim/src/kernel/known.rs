//! What must be known of a kernel before its memory can be read: its types, its page tables, and where it runs.
//!
//! Invariant: **believed only after a check**: the kernel's own pointer to its page tables must lead, by these tables, to them.

use std::io;

use object::{Object as _, ObjectSection as _};

use crate::arch::{Arch, ArchRow};
use crate::files;
use crate::kernel::symbols::SymbolMap;
use crate::kernel::types::{Array, Field, Types, TypesError};
use crate::kernel::view::{Ram, Root, View};
use crate::units::{GuestPhys, GuestVirt};

/// Why a kernel's memory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// There are no types.
    #[error(
        "the kernel has no types (BTF): its RAM has none between __start_BTF and __stop_BTF, and {path} has no section .BTF; \
         build it with CONFIG_DEBUG_INFO_BTF, as `setup kernel` does"
    )]
    NoTypes {
        /// The file of its symbols.
        path: String,
    },
    /// They cannot be read.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// A symbol or a member that nothing goes without.
    #[error("the kernel has no {0}, without which its page tables are not found")]
    Lacks(String),
    /// The check.
    #[error(
        "the kernel's page tables cannot be followed: its own address of {root} does not lead there; only tables of pages \
         of 4 KiB are known here"
    )]
    Tables {
        /// The symbol.
        root: &'static str,
    },
    /// The guest is lost.
    #[error("the guest's RAM cannot be read: {0}")]
    Lost(#[from] io::Error),
}

/// The largest types that a kernel may have.
const MOST_TYPES: u64 = 64 << 20;

/// A kernel whose memory can be read.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// Its architecture.
    pub arch: &'static ArchRow,
    /// Its symbols.
    pub map: &'a SymbolMap,
    /// Its types.
    pub types: Types,
    /// Its page tables.
    pub root: Root,
    /// How far it runs from where it was linked to.
    slide: u64,
}

impl<'a> Kernel<'a> {
    /// Looks at a stopped guest that is up.
    ///
    /// # Errors
    /// Its types or its page tables are not found, or it is lost.
    pub fn find(arch: Arch, map: &'a SymbolMap, ram: &mut dyn Ram) -> Result<Kernel<'a>, KernelError> {
        let arch = arch.row();
        let types = Types::parse(&bytes_of_types(map, ram)?)?;
        let tables = &arch.page_tables;
        let linked = |name: &str| map.symbols().get(name).ok().map(|symbol| symbol.address);
        let lacks = |what: &str| KernelError::Lacks(what.to_owned());
        let begin = linked(tables.root).ok_or_else(|| lacks(tables.root))?;
        let at = map.phys(begin).ok_or_else(|| lacks(tables.root))?;
        let own = linked("init_mm").and_then(|own| map.phys(own)).ok_or_else(|| lacks("init_mm"))?;
        let field = types.field("mm_struct", "pgd").ok_or_else(|| lacks("mm_struct.pgd"))?;
        for levels in [4, 5, 3] {
            let root = Root { at, levels, tables };
            let mut view = View::new(ram, root);
            let pointer = own.0.checked_add(field.offset).and_then(|place| view.physical_word(place));
            let leads = pointer.and_then(|pointer| view.phys(pointer));
            view.check()?;
            if let Some(pointer) = pointer.filter(|_| leads == Some(at.0)) {
                let slide = pointer.wrapping_sub(begin.0);
                return Ok(Kernel { arch, map, types, root, slide });
            }
        }
        Err(KernelError::Tables { root: tables.root })
    }

    /// Where a symbol is for the kernel that runs. Those outside of its image, as of the areas of each CPU on x86, are no addresses
    /// and stay what they are.
    #[must_use]
    pub fn at(&self, name: &str) -> Option<u64> {
        let linked = self.map.symbols().get(name).ok()?.address;
        Some(if self.map.phys(linked).is_some() { linked.0.wrapping_add(self.slide) } else { linked.0 })
    }

    /// The symbol that holds one of the running kernel's addresses.
    #[must_use]
    pub fn name_of(&self, at: u64) -> Option<&str> {
        let (symbol, _) = self.map.symbols().at(GuestVirt(at.wrapping_sub(self.slide)))?;
        Some(&symbol.name)
    }

    /// Where a member is; `None` where this kernel has none.
    #[must_use]
    pub fn field(&self, of: &str, path: &str) -> Option<Field> {
        self.types.field(of, path)
    }

    /// As [`Kernel::field`], of an array.
    #[must_use]
    pub fn array(&self, of: &str, path: &str) -> Option<Array> {
        self.types.array(of, path)
    }

    /// How far each CPU's own memory lies from where its symbols are.
    pub fn cpus(&self, view: &mut View<'_>) -> Vec<u64> {
        let Some(first) = self.at("__per_cpu_offset") else { return Vec::new() };
        let count = self.at("nr_cpu_ids").and_then(|at| view.word(at)).map_or(1, |count| count & 0xffff_ffff);
        (0..count.clamp(1, MOST_CPUS)).filter_map(|cpu| view.word(first + cpu * 8)).collect()
    }
}

/// More CPUs no guest has.
const MOST_CPUS: u64 = 1024;

/// The types of the kernel in the guest's RAM, or else in the file of its symbols.
fn bytes_of_types(map: &SymbolMap, ram: &mut dyn Ram) -> Result<Vec<u8>, KernelError> {
    let place = |name: &str| map.symbols().get(name).ok().and_then(|symbol| map.phys(symbol.address));
    let in_ram = place("__start_BTF").zip(place("__stop_BTF"));
    let length = in_ram.and_then(|(first, end)| end.0.checked_sub(first.0));
    if let (Some((GuestPhys(first), _)), Some(length)) =
        (in_ram, length.filter(|length| *length <= MOST_TYPES))
    {
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        if length > 0 && ram.read(GuestPhys(first), &mut bytes)? {
            return Ok(bytes);
        }
    }
    let path = map.symbols().path();
    let none = || KernelError::NoTypes { path: path.display().to_string() };
    let file = files::read_plain(path).map_err(|_| none())?;
    let elf = object::File::parse(&*file).map_err(|_| none())?;
    let section = elf.section_by_name(".BTF").ok_or_else(none)?;
    Ok(section.data().map_err(|_| none())?.to_vec())
}
