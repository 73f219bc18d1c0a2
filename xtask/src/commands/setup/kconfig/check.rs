//! The wishes of fragments that a final `.config` does not fulfil, and what to do about each.
//!
//! Invariant: **[`check()`] is exact**, whatever the explanation is worth.

use std::fmt;

use super::config::{Fragment, KernelConfig, Value};

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
    /// Dependencies that are not met, where [`Dependencies`](super::depends::Dependencies) knows them: `INET` is not
    /// set, `!MODULES` is set and must not be, `FSCACHE=y` has another value.
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
pub fn check(fragments: &[Fragment], config: &KernelConfig) -> Vec<Dropped> {
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
