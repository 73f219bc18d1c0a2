//! What only looks at a campaign runs nothing: neither it nor what it uses reaches a guest, or a program.

use super::house::{File, House};

/// Where campaigns are only looked at: commands, and what they are made of in both crates.
const LOOKING: &[&str] = &[
    "xtask/src/commands/campaign/classify.rs",
    "xtask/src/commands/campaign/export.rs",
    "xtask/src/commands/campaign/merge.rs",
    "xtask/src/commands/campaign/stats.rs",
    "xtask/src/commands/campaign/status.rs",
    "xtask/src/commands/report/",
    "xtask/src/lab/campaigns/",
    "flipsim/src/campaign/store/",
    "flipsim/src/campaign/summary/",
    "flipsim/src/report/",
];

/// What starts or holds a guest, in both crates.
const RUNNING: &[&[&str]] = &[
    &["guest"],
    &["source"],
    &["machine", "process"],
    &["machine", "boot"],
    &["trial", "clone"],
    &["trial", "template"],
    &["trial", "runner"],
    &["trial", "worker"],
    &["campaign", "run"],
];

/// The same as they are written across crates, and the standard library's.
const WRITTEN: &[&str] = &[
    "flipsim::machine",
    "flipsim::target",
    "trial::clone",
    "trial::template",
    "trial::{Worker",
    "trial::{Runner",
    "std::process::Command",
    "process::{Command",
];

fn looks(file: &File) -> bool {
    LOOKING.iter().any(|place| file.path.starts_with(place))
}

/// What runs something although it is to look, and rows that fit no file.
pub fn findings(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for file in house.files.iter().filter(|file| looks(file)) {
        let text = "a command that only looks at a campaign must not be able to run what a stranger's campaign says.\n    \
                    Remedy: hand in what it needs as data";
        for import in &file.imports {
            let target = &house.resolve(&import.path, file).module;
            let runs = |place: &&[&str]| {
                target.iter().map(String::as_str).take(place.len()).eq(place.iter().copied())
            };
            if RUNNING.iter().any(runs) {
                found.push(format!("{}\n    {text}", file.quote(import.line)));
            }
        }
        for (at, line) in file.lines.iter().enumerate() {
            if WRITTEN.iter().any(|word| line.contains(word)) {
                found.push(format!("{}\n    {text}", file.quote(at + 1)));
            }
        }
    }
    let crate_of = house.files.first().and_then(|file| file.path.split('/').next()).unwrap_or_default();
    for place in LOOKING.iter().filter(|place| place.starts_with(crate_of)) {
        if !house.files.iter().any(|file| file.path.starts_with(place)) {
            found.push(format!(
                "{place}: no such file; give the row in xtask/tests/layers/looking.rs the new name"
            ));
        }
    }
    found
}
