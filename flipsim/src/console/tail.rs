//! Following the log of a guest's console, and which of its lines mean something.
//!
//! A guest that was hit may print anything for ever. Invariant: no line is kept longer than
//! [`MAX_LINE`](crate::console::MAX_LINE) bytes, nothing is assumed to be UTF-8, and a cut line does no harm.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::console::classify::classifier::kind_of;
use crate::console::classify::kind::Kind;
use crate::console::lines::LineSplitter;
use crate::console::marker::{Marker, flipsim_marker};

/// Reads one line of the console. `None` for a line that means nothing.
#[must_use]
pub fn marker(line: &str) -> Option<Marker> {
    let trouble = kind_of(line);
    // The kernel may print into the middle of a line of the workload's; its last word counts more.
    let own = if trouble.is_some_and(Kind::is_panic) { None } else { flipsim_marker(line) };
    own.or_else(|| Some(Marker::Trouble(trouble?, line.to_owned())))
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
mod tests;
