//! How far two outputs are apart: lines, bytes, bits, and the relative errors of the numbers in them.
//!
//! Equal lines at both ends are left out. As many lines here as there are compared one by one; otherwise the longest
//! sequence of equal lines that both have aligns them, lines between two of these are compared in their order, and what
//! is left over is missing, or too many.
//!
//! Invariant: **what is counted follows from the two outputs alone**, and two that are equal are apart by nothing.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::console::signals::LinePattern;

/// So many pairs of lines are looked at to align two outputs; beyond that they are compared in their order.
const MOST_PAIRS: usize = 4_000_000;

/// What stands for a byte that was not UTF-8, and was kept as U+FFFD: no UTF-8 text has it.
const UNKNOWN: u8 = 0xff;

/// The lines in which an output differs from the right one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pairs: Vec<Pair>,
    /// The right output.
    right: Vec<u8>,
}

/// A line that differs, with its end; what is not there is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    /// Its number, from 1, in the right output; of one that is too many, here.
    number: u64,
    right: Option<Vec<u8>>,
    here: Option<Vec<u8>>,
}

/// How wrong an output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Wrong {
    /// How many lines differ, missing ones and those that are too many among them.
    pub lines: u64,
    /// How many lines are missing.
    pub missing: u64,
    /// How many lines are too many.
    pub added: u64,
    /// How many bytes differ: in two lines those at the same place, and those that one line has more; of a line that is
    /// missing or too many all, with its end.
    pub bytes: u64,
    /// How many bits of these bytes differ; 8 of each byte that only one output has. A byte that was not UTF-8, whose
    /// value was not kept, counts as one bit.
    pub bits: u64,
    /// How many numbers differ.
    pub numbers: u64,
    /// The largest relative error of a number, |here − right| / |right|; `None` where no number differs.
    pub relative: Option<RelativeError>,
    /// The line that has it.
    pub relative_line: Option<u64>,
    /// Whether anything but numbers differs.
    pub beside_numbers: bool,
}

/// A relative error, from 0 to infinity: of what is to be 0 and is not, and of what is no finite number and was one, or
/// the reverse. As JSON a number, or `"inf"`.
#[derive(Clone, Copy, Debug)]
pub struct RelativeError(f64);

impl RelativeError {
    /// Its value; it may be infinite, and is never a NaN.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for RelativeError {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RelativeError {}

impl PartialOrd for RelativeError {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelativeError {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Two digits, as in `3.1e-7`.
impl fmt::Display for RelativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() { f.write_str("inf") } else { write!(f, "{:.1e}", self.0) }
    }
}

impl Serialize for RelativeError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_infinite() { serializer.serialize_str("inf") } else { serializer.serialize_f64(self.0) }
    }
}

impl Differences {
    /// Of an output from the right one.
    #[must_use]
    pub fn between(right: &[u8], here: &[u8]) -> Self {
        let (whole, here) = (known(right), known(here));
        let (right, here) = (lines(&whole), lines(&here));
        let before = right.iter().zip(&here).take_while(|(right, here)| right == here).count();
        let (right, here) = (&right[before..], &here[before..]);
        let behind = right.iter().rev().zip(here.iter().rev()).take_while(|(right, here)| right == here);
        let behind = behind.count();
        let (right, here) = (&right[..right.len() - behind], &here[..here.len() - behind]);
        let mut found = Found { pairs: Vec::new(), before, right, here };
        let (mut from, mut to) = (0, 0);
        for (at, there) in equal_lines(right, here) {
            found.pair((from, at), (to, there));
            (from, to) = (at + 1, there + 1);
        }
        found.pair((from, right.len()), (to, here.len()));
        Differences { pairs: found.pairs, right: whole }
    }

    /// Whether there is none, of the lines that match, or of all.
    #[must_use]
    pub fn is_none(&self, of: Option<&LinePattern>) -> bool {
        self.of(of).next().is_none()
    }

    /// Whether the right output has a line that matches.
    #[must_use]
    pub fn knows(&self, pattern: &LinePattern) -> bool {
        lines(&self.right).into_iter().any(|line| is_in(pattern, line))
    }

    /// How wrong it is in the lines that match, here or in the right output; in all where no pattern is given.
    #[must_use]
    pub fn wrong(&self, of: Option<&LinePattern>) -> Wrong {
        let mut wrong = Wrong::default();
        for Pair { number, right, here } in self.of(of) {
            wrong.lines += 1;
            match (right, here) {
                (Some(right), Some(here)) => wrong.count(*number, right, here),
                (only, other) => {
                    wrong.missing += u64::from(other.is_none());
                    wrong.added += u64::from(only.is_none());
                    let bytes = only.as_ref().or(other.as_ref()).map_or(0, |line| line.len() as u64);
                    wrong.bytes += bytes;
                    wrong.bits += 8 * bytes;
                    wrong.beside_numbers = true;
                }
            }
        }
        wrong
    }

    fn of<'a>(&'a self, of: Option<&'a LinePattern>) -> impl Iterator<Item = &'a Pair> {
        self.pairs.iter().filter(move |pair| {
            let Some(pattern) = of else { return true };
            [&pair.right, &pair.here].into_iter().flatten().any(|line| is_in(pattern, line))
        })
    }
}

/// Whether a line matches, without its end.
fn is_in(pattern: &LinePattern, line: &[u8]) -> bool {
    pattern.is_in(String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']))
}

/// Lines that differ, as they are found.
struct Found<'a> {
    pairs: Vec<Pair>,
    /// How many lines stand before them.
    before: usize,
    right: &'a [&'a [u8]],
    here: &'a [&'a [u8]],
}

impl Found<'_> {
    /// Lines of the one and of the other, from and to, that stand between two that are equal.
    fn pair(&mut self, right: (usize, usize), here: (usize, usize)) {
        for at in 0..(right.1 - right.0).max(here.1 - here.0) {
            let line = |lines: &[&[u8]], (from, to): (usize, usize)| {
                (from + at < to).then(|| lines[from + at].to_vec())
            };
            let (of_right, of_here) = (line(self.right, right), line(self.here, here));
            let first = if of_right.is_some() { right.0 } else { here.0 };
            let number = (self.before + first + at) as u64 + 1;
            if of_right != of_here {
                self.pairs.push(Pair { number, right: of_right, here: of_here });
            }
        }
    }
}

/// Lines with their ends.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// What was not UTF-8, or was kept as a sign of that, as one byte each.
fn known(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.push(UNKNOWN);
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The places of a longest sequence of lines that both have; none where both have as many lines, or too many.
fn equal_lines(right: &[&[u8]], here: &[&[u8]]) -> Vec<(usize, usize)> {
    let (rows, columns) = (right.len() + 1, here.len() + 1);
    if rows == columns || rows.saturating_mul(columns) > MOST_PAIRS {
        return Vec::new();
    }
    // How long one is from here and there on.
    let mut longest = vec![0u32; rows * columns];
    for at in (0..right.len()).rev() {
        for there in (0..here.len()).rev() {
            longest[at * columns + there] = if right[at] == here[there] {
                longest[(at + 1) * columns + there + 1] + 1
            } else {
                longest[(at + 1) * columns + there].max(longest[at * columns + there + 1])
            };
        }
    }
    let (mut at, mut there, mut found) = (0, 0, Vec::new());
    while at < right.len() && there < here.len() {
        if right[at] == here[there] {
            found.push((at, there));
            (at, there) = (at + 1, there + 1);
        } else if longest[(at + 1) * columns + there] >= longest[at * columns + there + 1] {
            at += 1;
        } else {
            there += 1;
        }
    }
    found
}

impl Wrong {
    /// Two lines that differ.
    fn count(&mut self, number: u64, right: &[u8], here: &[u8]) {
        let end = |line: &[u8]| line.ends_with(b"\n");
        let alone = u64::from(end(right) != end(here));
        let body = |line: &[u8]| line.len() - usize::from(end(line));
        let (right, here) = (&right[..body(right)], &here[..body(here)]);
        let alone = alone + right.len().abs_diff(here.len()) as u64;
        self.bytes += alone;
        self.bits += 8 * alone;
        for (right, here) in right.iter().zip(here).filter(|(right, here)| right != here) {
            self.bytes += 1;
            let unknown = *right == UNKNOWN || *here == UNKNOWN;
            self.bits += if unknown { 1 } else { u64::from((right ^ here).count_ones()) };
        }
        self.compare_words(number, &String::from_utf8_lossy(right), &String::from_utf8_lossy(here));
    }

    fn compare_words(&mut self, number: u64, right: &str, here: &str) {
        let (right, here) = (words(right), words(here));
        if right.len() != here.len() || right == here {
            self.beside_numbers = true;
            return;
        }
        for (at, (right_word, here_word)) in right.iter().zip(&here).enumerate() {
            if right_word == here_word {
                continue;
            }
            let behind = at.checked_sub(1).and_then(|before| right.get(before)).copied();
            match relative_error(behind, right_word, here_word) {
                Some(error) => {
                    self.numbers += 1;
                    if self.relative.is_none_or(|largest| error > largest) {
                        (self.relative, self.relative_line) = (Some(error), Some(number));
                    }
                }
                None => self.beside_numbers = true,
            }
        }
    }
}

/// The words of a line: what stands between blanks and signs that join or group.
fn words(line: &str) -> Vec<&str> {
    let apart = |c: char| c.is_whitespace() || "=:;,/|()[]{}<>\"'%".contains(c);
    line.split(apart).filter(|word| !word.is_empty()).collect()
}

/// |here − right| / |right|, where both are numbers.
fn relative_error(behind: Option<&str>, right: &str, here: &str) -> Option<RelativeError> {
    if is_digest(behind, right) || is_digest(behind, here) {
        return None;
    }
    // Whole numbers have more digits than a floating one.
    if let (Ok(right), Ok(here)) = (right.parse::<i128>(), here.parse::<i128>()) {
        #[expect(clippy::cast_precision_loss, reason = "16 digits of a quotient")]
        let error = here.abs_diff(right) as f64 / right.unsigned_abs() as f64;
        return Some(RelativeError(if right == here { 0.0 } else { error }));
    }
    let (right, here) = (right.parse::<f64>().ok()?, here.parse::<f64>().ok()?);
    let same = right.to_bits() == here.to_bits() || right == here || (right.is_nan() && here.is_nan());
    let error = if same { 0.0 } else { (here - right).abs() / right.abs() };
    Some(RelativeError(if error.is_nan() { f64::INFINITY } else { error }))
}

/// Whether a word is a digest in hex rather than a number: behind such a name, or by its form.
fn is_digest(behind: Option<&str>, word: &str) -> bool {
    let named = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["digest", "hash", "checksum", "md5"].iter().any(|part| name.contains(part))
            || ["sha", "crc"].iter().any(|start| name.starts_with(start))
    };
    if behind.is_some_and(named) {
        return true;
    }
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    if digits.is_some() {
        return true;
    }
    let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_letter = word.bytes().any(|byte| byte.is_ascii_alphabetic());
    hex && (word.len() >= 32 || (word.len() >= 8 && (has_letter || word.starts_with('0'))))
}

#[cfg(test)]
mod tests;
