//! Files: those of the lab, made and replaced whole; and those that a user has named, opened without a wait.
//!
//! Invariants: **no reader sees half a file; nothing of ours is written through a link; nothing waits for another process
//! to open a pipe.**
//!
//! It hands out the calls by which the lab writes ([`write_atomically`], [`LockFile`], [`Output`]) and reads
//! ([`open_plain`], [`Stream`]).

mod digests;
mod network;
mod reading;
mod writing;

pub use digests::Digests;
pub use network::shared_file_system;
pub use reading::{GoOn, Stream, check_plain, open_output, open_plain, read_plain, read_up_to};
pub use writing::{
    LockFile, Output, Unnamed, append, append_private, beside, copy, file_digest, given_up, go_on,
    is_given_up, lock_soon, make_new, open_or_make, open_to_empty, private_folder_in, remove_file,
    remove_tree, start_again, stream_digest, write_atomically, write_readable,
};

#[cfg(test)]
mod tests;
