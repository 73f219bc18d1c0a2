//! The step `kernel`.

use anyhow::{Result, bail};

use super::{Chosen, Lane};

/// Brings the kernel up to date.
pub fn set_up(_lane: &Lane<'_>, _chosen: &Chosen) -> Result<()> {
    bail!("not yet")
}

/// Merges.
pub fn config_only(_lane: &Lane<'_>) -> Result<()> {
    bail!("not yet")
}
