//! The commands, one file or folder each, by its name on the command line.
//!
//! Invariant: **no command uses another one**; what two share stands in a layer below. Only those do whose very work
//! it is to run others: `first`, which goes the whole way, `test`, which sets up what is missing, and `ci`.

pub mod bench;
pub mod boot;
pub mod campaign;
pub mod ci;
pub mod doctor;
pub mod first;
pub mod greet;
pub mod image;
pub mod inject;
pub mod profile;
pub mod report;
pub mod setup;
pub mod test;
pub mod tidy;
