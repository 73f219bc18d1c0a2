//! How a line that reports trouble is known: the only tables of the kernel's, the programs' and the machine's messages.
//!
//! ```text
//! line ─→ find ─→ the first row of kernel, storage, hardware, programs, ends that reads it ─→ Heading
//! ```
//!
//! It hands out [`find()`] and what it finds, a [`Heading`].

mod ends;
mod find;
mod hardware;
mod heading;
mod kernel;
mod programs;
mod storage;

pub use find::{find, is_firmware, is_running};
pub use heading::{Heading, Wants};
