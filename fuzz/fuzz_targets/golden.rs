//! Golden runs, as a campaign and a template keep them.
#![no_main]

use flipsim::trial::golden::Golden;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(golden) = serde_json::from_slice::<Golden>(data) else { return };
    let written = serde_json::to_string(&golden).expect("a golden run can be written");
    let again: Golden = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));

    for checkpoint in golden.checkpoints.iter().chain([&golden.start]) {
        let said = golden.console_at(checkpoint);
        assert!(golden.console.starts_with(said));
    }
    let _ = (golden.begin(), golden.end(), golden.agrees(), golden.signals.is_done_in(&golden.console));
    assert!(golden.same_output(&golden.console));
});
