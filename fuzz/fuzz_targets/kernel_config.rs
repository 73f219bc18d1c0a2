//! Kernel configuration: a fragment, a `.config` and a Kconfig file.
#![no_main]

use flipsim_fuzz::texts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let [fragment, config, kconfig] = texts(data);
    for line in xtask::fuzzing::kernel_config(fragment, config, kconfig) {
        assert!(line.starts_with("fuzzed.config:"));
    }
    // What is asked for is there.
    assert!(xtask::fuzzing::kernel_config(fragment, fragment, "").len() <= fragment.lines().count());
});
