//! How many guests this host runs side by side.
//!
//! Invariant: what is fewer than one a core is said.

use flipsim::machine::host::workers;

/// One a core, and no more than the host has memory for should every guest write all of its RAM.
pub fn default_workers(guest_ram: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (count, note) = workers(guest_ram, cores);
    if let Some(note) = note {
        eprintln!("{note}");
    }
    count
}
