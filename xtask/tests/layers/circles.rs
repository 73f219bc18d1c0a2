//! No files import one another in a circle.
//!
//! A folder's head imports what it declares; so what asks its own folder's head for a name stands in a circle with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::house::House;

/// For each file those that it imports, with the line of the first import.
type Graph = BTreeMap<usize, BTreeMap<usize, usize>>;

/// How many circles of one knot are shown; the others are seen when these are gone.
const SHOWN: usize = 6;

/// The knots of files that lead to one another, each with the shortest circles in it.
pub fn findings(house: &House) -> Vec<String> {
    let graph = graph(house);
    let ahead: BTreeMap<usize, BTreeSet<usize>> =
        graph.keys().map(|file| (*file, reachable(&graph, *file))).collect();
    let mut done = BTreeSet::new();
    let mut found = Vec::new();
    for start in graph.keys() {
        if done.contains(start) || !ahead[start].contains(start) {
            continue;
        }
        let knot: Vec<usize> =
            ahead[start].iter().copied().filter(|file| ahead[file].contains(start)).collect();
        let circles: BTreeSet<Vec<usize>> = knot.iter().filter_map(|file| shortest(&graph, *file)).collect();
        let mut circles: Vec<Vec<usize>> = circles.into_iter().collect();
        circles.sort_by_key(Vec::len);
        let names: Vec<&str> = knot.iter().map(|file| house.files[*file].path.as_str()).collect();
        let mut text = format!("{} files import one another: {}", names.len(), names.join(", "));
        for circle in circles.iter().take(SHOWN) {
            text += "\n  a circle:";
            for (at, file) in circle.iter().enumerate() {
                let next = circle[(at + 1) % circle.len()];
                let import = house.files[*file].quote(graph[file][&next]);
                text += &format!("\n    {import}\n        → {}", house.files[next].path);
            }
        }
        if circles.len() > SHOWN {
            text += &format!("\n  and {} circles more", circles.len() - SHOWN);
        }
        text += "\n  Remedy: import the file that holds the name, not the folder's head; or move what both need into \
                 a file below both";
        found.push(text);
        done.extend(knot);
    }
    found
}

fn graph(house: &House) -> Graph {
    let places: BTreeMap<&str, usize> =
        house.files.iter().enumerate().map(|(at, file)| (file.path.as_str(), at)).collect();
    let mut graph = Graph::new();
    for (at, file) in house.files.iter().enumerate() {
        let edges = graph.entry(at).or_default();
        let children = file.children.iter().filter_map(|(module, line)| {
            let child = house.file_of_module(module)?;
            Some((child, *line))
        });
        // A path that ends at another folder's head only names the folder; what is used of it stands elsewhere.
        let imports = file.imports.iter().filter(|import| {
            let named = house.file_of_module(&import.path);
            import.glob
                || named.is_none_or(|named| !named.is_head() || file.module.starts_with(&named.module))
        });
        let imports = imports.map(|import| (house.resolve(&import.path, file), import.line));
        for (target, line) in imports.chain(children) {
            let target = places[target.path.as_str()];
            if target != at {
                edges.entry(target).or_insert(line);
            }
        }
    }
    graph
}

fn reachable(graph: &Graph, start: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = graph[&start].keys().copied().collect();
    while let Some(file) = open.pop() {
        if found.insert(file) {
            open.extend(graph[&file].keys());
        }
    }
    found
}

/// The shortest way from a file back to it, written from its first file on.
fn shortest(graph: &Graph, start: usize) -> Option<Vec<usize>> {
    let mut came_from = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for next in graph[&file].keys() {
            if *next == start {
                let mut circle = vec![file];
                while circle[circle.len() - 1] != start {
                    circle.push(came_from[&circle[circle.len() - 1]]);
                }
                circle.reverse();
                let first = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
                circle.rotate_left(first);
                return Some(circle);
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = came_from.entry(*next) {
                entry.insert(file);
                open.push_back(*next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::house::made_up;
    use super::*;

    #[test]
    fn siblings_that_import_each_other_one_way_pass() {
        let house = made_up(&[
            ("lib.rs", "pub mod a;\npub mod b;\n"),
            ("a/mod.rs", "mod one;\nmod two;\npub use one::One;\npub use two::Two;\n"),
            ("a/one.rs", "use super::two::Two;\npub struct One(Two);\n"),
            ("a/two.rs", "pub struct Two;\n#[cfg(test)]\nmod tests {\n    use super::super::one::One;\n}\n"),
            ("b.rs", "use crate::a;\nuse crate::a::One;\nfn f() { a::Two::new(); self::g() }\n"),
        ]);
        assert_eq!(findings(&house), [""; 0]);
    }

    #[test]
    fn a_circle_is_shown_with_its_imports() {
        let house = made_up(&[
            ("lib.rs", "pub mod a;\npub mod b;\npub mod c;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "\nfn f() { crate::c::g() }\n"),
            ("c.rs", "use crate::a::A;\n"),
        ]);
        assert_eq!(
            findings(&house),
            ["3 files import one another: toy/src/a.rs, toy/src/b.rs, toy/src/c.rs\n  a circle:\n    \
              toy/src/a.rs:1: use crate::b::B;\n        → toy/src/b.rs\n    \
              toy/src/b.rs:2: fn f() { crate::c::g() }\n        → toy/src/c.rs\n    \
              toy/src/c.rs:1: use crate::a::A;\n        → toy/src/a.rs\n  \
              Remedy: import the file that holds the name, not the folder's head; or move what both need into a file \
              below both"]
        );
    }

    #[test]
    fn an_import_through_ones_own_folders_head_is_a_circle() {
        let head = "mod one;\nmod two;\npub use two::Two;\n";
        let house = made_up(&[
            ("lib.rs", "pub mod a;\n"),
            ("a/mod.rs", head),
            ("a/one.rs", "use super::Two;\n"),
            ("a/two.rs", "pub struct Two;\n"),
        ]);
        let found = findings(&house);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("toy/src/a/one.rs:1: use super::Two;\n        → toy/src/a/mod.rs"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn a_folder_whose_head_hands_on_is_seen_through_from_outside() {
        // `a` takes from one file of `b`, and another file of `b` takes from `a`: no circle of files.
        let files = [
            ("lib.rs", "pub mod a;\npub mod b;\n"),
            ("a.rs", "use crate::b::Low;\npub struct A;\n"),
            ("b/mod.rs", "mod low;\nmod high;\npub use low::Low;\npub use high::High;\n"),
            ("b/low.rs", "pub struct Low;\n"),
            ("b/high.rs", "use crate::a::A;\npub struct High;\n"),
        ];
        assert_eq!(findings(&made_up(&files)), [""; 0]);
        let mut circle = files;
        circle[1].1 = "use crate::b::High;\npub struct A;\n";
        assert_eq!(findings(&made_up(&circle)).len(), 1);
    }

    #[test]
    fn two_circles_of_one_knot_are_one_finding() {
        let house = made_up(&[
            ("lib.rs", "pub mod a;\npub mod b;\npub mod c;\n"),
            ("a.rs", "use crate::{b::B, c::C};\n"),
            ("b.rs", "use crate::a::A;\n"),
            ("c.rs", "use crate::a::A;\n"),
        ]);
        let found = findings(&house);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("3 files import one another: "), "{}", found[0]);
        assert_eq!(found[0].matches("a circle:").count(), 2, "{}", found[0]);
    }
}
