//! What a QEMU can do, by the names that `lab.json` keeps.
//!
//! Invariant: **a name is asked for exactly as `setup` wrote it.**

/// The ability to stop at a virtual time, which the lab's patches add.
pub const STOP_AT: &str = "qmp:stop-at";

/// How an ability starts that is a property for `-machine`.
pub const FIXED: &str = "fixed:";

/// Whether a QEMU with these abilities has what the exact clock takes.
pub fn is_exact(abilities: &[String]) -> bool {
    ["icount", STOP_AT].iter().all(|wanted| abilities.iter().any(|ability| ability == wanted))
}
