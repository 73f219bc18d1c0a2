//! Conditions of Kconfig: read, and asked what keeps them from being true.
//!
//! Invariant: **a condition that cannot be read explains nothing**; none is followed without bound.

use super::config::KernelConfig;

/// What keeps a condition from being true; empty when it is true, or cannot be read.
pub(super) fn unmet_of(condition: &str, config: &KernelConfig) -> Vec<String> {
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
    config: &'a KernelConfig,
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
