//! The folder of a guest: `run.json`, `spec.json`, `held.json` and the log of its events.
#![no_main]

use flipsim::machine::folder::RunDir;
use flipsim::machine::watch::parse_events;
use flipsim_fuzz::{file, folder, texts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let [run, spec, held, events] = texts(data);
    for (name, content) in [("run.json", run), ("spec.json", spec), ("held.json", held)] {
        file(name, content.as_bytes());
    }
    let dir = RunDir::at(folder());
    if let Ok(record) = dir.load() {
        let _ = dir.gdb(&record);
        let written = serde_json::to_string(&record).expect("a record can be written");
        assert_eq!(serde_json::from_str(&written).ok(), Some(record));
    }
    if let Ok(spec) = dir.load_spec() {
        let _ = spec.argv();
        let written = serde_json::to_string(&spec).expect("a specification can be written");
        assert_eq!(serde_json::from_str(&written).ok(), Some(spec));
    }
    if let Ok(hold) = dir.hold() {
        assert_eq!(hold.left_behind().is_some(), !held.is_empty());
    }
    let lines: Vec<String> = events.lines().map(str::to_owned).collect();
    assert!(parse_events(&lines).len() <= lines.len());
});
