//! What a file is, by its first bytes: an image of a kind that is known, or none.
#![no_main]

use flipsim_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = xtask::fuzzing::is_image(&file("image", data));
});
