//! The step `image`.

use anyhow::{Result, bail};

use super::{Chosen, Lane};

/// Brings the image up to date.
pub fn set_up(_lane: &Lane<'_>, _chosen: &Chosen) -> Result<()> {
    bail!("not yet")
}
