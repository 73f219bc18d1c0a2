//! Services: programs of the user's, each in an image of its own, which the guest runs by name as it runs the lab's
//! workloads.
//!
//! ```text
//! program   what a file is: a script, or an ELF file with its architecture and the libraries it names
//! library   where such a library is on this host
//! contents  what goes into the image, from the files that a user names
//! layer     the lab's image with it: a product of the cache, which keeps its inputs
//! golden    what it prints, in three boots
//! ```
//!
//! Invariant: **the same files and the same command line give the same image**, whoever makes it.

pub mod contents;
pub mod golden;
pub mod layer;
mod library;
pub mod program;
