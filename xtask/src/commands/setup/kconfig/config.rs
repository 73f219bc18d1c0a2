//! Kernel config fragments: what was wished for, what `olddefconfig` made of it, and why not.
//!
//! `olddefconfig` drops a symbol whose dependencies are not met, and says nothing. Here every
//! symbol of every fragment is compared with the final `.config`, and the kernel's Kconfig files
//! are asked which dependency was missing, where that can be told by reading them line by line.
//!
//! Invariant: [`check`] is exact, whatever the explanation is worth; and no input, however broken,
//! makes this module panic or run without bound.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The value of a symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `=y`.
    Yes,
    /// `=m`.
    Module,
    /// `=n`, `# … is not set`, or no line at all: the three mean the same.
    No,
    /// A string, without its quotes and with its escapes kept.
    Text(String),
    /// A decimal or hexadecimal number, as it is written.
    Number(String),
}

impl Value {
    /// Reads what stands right of the `=`; `None` when it is no value.
    fn parse(text: &str) -> Option<Value> {
        match text {
            "y" => return Some(Value::Yes),
            "m" => return Some(Value::Module),
            "n" => return Some(Value::No),
            _ => {}
        }
        if let Some(inner) = text.strip_prefix('"') {
            let inner = inner.strip_suffix('"')?;
            return ends_of_string_are_real(inner).then(|| Value::Text(inner.to_owned()));
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
        };
        is_number.then(|| Value::Number(text.to_owned()))
    }

    /// Whether a symbol of this value satisfies `depends on` it.
    fn is_on(&self) -> bool {
        matches!(self, Value::Yes | Value::Module)
    }

    /// The value as an expression of Kconfig compares it.
    fn plain(&self) -> &str {
        match self {
            Value::Yes => "y",
            Value::Module => "m",
            Value::No => "n",
            Value::Text(text) | Value::Number(text) => text,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "\"{text}\""),
            other => f.write_str(other.plain()),
        }
    }
}

/// Whether a string's inside has only escaped quotes, and no escape that eats the closing one.
fn ends_of_string_are_real(inner: &str) -> bool {
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return false,
            b'\\' if bytes.next().is_none() => return false,
            _ => {}
        }
    }
    true
}

/// What a line of a fragment or `.config` is.
enum Line<'a> {
    Nothing,
    Symbol(&'a str, Value),
    Unknown,
}

fn is_symbol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn parse_line(line: &str) -> Line<'_> {
    let line = line.trim();
    if let Some(comment) = line.strip_prefix('#') {
        let off =
            comment.trim_start().strip_prefix("CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
        return match off {
            Some(name) if is_symbol(name) => Line::Symbol(name, Value::No),
            _ => Line::Nothing,
        };
    }
    if line.is_empty() {
        return Line::Nothing;
    }
    let parts = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('='));
    match parts.map(|(name, value)| (name, Value::parse(value))) {
        Some((name, Some(value))) if is_symbol(name) => Line::Symbol(name, value),
        _ => Line::Unknown,
    }
}

/// A line of a fragment that is neither a symbol nor a comment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{fragment}:{line}: `{text}` is not a line of a config fragment; write CONFIG_NAME=y (or m, n, a number, \
     a \"string\"), `# CONFIG_NAME is not set`, or a comment after #"
)]
pub struct BadLine {
    /// The fragment's name, as it was given.
    pub fragment: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// One wish of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The symbol, without `CONFIG_`.
    pub symbol: String,
    /// The value it should have.
    pub value: Value,
    /// The line's number, from 1.
    pub line: usize,
}

/// A config fragment: wishes in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// How messages call it: the file's name.
    pub name: String,
    /// What it asks for.
    pub wishes: Vec<Wish>,
}

impl Fragment {
    /// Reads a fragment's text.
    ///
    /// # Errors
    /// [`BadLine`] for the first line that is neither a symbol nor a comment: a misspelt line
    /// would otherwise be a wish that nobody checks.
    pub fn parse(name: &str, text: &str) -> Result<Fragment, BadLine> {
        let mut wishes = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            match parse_line(text) {
                Line::Nothing => {}
                Line::Symbol(symbol, value) => {
                    wishes.push(Wish { symbol: symbol.to_owned(), value, line });
                }
                Line::Unknown => {
                    return Err(BadLine { fragment: name.to_owned(), line, text: shorten(text.trim()) });
                }
            }
        }
        Ok(Fragment { name: name.to_owned(), wishes })
    }
}

/// Keeps a message readable when a file is not what it was taken for.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A kernel's final `.config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<String, Value>,
}

impl Config {
    /// Reads a `.config`. Lines that say nothing about a symbol are skipped; of two lines about
    /// one symbol the last counts, as it does for the kernel's build.
    #[must_use]
    pub fn parse(text: &str) -> Config {
        let mut values = BTreeMap::new();
        for line in text.lines() {
            if let Line::Symbol(symbol, value) = parse_line(line) {
                values.insert(symbol.to_owned(), value);
            }
        }
        Config { values }
    }

    /// The value of a symbol (without `CONFIG_`); [`Value::No`] when there is no line about it.
    #[must_use]
    pub fn get(&self, symbol: &str) -> &Value {
        self.values.get(symbol).unwrap_or(&Value::No)
    }
}

/// A wish that the final `.config` does not fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The symbol, without `CONFIG_`.
    pub symbol: String,
    /// What the fragment asked for.
    pub wanted: Value,
    /// What the final `.config` has.
    pub got: Value,
    /// The fragment's name.
    pub fragment: String,
    /// The line of the fragment, from 1.
    pub line: usize,
    /// Dependencies that are not met, where [`Dependencies`] could tell: `INET` is not set,
    /// `!MODULES` is set and must not be, `FSCACHE=y` has another value.
    pub unmet: Vec<String>,
    /// Whether the Kconfig files that were read define the symbol; `None` when none were read.
    pub defined: Option<bool>,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { symbol, wanted, got, fragment, line, unmet, defined } = self;
        write!(f, "{fragment}:{line}: CONFIG_{symbol} should be {wanted} and is {got}; ")?;
        if *defined == Some(false) {
            return write!(f, "this kernel has no such symbol: correct its name, or remove the line");
        }
        if unmet.is_empty() {
            return write!(
                f,
                "find out what it depends on with `make menuconfig` and the key /, or remove the line"
            );
        }
        write!(
            f,
            "not met: {}; put {} into a fragment, or remove the line if this architecture cannot have it",
            unmet.join(", "),
            Remedy(unmet)
        )
    }
}

/// The lines that would meet the dependencies.
struct Remedy<'a>(&'a [String]);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, unmet) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match unmet.strip_prefix('!') {
                Some(symbol) => write!(f, "{comma}`# CONFIG_{symbol} is not set`")?,
                None if unmet.contains(['=', '<', '>', ' ']) => write!(f, "{comma}what makes {unmet} true")?,
                None => write!(f, "{comma}CONFIG_{unmet}=y")?,
            }
        }
        Ok(())
    }
}

/// Compares every wish of every fragment with the final `.config`; empty when all are fulfilled.
///
/// A fragment that a later one contradicts is reported too: one concern has one place.
#[must_use]
pub fn check(fragments: &[Fragment], config: &Config) -> Vec<Dropped> {
    let mut dropped = Vec::new();
    for fragment in fragments {
        for wish in &fragment.wishes {
            let got = config.get(&wish.symbol);
            if *got != wish.value {
                dropped.push(Dropped {
                    symbol: wish.symbol.clone(),
                    wanted: wish.value.clone(),
                    got: got.clone(),
                    fragment: fragment.name.clone(),
                    line: wish.line,
                    unmet: Vec::new(),
                    defined: None,
                });
            }
        }
    }
    dropped
}

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
    pub fn explain(&self, dropped: &mut [Dropped], config: &Config) {
        for dropped in dropped {
            let places = self.places.get(&dropped.symbol);
            dropped.defined = Some(places.is_some());
            dropped.unmet = places.map(|places| nearest(places, config)).unwrap_or_default();
        }
    }
}

/// The unmet conditions of the place where fewest are unmet.
fn nearest(places: &[Vec<String>], config: &Config) -> Vec<String> {
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
    Nobody,
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
        FileParser { blocks: Vec::new(), owner: Owner::Nobody, symbol: String::new(), conditions: Vec::new() }
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
            Owner::Nobody => {}
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
        self.owner = Owner::Nobody;
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

/// What keeps a condition from being true; empty when it is true, or cannot be read.
fn unmet_of(condition: &str, config: &Config) -> Vec<String> {
    let tokens = tokens_of(condition);
    let mut evaluation = Evaluation { tokens: &tokens, at: 0, depth: 0, config };
    match evaluation.any_of() {
        Some(truth) if evaluation.at == tokens.len() => match truth {
            Truth::Met(_) => Vec::new(),
            Truth::Unmet(names) => names,
        },
        _ => Vec::new(),
    }
}

/// Symbols, values and operators; quotes are dropped.
fn tokens_of(condition: &str) -> Vec<&str> {
    const MAX_TOKENS: usize = 1_000;
    let mut tokens = Vec::new();
    let mut rest = condition.trim_start();
    while let Some(first) = rest.chars().next() {
        if tokens.len() == MAX_TOKENS {
            break;
        }
        let (token, after) = if let Some(inner) = rest.strip_prefix('"') {
            inner.split_once('"').unwrap_or((inner, ""))
        } else if let Some(operator) = ["&&", "||", "!=", "<=", ">=", "(", ")", "!", "=", "<", ">"]
            .iter()
            .find(|op| rest.starts_with(**op))
        {
            rest.split_at(operator.len())
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "&|!=<>()\"".contains(c))
                .filter(|end| *end > 0)
                .unwrap_or(if "&|".contains(first) { 1 } else { rest.len() });
            rest.split_at(end)
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// What a part of a condition comes to, with the names that decide it.
enum Truth {
    /// It is true because of these.
    Met(Vec<String>),
    /// It is false because of these.
    Unmet(Vec<String>),
}

/// Recursive descent over a condition: or, and, not, comparison.
struct Evaluation<'a> {
    tokens: &'a [&'a str],
    at: usize,
    depth: usize,
    config: &'a Config,
}

impl<'a> Evaluation<'a> {
    const MAX_DEPTH: usize = 64;

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn any_of(&mut self) -> Option<Truth> {
        let mut truth = self.all_of()?;
        while self.take("||") {
            truth = match (truth, self.all_of()?) {
                (Truth::Met(names), Truth::Unmet(_)) | (Truth::Unmet(_), Truth::Met(names)) => {
                    Truth::Met(names)
                }
                (Truth::Met(a), Truth::Met(b)) => Truth::Met(joined(a, b)),
                (Truth::Unmet(a), Truth::Unmet(b)) => Truth::Unmet(joined(a, b)),
            };
        }
        Some(truth)
    }

    fn all_of(&mut self) -> Option<Truth> {
        let mut truth = self.not()?;
        while self.take("&&") {
            truth = match (truth, self.not()?) {
                (Truth::Unmet(names), Truth::Met(_)) | (Truth::Met(_), Truth::Unmet(names)) => {
                    Truth::Unmet(names)
                }
                (Truth::Met(a), Truth::Met(b)) => Truth::Met(joined(a, b)),
                (Truth::Unmet(a), Truth::Unmet(b)) => Truth::Unmet(joined(a, b)),
            };
        }
        Some(truth)
    }

    fn not(&mut self) -> Option<Truth> {
        if self.depth == Self::MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let truth = if self.take("!") {
            // The names change sides: what made the inside true is what must go.
            match self.not()? {
                Truth::Met(names) => Truth::Unmet(names.into_iter().map(opposite).collect()),
                Truth::Unmet(names) => Truth::Met(names.into_iter().map(opposite).collect()),
            }
        } else if self.take("(") {
            let inside = self.any_of()?;
            if !self.take(")") {
                return None;
            }
            inside
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Some(truth)
    }

    fn comparison(&mut self) -> Option<Truth> {
        let left = self.operand()?;
        let operator = match self.peek() {
            Some(operator @ ("=" | "!=" | "<" | ">" | "<=" | ">=")) => operator,
            _ => {
                let on = match left {
                    "y" | "m" => true,
                    "n" => false,
                    symbol => self.config.get(symbol).is_on(),
                };
                let names = vec![left.to_owned()];
                return Some(if on { Truth::Met(names) } else { Truth::Unmet(names) });
            }
        };
        self.at += 1;
        let right = self.operand()?;
        let (a, b) = (self.value_of(left), self.value_of(right));
        let order = match (number(a), number(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.cmp(b),
        };
        let holds = match operator {
            "=" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            ">" => order.is_gt(),
            "<=" => order.is_le(),
            _ => order.is_ge(),
        };
        let names = vec![format!("{left}{operator}{right}")];
        Some(if holds { Truth::Met(names) } else { Truth::Unmet(names) })
    }

    fn operand(&mut self) -> Option<&'a str> {
        let token = self.peek()?;
        if matches!(token, "&&" | "||" | "!" | "(" | ")" | "=" | "!=" | "<" | ">" | "<=" | ">=") {
            return None;
        }
        self.at += 1;
        Some(token)
    }

    fn value_of(&self, operand: &'a str) -> &'a str {
        match self.config.values.get(operand) {
            Some(value) => value.plain(),
            None if operand.starts_with(|c: char| c.is_ascii_uppercase()) => "n",
            None => operand,
        }
    }
}

fn joined(mut a: Vec<String>, b: Vec<String>) -> Vec<String> {
    for name in b {
        if !a.contains(&name) {
            a.push(name);
        }
    }
    a
}

fn opposite(name: String) -> String {
    match name.strip_prefix('!') {
        Some(inner) => inner.to_owned(),
        None => format!("!{name}"),
    }
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NINE_P: &str = r#"
config 9P_FS
	tristate "A share from the host"
	depends on INET && NET_9P
	help
	  Words like these do not count:

	  depends on NOTHING

if 9P_FS
config 9P_CACHE
	bool "A cache for it"
	depends on 9P_FS=m && FSCACHE || 9P_FS=y && FSCACHE=y
config 9P_ACL
	bool "Access control"
endif

menu "More"
	depends on !TINY
config MORE
	bool "More of it" if EXPERT
	depends on (A || B) && \
		C
endmenu
"#;

    fn explained(wish: &str, config: &str) -> String {
        let fragments = [Fragment::parse("f.config", wish).unwrap()];
        let config = Config::parse(config);
        let mut dropped = check(&fragments, &config);
        let mut dependencies = Dependencies::default();
        dependencies.add(NINE_P);
        dependencies.explain(&mut dropped, &config);
        dropped.iter().map(|d| format!("{}: {}\n", d.symbol, d.unmet.join(" "))).collect()
    }

    #[test]
    fn a_fragment_is_read_with_every_kind_of_value() {
        let text = "# about\n\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\n# CONFIG_D is not set\nCONFIG_E=\"a \\\" b\"\nCONFIG_F=0x1F\nCONFIG_G=-3\n";
        let fragment = Fragment::parse("f", text).unwrap();
        let values: Vec<String> =
            fragment.wishes.iter().map(|w| format!("{} {}={}", w.line, w.symbol, w.value)).collect();
        assert_eq!(values, ["3 A=y", "4 B=m", "5 C=n", "6 D=n", "7 E=\"a \\\" b\"", "8 F=0x1F", "9 G=-3"]);
    }

    #[test]
    fn a_line_that_is_no_wish_is_an_error_that_names_it() {
        for bad in [
            "CONFIG_A",
            "CONFIG_A=yes",
            "A=y",
            "CONFIG_=y",
            "CONFIG_A=\"x",
            "CONFIG_A=\"x\\\"",
            "CONFIG_A=0x",
        ] {
            let error = Fragment::parse("base.config", &format!("\n{bad}\n")).unwrap_err();
            assert_eq!((error.line, error.text.as_str()), (2, bad));
            assert!(error.to_string().starts_with("base.config:2: `"), "{error}");
        }
    }

    #[test]
    fn a_symbol_without_a_line_is_off() {
        let fragments = [Fragment::parse("f", "# CONFIG_A is not set\nCONFIG_B=n\n").unwrap()];
        assert_eq!(check(&fragments, &Config::parse("")), []);
    }

    #[test]
    fn what_olddefconfig_changed_is_reported_with_its_place() {
        let fragments = [Fragment::parse("base.config", "CONFIG_A=y\nCONFIG_B=4\nCONFIG_C=\"x\"\n").unwrap()];
        let config = Config::parse("CONFIG_A=y\nCONFIG_B=8\n# CONFIG_C is not set\n");
        let dropped = check(&fragments, &config);
        let shown: Vec<String> =
            dropped.iter().map(|d| format!("{}:{} {} {}", d.fragment, d.line, d.wanted, d.got)).collect();
        assert_eq!(shown, ["base.config:2 4 8", "base.config:3 \"x\" n"]);
    }

    #[test]
    fn missing_dependencies_are_named() {
        assert_eq!(explained("CONFIG_9P_FS=y", "CONFIG_NET_9P=y"), "9P_FS: INET\n");
        assert_eq!(explained("CONFIG_9P_ACL=y", ""), "9P_ACL: 9P_FS\n");
        assert_eq!(
            explained("CONFIG_9P_CACHE=y", "CONFIG_9P_FS=y\nCONFIG_FSCACHE=m"),
            "9P_CACHE: 9P_FS=m FSCACHE=y\n"
        );
        assert_eq!(explained("CONFIG_MORE=y", "CONFIG_TINY=y\nCONFIG_B=y\n"), "MORE: !TINY EXPERT C\n");
        assert_eq!(explained("CONFIG_MORE=y", "CONFIG_EXPERT=y\nCONFIG_C=y\n"), "MORE: A B\n");
    }

    #[test]
    fn the_message_says_what_to_put_where() {
        let mut dropped =
            check(&[Fragment::parse("9p.config", "CONFIG_9P_FS=y").unwrap()], &Config::default());
        insta::assert_snapshot!(dropped[0], @"9p.config:1: CONFIG_9P_FS should be y and is n; find out what it depends on with `make menuconfig` and the key /, or remove the line");
        let mut dependencies = Dependencies::default();
        dependencies.explain(&mut dropped, &Config::default());
        insta::assert_snapshot!(dropped[0], @"9p.config:1: CONFIG_9P_FS should be y and is n; this kernel has no such symbol: correct its name, or remove the line");
        dependencies.add(NINE_P);
        dependencies.explain(&mut dropped, &Config::default());
        insta::assert_snapshot!(dropped[0], @"9p.config:1: CONFIG_9P_FS should be y and is n; not met: INET, NET_9P; put CONFIG_INET=y, CONFIG_NET_9P=y into a fragment, or remove the line if this architecture cannot have it");
    }

    #[test]
    fn every_fragment_of_the_lab_is_readable() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let fragment = Fragment::parse(&path.display().to_string(), &text).unwrap();
            assert!(!fragment.wishes.is_empty(), "{} asks for nothing", path.display());
            count += 1;
        }
        assert!(count >= 6);
    }

    #[test]
    fn the_fragments_for_a_tree_of_ones_own_ask_for_the_whole_chain() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
        let all: String = ["9p", "pci", "pci-host-generic"]
            .map(|name| std::fs::read_to_string(folder.join(format!("{name}.config"))).unwrap())
            .concat();
        let config = Config::parse(&all);
        for symbol in [
            "9P_FS",
            "9P_FS_POSIX_ACL",
            "9P_FS_SECURITY",
            "NETWORK_FILESYSTEMS",
            "NET",
            "INET",
            "NET_9P",
            "NET_9P_VIRTIO",
            "PCI",
            "PCI_HOST_COMMON",
            "PCI_HOST_GENERIC",
            "VIRTIO_MENU",
            "VIRTIO_PCI",
            "VIRTIO_BLK",
            "BLOCK",
            "BLK_DEV",
            "NETDEVICES",
            "NET_CORE",
            "VIRTIO_NET",
        ] {
            assert_eq!(config.get(symbol), &Value::Yes, "{symbol}");
        }
    }

    #[test]
    fn a_condition_that_is_nested_without_end_explains_nothing() {
        let deep = format!("config A\n\tdepends on {}B\n", "!(".repeat(100_000));
        let mut dependencies = Dependencies::default();
        dependencies.add(&deep);
        let mut dropped = check(&[Fragment::parse("f", "CONFIG_A=y").unwrap()], &Config::default());
        dependencies.explain(&mut dropped, &Config::default());
        assert_eq!((dropped[0].defined, dropped[0].unmet.len()), (Some(true), 0));
    }

    fn kconfig_like() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "config [A-C]",
            "menuconfig [A-C]",
            "[ \t]{0,2}depends on [A-C!()&|= \"<>ym]{0,12}",
            "if [A-C!()&|]{0,6}",
            "endif",
            "menu \"x\"",
            "endmenu",
            "choice",
            "endchoice",
            "\tbool \"x\" if [A-C!]{1,3}",
            "\thelp",
            "\t  text",
            ".{0,20}",
            "[ -~]{0,10}\\\\",
        ];
        proptest::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn no_input_makes_anything_panic(fragment in "\\PC{0,80}", config in "\\PC{0,80}", kconfig in kconfig_like()) {
            let _ = Fragment::parse("f", &fragment);
            let config = Config::parse(&config);
            let wishes = Fragment::parse("f", "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=1\n").unwrap();
            let mut dropped = check(&[wishes], &config);
            let mut dependencies = Dependencies::default();
            dependencies.add(&kconfig);
            dependencies.explain(&mut dropped, &config);
            for dropped in &dropped {
                let _ = dropped.to_string();
            }
        }

        #[test]
        fn a_wish_survives_its_text_form(name in "[A-Z0-9_]{1,12}", value in prop_oneof![
            Just(Value::Yes), Just(Value::Module), Just(Value::No),
            "[a-z0-9 .#=]{0,12}".prop_map(Value::Text), any::<i64>().prop_map(|n| Value::Number(n.to_string())),
        ]) {
            let text = format!("CONFIG_{name}={value}\n");
            let fragment = Fragment::parse("f", &text).unwrap();
            prop_assert_eq!(&fragment.wishes[0].value, &value);
            let config = Config::parse(&text);
            prop_assert_eq!(config.get(&name), &value);
        }
    }
}
