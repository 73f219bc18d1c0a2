//! Lines of `campaign trial --json`, which `campaign replay` reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let Ok(written) = xtask::fuzzing::trial_line(line) else { return };
    assert_eq!(xtask::fuzzing::trial_line(&written).ok(), Some(written));
});
