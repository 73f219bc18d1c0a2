//! From which source file, and which line of it, each instruction of a kernel comes.
//!
//! ```text
//! DWARF of a vmlinux ─→ Sources ─→ a section of a vmlinux without DWARF ─→ Sources
//! ```
//!
//! Invariant: a file is named from the root of the kernel's tree on, wherever it was built; what is damaged is refused,
//! and never a place that is wrong.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gimli::{AttributeValue, EndianSlice, RunTimeEndian};
use object::{Object, ObjectSection};

use crate::files;
use crate::units::GuestVirt;

/// The section of a `vmlinux` that has them, where its DWARF was left out.
pub const SECTION: &str = ".flipsim.sources";

/// The most bytes that the section may unpack to.
const MOST: u64 = 256 << 20;

/// How the section begins.
const HEAD: &str = "flipsim sources 1";

/// A row of code that comes from no line.
const NOWHERE: u32 = u32::MAX;

/// The source files of a kernel's code.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<String>,
    /// What each translation unit has, by its first address.
    units: Vec<Unit>,
    /// From which address on which line holds, in the order of addresses.
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unit {
    first: u64,
    size: u64,
    file: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    address: u64,
    file: u32,
    line: u32,
}

/// Where an instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The file that was compiled: `fs/ext4/namei.c`.
    pub unit: &'a str,
    /// The line, and the file that it stands in, which may be a header: `include/linux/list.h`.
    pub line: Option<(&'a str, u32)>,
}

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

impl Sources {
    /// Those of a `vmlinux`: of its section, or of its DWARF. `None` where it has neither.
    ///
    /// # Errors
    /// It cannot be read, or what it has is damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let data = files::read_plain(path).map_err(|error| error.to_string())?;
        if !data.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let file = object::File::parse(&*data).map_err(|error| error.to_string())?;
        match file.section_by_name(SECTION) {
            Some(section) => Self::from_section(section.data().map_err(|error| error.to_string())?).map(Some),
            None if file.section_by_name(".debug_info").is_none() => Ok(None),
            None => Self::from_dwarf(&file).map(Some).map_err(|error| format!("its DWARF: {error}")),
        }
    }

    /// Where the instruction at this address comes from.
    #[must_use]
    pub fn at(&self, address: GuestVirt) -> Option<Source<'_>> {
        let address = address.0;
        let next = self.units.partition_point(|unit| unit.first <= address);
        let unit = self.units[..next].last().filter(|unit| address - unit.first < unit.size)?;
        let next = self.rows.partition_point(|row| row.address <= address);
        let row = self.rows[..next].last().filter(|row| row.file != NOWHERE && row.line != 0);
        let name = |file: u32| self.files.get(file as usize).map(String::as_str);
        Some(Source { unit: name(unit.file)?, line: row.and_then(|row| Some((name(row.file)?, row.line))) })
    }

    fn from_dwarf(file: &object::File<'_>) -> Result<Self, gimli::Error> {
        let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let load = |id: gimli::SectionId| {
            let data = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
            Ok::<_, gimli::Error>(data.unwrap_or(Cow::Borrowed(&[])))
        };
        let sections = gimli::DwarfSections::load(load)?;
        let dwarf = sections.borrow(|section| EndianSlice::new(section, endian));
        let mut made = Making::default();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = dwarf.unit(header)?;
            let Some(name) = unit.name else { continue };
            let built_in =
                unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
            let name = joined(&built_in, &name.to_string_lossy());
            let number = made.file(name);
            let mut ranges = dwarf.unit_ranges(&unit)?;
            while let Some(range) = ranges.next()? {
                let size = range.end.saturating_sub(range.begin);
                if size > 0 && range.begin > 0 {
                    made.units.push(Unit { first: range.begin, size, file: number });
                }
            }
            made.lines(&dwarf, &unit, &built_in)?;
        }
        Ok(made.done())
    }

    /// Them as a section has them.
    #[must_use]
    pub fn section(&self) -> Vec<u8> {
        let mut text = format!("{HEAD}\n{} {} {}\n", self.files.len(), self.units.len(), self.rows.len());
        for file in &self.files {
            _ = writeln!(text, "{file}");
        }
        let mut last = 0;
        for Unit { first, size, file } in &self.units {
            _ = writeln!(text, "{} {size} {file}", first.wrapping_sub(last));
            last = *first;
        }
        last = 0;
        for Row { address, file, line } in &self.rows {
            _ = writeln!(text, "{} {file} {line}", address.wrapping_sub(last));
            last = *address;
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        // In memory, neither fails.
        _ = packed.write_all(text.as_bytes());
        packed.finish().unwrap_or_default()
    }

    /// Those of a section's bytes.
    ///
    /// # Errors
    /// They are no such section.
    pub fn from_section(bytes: &[u8]) -> Result<Self, String> {
        let damaged = || format!("its section {SECTION} is damaged");
        let mut text = String::new();
        GzDecoder::new(bytes).take(MOST).read_to_string(&mut text).map_err(|_| damaged())?;
        Self::parse(&text).ok_or_else(damaged)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|head| *head == HEAD)?;
        let [files, units, rows] = numbers(lines.next()?)?;
        let files: Vec<String> =
            lines.by_ref().take(usize::try_from(files).ok()?).map(str::to_owned).collect();
        let known = |file: u64| u32::try_from(file).ok().filter(|file| (*file as usize) < files.len());
        let mut made = Sources::default();
        let mut last: u64 = 0;
        for line in lines.by_ref().take(usize::try_from(units).ok()?) {
            let [step, size, file] = numbers(line)?;
            last = last.checked_add(step)?;
            made.units.push(Unit { first: last, size, file: known(file)? });
        }
        last = 0;
        for line in lines.by_ref().take(usize::try_from(rows).ok()?) {
            let [step, file, line] = numbers(line)?;
            last = last.checked_add(step)?;
            let file = if file == u64::from(NOWHERE) { NOWHERE } else { known(file)? };
            made.rows.push(Row { address: last, file, line: u32::try_from(line).ok()? });
        }
        let whole =
            lines.next().is_none() && made.units.len() as u64 == units && made.rows.len() as u64 == rows;
        made.files = files;
        whole.then_some(made)
    }
}

fn numbers<const N: usize>(line: &str) -> Option<[u64; N]> {
    let words: Vec<u64> = line.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    words.try_into().ok()
}

/// What was read of the DWARF so far.
#[derive(Default)]
struct Making {
    numbers: HashMap<String, u32>,
    files: Vec<String>,
    units: Vec<Unit>,
    rows: Vec<Row>,
}

impl Making {
    fn file(&mut self, name: String) -> u32 {
        let Making { numbers, files, .. } = self;
        *numbers.entry(name).or_insert_with_key(|name| {
            files.push(name.clone());
            u32::try_from(files.len() - 1).unwrap_or(NOWHERE)
        })
    }

    fn lines(
        &mut self,
        dwarf: &gimli::Dwarf<Slice<'_>>,
        unit: &gimli::Unit<Slice<'_>>,
        built_in: &str,
    ) -> Result<(), gimli::Error> {
        let Some(program) = unit.line_program.clone() else { return Ok(()) };
        let text = |value: AttributeValue<Slice<'_>>| -> Result<String, gimli::Error> {
            Ok(dwarf.attr_string(unit, value)?.to_string_lossy().into_owned())
        };
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut rows = program.rows();
        while let Some((header, row)) = rows.next_row()? {
            let number = match (row.end_sequence(), numbers.get(&row.file_index())) {
                (true, _) => NOWHERE,
                (false, Some(number)) => *number,
                (false, None) => {
                    let Some(file) = row.file(header) else { continue };
                    let folder = file.directory(header).map(text).transpose()?.unwrap_or_default();
                    let number = self.file(joined(&joined(built_in, &folder), &text(file.path_name())?));
                    numbers.insert(row.file_index(), number);
                    number
                }
            };
            let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
            self.rows.push(Row { address: row.address(), file: number, line });
        }
        Ok(())
    }

    fn done(mut self) -> Sources {
        self.units.sort_unstable();
        // Where one piece of code ends and the next begins, the one that begins counts; of lines at one address the last.
        self.rows.sort_by_key(|row| (row.address, row.file != NOWHERE));
        let mut rows: Vec<Row> = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            if rows.last().is_some_and(|last| last.address == row.address) {
                rows.pop();
            }
            if rows.last().is_none_or(|last| (last.file, last.line) != (row.file, row.line)) {
                rows.push(row);
            }
        }
        let mut made = Sources { files: self.files, units: self.units, rows };
        made.without_the_root();
        made
    }
}

impl Sources {
    /// Leaves out of all names where the tree lay: that is known of one file which every kernel has.
    fn without_the_root(&mut self) {
        let main = self.files.iter().filter_map(|file| file.strip_suffix("init/main.c"));
        let Some(root) = main.min_by_key(|root| root.len()).map(str::to_owned) else { return };
        for file in &mut self.files {
            if let Some(inside) = file.strip_prefix(&root) {
                *file = inside.to_owned();
            }
        }
    }
}

/// A path in a folder, without `.` and `..`.
fn joined(folder: &str, path: &str) -> String {
    let whole = match path.starts_with('/') || folder.is_empty() {
        true => path.to_owned(),
        false => format!("{folder}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    let start = if whole.starts_with('/') { "/" } else { "" };
    format!("{start}{}", parts.join("/")).replace(['\n', '\r'], "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Sources {
        let mut making = Making::default();
        let main = making.file(joined("/build/linux-6.1", "init/main.c"));
        let namei = making.file(joined("/build/linux-6.1/debian/build", "../../fs/ext4/namei.c"));
        let list = making.file(joined("/build/linux-6.1", "./include/linux/list.h"));
        making.units = vec![
            Unit { first: 0x2000, size: 0x100, file: namei },
            Unit { first: 0x1000, size: 0x80, file: main },
        ];
        making.rows = vec![
            Row { address: 0x2000, file: namei, line: 10 },
            Row { address: 0x2010, file: list, line: 70 },
            Row { address: 0x2020, file: namei, line: 12 },
            Row { address: 0x2100, file: NOWHERE, line: 0 },
            Row { address: 0x1000, file: main, line: 5 },
            Row { address: 0x1080, file: NOWHERE, line: 0 },
        ];
        making.done()
    }

    #[test]
    fn an_address_has_the_file_that_was_compiled_and_the_line_which_may_be_a_headers() {
        let sources = made();
        let at = |address| sources.at(GuestVirt(address));
        let namei = "fs/ext4/namei.c";
        assert_eq!(at(0x2004), Some(Source { unit: namei, line: Some((namei, 10)) }));
        assert_eq!(at(0x2010), Some(Source { unit: namei, line: Some(("include/linux/list.h", 70)) }));
        assert_eq!(at(0x20ff), Some(Source { unit: namei, line: Some((namei, 12)) }));
        assert_eq!((at(0x2100), at(0xfff), at(0x1080)), (None, None, None));
        assert_eq!(at(0x1000).map(|source| source.unit), Some("init/main.c"));
    }

    #[test]
    fn a_section_has_all_of_it_and_a_damaged_one_is_refused() {
        let sources = made();
        let section = sources.section();
        assert_eq!(Sources::from_section(&section).as_ref(), Ok(&sources));
        for cut in 0..section.len() {
            assert!(Sources::from_section(&section[..cut]).is_err(), "{cut}");
        }
        let plain = |text: &str| Sources::parse(text).is_some();
        assert!(plain("flipsim sources 1\n1 1 1\na.c\n16 4 0\n16 0 7\n"));
        for wrong in [
            "flipsim sources 2\n1 1 1\na.c\n16 4 0\n16 0 7\n",
            "flipsim sources 1\n1 1 1\na.c\n16 4 1\n16 0 7\n",
            "flipsim sources 1\n1 1 1\na.c\n16 4 0\n16 9 7\n",
            "flipsim sources 1\n1 1 2\na.c\n16 4 0\n16 0 7\n",
            "flipsim sources 1\n1 1 1\na.c\n16 4 0\n16 0 7\nmore\n",
            "flipsim sources 1\n1 2 1\na.c\n18446744073709551615 4 0\n1 1 0\n16 0 7\n",
        ] {
            assert!(!plain(wrong), "{wrong}");
        }
    }
}
