//! Lines out of the bytes of a console, without its colours.
//!
//! Invariant: **no line is unbounded**: one that does not end comes in pieces of [`MAX_LINE`] bytes.

/// The longest line that is kept whole; a longer one comes in pieces.
pub const MAX_LINE: usize = 4096;

/// Cuts bytes into lines of printable text: escape sequences and control characters are dropped.
#[derive(Clone, Debug, Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    escape: Escape,
}

/// How far an escape sequence has come (ECMA-48, 5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// ESC was seen.
    Begun,
    /// ESC [ was seen, and so many bytes of its parameters.
    Sequence(u8),
}

/// A sequence with more parameters than these is garbage.
const MAX_PARAMETERS: u8 = 32;

impl LineSplitter {
    /// Takes bytes, gives the lines that they complete. An endless line comes in pieces.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        self.each(bytes, |line, _| lines.push(line.to_owned()));
        lines
    }

    /// Takes bytes, passes on the lines that they complete, and whether each ends there: it does not, when
    /// it is a piece of [`MAX_LINE`] bytes of a longer one.
    pub fn each(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str, bool)) {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            let plain = self.escape == Escape::None && is_plain(*byte);
            let count = if plain {
                if self.line.len() == MAX_LINE {
                    on_line(&String::from_utf8_lossy(&self.line), false);
                    self.line.drain(..MAX_LINE - OVERLAP);
                }
                let room = &rest[..rest.len().min(MAX_LINE - self.line.len())];
                let run = room.iter().position(|byte| !is_plain(*byte)).unwrap_or(room.len());
                self.line.extend_from_slice(&room[..run]);
                run
            } else {
                1
            };
            if !plain {
                let (escape, taken) = self.escape.next(*byte);
                self.escape = escape;
                if !taken {
                    // It ended an invalid sequence, and is read again by itself.
                    continue;
                }
                if *byte == b'\n' {
                    on_line(&String::from_utf8_lossy(&self.line), true);
                    self.line.clear();
                }
            }
            rest = if plain { &rest[count..] } else { behind };
        }
    }

    /// The line that is still open, without ending it.
    #[must_use]
    pub fn partial(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }
}

/// Where a line ends, counted from 1: the place of its last byte, which is the line feed but for a line that is
/// still open. `None` where there is no such line.
#[must_use]
pub fn line_end(console: &[u8], number: u64) -> Option<usize> {
    let before = usize::try_from(number).ok()?.checked_sub(1)?;
    let mut ends = console.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let begin = match before {
        0 => 0,
        _ => ends.nth(before - 1)? + 1,
    };
    ends.next().or_else(|| (begin < console.len()).then(|| console.len() - 1))
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

impl Escape {
    /// What follows on a byte, and whether the byte belongs to the sequence or is dropped anyway.
    fn next(self, byte: u8) -> (Escape, bool) {
        match (self, byte) {
            (_, 0x1b) => (Escape::Begun, true),
            (Escape::Begun, b'[') => (Escape::Sequence(0), true),
            (Escape::Begun, 0x20..=0x2f) => (Escape::Begun, true),
            // Of the short sequences these are in use; a stray ESC must not eat the first letter of a message.
            (Escape::Begun, 0x30..=0x3f | b'c') => (Escape::None, true),
            (Escape::Sequence(count @ 0..MAX_PARAMETERS), 0x20..=0x3f) => (Escape::Sequence(count + 1), true),
            (Escape::Sequence(_), 0x40..=0x7e) => (Escape::None, true),
            (Escape::None, _) => (Escape::None, true),
            _ => (Escape::None, false),
        }
    }
}

/// How much of a piece of an endless line comes again in the next piece, so that no word is cut.
pub(super) const OVERLAP: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_line_feed_or_where_the_console_does() {
        let console = b"one\r\n\nthree";
        let ends: Vec<_> = (0..6).map(|number| line_end(console, number)).collect();
        assert_eq!(ends, [None, Some(4), Some(5), Some(10), None, None]);
        assert_eq!((line_end(b"", 1), line_end(b"\n", 1), line_end(b"\n", 2)), (None, Some(0), None));
    }
}
