//! A load on every processor of the host, for as long as it is held.
//!
//! Invariant: **it ends with its holder.**

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps every core busy until it is dropped.
pub struct Load(Arc<AtomicBool>);

impl Load {
    /// Starts one busy thread a core.
    pub fn start() -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cores {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut x = 1u64;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..100_000 {
                        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                    }
                }
            });
        }
        Load(stop)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
