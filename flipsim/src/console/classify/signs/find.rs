//! The first sign in a message.
//!
//! Invariant: of two signs at the same place, the earlier row counts; a row may decline.

use std::sync::LazyLock;

use crate::console::classify::prefix::{Prefix, tag};
use crate::console::classify::signs::heading::{Heading, Line, Place, Sign, Voice};
use crate::console::classify::signs::{ends, hardware, kernel, programs, storage};

/// All rows, by their first byte.
static BY_FIRST_BYTE: LazyLock<Vec<Vec<&'static Sign>>> = LazyLock::new(|| {
    let mut rows: Vec<Vec<&Sign>> = vec![Vec::new(); 256];
    for row in
        [kernel::SIGNS, storage::SIGNS, hardware::SIGNS, programs::SIGNS, ends::SIGNS].into_iter().flatten()
    {
        rows[usize::from(row.text.as_bytes()[0])].push(row);
    }
    rows
});

/// The first sign in a message, and where it stands. `message` is what [`Prefix`] was taken from.
pub fn find(message: &str, prefix: Prefix) -> Option<(usize, Heading)> {
    if message.starts_with("Kernel command line: ") || message.starts_with("Command line: ") {
        return None;
    }
    let bytes = message.as_bytes();
    let rows = &*BY_FIRST_BYTE;
    // What a journal says of a program may have no number: `init: …`.
    let tagged = tag(message).map_or(0, |(_, length)| length);
    for (at, first) in bytes.iter().enumerate() {
        for row in &rows[usize::from(*first)] {
            let text = row.text.as_bytes();
            if bytes.get(at + 1) != text.get(1) || !bytes[at..].starts_with(text) {
                continue;
            }
            let voiced = match row.voice {
                Voice::Any => true,
                Voice::Kernel => !(prefix.program && at >= tagged),
                Voice::Program => prefix.program || !prefix.stamped,
            };
            let said = if row.voice == Voice::Program { tagged.min(at) } else { 0 };
            let before = &message[said..at];
            let word = !before.ends_with(|c: char| c.is_alphanumeric() || "_-".contains(c));
            let there = match row.place {
                Place::Anywhere => true,
                Place::Word => word,
                Place::Start => {
                    before.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).is_empty()
                        || (before.ends_with(": ") && before.split_ascii_whitespace().count() == 1)
                }
            };
            let line = Line { before, rest: &message[at + text.len()..] };
            if let Some(heading) = (voiced && there).then(|| (row.read)(&line)).flatten() {
                return Some((at, heading));
            }
        }
    }
    None
}

/// Whether a message comes from what runs before a kernel: behind a kernel that ran, the machine was reset.
pub fn is_firmware(message: &str) -> bool {
    ends::FIRMWARE.iter().any(|start| said(message).starts_with(start))
}

/// A message without the bytes that a line at its wrong speed, or a machine that resets, puts before it.
fn said(message: &str) -> &str {
    message.trim_start_matches(|c: char| !c.is_ascii_graphic())
}

/// Whether a message is only printed by a system that runs.
pub fn is_running(message: &str) -> bool {
    ends::RUNNING.iter().any(|start| said(message).starts_with(start))
        || message.trim_end().ends_with(" login:")
}
