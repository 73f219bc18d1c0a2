//! Records of single flips, `flips.jsonl` and `flips.csv`.
#![no_main]

use flipsim::fault::record::FlipRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let Ok(record) = serde_json::from_str::<FlipRecord>(line) else { return };
    let written = record.json();
    assert!(!written.contains('\n'));
    assert_eq!(serde_json::from_str::<FlipRecord>(&written).ok(), Some(record.clone()));
    let _ = record.csv();
});
