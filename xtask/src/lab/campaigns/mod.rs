//! The campaigns of a lab: their files, and what they say in a terminal's tables.
//!
//! Invariant: **nothing here changes a campaign.**

pub mod activation;
pub mod corrected;
pub mod field;
pub mod files;
pub mod mission;
pub mod reached;
pub mod tables;
pub mod wrong;
