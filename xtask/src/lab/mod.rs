//! What is in use: the settings of `lab.toml`, the parts that `setup` has made, and the cache that they lie in.
//!
//! Invariant: **nothing here starts a program or asks the network**; it reads and writes files.

pub mod cache;
pub mod campaigns;
pub mod capabilities;
pub mod config;
pub mod digest;
pub mod in_use;
pub mod owner;
pub mod patches;
pub mod recipe;
pub mod step;
pub mod trusted;
