//! A folder only uses what stands below it.

use std::collections::{BTreeMap, BTreeSet};

use super::house::{File, House};
use super::table::Table;

/// What breaks the table, and rows that fit no folder.
pub fn findings(house: &House, table: &Table) -> Vec<String> {
    let mut found = rows(house, table);
    let mut used = BTreeSet::new();
    for file in house.files.iter().filter(|file| file.folder() != "lib") {
        // One finding for all that a line takes from where it may not.
        let mut broken: BTreeMap<(usize, Breach), Vec<&str>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for import in file.imports.iter().filter(|import| import.spelled && seen.insert(&import.path)) {
            let target = house.resolve(&import.path, file);
            let breach = upward(file, target, table).or_else(|| sideways(file, target, table, &mut used));
            if let Some(breach) = breach {
                let name = import.path.last().map_or("it", String::as_str);
                broken.entry((import.line, breach)).or_default().push(name);
            }
        }
        for ((line, breach), names) in broken {
            let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
            let Breach { rule, remedy } = breach;
            let remedy = remedy.replace("{names}", &names.join(", "));
            found.push(format!("{}\n    {rule}.\n    Remedy: {remedy}", file.quote(line)));
        }
    }
    for (from, to, _) in table.exceptions.iter().filter(|(from, to, _)| !used.contains(&(*from, *to))) {
        found.push(format!(
            "{}: `{from}` no longer uses `{to}`: remove the exception from the table",
            table.name
        ));
    }
    found
}

/// Which rule is broken, and what to do about it; `{names}` stands for what was imported.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    rule: String,
    remedy: String,
}

/// Folders without a row, and rows without a folder.
fn rows(house: &House, table: &Table) -> Vec<String> {
    let folders: BTreeSet<&str> =
        house.files.iter().map(File::folder).filter(|folder| *folder != "lib").collect();
    let rows: BTreeSet<&str> = table.rows.iter().map(|(folder, _)| *folder).collect();
    let without_row = folders.difference(&rows).map(|folder| {
        format!(
            "{}/src/{folder}: has no row in the table. Remedy: put it into the folder where it belongs, or add a row \
             to xtask/tests/layers/table.rs",
            table.name
        )
    });
    let without_folder = rows.difference(&folders).map(|row| {
        format!(
            "{}: the table's row `{row}` fits no folder. Remedy: remove the row, or give it the new name",
            table.name
        )
    });
    without_row.chain(without_folder).collect()
}

/// A file uses a folder that its own may not.
fn upward(file: &File, target: &File, table: &Table) -> Option<Breach> {
    let (from, to) = (file.folder(), target.folder());
    let row = |name: &str| table.rows.iter().find(|(folder, _)| *folder == name);
    // A folder without a row is a finding already.
    let ((_, allowed), _) = row(from).zip(row(to))?;
    if from == to || allowed.contains(&to) {
        return None;
    }
    let may = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
    Some(Breach {
        rule: format!("`{from}` may not use `{to}` (it may use {may})"),
        remedy: format!("move {{names}} down to `{from}` or below it, or hand it in from above"),
    })
}

/// A child of the folder whose children stand apart uses another one.
fn sideways(
    file: &File,
    target: &File,
    table: &Table,
    used: &mut BTreeSet<(&'static str, &'static str)>,
) -> Option<Breach> {
    let apart = table.apart.filter(|apart| file.folder() == *apart && target.folder() == *apart)?;
    let (from, to) = (file.module.get(1)?, target.module.get(1)?);
    if from == to {
        return None;
    }
    if let Some((from, to, _)) = table.exceptions.iter().find(|(a, b, _)| a == from && b == to) {
        used.insert((*from, *to));
        return None;
    }
    Some(Breach {
        rule: format!(
            "`{apart}/{from}` may not use `{apart}/{to}`: what stands side by side in `{apart}` is independent"
        ),
        remedy: format!("move {{names}} down, to a folder below `{apart}`, or hand it in"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::house::made_up;
    use super::*;

    const TOY: Table =
        Table { name: "toy", rows: &[("top", &["low"]), ("low", &[])], apart: Some("top"), exceptions: &[] };

    const HEADS: [(&str, &str); 2] =
        [("lib.rs", "pub mod top;\npub mod low;\n"), ("top/mod.rs", "mod a;\nmod b;\n")];

    fn with(files: &[(&str, &str)], table: &Table) -> Vec<String> {
        findings(&made_up(&[&HEADS, files].concat()), table)
    }

    #[test]
    fn what_uses_what_stands_below_it_passes() {
        let files = [
            ("top/a.rs", "use crate::low::Low;\nuse super::super::low;\nuse std::fs;\n"),
            ("top/b.rs", "// use crate::nowhere;\n#[cfg(test)]\nuse super::a::A;\n"),
            ("low.rs", "pub struct Low;\n#[cfg(test)]\nmod tests {\n    use crate::top::A;\n}\n"),
        ];
        assert_eq!(with(&files, &TOY), [""; 0]);
    }

    #[test]
    fn an_import_upward_is_found_with_its_line_and_the_remedy() {
        let files =
            [("top/a.rs", ""), ("top/b.rs", ""), ("low.rs", "\nuse crate::{\n    top::a::{A, B},\n};\n")];
        assert_eq!(
            with(&files, &TOY),
            ["toy/src/low.rs:3: top::a::{A, B},\n    `low` may not use `top` (it may use nothing).\n    \
              Remedy: move `A`, `B` down to `low` or below it, or hand it in from above"]
        );
    }

    #[test]
    fn a_path_in_code_counts_as_an_import_does() {
        let files = [("top/a.rs", ""), ("top/b.rs", ""), ("low.rs", "fn f() { super::top::a::g() }\n")];
        let found = with(&files, &TOY);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("toy/src/low.rs:1: fn f() { super::top::a::g() }"), "{}", found[0]);
    }

    #[test]
    fn the_root_hands_on_and_does_not_hide() {
        let files = [
            ("lib.rs", "pub mod top;\npub mod low;\npub use top::a;\n"),
            ("top/mod.rs", "pub mod a;\n"),
            ("top/a.rs", ""),
            ("low.rs", "use crate::a::A;\n"),
        ];
        let found = findings(&made_up(&files), &TOY);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("`low` may not use `top`"), "{}", found[0]);
    }

    #[test]
    fn neighbours_that_stand_apart_use_one_another_only_as_an_exception() {
        let files = [("top/a.rs", "use super::b::B;\n"), ("top/b.rs", ""), ("low.rs", "")];
        let found = with(&files, &TOY);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("`top/a` may not use `top/b`"), "{}", found[0]);
        let excepted = Table { exceptions: &[("a", "b", "it is a test")], ..TOY };
        assert_eq!(with(&files, &excepted), [""; 0]);
        let stale = [("top/a.rs", ""), ("top/b.rs", ""), ("low.rs", "")];
        assert_eq!(
            with(&stale, &excepted),
            ["toy: `a` no longer uses `b`: remove the exception from the table"]
        );
    }

    #[test]
    fn a_folder_without_a_row_and_a_row_without_a_folder_are_found() {
        let house = made_up(&[("lib.rs", "pub mod top;\npub mod new;\n"), ("top.rs", ""), ("new.rs", "")]);
        let found = findings(&house, &TOY);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("toy/src/new: has no row"), "{}", found[0]);
        assert!(found[1].contains("row `low` fits no folder"), "{}", found[1]);
    }
}
