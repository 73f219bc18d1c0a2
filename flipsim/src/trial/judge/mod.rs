//! The judges: of a trial, by the golden run, and of a guest that is alone, without one.
//!
//! Invariant: **a verdict follows from its evidence alone**, and one that only a comparison can reach is never given
//! of a guest that was not compared.

pub mod alone;
mod evidence;
mod trial;

#[cfg(test)]
pub(in crate::trial) use trial::tests;
pub(in crate::trial) use trial::{Compared, hang_limit, news, notices};
