//! How many guests this host runs side by side.
//!
//! Invariant: **no more than there is memory for**, should every guest write all of its RAM.

use crate::units::format_size;

/// What a worker takes beside the RAM that its guest writes, in bytes: QEMU itself, and the code it translates.
const WORKER: u64 = 160 << 20;

/// One for each of so many cores, and no more than the host has memory for should every guest write all of its RAM; and a
/// line for the user where that is fewer.
#[must_use]
pub fn workers(guest_ram: u64, cores: usize) -> (usize, Option<String>) {
    let Some(available) = available_memory() else { return (cores, None) };
    let fit = fitting(available, guest_ram);
    let note = (fit < cores).then(|| {
        format!(
            "note: {fit} workers instead of {cores}: {} of memory are available, and a guest may take {}; \
             --workers says otherwise",
            format_size(available),
            format_size(guest_ram + WORKER)
        )
    });
    (fit.min(cores), note)
}

fn fitting(available: u64, guest_ram: u64) -> usize {
    usize::try_from(available / (guest_ram + WORKER)).unwrap_or(usize::MAX).max(1)
}

/// Memory that can be had without swapping, in bytes.
///
/// Source: Linux, `Documentation/filesystems/proc.rst`, `MemAvailable`.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_workers_as_the_host_has_memory_for_and_one_at_least() {
        assert_eq!(fitting(4 << 30, 128 << 20), 14);
        assert_eq!(fitting(4 << 30, 2 << 30), 1);
        assert_eq!(fitting(0, 2 << 30), 1);
        assert!(available_memory().is_some_and(|bytes| bytes > 16 << 20));
    }
}
