//! What the lab's own guests print: SOON, READY, DONE, CHECK and IOMEM, each a line that starts with `FLIPSIM`.
//!
//! Invariant: a marker may stand behind other text in its line; what is missing of it is empty, never guessed.

use serde::{Deserialize, Serialize};

use crate::console::classify::kind::Kind;

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
    /// The guest will reach the quiescent point after a short rest.
    Soon,
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

/// Whether a line says that a round has ended of a workload that is run several times. It is no marker: its line is
/// read on for what else is in it.
#[must_use]
pub fn ends_a_round(line: &str) -> bool {
    line.contains("FLIPSIM ROUND ")
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
        "SOON" => Some(Marker::Soon),
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
