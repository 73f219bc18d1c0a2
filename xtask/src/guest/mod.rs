//! Guests: from flags to one that runs, to its template and golden run, and to a hold of it that flips its bits.
//!
//! Invariant: **a guest is left as it was found**, whatever ends the command, and what was drawn for it is recorded.

pub mod accesses;
pub mod choice;
pub mod closure;
pub mod consent;
mod console;
pub mod errors;
pub mod file_system;
pub mod flags;
pub mod flips;
mod formats;
pub mod golden;
pub mod headless;
pub mod image;
pub mod kernel;
pub mod plan;
pub mod prepared;
mod qcow2;
pub mod service;
pub mod session;
mod share;
pub mod snapshot;
pub mod spec;
pub mod template;
pub mod watcher;
pub mod workers;
pub mod workload;
