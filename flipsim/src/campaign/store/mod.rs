//! The store: plan, results and manifest of one campaign in one SQLite file.
//!
//! While a coordinator works, SQLite keeps a journal beside the file (`-wal`, `-shm`), so that others read
//! at the same time; both are gone when it ends in order. A transaction is written to the journal before
//! it counts, without waiting for the disk (`synchronous = NORMAL`): a killed process loses nothing it
//! recorded. A power cut may take the last trials before it, never the file; they are pending again then,
//! and give the same results.
//!
//! Invariants: **a file with the campaign's name holds the whole plan**, or is not there. **A trial has one
//! result at most**, and what [`Store::record`] returned from is there after a SIGKILL. **What is damaged is not
//! handed out**: what decides what is run is compared with its digests at each opening, results with their checksums
//! at each reading, their number with the one that is kept.

mod brief;
mod check;
#[cfg(test)]
pub(super) mod damage;
pub(crate) mod encode;
pub(crate) mod error;
mod grow;
mod head;
pub(super) mod lock;
pub(super) mod make;
pub(super) mod merge;
#[cfg(test)]
mod mishaps;
pub(crate) mod open;
mod order;
mod part;
mod planned;
pub(super) mod read;
mod row;
mod scan;
mod schema;
mod seal;
pub(super) mod stages;
mod sums;
mod tally;
#[cfg(test)]
mod tests;
mod upgrade;
pub(super) mod write;

pub use check::{Findings, check, repair};
pub use error::{Change, StoreError};
pub use merge::Merged;
pub use open::Store;
pub use read::{Counts, ResultRow, Results, Status, StratumStatus};
pub use stages::{Stage, StageStatus, stages_text};
pub use write::Recorded;
