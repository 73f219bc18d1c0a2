//! `lab.toml`, and the recipe of an image.
#![no_main]

use flipsim_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = xtask::fuzzing::lab_toml(text);
    let _ = xtask::fuzzing::image_recipe(&file("recipe.toml", text.as_bytes()));
});
