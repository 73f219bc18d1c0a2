//! Where the kernel's symbols lie in the guest's physical memory.
//!
//! A kernel may have moved itself (KASLR): its image stays in one piece, so that one place that is known gives
//! all. That is the start of its code in `/proc/iomem`, or where the guest has not given that, its banner:
//! images are aligned to 2 MiB in physical and in virtual memory, so that few places can hold it.
//!
//! Invariant: a symbol is only turned into an address after bytes of the running guest have been
//! compared with the file ([`SymbolMap::anchor`]); a different kernel is refused instead of flipped in
//! the wrong place.

use crate::arch::ArchRow;
use crate::kernel::symbols::file::{Symbol, SymbolError, Symbols};
use crate::memory::{MapSource, MemoryMap, PhysRange};
use crate::target::Target;
use crate::text::near_words;
use crate::units::{GuestPhys, GuestVirt, parse_number};

/// Why nothing can be compared.
const NO_BANNER: &str =
    "it has no linux_banner to compare (kallsyms of a kernel without CONFIG_KALLSYMS_ALL have none)";
/// What kernel images are aligned to: `MIN_KIMG_ALIGN` on arm64, `CONFIG_PHYSICAL_ALIGN` on x86.
const IMAGE_ALIGN: u64 = 2 << 20;
/// Symbols that were checked against a running guest: virtual addresses of the kernel's image turn
/// into physical ones and back.
#[derive(Debug)]
pub struct SymbolMap {
    symbols: Symbols,
    image: PhysRange,
    first_virt: GuestVirt,
    /// Start-up code and data, which a kernel that is up has given back.
    given_back: Option<(u64, u64)>,
}

impl SymbolMap {
    /// Finds where the guest has the kernel's image, and compares the kernel's banner there with
    /// the file's. The machine must be stopped.
    ///
    /// # Errors
    /// The kernel is not found or is a different one, or the guest is lost.
    pub fn anchor(
        symbols: Symbols,
        arch: &ArchRow,
        map: &MemoryMap,
        target: &mut dyn Target,
    ) -> Result<Self, SymbolError> {
        let (code, data) = (map.first_range("Kernel code"), map.first_range("Kernel data"));
        let Some((code, data)) = code.zip(data).filter(|_| map.source() == MapSource::Iomem) else {
            return SymbolMap::search(symbols, arch, map, target);
        };
        let differs = |why: String| SymbolError::NotThisKernel { path: symbols.path.clone(), why };
        let code_virt = symbols.get(arch.code_start_symbol)?.address;
        let data_virt = symbols.get(arch.data_start_symbol)?.address;
        let (in_guest, in_file) =
            (data.first.0.wrapping_sub(code.first.0), data_virt.0.wrapping_sub(code_virt.0));
        if in_guest != in_file {
            return Err(differs(format!(
                "its data start {in_file:#x} bytes behind its code, the guest's {in_guest:#x}"
            )));
        }
        // Some architectures count the zeroed data to the data, and some show it by itself.
        let zeroed = map.first_range("Kernel bss").map_or(data.last, |bss| bss.last);
        let image = PhysRange { first: code.first, last: code.last.max(data.last).max(zeroed) };
        let (at, expected) = symbols.known.first().ok_or_else(|| differs(NO_BANNER.to_owned()))?;
        let offset = at.0.checked_sub(code_virt.0);
        let phys = offset.and_then(|offset| image.first.0.checked_add(offset)).map(GuestPhys);
        let phys = phys
            .filter(|p| image.contains(*p))
            .ok_or_else(|| differs("its linux_banner lies outside of the kernel's image".to_owned()))?;
        let mut seen = vec![0; expected.len()];
        target.read_memory(phys, &mut seen)?;
        if seen != *expected {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            return Err(differs(format!("it says `{}`, the guest `{}`", text(expected), text(&seen))));
        }
        Ok(SymbolMap::new(symbols, image, code_virt))
    }

    fn new(symbols: Symbols, image: PhysRange, first_virt: GuestVirt) -> Self {
        let bound = |name| symbols.get(name).ok().map(|symbol| symbol.address.0);
        let given_back = bound("__init_begin").zip(bound("__init_end"));
        SymbolMap { symbols, image, first_virt, given_back }
    }

    /// Finds the image by its banner, for a guest whose own map is not known.
    fn search(
        symbols: Symbols,
        arch: &ArchRow,
        map: &MemoryMap,
        target: &mut dyn Target,
    ) -> Result<Self, SymbolError> {
        let not_found = || SymbolError::NotFound { path: symbols.path.clone() };
        let why = || SymbolError::NotThisKernel { path: symbols.path.clone(), why: NO_BANNER.to_owned() };
        let (banner, _) = symbols.known.first().ok_or_else(why)?;
        let first_virt = symbols.get(arch.code_start_symbol)?.address;
        let before = banner.0.checked_sub(first_virt.0).ok_or_else(not_found)?;
        let end = symbols.get("_end").or_else(|_| symbols.get("_edata"))?.address;
        let length =
            end.0.checked_sub(first_virt.0).filter(|length| *length > before).ok_or_else(not_found)?;
        let mut found = Vec::new();
        for range in map.ram().ranges() {
            let apart = banner.0.wrapping_sub(range.first.0) % IMAGE_ALIGN;
            let mut at = range.first.0.checked_add(apart);
            while let Some(place) = at.filter(|place| *place <= range.last.0) {
                let image = place.checked_sub(before).and_then(|first| {
                    PhysRange::new(GuestPhys(first), GuestPhys(first.checked_add(length - 1)?))
                });
                if let Some(image) = image.filter(|image| range.covers(*image))
                    && symbols.is_at(image.first, first_virt, target)?
                {
                    found.push(image);
                }
                at = place.checked_add(IMAGE_ALIGN);
            }
        }
        match found.as_slice() {
            [image] => {
                let image = *image;
                Ok(SymbolMap::new(symbols, image, first_virt))
            }
            _ => Err(not_found()),
        }
    }

    /// The symbols.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The symbol of `NAME` or `NAME+OFFSET`, and the offset.
    fn place(&self, text: &str) -> Result<(&Symbol, Option<u64>), SymbolError> {
        let (name, offset) = match text.split_once('+') {
            None => (text, None),
            Some((name, offset)) => {
                let offset = parse_number(offset)
                    .map_err(|cause| SymbolError::Offset { text: text.to_owned(), cause })?;
                (name, Some(offset))
            }
        };
        Ok((self.symbols.get(name.trim())?, offset))
    }

    /// The virtual address of `NAME` or `NAME+OFFSET`, as the file has it: where the kernel runs that has not moved itself.
    ///
    /// # Errors
    /// No such symbol, a bad offset, or a place that the kernel has given back.
    pub fn virt(&self, text: &str) -> Result<GuestVirt, SymbolError> {
        let (symbol, offset) = self.place(text)?;
        let outside = || SymbolError::NotInImage { name: text.to_owned(), address: symbol.address };
        let start = symbol.address.0.checked_add(offset.unwrap_or(0)).ok_or_else(outside)?;
        if self.is_given_back(start) {
            return Err(SymbolError::GivenBack { name: text.to_owned() });
        }
        Ok(GuestVirt(start))
    }

    /// The physical bytes of `NAME` or `NAME+OFFSET`: the whole symbol (at least one byte), or the
    /// one byte at the offset.
    ///
    /// # Errors
    /// No such symbol, a bad offset, or a symbol that names no memory.
    pub fn resolve(&self, text: &str) -> Result<PhysRange, SymbolError> {
        let (symbol, offset) = self.place(text)?;
        let outside = || SymbolError::NotInImage { name: text.to_owned(), address: symbol.address };
        let GuestVirt(start) = self.virt(text)?;
        // Another name for the same place, such as `jiffies`, may have no size.
        let all = &self.symbols.by_address;
        let first = all.partition_point(|other| other.address < symbol.address);
        let same = all[first..].iter().take_while(|other| other.address == symbol.address);
        let size = same.map(|other| other.size).max().unwrap_or(symbol.size);
        let len = if offset.is_some() { 1 } else { size.max(1) };
        let first = self.phys(GuestVirt(start)).ok_or_else(outside)?;
        let last = self.phys(GuestVirt(start.saturating_add(len - 1))).ok_or_else(outside)?;
        PhysRange::new(first, last).ok_or_else(outside)
    }

    /// The physical bytes of a section of the kernel's file, `.data` for example.
    ///
    /// # Errors
    /// There is no such section, or it is not in the running kernel's image.
    pub fn section(&self, name: &str) -> Result<PhysRange, SymbolError> {
        let Some(section) = self.symbols.sections.iter().find(|section| section.name == name) else {
            let names: Vec<&str> = self.symbols.sections.iter().map(|s| s.name.as_str()).collect();
            let (hint, known) = (near_words(name, names.iter().copied()), names.join(", "));
            return Err(SymbolError::UnknownSection { name: name.to_owned(), hint, known });
        };
        let outside = || SymbolError::NotInImage { name: name.to_owned(), address: section.address };
        if self.is_given_back(section.address.0) {
            return Err(SymbolError::GivenBack { name: name.to_owned() });
        }
        let first = self.phys(section.address).ok_or_else(outside)?;
        let last =
            self.phys(GuestVirt(section.address.0.saturating_add(section.size - 1))).ok_or_else(outside)?;
        PhysRange::new(first, last).ok_or_else(outside)
    }

    fn is_given_back(&self, address: u64) -> bool {
        self.given_back.is_some_and(|(begin, end)| (begin..end).contains(&address))
    }

    /// The physical address of a virtual one inside the kernel's image.
    #[must_use]
    pub fn phys(&self, address: GuestVirt) -> Option<GuestPhys> {
        let offset = address.0.checked_sub(self.first_virt.0)?;
        let phys = GuestPhys(self.image.first.0.checked_add(offset)?);
        self.image.contains(phys).then_some(phys)
    }

    /// `name+0xoffset` of a physical address inside the kernel's image.
    #[must_use]
    pub fn name_at(&self, address: GuestPhys) -> Option<String> {
        let (symbol, offset) = self.symbol_at(address)?;
        Some(if offset == 0 { symbol.name.clone() } else { format!("{}+{offset:#x}", symbol.name) })
    }

    /// The symbol that holds a physical address inside the kernel's image, and how far into it the address lies.
    #[must_use]
    pub fn symbol_at(&self, address: GuestPhys) -> Option<(&Symbol, u64)> {
        if !self.image.contains(address) {
            return None;
        }
        let virt = GuestVirt(self.first_virt.0.checked_add(address.0 - self.image.first.0)?);
        if self.is_given_back(virt.0) {
            return None;
        }
        self.symbols.at(virt)
    }
}

#[cfg(test)]
pub(crate) mod tests;
