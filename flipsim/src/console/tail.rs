//! The guest's console: following its log, and the lines that mean something.
//!
//! A guest that was hit may print anything for ever. Invariant: no line is kept longer than
//! [`MAX_LINE`] bytes, nothing is assumed to be UTF-8, and a cut line does no harm.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::console::classify::{Kind, kind_of};

/// The longest line that is kept whole; a longer one comes in pieces.
pub const MAX_LINE: usize = 4096;

/// How a workload judged itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The workload.
    pub workload: String,
    /// The digest of its result, in hex.
    pub digest: String,
    /// `ok`, `wrong` or `error`.
    pub status: String,
}

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// The guest reached the quiescent point, with this workload about to start.
    Ready(String),
    /// The workload ended.
    Done(Done),
    /// The workload itself noticed damage.
    Check(String),
    /// The memory map follows, because there is no share to leave it in.
    IomemBegin,
    /// The memory map ends.
    IomemEnd,
    /// The kernel reports trouble: its kind, and the line.
    Trouble(Kind, String),
}

/// Reads one line of the console. `None` for a line that means nothing.
#[must_use]
pub fn marker(line: &str) -> Option<Marker> {
    let trouble = kind_of(line);
    // The kernel may print into the middle of a line of the workload's; its last word counts more.
    let own = if trouble.is_some_and(Kind::is_panic) { None } else { flipsim_marker(line) };
    own.or_else(|| Some(Marker::Trouble(trouble?, line.to_owned())))
}

/// Reads one line of the console as one of the lab's own.
#[must_use]
pub fn flipsim_marker(line: &str) -> Option<Marker> {
    // The kernel may print into the middle of a line, so a marker may stand behind other text.
    let at = line.find("FLIPSIM ")?;
    let mut words = line[at..].split_ascii_whitespace().skip(1);
    let kind = words.next()?;
    let rest: Vec<&str> = words.collect();
    let value = |key: &str| {
        let found = rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    match kind {
        "READY" => Some(Marker::Ready(value("workload"))),
        "DONE" => Some(Marker::Done(Done {
            workload: value("workload"),
            digest: value("digest"),
            status: value("status"),
        })),
        "CHECK" => Some(Marker::Check(rest.join(" "))),
        "IOMEM" if rest.first() == Some(&"BEGIN") => Some(Marker::IomemBegin),
        "IOMEM" if rest.first() == Some(&"END") => Some(Marker::IomemEnd),
        _ => None,
    }
}

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

/// A sequence with more parameters than these is none, but garbage.
const MAX_PARAMETERS: u8 = 32;
/// So much of a piece of an endless line comes again in the next piece, so that no word is cut.
const OVERLAP: usize = 256;

impl LineSplitter {
    /// Takes bytes, gives the lines that they complete. An endless line comes in pieces.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        self.each(bytes, |line, _| lines.push(line.to_owned()));
        lines
    }

    /// Takes bytes, hands on the lines that they complete, and whether each ends there: it does not, when
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
                    // It ended a sequence that was none, and is read again by itself.
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

/// Follows a console log that another process writes.
#[derive(Debug)]
pub struct ConsoleTail {
    path: PathBuf,
    offset: u64,
    splitter: LineSplitter,
}

impl ConsoleTail {
    /// Follows the log from its start.
    #[must_use]
    pub fn from_start(path: &Path) -> Self {
        ConsoleTail { path: path.to_owned(), offset: 0, splitter: LineSplitter::default() }
    }

    /// Follows the log from its present end.
    #[must_use]
    pub fn from_end(path: &Path) -> Self {
        let offset = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
        ConsoleTail { offset, ..ConsoleTail::from_start(path) }
    }

    /// The lines that were completed since the last call. A log that does not exist yet is empty.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut lines = Vec::new();
        let mut buffer = [0; 16 * 1024];
        // A guest that prints faster than we read must not hold us here.
        for _ in 0..256 {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.offset += count as u64;
            lines.extend(self.splitter.push(&buffer[..count]));
        }
        Ok(lines)
    }

    /// The line that the guest has not ended yet.
    #[must_use]
    pub fn partial(&self) -> String {
        self.splitter.partial()
    }

    /// How many bytes of the log were read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn the_guests_own_markers_are_read() {
        assert_eq!(marker("FLIPSIM READY workload=fs"), Some(Marker::Ready("fs".into())));
        assert_eq!(
            marker("[    2.1] FLIPSIM DONE workload=sha256 digest=ab12 status=ok"),
            Some(Marker::Done(Done {
                workload: "sha256".into(),
                digest: "ab12".into(),
                status: "ok".into()
            }))
        );
        assert_eq!(marker("FLIPSIM CHECK bad order at 5"), Some(Marker::Check("bad order at 5".into())));
        assert_eq!(marker("FLIPSIM IOMEM BEGIN"), Some(Marker::IomemBegin));
        assert_eq!(marker("FLIPSIM IOMEM END"), Some(Marker::IomemEnd));
        assert_eq!(marker("FLIPSIM "), None);
    }

    #[test]
    fn the_kernels_bad_news_are_recognised() {
        for (line, kind) in [
            ("[    5.1] Kernel panic - not syncing: Attempted to kill init!", Kind::InitDeath),
            ("[    5.1] Unable to handle kernel NULL pointer dereference at virtual address 0", Kind::Oops),
            ("[    5.1] Internal error: Oops: 0000000096000004 [#1] SMP", Kind::Oops),
            ("[    5.1] BUG: Bad page state in process sh  pfn:40851", Kind::BadPageState),
            ("[    5.1] WARNING: CPU: 0 PID: 1 at kernel/foo.c:1 bar+0x1/0x2", Kind::Warning),
            ("[    5.1] rcu: INFO: rcu_sched self-detected stall on CPU", Kind::RcuStall),
            ("FLIPSIM ROUND 3 dig[    5.100000] Kernel panic - not syncing: x", Kind::Panic),
            ("FLIPSIM DONE workload=fs sta[    5.100000] Kernel panic - not syncing: x", Kind::Panic),
        ] {
            assert_eq!(marker(line), Some(Marker::Trouble(kind, line.into())), "{line}");
        }
        assert_eq!(marker("[    0.0] Linux version 6.1"), None);
    }

    #[test]
    fn escapes_and_control_bytes_are_dropped() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.push(b"\x1b[1;31mred\x1b[0m\r\nne"), ["red"]);
        assert_eq!(splitter.partial(), "ne");
        assert_eq!(splitter.push(b"xt\x00\x07\n"), ["next"]);
    }

    #[test]
    fn an_endless_line_comes_in_pieces_and_no_word_is_lost() {
        let mut splitter = LineSplitter::default();
        let mut pieces = splitter.push(&vec![b'a'; 1 << 20]);
        pieces.extend(splitter.push(b"Kernel panic"));
        pieces.extend(splitter.push(&vec![b'a'; 1 << 20]));
        assert!(pieces.iter().all(|piece| piece.len() == MAX_LINE));
        assert!(pieces.iter().any(|piece| piece.contains("Kernel panic")));
        assert!(splitter.push(b"b\n")[0].ends_with('b'));
    }

    #[test]
    fn an_escape_byte_out_of_nowhere_eats_no_message() {
        let mut splitter = LineSplitter::default();
        let garbage =
            b"\x1b[    5.123456] Kernel panic\n\x1b[000000000000000000000000000000000000000 BUG: x\n";
        let lines = splitter.push(garbage);
        assert!(lines[0].ends_with("Kernel panic"), "{lines:?}");
        assert!(lines[1].ends_with("BUG: x"), "{lines:?}");
    }

    #[test]
    fn a_log_is_followed_as_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let mut tail = ConsoleTail::from_start(&path);
        assert!(tail.poll().unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.poll().unwrap(), ["one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(tail.poll().unwrap(), ["two"]);
        let mut late = ConsoleTail::from_end(&path);
        file.write_all(b"three\n").unwrap();
        assert_eq!(late.poll().unwrap(), ["three"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut splitter = LineSplitter::default();
            for line in splitter.push(&bytes) {
                let _ = marker(&line);
            }
        }

        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300
        ) {
            let cut = cut.min(bytes.len());
            let whole = LineSplitter::default().push(&bytes);
            let mut splitter = LineSplitter::default();
            let mut parts = splitter.push(&bytes[..cut]);
            parts.extend(splitter.push(&bytes[cut..]));
            prop_assert_eq!(whole, parts);
        }
    }
}
