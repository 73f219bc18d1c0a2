//! What people get to read of a campaign.
pub mod charts;
pub mod look;
pub mod map;
pub mod svg;
