//! The lists of packages that apt has and gives: a version is one word, from the list, and never a path.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for version in xtask::fuzzing::package_lists(text) {
        assert!(text.contains(&version));
        assert!(!version.is_empty() && version.is_ascii() && !version.contains(['/', ' ', '\n']));
    }
});
