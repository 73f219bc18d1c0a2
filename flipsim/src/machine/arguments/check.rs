//! Reads arguments as QEMU does, and says of each whether it may pass.
//!
//! Invariant: **a word is read as QEMU reads it**, so that no option hides in the value of another, and none behind a
//! second dash.

use super::rules::{self, Verdict};
use super::table::{Class, row};

/// An argument that is not let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {word}: {why}")]
pub struct Refused {
    /// The flag of the lab's that brought it.
    pub flag: &'static str,
    /// The word, fit to be printed.
    pub word: String,
    /// Why, and what to do.
    pub why: String,
}

/// An option with its value.
#[derive(Clone, Copy, Debug)]
struct Given<'a> {
    /// As it was written.
    word: &'a str,
    /// Without its dashes.
    name: &'a str,
    value: Option<&'a str>,
}

impl Given<'_> {
    fn text(&self) -> String {
        match self.value {
            Some(value) => printable(&format!("{} {value}", self.word)),
            None => printable(self.word),
        }
    }
}

/// A word that does nothing to a terminal, and is short enough for a line.
fn printable(word: &str) -> String {
    const LONGEST: usize = 200;
    let text: String = word.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let text = text.replace("\\'", "'").replace("\\\"", "\"");
    if word.chars().count() > LONGEST { format!("{text}…") } else { text }
}

fn refused(word: &str, why: impl Into<String>) -> Refused {
    Refused { flag: "--qemu-arg", word: printable(word), why: why.into() }
}

/// Takes words apart as QEMU does: an option begins with one dash or two, and the table says which take the next
/// word along. Of one that is not in it nothing is known; a word after it that is no option is its value.
fn read(words: &[String]) -> Result<Vec<Given<'_>>, Refused> {
    let mut found = Vec::new();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix('-') else {
            let why = "it is no option, and QEMU would take it for a disk; the guest's disk is --image";
            return Err(refused(word, why));
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        let value = match row(name) {
            Some(row) if row.value => match words.next() {
                Some(value) => Some(value),
                None => {
                    return Err(refused(word, "its value is missing; give it as the next --qemu-arg"));
                }
            },
            Some(_) => None,
            None => {
                let stem = name.split([' ', '=', '\t']).next().unwrap_or_default();
                if stem != name && row(stem).is_some() {
                    let why = format!(
                        "QEMU takes a value as a word by itself: --qemu-arg -{stem} --qemu-arg VALUE"
                    );
                    return Err(refused(word, why));
                }
                words.next_if(|next| !next.starts_with('-'))
            }
        };
        found.push(Given { word, name, value });
    }
    Ok(found)
}

fn verdict(given: &Given<'_>) -> Verdict {
    let Some(row) = row(given.name) else { return Verdict::Yours };
    match (row.class, given.value) {
        (Class::Ours(why), _) => Verdict::Ours(why.to_owned()),
        (_, Some(value)) if asks_for_help(value) => {
            Verdict::Ours("QEMU prints a list and ends; run QEMU itself for it".to_owned())
        }
        (Class::By(rule), Some(value)) => rule(value),
        (Class::Harmless, _) => Verdict::Harmless,
        (Class::Yours | Class::By(_), _) => Verdict::Yours,
    }
}

fn asks_for_help(value: &str) -> bool {
    value.split(',').any(|word| matches!(word, "help" | "?"))
}

/// Refuses arguments that take away what the lab relies on, and those that open a port to everybody.
///
/// # Errors
/// The first that does, with what to use in its place.
pub fn check(words: &[String]) -> Result<(), Refused> {
    for given in read(words)? {
        if let Verdict::Ours(why) = verdict(&given) {
            return Err(refused(&given.text(), why));
        }
    }
    Ok(())
}

/// As [`check`], for the value of `--machine`.
///
/// # Errors
/// A property is the lab's, or ends QEMU.
pub fn check_machine(value: &str) -> Result<(), Refused> {
    let refused = |why: String| Refused { flag: "--machine", word: printable(value), why };
    if asks_for_help(value) {
        return Err(refused("QEMU prints a list and ends; run QEMU itself for it".to_owned()));
    }
    match rules::machine(value) {
        Verdict::Ours(why) => Err(refused(why)),
        Verdict::Harmless | Verdict::Yours => Ok(()),
    }
}

/// As [`check`], for the value of `--cpu`.
///
/// # Errors
/// It makes QEMU print a list and end.
pub fn check_cpu(value: &str) -> Result<(), Refused> {
    if !asks_for_help(value) {
        return Ok(());
    }
    let why = "QEMU prints a list and ends; run QEMU itself for it".to_owned();
    Err(Refused { flag: "--cpu", word: printable(value), why })
}

/// Whether QEMU has to start other programs for these: a helper or a script of a network, a command behind an address.
#[must_use]
pub fn need_programs(words: &[String]) -> bool {
    let Ok(given) = read(words) else { return false };
    given.iter().any(|given| {
        matches!(given.name, "netdev" | "nic" | "net") && given.value.is_some_and(rules::starts_programs)
    })
}

/// What in a file that somebody else made is more than harmless, fit to be printed: it may reach files, programs or
/// the network of this host.
#[must_use]
pub fn not_harmless(words: &[String], machine: Option<&str>) -> Vec<String> {
    let mut found = match read(words) {
        Ok(given) => {
            let more = given.iter().filter(|given| verdict(given) != Verdict::Harmless);
            more.map(Given::text).collect()
        }
        Err(refused) => vec![refused.word],
    };
    if let Some(machine) = machine.filter(|value| rules::machine(value) != Verdict::Harmless) {
        found.push(printable(&format!("-machine {machine}")));
    }
    found
}

#[cfg(test)]
mod tests;
