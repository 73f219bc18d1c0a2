//! The whole state of a stopped guest as digests, taken with any QEMU, and where two states differ.
//!
//! RAM is compared by pages: a digest of each, 16 bytes of its SHA-256. Two guests in the same
//! run have the same clock, instruction count, registers, pages and console.
//!
//! Invariant: taking a state changes nothing of it; the file that QEMU writes RAM to is removed at once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::files::{go_on, is_given_up};
use crate::memory::{PhysRange, RangeSet};
use crate::target::error::TargetError;
use crate::target::interface::Target;
use crate::target::live::{LiveTarget, VirtualClock};
use crate::text::{hex, hex_value};
use crate::units::GuestPhys;

/// The size of the pages that are compared, in bytes.
pub const PAGE: usize = 4096;

/// How much of RAM QEMU writes out at a time, in bytes: between two pieces a caller can stop, and a large guest
/// takes no more disk than a small one.
pub const PIECE: u64 = 64 << 20;

/// How long QEMU may take to write one out.
const DUMP_LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// The first half of a SHA-256.
pub type PageDigest = [u8; 16];

/// Everything that makes up a guest's state, as digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The virtual clock.
    pub clock: Option<VirtualClock>,
    /// Every register with its value in hex.
    pub registers: Vec<(String, String)>,
    /// Each range of RAM, with a digest a page.
    pub ram: Vec<(PhysRange, Vec<PageDigest>)>,
    /// What the console has said, as its length and digest.
    pub console: (u64, PageDigest),
}

/// A state that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The guest.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The monitor.
    #[error(transparent)]
    Qmp(#[from] crate::wire::qmp::QmpError),
    /// A guest without a monitor, or with one that runs elsewhere.
    #[error("the state of a guest can only be taken where its QMP monitor is known")]
    NoMonitor,
    /// The file that QEMU writes RAM to.
    #[error("cannot read the guest's RAM from {path}: {cause}")]
    Dump {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

pub(crate) fn short_digest(bytes: &[u8]) -> PageDigest {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(bytes)[..16]);
    short
}

/// A digest of each page of a stream; `interrupted` is asked at every megabyte.
pub(crate) fn page_digests(mut from: impl Read, interrupted: fn() -> bool) -> io::Result<Vec<PageDigest>> {
    let mut digests = Vec::new();
    let mut buffer = vec![0; 256 * PAGE];
    loop {
        go_on(interrupted)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Ok(digests);
        }
        digests.extend(buffer[..filled].chunks(PAGE).map(short_digest));
    }
}

impl State {
    /// Takes the state of a stopped guest. QEMU writes its RAM, piece by piece, to a file in `folder`, which must be
    /// its working folder; the file is deleted at once.
    ///
    /// # Errors
    /// QEMU is lost, or the disk is full; or whoever interrupts the target wants to stop.
    pub fn take(
        target: &mut LiveTarget,
        ram: &RangeSet,
        folder: &Path,
        console: &[u8],
    ) -> Result<Self, StateError> {
        let clock = target.clock()?;
        let mut registers = Vec::with_capacity(target.registers().len());
        for index in 0..target.registers().len() {
            let value = hex_value(&target.read_register(index)?);
            registers.push((target.registers()[index].name.clone(), value));
        }
        let mut pages = Vec::new();
        let interrupted = target.interrupted();
        for range in ram.ranges() {
            let name = "ram.dump";
            let path = folder.join(name);
            let mut digests = Vec::new();
            for (first, size) in pieces(*range) {
                if interrupted() {
                    return Err(TargetError::Interrupted.into());
                }
                let qmp = target.qmp().ok_or(StateError::NoMonitor)?;
                let arguments = serde_json::json!({ "val": first, "size": size, "filename": name });
                let result = qmp.execute_within("pmemsave", arguments, DUMP_LIMIT);
                let piece = File::open(&path).and_then(|file| page_digests(file, interrupted));
                let removed = std::fs::remove_file(&path);
                result?;
                match piece.and_then(|piece| removed.map(|()| piece)) {
                    Ok(piece) => digests.extend(piece),
                    Err(cause) if is_given_up(&cause) => return Err(TargetError::Interrupted.into()),
                    Err(cause) => return Err(StateError::Dump { path, cause }),
                }
            }
            pages.push((*range, digests));
        }
        let console = (console.len() as u64, short_digest(console));
        Ok(State { clock, registers, ram: pages, console })
    }

    /// One digest of all pages.
    #[must_use]
    pub fn ram_digest(&self) -> String {
        let mut all = Sha256::new();
        for page in self.ram.iter().flat_map(|(_, pages)| pages) {
            all.update(page);
        }
        hex(&all.finalize()[..8])
    }

    /// The first bytes of the pages in which two states differ, in ascending order. A range that only
    /// one of them has counts whole.
    #[must_use]
    pub fn pages_apart(&self, other: &State) -> Vec<GuestPhys> {
        let mut apart = Vec::new();
        for (range, mine) in &self.ram {
            let theirs = other.ram.iter().find(|(it, _)| it == range).map(|(_, pages)| pages);
            for (index, digest) in mine.iter().enumerate() {
                if theirs.and_then(|pages| pages.get(index)) != Some(digest) {
                    apart.push(GuestPhys(range.first.0 + (index * PAGE) as u64));
                }
            }
        }
        apart
    }

    /// Where another state differs from this one.
    #[must_use]
    pub fn difference(&self, other: &State) -> StateDifference {
        let registers = self.registers.iter().zip(&other.registers);
        StateDifference {
            clock: (self.clock != other.clock).then(|| (shown(self.clock), shown(other.clock))),
            registers: registers
                .filter(|(mine, theirs)| mine != theirs)
                .map(|(mine, theirs)| (mine.0.clone(), mine.1.clone(), theirs.1.clone()))
                .collect(),
            pages: self.pages_apart(other),
            console: self.console != other.console,
        }
    }
}

/// A range in pieces of [`PIECE`], each by its first byte and its length.
fn pieces(range: PhysRange) -> impl Iterator<Item = (u64, u64)> {
    let length = range.len();
    (0..length.div_ceil(PIECE))
        .map(move |index| (range.first.0 + index * PIECE, PIECE.min(length - index * PIECE)))
}

fn shown(clock: Option<VirtualClock>) -> String {
    match clock {
        None => "unknown".to_owned(),
        Some(VirtualClock { virtual_ns, instructions: Some(count), .. }) => {
            format!("{virtual_ns} ns, {count} instructions")
        }
        Some(clock) => format!("{} ns", clock.virtual_ns),
    }
}

/// Where two states differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateDifference {
    /// The two clocks.
    pub clock: Option<(String, String)>,
    /// Registers with their two values.
    pub registers: Vec<(String, String, String)>,
    /// The first bytes of the pages.
    pub pages: Vec<GuestPhys>,
    /// Whether the console said something else.
    pub console: bool,
}

impl StateDifference {
    /// Whether there is no difference.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == StateDifference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ram: &[u8]) -> State {
        let range: PhysRange = "0x40000000+12K".parse().unwrap();
        State {
            clock: Some(VirtualClock { virtual_ns: 5, icount: true, instructions: Some(5), stop_at: None }),
            registers: vec![("x0".into(), "0x00".into()), ("x1".into(), "0x01".into())],
            ram: vec![(range, page_digests(ram, || false).unwrap())],
            console: (2, short_digest(b"ok")),
        }
    }

    #[test]
    fn one_bit_is_one_page() {
        let mut ram = vec![0; 3 * PAGE];
        let golden = state(&ram);
        assert!(golden.difference(&state(&ram)).is_none());
        ram[2 * PAGE + 7] ^= 8;
        let difference = golden.difference(&state(&ram));
        assert_eq!(difference.pages, [GuestPhys(0x4000_2000)]);
        assert_ne!(golden.ram_digest(), state(&ram).ram_digest());
        ram[2 * PAGE + 7] ^= 8;
        assert_eq!(golden.ram_digest(), state(&ram).ram_digest());
    }

    #[test]
    fn clock_registers_and_console_are_compared_too() {
        let ram = vec![0; PAGE];
        let (golden, mut other) = (state(&ram), state(&ram));
        other.clock = None;
        other.registers[1].1 = "0x03".into();
        other.console.0 = 3;
        let difference = golden.difference(&other);
        assert_eq!(difference.clock, Some(("5 ns, 5 instructions".into(), "unknown".into())));
        assert_eq!(difference.registers, [("x1".into(), "0x01".into(), "0x03".into())]);
        assert!(difference.console && difference.pages.is_empty() && !difference.is_none());
    }

    #[test]
    fn a_stream_is_cut_into_pages_wherever_it_breaks() {
        let bytes: Vec<u8> = (0..3 * PAGE + 100).map(|i| i as u8).collect();
        let mut slow = io::Cursor::new(&bytes).take(u64::MAX);
        assert_eq!(page_digests(&mut slow, || false).unwrap().len(), 4);
        assert_eq!(page_digests(&bytes[..PAGE], || false).unwrap(), [short_digest(&bytes[..PAGE])]);
    }

    #[test]
    fn digests_of_pages_are_given_up_when_the_caller_wants_to_stop() {
        // A stream without an end: it could only be given up.
        assert!(is_given_up(&page_digests(io::repeat(7), || true).unwrap_err()));
    }

    #[test]
    fn ram_is_written_out_in_pieces_that_are_together_all_of_it() {
        let range =
            |length: u64| PhysRange { first: GuestPhys(0x4000_0000), last: GuestPhys(0x3fff_ffff + length) };
        let whole: Vec<_> = pieces(range(2 * PIECE)).collect();
        assert_eq!(whole, [(0x4000_0000, PIECE), (0x4000_0000 + PIECE, PIECE)]);
        let odd: Vec<_> = pieces(range(PIECE + 4096)).collect();
        assert_eq!(odd, [(0x4000_0000, PIECE), (0x4000_0000 + PIECE, 4096)]);
        assert_eq!(PIECE % PAGE as u64, 0, "a page is in one piece");
    }
}
