//! The commands, one file or folder each, by its name on the command line.
//!
//! Invariant: **no command uses another one**; what two share stands in a layer below.

pub mod bench;
pub mod boot;
pub mod campaign;
pub mod ci;
pub mod doctor;
pub mod first;
pub mod greet;
pub mod image;
pub mod inject;
pub mod report;
pub mod setup;
pub mod test;
pub mod tidy;
