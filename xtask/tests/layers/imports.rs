//! The paths of a file into its own crate: in `use` trees and in code.
//!
//! **Every path is absolute here**: what began with `super`, `self`, the name of a child or of an import is spelled
//! from the crate's root.

use std::collections::{BTreeMap, BTreeSet};

use super::code::Token;

/// A module's or an item's path from the crate's root, without `crate`.
pub type Path = Vec<String>;

/// A path into the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Path,
    pub line: usize,
    /// The module in which it stands.
    pub module: Path,
    /// The name that a `use` gives it.
    pub name: Option<String>,
    /// `use a::b::*`.
    pub glob: bool,
    /// It is written with `crate`, `super` or `self`; else it begins with an import or a child.
    pub spelled: bool,
}

/// A module that a file declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub path: Path,
    pub line: usize,
    /// `mod x { … }`.
    pub inline: bool,
}

/// What a file says of modules.
#[derive(Debug, Default)]
pub struct Scan {
    pub declared: Vec<Declared>,
    pub imports: Vec<Import>,
    /// What is defined in each module of the file.
    pub defined: BTreeMap<Path, BTreeSet<String>>,
}

/// A path as it is written.
struct Written {
    words: Vec<String>,
    line: usize,
    module: Path,
    is_use: bool,
    name: Option<String>,
    glob: bool,
}

/// Reads the tokens of a file that is the module `module`.
pub fn scan(tokens: &[Token], module: &[String]) -> Scan {
    let mut reader = Reader {
        tokens,
        at: 0,
        module: module.to_vec(),
        depth: 0,
        opened: Vec::new(),
        written: Vec::new(),
        found: Scan::default(),
    };
    reader.read();
    let Reader { written, mut found, .. } = reader;
    let children: BTreeSet<&Path> = found.declared.iter().map(|declared| &declared.path).collect();
    // An import may begin with another import's name, so names are collected until no more is found.
    let mut names: BTreeMap<(Path, String), Path> = BTreeMap::new();
    loop {
        let known = names.len();
        for path in written.iter().filter(|path| path.is_use) {
            let (Some(name), Some(absolute)) = (&path.name, path.absolute(&children, &names)) else {
                continue;
            };
            names.entry((path.module.clone(), name.clone())).or_insert(absolute);
        }
        if names.len() == known {
            break;
        }
    }
    for path in written {
        let Some(absolute) = path.absolute(&children, &names) else { continue };
        let spelled = is_root_word(&path.words[0]);
        let Written { line, module, name, glob, .. } = path;
        found.imports.push(Import { path: absolute, line, module, name, glob, spelled });
    }
    found
}

fn is_root_word(word: &str) -> bool {
    matches!(word, "crate" | "super" | "self")
}

impl Written {
    /// The path from the root, if it leads into this crate.
    fn absolute(&self, children: &BTreeSet<&Path>, names: &BTreeMap<(Path, String), Path>) -> Option<Path> {
        let (first, rest) = self.words.split_first()?;
        let mut path = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module.split_last()?.1.to_vec(),
            name => {
                let child: Path = self.module.iter().cloned().chain([name.to_owned()]).collect();
                if children.contains(&child) {
                    child
                } else {
                    // A `use` does not lead to itself.
                    let known = names.get(&(self.module.clone(), name.to_owned()))?;
                    (!self.is_use || self.name.as_deref() != Some(name)).then(|| known.clone())?
                }
            }
        };
        for word in rest {
            if word == "super" {
                path.pop()?;
            } else {
                path.push(word.clone());
            }
        }
        Some(path)
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Path,
    depth: usize,
    /// The depths at which an inline module was opened.
    opened: Vec<usize>,
    written: Vec<Written>,
    found: Scan,
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn read(&mut self) {
        while self.at < self.tokens.len() {
            let next = self.text(self.at + 1).to_owned();
            match self.text(self.at) {
                "{" => {
                    self.depth += 1;
                    self.at += 1;
                }
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.opened.last() == Some(&self.depth) {
                        self.opened.pop();
                        self.module.pop();
                    }
                    self.at += 1;
                }
                // Not the `use<'a>` of a type.
                "use" if next != "<" => {
                    self.at += 1;
                    self.use_tree(&[]);
                }
                "mod" if matches!(self.text(self.at + 2), ";" | "{") => self.declared(&next),
                "macro_rules" => {
                    let name = self.text(self.at + 2).to_owned();
                    self.define(name);
                    self.at += 3;
                }
                "struct" | "enum" | "fn" | "trait" | "type" | "const" | "static" | "union"
                    if is_name(&next)
                        && !matches!(next.as_str(), "fn" | "unsafe" | "async" | "extern" | "mut") =>
                {
                    self.define(next);
                    self.at += 2;
                }
                word if is_name(word) && next == "::" && !self.goes_on() => self.path(),
                _ => self.at += 1,
            }
        }
    }

    /// Whether the word here belongs to what stands before it, or is `pub(in …)`, which imports nothing.
    fn goes_on(&self) -> bool {
        let before = |count: usize| self.at.checked_sub(count).map_or("", |at| self.text(at));
        matches!(before(1), "::" | ".") || (before(1) == "in" && before(2) == "(" && before(3) == "pub")
    }

    fn define(&mut self, name: String) {
        self.found.defined.entry(self.module.clone()).or_default().insert(name);
    }

    fn declared(&mut self, name: &str) {
        let line = self.tokens[self.at].line;
        let path: Path = self.module.iter().cloned().chain([name.to_owned()]).collect();
        let inline = self.text(self.at + 2) == "{";
        self.found.declared.push(Declared { path: path.clone(), line, inline });
        if inline {
            self.module = path;
            self.opened.push(self.depth);
            self.depth += 1;
        }
        self.at += 3;
    }

    /// One branch of a `use`, up to the sign after it.
    fn use_tree(&mut self, prefix: &[String]) {
        let mut words = prefix.to_vec();
        loop {
            let line = self.tokens.get(self.at).map_or(0, |token| token.line);
            match self.text(self.at).to_owned().as_str() {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(self.at), "}" | "") {
                        self.use_tree(&words);
                        if self.text(self.at) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.at += 1;
                    self.written(words, line, true, None, true);
                    return;
                }
                word if is_name(word) => {
                    self.at += 1;
                    // `a::{self}` is `a`.
                    if word != "self" || words.is_empty() {
                        words.push(word.to_owned());
                    }
                    if self.text(self.at) == "::" {
                        continue;
                    }
                    let mut name = words.last().cloned();
                    if self.text(self.at) == "as" {
                        name = Some(self.text(self.at + 1).to_owned());
                        self.at += 2;
                    }
                    self.written(words, line, true, name, false);
                    return;
                }
                _ => {
                    // No `use` after all: go on with what follows.
                    self.at += 1;
                    return;
                }
            }
        }
    }

    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut words = vec![self.text(self.at).to_owned()];
        self.at += 1;
        while self.text(self.at) == "::" && is_name(self.text(self.at + 1)) {
            words.push(self.text(self.at + 1).to_owned());
            self.at += 2;
        }
        self.written(words, line, false, None, false);
    }

    fn written(&mut self, words: Vec<String>, line: usize, is_use: bool, name: Option<String>, glob: bool) {
        if !words.is_empty() {
            self.written.push(Written { words, line, module: self.module.clone(), is_use, name, glob });
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::code::Code;
    use super::*;

    /// The imports of a text that is the module `a::b`.
    fn paths(text: &str) -> Vec<String> {
        let module = ["a".to_owned(), "b".to_owned()];
        let found = scan(&Code::read(text).tokens, &module);
        let shown = |import: Import| {
            let star = if import.glob { "::*" } else { "" };
            format!("{}: {}{star}", import.line, import.path.join("::"))
        };
        found.imports.into_iter().map(shown).collect()
    }

    #[test]
    fn a_use_tree_is_spelled_out_with_its_lines() {
        let text = "use crate::{\n    c::{self, D, e::F as G},\n    h::*,\n};\npub(crate) use crate::i;\n";
        assert_eq!(paths(text), ["2: c", "2: c::D", "2: c::e::F", "3: h::*", "5: i"]);
    }

    #[test]
    fn super_and_self_and_children_are_absolute() {
        assert_eq!(
            paths("use super::c::D;\nuse super::super::e;\nuse self::f;"),
            ["1: a::c::D", "2: e", "3: a::b::f"]
        );
        assert_eq!(paths("mod c;\nuse c::D;\nfn f() { c::e() }"), ["2: a::b::c::D", "3: a::b::c::e"]);
        assert_eq!(paths("mod c { use super::D; use super::super::E; }"), ["1: a::b::D", "1: a::E"]);
    }

    #[test]
    fn paths_in_code_count_and_those_of_other_crates_do_not() {
        assert_eq!(
            paths("fn f() -> crate::c::D { crate::e::g(super::h::I::new::<u8>()) }"),
            ["1: c::D", "1: e::g", "1: a::h::I::new"]
        );
        assert_eq!(
            paths("use std::fs;\nfn f() { fs::read(x.y::<Z>()); Vec::<u8>::new(); serde::x() }"),
            [""; 0]
        );
        assert_eq!(paths("fn f() { for x in crate::c::D {} }"), ["1: c::D"]);
        assert_eq!(paths("pub(in crate::a) fn f() -> impl Sized + use<'_> {}"), [""; 0]);
    }

    #[test]
    fn an_imported_module_leads_on() {
        let text = "use crate::lab;\nuse lab::cache as store;\nfn f() { lab::find(); store::put() }";
        assert_eq!(paths(text), ["1: lab", "2: lab::cache", "3: lab::find", "3: lab::cache::put"]);
        // A `use` of another crate that has a module's name.
        assert_eq!(paths("use fault::X;\nfn f() { X::new() }"), [""; 0]);
    }

    #[test]
    fn definitions_are_found_in_their_module() {
        let found =
            scan(&Code::read("pub struct A;\nmod c { pub const fn d() {} }\nconst E: u8 = 1;").tokens, &[]);
        let names = |module: &[String]| found.defined[module].iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(&[]), ["A", "E"]);
        assert_eq!(names(&["c".to_owned()]), ["d"]);
    }
}
