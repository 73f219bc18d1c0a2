//! What to say when a guest never prints what was waited for: its last words, and the pattern that would fit them.
//!
//! Invariant: **a pattern that is suggested matches the line that it was made from.**

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::console::signals::{Awaited, LinePattern, Signals};

/// Something that was waited for and did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// What was waited for, in words.
    pub waits_for: String,
    /// The line that the guest said last.
    pub last: Option<String>,
    /// Whether that line is not ended, as a prompt is not.
    pub at_a_prompt: bool,
    /// Whether the pattern that was waited for is one of the user's.
    pub is_users: bool,
    /// The flag that would fit, and the line that it would fit.
    pub fits: Option<(String, String)>,
}

impl Unmet {
    /// Of a guest with these signals that has said these whole lines, and then a line that it has not ended.
    #[must_use]
    pub fn new(signals: &Signals, awaited: Awaited, lines: &[&str], partial: &str) -> Unmet {
        let exchange = match awaited {
            Awaited::Prompt(place) => signals.dialogue.get(place),
            Awaited::Ready | Awaited::Done => None,
        };
        let pattern = match awaited {
            Awaited::Prompt(_) => exchange.map(|exchange| &exchange.wait),
            Awaited::Ready => signals.ready_line(),
            Awaited::Done => signals.done.as_ref(),
        };
        let waits_for = match (awaited, pattern) {
            (Awaited::Prompt(place), Some(pattern)) => {
                format!("prompt {} of {}, `{pattern}`", place + 1, signals.dialogue.len())
            }
            (_, Some(pattern)) => format!("`{pattern}`"),
            (Awaited::Done, None) => "FLIPSIM DONE".to_owned(),
            (_, None) => "FLIPSIM READY".to_owned(),
        };
        let flag = |part: &str| match (awaited, exchange) {
            (Awaited::Prompt(_), Some(exchange)) => {
                format!("--dialogue {}", shell_quote(&format!("{part} => {}", exchange.send)))
            }
            (Awaited::Done, _) => format!("--done {}", shell_quote(part)),
            _ => format!("--ready {}", shell_quote(part)),
        };
        let at_a_prompt = !partial.trim().is_empty();
        let last =
            if at_a_prompt { Some(partial) } else { lines.iter().rev().copied().find(|it| is_said(it)) };
        // What ends a workload is a whole line; what was typed to start it, and the kernel's news, are none.
        let typed = |line: &str| {
            signals
                .dialogue
                .iter()
                .any(|exchange| !exchange.send.is_empty() && line.ends_with(&exchange.send))
        };
        let open = Some((partial, false)).filter(|_| at_a_prompt && awaited != Awaited::Done);
        let whole = lines.iter().rev().filter(|line| is_said(line) && !typed(line)).map(|line| (*line, true));
        let candidates: Vec<(&str, bool)> = open
            .into_iter()
            .chain(whole)
            .filter(|(line, _)| awaited != Awaited::Done || !is_stamped(line))
            .collect();
        let loose = pattern.and_then(loosened);
        let near = loose.and_then(|loose| candidates.iter().find(|(line, _)| loose.is_match(line)));
        let fits = near.or(candidates.first()).and_then(|(line, ended)| {
            let part = if *ended { of_line(line) } else { of_prompt(line) };
            // It is only suggested where it does fit.
            Regex::new(&part).is_ok_and(|it| it.is_match(line)).then(|| (flag(&part), (*line).to_owned()))
        });
        Unmet { waits_for, last: last.map(str::to_owned), at_a_prompt, is_users: pattern.is_some(), fits }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lab waited for {}, and ", self.waits_for)?;
        match &self.last {
            None => f.write_str("the guest said nothing")?,
            Some(line) => write!(f, "the guest said last: `{line}`")?,
        }
        match &self.fits {
            Some((flag, line)) if Some(line) == self.last.as_ref() => {
                write!(f, "; {flag} would fit that line")
            }
            Some((flag, line)) => write!(f, "; {flag} would fit its line `{line}`"),
            None => Ok(()),
        }
    }
}

/// A word for a shell that shows it as it is: a pattern is full of letters that others would escape.
fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn is_said(line: &str) -> bool {
    !line.trim().is_empty()
}

/// Where a line goes on behind the kernel's time stamp, if it has one.
fn behind_stamp(line: &str) -> Option<&str> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once(']')?;
    stamp.trim().parse::<f64>().ok().map(|_| rest.trim_start())
}

fn is_stamped(line: &str) -> bool {
    behind_stamp(line).is_some()
}

/// A pattern that is less strict: without its ends, in any case, with any space.
fn loosened(pattern: &LinePattern) -> Option<Regex> {
    let text = pattern.to_string();
    let text = text.trim_matches(['^', '$', ' ']);
    if text.is_empty() {
        return None;
    }
    RegexBuilder::new(&text.replace(' ', r"\s*")).case_insensitive(true).build().ok()
}

/// What the expression for a line needs a backslash before.
fn escaped(text: &str) -> String {
    let mut all = String::new();
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            all.push('\\');
        }
        all.push(letter);
    }
    all
}

/// The expression for a prompt: its last word, for the name of the host and the folder before it change.
fn of_prompt(line: &str) -> String {
    let word = line.trim_end();
    let space = &line[word.len()..];
    let word = word.rsplit(char::is_whitespace).next().unwrap_or_default();
    let sign = word.chars().next_back().filter(|sign| "#$%>".contains(*sign));
    let word = sign.map_or_else(|| word.to_owned(), String::from);
    format!("{}{space}$", escaped(&word))
}

/// The longest part of a line that is suggested, in letters.
const LETTERS: usize = 60;

/// The expression for a whole line, with any number in the place of a number.
fn of_line(line: &str) -> String {
    let (begin, text) = behind_stamp(line).map_or(("^", line), |rest| ("", rest));
    let short: String = text.chars().take(LETTERS).collect();
    let end = if short.len() == text.len() { "$" } else { "" };
    let mut all = begin.to_owned();
    let mut rest = short.as_str();
    while let Some(first) = rest.chars().next() {
        let length = match first.is_ascii_alphanumeric() {
            true => rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
        match has_digit {
            true if word.bytes().all(|byte| byte.is_ascii_digit()) => all.push_str("[0-9]+"),
            true if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => all.push_str("[0-9a-fA-F]+"),
            _ => all.push_str(&escaped(word)),
        }
        rest = behind;
    }
    all + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(text: &str) -> Signals {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_wrong_prompt_is_answered_with_the_prompt_that_fits() {
        let signals =
            signals("dialogue = [{ wait = 'Login:$', send = 'root' }, { wait = '>$', send = 'go now' }]");
        let unmet = Unmet::new(
            &signals,
            Awaited::Prompt(0),
            &["Debian GNU/Linux 12 debian ttyS0", ""],
            "debian login: ",
        );
        assert!(unmet.at_a_prompt && unmet.is_users);
        assert_eq!(
            unmet.to_string(),
            "the lab waited for prompt 1 of 2, `Login:$`, and the guest said last: `debian login: `; \
             --dialogue 'login: $ => root' would fit that line"
        );
        for (line, wanted) in [
            ("root@debian:~# ", "# $"),
            ("/ # ", "# $"),
            ("~ $ ", "\\$ $"),
            ("Password: ", "Password: $"),
            ("=> ", "> $"),
            ("grub>", ">$"),
            ("boot (y/n)? ", "\\(y/n\\)\\? $"),
        ] {
            assert_eq!(of_prompt(line), wanted);
            assert!(Regex::new(wanted).unwrap().is_match(line), "{line}");
            let unmet = Unmet::new(&signals, Awaited::Prompt(1), &[], line);
            assert_eq!(
                unmet.fits.unwrap().0,
                format!("--dialogue {}", shell_quote(&format!("{wanted} => go now")))
            );
        }
    }

    #[test]
    fn a_wrong_ready_or_done_is_answered_with_the_line_that_comes_nearest() {
        let signals =
            signals("ready = 'BOOTED'\ndone = '^all done$'\ndialogue = [{ wait = 'x', send = 'work' }]");
        let lines = ["/ # work", "sum: 12ab (3 s)", "ALL DONE 17", "[    3.25] eth0: link is up", " "];
        let unmet = |awaited, partial| Unmet::new(&signals, awaited, &lines, partial);
        let done = unmet(Awaited::Done, "/ # ").to_string();
        assert!(
            done.starts_with("the lab waited for `^all done$`, and the guest said last: `/ # `; "),
            "{done}"
        );
        assert!(done.ends_with("--done '^ALL DONE [0-9]+$' would fit its line `ALL DONE 17`"), "{done}");
        // Nothing comes near: the last line that is neither the kernel's nor what was typed.
        let other = Signals { done: Some("FERTIG".parse().unwrap()), ..signals.clone() };
        let fits = |lines: &[&str]| Unmet::new(&other, Awaited::Done, lines, "").fits.map(|(flag, _)| flag);
        assert_eq!(fits(&lines[..2]).unwrap(), "--done '^sum: [0-9a-fA-F]+ \\([0-9]+ s\\)$'");
        assert_eq!(fits(&lines[..1]), None);
        assert_eq!(unmet(Awaited::Ready, "").fits.unwrap().0, "--ready 'eth0: link is up$'");
        assert_eq!(unmet(Awaited::Ready, "/ # ").fits.unwrap().0, "--ready '# $'");
    }

    #[test]
    fn without_patterns_the_labs_own_markers_were_waited_for() {
        let unmet = |awaited, partial| Unmet::new(&Signals::default(), awaited, &[], partial);
        let silent = unmet(Awaited::Done, "");
        assert_eq!(silent.to_string(), "the lab waited for FLIPSIM DONE, and the guest said nothing");
        assert!(!silent.is_users && !silent.at_a_prompt);
        let login = unmet(Awaited::Ready, "buildroot login: ");
        assert!(login.to_string().contains("FLIPSIM READY") && login.at_a_prompt);
        assert_eq!(login.fits.unwrap().0, "--ready 'login: $'");
    }

    #[test]
    fn whatever_a_guest_says_what_is_suggested_fits_it() {
        for line in ["a\\b", "((", "[ 1.0] [x", "ä 12 µ", "$", "^", "0x1f: sha256", "[1.5]", " => ", "x]{3}"]
        {
            for (awaited, lines, partial) in
                [(Awaited::Ready, &[line][..], ""), (Awaited::Ready, &[][..], line)]
            {
                let unmet = Unmet::new(&Signals::default(), awaited, lines, partial);
                let part = if partial.is_empty() { of_line(line) } else { of_prompt(line) };
                assert!(Regex::new(&part).unwrap().is_match(line), "{part} on {line}");
                assert!(unmet.fits.is_some(), "{line}");
            }
        }
    }
}
