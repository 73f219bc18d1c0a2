//! Texts that several folders write and read: hexadecimal, globs, words for a shell; and texts of others, to be shown.
//!
//! Invariants: **what is written here is read back here**. What [`visible`] returns moves no cursor.

use std::fmt::Write as _;

/// A type that is stored as its text, by its `Display` and its `FromStr`.
macro_rules! stored_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use stored_as_text;

/// A value, given least significant byte first, as one hex number.
#[must_use]
pub fn hex_value(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bytes.iter().rev() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The bytes that [`hex_value`] wrote.
#[must_use]
pub fn unhex_value(text: &str) -> Option<Vec<u8>> {
    let mut bytes = unhex(text.strip_prefix("0x")?)?;
    bytes.reverse();
    Some(bytes)
}

/// Whether a name matches a glob of `*`, `?` and plain characters; upper and lower case are the same.
#[must_use]
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let glob: Vec<char> = glob.to_ascii_lowercase().chars().collect();
    let name: Vec<char> = name.to_ascii_lowercase().chars().collect();
    let (mut g, mut n) = (0, 0);
    // Where the last star stood, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if g < glob.len() && glob[g] == '*' {
            star = Some((g, n));
            g += 1;
        } else if g < glob.len() && (glob[g] == '?' || glob[g] == name[n]) {
            g += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            g = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

/// A text without the mark of the byte order (U+FEFF) that some editors write at its beginning.
#[must_use]
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The names nearest to one that is not known, best first, as ` (did you mean …?)`; nothing where none is near. A name
/// is near that is at most two letters away; upper and lower case are the same.
#[must_use]
pub fn near_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    near(name, known, edits)
}

/// As [`near_names`]; among few names one is near as well that has the other in it, or a word of it.
#[must_use]
pub fn near_words<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    near(name, known, |name, other| {
        let long = |word: &str| word.len() > 2;
        let part = (long(other) && name.contains(other))
            || (long(name) && other.contains(name))
            || name.split([' ', '-', '_', ':']).any(|word| long(word) && other.contains(word));
        // Behind those that differ by a letter.
        edits(name, other).or_else(|| part.then(|| 3 + strsim::levenshtein(name, other)))
    })
}

/// How many letters two names are apart, where that is few.
fn edits(name: &str, other: &str) -> Option<usize> {
    let (one, two) = (name.chars().count(), other.chars().count());
    // Any two letters are two edits apart, and what is much longer need not be compared.
    let few = |edits: &usize| *edits <= 2 && *edits < one.max(two);
    (one.abs_diff(two) <= 2).then(|| strsim::levenshtein(name, other)).filter(few)
}

fn near<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    distance: impl Fn(&str, &str) -> Option<usize>,
) -> String {
    let name = name.to_lowercase();
    let found = known.into_iter().filter_map(|other| Some((distance(&name, &other.to_lowercase())?, other)));
    let mut found: Vec<(usize, &str)> = found.collect();
    found.sort_unstable();
    found.dedup();
    let names: Vec<&str> = found.iter().take(3).map(|(_, name)| *name).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" (did you mean `{}`?)", names.join("` or `")),
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that [`hex`] wrote; `None` for other letters, and for half a byte.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Bytes that are stored as hexadecimal digits: `#[serde(with = "hex_bytes")]`.
pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::unhex(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}

/// A text that a guest may have made, without what would change how the text around it reads: control
/// characters and the marks that turn the direction of writing are shown as what they are.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// A name or a line of somebody else's within a message: [`visible`], in one line, and of so many characters at most;
/// of a longer one the beginning and the end.
#[must_use]
pub fn shown(text: &str, most: usize) -> String {
    let line = visible(text).replace('\n', "\\n").replace('\t', "\\t");
    let length = line.chars().count();
    if length <= most {
        return line;
    }
    let end = most / 4;
    let begin: String = line.chars().take(most.saturating_sub(end + 1)).collect();
    let end: String = line.chars().skip(length - end).collect();
    format!("{begin}…{end}")
}

/// A word as it is written for a shell.
#[must_use]
pub fn shell_quote(word: &str) -> String {
    shell_line([word])
}

/// Words as one line for a shell.
#[must_use]
pub fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    // Only the zero byte is refused otherwise: no argument of a program has it, and a stored command is any text.
    shlex::Quoter::new().allow_nul(true).join(words).unwrap_or_default()
}

/// An end of an interval as `show` writes it, but rounded away from the other end: an upper end up, a lower one down. What
/// is printed is then no narrower than what was computed. What ends in `%` is shown times a hundred.
#[must_use]
pub fn end_text(value: f64, is_upper: bool, show: &dyn Fn(f64) -> String) -> String {
    let text = show(value);
    let scale = if text.ends_with('%') { 100.0 } else { 1.0 };
    let way = if is_upper { 1.0 } else { -1.0 };
    let Some((shown, step)) = shown_number(&text) else { return text };
    // What is only short by the rounding of binary fractions is not.
    let is_beyond = |shown: f64| (shown - value * scale) * way >= -1e-9 * (value * scale).abs();
    if is_beyond(shown) {
        return text;
    }
    // Noughts at the end may have been left out.
    let nudged = [0.01, 0.1, 1.0].map(|part| show((shown + way * part * step) / scale));
    let found = nudged.iter().find(|text| shown_number(text).is_some_and(|(shown, _)| is_beyond(shown)));
    found.unwrap_or(&nudged[2]).clone()
}

/// The number in a text, and what one of its last digit is worth.
fn shown_number(text: &str) -> Option<(f64, f64)> {
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || "+-.e".contains(*c)).collect();
    let value: f64 = digits.parse().ok()?;
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let behind = mantissa.split_once('.').map_or(0, |(_, behind)| behind.len());
    Some((value, 10f64.powi(exponent.parse::<i32>().ok()? - i32::try_from(behind).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_text_forms() {
        for bytes in [&[][..], &[0], &[0x0f, 0xf0, 0x12], &[0xff; 9]] {
            assert_eq!(unhex(&hex(bytes)).as_deref(), Some(bytes));
            assert_eq!(unhex_value(&hex_value(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!((hex(&[1, 0xab]), hex_value(&[1, 0xab])), ("01ab".to_owned(), "0xab01".to_owned()));
        for bad in ["0", "012", "0g", "+1", " 1", "é"] {
            assert_eq!((unhex(bad), unhex_value(&format!("0x{bad}"))), (None, None), "{bad}");
        }
        assert_eq!(unhex_value("01"), None);
    }

    #[test]
    fn the_nearest_name_comes_first_and_what_is_far_is_not_named() {
        let known = ["jiffies", "jiffies_64", "init_task"];
        assert_eq!(near_names("jifies", known), " (did you mean `jiffies`?)");
        assert_eq!(near_names("JIFFIES", known), " (did you mean `jiffies`?)");
        assert_eq!(near_names("task", known), "");
        assert_eq!(near_words("task", known), " (did you mean `init_task`?)");
        for far in ["", "x", "zz", "schedule"] {
            assert_eq!(
                (near_names(far, ["fp", "a"]), near_words(far, ["fp", "a"])),
                (String::new(), String::new())
            );
        }
        assert_eq!(without_mark("\u{feff}a"), "a");
    }

    #[test]
    fn what_others_wrote_is_shown_in_one_short_line_that_moves_no_cursor() {
        assert_eq!(shown("plain", 10), "plain");
        assert_eq!(shown("\u{1b}[2J\ta\nb", 40), "\\x1b[2J\\ta\\nb");
        assert_eq!(shown(&"ab".repeat(150), 21), "abababababababa…babab");
        assert_eq!(shown(&"é".repeat(300), 40).chars().count(), 40);
        assert_eq!(visible("a\tb\nc"), "a\tb\nc");
        assert_eq!(visible("\u{1b}[31m\0\u{7f}\r"), "\\x1b[31m\\x00\\x7f\\x0d");
        assert_eq!(visible("\u{202e}x\u{85}"), "\\u{202e}x\\u{85}");
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was_meant() {
        for word in ["plain/path", "", "it's", "a b", "$(id)", "two\nlines", "é"] {
            assert_eq!(shlex::split(&shell_quote(word)), Some(vec![word.to_owned()]), "{word}");
        }
        assert_eq!(shell_line(["cargo", "it's", ""]), "cargo \"it's\" ''");
        assert_eq!(shell_quote("a\0b").matches('\0').count(), 1);
    }
}
