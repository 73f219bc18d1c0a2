//! What Tab offers at the prompt.
//!
//! Invariant: only what exists is offered: words of the prompt, and names of this very guest.

use flipsim::target::Target;
use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use super::words;
use crate::guest::session::Session;
use crate::host::proc::quote;

/// How many names are offered at once.
const MOST: usize = 60;

/// All names that can be completed, each list in ascending order.
#[derive(Helper, Highlighter, Hinter, Validator)]
pub struct Completion {
    words: Vec<String>,
    regions: Vec<String>,
    registers: Vec<String>,
    symbols: Vec<String>,
}

impl Completion {
    /// The names of this guest.
    pub fn new(session: &Session) -> Completion {
        let sorted = |names: Vec<String>| {
            let mut names = names;
            names.sort_unstable();
            names.dedup();
            names
        };
        let regions = session.names.map.regions().iter().filter(|region| session.names.map.is_ram(region));
        let symbols = session.names.symbols().into_iter().flat_map(|map| map.symbols().all());
        Completion {
            words: words::names(),
            regions: sorted(regions.map(|region| region.name.clone()).collect()),
            registers: sorted(session.target.registers().iter().map(|r| r.name.clone()).collect()),
            symbols: sorted(symbols.map(|symbol| symbol.name.clone()).collect()),
        }
    }

    /// Where the word under the cursor starts, and what it could become.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        // An open quote belongs to the word: regions have blanks in their names.
        let quoted = line.matches('\'').count() % 2 == 1;
        let start = match quoted {
            true => line.rfind('\'').unwrap_or(0),
            false => line.rfind(char::is_whitespace).map_or(0, |at| at + 1),
        };
        let before: Vec<&str> = line[..start].split_whitespace().collect();
        let prefix = line[start..].trim_start_matches('\'');
        let starting = |names: &[String]| {
            let first = names.partition_point(|name| name.as_str() < prefix);
            let found = names[first..].iter().take_while(|name| name.starts_with(prefix));
            found.take(MOST).cloned().collect::<Vec<_>>()
        };
        let found = match (before.first().copied(), before.last().copied()) {
            (None, _) => starting(&self.words),
            (_, Some("--region")) => starting(&self.regions).iter().map(quote).collect(),
            (_, Some("--symbol")) => starting(&self.symbols),
            (_, Some("--register")) | (Some("inject_reg"), Some("inject_reg")) => starting(&self.registers),
            (Some("help"), _) => starting(&self.words),
            (Some("loop"), _) if before.len() == 2 => starting(&self.words),
            (Some("inject"), Some("inject")) if !prefix.is_empty() => starting(&self.symbols),
            (Some("inject_range"), _) if before.len() == 2 => {
                starting(&["random".to_owned(), "sequential".to_owned()])
            }
            (Some("autoinject" | "snapinject"), _) if before.len() == 4 => {
                starting(&["ram".to_owned(), "reg".to_owned()])
            }
            _ => Vec::new(),
        };
        (start, found)
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.candidates(&line[..at]);
        let pair = |name: String| Pair { display: name.clone(), replacement: name };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> (usize, Vec<String>) {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let completion = Completion {
            words: words::names(),
            regions: names(&["Kernel code", "Kernel data", "System RAM"]),
            registers: names(&["pc", "x1", "x19"]),
            symbols: names(&["jiffies", "jiffies_64", "schedule"]),
        };
        completion.candidates(line)
    }

    #[test]
    fn the_first_word_is_a_command() {
        assert_eq!(found("inject_"), (0, vec!["inject_range".to_owned(), "inject_reg".to_owned()]));
        assert!(found("").1.len() > 15);
        assert_eq!(found("loop 20 snap").1, ["snapinject"]);
    }

    #[test]
    fn names_of_the_guest_follow_where_they_belong() {
        assert_eq!(found("inject ji").1, ["jiffies", "jiffies_64"]);
        assert_eq!(found("inject_reg x1"), (11, vec!["x1".to_owned(), "x19".to_owned()]));
        assert_eq!(found("autoinject 1 1ms 2ms ram --region Ker").1, ["'Kernel code'", "'Kernel data'"]);
        assert_eq!(found("inject --region 'Kernel d"), (16, vec!["'Kernel data'".to_owned()]));
        assert_eq!(found("autoinject 1 1ms 2ms r").1, ["ram", "reg"]);
        assert!(found("seed x").1.is_empty());
    }
}
