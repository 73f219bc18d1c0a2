//! What a workload counts on its console, such as errors that it corrected: a number in a line, or the lines themselves.
//!
//! Invariant: **no two counts have one name**, so that they can be columns.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::console::lines::LineSplitter;
use crate::console::pattern::LinePattern;

/// A letter of a name.
fn names(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

/// What is counted: by a pattern with a group, the number in the last line that matches; by one without, how many lines
/// match. The name of each is that of its named group (`(?<name>\d+)`), or else the first word of the pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counts(Vec<LinePattern>);

impl Counts {
    /// By these patterns, in their order.
    #[must_use]
    pub fn new(patterns: Vec<LinePattern>) -> Self {
        Counts(patterns)
    }

    /// The patterns.
    #[must_use]
    pub fn into_patterns(self) -> Vec<LinePattern> {
        self.0
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a line of the console is one that counts; it is no output then, unless a pattern says that it is.
    #[must_use]
    pub fn has(&self, line: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_in(line))
    }

    /// Their names, in the order of the patterns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut taken = BTreeSet::new();
        let unique = |name: String| {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let name = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
            name.inspect(|name| _ = taken.insert(name.clone())).unwrap_or_default()
        };
        self.0.iter().map(name_of).map(unique).collect()
    }

    /// What a console says of each, by name; 0 where it says nothing.
    #[must_use]
    pub fn of(&self, console: &[u8]) -> BTreeMap<String, u64> {
        let mut found = vec![0u64; self.0.len()];
        if !self.is_empty() {
            let mut splitter = LineSplitter::default();
            let mut lines = splitter.push(console);
            lines.push(splitter.partial());
            for line in &lines {
                for (pattern, found) in self.0.iter().zip(&mut found) {
                    match pattern.group(line) {
                        Some(Some(number)) => *found = number.parse().unwrap_or(*found),
                        Some(None) => *found = found.saturating_add(1),
                        None => {}
                    }
                }
            }
        }
        self.names().into_iter().zip(found).collect()
    }
}

fn name_of(pattern: &LinePattern) -> String {
    if let Some(name) = pattern.name() {
        return name.to_owned();
    }
    let text = pattern.to_string();
    // The letter of a class, as in `\d`, is no word.
    let mut words = text.split(|letter| !names(letter)).map(|word| word.trim_matches('-'));
    words.find(|word| word.len() > 1).unwrap_or("count").to_owned()
}

/// One pattern, or a list of them.
impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a pattern, or a list of them, as in 'corrected (\\d+)'")]
        enum Raw {
            One(String),
            Several(Vec<String>),
        }
        let texts = match Raw::deserialize(deserializer)? {
            Raw::One(text) => vec![text],
            Raw::Several(texts) => texts,
        };
        let patterns = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        patterns.map(Counts).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        #[derive(Deserialize)]
        struct File {
            count: Counts,
        }
        toml::from_str::<File>(text).unwrap().count
    }

    #[test]
    fn the_last_number_counts_and_without_a_group_each_line() {
        let counts = counts(r"count = ['corrected (\d+)', 'retry$', '^ecc: (?<fixed>\d+)']");
        assert_eq!(counts.names(), ["corrected", "retry", "fixed"]);
        let of = |console: &str| counts.of(console.as_bytes()).into_values().collect::<Vec<u64>>();
        // By name: corrected, fixed, retry.
        assert_eq!(of(""), [0, 0, 0]);
        assert_eq!(of("corrected 1\nretry\ncorrected 3\r\necc: 7\nretry\ncorrected"), [3, 7, 2]);
        // A line that is not ended, and a number that is none.
        assert_eq!(of("corrected 5"), [5, 0, 0]);
        assert_eq!(of("corrected 5\ncorrected 99999999999999999999999\n"), [5, 0, 0]);
        assert!(counts.has("x corrected 1") && !counts.has("corrected"));
    }

    #[test]
    fn each_count_has_a_name_of_its_own() {
        let same = counts(r"count = ['corrected (\d+)', 'corrected: (\d+)', '(\d+)', '\d']");
        assert_eq!(same.names(), ["corrected", "corrected-2", "count", "count-2"]);
        assert_eq!(counts(r"count = 'corrected (\d+)'").names(), ["corrected"]);
        let text = serde_json::to_string(&same).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&text).unwrap(), same);
    }
}
