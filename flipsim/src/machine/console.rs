//! The guest's console: following its log, and the lines that mean something.
//!
//! A guest that was hit may print anything for ever. Invariant: no line is kept longer than
//! [`MAX_LINE`] bytes, nothing is assumed to be UTF-8, and a cut line does no harm.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The longest line that is kept; the rest of a longer one is dropped.
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
    /// The kernel reports trouble: a word for the kind, and the line.
    Trouble(&'static str, String),
}

/// How a kernel's bad news begin, and what kind it is. The first match counts.
const TROUBLE: &[(&str, &str)] = &[
    ("Kernel panic - not syncing", "panic"),
    ("Internal error: ", "oops"),
    ("Unable to handle kernel ", "oops"),
    ("BUG: ", "bug"),
    ("kernel BUG at ", "bug"),
    ("Oops", "oops"),
    ("Bad mode in ", "oops"),
    ("SError Interrupt", "oops"),
    ("WARNING: ", "warning"),
    ("watchdog: ", "lockup"),
    ("rcu: INFO: ", "stall"),
    ("INFO: task ", "hung task"),
    ("Out of memory: ", "oom"),
    ("EXT4-fs error", "ext4"),
    ("unhandled exception", "user fault"),
    ("segfault at ", "user fault"),
    ("Attempted to kill init", "panic"),
];

/// Reads one line of the console. `None` for a line that means nothing.
#[must_use]
pub fn marker(line: &str) -> Option<Marker> {
    // The kernel may print into the middle of a line, so a marker may stand behind other text.
    if let Some(at) = line.find("FLIPSIM ") {
        let mut words = line[at..].split_ascii_whitespace().skip(1);
        let kind = words.next()?;
        let rest: Vec<&str> = words.collect();
        let value = |key: &str| {
            let found = rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        return match kind {
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
        };
    }
    let (_, kind) = TROUBLE.iter().find(|(start, _)| line.contains(start))?;
    Some(Marker::Trouble(kind, line.to_owned()))
}

/// Cuts bytes into lines of printable text: escape sequences and control characters are dropped.
#[derive(Debug, Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    escape: bool,
}

impl LineSplitter {
    /// Takes bytes, gives the lines that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    self.escape = false;
                    lines.push(String::from_utf8_lossy(&self.line).into_owned());
                    self.line.clear();
                }
                0x1b => self.escape = true,
                _ if self.escape => {
                    // ESC [ digits… letter: everything up to the letter belongs to the sequence.
                    self.escape = !byte.is_ascii_alphabetic();
                }
                b'\t' | 0x20..=0x7e | 0x80.. if self.line.len() < MAX_LINE => self.line.push(*byte),
                _ => {}
            }
        }
        lines
    }

    /// The line that is still open, without ending it.
    #[must_use]
    pub fn partial(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
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
            ("[    5.1] Kernel panic - not syncing: Attempted to kill init!", "panic"),
            ("[    5.1] Unable to handle kernel NULL pointer dereference at virtual address 0", "oops"),
            ("[    5.1] Internal error: Oops: 0000000096000004 [#1] SMP", "oops"),
            ("[    5.1] BUG: Bad page state in process sh  pfn:40851", "bug"),
            ("[    5.1] WARNING: CPU: 0 PID: 1 at kernel/foo.c:1 bar+0x1/0x2", "warning"),
            ("[    5.1] rcu: INFO: rcu_sched self-detected stall on CPU", "stall"),
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
    fn an_endless_line_is_cut() {
        let mut splitter = LineSplitter::default();
        assert!(splitter.push(&vec![b'a'; 1 << 20]).is_empty());
        assert_eq!(splitter.push(b"b\n")[0].len(), MAX_LINE);
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
