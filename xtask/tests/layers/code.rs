//! A source file as its tokens, with the lines where they stand.
//!
//! Textual on purpose: nothing here understands Rust. **What is in a comment, a string or test code is no token**, so
//! that no rule mistakes an example for an import.

/// One word or sign. A string is a single `"`, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// A `#[cfg(test)] mod x { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineTests {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// A file without its tests.
#[derive(Debug, Default)]
pub struct Code {
    pub tokens: Vec<Token>,
    pub inline_tests: Vec<InlineTests>,
    /// The modules declared as `#[cfg(test)] mod x;`.
    pub test_modules: Vec<String>,
}

impl Code {
    /// Reads a file's text.
    pub fn read(text: &str) -> Code {
        let all = tokens(text);
        let mut code = Code::default();
        let mut at = 0;
        while at < all.len() {
            let Some(after) = attribute(&all[at..]) else {
                code.tokens.push(all[at].clone());
                at += 1;
                continue;
            };
            if !is_test_only(&all[at..at + after]) {
                code.tokens.extend_from_slice(&all[at..at + after]);
                at += after;
                continue;
            }
            let mut item = at + after;
            while let Some(more) = attribute(&all[item..]) {
                item += more;
            }
            let end = item + item_length(&all[item..]);
            code.take_tests(&all[item..end]);
            at = end;
        }
        code
    }

    fn take_tests(&mut self, item: &[Token]) {
        let item = after_visibility(item);
        let [keyword, name, next, ..] = item else { return };
        if keyword.text != "mod" {
            return;
        }
        if next.text == ";" {
            self.test_modules.push(name.text.clone());
        } else {
            let lines = item.last().map_or(0, |last| last.line + 1 - keyword.line);
            self.inline_tests.push(InlineTests { name: name.text.clone(), line: keyword.line, lines });
        }
    }
}

/// What follows `pub`, `pub(crate)` and the like.
pub fn after_visibility(item: &[Token]) -> &[Token] {
    match item {
        [word, rest @ ..] if word.text == "pub" => match rest {
            [open, ..] if open.text == "(" => {
                let close = rest.iter().position(|token| token.text == ")").unwrap_or(rest.len() - 1);
                &rest[close + 1..]
            }
            _ => rest,
        },
        _ => item,
    }
}

/// How many tokens the attribute has that stands first, `#[…]` or `#![…]`.
pub fn attribute(tokens: &[Token]) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    let open = match (text(0), text(1), text(2)) {
        (Some("#"), Some("["), _) => 1,
        (Some("#"), Some("!"), Some("[")) => 2,
        _ => return None,
    };
    Some(open + group_length(&tokens[open..]))
}

/// How many tokens there are from an opening bracket to the one that closes it, both included.
fn group_length(tokens: &[Token]) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// `#[cfg(test)]`, or `#[cfg(all(…, test, …))]`. With `any` or `not` there is code outside tests too.
fn is_test_only(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|token| token.text.as_str()).collect();
    words.get(2) == Some(&"cfg")
        && words.contains(&"test")
        && !words.contains(&"any")
        && !words.contains(&"not")
}

/// How many tokens belong to the item, statement, field or arm that stands first.
pub fn item_length(tokens: &[Token]) -> usize {
    const ITEMS: [&str; 16] = [
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "let",
        "macro_rules",
        "mod",
        "static",
        "struct",
        "trait",
        "type",
        "union",
        "unsafe",
        "use",
    ];
    let kind = after_visibility(tokens).first().map_or("", |token| token.text.as_str());
    let second = after_visibility(tokens).get(1).map_or("", |token| token.text.as_str());
    let is_value = matches!(kind, "use" | "let" | "static" | "type")
        || (kind == "const" && !matches!(second, "fn" | "unsafe" | "extern" | "async"));
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 && !is_value {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            "," if depth == 0 && !ITEMS.contains(&kind) => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Every token of a text, tests included.
fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(token) = reader.next_token() {
        found.push(token);
    }
    found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn next_token(&mut self) -> Option<Token> {
        loop {
            let line = self.line;
            let token = |text: &str| Some(Token { text: text.to_owned(), line });
            match (self.peek(0)?, self.peek(1)) {
                (space, _) if space.is_whitespace() => self.skip(1),
                ('/', Some('/')) => while self.step().is_some_and(|c| c != '\n') {},
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => {
                    self.string();
                    return token("\"");
                }
                ('\'', _) => self.character_or_lifetime(),
                (':', Some(':')) => {
                    self.skip(2);
                    return token("::");
                }
                (first, _) if is_word(first) => {
                    let word = self.word();
                    if let Some(hashes) = self.raw_string(&word) {
                        self.skip(hashes + 1);
                        self.end_of_raw_string(hashes);
                        return token("\"");
                    }
                    if word == "r" && self.peek(0) == Some('#') {
                        // A raw identifier.
                        self.skip(1);
                        continue;
                    }
                    if matches!(word.as_str(), "b" | "c") && matches!(self.peek(0), Some('"' | '\'')) {
                        continue;
                    }
                    return token(&word);
                }
                (sign, _) => {
                    self.skip(1);
                    return token(&sign.to_string());
                }
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.peek(0).filter(|c| is_word(*c)) {
            word.push(next);
            self.skip(1);
        }
        word
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                (Some(_), _) => self.skip(1),
                (None, _) => return,
            }
        }
    }

    fn string(&mut self) {
        self.skip(1);
        while let Some(next) = self.step() {
            match next {
                '\\' => self.skip(1),
                '"' => return,
                _ => {}
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        if self.peek(1) == Some('\\') {
            self.skip(3);
            while self.step().is_some_and(|c| c != '\'') {}
        } else if self.peek(2) == Some('\'') {
            self.skip(3);
        } else {
            self.skip(1);
            self.word();
        }
    }

    /// The number of `#` before the quote, when this word begins a raw string.
    fn raw_string(&self, word: &str) -> Option<usize> {
        if !matches!(word, "r" | "br" | "cr") {
            return None;
        }
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        (self.peek(hashes) == Some('"')).then_some(hashes)
    }

    fn end_of_raw_string(&mut self, hashes: usize) {
        while let Some(next) = self.step() {
            if next == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.skip(hashes);
                return;
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let code = Code::read(text);
        code.tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        assert_eq!(words("//! crate::a\n/* crate::b /* x */ y */ use crate::c;"), "use crate :: c ;");
        assert_eq!(
            words(r##"f("use crate::a; \" {", r#"crate::"b" {"#, b"\\", 'c')"##),
            "f ( \" , \" , \" , )"
        );
        assert_eq!(words(r"let a: &'a str = x['{', '\'', '\u{7b}', b'}'];"), "let a : & str = x [ , , , ] ;");
        assert_eq!(words("r#type r"), "type r");
    }

    #[test]
    fn a_token_knows_its_line() {
        let code = Code::read("/* a\nb */ x\n\"c\nd\" y\n");
        let lines: Vec<usize> = code.tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn tests_are_left_out() {
        let code = Code::read(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n#[cfg(test)]\nmod sample;\nfn b() {}\n",
        );
        assert_eq!(code.test_modules, ["sample"]);
        assert_eq!(code.inline_tests, [InlineTests { name: "tests".to_owned(), line: 3, lines: 3 }]);
        let left: Vec<&str> = code.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(left.join(" "), "fn a ( ) { } fn b ( ) { }");
    }

    #[test]
    fn a_test_only_import_function_or_field_is_left_out_and_no_more() {
        assert_eq!(words("#[cfg(test)]\nuse a::{b, c};\nuse d;"), "use d ;");
        assert_eq!(words("#[cfg(test)]\n#[must_use]\npub(crate) fn f<A, B>() { x; }\nuse d;"), "use d ;");
        assert_eq!(words("struct S {\n    #[cfg(test)]\n    a: A,\n    b: B,\n}"), "struct S { b : B , }");
        assert_eq!(words("#[cfg(all(unix, test))]\nconst A: [u8; 2] = { x };\nuse d;"), "use d ;");
        assert_eq!(words("#[cfg(test)] const fn f() {}\nuse d;"), "use d ;");
    }

    #[test]
    fn what_is_for_more_than_tests_stays() {
        assert_eq!(
            words("#[cfg(any(test, feature = \"testing\"))]\npub mod testing;"),
            "# [ cfg ( any ( test , feature = \" ) ) ] pub mod testing ;"
        );
        assert_eq!(words("#[cfg(not(test))] use a;"), "# [ cfg ( not ( test ) ) ] use a ;");
    }
}
