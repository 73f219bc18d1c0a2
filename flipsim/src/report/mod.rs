//! What people get to read of a campaign: a page, tables, and the comparison of two.
//!
//! ```text
//! store ─→ summary ─→ figures ─→ charts ─┐
//!       ─→ trials (columns, details) ────┴→ page: one file of HTML
//!       ─→ export: CSV, JSON
//! two of them ─→ unfair, paired, sums, field ─→ compare (rows, answers) ─→ beside (verdict, forest): one file of HTML
//!                                      └→ gate: one decision
//! several golden runs ─→ unfair ─→ runs
//! several nights ─→ unfair ─→ trend: one file of HTML
//! ```
//!
//! Invariants: **no statistic is computed here**: [`crate::campaign::summary`] and [`crate::stats`] do that.
//! **What a guest printed is shown, and never does anything.**
//!
//! It hands out [`page()`] and [`beside()`], the two pages; [`export`], [`compare`] and [`runs`], the tables; and the parts
//! that they are drawn from.

mod activation;
mod answers;
mod beside;
pub mod charts;
pub mod compare;
mod corrected;
pub mod export;
mod field;
mod figures;
mod forest;
pub mod gate;
pub mod look;
pub mod map;
pub mod mission;
mod page;
mod paired;
mod public;
mod rates;
mod reached;
mod rows;
pub mod runs;
#[cfg(test)]
mod sample;
mod sums;
pub mod svg;
#[cfg(test)]
mod tests;
mod times;
pub mod trend;
pub mod trials;
mod unfair;
mod verdict;
mod ways;
mod wrong;

pub use activation::use_words;
pub use beside::{BesideOptions, beside};
pub use page::{PageOptions, page};
