//! The generators that faults are drawn with.
//!
//! Invariant: **the same seed draws the same faults, whatever version of a library is used**: the generator is named.

use rand::{Rng, SeedableRng};

/// The generator of every draw. Named, because a seed must mean the same next year.
pub type FaultRng = rand::rngs::ChaCha8Rng;

/// The generator for one stream (one trial, one command) of a seed. Streams are independent.
#[must_use]
pub fn fault_rng(seed: u64, stream: u64) -> FaultRng {
    let mut rng = FaultRng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A seed where none was chosen, to be printed and kept.
#[must_use]
pub fn random_seed() -> u64 {
    // 53 bits, so that a seed survives JSON readers that know only doubles.
    rand::rng().next_u64() >> 11
}
