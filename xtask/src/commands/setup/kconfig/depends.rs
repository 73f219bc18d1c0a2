//! What the kernel's Kconfig files say each symbol depends on, read line by line.
//!
//! Invariant: **an explanation is all that is lost** by what cannot be read, and the reading has a bound.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::Dropped;
use super::config::{KernelConfig, is_symbol};
use super::expression::unmet_of;

/// What the kernel's Kconfig files say each symbol depends on.
///
/// A symbol may be defined in several places; each place has conditions that must all hold: its
/// `depends on`, the condition of its prompt, and those of the blocks around it in the same file.
/// An `if` around a `source` line in another file is not seen, so a symbol without an unmet
/// condition may still have one.
#[derive(Debug, Default, Clone)]
pub struct Dependencies {
    places: BTreeMap<String, Vec<Vec<String>>>,
}

impl Dependencies {
    /// Reads the Kconfig files of a kernel tree: those that every architecture shares, and those
    /// of `arch/<source_arch>` (`arm64`, `x86`).
    ///
    /// What cannot be read is left out, since an explanation is all that is lost.
    #[must_use]
    pub fn read(tree: &Path, source_arch: &str) -> Dependencies {
        const FOLDERS: &[&str] = &[
            "block", "certs", "crypto", "drivers", "fs", "init", "io_uring", "kernel", "lib", "mm", "net",
            "security", "sound", "usr", "virt",
        ];
        let mut reader = Reader { files_left: 10_000, found: Dependencies::default() };
        for name in FOLDERS {
            reader.folder(&tree.join(name), 12);
        }
        reader.file(&tree.join("arch/Kconfig"));
        reader.folder(&tree.join("arch").join(source_arch), 12);
        reader.found
    }

    /// Adds what one Kconfig file says.
    pub fn add(&mut self, text: &str) {
        FileParser::default().run(text, &mut self.places);
    }

    /// Fills in `unmet` and `defined` of what was dropped.
    pub fn explain(&self, dropped: &mut [Dropped], config: &KernelConfig) {
        for dropped in dropped {
            let places = self.places.get(&dropped.symbol);
            dropped.defined = Some(places.is_some());
            dropped.unmet = places.map(|places| nearest(places, config)).unwrap_or_default();
        }
    }
}

/// The unmet conditions of the place where fewest are unmet.
fn nearest(places: &[Vec<String>], config: &KernelConfig) -> Vec<String> {
    let unmet_at = |conditions: &Vec<String>| {
        let mut unmet = Vec::new();
        for condition in conditions {
            for name in unmet_of(condition, config) {
                if !unmet.contains(&name) {
                    unmet.push(name);
                }
            }
        }
        unmet
    };
    places.iter().map(unmet_at).min_by_key(Vec::len).unwrap_or_default()
}

/// Walks the tree, within a budget.
struct Reader {
    files_left: usize,
    found: Dependencies,
}

impl Reader {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            // `file_type` does not follow links, so a tree that links back into itself ends.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 0 {
                self.folder(&entry.path(), depth - 1);
            } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with("Kconfig") {
                self.file(&entry.path());
            }
        }
    }

    fn file(&mut self, path: &Path) {
        const MAX_BYTES: u64 = 1 << 20;
        if self.files_left == 0 || !std::fs::metadata(path).is_ok_and(|meta| meta.len() <= MAX_BYTES) {
            return;
        }
        self.files_left -= 1;
        if let Ok(bytes) = std::fs::read(path) {
            self.found.add(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// What the attributes that follow belong to.
#[derive(Clone, Copy)]
enum Owner {
    Nothing,
    /// The menu or choice on top of the stack.
    Block,
    Symbol,
}

/// The line-by-line state in one Kconfig file.
struct FileParser {
    /// Conditions of the blocks around the line, outermost first.
    blocks: Vec<Vec<String>>,
    owner: Owner,
    symbol: String,
    conditions: Vec<String>,
}

impl Default for FileParser {
    fn default() -> Self {
        FileParser {
            blocks: Vec::new(),
            owner: Owner::Nothing,
            symbol: String::new(),
            conditions: Vec::new(),
        }
    }
}

impl FileParser {
    fn run(mut self, text: &str, places: &mut BTreeMap<String, Vec<Vec<String>>>) {
        let mut help: Option<HelpText> = None;
        for line in joined_lines(text) {
            if let Some(inside) = &mut help {
                if inside.takes(&line) {
                    continue;
                }
                help = None;
            }
            let line_without_comment = strip_comment(&line);
            let (keyword, rest) = split_keyword(line_without_comment);
            if matches!(keyword, "help" | "---help---") {
                help = Some(HelpText::default());
            } else {
                self.line(keyword, rest, places);
            }
        }
        self.finish_symbol(places);
    }

    fn line(&mut self, keyword: &str, rest: &str, places: &mut BTreeMap<String, Vec<Vec<String>>>) {
        match keyword {
            "config" | "menuconfig" => {
                self.finish_symbol(places);
                if is_symbol(rest) {
                    self.owner = Owner::Symbol;
                    self.symbol = rest.to_owned();
                }
            }
            "menu" | "choice" => {
                self.finish_symbol(places);
                self.blocks.push(Vec::new());
                self.owner = Owner::Block;
            }
            "if" => {
                self.finish_symbol(places);
                self.blocks.push(vec![rest.to_owned()]);
            }
            "endmenu" | "endchoice" | "endif" => {
                self.finish_symbol(places);
                self.blocks.pop();
            }
            "comment" | "source" | "mainmenu" => self.finish_symbol(places),
            "depends" => {
                if let ("on", condition) = split_keyword(rest) {
                    self.condition(condition);
                }
            }
            "bool" | "tristate" | "string" | "int" | "hex" | "prompt" => {
                if let Some(condition) = after_prompt(rest) {
                    self.condition(condition);
                }
            }
            _ => {}
        }
    }

    fn condition(&mut self, condition: &str) {
        match self.owner {
            Owner::Nothing => {}
            Owner::Symbol => self.conditions.push(condition.to_owned()),
            Owner::Block => {
                if let Some(block) = self.blocks.last_mut() {
                    block.push(condition.to_owned());
                }
            }
        }
    }

    fn finish_symbol(&mut self, places: &mut BTreeMap<String, Vec<Vec<String>>>) {
        if matches!(self.owner, Owner::Symbol) {
            let mut all: Vec<String> = self.blocks.iter().flatten().cloned().collect();
            all.append(&mut self.conditions);
            places.entry(std::mem::take(&mut self.symbol)).or_default().push(all);
        }
        self.owner = Owner::Nothing;
        self.conditions.clear();
    }
}

/// A help text ends at the first line that is indented less than its own first line.
#[derive(Default)]
struct HelpText {
    indent: Option<usize>,
}

impl HelpText {
    fn takes(&mut self, line: &str) -> bool {
        if line.trim().is_empty() {
            return true;
        }
        let indent = line
            .chars()
            .map_while(|c| match c {
                ' ' => Some(1),
                '\t' => Some(8),
                _ => None,
            })
            .sum::<usize>();
        indent > 0 && indent >= *self.indent.get_or_insert(indent)
    }
}

/// The lines of a text, with those joined that end in a backslash.
fn joined_lines(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut whole = lines.next()?.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            whole.push_str(lines.next()?);
        }
        Some(whole)
    })
}

fn strip_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

fn split_keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    match line.split_once(char::is_whitespace) {
        Some((keyword, rest)) => (keyword, rest.trim()),
        None => (line, ""),
    }
}

/// The condition in `"prompt" if CONDITION`.
fn after_prompt(rest: &str) -> Option<&str> {
    let inner = rest.strip_prefix('"')?;
    let (_, after) = inner.split_once('"')?;
    match split_keyword(after) {
        ("if", condition) => Some(condition),
        _ => None,
    }
}
