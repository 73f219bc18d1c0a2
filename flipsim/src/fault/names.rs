//! What a guest calls its memory: the regions of its map, and its kernel's symbols.
//!
//! Invariant: **a place that has no name is shown without one**; only a symbol that is asked for by name is an error.

use std::path::Path;
use std::sync::OnceLock;

use crate::arch::ArchRow;
use crate::kernel::symbols::{Sources, Symbol, SymbolError, SymbolMap, Symbols};
use crate::memory::{MemoryMap, PhysRange};
use crate::target::Target;
use crate::units::{GuestPhys, GuestVirt};

/// A guest's own names for places in its RAM.
#[derive(Debug)]
pub struct GuestNames {
    /// Its memory map.
    pub map: MemoryMap,
    /// Its kernel's symbols, or why there are none.
    symbols: Result<SymbolMap, String>,
    /// Which source its code is of, read when that is first asked for.
    sources: OnceLock<Option<Sources>>,
}

/// A symbol that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// There are no symbols at all.
    #[error("symbol {name}: {why}")]
    NoSymbols {
        /// The one asked for.
        name: String,
        /// Why not.
        why: String,
    },
    /// There is none of this name.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
}

impl GuestNames {
    /// The names of a stopped guest, whose symbols are in the file `vmlinux`.
    #[must_use]
    pub fn read(map: MemoryMap, vmlinux: Option<&Path>, arch: &ArchRow, target: &mut dyn Target) -> Self {
        let symbols = match vmlinux {
            None => {
                Err("no symbols are known for this guest; give a vmlinux, a System.map or its kallsyms with \
                         --vmlinux"
                    .to_owned())
            }
            Some(path) => Symbols::load(path)
                .and_then(|symbols| SymbolMap::anchor(symbols, arch, &map, target))
                .map_err(|error| error.to_string()),
        };
        GuestNames { map, symbols, sources: OnceLock::new() }
    }

    /// Those of a kernel whose symbols are anchored.
    #[cfg(test)]
    pub(crate) fn with_symbols(map: MemoryMap, symbols: SymbolMap) -> Self {
        GuestNames { map, symbols: Ok(symbols), sources: OnceLock::new() }
    }

    /// Those of a kernel without symbols.
    #[must_use]
    pub fn without_symbols(map: MemoryMap, why: impl Into<String>) -> Self {
        GuestNames { map, symbols: Err(why.into()), sources: OnceLock::new() }
    }

    /// The kernel's symbols.
    ///
    /// # Errors
    /// There are none; the text says why.
    pub fn symbols(&self) -> Result<&SymbolMap, &str> {
        self.symbols.as_ref().map_err(String::as_str)
    }

    /// The bytes of a kernel symbol, `NAME` or `NAME+OFFSET`.
    ///
    /// # Errors
    /// There are no symbols, or none of this name.
    pub fn symbol(&self, name: &str) -> Result<PhysRange, NameError> {
        let none = |why: &str| NameError::NoSymbols { name: name.to_owned(), why: why.to_owned() };
        Ok(self.symbols().map_err(none)?.resolve(name)?)
    }

    /// Which file of the kernel's source was compiled to an instruction of a function, and the line that it stands in, as
    /// `include/linux/list.h:70`; nothing where that is not known, or where functions of other files have the name too.
    #[must_use]
    pub fn source_of(&self, function: &str, offset: u64) -> Option<(String, Option<String>)> {
        let symbols = self.symbols().ok()?.symbols();
        let sources = self.sources.get_or_init(|| Sources::read(symbols.path()).ok().flatten()).as_ref()?;
        let of_the_name = symbols.all().iter().filter(|symbol| symbol.name == function);
        let at = |symbol: &Symbol| sources.at(GuestVirt(symbol.address.0.saturating_add(offset)));
        let mut found = of_the_name.filter_map(at);
        let first = found.next()?;
        let (mut same_unit, mut line) = (true, first.line);
        for other in found {
            same_unit &= other.unit == first.unit;
            line = line.filter(|line| other.line == Some(*line));
        }
        same_unit.then(|| (first.unit.to_owned(), line.map(|(file, line)| format!("{file}:{line}"))))
    }

    /// The innermost region that an address is in.
    #[must_use]
    pub fn region_at(&self, address: GuestPhys) -> Option<String> {
        self.map.region_at(address).map(|region| region.name.clone())
    }

    /// The kernel symbol that an address is in, with the offset in it.
    #[must_use]
    pub fn symbol_at(&self, address: GuestPhys) -> Option<String> {
        self.symbols().ok()?.name_at(address)
    }

    /// Both, for people.
    #[must_use]
    pub fn describe(&self, address: GuestPhys) -> String {
        let known: Vec<String> = self.region_at(address).into_iter().chain(self.symbol_at(address)).collect();
        known.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::target::FakeTarget;

    #[test]
    fn without_a_file_of_symbols_regions_have_names_and_a_symbol_is_refused_with_the_remedy() {
        let iomem = "40000000-4000ffff : System RAM\n  40001000-40001fff : Kernel code\n";
        let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
        let map = MemoryMap::new(Some(iomem), mtree).unwrap();
        let mut target = FakeTarget::new("0x40000000+64K".parse().unwrap());
        let names = GuestNames::read(map, None, &Arch::default(), &mut target);
        assert_eq!(names.describe(GuestPhys(0x4000_1000)), "Kernel code");
        assert_eq!(names.describe(GuestPhys(0)), "");
        let error = names.symbol("jiffies").unwrap_err().to_string();
        assert!(error.starts_with("symbol jiffies: no symbols are known"), "{error}");
        assert!(error.contains("--vmlinux"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_why_there_are_no_symbols() {
        let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
        let map = MemoryMap::new(None, mtree).unwrap();
        let mut target = FakeTarget::new("0x40000000+64K".parse().unwrap());
        let path = Path::new("/nonexistent/vmlinux");
        let names = GuestNames::read(map, Some(path), &Arch::default(), &mut target);
        assert!(names.symbols().is_err_and(|why| why.contains("/nonexistent/vmlinux")));
    }
}
