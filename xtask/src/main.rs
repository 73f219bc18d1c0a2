//! The command line of the lab: parses, dispatches, and turns an error into an exit code.
//!
//! Exit codes: 0 all went well, 1 it failed, 2 the command line was wrong, 130 a signal ended it.

mod apt;
mod cache;
mod config;
mod digest;
mod fetch;
mod interrupt;
mod lab;
mod paths;
mod proc;
mod progress;
mod source;
mod unpack;

fn main() {}
