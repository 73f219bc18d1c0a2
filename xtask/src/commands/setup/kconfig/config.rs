//! Symbols of Kconfig with their values: fragments, line by line, and a kernel's final `.config`.
//!
//! Invariant: **a line of a fragment that is neither a symbol nor a comment is an error**: it would be a wish that
//! is never checked.

use std::collections::BTreeMap;
use std::fmt;

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
    pub(super) fn is_on(&self) -> bool {
        matches!(self, Value::Yes | Value::Module)
    }

    /// The value as an expression of Kconfig compares it.
    pub(super) fn plain(&self) -> &str {
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

pub(super) fn is_symbol(name: &str) -> bool {
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
    /// would otherwise be a wish that is never checked.
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
pub struct KernelConfig {
    pub(super) values: BTreeMap<String, Value>,
}

impl KernelConfig {
    /// Reads a `.config`. Lines that say nothing about a symbol are skipped; of two lines about
    /// one symbol the last counts, as it does for the kernel's build.
    #[must_use]
    pub fn parse(text: &str) -> KernelConfig {
        let mut values = BTreeMap::new();
        for line in text.lines() {
            if let Line::Symbol(symbol, value) = parse_line(line) {
                values.insert(symbol.to_owned(), value);
            }
        }
        KernelConfig { values }
    }

    /// The value of a symbol (without `CONFIG_`); [`Value::No`] when there is no line about it.
    #[must_use]
    pub fn get(&self, symbol: &str) -> &Value {
        self.values.get(symbol).unwrap_or(&Value::No)
    }
}
