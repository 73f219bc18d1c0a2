//! The guard of the house: what stands where, and what may use what, read from the sources of all crates.
//!
//! **A folder only uses what stands below it**: the rows are in [`table`], the one thing to edit for a new folder. No
//! files import one another in a circle, a folder's head holds no logic, and no file is too long. Every finding names
//! its line and a remedy.

mod circles;
mod code;
mod heads;
mod house;
mod imports;
mod layering;
mod length;
mod looking;
mod table;

use std::path::Path;

use house::House;
use table::{FLIPSIM, RUNNER, Table, XTASK};

/// Fails with all that a rule finds in all crates.
fn check(rule: impl Fn(&House, &Table) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for table in [FLIPSIM, RUNNER, XTASK] {
        let house = House::read(&root, table.name).expect("the sources of the crate are there");
        found.extend(rule(&house, &table));
    }
    assert!(found.is_empty(), "{} findings:\n\n{}\n", found.len(), found.join("\n\n"));
}

#[test]
fn the_house_has_its_layers() {
    check(layering::findings);
}

#[test]
fn no_files_import_each_other_in_circles() {
    check(|house, _| circles::findings(house));
}

#[test]
fn a_folders_head_holds_no_logic() {
    check(|house, _| heads::findings(house));
}

#[test]
fn what_only_looks_at_a_campaign_runs_nothing() {
    check(|house, _| looking::findings(house));
}

#[test]
fn no_file_is_too_long() {
    check(|house, _| length::findings(house));
}
