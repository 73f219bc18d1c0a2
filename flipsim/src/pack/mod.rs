//! A pack: a campaign in one file, with all that its trials need, for machines that have nothing of the lab.
//!
//! ```text
//! flipsim-run            the runner, as it is: `tar -xf PACK flipsim-run` takes it out
//! pack.json              what the pack is, and the digests of all that follows
//! campaign.sqlite.gz     the plan, without results
//! template/….gz          the guest at its quiescent point
//! qemu/bin|lib|share….gz QEMU, the libraries that it needs with what loads them, firmware
//! kernel.gz, image.gz, vmlinux.gz, accesses.gz, …
//! ```
//!
//! Invariants: **nothing is unpacked before its digest is checked, and nothing lands outside its folder**; the same campaign
//! of the same lab gives the same pack, byte by byte; nothing of it names a path of the host that made it.
//!
//! It hands out [`write()`] and [`Pack`], and what those who run a pack side by side share: [`Slices`].

mod error;
mod info;
mod open;
mod slices;
mod write;

pub use error::PackError;
pub use info::{FORMAT, Member, PackInfo, RUNNER, Source};
pub use open::{Pack, Unpacked};
pub use slices::{ALONE, BEAT, Claim, Look, STALE, Seen, Slices, State, Taken, check, seen};
pub use write::{Written, write};

#[cfg(test)]
mod tests;
