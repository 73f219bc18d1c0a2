//! Where sources come from: a pinned address, a file of the user's, or the distribution.
//!
//! Invariant: **nothing is unpacked before its digest is checked**, and nothing unpacked lands outside its folder.

pub mod apt;
mod fetch;
mod http;
mod series;
pub mod tree;
pub mod unpack;
