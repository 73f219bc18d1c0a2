//! Lines of the prompt of `inject`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let _ = xtask::fuzzing::prompt_line(line);
});
