//! The lists of packages that apt has and gives.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let versions = xtask::fuzzing::package_lists(text);
    assert!(versions.iter().all(|version| version.is_ascii() && text.contains(&**version)));
});
