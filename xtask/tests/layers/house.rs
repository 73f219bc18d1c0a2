//! The source files of one crate, and which of them a path leads to.
//!
//! **A file is here if the crate's root declares it**, through `mod` lines; files of tests alone are left out, but for
//! their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};

use super::code::Code;
use super::imports::{Import, Path, scan};

/// One source file.
#[derive(Debug)]
pub struct File {
    /// From the folder that holds the crate: `flipsim/src/fault/mod.rs`.
    pub path: String,
    pub module: Path,
    pub lines: Vec<String>,
    pub code: Code,
    pub imports: Vec<Import>,
    /// Its children, with the lines of their `mod`.
    pub children: Vec<(Path, usize)>,
}

impl File {
    /// `lib.rs` or `main.rs`.
    pub fn is_root(&self) -> bool {
        self.module.is_empty()
    }

    /// A folder's head, or the crate's.
    pub fn is_head(&self) -> bool {
        self.is_root() || self.path.ends_with("/mod.rs")
    }

    /// The folder or file directly below `src` to which it belongs; `lib` or `main` for the root.
    pub fn folder(&self) -> &str {
        self.module.first().map_or_else(|| stem(&self.path), String::as_str)
    }

    /// `path:line: the line`.
    pub fn quote(&self, line: usize) -> String {
        let text = line.checked_sub(1).and_then(|at| self.lines.get(at)).map_or("", |text| text.trim());
        format!("{}:{line}: {text}", self.path)
    }
}

fn stem(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// What a module hands out.
#[derive(Debug, Default)]
struct Module {
    file: usize,
    names: BTreeMap<String, Path>,
    globs: Vec<Path>,
    defined: BTreeSet<String>,
}

/// One crate's files.
#[derive(Debug)]
pub struct House {
    pub files: Vec<File>,
    /// Every file below `src`, with its number of lines, tests included.
    pub all: Vec<(String, usize)>,
    /// The files that are only compiled for tests.
    pub tests: BTreeSet<String>,
    modules: BTreeMap<Path, Module>,
}

impl House {
    /// Reads the crate `name` in the folder `root`.
    pub fn read(root: &FilePath, name: &str) -> std::io::Result<House> {
        let mut house =
            House { files: Vec::new(), all: Vec::new(), tests: BTreeSet::new(), modules: BTreeMap::new() };
        let src = format!("{name}/src");
        let head = ["lib.rs", "main.rs"].map(|file| format!("{src}/{file}"));
        let head = head.into_iter().find(|file| root.join(file).is_file());
        let head =
            head.ok_or_else(|| std::io::Error::other(format!("{src} has neither lib.rs nor main.rs")))?;
        house.load(root, &head, Vec::new())?;
        let mut paths = Vec::new();
        walk(&root.join(&src), &mut paths)?;
        paths.sort();
        for path in paths {
            let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let lines =
                if shown.ends_with(".rs") { std::fs::read_to_string(&path)?.lines().count() } else { 0 };
            house.all.push((shown, lines));
        }
        let below = |path: &str, head: &str| path.starts_with(&format!("{}/", children_of(head)));
        let marked: Vec<String> = house.tests.iter().cloned().collect();
        for (path, _) in &house.all {
            let named = path.ends_with("/tests.rs") || path.contains("/tests/");
            if named || marked.iter().any(|head| below(path, head)) {
                house.tests.insert(path.clone());
            }
        }
        Ok(house)
    }

    fn load(&mut self, root: &FilePath, path: &str, module: Path) -> std::io::Result<()> {
        let text = std::fs::read_to_string(root.join(path))?;
        let code = Code::read(&text);
        let found = scan(&code.tokens, &module);
        let children = children_of(path);
        for name in &code.test_modules {
            self.tests.extend(file_of(root, &children, std::slice::from_ref(name)));
        }
        let place = self.files.len();
        self.modules.insert(module.clone(), Module { file: place, ..Module::default() });
        for inline in found.declared.iter().filter(|declared| declared.inline) {
            self.modules.insert(inline.path.clone(), Module { file: place, ..Module::default() });
        }
        for (path, names) in found.defined {
            self.modules.entry(path).or_default().defined.extend(names);
        }
        for import in &found.imports {
            let Some(holder) = self.modules.get_mut(&import.module) else { continue };
            match &import.name {
                Some(name) => {
                    holder.names.insert(name.clone(), import.path.clone());
                }
                None if import.glob => holder.globs.push(import.path.clone()),
                None => {}
            }
        }
        let mut below = Vec::new();
        for declared in found.declared.iter().filter(|declared| !declared.inline) {
            let names = &declared.path[module.len()..];
            if let Some(file) = file_of(root, &children, names) {
                below.push((file, declared.path.clone(), declared.line));
            }
        }
        self.files.push(File {
            path: path.to_owned(),
            module,
            lines: text.lines().map(str::to_owned).collect(),
            code,
            imports: found.imports,
            children: below.iter().map(|(_, path, line)| (path.clone(), *line)).collect(),
        });
        below.into_iter().try_for_each(|(file, module, _)| self.load(root, &file, module))
    }

    /// Whether the file is compiled for tests alone.
    pub fn is_test(&self, path: &str) -> bool {
        self.tests.contains(path)
    }

    /// The file of a module.
    pub fn file_of_module(&self, module: &Path) -> Option<&File> {
        self.modules.get(module).map(|module| &self.files[module.file])
    }

    /// The file to which a path leads that stands in `from`.
    ///
    /// A name that a folder's head only hands on leads to the file that it comes from; for what stands in that folder
    /// itself it leads to the head, which knows all of the folder.
    pub fn resolve(&self, path: &Path, from: &File) -> &File {
        self.follow(path, from, 16)
    }

    fn follow(&self, path: &Path, from: &File, patience: usize) -> &File {
        let mut module = Path::new();
        for (at, word) in path.iter().enumerate() {
            let mut child = module.clone();
            child.push(word.clone());
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let Some(holder) = self.modules.get(&module) else { break };
            // What the crate's root hands on is no detour: every module may ask it.
            let own =
                !module.is_empty() && from.module.len() > module.len() && from.module.starts_with(&module);
            if own || patience == 0 || holder.defined.contains(word) {
                break;
            }
            let handed = holder.names.get(word).cloned().or_else(|| self.in_globs(holder, word));
            let Some(mut handed) = handed.filter(|handed| handed != path) else { break };
            handed.extend_from_slice(&path[at + 1..]);
            return self.follow(&handed, from, patience - 1);
        }
        let file = self.modules.get(&module).map_or(0, |module| module.file);
        &self.files[file]
    }

    /// Where a name comes from that a module hands on with a `*`.
    fn in_globs(&self, holder: &Module, word: &str) -> Option<Path> {
        holder.globs.iter().find_map(|glob| {
            let source = self.modules.get(glob)?;
            let known = source.defined.contains(word) || source.names.contains_key(word);
            known.then(|| glob.iter().cloned().chain([word.to_owned()]).collect())
        })
    }
}

/// The folder in which the children of a file stand.
fn children_of(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

fn file_of(root: &FilePath, folder: &str, names: &[String]) -> Option<String> {
    let place = format!("{folder}/{}", names.join("/"));
    let candidates = [format!("{place}.rs"), format!("{place}/mod.rs")];
    candidates.into_iter().find(|path| root.join(path).is_file())
}

fn walk(folder: &FilePath, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// A crate `toy` of these files below `src`, for the tests of the rules.
#[cfg(test)]
pub fn made_up(files: &[(&str, &str)]) -> House {
    let root = tempfile::tempdir().expect("a folder for a made-up crate");
    for (path, text) in files {
        let path = root.path().join("toy/src").join(path);
        std::fs::create_dir_all(path.parent().expect("it is below src")).expect("a new folder");
        std::fs::write(path, text).expect("a new file");
    }
    House::read(root.path(), "toy").expect("a made-up crate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(house: &House, from: &str, path: &str) -> String {
        let from = house.files.iter().find(|file| file.path == format!("toy/src/{from}")).unwrap();
        let path: Path = path.split("::").map(str::to_owned).collect();
        house.resolve(&path, from).path.trim_start_matches("toy/src/").to_owned()
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_it() {
        let house = made_up(&[
            ("lib.rs", "pub mod a;\npub mod b;\npub use a::Named as Other;\n"),
            ("a/mod.rs", "mod one;\nmod two;\npub use one::{One, Named};\npub use two::*;\n"),
            ("a/one.rs", "pub struct One;\npub struct Named;\n"),
            ("a/two.rs", "pub struct Two;\n"),
            ("b.rs", "mod inline { pub struct C; }\n"),
        ]);
        assert_eq!(leads(&house, "b.rs", "a::One::new"), "a/one.rs");
        assert_eq!(leads(&house, "b.rs", "a::Two"), "a/two.rs");
        assert_eq!(leads(&house, "b.rs", "a::two::Two"), "a/two.rs");
        assert_eq!(leads(&house, "b.rs", "a::Unknown"), "a/mod.rs");
        assert_eq!(leads(&house, "b.rs", "Other"), "a/one.rs");
        assert_eq!(leads(&house, "a/one.rs", "b::inline::C"), "b.rs");
        // One's own folder's head stays the head; an import of the child does not go through it.
        assert_eq!(leads(&house, "a/one.rs", "a::Two"), "a/mod.rs");
        assert_eq!(leads(&house, "a/one.rs", "a::two::Two"), "a/two.rs");
    }

    #[test]
    fn files_of_tests_are_known_as_such() {
        let house = made_up(&[
            ("lib.rs", "pub mod a;\n#[cfg(test)]\nmod sample;\n"),
            ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests;\n"),
            ("a/tests.rs", "use super::*;\n"),
            ("sample/mod.rs", "mod deep;\n"),
            ("sample/deep.rs", "\n"),
        ]);
        let tests: Vec<&str> = house.tests.iter().map(String::as_str).collect();
        assert_eq!(tests, ["toy/src/a/tests.rs", "toy/src/sample/deep.rs", "toy/src/sample/mod.rs"]);
        let files: Vec<&str> = house.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["toy/src/lib.rs", "toy/src/a.rs"]);
    }
}
