//! What can be wrong with the golden run's accesses, as they are recorded or as a file has them.

use std::io;

use crate::units::VirtualNs;

/// Accesses that cannot be recorded, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The table of RAM blocks contradicts itself.
    #[error("the table of RAM blocks is wrong: {0}")]
    Blocks(String),
    /// QEMU wrote what is no record.
    #[error(
        "record {record} of interval {interval} of the recorded accesses is wrong: {what}; nothing is settled with it"
    )]
    Stream {
        /// The interval, from 0.
        interval: usize,
        /// The record in it, from 0.
        record: usize,
        /// What is wrong with it.
        what: String,
    },
    /// QEMU wrote what is no block of code.
    #[error("record {record} of the executed code is wrong: {what}; nothing is settled with it")]
    Code {
        /// The record, from 0.
        record: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A byte that was accessed first twice.
    #[error(
        "the byte at {offset:#x} of RAM block {block} has two first accesses in interval {interval}; nothing is settled \
         with that"
    )]
    Twice {
        /// The interval, from 0.
        interval: usize,
        /// The block's name.
        block: String,
        /// Where the byte is in it.
        offset: u64,
    },
    /// An interval that ends before it begins, or where it begins.
    #[error("an interval of the recorded accesses begins at {} and ends at {}", begin.exact(), end.exact())]
    Backwards {
        /// Where the one before ended.
        begin: VirtualNs,
        /// Where it is said to end.
        end: VirtualNs,
    },
    /// More intervals than are numbered.
    #[error("the recorded accesses have too many intervals; take longer ones")]
    TooMany,
    /// A page of the guest could not be read.
    #[error("cannot read the page at {offset:#x} of RAM block {block}: {cause}")]
    Page {
        /// The block's name.
        block: String,
        /// Where the page begins in it.
        offset: u64,
        /// What the reader said.
        cause: io::Error,
    },
    /// The file holds something else, or was changed.
    #[error("the file of recorded accesses cannot be used: {0}; delete it, it is made again")]
    Damaged(String),
    /// The system refused.
    #[error("cannot {doing} the recorded accesses: {cause}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}
