//! Archives: nothing lands outside of the folder, and no more than the limits allow.
//!
//! It prints a line for each input; `-close_fd_mask=2` keeps it quiet.
#![no_main]

use std::fs;
use std::path::Path;

use flipsim_fuzz::{file, folder};
use libfuzzer_sys::fuzz_target;

const ENTRIES: u64 = 64;
const BYTES: u64 = 1 << 20;

/// Entries and bytes below a folder, none of which leads outside.
fn look(top: &Path, at: &Path, entries: &mut u64, bytes: &mut u64) {
    for entry in fs::read_dir(at).expect("a folder that was unpacked") {
        let path = entry.expect("an entry").path();
        let meta = fs::symlink_metadata(&path).expect("it was listed");
        *entries += 1;
        if meta.is_dir() {
            look(top, &path, entries, bytes);
        } else if meta.is_symlink() {
            let leads = fs::canonicalize(&path);
            assert!(
                leads.is_err() || leads.is_ok_and(|leads| leads.starts_with(top)),
                "{path:?} leads outside"
            );
        } else {
            assert!(meta.is_file(), "{path:?} is no file");
            *bytes += meta.len();
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let archive = file("archive", data);
    let out = folder().join("out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir(&out).expect("a folder to unpack to");
    let _ = xtask::fuzzing::unpack(&archive, &out, ENTRIES, BYTES);
    let top = fs::canonicalize(&out).expect("it is there");
    let (mut entries, mut bytes) = (0, 0);
    look(&top, &top, &mut entries, &mut bytes);
    // An entry makes the folders that it is in.
    assert!(bytes <= BYTES * ENTRIES && entries <= ENTRIES * 130, "{entries} entries, {bytes} bytes");
    assert_eq!(fs::read_dir(folder()).expect("it is there").count(), 2, "something lies beside");
});
