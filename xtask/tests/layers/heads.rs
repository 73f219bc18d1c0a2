//! A folder's head is `mod.rs`, a library's is `lib.rs`. **They hold no logic**: docs, `mod`, `use`, and nothing else.

use super::code::{Token, after_visibility, attribute, item_length};
use super::house::House;

/// Heads with logic, and heads with another name.
pub fn findings(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for file in house.files.iter().filter(|file| file.is_head() && !file.path.ends_with("/main.rs")) {
        if let Some(line) = first_logic(&file.code.tokens) {
            found.push(format!(
                "{}\n    A folder's head holds no logic: only `//!`, `mod` and `use`.\n    Remedy: move it to a file \
                 of the folder, and hand it out with `pub use`",
                file.quote(line)
            ));
        }
    }
    for (path, _) in house.all.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let folder = format!("{}/", path.trim_end_matches(".rs"));
        let below =
            house.all.iter().filter(|(other, _)| other.starts_with(&folder) && other.ends_with(".rs"));
        if let Some((child, _)) = below.into_iter().find(|(other, _)| !house.is_test(other)) {
            found.push(format!(
                "{path}: stands beside its own folder, which holds {child}.\n    Remedy: `git mv {path} {folder}mod.rs` \
                 and move its logic to files of the folder; only `tests.rs` stands in a folder beside its file"
            ));
        }
    }
    found
}

/// The line of the first item that is neither a declaration nor an import.
fn first_logic(tokens: &[Token]) -> Option<usize> {
    let mut rest = tokens;
    while !rest.is_empty() {
        if let Some(length) = attribute(rest) {
            rest = &rest[length..];
            continue;
        }
        let item = &rest[..item_length(rest).max(1)];
        let line = item[0].line;
        let fits = match after_visibility(item) {
            [keyword, ..] if keyword.text == "use" => true,
            [keyword, _, end] => keyword.text == "mod" && end.text == ";",
            _ => false,
        };
        if !fits {
            return Some(line);
        }
        rest = &rest[item.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::house::made_up;
    use super::*;

    #[test]
    fn a_head_of_declarations_passes() {
        let head = "//! Docs.\n#![expect(x, reason = \"y\")]\n\npub mod one;\n#[cfg(feature = \"x\")]\n\
                    pub(crate) mod two;\n#[cfg(test)]\nmod tests;\n\npub use one::{One, Other};\nuse two::*;\n\
                    #[cfg(test)]\nfn f() {}\n";
        let house = made_up(&[
            ("lib.rs", "pub mod a;\n"),
            ("a/mod.rs", head),
            ("a/one.rs", "fn f() {}\n#[cfg(test)]\nmod tests;\n"),
            ("a/one/tests.rs", ""),
            ("a/one/snapshots/x.snap", ""),
            ("a/two.rs", ""),
            ("a/tests.rs", ""),
        ]);
        assert_eq!(findings(&house), [""; 0]);
    }

    #[test]
    fn logic_in_a_head_is_found_with_its_line() {
        for logic in [
            "pub fn f() {}",
            "pub const A: u8 = 1;",
            "mod inline { fn f() {} }",
            "macro_rules! m { () => {} }",
            "impl A {}",
        ] {
            let head = format!("//! Docs.\n\nmod one;\n\n#[doc(hidden)]\n{logic}\n");
            let house = made_up(&[("lib.rs", "pub mod a;\n"), ("a/mod.rs", &head), ("a/one.rs", "")]);
            let found = findings(&house);
            assert_eq!(found.len(), 1, "{logic}");
            assert!(found[0].starts_with(&format!("toy/src/a/mod.rs:6: {logic}\n")), "{}", found[0]);
        }
    }

    #[test]
    fn a_librarys_head_is_one_too_and_a_programs_is_not() {
        let house = made_up(&[("lib.rs", "pub mod a;\npub fn f() {}\n"), ("a.rs", "")]);
        assert!(findings(&house)[0].starts_with("toy/src/lib.rs:2: pub fn f() {}\n"));
        assert_eq!(findings(&made_up(&[("main.rs", "mod a;\nfn main() {}\n"), ("a.rs", "")])), [""; 0]);
    }

    #[test]
    fn a_file_beside_its_own_folder_is_found() {
        let house = made_up(&[("lib.rs", "pub mod a;\n"), ("a.rs", "pub mod one;\n"), ("a/one.rs", "")]);
        let found = findings(&house);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("toy/src/a.rs: stands beside its own folder, which holds toy/src/a/one.rs")
        );
    }
}
