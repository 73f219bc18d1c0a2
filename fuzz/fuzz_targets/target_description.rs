//! Target descriptions of several files: registers with a name, a number and a width that is one.
#![no_main]

use flipsim::wire::gdb::{DescriptionError, read_description};
use flipsim_fuzz::texts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let files: [&str; 3] = texts(data);
    let mut asked = 0;
    let registers = read_description(|name| {
        asked += 1;
        let at = match name {
            "target.xml" => 0,
            "a.xml" => 1,
            "b.xml" => 2,
            _ => return Err(DescriptionError::Empty),
        };
        Ok(files[at].to_owned())
    });
    assert!(asked <= 64);
    for register in registers.iter().flatten() {
        assert!((1..=1 << 13).contains(&register.bytes()));
    }
});
